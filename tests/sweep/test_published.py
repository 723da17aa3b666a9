"""Published numbers in every shape that a row may give them."""

import pytest

ONE = "seeds = [0]\nbaseline.model.name = 'm'\n"
TWO_METRICS = ONE + "metrics = ['val_top1', 'parameters']\n"
COLUMNS = (
    "[[columns]]\nlabel = '90ep'\nset.schedule.epochs = 90\n[[columns]]\nlabel = '150ep'\nset.schedule.epochs = 150\n"
)
ONE_COLUMN = "[[columns]]\nlabel = '90ep'\nset.schedule.epochs = 90\n"


@pytest.mark.parametrize(
    ("head", "columns", "published", "found"),
    [
        (ONE, "", "published = 91.34", [{"val_top1": {"published": 91.34}}]),
        (ONE, "", "published.paper = 91", [{"val_top1": {"paper": 91.0}}]),
        (ONE, "", "published = { paper = 91.3, again = 91.0 }", [{"val_top1": {"paper": 91.3, "again": 91.0}}]),
        (ONE, ONE_COLUMN, "published.paper = 91.3", [{"val_top1": {"paper": 91.3}}]),
        (ONE, ONE_COLUMN, "published.paper = { '90ep' = 76.5 }", [{"val_top1": {"paper": 76.5}}]),
        (
            ONE,
            COLUMNS,
            "published.paper = { '90ep' = 76.5, '150ep' = 78.5 }",
            [{"val_top1": {"paper": 76.5}}, {"val_top1": {"paper": 78.5}}],
        ),
        (ONE, COLUMNS, "published.paper = { '150ep' = 78.5 }", [{}, {"val_top1": {"paper": 78.5}}]),
        (TWO_METRICS, "", "published.paper = 86.4", [{"val_top1": {"paper": 86.4}}]),
        (
            TWO_METRICS,
            "",
            "published.paper = { val_top1 = 86.4, parameters = 304e6 }",
            [{"val_top1": {"paper": 86.4}, "parameters": {"paper": 304e6}}],
        ),
        (
            TWO_METRICS,
            COLUMNS,
            "published.paper = { '90ep' = 76.5, '150ep' = { parameters = 5 } }\npublished.again = { '150ep' = 70 }",
            [{"val_top1": {"paper": 76.5}}, {"parameters": {"paper": 5.0}, "val_top1": {"again": 70.0}}],
        ),
        (ONE, "", "", [{}]),
    ],
)
def test_published_numbers_reach_their_cells(head, columns, published, found, loads):
    """A number, or numbers by source, column and metric, stand at the cell as metric -> source -> number."""
    sweep = loads(f"[[rows]]\nlabel = 'A'\n{published}\n{columns}", head=head)
    assert [cell.published for cell in sweep.cells] == found


@pytest.mark.parametrize(
    ("head", "columns", "published", "problem"),
    [
        (ONE, "", "published = '91'", 'published = "91": must be a table'),
        (ONE, "", "published = true", "published = true: must be a table"),
        (ONE, "", "published.paper = nan", "published.paper = nan: must be a finite number"),
        (ONE, "", "published.paper = true", "published.paper = true: must be a finite number"),
        (
            ONE,
            "",
            "published.paper = { val_top5 = 3 }",
            "published.paper.val_top5 = 3: unknown key; did you mean 'val_top1'?",
        ),
        (ONE, "", "published.val_top1 = 3", "published.val_top1 = 3: names no source: write published.paper.val_top1"),
        (ONE, COLUMNS, "published = { '90ep' = 3 }", "published.90ep = 3: names no source"),
        (ONE, COLUMNS, "published.paper = 3", "published.paper = 3: several columns: name each"),
        (ONE, COLUMNS, "published.paper = { '90' = 3 }", "published.paper.90 = 3: unknown key; did you mean '90ep'?"),
        (ONE, COLUMNS, "published.paper.'90ep' = 'x'", 'published.paper.90ep = "x": must be a finite number'),
        (TWO_METRICS, "", "published.paper = { params = 3 }", "unknown key; did you mean 'parameters'?"),
    ],
)
def test_wrong_published_numbers_are_refused(head, columns, published, problem, refuses):
    """Unknown columns, metrics and what is no number are refused with the nearest name."""
    problems = refuses(f"[[rows]]\nlabel = 'A'\n{published}\n{columns}", head=head)
    assert len(problems) == 1
    assert problems[0].startswith('sweep.toml: rows[0] "A".published')
    assert problem in problems[0]


GRID = """
seeds = [0]
metric = "val_top5"
baseline.model.name = "test_vit"
baseline.data.name = "shapes"
[grid]
optimizer.lr = [3e-3, 1e-3]
optimizer.weight_decay = [0.2, 0.05]
[smoke]
schedule.epochs = 1
"""
BEST = "[[cells]]\nwhere = { optimizer.lr = 1e-3, optimizer.weight_decay = 0.05 }\n"


@pytest.mark.parametrize("smoke", [False, True])
def test_published_number_of_a_cell(loads, smoke):
    """[[cells]] gives the number of the one combination that it describes, in any shape that a row may use."""
    sweep = loads(BEST + "published.paper = 99.1\n", head=GRID, smoke=smoke)
    assert [dict(cell.published) for cell in sweep.cells] == [{}, {}, {}, {"val_top5": {"paper": 99.1}}]
    assert sweep.axes == ("optimizer.lr", "optimizer.weight_decay")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("[[cells]]\npublished = 3\n", "cells[0]: `where` is missing"),
        (BEST, "cells[0]: `published` is missing"),
        (BEST + "published.paper = 'x'\n", 'cells[0].published.paper = "x": must be a finite number'),
        (BEST.replace("0.05", "0.01") + "published = 3\n", "cells[0].where: matches no combination of this sweep"),
        (
            "[[cells]]\nwhere.optimizer.lr = 1e-3\npublished = 3\n",
            "cells[0].where: matches 2 combinations of this sweep, not one",
        ),
        (BEST + "published = 3\nlabel = 'A'\n", 'cells[0] "A".label = "A": unknown key'),
    ],
)
def test_wrong_cell_is_refused(refuses, entry, problem):
    """A cell without its place or number, or whose place is none or several, is refused."""
    assert problem in refuses(entry, head=GRID)[0]
