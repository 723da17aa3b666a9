"""What a row changes: recipe fields against its reference's, and the ✓ and ✗ of its components. It reads no results."""

from collections.abc import Mapping, Sequence

from tinyablate.identity import normal
from tinyablate.recipe import Recipe, Value, flatten
from tinyablate.sweep.declared import changes, covers
from tinyablate.sweep.fields import ARGS, plain, shown
from tinyablate.sweep.schema import Cell, Component, Row, Sweep
from tinyablate.tables.schema import Change

ON, OFF, ABSENT = "\N{CHECK MARK}", "\N{BALLOT X}", "not set"


def changes_of(sweep: Sweep) -> tuple[tuple[Change, ...], ...]:
    """Of each row the fields in which it differs from its reference, in the first column that both have."""
    cells = {(cell.row, cell.column): cell for cell in sweep.cells}
    return tuple(tuple(_changes(row, *pair)) if (pair := pair_of(sweep, cells, row)) else () for row in sweep.rows)


def pair_of(sweep: Sweep, cells: Mapping[tuple[int, int], Cell], row: Row) -> tuple[Cell, Cell] | None:
    """The row's cell and its reference's in the first column that both have; None where there is no such column."""
    if row.reference is None:
        return None
    both = (c.index for c in sweep.columns if (row.index, c.index) in cells and (row.reference, c.index) in cells)
    column = next(both, None)
    return None if column is None else (cells[row.index, column], cells[row.reference, column])


def _changes(row: Row, cell: Cell, reference: Cell) -> list[Change]:
    if cell.recipe is reference.recipe or cell.canonical == reference.canonical:
        return []
    return [
        Change(path, _shown(before), _shown(after), row.declares is None or covers(row.declares, path))
        for path, (before, after) in changes(cell.recipe, reference.recipe).items()
    ]


def _shown(value: Value | None) -> str:
    return ABSENT if value is None else shown(value)


# ---- components ------------------------------------------------------------------------------------------------------


def marks_of(sweep: Sweep) -> tuple[tuple[str, ...], ...]:
    """Of each row one text for each of the sweep's components: ✗ without it, ✓ with it.

    Where rows have it in several strengths, each shows its own value instead of ✓. A row is looked at in its first
    cell; one without any has empty texts.
    """
    if not sweep.components:
        return ((),) * len(sweep.rows)
    first: dict[int, Recipe] = {}
    for cell in sweep.cells:
        first.setdefault(cell.row, cell.recipe)
    flat = {index: flatten(recipe) for index, recipe in first.items()}
    columns = [_column(component, flat) for component in sweep.components]
    return tuple(tuple(column.get(row.index, "") for column in columns) for row in sweep.rows)


def _column(component: Component, rows: Mapping[int, Mapping[str, Value]]) -> dict[int, str]:
    """Row -> the component's text."""
    values = {index: [_value(flat, path) for path in component.paths] for index, flat in rows.items()}
    on = {index: value for index, value in values.items() if not _is_off(component, value)}
    texts = {index: ", ".join("" if v is None else plain(v) for v in value) for index, value in on.items()}
    alike = len(set(texts.values())) == 1
    return {index: OFF if index not in on else ON if alike else texts[index] for index in values}


def _value(flat: Mapping[str, Value], path: str) -> Value | None:
    """The field's value; None of an argument of the model that is not set."""
    if not path.startswith(f"{ARGS}."):
        return flat[path]
    arguments = flat[ARGS]
    return arguments.get(path.removeprefix(f"{ARGS}.")) if isinstance(arguments, dict) else None


def _is_off(component: Component, values: Sequence[Value | None]) -> bool:
    """Whether every field of it is off."""
    return all(
        value is None or (normal(value) == normal(component.off[path]) if path in component.off else not_there(value))
        for path, value in zip(component.paths, values, strict=True)
    )


def not_there(value: Value) -> bool:
    """Whether the value alone says that there is nothing: false, zero, empty, "none"."""
    return not value or value == "none"
