"""The only writer of the results database. It knows states, leases and fences, not sweeps' syntax nor how to train.

States of a trial: pending, running, complete, diverged, failed. States of an attempt: running, complete, diverged,
failed, interrupted (stopped cleanly), lost (its driver died), superseded (a late result, or one of an older core).

Only drivers open a Store, one at a time per thread. Every public method is one transaction. A claim is a lease with a
fencing token: `finish`, `fail` and `release` with an old token change nothing that counts.
"""

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from tinyablate.errors import StoreError
from tinyablate.identity import CORE_VERSION, variant_key
from tinyablate.job import Outcome, Progress
from tinyablate.processes import is_dead, own_token
from tinyablate.store import schema
from tinyablate.store.notes import Notes
from tinyablate.store.opening import database_path, explained, make_engine, migrate, refuse_network, transaction
from tinyablate.store.records import (
    CellOf,
    Claim,
    EnvironmentRecord,
    NewTrial,
    StoredState,
    SweepRecord,
)
from tinyablate.store.rows import outcome_columns, recipe_columns, result_rows

LEASE_SECONDS = 60.0
"""A driver that has not renewed its lease for so long has lost it, wherever it runs."""

CHUNK = 10_000  # keys per statement: below SQLite's limit of 32,766 variables


class Store(Notes):
    """A results database at `url_or_path`, created and migrated on opening. Raises StoreError."""

    def __init__(self, url_or_path: str | Path) -> None:
        self.path = database_path(url_or_path)
        self.home = self.path.parent
        self.trials_folder = self.home / f"{self.path.name}.trials"
        self.owner = own_token()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot create its folder: {error.strerror}") from error
        refuse_network(self.home)
        self._engine = make_engine(self.path)
        self._environments: dict[EnvironmentRecord, int] = {}
        with explained(self.path):
            migrate(self._engine, self.path)

    def close(self) -> None:
        """Give the database's file handles back."""
        self._engine.dispose()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> contextlib.AbstractContextManager[sa.Connection]:
        return transaction(self._engine)

    # ---- registering ---------------------------------------------------------------------------------------------

    def register(self, sweep: SweepRecord, new: Sequence[NewTrial], cells: Sequence[CellOf]) -> None:
        """Make the sweep, its variants, trials (pending) and cells known; what is known already stays as it is."""
        with self._write() as connection:
            self.register_trials(connection, new)
            self.register_sweep(connection, sweep, cells, time.time())

    def register_trials(self, connection: sa.Connection, new: Sequence[NewTrial]) -> None:
        """The part of `register` that concerns trials, within a transaction of the caller's."""
        variant_ids = self._register_variants(connection, new)
        rows = [
            {
                "key": trial.key, "kind": trial.kind, "variant_id": variant_ids[trial.canonical],
                "seed": trial.seed, "fingerprint": trial.fingerprint, "measured_on": trial.measured_on,
                "state": "pending", "fence": 0, "updated_at": time.time(),
            }
            for trial in new
        ]  # fmt: skip
        if rows:
            connection.execute(insert(schema.trials).on_conflict_do_nothing(), rows)

    def register_sweep(
        self, connection: sa.Connection, sweep: SweepRecord, cells: Sequence[CellOf], created_at: float
    ) -> None:
        """The other part: the sweep and which trials, known already, fill its cells."""
        values = {**asdict(sweep), "created_at": created_at}
        connection.execute(insert(schema.sweeps).on_conflict_do_nothing(), values)
        self._register_cells(connection, sweep.digest, cells)

    def _register_variants(self, connection: sa.Connection, new: Sequence[NewTrial]) -> dict[str, int]:
        recipes = {trial.canonical: trial.recipe for trial in new}
        keys = {variant_key(canonical): canonical for canonical in recipes}
        rows = [
            {"key": key, "canonical": canonical, **recipe_columns(recipes[canonical])}
            for key, canonical in keys.items()
        ]
        if rows:
            connection.execute(insert(schema.variants).on_conflict_do_nothing(), rows)
        columns = sa.select(schema.variants.c.key, schema.variants.c.id)
        return {
            keys[key]: row_id
            for chunk in _chunks(list(keys))
            for key, row_id in connection.execute(columns.where(schema.variants.c.key.in_(chunk)))
        }

    def _register_cells(self, connection: sa.Connection, digest: str, cells: Sequence[CellOf]) -> None:
        sweep_id = connection.scalar(sa.select(schema.sweeps.c.id).where(schema.sweeps.c.digest == digest))
        ids = self.trial_ids(connection, [cell.trial for cell in cells])
        rows = [
            {
                "sweep_id": sweep_id, "row_index": cell.row, "column_index": cell.column, "trial_id": ids[cell.trial],
                "row_label": cell.row_label, "column_label": cell.column_label,
            }
            for cell in cells
        ]  # fmt: skip
        if rows:
            connection.execute(insert(schema.cells).on_conflict_do_nothing(), rows)

    def trial_ids(self, connection: sa.Connection, keys: Iterable[str]) -> dict[str, int]:
        """Key -> id of these trials, as far as they are stored."""
        columns = sa.select(schema.trials.c.key, schema.trials.c.id)
        unique = list(dict.fromkeys(keys))
        return {
            key: row_id
            for chunk in _chunks(unique)
            for key, row_id in connection.execute(columns.where(schema.trials.c.key.in_(chunk)))
        }

    # ---- claiming ------------------------------------------------------------------------------------------------

    def claim(self, keys: Sequence[str], job: str) -> list[Claim]:
        """Claim whichever of these trials may be computed now; others' live work and finished trials are left out.

        Each claim starts an attempt with a directory of its own (not created here): `DATABASE.trials/KEY-NUMBER-TOKEN`.
        """
        now = time.time()
        with self._write() as connection:
            trials = sa.select(schema.trials).where(schema.trials.c.key.in_(keys))
            rows = {row.key: row for row in connection.execute(trials)}
            free = [rows[key] for key in keys if key in rows and _claimable(rows[key], now)]
            return [self._claim_one(connection, row, job, len(free), now) for row in free]

    def _claim_one(self, connection: sa.Connection, row: Any, job: str, job_trials: int, now: float) -> Claim:
        table = schema.attempts
        history = connection.execute(
            sa.select(table.c.id, table.c.number, table.c.state, table.c.directory)
            .where(table.c.trial_id == row.id)
            .order_by(table.c.number.desc())
        ).all()
        abandoned = [attempt.id for attempt in history if attempt.state == "running"]
        if abandoned:
            lost = {"state": "lost", "ended_at": now, "cause": "driver gone"}
            connection.execute(sa.update(table).where(table.c.id.in_(abandoned)).values(lost))
        number = history[0].number + 1 if history else 1
        fence = row.fence + 1
        directory = f"{self.trials_folder.name}/{row.key[:16]}-{number}-{secrets.token_hex(4)}"
        leased = {"state": "running", "fence": fence, "owner": self.owner, "lease_until": now + LEASE_SECONDS}
        connection.execute(
            sa.update(schema.trials).where(schema.trials.c.id == row.id).values(**leased, updated_at=now)
        )
        started = {
            "trial_id": row.id, "number": number, "fence": fence, "state": "running", "job": job, "owner": self.owner,
            "directory": directory, "started_at": now, "heartbeat_at": now, "job_trials": job_trials,
        }  # fmt: skip
        attempt_id = connection.execute(sa.insert(table).returning(table.c.id), started).scalar_one()
        earlier = tuple(self.home / attempt.directory for attempt in history)
        return Claim(row.id, row.key, attempt_id, fence, self.home / directory, earlier)

    def begin(self, claim: Claim, environment: EnvironmentRecord, from_epoch: int, micro_batch: int | None) -> None:
        """Record with what and from which epoch the attempt computes."""
        with self._write() as connection:
            values = {
                "environment_id": self._environment_id(connection, environment),
                "from_epoch": from_epoch,
                "micro_batch": micro_batch,
            }
            table = schema.attempts
            connection.execute(sa.update(table).where(table.c.id == claim.attempt_id).values(values))

    def _environment_id(self, connection: sa.Connection, record: EnvironmentRecord) -> int:
        if record not in self._environments:
            values = asdict(record)
            connection.execute(insert(schema.environments).on_conflict_do_nothing(), values)
            same = [schema.environments.c[name] == value for name, value in values.items()]
            self._environments[record] = connection.scalar(sa.select(schema.environments.c.id).where(*same)) or 0
        return self._environments[record]

    def heartbeat(self, progress: Mapping[Claim, Progress | None]) -> None:
        """Renew the leases of these claims, as far as they are still ours, and note how far each has come."""
        now = time.time()
        trials, attempts = schema.trials, schema.attempts
        with self._write() as connection:
            for claim, at in progress.items():
                ours = (trials.c.id == claim.trial_id) & (trials.c.fence == claim.fence) & (trials.c.state == "running")
                connection.execute(sa.update(trials).where(ours).values(lease_until=now + LEASE_SECONDS))
                values: dict[str, Any] = {"heartbeat_at": now}
                if at is not None:
                    values |= {"epoch": at.epoch, "images_per_second": at.images_per_second}
                connection.execute(sa.update(attempts).where(attempts.c.id == claim.attempt_id).values(values))

    # ---- ending --------------------------------------------------------------------------------------------------

    def finish(self, claim: Claim, outcome: Outcome) -> bool:
        """Commit a result whole: outcome, epochs, metrics, correctness bits, digests of files, state.

        Returns False when the lease was lost meanwhile: the result is then kept as superseded and does not count.
        """
        now = time.time()
        with self._write() as connection:
            accepted = self._holds(connection, claim)
            self._insert_result(connection, claim, outcome)
            state = outcome.state if accepted else "superseded"
            _end_attempt(connection, claim, state, now)
            if accepted:
                self._accept(connection, claim, outcome.state, now)
            return accepted

    def _accept(self, connection: sa.Connection, claim: Claim, state: str, now: float) -> None:
        trials, attempts = schema.trials, schema.attempts
        before = connection.scalar(sa.select(trials.c.accepted_attempt_id).where(trials.c.id == claim.trial_id))
        if before is not None:  # an older core's result makes room, and stays readable
            connection.execute(sa.update(attempts).where(attempts.c.id == before).values(state="superseded"))
        values = {
            "state": state, "core_version": CORE_VERSION, "accepted_attempt_id": claim.attempt_id,
            "owner": None, "lease_until": None, "updated_at": now,
        }  # fmt: skip
        connection.execute(sa.update(trials).where(trials.c.id == claim.trial_id).values(values))

    def _insert_result(self, connection: sa.Connection, claim: Claim, outcome: Outcome) -> None:
        ids = {"attempt_id": claim.attempt_id, "trial_id": claim.trial_id}
        connection.execute(sa.insert(schema.outcomes), {**ids, **outcome_columns(outcome)})
        for table, rows in result_rows(outcome):
            if rows:
                connection.execute(sa.insert(table), [{**ids, **row} for row in rows])

    def fail(self, claim: Claim, cause: str, message: str, traceback: str) -> bool:
        """Record that the attempt failed; the trial has failed too if the lease still holds, which is returned."""
        return self._end(claim, "failed", "failed", cause=cause, message=message, traceback=traceback)

    def again(self, claim: Claim, cause: str, message: str) -> bool:
        """Record that the attempt failed, and give the trial back to be tried otherwise (in smaller micro-batches)."""
        return self._end(claim, "failed", "pending", cause=cause, message=message)

    def release(self, claim: Claim, cause: str) -> None:
        """Give a claim back unfinished (a clean stop): the trial is pending again, its checkpoints stay."""
        self._end(claim, "interrupted", "pending", cause=cause)

    def _end(self, claim: Claim, attempt_state: str, trial_state: str, **record: str) -> bool:
        now = time.time()
        with self._write() as connection:
            held = self._holds(connection, claim)
            _end_attempt(connection, claim, attempt_state if held else "superseded", now, **record)
            if held:
                values = {"state": trial_state, "owner": None, "lease_until": None, "updated_at": now}
                connection.execute(sa.update(schema.trials).where(schema.trials.c.id == claim.trial_id).values(values))
            return held

    def _holds(self, connection: sa.Connection, claim: Claim) -> bool:
        columns = sa.select(schema.trials.c.fence, schema.trials.c.state)
        row = connection.execute(columns.where(schema.trials.c.id == claim.trial_id)).one()
        return bool(row.fence == claim.fence and row.state == "running")

    # ---- reading -------------------------------------------------------------------------------------------------

    def states(self, keys: Sequence[str]) -> dict[str, StoredState]:
        """State of each of these trials that is stored."""
        now = time.time()
        t = schema.trials.c
        columns = sa.select(t.key, t.state, t.core_version, t.owner, t.lease_until)
        found: dict[str, StoredState] = {}
        with self._engine.connect() as connection:
            for chunk in _chunks(keys):
                for key, state, core, owner, until in connection.execute(columns.where(t.key.in_(chunk))):
                    found[key] = StoredState(state, core, state == "running" and not _expired(owner, until, now))
        return found

    def others_running(self) -> int:
        """How many trials other drivers compute now."""
        t, now = schema.trials.c, time.time()
        held = sa.select(t.owner, t.lease_until).where(t.state == "running", t.owner != self.owner)
        with self._engine.connect() as connection:
            return sum(not _expired(owner, until, now) for owner, until in connection.execute(held))

    def lease_holds(self, owner: str | None, until: float | None) -> bool:
        """Whether a lease of `owner` until `until` is still good."""
        return not _expired(owner, until, time.time())

    def engine(self) -> sa.Engine:
        """For `query`, which reads only."""
        return self._engine


def open_existing(url_or_path: str | Path) -> Store:
    """The database for a command that only reads; StoreError if there is none, so that no empty one is left behind."""
    path = database_path(url_or_path)
    if not path.exists():
        raise StoreError(f"{path}: no such database; run a sweep first (tinyablate run SWEEP), or name one: --db PATH")
    return Store(path)


def _expired(owner: str | None, until: float | None, now: float) -> bool:
    return until is None or until < now or (owner is not None and is_dead(owner))


def _claimable(row: Any, now: float) -> bool:
    if row.state in ("pending", "failed"):
        return True
    if row.state == "running":
        return _expired(row.owner, row.lease_until, now)
    return bool(row.core_version != CORE_VERSION)  # complete or diverged under another core: stale


def _end_attempt(connection: sa.Connection, claim: Claim, state: str, now: float, **record: str) -> None:
    table = schema.attempts
    values = {"state": state, "ended_at": now, **record}
    connection.execute(sa.update(table).where(table.c.id == claim.attempt_id).values(values))


def _chunks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
