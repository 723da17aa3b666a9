"""Typed Parquet files of what the database answers, and the mirror of the views beside it. No file is read back."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import sqlalchemy as sa

from tinyablate import durable
from tinyablate.errors import StoreError
from tinyablate.store import schema
from tinyablate.store.columns import ColumnType, views
from tinyablate.store.driver import ROWS_AT_A_TIME, answers
from tinyablate.store.location import Location
from tinyablate.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 100_000
"""Rows that are written at a time: a row group of the file."""

STAMP = b"tinyablate.stamp"
"""Entry of a file's own metadata: what the database held when it was written."""


class FileColumn(NamedTuple):
    """A column of a file."""

    name: str
    type: ColumnType | Literal["binary"]


def arrow_type(kind: str) -> "pa.DataType":
    """The Arrow type of a column: whole numbers and others have 64 bits."""
    import pyarrow as pa

    types: Mapping[str, Callable[[], Any]] = {
        "integer": pa.int64, "real": pa.float64, "text": pa.string, "boolean": pa.bool_, "binary": pa.binary,
    }  # fmt: skip
    return types[kind]()


def columns_of(view: str) -> tuple[FileColumn, ...]:
    """The columns of a view, as those of its file."""
    return tuple(FileColumn(column.name, column.type) for column in views()[view])


def write(
    path: Path,
    columns: Sequence[FileColumn],
    rows: Iterable[Sequence[Sequence[Any]]],
    stamp: str = "",
    change: Mapping[str, Callable[[Any], Any]] | None = None,
) -> None:
    """Write rows, which come in lists, to a file: aside, then renamed.

    `change` maps a column's name to a function of its values. Raises StoreError on a value that is not of its column's
    type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [pa.field(column.name, arrow_type(column.type)) for column in columns]
    form = pa.schema(fields, {STAMP: stamp.encode()} if stamp else None)
    with durable.aside(path) as aside:
        with pq.ParquetWriter(aside, form, compression="zstd") as writer:
            for group in _groups(rows):
                batches = [_batch(columns, batch, form, change or {}) for batch in group]
                writer.write_table(pa.Table.from_batches(batches), GROUP)
        durable.put(aside, path)


def _groups(batches: Iterable[Sequence[Any]]) -> Iterator[Iterator[Sequence[Any]]]:
    """The batches, as many at a time as make a row group."""
    pending = iter(batches)
    for first in pending:
        yield itertools.chain([first], itertools.islice(pending, GROUP // ROWS_AT_A_TIME - 1))


def _batch(
    columns: Sequence[FileColumn], rows: Sequence[Sequence[Any]], form: "pa.Schema",
    change: Mapping[str, Callable[[Any], Any]],
) -> "pa.RecordBatch":  # fmt: skip
    import pyarrow as pa

    values = zip(columns, zip(*rows, strict=True), strict=True)
    return pa.RecordBatch.from_arrays([_array(*each, change) for each in values], schema=form)


def _array(column: FileColumn, values: Sequence[Any], change: Mapping[str, Callable[[Any], Any]]) -> "pa.Array":
    import pyarrow as pa

    if column.name in change:
        values = list(map(change[column.name], values))
    if column.type == "boolean":
        values = [None if value is None else bool(value) for value in values]
    try:
        return pa.array(values, arrow_type(column.type))
    except (pa.ArrowException, OverflowError) as error:  # SQLite's columns hold whatever they were given
        raise StoreError(f"column {column.name}: holds what is no {column.type}: {error}") from error


def mirror(store: Store) -> Path:
    """Write the views to `parquet/` beside the database; nothing where the files are of what it holds already."""
    folder = store.home / "parquet"
    folder.mkdir(parents=True, exist_ok=True)
    with store.backend.snapshot() as connection:  # all files show the same moment
        stamp = _stamp(store, connection)
        for name in views():
            path = folder / f"{name}.parquet"
            if _stamp_of(path) != stamp:
                columns = columns_of(name)
                sql = f"SELECT {', '.join(column.name for column in columns)} FROM {name}"
                with answers(connection, sql) as rows:
                    write(path, columns, rows, stamp)
    return folder


def _stamp(store: Store, connection: sa.Connection) -> str:
    """What changes whenever a line of a view does.

    The latest time alone would not: of two drivers the one with the earlier time may commit later.
    """
    sql = (
        "SELECT * FROM (SELECT count(*), max(updated_at), sum(CAST(updated_at * 1000 AS BIGINT) & 1048575) "
        "FROM stored_trials) t, (SELECT max(id) FROM attempts) a, "
        "(SELECT count(*) FROM stored_cells) c, (SELECT count(*) FROM stored_outcomes) o"
    )
    found = map(str, connection.exec_driver_sql(sql).one())
    return " ".join([_name(store.location), str(schema.SCHEMA_VERSION), *found])


def _name(location: Location) -> str:
    """Which database it is, whoever asks it."""
    url = location.url
    return repr(location.path.name if location.path else f"{url.host}:{url.port}/{url.database}")


def _stamp_of(path: Path) -> str:
    """The stamp of a file that is there; empty where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return str((pq.read_schema(path).metadata or {}).get(STAMP, b"").decode())
    except (OSError, pa.ArrowException):
        return ""
