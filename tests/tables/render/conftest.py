"""Tables made by hand: what formats print depends on a Table alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from tinyablate.sweep import metrics
from tinyablate.tables.schema import (
    Change,
    ColumnStatistics,
    Comparison,
    Note,
    Replicates,
    Table,
    TableCell,
    TableColumn,
    TableRow,
    Verdict,
)

HOSTILE = (
    "<script>alert(1)</script>", "a & b", "a_b _c_", "100 %", r"\input{x}", "$x^2$", "{", "}", "~", "^", "#1", "a|b",
    "two\nlines", "中文标签", "שלום עולם", "مرحبا", "=SUM(A1)", "&lt;b&gt;", "[x](javascript:alert(1))", "*a*", "`b`",
    "--", "\x1b[31mred", "\u202eevil", "emoji 🙂", "naïve Łódź Ångström", "'quoted' \"twice\"", "https://example.org/a_b",
)  # fmt: skip
"""Labels that mean something to one format or another."""


def make_column(metric: str = "val_top1", **given: object) -> TableColumn:
    """A column; `label`, `sources`, `compared` and `digits` as given."""
    known = metrics.lookup(metric)
    values: dict[str, object] = {"label": "", "sources": (), "compared": True, "digits": known.digits}
    return TableColumn(metric=known, **(values | given))  # type: ignore[arg-type]


def make_cell(mean: float | None = None, sd: float | None = None, **given: object) -> TableCell:
    """A complete cell of three seeds, unless `given` says otherwise."""
    values: dict[str, object] = {
        "n": 3, "n_planned": 3, "delta": None, "delta_low": None, "delta_high": None, "kind": None, "pairs": 0,
        "state": "complete", "marks": (), "published": {},
    }  # fmt: skip
    return TableCell(mean, sd, **(values | given))  # type: ignore[arg-type]


def make_row(label: str, *cells: TableCell, **given: object) -> TableRow:
    """A row that is compared with another."""
    values: dict[str, object] = {"group": "", "baseline": False, "compared": True}
    return TableRow(label, cells=cells, **(values | given))  # type: ignore[arg-type]


def make_comparison(value: float, low: float, high: float, p: float, verdict: Verdict, wider: float) -> Comparison:
    """A comparison under the last epoch; its pooled interval is the other one, wider on both sides."""
    return Comparison(
        rule="last", value=value, low=low, high=high, block_low=low - wider, block_high=high + wider, bca_low=None,
        bca_high=None, p=p, p_holm=min(1.0, 2 * p), correlation=0.5, verdict=verdict, p_raw=p / 2,
    )  # fmt: skip


DEMO = (
    ("Default", 88.15, 4.26, None, None, None, None),
    ("Remove Mixup", 83.42, 4.31, -4.73, -6.18, -3.29, "worse"),
    ("Remove CutMix", 90.80, 3.67, 2.65, 0.35, 4.95, "better"),
    ("Remove Random Erasing", 92.58, 2.21, 4.43, 1.61, 7.26, "better"),
    ("Remove label smoothing", 88.18, 2.91, 0.03, -3.57, 3.63, "undecided"),
    ("Add EMA", 85.85, 4.36, -2.30, -2.89, -1.71, "worse"),
    ("Learning rate 1e-4", 14.00, 1.91, -74.15, -80.34, -67.96, "worse"),
    ("Default, other seeds", 85.52, 5.52, -2.63, -9.03, 3.76, None),
)
TEXTS = {
    "worse": "worse by at least {least:.2f}",
    "better": "better by at least {least:.2f}",
    "undecided": "no difference detected ({low:+.2f} to {high:+.2f})",
}


def _demo_row(label, mean, sd, delta, low, high, kind) -> TableRow:
    comparison = None
    if kind:
        text = TEXTS[kind].format(least=min(abs(low), abs(high)), low=low, high=high)
        p = {"worse": 0.03125, "better": 0.0625, "undecided": 1.0}[kind]
        comparison = make_comparison(delta, low, high, p, Verdict(kind, text), 0.5)
    standing = {"Remove Random Erasing": "best", "Remove CutMix": "close"}.get(label, "separated")
    cell = make_cell(
        mean, sd, n=6, n_planned=6, delta=delta, delta_low=low, delta_high=high, kind=delta and "paired", pairs=6,
        comparison=comparison, standing=standing,
    )  # fmt: skip
    null = label == "Default, other seeds"
    return make_row(label, cell, baseline=label == "Default", compared=label != "Default", null=null)


@pytest.fixture
def demo() -> Table:
    """The demo's table: one metric, six seeds, verdicts, a null row."""
    rows = tuple(_demo_row(*each) for each in DEMO)
    notes = tuple(
        map(
            Note, ("Values: the last epoch.", "±: sample standard deviation (sd) over seeds; n: seeds behind the mean.")
        )
    )
    return Table(
        "Demo ablation: test_resnet on shapes", "Which technique helps?", (make_column(),), rows, notes,
        name="demo/ablation",
    )  # fmt: skip


@pytest.fixture
def plain() -> Table:
    """A baseline, a row with an interval, one with gaps, a null row; groups; two sources; no verdicts."""
    rows = (
        make_row("Default", make_cell(91.17, 0.21, published={"paper": 91.34, "reproduction": 91.0}),
                 baseline=True, compared=False),
        make_row("Remove Mixup", make_cell(90.93, 0.25, delta=-0.23, delta_low=-0.61, delta_high=0.15,
                                           published={"paper": 91.11}), group="Mixing"),
        make_row("Remove CutMix", make_cell(91.0, None, n=1, state="partial", marks=("1 running", "1 diverged"),
                                            delta=-0.001), group="Mixing"),
        make_row("Default, other seeds", make_cell(91.13, 0.21, delta=-0.03, delta_low=-0.51, delta_high=0.44),
                 group="Noise", null=True),
    )  # fmt: skip
    columns = (make_column(sources=("paper", "reproduction")),)
    return Table(
        "A table",
        "Does it help?",
        columns,
        rows,
        tuple(map(Note, ("Values: the last epoch.", "Measured on shapes."))),
        name="t",
    )


@pytest.fixture
def crossed() -> Table:
    """Two metrics in two columns, one cell excluded, a fact of the model."""
    columns = tuple(
        make_column(metric, label=label, sources=("paper",) if metric == "val_top1" else (), compared=compared)
        for label in ("90ep", "150ep")
        for metric, compared in (("val_top1", True), ("parameters", False))
    )
    top = make_cell(91.17, 0.21, published={"paper": 91.34})
    arm = replace(top, mean=92.03, delta=0.86, delta_low=0.29, delta_high=1.44, published={})
    fact, out = make_cell(195_018_000.0), make_cell(n=0, n_planned=0, state="excluded")
    rows = (
        make_row("Default", top, fact, top, fact, baseline=True, compared=False),
        make_row("Remove Mixup", arm, fact, out, out),
    )
    return Table("A table", "Does it help?", columns, rows, (Note("Values: the last epoch."),), name="folder/t")


@pytest.fixture
def grid() -> Table:
    """A two-way table: one metric by two fields."""
    columns = tuple(make_column(label=f"weight_decay = {decay}", compared=False) for decay in ("0.2", "0.05"))
    cells = (
        (make_cell(n=0, n_planned=0, state="excluded"), make_cell(n=0, state="diverged", marks=("3 diverged",))),
        (make_cell(91.2, 0.42, n=2, state="partial", marks=("1 diverged",), standing="close"),
         make_cell(91.17, 0.21, standing="best", published={"paper": 95.0}, predicted=(90.1, 92.2))),
    )  # fmt: skip
    rows = tuple(
        make_row(f"lr = {lr}", *each, compared=False) for lr, each in zip(("0.003", "0.001"), cells, strict=True)
    )
    return Table("AdamW", "", columns, rows, (), axes=("optimizer.lr", "optimizer.weight_decay"), name="grid")


@pytest.fixture(name="metrics")
def several(demo: Table) -> Table:
    """Four of the demo's rows with three metrics, published numbers and the model's size."""
    names = ("val_top1", "val_top5", "parameters", "val_loss")
    columns = tuple(make_column(name, sources=("paper",) if name == "val_top1" else ()) for name in names)
    rows = []
    for row in demo.rows[:4]:
        cell = replace(row.cells[0], published={"paper": 88.0})
        rows.append(replace(row, cells=(cell, cell, make_cell(195_018_000.0, delta=0.0), cell)))
    return replace(demo, rows=tuple(rows), columns=columns, name="metrics")


@pytest.fixture
def full(demo: Table) -> Table:
    """The demo's table with all that a table may have: components, changes, seeds, statistics, a source."""
    rows = tuple(
        replace(
            row,
            components=("✗" if "Mixup" in row.label else "✓", "✗" if "Erasing" in row.label else "0.25"),
            changes=(Change("mix.mixup_alpha", "0.2", "0.0"),) if "Mixup" in row.label else (),
            cells=(replace(row.cells[0], published={"paper": 88.0 if at else 99.0}, predicted=(80.0, 95.0)),),
        )
        for at, row in enumerate(demo.rows[:3])
    )
    values = np.array([[[88.0, 88.3], [83.0, np.nan], [90.8, 90.8]]])
    states = np.array([[[1, 1], [1, 2], [1, 0]]])
    keys = {(0, 1): {0: "abc", 1: "def"}}
    return replace(
        demo, rows=rows, components=("Mixup", "Random Erasing"), columns=(make_column(sources=("paper",)),),
        replicates=Replicates((0, 1), values, states, keys), statistics=(ColumnStatistics(2, 1.5, 10, 0.4, 6, 9),),
    )  # fmt: skip


@pytest.fixture
def labelled() -> Callable[..., Table]:
    """Makes a table whose rows, groups, sources, components, axes or columns have these labels."""

    def make(labels: Sequence[str], published: Mapping[str, float] | None = None) -> Table:
        cells = [make_cell(91.0, 0.5, delta=0.5, published=published or {}) for _ in labels]
        rows = tuple(
            make_row(label, cell, group=label, components=(label,)) for label, cell in zip(labels, cells, strict=True)
        )
        columns = (make_column(sources=tuple(published or {})),)
        return Table(
            f"T {labels[0]}", f"Q {labels[-1]}", columns, rows, tuple(Note(f"{label}: a note") for label in labels),
            name=labels[0], components=(labels[0],),
        )  # fmt: skip

    return make


@pytest.fixture
def hostile() -> tuple[str, ...]:
    """Labels that mean something to one format or another."""
    return HOSTILE
