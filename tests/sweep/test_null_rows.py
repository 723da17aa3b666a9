"""--null-rows: the baseline again, under seeds that no row has."""

import pytest
from conftest import Cli

ROWS = """
[[rows]]
label = "Default"
published = 90.0
[[rows]]
label = "No Mixup"
set.mix.mixup_alpha = 0
"""


def _rows(sweep):
    return [(row.label, row.seeds, row.null, row.reference) for row in sweep.rows]


def test_null_rows_repeat_the_baseline(loads):
    """As many seeds as the baseline has, from 1,000 on; its recipe, its reference, none of its published numbers."""
    sweep = loads(ROWS, null_rows=2)
    assert _rows(sweep)[2:] == [
        ("Default, other seeds", (1000, 1001, 1002), True, 0),
        ("Default, other seeds 2", (1003, 1004, 1005), True, 0),
    ]
    recipes = {cell.row: cell for cell in sweep.cells}
    assert recipes[2].canonical == recipes[0].canonical
    assert not recipes[2].published
    assert sweep.digest != loads(ROWS).digest


def test_the_digest_without_them_is_that_of_the_file(loads):
    """None asked for is as if the option were not there."""
    assert loads(ROWS, null_rows=0) == loads(ROWS)


def test_what_the_file_has_already_is_left_free(loads):
    """Neither a label nor a seed of another row is taken."""
    own = "[[rows]]\nlabel = 'Default, other seeds'\nseeds = [1000, 1002]\n"
    assert _rows(loads(ROWS + own, null_rows=1))[3] == ("Default, other seeds 2", (1001, 1003, 1004), True, 0)


def test_asked_for_seeds_are_matched_in_number(loads):
    """With --seeds as many, with --smoke one, beside a rule none that it may give later."""
    assert _rows(loads(ROWS, null_rows=1, seeds=[1000]))[2][1] == (1001,)
    smoke = f"{ROWS}[smoke]\nmodel.name = 'test_vit'\n"
    assert _rows(loads(smoke, null_rows=1, smoke=True))[2][1] == (1000,)
    rule = "seeds = { min = 3, max = 2000, until = 'half_width < 1' }\n[baseline]\nmodel.name = 'm'\n"
    assert _rows(loads(ROWS, head=rule + "mix.mixup_alpha = 0.8\n", null_rows=1))[2][1] == (2000, 2001, 2002)


def test_null_rows_of_components_repeat_the_first_row(loads):
    """All parts on, compared with that row; a sweep with groups gives them one of their own."""
    body = """
    [components]
    expand = %s
    [components.parts.Mixup]
    off.mix.mixup_alpha = 0
    """
    assert _rows(loads(body % "'leave-one-out'", null_rows=1))[2] == (
        "All, other seeds", (1000, 1001, 1002), True, 0,
    )  # fmt: skip
    grouped = loads(body % "['leave-one-out', 'add-one-in']", null_rows=1)
    assert [row.group for row in grouped.rows][-2:] == ["leave-one-out", "null rows"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("[grid]\n'ema.decay' = [0.5, 0.9]\n", "--null-rows = 1: a grid has no row that is the baseline itself"),
        ("[[rows]]\nlabel = 'A'\nset.ema.decay = 0.5\n", "--null-rows = 1: this sweep has no row that is the baseline"),
    ],
)
def test_without_a_baseline_there_is_nothing_to_repeat(body, problem, refuses):
    """A grid, and rows that all set something, are refused."""
    (found,) = refuses(body, null_rows=1)
    assert problem in found


def test_the_command_line_adds_them(cli: Cli) -> None:
    """`plan --null-rows 1` counts their trials; a number that is none is refused with what would be valid."""
    cli.write()
    planned = cli.json("plan", "tiny", "--null-rows", "1")
    assert [row["seeds"] for row in planned["rows"]] == [[0, 1, 2]] * 3 + [[1000, 1001, 1002]]
    assert planned["rows"][3]["label"] == "Default, other seeds"
    assert planned["trials"] == 12
    wrong = cli("plan", "tiny", "--null-rows", "-1", code=2).stderr
    assert "--null-rows" in wrong
    assert "0<=x<=100" in wrong
