"""A SQLite file opened for reading alone: by the file's mode, and by an authorizer that knows what reading is."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinyablate.errors import UsageError
from tinyablate.store import schema
from tinyablate.store.asking import ROWS, Answer
from tinyablate.store.asking.mistakes import ONLY_READS, no_column, no_table, older

_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "foreign_key_list"}

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
            _refuse_older(connection, path)
            connection.set_authorizer(_authorize)
            connection.set_progress_handler(lambda: 0, 1_000_000)  # lets Ctrl-C in
            yield cls(connection)
        except (sqlite3.Error, UnicodeError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:  # Ctrl-C, which SQLite swallowed
                raise KeyboardInterrupt from error
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

    There SQLite cannot make its -shm file; but without a -wal file nobody has the database open, so that it may be
    taken for one that does not change. It may be used by several threads, one at a time.
    """
    for options in ("mode=ro", "mode=ro&immutable=1"):
        uri = f"{path.as_uri()}?{options}"
        connection = sqlite3.connect(uri, uri=True, timeout=30, check_same_thread=False)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
            connection.execute(f"PRAGMA mmap_size={MAPPED_BYTES}")
        except sqlite3.OperationalError:
            if "immutable" in options or Path(f"{path}-wal").exists() or _is_writable(path.parent):
                break
            connection.close()
        except sqlite3.DatabaseError:
            break  # whoever asks is told
        else:
            break
    return connection


def _is_writable(folder: Path) -> bool:
    """Whether somebody might open a database there and change it, ourselves included."""
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _refuse_older(connection: sqlite3.Connection, path: Path) -> None:
    """A question to the views of another version would be answered by SQLite's complaints about columns."""
    with contextlib.suppress(sqlite3.Error):  # no database of ours: SQLite's own words are better
        (version,) = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        if version is not None and version < schema.SCHEMA_VERSION:
            raise older(str(path), version)


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
