"""Several drivers at one database, in threads and at once: one result is accepted for each trial, and none is lost."""

import random
import threading
from collections.abc import Callable

import pytest
import stores
from stores import new_trial, outcome_of, rows

from tinyablate.store import leases
from tinyablate.store import store as module
from tinyablate.store.records import Claim
from tinyablate.store.store import Store

BACKENDS = stores.BACKENDS

DRIVERS = 3


def at_once(database: str, work: Callable[[Store, int], None]) -> None:
    """Run `work` in as many drivers at once, each with a store of its own; the first error is raised."""
    errors: list[BaseException] = []
    ready = threading.Barrier(DRIVERS)

    def drive(number: int) -> None:
        try:
            with Store(database) as store:
                store.owner = f"host{number}:1:1"
                ready.wait(20)
                work(store, number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(DRIVERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]


def promise(store: Store, trials: int) -> None:
    """Every trial is complete with one accepted result, which is its own, and every claim was of one attempt."""
    assert rows(store, "SELECT state, count(*) FROM trials GROUP BY state") == [("complete", trials)]
    accepted = "SELECT count(*), count(DISTINCT trial) FROM outcomes WHERE accepted"
    assert rows(store, accepted) == [(trials, trials)]
    wrong = (
        "SELECT count(*) FROM stored_trials t JOIN attempts a ON a.id = t.accepted_attempt_id "
        "WHERE a.trial_id <> t.id OR a.state <> 'complete'"
    )
    assert rows(store, wrong) == [(0,)]
    assert rows(
        store, "SELECT count(*) FROM (SELECT 1 FROM attempts GROUP BY trial_id, fence HAVING count(*) > 1) x"
    ) == [(0,)]


def test_claims_never_overlap(database: str, store: Store) -> None:
    """Drivers that claim the same trials in different orders share them: every trial is claimed once."""
    trials = stores.registered(store, seeds=20)
    claimed: list[str] = []

    def work(own: Store, number: int) -> None:
        keys = [trial.key for trial in trials]
        random.Random(number).shuffle(keys)
        for start in range(0, len(keys), 3):
            for claim in own.claim(keys[start : start + 3], f"{number}-{start}"):
                claimed.append(claim.key)
                assert own.finish(claim, outcome_of(trials[0]))

    at_once(database, work)
    assert sorted(claimed) == sorted(trial.key for trial in trials)
    promise(store, len(trials))


def test_leases_that_end_at_any_time(database: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases last no longer than the work: beats, claims, results, failures and releases of several drivers at the same
    trials cross in every way. In the end each trial has one accepted result, and no call has failed."""
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.02)
    monkeypatch.setattr(leases, "is_dead", lambda owner: False)
    trials = stores.registered(store, seeds=5)
    by_key = {trial.key: trial for trial in trials}
    accepted: list[str] = []

    def end(own: Store, claim: Claim, choice: random.Random) -> None:
        what = choice.choice(("finish", "finish", "fail", "again", "release", "forget"))
        if what == "finish" and own.finish(claim, outcome_of(by_key[claim.key])):
            accepted.append(claim.key)
        elif what == "fail":
            own.fail(claim, "exception", "no", "")
        elif what == "again":
            own.again(claim, "worker lost", "gone")
        elif what == "release":
            own.release(claim, "stopped")

    def work(own: Store, number: int) -> None:
        choice = random.Random(number)
        for turn in range(12):
            keys = choice.sample(list(by_key), 4)
            claims = own.claim(keys, f"{number}-{turn}")
            own.heartbeat(dict.fromkeys(claims))
            for claim in claims:
                end(own, claim, choice)
            if turn % 4 == 3:
                own.put_back(keys, ["failed"])

    at_once(database, work)
    monkeypatch.setattr(module, "LEASE_SECONDS", 60.0)
    with store.backend.transaction() as connection:
        connection.exec_driver_sql("UPDATE stored_trials SET lease_until = 0 WHERE state = 'running'")
    for claim in store.claim(list(by_key), "last"):
        assert store.finish(claim, outcome_of(by_key[claim.key]))
        accepted.append(claim.key)
    assert sorted(accepted) == sorted(by_key), "as many results were acknowledged as there are trials, one for each"
    promise(store, len(trials))


def test_the_same_result_from_several(database: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts of one trial, all but one of them lost, deliver at once, twice each: one is accepted."""
    monkeypatch.setattr(module, "LEASE_SECONDS", -1.0)
    trials = stores.registered(store, seeds=2)
    answers: dict[tuple[str, int], list[bool]] = {}
    claims = {}
    for number in range(DRIVERS):
        store.owner = f"host{number}:1:1"
        claims[number] = store.claim([trial.key for trial in trials], f"job{number}")

    def work(own: Store, number: int) -> None:
        for claim in claims[number]:
            answers[claim.key, number] = [own.finish(claim, outcome_of(trials[0])) for _ in range(2)]

    at_once(database, work)
    last = DRIVERS - 1
    assert answers == {(claim.key, n): [n == last] * 2 for n in range(DRIVERS) for claim in claims[n]}
    promise(store, len(trials))
    assert rows(store, "SELECT count(*) FROM outcomes") == [(DRIVERS * len(trials),)]


def test_registering_at_once(database: str, store: Store) -> None:
    """Drivers that register overlapping sweeps in different orders make each row once."""

    def work(own: Store, number: int) -> None:
        new = [new_trial(seed, optimizer__lr=lr) for lr in (1e-3, 1e-2, 1e-1) for seed in range(10)]
        random.Random(number).shuffle(new)
        for turn in range(3):
            cells = [stores.CellOf(n, turn, "row", "", trial.key) for n, trial in enumerate(new)]
            own.register(stores.SweepRecord(f"digest{number}", f"demo/{number}", "", "", False, ""), new, cells)

    at_once(database, work)
    assert rows(store, "SELECT (SELECT count(*) FROM variants), count(*) FROM trials") == [(3, 30)]
    assert rows(store, "SELECT sweep, count(*) FROM cells GROUP BY sweep ORDER BY sweep") == [
        (f"demo/{number}", 90) for number in range(DRIVERS)
    ]
