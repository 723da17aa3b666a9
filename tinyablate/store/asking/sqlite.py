"""A SQLite file opened for reading alone: by the file's mode, and by an authorizer that knows what reading is."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinyablate.errors import StoreError, UsageError, WorkError
from tinyablate.store import remedies, schema
from tinyablate.store.asking import ROWS, Answer
from tinyablate.store.asking.mistakes import ONLY_READS, newer, no_column, no_table, older
from tinyablate.store.location import Location

_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "foreign_key_list"}

_CANNOT_WRITE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
"""What SQLite says, for short, where a reader cannot make the files that it wants beside the database."""

MAPPED_BYTES = 2**31
"""So much of a file is read as memory, as far as SQLite was built to: a scan of millions of rows takes half as long."""


class SqliteAsked:
    """Answers from an open connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.contextmanager
    def of(cls, path: Path, sql: str) -> Iterator["SqliteAsked"]:
        """The database at `path`; see `asking`."""
        connection = connect(path)
        try:
            _refuse_others(connection, path)
            connection.set_authorizer(_authorize)
            connection.set_progress_handler(lambda: 0, 1_000_000)  # lets Ctrl-C in
            yield cls(connection)
        except (sqlite3.Error, UnicodeError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:  # Ctrl-C, which SQLite swallowed
                raise KeyboardInterrupt from error
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT:
                raise WorkError(remedies.damaged(path, str(error))) from error
            raise UsageError(f"query: {_explained(str(error), sql)}") from error
        finally:
            connection.close()

    def ask(self, sql: str, values: Sequence[Any] = ()) -> Answer:
        """See `Asked`. Every operation but reading is denied when the statement is prepared."""
        cursor = self._connection.execute(sql, values)
        if cursor.description is None:
            raise UsageError(f"query: {ONLY_READS}")
        return Answer(tuple(column[0] for column in cursor.description), _batches(cursor))


def _batches(cursor: sqlite3.Cursor) -> Iterator[Sequence[Sequence[Any]]]:
    while rows := cursor.fetchmany(ROWS):
        yield rows


def connect(path: Path) -> sqlite3.Connection:
    """The database at `path`, opened read-only; also in a folder that we may not write in, such as a colleague's.

    There SQLite cannot make its -shm file; but without anything in a -wal file nobody writes to the database, so that
    it may be taken for one that does not change. It may be used by several threads, one at a time. Raises StoreError
    where what was committed stands in such a file, and cannot be read.
    """
    for options in ("mode=ro", "mode=ro&immutable=1"):
        uri = f"{path.as_uri()}?{options}"
        connection = sqlite3.connect(uri, uri=True, timeout=30, check_same_thread=False)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
            connection.execute(f"PRAGMA mmap_size={MAPPED_BYTES}")
        except sqlite3.OperationalError as error:
            hindered = error.sqlite_errorcode & 0xFF in _CANNOT_WRITE and not remedies.may_write(path.parent)
            if "immutable" in options or not hindered:
                break
            connection.close()
            if said := remedies.unread(path):
                raise StoreError(said) from error
        except sqlite3.DatabaseError:
            break  # whoever asks is told
        else:
            break
    return connection


def _refuse_others(connection: sqlite3.Connection, path: Path) -> None:
    """A question to the views of another version would be answered by SQLite's complaints about columns."""
    with contextlib.suppress(sqlite3.OperationalError):  # no database of ours: SQLite's own words are better
        last = "SELECT version, tinyablate FROM schema_version ORDER BY version DESC LIMIT 1"
        version, writer = connection.execute(last).fetchone() or (schema.SCHEMA_VERSION, "")
        if version < schema.SCHEMA_VERSION:
            raise older(Location.of(path), version)
        if version > schema.SCHEMA_VERSION:
            raise newer(str(path), version, writer)


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    if action in _READS or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS):
        denied = action == sqlite3.SQLITE_FUNCTION and second == "load_extension"
        return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _explained(message: str, sql: str) -> str:
    """SQLite's message, with what to do about it."""
    if message.startswith("not authorized") or "prohibited" in message:
        return ONLY_READS
    what, _, typed = message.partition(": ")
    if what == "no such table":
        return no_table(typed)
    return no_column(typed, sql) if what == "no such column" else message
