"""Reading the results database: outcomes, times, and one SELECT of the user's, read-only by construction."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from tinyablate.identity import CORE_VERSION
from tinyablate.retries import NOT_FINITE
from tinyablate.store import schema
from tinyablate.store.asking import asking
from tinyablate.store.location import Location
from tinyablate.store.records import EstimateRecord
from tinyablate.store.store import CHUNK, Store


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
    found, holds = dict[str, StoredOutcome](), store.leases_now()
    for key, state, core, owner, until, environment, epoch, *values in _by_keys(store, wanted, keys):
        live = state == "running" and holds(owner, until)
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
    for key, epoch, *values in _by_keys(store, wanted, keys):
        found.setdefault(key, {})[epoch] = tuple(values)
    return found


def noted(store: Store, keys: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Trial key -> name -> value of these entries of `metrics`, of accepted attempts; what is not there is left out."""
    t, m = schema.trials.c, schema.metrics.c
    wanted = sa.select(t.key, m.name, m.value).join_from(
        schema.trials, schema.metrics, m.attempt_id == t.accepted_attempt_id
    )
    found: dict[str, dict[str, float]] = {}
    for key, name, value in _by_keys(store, wanted.where(m.name.in_(names), m.value.is_not(None)), keys):
        found.setdefault(key, {})[name] = value
    return found


def device_hours(store: Store, keys: Sequence[str]) -> dict[str, float]:
    """Trial key -> hours of the device that its attempts had it, failed ones included, in wall time.

    A job of several trials counts for each of them by its share. Trials that were never tried are left out.
    """
    t, a = schema.trials.c, schema.attempts.c
    seconds = sa.func.sum((sa.func.coalesce(a.ended_at, a.heartbeat_at) - a.started_at) / a.job_trials)
    wanted = sa.select(t.key, seconds / 3600).join_from(schema.trials, schema.attempts, a.trial_id == t.id)
    return dict(_by_keys(store, wanted.group_by(t.key), keys))


def diverged_before(store: Store, keys: Sequence[str]) -> set[str]:
    """Those of these trials that diverged under the core of today and were tried again, by a rule or by hand."""
    t, a, o, n = schema.trials.c, schema.attempts.c, schema.outcomes.c, schema.environments.c
    by_rule = (
        sa.select(t.key).join_from(schema.trials, schema.attempts, a.trial_id == t.id).where(a.cause == NOT_FINITE)
    )
    by_hand = (
        sa.select(t.key).join_from(schema.trials, schema.attempts, a.trial_id == t.id)
        .join(schema.outcomes, o.attempt_id == a.id).join(schema.environments, n.id == a.environment_id)
        .where(a.state == "superseded", o.state == "diverged", n.core_version == CORE_VERSION)
    )  # fmt: skip
    with store.backend.read() as connection:  # few, of the whole database: fewer than there may be keys
        return set(connection.scalars(by_rule.union(by_hand))) & set(keys)


def bits_of(store: Store, keys: Sequence[str], rule: Literal["best", "last"]) -> dict[str, bytes]:
    """Trial key -> a bit per evaluated image at its best or last epoch, the most significant first: top-1 was right.

    In the order of the data set; zeros fill the last byte. Trials without a result, or without bits, are left out.
    """
    t, o, c = schema.trials.c, schema.outcomes.c, schema.correctness.c
    at = o.best_epoch if rule == "best" else o.epochs
    wanted = (
        sa.select(t.key, c.bits)
        .join_from(schema.trials, schema.outcomes, o.attempt_id == t.accepted_attempt_id)
        .join(schema.correctness, (c.attempt_id == o.attempt_id) & (c.observer == o.observer) & (c.epoch == at))
    )
    return dict(_by_keys(store, wanted, keys))


LOOK_UP = 3
"""Reading a trial by its key takes so many times as long as reading it where all are read in order."""


def _by_keys(store: Store, wanted: "sa.Select[Any]", keys: Sequence[str]) -> Iterator[Any]:
    """The rows of `wanted`, whose first column is the trial's key, for the trials with these keys."""
    with store.backend.read() as connection:
        stored = connection.scalar(sa.select(sa.func.max(schema.trials.c.id))) or 0
        if len(keys) * LOOK_UP > stored and stored > CHUNK:
            asked = set(keys)
            yield from (row for row in connection.execute(wanted).fetchall() if row[0] in asked)
            return
        for start in range(0, len(keys), CHUNK):
            chunk = schema.trials.c.key.in_(keys[start : start + CHUNK])
            yield from connection.execute(wanted.where(chunk)).fetchall()


class Swept(NamedTuple):
    """A version of a sweep that was run."""

    name: str
    smoke: bool
    digest: str
    overrides: str
    """The `path=value` texts, a line each."""
    created_at: float
    text: str
    """The file and all that it extends, verbatim."""


def swept(store: Store) -> list[Swept]:
    """Every version of every sweep that was run, the one that was first run last leading."""
    s = schema.sweeps.c
    wanted = sa.select(s.name, s.smoke, s.digest, s.overrides, s.created_at, s.text)
    with store.backend.read() as connection:
        return [Swept(*row) for row in connection.execute(wanted.order_by(s.created_at.desc(), s.id.desc()))]


def measured_devices(store: Store) -> list[str]:
    """Names of the devices that trials were measured on, or are to be; the one with the latest change first."""
    t = schema.trials.c
    wanted = sa.select(t.measured_on).where(t.measured_on.is_not(None)).group_by(t.measured_on)
    with store.backend.read() as connection:
        return list(connection.scalars(wanted.order_by(sa.func.max(t.updated_at).desc(), t.measured_on)))


def environments(store: Store) -> dict[int, dict[str, Any]]:
    """Every recorded environment by id."""
    with store.backend.read() as connection:
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
    with store.backend.read() as connection:
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
    SELECT a.* FROM variants v JOIN stored_trials t ON t.variant_id = v.id
    JOIN attempts a ON a.id = t.accepted_attempt_id
    JOIN environments n ON n.id = a.environment_id
    WHERE v.model_name IN :models AND coalesce(t.measured_on, n.device) = :device ORDER BY a.id DESC LIMIT :most
) a
JOIN stored_trials t ON t.id = a.trial_id JOIN variants v ON v.id = t.variant_id
JOIN stored_outcomes o ON o.attempt_id = a.id
LEFT JOIN stored_epochs e ON e.attempt_id = a.id AND e.seconds > 0 AND e.images_per_second > 0
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
    with store.backend.read() as connection:
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
    count(CASE WHEN a.state = 'running' THEN 1 END) AS running
FROM attempts a
WHERE a.started_at >= :made_at AND a.trial_id IN (SELECT trial_id FROM stored_cells WHERE sweep_id = :sweep)
GROUP BY a.job
"""


def run_sql(location: Location | Path | str, sql: str) -> Rows:
    """The answer to one SELECT on the database at `location`. Nothing can be written, see `asking`.

    Booleans are 0 and 1, whichever database answers. Raises UsageError on anything else than a SELECT, StoreError where
    there is no database.
    """
    place = Location.of(location)
    with asking(place, sql) as asked:
        answer = asked.ask(sql)
        rows = itertools.chain.from_iterable(answer.batches)
        return Rows(answer.columns, tuple(map(tuple, rows) if place.path else map(_without_booleans, rows)))


def _without_booleans(row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(int(value) if isinstance(value, bool) else value for value in row)
