"""Eight drivers at once on one database, with a reader in a loop: each trial is computed once, nobody meets a lock."""

import json
import multiprocessing
import os
import random
import time
from collections import Counter
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import sqlalchemy as sa
import stores
from reliability.life import ENVIRONMENT, SOAK, Says, in_forks, new_trial, outcome, register, work
from reliability.promise import RULES, broken

from tinyablate.job import Progress
from tinyablate.store import schema
from tinyablate.store.store import Store

BACKENDS = stores.BACKENDS
DRIVERS = 8
TRIALS = 2_000 if SOAK else 200


def drive(database: str, done: Path, number: int, says: Says) -> None:
    """A driver: jobs of one to four trials, in an order of its own, until all trials have their result."""
    trials = [new_trial(10 * index) for index in range(TRIALS)]
    seeds = {trial.key: trial.seed for trial in trials}
    chance = random.Random(number)
    with Store(database) as store:
        store.enter(f"driver {number}", None)
        register(store, 1, trials)  # all of them at once: who comes first makes the rows
        while left := [key for key, state in store.states(list(seeds)).items() if state.state != "complete"]:
            chance.shuffle(left)
            while left:
                job = [left.pop() for _ in range(min(len(left), chance.randint(1, 4)))]
                for claim in store.claim(job, f"job-{number}-{len(left)}"):
                    store.begin(claim, ENVIRONMENT, 1, None)
                    assert not store.heartbeat({claim: Progress(1, 2, 1, 4, 1.0)})
                    says(claim.key, claim.attempt_id, store.finish(claim, outcome(seeds[claim.key])))
        store.leave()
    done.touch()


def read(database: str, done: Path, says: Says) -> None:
    """A reader: it asks for all that must never be seen, as fast as it can, and never waits for a writer."""
    looks, slowest = 0, 0.0
    with Store(database) as store:
        while not done.exists():
            began = time.perf_counter()
            assert broken(store.engine(), deep=False) == []
            looks, slowest = looks + 1, max(slowest, time.perf_counter() - began)
    says(looks, slowest)


def test_eight_drivers_and_a_reader(database: str, tmp_path: Path) -> None:
    """Each trial is finished by exactly one driver, several had a share, and the reader saw nothing half done."""
    with Store(database) as store:
        work(store, 1_000)  # what it imports, its forks need not
    began = time.perf_counter()
    done = tmp_path / "done"
    *drivers, reader = in_forks(
        [*(partial(drive, database, done, number) for number in range(DRIVERS)), partial(read, database, done)]
    )
    seconds = time.perf_counter() - began
    ((looks, slowest),) = reader.told
    accepted = Counter(key for driver in drivers for key, _, counts in driver.told if counts)
    assert len(accepted) == TRIALS
    assert set(accepted.values()) == {1}
    assert [each for driver in drivers for each in driver.told if not each[2]] == []
    shares = [len(driver.told) for driver in drivers]
    assert sum(share > 0 for share in shares) > 1
    with Store(database) as store, store.engine().connect() as connection:
        assert broken(store.engine()) == []
        names = [f"job-{driver}-{left}" for driver in range(DRIVERS) for left in range(TRIALS)]
        jobs = schema.attempts.c.job.in_(names)
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.attempts).where(jobs)) == TRIALS
    print(json.dumps({"trials": TRIALS, "drivers": DRIVERS, "seconds": round(seconds, 2), "shares": shares,
                      "reader's looks": looks, "slowest look": round(slowest, 3)}))  # fmt: skip
    assert looks > 0


def test_one_trial_wanted_by_all(database: str) -> None:
    """Of drivers that claim the same trials at the same moment, exactly one gets each."""
    with Store(database) as store:
        trials = [new_trial(10 * index) for index in range(40)]
        register(store, 1, trials)
    together = multiprocessing.get_context("fork").Barrier(4)
    ended = in_forks([partial(grab, database, together, [trial.key for trial in trials])] * 4)
    got = Counter(key for driver in ended for (key,) in driver.told)
    assert len(got) == 40
    assert set(got.values()) == {1}


def grab(database: str, together: Barrier, keys: list[str], says: Says) -> None:
    """Claim one trial after another, and live until the others have: a dead driver's claims are free again."""
    with Store(database) as store:
        together.wait()
        for key in keys:
            for claim in store.claim([key], f"job-{os.getpid()}-{key}"):
                says(claim.key)
        together.wait()


def test_the_rules_would_notice(database: str) -> None:
    """Each rule of the promise is broken by what it speaks of: none is a query that finds nothing whatever there is."""
    with Store(database) as store:
        work(store, 1)
        (claim,) = store.claim([new_trial(999).key], "none") or [None]
        assert claim is None
        assert broken(store.engine()) == []
        for rule, harm in HARMS.items():
            with store.engine().connect() as connection:
                connection.exec_driver_sql("BEGIN")
                connection.execute(sa.text(harm))
                assert connection.execute(sa.text(RULES[rule])).first() is not None, rule
                connection.exec_driver_sql("ROLLBACK")
    assert HARMS.keys() == RULES.keys()


HARMS = {
    "a result stands on an accepted attempt with an outcome of its state, and nobody works on it":
        "UPDATE stored_trials SET accepted_attempt_id = NULL WHERE state = 'complete'",
    "no attempt counts but the accepted one": "UPDATE attempts SET state = 'complete' WHERE state = 'failed'",
    "an attempt has an outcome exactly if it came to a result":
        "UPDATE attempts SET state = 'failed' WHERE state = 'diverged'",
    "an outcome has all its epochs, each with its bits": "DELETE FROM correctness WHERE epoch = 2",
    "numbers, bits and files belong to an outcome, and to its trial":
        "UPDATE metrics SET trial_id = (SELECT max(t.id) FROM stored_trials t WHERE t.id <> metrics.trial_id)",
    "a running trial has one running attempt, of its fence; another has none":
        "UPDATE stored_trials SET state = 'running' WHERE state = 'diverged'",
    "only a running trial is leased": "UPDATE stored_trials SET owner = 'somebody'",
    "fences grow with every attempt, and the trial's is the last": "UPDATE stored_trials SET fence = 0",
    "an attempt has ended exactly if it does not run": "UPDATE attempts SET ended_at = NULL",
}  # fmt: skip
