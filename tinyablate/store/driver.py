"""The database's own driver, for millions of rows: what SQLAlchemy does for each row would cost as much again."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from tinyablate.store import schema

ROWS_AT_A_TIME = 2_000
"""That are Python objects: as many as fit a processor's cache, for more take twice as long each."""


@contextlib.contextmanager
def answers(connection: sa.Connection, sql: str) -> Iterator[Iterator[Sequence[Sequence[Any]]]]:
    """The rows of a SELECT, in lists, to be read within the context: its cursor ends before the connection does,
    whatever interrupts the reading.

    From PostgreSQL they come through a cursor of the server's, within the transaction of `connection`: else its driver
    has the whole answer sent at once.
    """
    with _driver(connection) as driver:
        is_sqlite = connection.dialect.name == "sqlite"
        with contextlib.closing(driver.cursor() if is_sqlite else driver.cursor(name="answers")) as cursor:
            cursor.execute(sql)
            yield iter(lambda: cursor.fetchmany(ROWS_AT_A_TIME), [])


def insert_rows(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows with values for these columns: those of a SELECT, or of a file."""
    names = ", ".join(columns)
    with _driver(connection) as driver:
        if connection.dialect.name == "sqlite":
            marks = ", ".join("?" * len(columns))
            driver.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", rows)
            return
        with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(list(map(_as_sqlite_would, row)))


_TEXT, _ANY = schema.Text(), sa.Dialect()


def _as_sqlite_would(value: Any) -> Any:
    """SQLite takes nan for NULL; a text as the schema stores it."""
    if isinstance(value, str):
        return _TEXT.process_bind_param(value, _ANY)
    return None if isinstance(value, float) and math.isnan(value) else value


@contextlib.contextmanager
def _driver(connection: sa.Connection) -> Iterator[Any]:
    """The driver's connection, whose errors come as SQLAlchemy's, so that they are known wherever those are."""
    fault, dialect = connection.dialect.loaded_dbapi.Error, connection.dialect
    try:
        yield connection.connection.driver_connection
    except fault as error:
        gone = dialect.is_disconnect(error, None, None)
        raise sa.exc.DBAPIError.instance(
            "", None, error, fault, hide_parameters=True, connection_invalidated=gone, dialect=dialect
        ) from error
