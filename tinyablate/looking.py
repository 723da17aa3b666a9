"""What happens on a results database now: drivers, attempts under way, counts, failures, time left. It only reads.

Which trials count is a matter of the sweep that is asked for, or else of what the live drivers run.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from tinyablate import retries
from tinyablate.activity import Ended, Look, Running, Version, means, named, runs, unknown
from tinyablate.asked import given
from tinyablate.store import schema
from tinyablate.store.records import DriverRecord
from tinyablate.store.store import CHUNK, Store
from tinyablate.tables.words import place as cell_name

MOST_ENDED = 20
"""So many of the latest attempts without a result are looked at."""


def look(store: Store, sweep: str | None = None, known: Collection[str] = ()) -> Look:
    """What happens now, of the sweep or the folder of sweeps `sweep` if one is named, else of what live drivers run.

    Drivers whose tokens are `known` count like live ones. Raises UsageError where the sweep is unknown; what the
    database's driver raises passes.
    """
    asked = None if sweep is None else named(sweep)
    drivers, at = store.drivers(), store.now()
    with store.backend.snapshot() as connection:
        versions = _versions(connection)
        names = {version.name for version in versions} | {named(each.name) for each in drivers if each.live}
        if asked is not None and not any(means(asked, name) for name in names):
            raise unknown(sweep or "", names)
        drivers = [each for each in drivers if runs(each, asked)]
        present = [each for each in drivers if each.live or each.owner in known]
        held = _holding(connection, store)
        scope = _scope(versions, asked, present, held.live)
        ids = [version.id for version in scope]
        inside = schema.trials.c.id.in_(sa.select(schema.cells.c.trial_id).where(schema.cells.c.sweep_id.in_(ids)))
        labels = _Labels(connection, ids)
        running = _running(connection, store, inside, labels)
        trials, epochs = _states(connection, inside)
        paces = _paces(connection, present)
        began = min((each.started_at for each in present), default=at)
        return Look(
            at=at,
            versions=tuple(scope),
            drivers=tuple(drivers),
            running=running,
            done=trials["complete"] + trials["diverged"],
            diverged=trials["diverged"],
            # A running trial whose driver is gone waits to be taken over.
            pending=trials["pending"] + trials["running"] - len(running),
            unfinished=_with(connection, ids, "pending") | held.left.intersection(ids),
            broken=_with(connection, ids, "failed"),
            failed=_failed(connection, inside),
            retried=_retried(connection, inside, began),
            ended=_ended(connection, inside, began, labels),
            seconds_left=_seconds_left(_rate(paces, at), epochs["pending"] + epochs["running"], running),
            begun=frozenset(each.owner for each in paces),
        )


def _versions(connection: sa.Connection) -> list[Version]:
    """Every version of every sweep, the one that was run last leading."""
    s, e = schema.sweeps.c, schema.estimates.c
    run_at = sa.func.coalesce(sa.func.max(e.made_at), s.created_at).label("run_at")
    wanted = (
        sa.select(s.id, s.name, s.smoke, s.overrides, s.digest, run_at)
        .select_from(schema.sweeps.outerjoin(schema.estimates, e.sweep_id == s.id))
        .group_by(s.id, s.name, s.smoke, s.overrides, s.digest, s.created_at)
        .order_by(run_at.desc(), s.id.desc())
    )
    rows = connection.execute(wanted).all()
    words = given(connection, [row.digest for row in rows])
    return [Version(row.id, row.name, bool(row.smoke), row.overrides, words[row.digest], row.run_at) for row in rows]


def _scope(
    versions: Sequence[Version],
    asked: str | None,
    present: Sequence[DriverRecord],
    held: Mapping[int, Mapping[int, str]],
) -> list[Version]:
    """The versions whose trials count: of each sweep that is asked for, or is run, the one that was run last; where
    runs compute a sweep in several ways (--smoke, --set, --seeds, an edited file), each that is run."""
    if asked is not None:
        wanted = [each for each in versions if means(asked, each.name)]
    else:
        names = {each.owner: named(each.name) for each in present}
        lost = {owner for owner, name in names.items() if not any(means(name, each.name) for each in versions)}
        wanted = [
            each
            for each in versions
            if any(means(name, each.name) for name in names.values())
            or lost.intersection(held.get(each.id, {}).values())  # of a driver whose path means nothing here
        ]
    by_name: dict[str, list[Version]] = {}
    for version in wanted:
        by_name.setdefault(version.name, []).append(version)
    return [each for found in by_name.values() for each in _current(found, present, held)]


def _current(
    versions: Sequence[Version], present: Sequence[DriverRecord], held: Mapping[int, Mapping[int, str]]
) -> list[Version]:
    """Of one sweep's versions, the one run last leading, those that are run: each with a running trial that no later
    one has too, and for a driver without any the one that was run last when it began; else the first of all."""
    chosen, trials = set[int](), set[int]()
    for each in versions:
        more = held.get(each.id, {}).keys() - trials
        chosen |= {each.id} if more else set()
        trials |= more
    busy = {owner for of_one in held.values() for owner in of_one.values()}
    for driver in present:
        if driver.owner not in busy and means(named(driver.name), versions[0].name):
            chosen |= {next((each.id for each in versions if each.run_at <= driver.started_at), versions[0].id)}
    return [each for each in versions if each.id in chosen] or [versions[0]]


def _latest(versions: Sequence[Version]) -> list[Version]:
    """Of versions in the order of their last run only the first of each sweep and of each way to run it."""
    ways: dict[tuple[str, bool, str, tuple[str, ...]], Version] = {}
    for version in versions:
        ways.setdefault((version.name, version.smoke, version.overrides, version.given), version)
    return list(ways.values())


def ways(store: Store, sweep: str) -> list[Version]:
    """Each way in which the sweep, or those of the folder, was run, as it was run last, the latest leading."""
    with store.backend.snapshot() as connection:
        return [each for each in _latest(_versions(connection)) if means(named(sweep), each.name)]


class _Holding(NamedTuple):
    """Running trials by the sweeps that hold them."""

    live: dict[int, dict[int, str]]
    """Sweep -> trial -> its driver, …"""
    left: set[int]
    """… and sweeps with some whose driver is gone."""


def _holding(connection: sa.Connection, store: Store) -> _Holding:
    t, c = schema.trials.c, schema.cells.c
    wanted = sa.select(c.sweep_id, t.id, t.owner, t.lease_until).join_from(schema.cells, schema.trials)
    found, holds = _Holding({}, set()), store.leases_now()
    for sweep, trial, owner, until in connection.execute(wanted.where(t.state == "running")):
        if holds(owner, until):
            found.live.setdefault(sweep, {})[trial] = owner
        else:
            found.left.add(sweep)
    return found


def _with(connection: sa.Connection, sweeps: Sequence[int], state: str) -> frozenset[int]:
    """Those of the sweeps that have trials of this state."""
    s, t, c = schema.sweeps.c, schema.trials.c, schema.cells.c
    some = sa.exists().where(c.sweep_id == s.id, t.id == c.trial_id, t.state == state)
    return frozenset(connection.scalars(sa.select(s.id).where(s.id.in_(sweeps), some)))


class _Labels:
    """Where trials stand: in a cell of the sweeps that are looked at, else in any."""

    def __init__(self, connection: sa.Connection, sweeps: Sequence[int]) -> None:
        self._connection, self._sweeps = connection, set(sweeps)

    def of(self, trials: Sequence[int]) -> dict[int, str]:
        """Trial's id -> sweep and row (and column) of the first cell that it fills."""
        s, c = schema.sweeps.c, schema.cells.c
        wanted = (
            sa.select(c.trial_id, c.sweep_id, s.name, c.row_label, c.column_label)
            .join_from(schema.cells, schema.sweeps, s.id == c.sweep_id)
            .where(c.trial_id.in_(trials))
            .order_by(c.sweep_id, c.row_index, c.column_index)
        )
        rows = sorted(self._connection.execute(wanted), key=lambda row: row.sweep_id not in self._sweeps)
        return {row.trial_id: f"{row.name}: {cell_name(row.row_label, row.column_label)}" for row in reversed(rows)}


def _running(connection: sa.Connection, store: Store, inside: Any, labels: _Labels) -> tuple[Running, ...]:
    """The attempts whose lease holds, by driver, the oldest first."""
    t, a, v = schema.trials.c, schema.attempts.c, schema.variants.c
    wanted = (
        sa.select(
            t.id, t.key, t.seed, t.owner, t.lease_until, a.job, a.number, a.epoch, a.images_per_second, a.heartbeat_at,
            _epochs(v).label("epochs"),
        )
        .select_from(
            schema.trials.join(schema.attempts, (a.trial_id == t.id) & (a.fence == t.fence))
            .join(schema.variants, v.id == t.variant_id)
        )
        .where(t.state == "running", inside)
        .order_by(t.owner, a.id)
    )  # fmt: skip
    holds = store.leases_now()
    rows = [row for row in connection.execute(wanted) if holds(row.owner, row.lease_until)]
    places = labels.of([row.id for row in rows])
    return tuple(
        Running(
            row.owner, row.job, row.key, places.get(row.id, ""), row.seed, row.number, row.epoch, row.epochs,
            row.images_per_second, row.heartbeat_at,
        )
        for row in rows
    )  # fmt: skip


def _epochs(v: Any) -> Any:
    """Passes over the training set that a variant asks for, see `Recipe.schedule.total_epochs`."""
    return v.schedule_epochs + v.schedule_cooldown_epochs


def _states(connection: sa.Connection, inside: Any) -> tuple[Counter[str], Counter[str]]:
    """State -> trials, and -> epochs that these ask for; a measurement asks for none."""
    t, v = schema.trials.c, schema.variants.c
    epochs = sa.func.sum(sa.case((t.kind == "train", _epochs(v)), else_=0))
    wanted = sa.select(t.state, sa.func.count(), epochs).join_from(schema.trials, schema.variants, v.id == t.variant_id)
    rows = connection.execute(wanted.where(inside).group_by(t.state)).fetchall()
    return Counter({row[0]: row[1] for row in rows}), Counter({row[0]: int(row[2]) for row in rows})


# ---- attempts without a result ---------------------------------------------------------------------------------------


def _last(t: Any, a: Any) -> Any:
    """That an attempt is its trial's last: each claim raises the trial's fence."""
    return (a.trial_id == t.id) & (a.fence == t.fence)


def _failed(connection: sa.Connection, inside: Any) -> dict[str, int]:
    """Cause -> trials that failed by it, the most frequent first."""
    t, a = schema.trials.c, schema.attempts.c
    wanted = sa.select(a.cause, sa.func.count()).join_from(schema.trials, schema.attempts, _last(t, a), isouter=True)
    rows = connection.execute(wanted.where(t.state == "failed", inside).group_by(a.cause)).fetchall()
    return {cause or "unknown": count for cause, count in sorted(rows, key=lambda row: (-row[1], row[0] or ""))}


def failures(store: Store, sweep: str | None = None) -> list[tuple[Version, dict[str, int]]]:
    """Each way in which a sweep was run, as it was run last, that has failed trials, with these by cause."""
    asked = None if sweep is None else named(sweep)
    t, a, c = schema.trials.c, schema.attempts.c, schema.cells.c
    wanted = (
        sa.select(c.sweep_id, a.cause, sa.func.count(sa.distinct(t.id)))
        .select_from(schema.cells.join(schema.trials, t.id == c.trial_id).outerjoin(schema.attempts, _last(t, a)))
        .where(t.state == "failed")
        .group_by(c.sweep_id, a.cause)
    )
    found: dict[int, Counter[str]] = {}
    with store.backend.snapshot() as connection:
        for sweep_id, cause, count in connection.execute(wanted):
            found.setdefault(sweep_id, Counter())[cause or "unknown"] += count
        versions = _latest(_versions(connection))
    return [
        (each, dict(found[each.id].most_common())) for each in versions if each.id in found and means(asked, each.name)
    ]


def causes_of(store: Store, keys: Sequence[str]) -> dict[str, int]:
    """Cause -> trials with these keys whose last attempt ended by it, the most frequent first."""
    t, a = schema.trials.c, schema.attempts.c
    wanted = sa.select(a.cause).join_from(schema.trials, schema.attempts, _last(t, a)).where(a.cause.is_not(None))
    found = Counter[str]()
    with store.backend.snapshot() as connection:
        for start in range(0, len(keys), CHUNK):
            found.update(connection.scalars(wanted.where(t.key.in_(keys[start : start + CHUNK]))))
    return dict(found.most_common())


def _broken(began: float) -> Any:
    """That an attempt ended by a cause since `began`, and not because the run was stopped."""
    a = schema.attempts.c
    return a.cause.is_not(None) & (a.cause != retries.STOPPED) & (a.ended_at >= began)


def _retried(connection: sa.Connection, inside: Any, began: float) -> dict[str, int]:
    """Cause -> attempts since `began` of trials that did not fail by them, the most frequent first."""
    t, a = schema.trials.c, schema.attempts.c
    gone_on = ~((t.state == "failed") & (a.fence == t.fence))
    wanted = sa.select(a.cause, sa.func.count()).join_from(schema.trials, schema.attempts, a.trial_id == t.id)
    rows = connection.execute(wanted.where(_broken(began), gone_on, inside).group_by(a.cause)).fetchall()
    return {cause: count for cause, count in sorted(rows, key=lambda row: (-row[1], row[0]))}


def _ended(connection: sa.Connection, inside: Any, began: float, labels: _Labels) -> tuple[Ended, ...]:
    t, a = schema.trials.c, schema.attempts.c
    given_up = (t.state == "failed") & (a.fence == t.fence)
    wanted = (
        sa.select(a.id, a.trial_id, t.key, t.seed, a.number, a.cause, a.ended_at, given_up.label("given_up"))
        .join_from(schema.trials, schema.attempts, a.trial_id == t.id)
        .where(_broken(began), inside)
        .order_by(a.ended_at.desc(), a.id.desc())
        .limit(MOST_ENDED)
    )
    rows = connection.execute(wanted).fetchall()
    places = labels.of([row.trial_id for row in rows])
    return tuple(
        Ended(
            row.id, row.key, places.get(row.trial_id, ""), row.seed, row.number, row.cause, row.ended_at,
            bool(row.given_up),
        )
        for row in rows
    )  # fmt: skip


# ---- time ------------------------------------------------------------------------------------------------------------


def _paces(connection: sa.Connection, drivers: Sequence[DriverRecord]) -> Sequence[Any]:
    """Of each of these drivers that has begun an attempt: owner, start of its first training, epochs that it ended."""
    t, a, o = schema.trials.c, schema.attempts.c, schema.outcomes.c
    ended = sa.func.coalesce(o.epochs, a.epoch - 1) - (sa.func.coalesce(a.from_epoch, 1) - 1)
    trains = t.kind == "train"
    wanted = (
        sa.select(
            a.owner,
            sa.func.min(sa.case((trains, a.started_at))).label("began"),
            sa.func.sum(sa.case((trains, ended))).label("epochs"),
        )
        .select_from(
            schema.attempts.join(schema.trials, t.id == a.trial_id).outerjoin(schema.outcomes, o.attempt_id == a.id)
        )
        .where(a.owner.in_([each.owner for each in drivers]))
        .group_by(a.owner)
    )
    return connection.execute(wanted).fetchall()


def _rate(paces: Sequence[Any], at: float) -> float:
    """Epochs of trials that drivers end in a second, each by what it did since its first attempt."""
    return sum(float(each.epochs) / max(at - float(each.began), 1e-3) for each in paces if each.epochs)


def _seconds_left(rate: float, epochs: int, running: Sequence[Running]) -> float | None:
    """Of trials that ask for so many epochs, which the running ones have a part of behind them."""
    left = epochs - sum(max(0, (each.epoch or 1) - 1) for each in running)
    return max(0, left) / rate if rate > 0 else None
