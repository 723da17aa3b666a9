"""What the store needs of a database, and what both databases share. No SQL of results."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tinyablate import __version__
from tinyablate.errors import StoreError, TinyablateError
from tinyablate.store import schema
from tinyablate.store.asking.mistakes import newer
from tinyablate.store.location import Location

logging.getLogger("sqlalchemy.pool").setLevel(
    logging.CRITICAL
)  # else Ctrl-C while a connection closes prints a traceback

BUSY_SECONDS = int(os.environ.get("TINYABLATE_BUSY_SECONDS", "60"))
"""How long a writer waits for another; as long as a lease lasts. Settable so that a test need not wait."""

Finding = tuple[bool, str]
"""(fine, what was found)"""

Insert = sqlite.Insert | postgresql.Insert

Explain = Callable[[sa.exc.DBAPIError], TinyablateError | None]
"""The clear error for one of the driver's; None where it is a fault of this program's."""


class Backend(Protocol):
    """One database. Connections are given back, and what is under way is ended, when the context of each ends.

    Errors of the driver leave the contexts as AwayError (the server is gone: what was under way has been done whole or
    not at all, do it again later), DiskFullError, or WorkError (another writer holds a lock for too long).
    """

    @property
    def location(self) -> Location:
        """Where it is."""

    @property
    def engine(self) -> sa.Engine:
        """For raw SQL. Its connections are in autocommit mode."""

    def transaction(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """Writes, all or none. Rows to be changed by what they hold are first locked: SELECT … ORDER BY id FOR UPDATE,
        trials before attempts. (SQLite locks the whole database.)"""

    def alone(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """As `transaction`, while nobody else is in `alone`: for rows that are made unless they are there."""

    def read(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """Single SELECTs, each of which shows one moment."""

    def snapshot(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """Several SELECTs that show one moment."""

    def now(self, connection: sa.Connection) -> float:
        """Unix seconds by the clock that all drivers of this database share."""

    def insert(self, table: sa.Table) -> Insert:
        """An INSERT that has on_conflict_do_nothing and on_conflict_do_update."""

    def version(self) -> int:
        """Schema version (0: a new database). Raises StoreError: not to be opened, not ours, or newer than this."""

    def migrate(self) -> None:
        """Bring the schema up to date, or make it. Raises StoreError."""

    def check(self) -> list[Finding]:
        """What `doctor` says of the database's health."""

    def backup(self, path: Path) -> None:
        """Write all that is stored now to a new file. Raises StoreError, DiskFullError."""

    def close(self) -> None:
        """Give file handles and connections back."""


@contextlib.contextmanager
def begun(
    engine: sa.Engine, begin: str, explain: Explain, execute: Callable[[sa.Connection, str], object] | None = None
) -> Iterator[sa.Connection]:
    """A transaction that the statement `begin` begins, executed by `execute` if that is given."""
    with explained(explain), engine.connect() as connection:
        try:
            (execute or sa.Connection.exec_driver_sql)(connection, begin)
            yield connection
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # Ctrl-C within a statement has invalidated it already
                connection.exec_driver_sql("ROLLBACK")
            raise


@contextlib.contextmanager
def connected(engine: sa.Engine, explain: Explain) -> Iterator[sa.Connection]:
    """A connection whose statements stand alone."""
    with explained(explain), engine.connect() as connection:
        yield connection


@contextlib.contextmanager
def explained(explain: Explain) -> Iterator[None]:
    """Errors of the driver as ours, where `explain` knows them."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        better = explain(error)
        if better is None:
            raise
        raise better from error


def refuse_foreign(location: Location, tables: list[str]) -> None:
    """A database with tables, but not ours, is not written into."""
    if tables and schema.schema_version.name not in tables:  # it is there when another process has just made them
        raise StoreError(
            f"{location.shown}: is a database of another program (tables {', '.join(sorted(tables)[:3])}); "
            "choose another --db"
        )


def refuse_newer(location: Location, connection: sa.Connection, version: int) -> None:
    """A database that a later tinyablate has written is not touched."""
    if version <= schema.SCHEMA_VERSION:
        return
    table = schema.schema_version.c
    writer = connection.scalar(sa.select(table.tinyablate).where(table.version == version))
    raise newer(location.shown, version, writer)


def applied(version: int, at: float) -> dict[str, object]:
    """The row of `schema_version` for a step that was taken."""
    return {"version": version, "applied_at": at, "tinyablate": __version__}
