"""A results database opened for reading alone: it refuses every write, and none is created or migrated.

Beside a SQLite file in a folder that may be written, SQLite keeps an empty -wal and a -shm, as for any reader.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyablate.recipe import field_specs
from tinyablate.store import schema
from tinyablate.store.asking import Asked, asking
from tinyablate.store.columns import views
from tinyablate.store.location import Location
from tinyablate.store.parquet import arrow_type
from tinyablate.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

RECIPE = tuple(schema.column_name(path) for path in field_specs())
"""Columns of the view `trials` that are the same in all trials of a variant."""


class ReadOnly(Store):
    """The store at `where`, for reading alone: its methods that write raise WorkError. Raises StoreError where there is
    no database, or one of another version."""

    def __init__(self, where: str | Path | Location) -> None:
        super().__init__(where, read_only=True)

    def arrow(self, sql: str, values: Sequence[Any] = ()) -> "pa.Table":
        """The answer to one SELECT, with `values` for its question marks, see `arrow`. Raises UsageError."""
        with asking(self.location, sql) as asked:
            return arrow(asked, sql, values)

    def view(self, name: str, condition: str = "", values: Sequence[Any] = ()) -> "pa.Table":
        """The lines of a view for which the SQL `condition` holds, see `view`. Raises UsageError."""
        with asking(self.location, f"SELECT * FROM {name} WHERE {condition}") as asked:
            return view(asked, name, condition, values)


# ---- typed columns ---------------------------------------------------------------------------------------------------


def arrow(
    asked: Asked,
    sql: str,
    values: Sequence[Any] = (),
    types: "Mapping[str, pa.DataType] | None" = None,
) -> "pa.Table":
    """The answer to one SELECT as Arrow columns: of the types given by name, else of what the values are.

    Of a column whose name is that of a boolean in a view the type is boolean, if it holds only 0, 1 and NULL. Whole
    numbers and others mixed are float64; what is mixed otherwise is text.
    """
    import pyarrow as pa

    names, batches = asked.ask(sql, values)
    known = [(types or {}).get(name) for name in names]
    parts: list[list[Any]] = [[] for _ in names]
    for rows in batches:
        for index, column in enumerate(zip(*rows, strict=True)):
            parts[index].append(_array(column, known[index]))
    columns = [_joined(name, found, kind) for name, found, kind in zip(names, parts, known, strict=True)]
    return pa.table(columns, names=list(_distinct(names)))


def _array(column: Sequence[Any], kind: Any) -> Any:
    """Values as an array, of this type where one is given and they fit."""
    import pyarrow as pa

    if kind is not None and kind == pa.bool_():
        column = [None if value is None else bool(value) for value in column]
    try:
        return pa.array(column, type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # SQLite's columns hold what they were given
        return pa.array([value if value is None or isinstance(value, str) else str(value) for value in column])


def _joined(name: str, parts: Sequence[Any], kind: Any) -> Any:
    """The parts of a column as one, of a type that holds all of them."""
    import pyarrow as pa

    found = {part.type for part in parts} - {pa.null()}
    numbers = {pa.int64(), pa.float64()}
    if not found:
        target = kind or pa.null()
    elif len(found) == 1:
        (target,) = found
    else:
        target = pa.float64() if found <= numbers else pa.string()
    whole = pa.chunked_array([part.cast(target) for part in parts], type=target)
    return whole.cast(pa.bool_()) if kind is None and name in _booleans() and _is_boolean(whole) else whole


def _is_boolean(column: Any) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    return bool(column.type == pa.int64() and set(pc.unique(column).to_pylist()) <= {0, 1, None})


def _booleans() -> set[str]:
    return {column.name for columns in views().values() for column in columns if column.type == "boolean"}


def _distinct(names: Sequence[str]) -> Iterator[str]:
    """The names, repeated ones numbered: a frame with two columns of one name is of no use."""
    seen: set[str] = set()
    for name in names:
        free = next(
            each for each in itertools.chain([name], (f"{name}_{n}" for n in itertools.count(2))) if each not in seen
        )
        seen.add(free)
        yield free


def arrow_types(view: str) -> "dict[str, pa.DataType]":
    """Column of the view -> its Arrow type."""
    return {column.name: arrow_type(column.type) for column in views()[view]}


def view(asked: Asked, name: str, condition: str = "", values: Sequence[Any] = ()) -> "pa.Table":
    """The lines of a view for which `condition` holds, with every column of its type."""
    where = f" WHERE {condition}" if condition else ""
    types = arrow_types(name)
    if name != "trials":
        return arrow(asked, f"SELECT * FROM {name}{where}", values, types)
    # A recipe has some 60 fields: they are read once for each recipe instead of once for each trial.
    narrow = [column for column in types if column not in RECIPE]
    trials = arrow(asked, f"SELECT {', '.join(narrow)} FROM trials{where}", values, types)
    recipes = arrow(asked, f"SELECT canonical AS recipe, {', '.join(RECIPE)} FROM variants", (), types)
    return _with_recipes(trials, recipes)


def _with_recipes(trials: "pa.Table", recipes: "pa.Table") -> "pa.Table":
    """The trials, each with the fields of its recipe."""
    import pyarrow.compute as pc

    rows = recipes.take(pc.index_in(trials["recipe"], recipes["recipe"].combine_chunks()))
    for name in RECIPE:
        trials = trials.append_column(name, rows[name])
    return trials
