"""A grid of two fields prints as a two-way table, with the best cells that noise cannot separate marked."""

import csv
import io
import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.layout import CellResult, build
from tinyablate.tables.render import render

GRID = """
title = "AdamW"
seeds = [0, 1, 2]
metric = "val_top1"
select = "last"
[baseline]
data.name = "shapes"
model.name = "test_vit"
model.pretrained = false
[grid]
"optimizer.lr" = [3e-3, 1e-3]
"optimizer.weight_decay" = [0.2, 0.05, 0.01]
[[exclude]]
where = { "optimizer.lr" = 3e-3, "optimizer.weight_decay" = 0.2 }
reason = "too hot"
"""


@pytest.fixture
def grid(tmp_path: Path) -> Callable[..., Sweep]:
    """Loads GRID, changed as asked."""

    def make(old: str = "", new: str = "") -> Sweep:
        path = tmp_path / "grid.toml"
        path.write_text(GRID.replace(old, new))
        return load(path)

    return make


@pytest.fixture
def results(done) -> dict[tuple[int, int], list[CellResult]]:
    """Two cells within noise, one far below, one diverged throughout, one under a seed that favours nobody else:

    its mean of two seeds is the highest, and adjusted for the third it is not.
    """
    return {
        (0, 1): [CellResult(seed, "diverged", {}, 1) for seed in range(3)],
        (0, 2): done(80.1, 80.6, 80.2),
        (1, 0): [*done(90.9, 91.5), CellResult(2, "diverged", {}, 2)],
        (1, 1): done(91.0, 91.4, 91.1),
        (1, 2): done(90.9, 91.4, 91.0),
    }


def test_terminal(grid, results):
    """One line for each level of the first field, one column for each of the second; gaps say what they are."""
    expected = """\
        AdamW
        top-1 (%) by optimizer.lr (rows) and optimizer.weight_decay (columns)

        Row         weight_decay = 0.2  weight_decay = 0.05  weight_decay = 0.01
        ────────────────────────────────────────────────────────────────────────
        lr = 0.003  n/a                 —                    80.30 ± 0.26
                                        0/3; 3 diverged
        lr = 0.001  91.20 ± 0.42 ≈      91.17 ± 0.21 *       91.10 ± 0.26 ≈
                    2/3; 1 diverged
        """
    text = render(build(grid(), results))
    assert text.split("\n\n- ")[0] == textwrap.dedent(expected).rstrip("\n")
    assert "Marks rank all cells at once (Hsu's comparisons with the best, 95 %" in " ".join(text.split())


def test_markdown(grid, results):
    """The same as a GitHub table."""
    lines = render(build(grid(), results), "markdown").split("\n")
    assert lines[2:8] == [
        "top-1 (%) by optimizer.lr (rows) and optimizer.weight_decay (columns)",
        "",
        "| Row | weight_decay = 0.2 | weight_decay = 0.05 | weight_decay = 0.01 |",
        "|---|---|---|---|",
        "| lr = 0.003 | n/a | — · 0/3; 3 diverged | 80.30 ± 0.26 |",
        r"| lr = 0.001 | 91.20 ± 0.42 ≈ · 2/3; 1 diverged | 91.17 ± 0.21 \* | 91.10 ± 0.26 ≈ |",
    ]


def test_footnotes(grid, results):
    """The rule, the pooled noise, what was adjusted and what was left out stand below."""
    notes = build(grid(), results).footnotes
    (rule,) = [note for note in notes if note.startswith("*: ")]
    assert "on 5 degrees of freedom)." in rule  # 11 values - 4 cells - 2 seeds
    assert "adjusted for the seeds that cells lack" in rule
    assert "Excluded: lr = 0.003 / weight_decay = 0.2 (too hot)." in notes
    assert [note for note in notes if note.startswith("Diverged") and "lr = 0.001 / weight_decay = 0.2 with" in note]
    assert not [note for note in notes if note.startswith("Δ")]


def test_scripts_get_one_record_for_each_cell(grid, results):
    """JSON and CSV have every cell with its standing, null where it has no value; JSON names the two fields."""
    table = build(grid(), results)
    read = json.loads(render(table, "json"))
    standings = [[cell["standing"] for cell in row["cells"]] for row in read["rows"]]
    assert standings == [[None, None, "separated"], ["close", "best", "close"]]
    assert read["axes"] == ["optimizer.lr", "optimizer.weight_decay"]
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert [line["standing"] for line in lines] == ["", "", "separated", "close", "best", "close"]


def test_one_seed_marks_only_the_best(grid, done):
    """With one seed the best is marked and the footnote says that nothing can be separated."""
    table = build(grid("[0, 1, 2]", "[0]"), {(1, 0): done(91.0), (1, 1): done(91.4), (0, 2): done(10.0)})
    assert [cell.standing for row in table.rows for cell in row.cells] == [None, None, None, None, "best", None]
    assert [note for note in table.footnotes if "Nothing can be separated from it yet" in note]


def test_nothing_yet(grid):
    """Before anything ran the table is there, without marks."""
    table = build(grid(), {})
    assert {cell.standing for row in table.rows for cell in row.cells} == {None}
    assert "weight_decay = 0.05" in render(table)
    assert not [note for note in table.footnotes if note.startswith("*")]


def test_lowest_loss_is_best(grid, done):
    """Where lower is better the lowest cell is the best."""
    losses = {(1, 0): done(1.0, 1.1, metric="val_loss"), (1, 1): done(0.5, 0.6, metric="val_loss")}
    table = build(grid('"val_top1"', '"val_loss"'), losses)
    assert [cell.standing for cell in table.rows[1].cells] == ["separated", "best", None]


def test_published_number_stands_in_its_cell(grid, results):
    """A cell's published number is shown under ours, with its source."""
    where = 'where = { "optimizer.lr" = 1e-3, "optimizer.weight_decay" = 0.05 }'
    table = build(grid("[[exclude]]", f"[[cells]]\n{where}\npublished.paper = 91.34\n[[exclude]]"), results)
    assert r"| 91.17 ± 0.21 \* · paper 91.34 |" in render(table, "markdown")
    assert "paper 91.34" in render(table)


@pytest.mark.parametrize(
    ("old", "new", "head"),
    [
        ('metric = "val_top1"', 'metrics = ["val_top1", "val_top5"]', "weight_decay = 0.2 top-1 (%)"),
        ("[[exclude]]", '[zip]\n"batch.size" = [64, 128]\n[[exclude]]', "size = 64 top-1 (%)"),
        (GRID[GRID.index('"optimizer.weight_decay"') :], "", "top-1 (%) mean ± sd"),
    ],
)
def test_other_grids_are_usual_tables(grid, old, new, head):
    """Two metrics, a third axis, or only one, make a table with rows and columns as ever."""
    table = build(grid(old, new), {})
    assert table.axes == ()
    assert f"| Row | {head} |" in render(table, "markdown")
