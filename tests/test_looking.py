"""What is said to happen on a database: drivers, attempts under way, counts, causes, time left, on both databases."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import analytic
import pytest
from driven import ELSEWHERE, LABEL, begun, sweep, token
from inspection.conftest import new_trial

from tinyablate import retries
from tinyablate.activity import command
from tinyablate.errors import UsageError
from tinyablate.job import Outcome, Progress
from tinyablate.looking import causes_of, failures, look
from tinyablate.store.records import NewTrial
from tinyablate.store.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty database of each kind."""
    where = request.getfixturevalue("postgres_url") if request.param == "postgresql" else tmp_path / "a.db"
    with Store(where) as opened:
        yield opened


def outcome(trial: NewTrial) -> Outcome:
    """The trial's result after two epochs."""
    return Outcome("complete", tuple(analytic.result(trial.recipe, trial.seed, epoch) for epoch in (1, 2)), ())


def test_everything_at_one_moment(store: Store) -> None:
    """Drivers, attempts, counts and causes are those of the trials of the sweep that runs."""
    trials = [new_trial(seed) for seed in range(6)]
    sweep(store, "paper/a", trials)
    sweep(store, "other", [new_trial(9)])
    store.enter("paper/a", None)
    assert store.finish(begun(store, trials[0]), outcome(trials[0]))
    running = begun(store, trials[1])
    store.heartbeat({running: Progress(2, 2, 1, 4, 1234.0)})
    assert store.fail(begun(store, trials[2]), retries.OUT_OF_MEMORY, "no memory", "")
    assert store.again(begun(store, trials[3]), retries.WORKER_LOST, "killed")
    store.release(begun(store, trials[4]), retries.STOPPED)
    seen = look(store)
    assert [version.name for version in seen.versions] == ["paper/a"]
    assert [(each.owner, each.name, each.live) for each in seen.drivers] == [(store.owner, "paper/a", True)]
    (attempt,) = seen.running
    assert (attempt.trial, attempt.seed, attempt.attempt, attempt.epoch, attempt.epochs) == (trials[1].key, 1, 1, 2, 2)
    assert (attempt.place, attempt.images_per_second) == (f"paper/a: {LABEL}", 1234.0)
    assert (seen.done, seen.diverged, seen.pending, seen.total) == (1, 0, 3, 6)
    assert dict(seen.failed) == {retries.OUT_OF_MEMORY: 1}
    assert dict(seen.retried) == {retries.WORKER_LOST: 1}
    assert [(each.seed, each.cause, each.given_up) for each in seen.ended] == [
        (3, retries.WORKER_LOST, False),
        (2, retries.OUT_OF_MEMORY, True),
    ]


def test_time_left_follows_the_epochs_of_the_drivers(store: Store) -> None:
    """It is the epochs left, a started one counted as left, by the rate of the epochs that ended."""
    trials = [new_trial(seed) for seed in range(4)]
    sweep(store, "a", trials)
    store.enter("a", None)
    assert look(store).seconds_left is None
    claim = begun(store, trials[0])
    time.sleep(0.2)
    assert store.finish(claim, outcome(trials[0]))
    running = begun(store, trials[1])
    store.heartbeat({running: Progress(2, 2, 1, 4, 1.0)})
    seen = look(store)
    (began,) = (row.started_at for row in attempts(store) if row.trial_id == claim.trial_id)
    # Two epochs of the first trial and one of the second have ended; one and two times two are left.
    assert seen.seconds_left == pytest.approx(5 / 3 * (seen.at - began))


def attempts(store: Store) -> list[object]:
    """The stored attempts."""
    import sqlalchemy as sa

    from tinyablate.store import schema

    with store.backend.read() as connection:
        return list(connection.execute(sa.select(schema.attempts)))


def test_a_sweep_that_is_named_is_looked_at_alone(store: Store) -> None:
    """A name, a file's path or a folder says which; a driver of the whole folder belongs to each part of it."""
    first, second = new_trial(0), new_trial(1)
    sweep(store, "paper/a", [first])
    sweep(store, "paper/b", [second])
    store.enter("paper", None)
    begun(store, first)
    begun(store, second)
    assert {each.trial for each in look(store).running} == {first.key, second.key}
    for name in ("paper/b", "sweeps/paper/b.toml"):
        seen = look(store, name)
        assert [each.trial for each in seen.running] == [second.key]
        assert (seen.total, len(seen.live)) == (1, 1)
    assert look(store, "paper/").total == 2
    with pytest.raises(UsageError, match=r"pape/a: was never run with this database; did you mean 'paper/a'\?"):
        look(store, "pape/a")


def test_only_the_last_way_of_a_run_counts(store: Store) -> None:
    """Of a sweep's versions the one run last, and where two run at once both; an edited one no longer counts."""
    plain, small, edited = new_trial(0), new_trial(0, data__fraction=0.5), new_trial(1)
    sweep(store, "a", [plain])
    sweep(store, "a", [plain, edited])
    sweep(store, "a", [small], smoke=True, overrides="data.fraction=0.5")
    store.enter("a", None)
    assert [version.smoke for version in look(store).versions] == [True]
    begun(store, plain)
    seen = look(store)
    assert [(version.smoke, seen.total) for version in seen.versions] == [(False, 2)]
    begun(store, small)
    seen = look(store)
    assert seen.total == 3
    assert {command("retry", version, ["--db", "x y.db"]) for version in seen.versions} == {
        "tinyablate retry a --db 'x y.db'",
        "tinyablate retry a --smoke --set data.fraction=0.5 --db 'x y.db'",
    }


def test_what_a_dead_driver_computed_is_pending(store: Store) -> None:
    """The trials of a driver of this machine that is gone wait; another machine's counts until its lease ends."""
    trials = [new_trial(seed) for seed in range(2)]
    sweep(store, "a", trials)
    store.owner = ELSEWHERE
    store.enter("a", "/var/log/a.log")
    begun(store, trials[0])
    seen = look(store)
    assert (len(seen.live), len(seen.running), seen.pending) == (1, 1, 1)
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    store.owner = token(ended.pid)
    ended.wait()
    store.enter("a", None)
    begun(store, trials[1])
    seen = look(store)
    assert [(each.owner, each.live) for each in seen.drivers] == [(store.owner, False), (ELSEWHERE, True)]
    assert (len(seen.running), seen.pending) == (1, 1)


def test_a_driver_of_an_unknown_path_shows_what_it_runs(store: Store) -> None:
    """Where a driver's name means nothing here, the sweeps that hold its running trials count."""
    trials = [new_trial(seed) for seed in range(2)]
    sweep(store, "mine", trials)
    sweep(store, "other", [new_trial(5)])
    store.enter("/somewhere/else", None)
    begun(store, trials[0])
    assert [version.name for version in look(store).versions] == ["mine"]


def test_failures_come_by_sweep_and_cause(store: Store) -> None:
    """Each way of each sweep that has failed trials, by the cause of their last attempts."""
    trials = [new_trial(seed) for seed in range(4)]
    sweep(store, "a", trials)
    sweep(store, "b", trials[:1])
    assert failures(store) == []
    for trial, cause in zip(trials, [retries.DATA, retries.DATA, retries.EXCEPTION], strict=False):
        assert store.fail(begun(store, trial), cause, "", "")
    found = {version.name: causes for version, causes in failures(store)}
    assert found == {"a": {retries.DATA: 2, retries.EXCEPTION: 1}, "b": {retries.DATA: 1}}
    assert [version.name for version, _ in failures(store, "b")] == ["b"]
    assert causes_of(store, [trial.key for trial in trials]) == {retries.DATA: 2, retries.EXCEPTION: 1}
