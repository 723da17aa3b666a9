"""Reading the results database: outcomes, times, and one SELECT of the user's, read-only by construction."""

import itertools
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from tinyablate.errors import StoreError, UsageError, nearest
from tinyablate.store import schema
from tinyablate.store.records import EstimateRecord
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


def epochs_of(
    store: Store, keys: Sequence[str], columns: Sequence[str], only: Sequence[int] = ()
) -> dict[str, dict[int, tuple[float | None, ...]]]:
    """Trial key -> epoch -> these columns of `epochs`, of accepted attempts; `only` these epochs, if any are named."""
    t, o, e = schema.trials.c, schema.outcomes.c, schema.epochs.c
    wanted = sa.select(t.key, e.epoch, *(e[name] for name in columns)).select_from(
        schema.trials.join(schema.outcomes, o.attempt_id == t.accepted_attempt_id).join(
            schema.epochs, (e.attempt_id == o.attempt_id) & (e.observer == o.observer)
        )
    )
    if only:
        wanted = wanted.where(e.epoch.in_(only))
    found: dict[str, dict[int, tuple[float | None, ...]]] = {}
    with store.engine().connect() as connection:
        for start in range(0, len(keys), CHUNK):
            for key, epoch, *values in connection.execute(wanted.where(t.key.in_(keys[start : start + CHUNK]))):
                found.setdefault(key, {})[epoch] = tuple(values)
    return found


def measured_devices(store: Store) -> list[str]:
    """Names of the devices that trials were measured on, or are to be; the one with the latest change first."""
    t = schema.trials.c
    wanted = sa.select(t.measured_on).where(t.measured_on.is_not(None)).group_by(t.measured_on)
    with store.engine().connect() as connection:
        return list(connection.scalars(wanted.order_by(sa.func.max(t.updated_at).desc(), t.measured_on)))


def environments(store: Store) -> dict[int, dict[str, Any]]:
    """Every recorded environment by id."""
    with store.engine().connect() as connection:
        return {row.id: dict(row._mapping) for row in connection.execute(sa.select(schema.environments))}


@dataclass(frozen=True)
class TimedTrial:
    """What a trial took that had its job to itself."""

    canonical: str
    """Its recipe."""
    device: str
    seconds: float | None
    """From claim to result; None where an earlier attempt did a part of it."""
    epochs: tuple[tuple[float, float], ...]
    """Of a training: each epoch's seconds, and training images per second."""
    rates: tuple[float, float] | None
    """Of a measurement: training and inference images per second."""


MOST_TIMED = 2_000
"""So many of the latest trials are looked at: a plan need not read 100,000."""


def timed_trials(store: Store, models: Collection[str], device: str) -> list[TimedTrial]:
    """Finished trials of these models on this device that had a job to themselves, the latest first."""
    sql = sa.text(_TIMED).bindparams(sa.bindparam("models", expanding=True))
    values = {"models": list(models), "device": device, "most": MOST_TIMED}
    with store.engine().connect() as connection:
        rows = connection.execute(sql, values).fetchall()
    found = []
    for _, group in itertools.groupby(rows, key=lambda row: row.id):
        first, *others = group
        epochs = tuple((row.seconds, row.rate) for row in (first, *others) if row.seconds)
        rates = (first.train, first.inference) if first.train and first.inference else None
        if epochs or rates:
            found.append(TimedTrial(first.canonical, device, first.whole, epochs, rates))
    return found


_TIMED = """
SELECT a.id, v.canonical, o.train_images_per_second AS train, o.inference_images_per_second AS inference,
    CASE WHEN a.from_epoch = 1 THEN a.ended_at - a.started_at END AS whole, e.seconds, e.images_per_second AS rate
FROM (
    SELECT a.* FROM variants v JOIN trials t ON t.variant_id = v.id JOIN attempts a ON a.id = t.accepted_attempt_id
    JOIN environments n ON n.id = a.environment_id
    WHERE v.model_name IN :models AND coalesce(t.measured_on, n.device) = :device ORDER BY a.id DESC LIMIT :most
) a
JOIN trials t ON t.id = a.trial_id JOIN variants v ON v.id = t.variant_id JOIN outcomes o ON o.attempt_id = a.id
LEFT JOIN epochs e ON e.attempt_id = a.id AND e.seconds > 0 AND e.images_per_second > 0
ORDER BY a.id DESC, e.epoch
"""


@dataclass(frozen=True)
class Spent:
    """The last estimate for a sweep, and what its jobs took since it was made."""

    name: str
    digest: str
    smoke: bool
    overrides: str
    estimate: EstimateRecord
    jobs: int
    """That were started."""
    seconds: float
    """From the estimate to the end of the last job, or to its last sign of life."""
    device_hours: float
    running: bool


def spent(store: Store) -> list[Spent]:
    """Estimate and truth of every sweep whose run was estimated."""
    with store.engine().connect() as connection:
        return [_spent(connection, row) for row in connection.execute(sa.text(_ESTIMATES)).fetchall()]


def _spent(connection: sa.Connection, row: Any) -> Spent:
    values = {"sweep": row.sweep_id, "made_at": row.made_at}
    jobs = connection.execute(sa.text(_JOBS), values).fetchall()
    estimate = EstimateRecord(**{field.name: getattr(row, field.name) for field in fields(EstimateRecord)})
    return Spent(
        name=row.name,
        digest=row.digest,
        smoke=bool(row.smoke),
        overrides=row.overrides,
        estimate=estimate,
        jobs=len(jobs),
        seconds=max((job.ended for job in jobs), default=row.made_at) - row.made_at,
        device_hours=sum(job.ended - job.started for job in jobs) / estimate.trials_each / 3600,
        running=any(job.running for job in jobs),
    )


_ESTIMATES = """
SELECT s.name, s.digest, s.smoke, s.overrides, x.* FROM estimates x JOIN sweeps s ON s.id = x.sweep_id
WHERE x.made_at = (SELECT max(made_at) FROM estimates WHERE sweep_id = x.sweep_id) ORDER BY x.made_at
"""

_JOBS = """
SELECT min(a.started_at) AS started, max(coalesce(a.ended_at, a.heartbeat_at)) AS ended,
    sum(a.state = 'running') AS running
FROM attempts a WHERE a.started_at >= :made_at AND a.trial_id IN (SELECT trial_id FROM cells WHERE sweep_id = :sweep)
GROUP BY a.job
"""


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
