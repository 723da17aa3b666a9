"""A folder of results into a database: what is known stays, what is missing is taken. It trusts nothing that it reads.

A trial that is complete here stays as it is. One that is not, or only under an older core, takes the imported result,
with all its attempts under new ids. Keys are computed anew from recipe, seed and data: a recipe that was edited is
refused. Nothing that names a place on a machine is taken over, for the places of attempts are removed with them.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from tinyablate import retries
from tinyablate.errors import RecipeError, StoreError
from tinyablate.identity import CORE_VERSION, from_canonical, trial_key
from tinyablate.recipe import Recipe
from tinyablate.store import form, leases, schema
from tinyablate.store.driver import insert_rows
from tinyablate.store.records import CellOf, EnvironmentRecord, NewTrial, SweepRecord
from tinyablate.store.store import CHUNK, Store

STATES = {"pending", "running", "complete", "diverged", "failed"}
ENDED = {"complete", "diverged", "failed", "interrupted", "lost", "superseded"}
RESULTS = {"complete", "diverged"}
KINDS = {"train", "measure"}
OBSERVERS = {"raw", "ema", None}
LATEST = 253_402_300_799.0
"""The end of the year 9999 (Unix seconds): no calendar has what is later."""


@dataclass(frozen=True)
class Imported:
    """What an import came to."""

    trials: int
    """That took a result, or are new here."""
    known: int
    """That had their result here already, or none that is of use."""
    sweeps: int
    """Versions of sweeps that are new here."""


def import_folder(store: Store, folder: Path) -> Imported:
    """Take the results in `folder`, which `exchange.export` wrote, into the store: all in one transaction.

    The same again changes nothing. Raises StoreError, and changes nothing, where the folder holds something else, comes
    from a newer tinyablate, or was changed since it was written.
    """
    form.check(folder)
    trials = _trials(folder)
    try:
        with store.backend.alone() as connection:
            return _Import(store, connection, folder, trials).run()
    except (sa.exc.StatementError, OverflowError) as error:
        said = getattr(error, "orig", None) or error
        raise StoreError(f"{folder}: holds what no database of results can: {str(said).splitlines()[0]}") from error


class _Trial(NamedTuple):
    """A trial of the folder, with its columns in `trials`."""

    trial: str
    kind: Literal["train", "measure"]
    measured_on: str | None
    seed: int
    state: str
    core_version: int | None
    updated_at: float
    fingerprint: str
    recipe: str

    @property
    def has_result(self) -> bool:
        return self.state in RESULTS


class _Known(NamedTuple):
    """A trial that is here already."""

    id: int
    state: str
    core_version: int | None
    live: bool
    accepted_attempt_id: int | None

    @property
    def is_current(self) -> bool:
        return self.state in RESULTS and self.core_version == CORE_VERSION


def _trials(folder: Path) -> dict[str, tuple[_Trial, Recipe]]:
    """Key -> trial and recipe. Raises StoreError where a key is not that of its recipe, seed and data."""
    found: dict[str, tuple[_Trial, Recipe]] = {}
    recipes: dict[str, Recipe] = {}
    for row in itertools.chain.from_iterable(form.rows(folder, "trials", _Trial._fields)):
        trial = _Trial(*row)
        if None in (trial.seed, trial.updated_at, trial.fingerprint, trial.recipe) or trial.trial in found:
            raise StoreError(f"{folder}: trial {_short(trial.trial)} is not complete, or stands there twice")
        _valid(folder, trial.state, STATES), _valid(folder, trial.kind, KINDS)
        _check_times(folder, trial.updated_at)
        if trial.recipe not in recipes:
            recipes[trial.recipe] = _recipe(folder, trial)
        if trial_key(trial.recipe, trial.seed, trial.fingerprint, trial.measured_on or "") != trial.trial:
            raise StoreError(
                f"{folder}: trial {_short(trial.trial)} is not of its recipe, seed and data (its key says so): the "
                "folder was edited; nothing was imported"
            )
        found[trial.trial] = trial, recipes[trial.recipe]
    return found


def _recipe(folder: Path, trial: _Trial) -> Recipe:
    try:
        return from_canonical(trial.recipe)
    except (RecipeError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{folder}: trial {_short(trial.trial)} has a recipe that this tinyablate does not know: "
            f"{str(error).splitlines()[0][:200]}"
        ) from error


def _short(key: object) -> str:
    return repr(str(key)[:12])


def _valid(folder: Path, value: object, valid: Iterable[object]) -> Any:
    """`value`, if it is one of `valid`."""
    if value not in valid:
        words = ", ".join(sorted(str(each) for each in valid if each))
        raise StoreError(f"{folder}: holds {str(value)[:40]!r} where only these are valid: {words}")
    return value


def _check_times(folder: Path, *values: float | None) -> None:
    """Refuse what is no time: whoever shows it would fail."""
    for value in values:
        if value is not None and not 0 <= value <= LATEST:
            raise StoreError(f"{folder}: holds {value:g} where a time belongs (seconds since 1970)")


class _Import:
    """One import, within its transaction."""

    def __init__(
        self, store: Store, connection: sa.Connection, folder: Path, trials: Mapping[str, tuple[_Trial, Recipe]]
    ) -> None:
        self.store, self.connection, self.folder = store, connection, folder
        self.now = store.backend.now(connection)
        self.trials = {key: trial for key, (trial, _) in trials.items()}
        self.known = dict(self._known())
        self.new = [
            NewTrial(key, recipe, trial.recipe, trial.seed, trial.fingerprint, trial.kind, trial.measured_on)
            for key, (trial, recipe) in trials.items()
            if key not in self.known
        ]
        self.taken = {key for key, trial in self.trials.items() if self._takes(trial, self.known.get(key))}
        self.accepted: dict[str, int] = {}
        """Trial -> id of the attempt that counts."""

    def run(self) -> Imported:
        self.store.register_trials(self.connection, self.new)
        self.ids = self.store.trial_ids(self.connection, self.trials)
        self._make_room()
        self.attempts = self._attempts()
        self._outcomes()
        self._epochs()
        for name in ("metrics", "correctness"):
            self._of_attempts(name, schema.metadata.tables[name])
        self._settle()
        sweeps = self._sweeps()
        self._notes()
        return Imported(len(self.taken), len(self.trials) - len(self.taken), sweeps)

    def _known(self) -> Iterator[tuple[str, _Known]]:
        """The trials that are here. Nobody changes them meanwhile: locked as all do it, in the order of their ids."""
        t = schema.trials.c
        ids = sorted(self.store.trial_ids(self.connection, self.trials).values())
        columns = sa.select(t.key, t.id, t.state, t.core_version, t.owner, t.lease_until, t.accepted_attempt_id)
        for start in range(0, len(ids), CHUNK):
            rows = columns.where(t.id.in_(ids[start : start + CHUNK])).order_by(t.id).with_for_update(key_share=True)
            for key, row_id, state, core, owner, until, accepted in self.connection.execute(rows).fetchall():
                live = state == "running" and not leases.expired(owner, until, self.now)
                yield key, _Known(row_id, state, core, live, accepted)

    def _takes(self, trial: _Trial, known: _Known | None) -> bool:
        """Whether the imported trial stands in for what is known here."""
        if known is None:
            return True
        if not trial.has_result or known.is_current or known.live:
            return False
        return known.state not in RESULTS or trial.core_version == CORE_VERSION

    def _make_room(self) -> None:
        """What the taken trials had here makes room, as for any later result."""
        attempts = schema.attempts
        for key in self.taken & self.known.keys():
            known = self.known[key]
            ours = sa.update(attempts).where(attempts.c.trial_id == known.id)
            lost = {"state": "lost", "ended_at": attempts.c.heartbeat_at, "cause": retries.DRIVER_GONE}
            self.connection.execute(ours.where(attempts.c.state == "running").values(lost))
            self.connection.execute(ours.where(attempts.c.id == known.accepted_attempt_id).values(state="superseded"))

    # ---- attempts and what they left -----------------------------------------------------------------------------

    def _attempts(self) -> dict[tuple[str, int], int]:
        """Insert the attempts of taken trials; (trial, number in the folder) -> id here."""
        before, environments = self._numbers(), self._environments()
        names = [column.name for column in form.files()["attempts"].columns]
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        for key, number, *values in self._rows("attempts", names):
            row = dict(zip(names[2:], values, strict=True))
            _valid(self.folder, row["state"], ENDED)
            _check_times(self.folder, row["started_at"], row["heartbeat_at"], row["ended_at"])
            if number is None or number < 1 or (key, number) in rows:
                again = " twice" if (key, number) in rows else ""
                raise StoreError(f"{self.folder}: trial {_short(key)} has an attempt of number {number}{again}")
            if row["job_trials"] is None or row["job_trials"] < 1:
                raise StoreError(
                    f"{self.folder}: trial {_short(key)} was computed in a job of {row['job_trials']} trials"
                )
            here = before.get(key, 0) + number
            row["environment_id"] = environments.get(row["environment_id"])
            rows[key, number] = {
                "trial_id": self.ids[key], "number": here, "fence": 0, "owner": "imported",
                "directory": f"{self.store.trials_folder.name}/{key[:16]}-{here}-imported", **row,
            }  # fmt: skip
        ids = dict(zip(rows, self._new_ids(len(rows)), strict=True))
        self._insert(schema.attempts, [{"id": ids[place], **row} for place, row in rows.items()])
        return ids

    def _new_ids(self, count: int) -> Sequence[int]:
        """Ids for so many attempts, which nobody else gives to others."""
        if self.connection.dialect.name == "sqlite":  # where nobody else writes now
            first = (self.connection.scalar(sa.select(sa.func.max(schema.attempts.c.id))) or 0) + 1
            return range(first, first + count)
        taken = sa.text("SELECT nextval(pg_get_serial_sequence('attempts', 'id')) FROM generate_series(1, :count)")
        return list(self.connection.scalars(taken, {"count": count}))

    def _numbers(self) -> dict[str, int]:
        """The highest number of an attempt here, of each taken trial that has any."""
        t, a = schema.trials.c, schema.attempts.c
        if not self.taken & self.known.keys():
            return {}
        found = self.connection.execute(
            sa.select(t.key, sa.func.max(a.number)).join_from(schema.trials, schema.attempts, a.trial_id == t.id)
            .group_by(t.key)
        )  # fmt: skip
        return {key: number for key, number in found if key in self.taken}

    def _environments(self) -> dict[int, int]:
        """Id in the folder -> id here."""
        table, names = schema.environments, [field.name for field in fields(EnvironmentRecord)]
        ids = {}
        for row_id, *values in itertools.chain.from_iterable(form.rows(self.folder, "environments", ["id", *names])):
            record = dict(zip(names, values, strict=True))
            self.connection.execute(self._insert_new(table), record)
            same = [table.c[name] == value for name, value in record.items()]
            ids[row_id] = self.connection.execute(sa.select(table.c.id).where(*same)).scalar_one()
        return ids

    def _outcomes(self) -> None:
        names = [column.name for column in schema.outcomes.c if not column.name.endswith("_id")]
        rows = []
        for key, number, accepted, *values in self._rows("outcomes", ["trial", "attempt", "accepted", *names]):
            row = dict(zip(names, values, strict=True))
            _valid(self.folder, row["state"], RESULTS), _valid(self.folder, row["observer"], OBSERVERS)
            attempt = self._attempt(key, number)
            rows.append({"attempt_id": attempt, "trial_id": self.ids[key], **row})
            if accepted:
                self.accepted[key] = attempt
        self._insert(schema.outcomes, rows)
        for key in self.taken:
            if self.trials[key].has_result and key not in self.accepted:
                raise StoreError(f"{self.folder}: trial {_short(key)} is {self.trials[key].state} without its result")

    def _attempt(self, key: str, number: int) -> int:
        if (key, number) not in self.attempts:
            raise StoreError(f"{self.folder}: trial {_short(key)} has results of an attempt that is not there")
        return self.attempts[key, number]

    def _epochs(self) -> None:
        names = [column.name for column in schema.epochs.c if not column.name.endswith("_id")]
        for batch in form.rows(self.folder, "epochs", ["trial", *names]):
            rows = [row for row in batch if row[0] in self.taken]
            if absent := {key for key, *_ in rows} - self.accepted.keys():
                raise StoreError(f"{self.folder}: trial {_short(min(absent))} has epochs and no result")
            self._insert_many(schema.epochs, names, ((self.accepted[key], self.ids[key], *row) for key, *row in rows))
        self._of_attempts("superseded_epochs", schema.epochs)

    def _of_attempts(self, stem: str, table: sa.Table) -> None:
        """Insert the rows of a file whose lines belong to an attempt."""
        names = [column.name for column in table.c if not column.name.endswith("_id")]
        for batch in form.rows(self.folder, stem, ["trial", "attempt", *names]):
            rows = [row for row in batch if row[0] in self.taken]
            self._insert_many(
                table, names, ((self._attempt(key, number), self.ids[key], *row) for key, number, *row in rows)
            )

    def _settle(self) -> None:
        """State, core version and accepted attempt of the taken trials."""
        rows = [
            {
                "settled": self.ids[key], "state": "pending" if trial.state == "running" else trial.state,
                "core_version": trial.core_version, "accepted_attempt_id": self.accepted.get(key),
                "updated_at": trial.updated_at,
            }
            for key, trial in self.trials.items()
            if key in self.taken
        ]  # fmt: skip
        table, given = schema.trials, ("state", "core_version", "accepted_attempt_id", "updated_at")
        values: dict[str, Any] = {name: sa.bindparam(name) for name in given}
        values |= {"fence": table.c.fence + 1, "owner": None, "lease_until": None}
        if rows:
            self.connection.execute(sa.update(table).where(table.c.id == sa.bindparam("settled")).values(values), rows)

    # ---- sweeps and notes ----------------------------------------------------------------------------------------

    def _sweeps(self) -> int:
        """Register the sweeps with their cells; returns how many were not known."""
        cells: dict[str, list[CellOf]] = {}
        names = ["digest", "row_index", "column_index", "row_label", "column_label", "trial"]
        for digest, row, column, row_label, column_label, key in self._all("cells", names):
            if key not in self.ids:
                raise StoreError(f"{self.folder}: a cell is filled by trial {_short(key)}, which is not there")
            cells.setdefault(digest, []).append(CellOf(row, column, row_label, column_label, key))
        known = set(self.connection.scalars(sa.select(schema.sweeps.c.digest)))
        names, new = [field.name for field in fields(SweepRecord)], 0
        for created_at, *values in self._all("sweeps", ["created_at", *names]):
            _check_times(self.folder, created_at)
            sweep = SweepRecord(*values)
            self.store.register_sweep(self.connection, sweep, cells.pop(sweep.digest, []), created_at)
            new += sweep.digest not in known
        if cells:
            raise StoreError(f"{self.folder}: has cells of a sweep that is not there")
        return new

    def _notes(self) -> None:
        for table in (schema.protocols, schema.extensions):
            names = [column.name for column in table.c]
            for row in self._all(table.name, names):
                values = dict(zip(names, row, strict=True))
                _check_times(self.folder, values["noted_at"])
                self.connection.execute(self._insert_new(table), values)

    # ---- rows ----------------------------------------------------------------------------------------------------

    def _all(self, stem: str, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        return itertools.chain.from_iterable(form.rows(self.folder, stem, names))

    def _rows(self, stem: str, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The rows of a file that belong to taken trials; the trial's key comes first."""
        return (row for row in self._all(stem, names) if row[0] in self.taken)

    def _insert(self, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            self.connection.execute(sa.insert(table), rows)

    def _insert_new(self, table: sa.Table) -> sa.Insert:
        return self.store.backend.insert(table).on_conflict_do_nothing()

    def _insert_many(self, table: sa.Table, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
        """Rows of (attempt, trial, values of `names`): there are millions of them."""
        insert_rows(self.connection, table, ["attempt_id", "trial_id", *names], rows)
