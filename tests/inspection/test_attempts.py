"""What `show` says of attempts: where they ran, how they ended and went on, what they left."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from inspection.conftest import environment, new_trial, outcome

from tinyablate import retries
from tinyablate.inspection.show import show_trial
from tinyablate.job import FileDigest, Outcome
from tinyablate.store.records import CellOf, Claim, NewTrial, SweepRecord
from tinyablate.store.store import Store

TRIAL = new_trial(0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A database with one trial of the sweep `mine`, that nobody has begun."""
    with Store(tmp_path / "a.db") as opened:
        sweep = SweepRecord("d", "mine", "t", "", True, "schedule.epochs=2")
        opened.register(sweep, [TRIAL], [CellOf(0, 0, "Default", "", TRIAL.key)])
        yield opened


@pytest.fixture
def shown(store: Store) -> Callable[..., str]:
    """What `show` says now."""
    return lambda **options: show_trial(str(store.location), TRIAL.key[:8], **options)


def claimed(store: Store, from_step: int | None = 0, trial: NewTrial = TRIAL) -> Claim:
    """A new attempt, which begins unless `from_step` is None."""
    (claim,) = store.claim([trial.key], f"job {store.owner} {from_step}")
    if from_step is not None:
        store.begin(claim, environment(host="node-7"), 3, 16, from_step)
    return claim


def test_each_attempt_says_how_it_ended_and_went_on(store: Store, shown: Callable[..., str]) -> None:
    """Cause, host, message and number of every attempt; the last one says that the trial was given up."""
    store.owner = "node-1:5:17"
    store.again(claimed(store, None), retries.WORKER_LOST, "killed by signal 9")
    store.owner = "node-2:5:17"
    store.release(claimed(store, 120), retries.STOPPED)
    store.owner = "node-3:5:17"
    store.fail(claimed(store), retries.OUT_OF_MEMORY, "OutOfMemoryError: 7 GiB\nof 6", "Traceback\n  line 1\nlast")
    first, second, third = shown().split("\nattempt ")[1:]
    assert "had not begun on node-1" in first
    assert "  cause: worker lost\n  killed by signal 9\n  then: tried again as attempt 2\n" in first
    assert "on node-7, cpu" in second
    assert "from epoch 3 after 120 updates, micro-batch 16\n  cause: stopped\n  then: continued as attempt 3" in second
    ends = "  OutOfMemoryError: 7 GiB\n  of 6\n  Traceback\n    line 1\n  last\n  then: given up after 3 attempts"
    assert third.endswith(ends)
    why = shown(why=True, more=["--db", "x.db"])
    assert "why: it failed, the last time by out-of-memory: the device's memory was too small" in why
    assert "then `tinyablate retry mine --smoke --set schedule.epochs=2 --db x.db`" in why


def test_a_trial_that_was_put_back_says_so(store: Store, shown: Callable[..., str]) -> None:
    """After `retry` the attempt before it says so, and the attempts that count begin anew."""
    store.fail(claimed(store), retries.DATA, "gone", "")
    assert store.put_back([TRIAL.key], ["failed"]) == {"failed": 1}
    assert shown().endswith("  then: put back by `tinyablate retry`")
    assert "why: `tinyablate retry` put it back; `tinyablate run mine --smoke" in shown(why=True)
    store.owner = "other:1:1"
    store.fail(claimed(store), retries.DATA, "gone", "")
    assert "put back by `tinyablate retry`, then attempt 2\n" in shown()
    assert shown().endswith("  then: given up after 1 attempt")


def test_a_pending_trial_names_its_checkpoint(store: Store, shown: Callable[..., str]) -> None:
    """It is the furthest that any attempt left, by whole epochs and then updates; a trial with a result has none."""
    for owner, names in (("a:1:1", ["epoch-0002.pt", "epoch-0003+000040.pt"]), ("b:1:1", ["epoch-0003.pt.part"])):
        store.owner = owner
        claim = claimed(store)
        claim.directory.mkdir(parents=True)
        for name in names:
            (claim.directory / name).write_bytes(b"x" * 2500)
        store.release(claim, retries.STOPPED)
    assert "goes on from its checkpoint of attempt 1 after 3 epochs and 40 updates of the next: " in shown()
    assert "epoch-0003+000040.pt, 2.5 kB" in shown()
    assert shown().endswith("then: given back; the next `tinyablate run` goes on with it")
    store.owner = "c:1:1"
    store.finish(claimed(store), outcome(["1", "1"]))
    assert "checkpoint" not in shown()


def test_kept_files_come_with_digest_and_size(store: Store, shown: Callable[..., str]) -> None:
    """A file that an attempt left for good has its path, size and sha256; one that is gone is said to be."""
    claim = claimed(store)
    claim.directory.mkdir(parents=True)
    (claim.directory / "weights.pt").write_bytes(b"x")
    files = (FileDigest("weights", "weights.pt", "ab" * 32, 12_345), FileDigest("log", "log.txt", "cd" * 32, 7))
    result: Outcome = replace(outcome(["1", "0"]), files=files)
    assert store.finish(claim, result)
    text = shown()
    assert f"  kept weights: {claim.directory}/weights.pt, 12.3 kB, sha256 {'ab' * 32}" in text
    assert f"log.txt, 7 B, sha256 {'cd' * 32}, not on this machine" in text


def test_of_a_dump_the_innermost_calls_are_shown(store: Store, shown: Callable[..., str]) -> None:
    """A worker that hung wrote them first, below a heading of their own: they stay where the text is cut."""
    calls = [f'  File "a.py", line {number} in call{number}' for number in range(30)]
    text = "\n".join(["last lines of the worker's stderr:", "warning", "Stack (most recent call first):", *calls])
    store.fail(claimed(store), retries.HUNG, "no time slice ended", text)
    assert "Stack (most recent call first):\n" in shown()
    assert [number for number in range(30) if f"in call{number}\n" in shown()] == list(range(8))
    assert shown().count("lines, shown by --why") == 1
    hidden = 33 - 1 - 9
    assert f"  … {hidden} lines, shown by --why" in shown()
    assert shown(why=True).count("in call") == 30


def test_labels_and_messages_move_no_cursor(store: Store, shown: Callable[..., str]) -> None:
    """What a message holds of a terminal's codes is shown as spaces."""
    store.fail(claimed(store), retries.EXCEPTION, "\x1b[2Jgone", "\x1b[31mred")
    assert "\x1b" not in shown(why=True)
