"""Which rows of a table make up a design: components on and off, factors and their levels. It computes no numbers."""

import itertools
import math
from dataclasses import dataclass

from tinyablate.recipe import Value, flatten
from tinyablate.sweep.fields import plain
from tinyablate.tables.changes import OFF, ON
from tinyablate.tables.figures.drawn import View


@dataclass(frozen=True)
class Design:
    """Factors, each with its levels, and the cells of the table at every combination of these."""

    factors: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    """Of each factor."""
    panel: str
    """Label of the column of the second axis that it is in; empty where that is a factor itself."""
    cells: dict[tuple[int, ...], tuple[int, int]]
    """Level of each factor -> (row, column) in the table."""


def on_of(view: View) -> dict[frozenset[int], int]:
    """Which components are on -> the row, null rows left out; rows whose components have other values too."""
    found: dict[frozenset[int], int] = {}
    for row in view.rows:
        texts = view.table.rows[row].components
        if not view.table.rows[row].null and set(texts) <= {ON, OFF}:
            found.setdefault(frozenset(at for at, text in enumerate(texts) if text == ON), row)
    return found


def designs(view: View) -> tuple[Design, ...]:
    """The factorial designs that the table is, one for each column of the second axis; empty where it is none."""
    if view.sweep.axes:
        return _of_grid(view)
    return tuple(design for column in view.columns() if (design := _of_rows(view, column)))


def _of_grid(view: View) -> tuple[Design, ...]:
    """Of two axes the rows' and the columns'. Without a second axis there is none."""
    rows, columns = view.rows, view.columns()
    if len(view.sweep.axes) != 2 or len(rows) < 2 or len(columns) < 2:
        return ()
    down = tuple(_level(view.table.rows[row].label) for row in rows)
    across = tuple(_level(view.table.columns[column].label) for column in columns)
    cells: dict[tuple[int, ...], tuple[int, int]] = {
        (y, x): (row, column) for y, row in enumerate(rows) for x, column in enumerate(columns)
    }
    return (Design(view.sweep.axes, (down, across), "", cells),)


def _level(label: str) -> str:
    return label.partition(" = ")[2] or label if label.count(" = ") == 1 else label


def _of_rows(view: View, column: int) -> Design | None:
    """The design of the rows, null rows left out; None where they are not every combination of two factors or more."""
    names, texts = _factors(view)
    levels = [tuple(sorted({own[at] for own in texts.values()}, key=_rank)) for at in range(len(names))]
    row_of: dict[tuple[int, ...], int] = {}
    for row, own in texts.items():
        row_of.setdefault(tuple(found.index(text) for found, text in zip(levels, own, strict=True)), row)
    wanted = [range(len(found)) for found in levels]
    if len(names) < 2 or any(combination not in row_of for combination in itertools.product(*wanted)):
        return None
    shown = tuple(tuple({ON: "with", OFF: "without"}.get(text, text) for text in found) for found in levels)
    cells = {combination: (row, column) for combination, row in row_of.items()}
    return Design(names, shown, view.table.columns[column].label, cells)


def _factors(view: View) -> tuple[tuple[str, ...], dict[int, tuple[str, ...]]]:
    """Names of what varies, and of each row its levels: the table's components, else recipe fields.

    Fields whose values change together are one factor.
    """
    if view.table.components:
        names = view.table.components
        texts = {row: view.table.rows[row].components for row in view.rows if not view.table.rows[row].null}
    else:
        names, texts = _fields(view)
    varied = [at for at in range(len(names)) if len({own[at] for own in texts.values()}) > 1]
    return tuple(names[at] for at in varied), {row: tuple(own[at] for at in varied) for row, own in texts.items()}


def _fields(view: View) -> tuple[tuple[str, ...], dict[int, tuple[str, ...]]]:
    recipes = recipes_of(view)
    paths: dict[tuple[int, ...], list[str]] = {}
    for path in next(iter(recipes.values()), {}):
        values = [flat[path] for flat in recipes.values()]
        paths.setdefault(tuple(values.index(value) for value in values), []).append(path)
    together = [each for signature, each in paths.items() if any(signature)]
    texts = {
        row: tuple(", ".join(plain(flat[path]) for path in each) for each in together) for row, flat in recipes.items()
    }
    return tuple(", ".join(path.rpartition(".")[2] for path in each) for each in together), texts


def recipes_of(view: View) -> dict[int, dict[str, Value]]:
    """Of each row its recipe's fields, in its first cell; null rows left out."""
    found: dict[int, dict[str, Value]] = {}
    for cell in view.sweep.cells:
        if cell.row in view.rows and not view.table.rows[cell.row].null and cell.row not in found:
            found[cell.row] = flatten(cell.recipe)
    return {row: found[row] for row in view.rows if row in found}


def _rank(text: str) -> tuple[bool, float, str]:
    """✗ first, then numbers by size, then words."""
    try:
        return text != OFF, float(text), ""
    except ValueError:
        return text != OFF, math.inf, text
