"""The only writer of the results database. It knows states, leases and fences, not sweeps' syntax nor how to train.

States of a trial: pending, running, complete, diverged, failed. States of an attempt: running, complete, diverged,
failed, interrupted (stopped cleanly), lost (its driver died), superseded (a late result, one of an older core, or one
that was put back).

Only drivers open a Store, one at a time per thread. Every public method is one transaction, and may be called again
when it is not known whether it was done (AwayError): the second time it finds what it did, and returns the same. A
claim is a lease with a fencing token: `finish`, `fail`, `again` and `release` with an old token change nothing that
counts.
"""

import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tinyablate import retries
from tinyablate.identity import CORE_VERSION
from tinyablate.job import Outcome, Progress
from tinyablate.processes import is_dead, own_token
from tinyablate.store import leases, remedies, schema
from tinyablate.store.asking.mistakes import no_database, older
from tinyablate.store.backends import open_backend
from tinyablate.store.drivers import Drivers
from tinyablate.store.location import Location
from tinyablate.store.notes import Notes
from tinyablate.store.records import (
    Claim,
    EnvironmentRecord,
    StoredState,
)
from tinyablate.store.registry import CHUNK as CHUNK
from tinyablate.store.registry import Registry, chunks
from tinyablate.store.rows import finite, outcome_columns, result_rows

LEASE_SECONDS = leases.LEASE_SECONDS

_ENDED = ("failed", "diverged")


class Store(Registry, Notes, Drivers):
    """The results database at `where`, created and migrated on opening; with `read_only` as it is, for reading alone:
    methods that write raise WorkError.

    Raises StoreError, of one that is read-only also where there is none, or one of another version; WorkError where it
    cannot be written, AwayError where its server cannot be reached.
    """

    def __init__(self, where: str | Path | Location, *, read_only: bool = False) -> None:
        location = Location.of(where)
        if read_only and location.path and not location.exists():
            raise no_database(location)
        self._attach(location, read_only)
        try:
            if read_only:
                self._refuse_others()
            else:
                self.backend.migrate()
        except BaseException:
            self.close()
            raise

    def _refuse_others(self) -> None:
        version = self.backend.version()
        if not version:
            raise no_database(self.location)
        if version < schema.SCHEMA_VERSION:
            raise older(self.location, version)

    def _attach(self, location: Location, read_only: bool) -> None:
        self.location = location
        self.home, self.trials_folder = location.home, location.trials_folder
        self.owner = own_token()
        self.backend = open_backend(location, read_only)
        self._environments: dict[EnvironmentRecord, int] = {}
        self._ahead: float | None = None

    def close(self) -> None:
        """Give the database's file handles or connections back."""
        self.backend.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- claiming ------------------------------------------------------------------------------------------------

    def claim(self, keys: Sequence[str], job: str) -> list[Claim]:
        """Claim whichever of these trials may be computed now; others' live work and finished trials are left out.

        Each claim starts an attempt with a directory of its own (not created here): `NAME.trials/KEY-NUMBER-TOKEN`.
        Called again with the same job, it returns the claims that this driver holds for it already.
        """
        with self.backend.transaction() as connection:
            locked = {row.key: row for row in _lock(connection, schema.trials.c.key.in_(keys))}
            rows = [locked[key] for key in keys if key in locked]
            history, now = _history(connection, [row.id for row in rows]), self.backend.now(connection)
            held = {row.id: self._attempt_of(row, history[row.id], job) for row in rows}
            if any(held.values()):
                free = [row for row in rows if held[row.id]]
                self._renew(connection, [row.id for row in free], now)
            else:
                free = [row for row in rows if leases.claimable(row, now, CORE_VERSION)]
                held = self._start(connection, free, history, job, now)
            return [self._claim_of(row, held[row.id], history[row.id]) for row in free]

    def _attempt_of(self, trial: Any, history: Sequence[Any], job: str) -> Any:
        """The attempt by which this driver computes the trial in this job already, or None."""
        wanted = ("running", trial.fence, job, self.owner)
        if trial.state != "running":
            return None
        return next((a for a in history if (a.state, a.fence, a.job, a.owner) == wanted), None)

    def _renew(self, connection: sa.Connection, trials: Sequence[int], now: float) -> None:
        mine = sa.update(schema.trials).where(schema.trials.c.id.in_(trials))
        connection.execute(mine.values(lease_until=now + LEASE_SECONDS))

    def _start(
        self,
        connection: sa.Connection,
        trials: Sequence[Any],
        history: Mapping[int, Sequence[Any]],
        job: str,
        now: float,
    ) -> dict[int, Any]:
        """Make the trials running, end what was left of earlier attempts, and start one for each: trial's id -> it."""
        if not trials:
            return {}
        ids, table = [row.id for row in trials], schema.attempts
        left = sa.update(table).where(table.c.trial_id.in_(ids), table.c.state == "running")
        connection.execute(left.values(state="lost", ended_at=table.c.heartbeat_at, cause=retries.DRIVER_GONE))
        leased = {"state": "running", "fence": schema.trials.c.fence + 1, "owner": self.owner, "updated_at": now}
        connection.execute(sa.update(schema.trials).where(schema.trials.c.id.in_(ids)).values(leased))
        self._renew(connection, ids, now)
        started = [
            {
                "trial_id": row.id, "number": history[row.id][0].number + 1 if history[row.id] else 1,
                "fence": row.fence + 1, "state": "running", "job": job, "owner": self.owner,
                "directory": self._directory(row.key, history[row.id]), "started_at": now, "heartbeat_at": now,
                "job_trials": len(trials),
            }
            for row in trials
        ]  # fmt: skip
        return {row.trial_id: row for row in connection.execute(sa.insert(table).returning(*_ATTEMPT), started)}

    def _directory(self, key: str, history: Sequence[Any]) -> str:
        number = history[0].number + 1 if history else 1
        return f"{self.trials_folder.name}/{key[:16]}-{number}-{secrets.token_hex(4)}"

    def _claim_of(self, trial: Any, attempt: Any, history: Sequence[Any]) -> Claim:
        before = [each for each in history if each.number < attempt.number]
        counted = [each for each in reversed(before) if each.number > trial.counted_from and each.state in _COUNTED]
        return Claim(
            trial.id, trial.key, attempt.id, attempt.fence, self.home / attempt.directory,
            earlier=tuple(self.home / each.directory for each in before if _OURS.fullmatch(each.directory)),
            causes=tuple(each.cause or retries.DRIVER_GONE for each in counted),
        )  # fmt: skip

    def begin(
        self,
        claim: Claim,
        environment: EnvironmentRecord,
        from_epoch: int,
        micro_batch: int | None,
        from_step: int = 0,
    ) -> None:
        """Record with what the attempt computes, and from which epoch, and which update of it, it goes on."""
        with self.backend.transaction() as connection:
            known = self._environment_id(connection, environment)
            values = {
                "environment_id": known, "from_epoch": from_epoch, "micro_batch": micro_batch, "from_step": from_step,
            }  # fmt: skip
            table = schema.attempts
            connection.execute(sa.update(table).where(table.c.id == claim.attempt_id).values(values))
        self._environments[environment] = known  # only now is it sure to be stored

    def _environment_id(self, connection: sa.Connection, record: EnvironmentRecord) -> int:
        if record in self._environments:
            return self._environments[record]
        values, table = asdict(record), schema.environments
        self.insert_new(connection, table, [values])
        same = [table.c[name] == value for name, value in values.items()]
        return int(connection.execute(sa.select(table.c.id).where(*same)).scalar_one())

    def heartbeat(self, progress: Mapping[Claim, Progress | None]) -> set[Claim]:
        """Renew the leases of these claims and note how far each has come; those that are no longer ours come back."""
        if not progress:
            return set()
        with self.backend.transaction() as connection:
            trials = {row.id: row for row in _lock(connection, schema.trials.c.id.in_({c.trial_id for c in progress}))}
            now = self.backend.now(connection)
            lost = {claim for claim in progress if not _holds(trials.get(claim.trial_id), claim)}
            held = {claim: at for claim, at in progress.items() if claim not in lost}
            if held:
                self._renew(connection, [claim.trial_id for claim in held], now)
                _note_progress(connection, held, now)
        return lost

    # ---- ending --------------------------------------------------------------------------------------------------

    def finish(self, claim: Claim, outcome: Outcome) -> bool:
        """Commit a result whole: outcome, epochs, metrics, correctness bits, digests of files, state.

        Returns False when the lease was lost meanwhile: the result is then kept as superseded and does not count.
        """
        with self.backend.transaction() as connection:
            (trial,) = _lock(connection, schema.trials.c.id == claim.trial_id)
            if _has_result(connection, claim):
                return bool(trial.accepted_attempt_id == claim.attempt_id)
            accepted, now = _holds(trial, claim), self.backend.now(connection)
            self._insert_result(connection, claim, outcome)
            _end_attempt(connection, claim, outcome.state if accepted else "superseded", now)
            if accepted:
                if trial.accepted_attempt_id is not None:  # an older core's result makes room, and stays readable
                    _supersede(connection, [trial.accepted_attempt_id])
                values = {"core_version": CORE_VERSION, "accepted_attempt_id": claim.attempt_id}
                _end_trial(connection, claim, outcome.state, now, **values)
            return accepted

    def _insert_result(self, connection: sa.Connection, claim: Claim, outcome: Outcome) -> None:
        ids = {"attempt_id": claim.attempt_id, "trial_id": claim.trial_id}
        connection.execute(sa.insert(schema.outcomes), {**ids, **outcome_columns(outcome)})
        for table, rows in result_rows(outcome):
            if rows:
                connection.execute(sa.insert(table), [{**ids, **row} for row in rows])

    def fail(self, claim: Claim, cause: str, message: str, traceback: str) -> bool:
        """Record that the attempt failed; the trial has failed too if the lease still holds, which is returned."""
        return self._end(claim, "failed", "failed", cause=cause, message=message, traceback=traceback)

    def again(self, claim: Claim, cause: str, message: str, traceback: str = "") -> bool:
        """Record that the attempt failed, and give the trial back to be tried again; False if the lease was lost."""
        return self._end(claim, "failed", "pending", cause=cause, message=message, traceback=traceback or None)

    def release(self, claim: Claim, cause: str) -> None:
        """Give a claim back unfinished (a clean stop): the trial is pending again, its checkpoints stay."""
        self._end(claim, "interrupted", "pending", cause=cause)

    def _end(self, claim: Claim, attempt_state: str, trial_state: str, **record: str | None) -> bool:
        with self.backend.transaction() as connection:
            (trial,) = _lock(connection, schema.trials.c.id == claim.trial_id)
            a = schema.attempts.c
            ended = connection.execute(sa.select(a.state, a.cause).where(a.id == claim.attempt_id)).one()
            if ended.state not in ("running", "lost"):  # by an earlier call: what counted then counts
                return bool(ended == (attempt_state, record["cause"]))
            held, now = _holds(trial, claim), self.backend.now(connection)
            _end_attempt(connection, claim, attempt_state if held else "superseded", now, **record)
            if held:
                _end_trial(connection, claim, trial_state, now)
            return held

    def put_back(self, keys: Sequence[str], states: Collection[str]) -> dict[str, int]:
        """Make trials of these states (`failed`, `diverged`) pending again, none of their retries counted; how many.

        A diverged result is superseded: it stays readable and counts no more.
        """
        if wrong := set(states) - set(_ENDED):
            raise ValueError(f"only trials of the states {_ENDED} can be put back, not {sorted(wrong)}")
        with self.backend.transaction() as connection:
            ids = self.trial_ids(connection, keys).values()
            found = [row for row in _lock_all(connection, ids) if row.state in states]
            _supersede(connection, [row.accepted_attempt_id for row in found if row.accepted_attempt_id is not None])
            _start_over(connection, [row.id for row in found], self.backend.now(connection))
        return {state: sum(row.state == state for row in found) for state in states}

    # ---- reading -------------------------------------------------------------------------------------------------

    def states(self, keys: Sequence[str]) -> dict[str, StoredState]:
        """State of each of these trials that is stored."""
        t = schema.trials.c
        columns = sa.select(t.key, t.state, t.core_version, t.owner, t.lease_until)
        found: dict[str, StoredState] = {}
        with self.backend.read() as connection:
            now = self.backend.now(connection)
            for chunk in chunks(keys):
                for key, state, core, owner, until in connection.execute(columns.where(t.key.in_(chunk))):
                    live = state == "running" and not leases.expired(owner, until, now)
                    found[key] = StoredState(state, core, live)
        return found

    def others_running(self) -> int:
        """How many trials other drivers compute now."""
        t = schema.trials.c
        held = sa.select(t.owner, t.lease_until).where(t.state == "running", t.owner != self.owner)
        with self.backend.read() as connection:
            now = self.backend.now(connection)
            return sum(not leases.expired(owner, until, now) for owner, until in connection.execute(held))

    def now(self) -> float:
        """Unix seconds by the clock that all drivers of this database share, asked for once."""
        if self._ahead is None:
            with self.backend.read() as connection:
                self._ahead = self.backend.now(connection) - time.time()
        return time.time() + self._ahead

    def leases_now(self) -> Callable[[str | None, float | None], bool]:
        """Whether a lease of an owner until a time is good at this moment; each owner's process is looked for once."""
        now, dead = self.now(), cache(is_dead)
        return lambda owner, until: not leases.expired(owner, until, now, dead)

    def engine(self) -> sa.Engine:
        """For raw SQL, in autocommit mode."""
        return self.backend.engine


def open_existing(where: str | Path | Location) -> Store:
    """The database for a command that only reads; StoreError if there is none, so that no empty one is left behind.

    One that cannot be written is opened for reading alone, any other is migrated if it is of an older version.
    """
    location = Location.of(where)
    if not location.exists():
        raise no_database(location)
    return Store(location, read_only=bool(location.path and remedies.hindrance(location.path)))


_ATTEMPT = [schema.attempts.c[name] for name in (
    "id", "trial_id", "number", "fence", "state", "job", "owner", "directory", "cause"
)]  # fmt: skip

_OURS = re.compile(r"[^/]+\.trials/\w[^/]*")
"""A directory as `claim` makes them: files are deleted in it, so that a database from elsewhere must name no other."""

_COUNTED = ("running", "lost", "failed", "interrupted")
"""States of attempts that ended without a result, or never did, and so count as tries."""


def _lock(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Sequence[Any]:
    """These rows of `trials`, which nobody else changes until the transaction ends.

    Everybody locks them in the order of their ids, so that no two wait for each other. (FOR NO KEY UPDATE: that a new
    row refers to the trial is no conflict. SQLite needs no lock but its own.)
    """
    table = schema.trials
    rows = sa.select(table).where(which).order_by(table.c.id)
    return connection.execute(rows.with_for_update(key_share=True)).all()


def _lock_all(connection: sa.Connection, ids: Iterable[int]) -> list[Any]:
    return [row for chunk in chunks(sorted(ids)) for row in _lock(connection, schema.trials.c.id.in_(chunk))]


def _history(connection: sa.Connection, trials: Sequence[int]) -> dict[int, list[Any]]:
    """Trial's id -> its attempts, the newest first."""
    table, found = schema.attempts, {trial: list[Any]() for trial in trials}
    rows = sa.select(*_ATTEMPT).where(table.c.trial_id.in_(trials)).order_by(table.c.number.desc())
    for row in connection.execute(rows):
        found[row.trial_id].append(row)
    return found


def _holds(trial: Any, claim: Claim) -> bool:
    return trial is not None and bool(trial.fence == claim.fence and trial.state == "running")


def _note_progress(connection: sa.Connection, held: Mapping[Claim, Progress | None], now: float) -> None:
    table = schema.attempts
    beat = sa.update(table).where(table.c.id.in_([claim.attempt_id for claim in held])).values(heartbeat_at=now)
    connection.execute(beat)
    at = sa.update(table).where(table.c.id == sa.bindparam("attempt"))
    rows = [
        {"attempt": claim.attempt_id, "epoch": done.epoch, "images_per_second": finite(done.images_per_second)}
        for claim, done in held.items()
        if done is not None
    ]
    if rows:
        connection.execute(at, rows)


def _has_result(connection: sa.Connection, claim: Claim) -> bool:
    table = schema.outcomes
    return (
        connection.execute(sa.select(table.c.attempt_id).where(table.c.attempt_id == claim.attempt_id)).first()
        is not None
    )


def _end_attempt(connection: sa.Connection, claim: Claim, state: str, now: float, **record: str | None) -> None:
    table = schema.attempts
    values = {"state": state, "ended_at": now, **record}
    connection.execute(sa.update(table).where(table.c.id == claim.attempt_id).values(values))


def _end_trial(connection: sa.Connection, claim: Claim, state: str, now: float, **more: int) -> None:
    table = schema.trials
    values = {"state": state, "owner": None, "lease_until": None, "updated_at": now, **more}
    connection.execute(sa.update(table).where(table.c.id == claim.trial_id).values(values))


def _supersede(connection: sa.Connection, attempts: Sequence[int]) -> None:
    table = schema.attempts
    for chunk in chunks(attempts):
        connection.execute(sa.update(table).where(table.c.id.in_(chunk)).values(state="superseded"))


def _start_over(connection: sa.Connection, trials: Sequence[int], now: float) -> None:
    """Make these trials pending, without a result, and their attempts so far none that count."""
    table, a = schema.trials, schema.attempts.c
    last = sa.select(sa.func.coalesce(sa.func.max(a.number), 0)).where(a.trial_id == table.c.id).scalar_subquery()
    values = {
        "state": "pending", "accepted_attempt_id": None, "core_version": None, "counted_from": last, "updated_at": now,
    }  # fmt: skip
    for chunk in chunks(trials):
        connection.execute(sa.update(table).where(table.c.id.in_(chunk)).values(values))
