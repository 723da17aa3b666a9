"""Claims, their ends and drivers: what each call does, and that it does nothing more when it is made again."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
import stores
from stores import outcome_of, rows

from tinyablate import retries
from tinyablate.errors import AwayError
from tinyablate.identity import CORE_VERSION
from tinyablate.job import Outcome, Progress
from tinyablate.store import store as module
from tinyablate.store.backends import backend
from tinyablate.store.records import Claim, EnvironmentRecord, EstimateRecord, ExtensionRecord, NewTrial, ProtocolRecord
from tinyablate.store.store import Store

BACKENDS = stores.BACKENDS

EVERYTHING = (
    "SELECT id, state, fence, owner, accepted_attempt_id, counted_from FROM stored_trials ORDER BY id",
    "SELECT id, number, fence, state, job, directory, cause, message, traceback FROM attempts ORDER BY id",
    "SELECT attempt_id, state, last_val_top1 FROM stored_outcomes ORDER BY attempt_id",
    "SELECT attempt_id, epoch, val_top1 FROM stored_epochs ORDER BY attempt_id, epoch",
    "SELECT owner, name, stop_asked, log FROM drivers",
    "SELECT count(*) FROM environments",
    "SELECT from_n, to_n FROM extensions",
    "SELECT name, smoke FROM protocols",
)


def everything(store: Store) -> list[object]:
    """All that calls change, but for times."""
    return [rows(store, sql) for sql in EVERYTHING]


@pytest.fixture
def expired(monkeypatch: pytest.MonkeyPatch) -> Callable[[Store, str], Claim]:
    """Claims a trial, in a job of its own, under a lease that is over at once."""
    numbers = itertools.count()

    def claim(store: Store, key: str) -> Claim:
        monkeypatch.setattr(module, "LEASE_SECONDS", -1.0)
        (made,) = store.claim([key], f"job{next(numbers)}")
        monkeypatch.setattr(module, "LEASE_SECONDS", 60.0)
        return made

    return claim


# ---- said twice ------------------------------------------------------------------------------------------------------

Call = Callable[[Store, Claim, list[NewTrial], EnvironmentRecord], object]

CALLS: dict[str, Call] = {
    "claim": lambda store, claim, trials, _: store.claim([trials[1].key, trials[2].key], "second"),
    "begin": lambda store, claim, trials, where: store.begin(claim, where, 2, 8, 17),
    "heartbeat": lambda store, claim, trials, _: store.heartbeat({claim: Progress(1, 3, 2, 9, 10.0)}),
    "finish": lambda store, claim, trials, _: store.finish(claim, outcome_of(trials[0])),
    "fail": lambda store, claim, trials, _: store.fail(claim, "exception", "no", "here"),
    "again": lambda store, claim, trials, _: store.again(claim, "worker lost", "no", "here"),
    "release": lambda store, claim, trials, _: store.release(claim, "stopped"),
    "enter": lambda store, claim, trials, _: store.enter("demo", "/log"),
    "leave": lambda store, claim, trials, _: store.leave(),
    "beat_driver": lambda store, claim, trials, _: store.beat_driver(),
    "ask_to_stop": lambda store, claim, trials, _: store.ask_to_stop(["host:1:1"]),
    "note_protocol": lambda store, claim, trials, _: store.note_protocol(
        "demo", False, ProtocolRecord("m", "last", None, "table", "max-t", "0", "a")
    ),
    "note_extension": lambda store, claim, trials, _: store.note_extension(
        "demo", False, ExtensionRecord("row", "", 3, 5, 3, 0.3, 0.1)
    ),
    "register": lambda store, claim, trials, _: stores.registered(store, seeds=3),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_whose_acknowledgement_was_lost_is_made_again(
    name: str, store: Store, trials: list[NewTrial], environment: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction was committed, but its driver was told that the server is gone: the second call returns what the
    first would have, and changes nothing."""
    store.enter("demo", None)
    (claim,) = store.claim([trials[0].key], "first")
    real = backend.begun

    def call() -> object:
        return CALLS[name](store, claim, trials, environment)

    with monkeypatch.context() as patched:
        for place in ("sqlite", "postgresql"):
            patched.setattr(f"tinyablate.store.backends.{place}.begun", committed_and_lost(real))
        with pytest.raises(AwayError, match="gone after the commit"):
            call()
    after, second = everything(store), call()
    assert everything(store) == after
    assert call() == second
    expected = {"finish": True, "fail": True, "again": True, "heartbeat": set(), "beat_driver": False}
    assert second == expected.get(name, second)
    if name == "claim":
        assert [each.key for each in second] == [trials[1].key, trials[2].key]  # type: ignore[attr-defined]


def committed_and_lost(real: Callable[..., object]) -> Callable[..., object]:
    """`backend.begun` that ends with AwayError although it has committed."""

    @contextlib.contextmanager
    def begun(*arguments: object) -> Iterator[object]:
        with real(*arguments) as connection:  # type: ignore[attr-defined]
            yield connection
        raise AwayError("gone after the commit")

    return begun


def test_an_end_is_not_overwritten(store: Store, trials: list[NewTrial]) -> None:
    """Of several ends of one attempt the first stays, and only it was accepted."""
    one, two = store.claim([trials[0].key, trials[1].key], "job")
    assert store.finish(one, outcome_of(trials[0]))
    assert not store.fail(one, "exception", "late", "")
    assert not store.again(one, "worker lost", "late")
    store.release(one, "stopped")
    assert store.states([trials[0].key])[trials[0].key].state == "complete"
    assert store.again(two, "worker lost", "gone")
    assert not store.fail(two, "exception", "late", "")
    assert store.states([trials[1].key])[trials[1].key].state == "pending"
    assert not store.finish(two, outcome_of(trials[1])), "given back: the next attempt's result will count"
    assert rows(store, "SELECT state FROM attempts ORDER BY id") == [("complete",), ("superseded",)]


def test_claiming_again_after_the_lease_was_lost(
    store: Store, trials: list[NewTrial], expired: Callable[[Store, str], Claim], database: str
) -> None:
    """The same job's claims come back while nobody took them, renewed; afterwards none."""
    key = trials[0].key
    first = expired(store, key)
    assert store.claim([key], "job0") == [first]
    assert store.states([key])[key].live, "renewed"
    second = expired(store, trials[1].key)
    with Store(database) as other:
        other.owner = "elsewhere:1:1"
        (taken,) = other.claim([trials[1].key], "theirs")
        assert taken.fence == second.fence + 1
        assert store.claim([trials[1].key], "job1") == []


# ---- leases ----------------------------------------------------------------------------------------------------------


def test_a_beat_says_what_was_lost(
    store: Store, trials: list[NewTrial], expired: Callable[[Store, str], Claim]
) -> None:
    """Claims that another driver has taken, or that ended, come back; the others are renewed."""
    lost = expired(store, trials[0].key)
    (taken,) = store.claim([trials[0].key], "job")
    held, ended = store.claim([trials[1].key, trials[2].key], "job")
    store.finish(ended, outcome_of(trials[2]))
    assert store.heartbeat({lost: None, held: None, ended: None, taken: None}) == {lost, ended}
    assert store.heartbeat({}) == set()
    assert rows(store, "SELECT state, cause, ended_at = heartbeat_at FROM attempts WHERE id = 1") == [
        ("lost", retries.DRIVER_GONE, True)
    ]


@pytest.mark.parametrize("end", ["fail", "again", "release", "finish"])
def test_the_late_end_of_a_lost_attempt(
    end: str, store: Store, trials: list[NewTrial], expired: Callable[[Store, str], Claim]
) -> None:
    """It is recorded as superseded and changes nothing for the trial, which another attempt computes."""
    key = trials[0].key
    late = expired(store, key)
    (second,) = store.claim([key], "job")
    ends: dict[str, Callable[[], bool | None]] = {
        "fail": lambda: store.fail(late, "exception", "late", ""),
        "again": lambda: store.again(late, "worker lost", "late"),
        "release": lambda: store.release(late, "stopped"),
        "finish": lambda: store.finish(late, outcome_of(trials[0])),
    }
    assert not ends[end]()
    assert not ends[end]()
    assert store.states([key])[key].live
    assert rows(store, "SELECT state FROM attempts ORDER BY number") == [("superseded",), ("running",)]
    assert store.finish(second, outcome_of(trials[0]))
    assert rows(store, "SELECT count(*) FROM outcomes WHERE accepted") == [(1,)]


# ---- tries -----------------------------------------------------------------------------------------------------------


def test_a_claim_knows_why_earlier_attempts_ended(
    store: Store, trials: list[NewTrial], expired: Callable[[Store, str], Claim]
) -> None:
    """In their order; results, and what was superseded, are no tries."""
    key = trials[0].key
    for cause in (retries.WORKER_LOST, retries.EXCEPTION):
        (claim,) = store.claim([key], "job")
        store.again(claim, cause, "text", "trace")
    (claim,) = store.claim([key], "job")
    store.release(claim, retries.STOPPED)
    expired(store, key)
    late = expired(store, key)
    (claim,) = store.claim([key], "job")
    known = (retries.WORKER_LOST, retries.EXCEPTION, retries.STOPPED, retries.DRIVER_GONE)
    assert claim.causes == (*known, retries.DRIVER_GONE)
    assert len(claim.earlier) == 5
    store.fail(late, retries.EXCEPTION, "late", "")
    assert store.claim([key], "job") == [dataclasses.replace(claim, causes=known)]
    assert rows(store, "SELECT traceback FROM attempts WHERE cause = 'worker lost'") == [("trace",)]


def test_putting_back(store: Store, trials: list[NewTrial]) -> None:
    """Trials of the states that are asked for are pending, their retries forgotten; a diverged result is superseded."""
    keys = [trial.key for trial in trials]
    failed, diverged, complete, _ = store.claim(keys, "job")
    store.fail(failed, "exception", "no", "trace")
    store.finish(diverged, Outcome("diverged", (), (("parameters", 5.0),), diverged_epoch=1))
    store.finish(complete, outcome_of(trials[2]))
    assert store.put_back(keys, []) == {}
    assert store.put_back(["absent"], ["failed"]) == {"failed": 0}
    assert store.put_back(keys[1:], ["failed"]) == {"failed": 0}
    assert store.put_back(keys, ["failed", "diverged"]) == {"failed": 1, "diverged": 1}
    assert store.put_back(keys, ["failed", "diverged"]) == {"failed": 0, "diverged": 0}
    states = [state.state for state in (store.states(keys)[key] for key in keys)]
    assert states == ["pending", "pending", "complete", "running"]
    assert rows(store, "SELECT state FROM attempts ORDER BY id") == [
        ("failed",), ("superseded",), ("complete",), ("running",),
    ]  # fmt: skip
    again, new = store.claim(keys[:2], "next")
    assert (again.causes, new.causes) == ((), ())
    assert again.earlier == (failed.directory,)
    assert rows(store, "SELECT count(*) FROM trials WHERE parameters IS NOT NULL") == [(1,)]
    assert store.finish(new, outcome_of(trials[1]))
    with pytest.raises(ValueError, match="'complete'"):
        store.put_back(keys, ["complete"])


def test_an_attempt_knows_where_it_went_on(
    store: Store, trials: list[NewTrial], environment: EnvironmentRecord
) -> None:
    """The epoch, and the update within it."""
    (claim,) = store.claim([trials[0].key], "job")
    store.begin(claim, environment, 2, None, 17)
    assert rows(store, "SELECT from_epoch, from_step, micro_batch FROM attempts") == [(2, 17, None)]


def test_an_environment_that_was_not_stored_is_not_remembered(
    store: Store, trials: list[NewTrial], environment: EnvironmentRecord
) -> None:
    """When the transaction that would have stored it is undone, the next one stores it."""
    (claim,) = store.claim([trials[0].key], "job")

    def gone(*arguments: object) -> None:
        if str(arguments[2]).startswith("UPDATE attempts"):
            raise AwayError("gone")

    sa.event.listen(store.engine(), "before_cursor_execute", gone)
    with pytest.raises(AwayError):
        store.begin(claim, environment, 1, None)
    sa.event.remove(store.engine(), "before_cursor_execute", gone)
    assert rows(store, "SELECT count(*) FROM environments") == [(0,)]
    store.begin(claim, environment, 1, None)
    assert rows(store, "SELECT host FROM environments") == [("machine.example",)]


def test_results_of_another_core_make_room_once(
    store: Store, trials: list[NewTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale result is superseded when the new one is accepted, not when its trial is claimed."""
    (claim,) = store.claim([trials[0].key], "job")
    store.finish(claim, outcome_of(trials[0]))
    monkeypatch.setattr(module, "CORE_VERSION", CORE_VERSION + 1)
    (again,) = store.claim([trials[0].key], "next")
    assert again.causes == ()
    assert rows(store, "SELECT count(*) FROM trials WHERE last_val_top1 > 0") == [(1,)]
    assert store.again(again, "worker lost", "")
    assert rows(store, "SELECT state FROM attempts ORDER BY id") == [("complete",), ("failed",)]


# ---- drivers and notes -----------------------------------------------------------------------------------------------


def test_drivers(database: str, store: Store) -> None:
    """They enter, live, are asked to stop and leave; those of another host live as long as they are heard of."""
    with Store(database) as far:
        far.owner = "elsewhere:1:1"
        far.enter("huynh2022", "/tmp/log")
        store.enter("demo", None)
        assert [(each.name, each.live, each.log) for each in store.drivers()] == [
            ("demo", True, None), ("huynh2022", True, "/tmp/log"),
        ]  # fmt: skip
        store.ask_to_stop([far.owner])
        assert (far.beat_driver(), store.beat_driver()) == (True, False)
        far.enter("huynh2022", None)
        assert far.beat_driver(), "the same run, which has started meanwhile"
        far.leave()
        far.enter("huynh2022", None)
        assert not far.beat_driver(), "a new run was not asked"
        far.leave()
        newest, other = store.drivers()
        assert (newest.owner, newest.live, newest.ended_at is not None) == (far.owner, False, True)
        assert other.live
    with store.backend.transaction() as connection:
        connection.exec_driver_sql("UPDATE drivers SET heartbeat_at = heartbeat_at - 61")
    assert [each.live for each in store.drivers()] == [False, False]


def test_a_driver_of_this_host_that_is_gone(store: Store) -> None:
    """It is known to be dead before its lease is over."""
    host, _, _, machine = store.owner.split(":")
    store.owner = f"{host}:{2**22 + 1}:1:{machine}"  # no process has this id: Linux counts to 2**22
    store.enter("demo", None)
    assert [each.live for each in store.drivers()] == [False]


def test_an_extension_is_noted_once(store: Store) -> None:
    """Two drivers that follow the same rule note the same."""
    record = ExtensionRecord("row", "", 3, 5, 3, 0.3, 0.1)
    for each in (record, record, dataclasses.replace(record, from_n=5, to_n=7), record):
        store.note_extension("demo", False, each)
    assert [each.to_n for each in store.extensions("demo", False)] == [5, 7]


def test_estimates_of_one_moment(store: Store, trials: list[NewTrial]) -> None:
    """As many as were noted."""
    for _ in range(3):
        store.note_estimate("digest", EstimateRecord(60.0, "cpu", 4, 1, 0.1, 2**40, 3, 2, 1))
    assert rows(store, "SELECT count(*), max(disk_bytes) FROM estimates") == [(3, 2**40)]
