"""A trial's recipe in words: what differs from the recipe it is compared with, then every field. It runs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from tinyablate.identity import differences, inert, normal
from tinyablate.recipe import Recipe, Value, field_specs, flatten
from tinyablate.sweep.fields import shown
from tinyablate.sweep.schema import Cell, Sweep
from tinyablate.tables.schema import Change


@dataclass(frozen=True)
class Field:
    """A recipe field with its value as a sweep file writes it."""

    path: str
    value: str
    default: str
    """Empty where the value is the default."""
    inert: bool
    """It cannot change a number as the others stand."""


@dataclass(frozen=True)
class Difference:
    """What sets a cell's recipe apart."""

    against: str
    """Label of the row that it is compared with; empty for the sweep's [baseline]."""
    changes: tuple[Change, ...]


def fields(recipe: Recipe) -> tuple[Field, ...]:
    """Every field of the recipe, in the order of their declaration."""
    dead, specs = inert(recipe), field_specs()
    return tuple(
        Field(path, shown(value), "" if same(value, specs[path].default) else shown(specs[path].default),
              path in dead)
        for path, value in flatten(recipe).items()
    )  # fmt: skip


def same(value: Value, other: Value) -> bool:
    """Whether two values of a field are one: 1 and 1.0 are."""
    return bool(normal(value) == normal(other))


def difference(sweep: Sweep, cell: Cell, cells: Mapping[tuple[int, int], Cell]) -> Difference:
    """The cell's recipe against that of the row it is compared with, in its own column; else against [baseline]."""
    reference = sweep.rows[cell.row].reference
    other = None if reference is None else cells.get((reference, cell.column))
    if reference is None or other is None:
        return Difference("", changes(cell.recipe, sweep.baseline))
    return Difference(sweep.rows[reference].label, changes(cell.recipe, other.recipe))


def changes(recipe: Recipe, baseline: Recipe) -> tuple[Change, ...]:
    """Every field in which `recipe` differs from `baseline`."""
    found = differences(recipe, baseline).items()
    return tuple(Change(path, shown(before), shown(after)) for path, (before, after) in found)
