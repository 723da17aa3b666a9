"""Random sequences of what drivers do, on each back end, against a simple model of who owns what and what counts."""

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import sqlalchemy as sa
import stores
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from reliability.life import ENVIRONMENT, SOAK, new_trial, outcome, register
from reliability.promise import broken

from tinyablate.job import Outcome, Progress
from tinyablate.store import schema
from tinyablate.store.records import Claim
from tinyablate.store.store import Store

BACKENDS = stores.BACKENDS
DRIVERS = 3
STEPS = 60 if SOAK else 25
EXAMPLES = {"sqlite": 3_000 if SOAK else 70, "postgresql": 1_000 if SOAK else 25}
"""A step on a server takes twice as long, and the model is the same."""

RESULTS = ("complete", "diverged")
ENDINGS: dict[str, tuple[str, str]] = {
    "fail": ("failed", "failed"), "again": ("failed", "pending"), "release": ("interrupted", "pending"),
}  # fmt: skip
"""Call -> state of the attempt, of the trial."""

anyone = st.integers(0, DRIVERS - 1)
some = st.integers(0, 30)
causes = st.sampled_from(["exception", "hung"])


@dataclass
class Attempt:
    """What the model knows of an attempt."""

    claim: Claim
    number: int
    job: str
    driver: int
    state: str = "running"
    cause: str | None = None
    has_result: bool = False
    answer: object = None
    """To what its driver said last of it."""


@dataclass
class Trial:
    """What the model knows of a trial."""

    state: str = "pending"
    fence: int = 0
    live: bool = False
    """Its lease holds."""
    old_core: bool = False
    """Its result is of an older core."""
    accepted: int | None = None
    counted_from: int = 0
    attempts: list[Attempt] = field(default_factory=list)

    def claimable(self) -> bool:
        """Whether somebody may compute it now."""
        if self.state == "running":
            return not self.live
        return self.state == "pending" or (self.state != "failed" and self.old_core)

    def held_by(self, attempt: Attempt) -> bool:
        """Whether what this attempt says counts."""
        return self.state == "running" and self.fence == attempt.claim.fence

    def supersede(self) -> None:
        """The result that counted does so no more."""
        for attempt in self.attempts:
            if attempt.claim.attempt_id == self.accepted:
                attempt.state = "superseded"
        self.accepted = None

    def causes(self) -> tuple[str, ...]:
        """Of the ended attempts that count against limits."""
        counted = (each for each in self.attempts if each.number > self.counted_from and each.state != "superseded")
        return tuple(each.cause for each in counted if each.cause)


class Drivers(RuleBasedStateMachine):
    """Three drivers on one database, whose leases end and who die when it pleases the test."""

    database = ""
    stores: tuple[Store, ...] = ()
    sweeps = 0
    """Examples until now: each has trials of its own in the same database."""

    @initialize()
    def begin_sweep(self) -> None:
        """Trials and tokens that no other example has."""
        type(self).sweeps += 1
        self.sweep, self.births, self.jobs = self.sweeps, 0, 0
        self.trials: dict[str, Trial] = {}
        self.open: list[Attempt] = []
        """Attempts whose driver still lives and has not ended them."""
        self.ended: list[tuple[Attempt, Callable[[], object]]] = []
        """What was said of an attempt at its end."""
        for driver in range(DRIVERS):
            self.be_born(driver)
        self.extend(2)
        self.claim(0, 0, 2, False, False)

    def be_born(self, driver: int) -> None:
        """A new process: a token that no other had, of a host of which nothing is known here."""
        self.births += 1
        self.stores[driver].owner = f"driver-{driver}.example:{self.sweep}:{self.births}"

    # ---- rules -------------------------------------------------------------------------------------------------------

    @rule(count=st.integers(0, 1))
    def extend(self, count: int) -> None:
        """The sweep is planned again, with more seeds than before, or the same."""
        trials = [new_trial(1_000 * self.sweep + 10 * seed) for seed in range(len(self.trials) + count)]
        register(self.stores[0], self.sweep, trials)
        self.trials |= {trial.key: Trial() for trial in trials if trial.key not in self.trials}

    @rule(driver=anyone, first=some, count=st.integers(1, 3), lapse=st.booleans(), twice=st.booleans())
    def claim(self, driver: int, first: int, count: int, lapse: bool, twice: bool) -> None:
        """A driver asks for a job of some trials, whose drivers may be late; it asks again if the answer got lost."""
        keys = list(self.trials)
        wanted = [keys[(first + step) % len(keys)] for step in range(min(count, len(keys)))]
        for key in wanted if lapse else ():
            self.expire(key)
        self.jobs += 1
        job = f"job-{self.sweep}-{self.jobs}"
        claims = self.stores[driver].claim(wanted, job)
        if twice:
            assert self.stores[driver].claim(wanted, job) == claims
        assert [claim.key for claim in claims] == [key for key in wanted if self.trials[key].claimable()]
        for claim in claims:
            self.take(driver, claim, job)

    def take(self, driver: int, claim: Claim, job: str) -> None:
        """The model's side of a claim."""
        trial = self.trials[claim.key]
        for attempt in trial.attempts:
            if attempt.state == "running":
                attempt.state, attempt.cause = "lost", "driver gone"
        assert claim.fence > trial.fence
        assert len(claim.earlier) == len(trial.attempts)
        assert claim.causes == trial.causes()
        trial.state, trial.fence, trial.live = "running", claim.fence, True
        attempt = Attempt(claim, len(trial.attempts) + 1, job, driver)
        trial.attempts.append(attempt)
        self.open.append(attempt)

    @precondition(lambda self: self.open)
    @rule(which=some)
    def start(self, which: int) -> None:
        """A worker has set up."""
        attempt = self.open[which % len(self.open)]
        self.stores[attempt.driver].begin(attempt.claim, ENVIRONMENT, 1, None)

    @precondition(lambda self: self.open)
    @rule(driver=anyone)
    def beat(self, driver: int) -> None:
        """A driver renews its leases, and learns which it has lost."""
        mine = [attempt for attempt in self.open if attempt.driver == driver]
        lost = self.stores[driver].heartbeat({attempt.claim: Progress(1, 2, 1, 4, 10.0) for attempt in mine})
        assert lost == {each.claim for each in mine if not self.trials[each.claim.key].held_by(each)}
        for attempt in mine:
            if attempt.claim not in lost:
                self.trials[attempt.claim.key].live = True

    @precondition(lambda self: self.open)
    @rule(which=some, late=st.booleans(), diverges=st.booleans(), twice=st.booleans())
    def finish(self, which: int, late: bool, diverges: bool, twice: bool) -> None:
        """A result comes, in time or late."""
        attempt = self.pick(which, late)
        trial, held = self.trials[attempt.claim.key], self.trials[attempt.claim.key].held_by(attempt)
        result = self.result(attempt, diverges)
        self.say(attempt, lambda store: store.finish(attempt.claim, result), held, twice)
        attempt.state, attempt.has_result = (result.state if held else "superseded"), True
        if held:
            trial.supersede()
            trial.state, trial.live, trial.old_core = result.state, False, False
            trial.accepted = attempt.claim.attempt_id

    def pick(self, which: int, late: bool) -> Attempt:
        """An attempt that its driver is about to end; one that has lost its trial where `late` wants it."""
        lost = [each for each in self.open if not self.trials[each.claim.key].held_by(each)]
        pool = lost if late and lost else self.open
        attempt = pool[which % len(pool)]
        self.open.remove(attempt)
        return attempt

    def result(self, attempt: Attempt, diverges: bool) -> Outcome:
        """An outcome that only this attempt has."""
        plain = outcome(4 if diverges else 0)
        return replace(plain, metrics=(("parameters", float(attempt.claim.attempt_id)),))

    @precondition(lambda self: self.open)
    @rule(which=some, late=st.booleans(), call=st.sampled_from(sorted(ENDINGS)), cause=causes, twice=st.booleans())
    def end(self, which: int, late: bool, call: str, cause: str, twice: bool) -> None:
        """An attempt ends without a result."""
        attempt = self.pick(which, late)
        trial = self.trials[attempt.claim.key]
        held = trial.held_by(attempt)
        more = {"fail": ("message", "traceback"), "again": ("message",), "release": ()}[call]
        expected = None if call == "release" else held
        self.say(attempt, lambda store: getattr(store, call)(attempt.claim, cause, *more), expected, twice)
        attempt.cause = cause
        attempt.state = ENDINGS[call][0] if held else "superseded"
        if held:
            trial.state, trial.live = ENDINGS[call][1], False

    def say(self, attempt: Attempt, call: Callable[[Store], object], expected: object, twice: bool) -> None:
        """Make a driver's last call about an attempt, and remember it for `say_again`."""
        store = self.stores[attempt.driver]
        for _ in range(1 + twice):
            assert call(store) == expected
        attempt.answer = expected
        self.ended.append((attempt, lambda: call(store)))

    @precondition(lambda self: self.ended)
    @rule(which=some)
    def say_again(self, which: int) -> None:
        """Much later a call that had been done is repeated, for its answer was lost: it changes nothing more."""
        attempt, call = self.ended[which % len(self.ended)]
        counts = self.trials[attempt.claim.key].accepted == attempt.claim.attempt_id
        assert call() == (counts if attempt.has_result else attempt.answer)

    def expire(self, key: str) -> None:
        """The trial's driver is not heard of for longer than its lease, if it has one."""
        self.change(schema.trials.c.key == key, lease_until=schema.trials.c.lease_until - 1e6)
        self.trials[key].live = False

    @precondition(lambda self: self.open)
    @rule(driver=anyone)
    def die(self, driver: int) -> None:
        """A driver on this host is killed; another takes its place."""
        gone = f"{socket.gethostname()}:4194305:1"  # no process has this id: Linux counts to 2**22
        self.change(schema.trials.c.owner == self.stores[driver].owner, owner=gone)
        for attempt in [each for each in self.open if each.driver == driver]:
            self.open.remove(attempt)
            trial = self.trials[attempt.claim.key]
            trial.live = trial.live and not trial.held_by(attempt)
        self.ended = [each for each in self.ended if each[0].driver != driver]
        self.be_born(driver)

    @precondition(lambda self: any(trial.state in ("failed", "diverged") for trial in self.trials.values()))
    @rule(states=st.sets(st.sampled_from(["failed", "diverged"]), min_size=1))
    def put_back(self, states: set[str]) -> None:
        """`tinyablate retry`."""
        found = self.stores[0].put_back(list(self.trials), states)
        there = [trial.state for trial in self.trials.values()]
        assert found == {state: there.count(state) for state in states}
        for trial in self.trials.values():
            if trial.state in states:
                trial.supersede()
                trial.state, trial.counted_from, trial.old_core = "pending", len(trial.attempts), False

    @precondition(lambda self: any(trial.state in RESULTS for trial in self.trials.values()))
    @rule()
    def renew_core(self) -> None:
        """A newer core makes every result stale."""
        self.change(schema.trials.c.state.in_(RESULTS), core_version=schema.trials.c.core_version - 1)
        for trial in self.trials.values():
            trial.old_core = trial.state in RESULTS

    def change(self, which: sa.ColumnElement[bool], **values: object) -> None:
        """Turn the clock, a process table, a version: by hand in the database."""
        ours = schema.trials.c.key.in_(list(self.trials))
        with self.stores[0].engine().connect() as connection:
            connection.execute(sa.update(schema.trials).where(ours & which).values(**values))

    # ---- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def agrees_with_the_model(self) -> None:
        """Every trial and attempt is as the model has it, and every result that came is there, as it came."""
        t, a, o = schema.trials.c, schema.attempts.c, schema.outcomes.c
        trials = sa.select(t.key, t.state, t.fence, t.accepted_attempt_id).where(t.key.in_(list(self.trials)))
        attempts = (
            sa.select(t.key, a.number, a.id, a.fence, a.job, a.state, a.cause, o.parameters)
            .join_from(schema.attempts, schema.trials, a.trial_id == t.id)
            .join(schema.outcomes, o.attempt_id == a.id, isouter=True)
            .where(t.key.in_(list(self.trials)))
        )
        with self.stores[0].engine().connect() as connection:
            assert rows(connection.execute(trials)) == rows(
                (key, trial.state, trial.fence, trial.accepted) for key, trial in self.trials.items()
            )
            assert rows(connection.execute(attempts)) == rows(
                (key, each.number, each.claim.attempt_id, each.claim.fence, each.job, each.state, each.cause,
                 each.claim.attempt_id if each.has_result else None)
                for key, trial in self.trials.items() for each in trial.attempts
            )  # fmt: skip

    @invariant()
    def keeps_the_promise(self) -> None:
        """The rules that hold of every database."""
        assert broken(self.stores[0].engine(), deep=False) == []


def rows(found: Iterable[Iterable[object]]) -> list[tuple[object, ...]]:
    """Rows in an order that both sides can have."""
    return sorted((tuple(row) for row in found), key=repr)


def test_drivers_agree_with_a_simple_model(database: str) -> None:
    """Whatever is claimed, finished, lost, late, repeated, killed, retried, outdated: one result counts, none goes."""
    examples = EXAMPLES["postgresql" if "://" in database else "sqlite"]
    chosen = settings(
        max_examples=examples, stateful_step_count=STEPS, deadline=None, derandomize=not SOAK, database=None,
        suppress_health_check=list(HealthCheck), print_blob=False, phases=list(Phase) if SOAK else [Phase.generate],
    )  # fmt: skip
    stores = tuple(Store(database) for _ in range(DRIVERS))
    try:
        machine = type("TheseDrivers", (Drivers,), {"stores": stores, "sweeps": 0})
        run_state_machine_as_test(machine, settings=chosen)
    finally:
        for store in stores:
            store.close()
