"""Reading the results database: outcomes for tables, and one SELECT of the user's, read-only by construction."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from tinyablate.errors import StoreError, UsageError, nearest
from tinyablate.store import schema
from tinyablate.store.store import CHUNK, Store

_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "foreign_key_list"}


class StoredOutcome(NamedTuple):
    """A trial as a table needs it; numbers are None until it is complete."""

    state: str
    core_version: int | None
    live: bool
    environment: int | None
    diverged_epoch: int | None
    values: tuple[float | None, ...]
    """In the order of the columns asked for."""


@dataclass(frozen=True)
class Rows:
    """The answer to a query."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def outcomes_of(store: Store, keys: Sequence[str], columns: Sequence[str]) -> dict[str, StoredOutcome]:
    """Trial key -> its accepted outcome, with these columns of `outcomes`; trials that are not stored are left out."""
    t, a, o = schema.trials.c, schema.attempts.c, schema.outcomes.c
    wanted = sa.select(
        t.key, t.state, t.core_version, t.owner, t.lease_until, a.environment_id, o.diverged_epoch,
        *(o[name] for name in columns),
    ).select_from(
        schema.trials.outerjoin(schema.attempts, a.id == t.accepted_attempt_id)
        .outerjoin(schema.outcomes, o.attempt_id == t.accepted_attempt_id)
    )  # fmt: skip
    found: dict[str, StoredOutcome] = {}
    with store.engine().connect() as connection:
        for start in range(0, len(keys), CHUNK):
            chunk = connection.execute(wanted.where(t.key.in_(keys[start : start + CHUNK])))
            for key, state, core, owner, until, environment, epoch, *values in chunk.fetchall():
                live = state == "running" and store.lease_holds(owner, until)
                found[key] = StoredOutcome(state, core, live, environment, epoch, tuple(values))
    return found


def environments(store: Store) -> dict[int, dict[str, Any]]:
    """Every recorded environment by id."""
    with store.engine().connect() as connection:
        return {row.id: dict(row._mapping) for row in connection.execute(sa.select(schema.environments))}


def run_sql(path: Path, sql: str) -> Rows:
    """The answer to one SELECT on the database at `path`. Nothing can be written: the file is opened read-only, and
    every operation but reading is denied when the statement is prepared. Raises UsageError on anything else."""
    if not path.exists():
        raise StoreError(f"{path}: no such database; run a sweep first (tinyablate run SWEEP), or name one: --db PATH")
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)
    try:
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(lambda: 0, 1_000_000)  # lets Ctrl-C in
        cursor = connection.execute(sql)
        if cursor.description is None:
            raise UsageError("query: only a SELECT can be asked; the database is opened read-only")
        return Rows(tuple(column[0] for column in cursor.description), tuple(cursor.fetchall()))
    except (sqlite3.Error, UnicodeError) as error:
        raise UsageError(f"query: {_explained(str(error))}") from error
    finally:
        connection.close()


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    if action in _READS or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS):
        denied = action == sqlite3.SQLITE_FUNCTION and second == "load_extension"
        return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _explained(message: str) -> str:
    """SQLite's message, with what to do about it."""
    if message.startswith("not authorized") or "prohibited" in message:
        return "only a SELECT can be asked; the database is opened read-only"
    if message.startswith("no such table: "):
        tables = [*schema.metadata.tables, "results", "curves"]
        return f"{message}{nearest(message.removeprefix('no such table: '), tables)}; tables: {', '.join(tables)}"
    if message.startswith("no such column: "):
        typed = message.removeprefix("no such column: ")
        columns = {column.name for table in schema.metadata.tables.values() for column in table.columns} - {typed}
        fields = sorted(name for name in columns if name.endswith(f"_{typed}"))
        return f"{message}; did you mean '{fields[0]}'?" if fields else f"{message}{nearest(typed, sorted(columns))}"
    return message
