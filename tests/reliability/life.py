"""A driver's work on one small sweep, from opening the database to leaving it, told step by step; and its death.

Its five trials end in the five ways there are: a result, a failure that is tried again at once, one that is put back,
a release, a divergence. A later life on the same sweep finishes what an earlier one left.
"""

import hashlib
import itertools
import json
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import analytic
import torch

from tinyablate import faults
from tinyablate.identity import CORE_VERSION, canonical, trial_key
from tinyablate.job import FileDigest, Outcome, Progress, TrialTask
from tinyablate.recipe import Recipe, build
from tinyablate.retention import WEIGHTS
from tinyablate.store.records import CellOf, Claim, EnvironmentRecord, NewTrial, SweepRecord
from tinyablate.store.store import Store
from tinyablate.train import checkpoint, writing

SOAK = "TINYABLATE_SOAK" in os.environ
"""Whether tests are run at full size: for hours, not for every day."""

SECONDS = 1200 if SOAK else 120
"""After which a life that hangs is ended."""

CORE = "core-1"
RESULT, AGAIN, FAILED, RELEASED, DIVERGED = range(5)

Says = Callable[..., None]

ENVIRONMENT = EnvironmentRecord(
    host="machine.example", device="cpu", driver="", python="3.11", torch="2", torchvision="0", timm="1", ray="2",
    tinyablate="0", core_version=CORE_VERSION, train_digest="abc", git_commit="c0ffee", data_digest="d",
    weights_digest="", threads=1, compiled=False, memory_format="x",
)  # fmt: skip


def recipe() -> Recipe:
    """Of all trials here."""
    return build({"model.name": "test_vit", "schedule.epochs": 2})


def new_trial(seed: int) -> NewTrial:
    """The trial of that recipe under `seed`."""
    text = canonical(recipe())
    return NewTrial(trial_key(text, seed, "shapes-v1"), recipe(), text, seed, "shapes-v1")


def trials_of(sweep: int) -> list[NewTrial]:
    """The five trials of the sweep of that number: no other sweep has them."""
    return [new_trial(10 * sweep + role) for role in range(5)]


def register(store: Store, sweep: int, trials: list[NewTrial]) -> None:
    """Make a sweep of that number with these trials known."""
    cells = [CellOf(index, 0, f"row {index}", "", trial.key) for index, trial in enumerate(trials)]
    store.register(SweepRecord(f"digest-{sweep}", f"lives/{sweep}", "Lives", "text", False, ""), trials, cells)


def outcome(seed: int, files: tuple[FileDigest, ...] = ()) -> Outcome:
    """What the trial under `seed` comes to, in whatever life: a function of its role."""
    epochs = tuple(analytic.result(recipe(), seed, epoch) for epoch in (1, 2))
    metrics = (("parameters", 100.0), ("trainable_parameters", 100.0))
    if seed % 10 == DIVERGED:
        return Outcome("diverged", epochs[:1], metrics, diverged_epoch=2)
    return Outcome("complete", epochs, metrics, files=files)


def live(database: str, sweep: int, says: Says) -> None:
    """Do all that is still to be done of the sweep; each call of the store that returned is told."""
    with Store(database) as store:
        says("opened")
        store.enter(f"lives/{sweep}", None)
        work(store, sweep, says)
        store.leave()
        says("left")


def work(store: Store, sweep: int, says: Says = lambda *_: None) -> None:
    """As `live`, in an open store."""
    trials = trials_of(sweep)
    seeds = {trial.key: trial.seed for trial in trials}
    register(store, sweep, trials)
    says("registered", list(seeds))
    for number in itertools.count(1):
        claims = store.claim(list(seeds), f"job-{os.getpid()}-{sweep}-{number}")
        says("claimed", [claim.attempt_id for claim in claims])
        for claim in claims:
            _attempt(store, claim, seeds[claim.key], says)
        put_back = store.put_back(list(seeds), {"failed"})
        if not claims and not any(put_back.values()):
            break


def _attempt(store: Store, claim: Claim, seed: int, says: Says) -> None:
    """One attempt: the first of its role goes wrong, where it is one of those."""
    role = seed % 10 if not claim.earlier else RESULT
    if role == FAILED:
        held = store.fail(claim, "exception", "unlucky", "Traceback")
        says("ended", claim.attempt_id, "failed", held)
    elif role == AGAIN:
        held = store.again(claim, "worker lost", "gone")
        says("ended", claim.attempt_id, "failed", held)
    elif role == RELEASED:
        store.release(claim, "stopped")
        says("ended", claim.attempt_id, "interrupted", True)
    else:
        _compute(store, claim, seed, says)


def _compute(store: Store, claim: Claim, seed: int, says: Says) -> None:
    found = checkpoint.newest_common([TrialTask(claim.key, recipe(), seed, claim.directory, claim.earlier)], CORE)
    store.begin(claim, ENVIRONMENT, found[0].epoch + 1 if found else 1, None)
    claim.directory.mkdir(parents=True, exist_ok=True)
    if seed % 10 == RESULT:
        kept = a_checkpoint(claim.key, seed)
        checkpoint.save(claim.directory, kept)
        says("saved", os.fspath(checkpoint.path(claim.directory, kept.point)))
    lost = store.heartbeat({claim: Progress(1, 2, 4, 4, 100.0)})
    assert not lost
    files = (_weights(claim.directory, seed),) if seed % 10 == RESULT else ()
    accepted = store.finish(claim, outcome(seed, files))
    says("finished", claim.key, claim.attempt_id, accepted)


def a_checkpoint(key: str, seed: int) -> checkpoint.Checkpoint:
    """After the first epoch."""
    return checkpoint.Checkpoint(
        core=CORE, key=key, epoch=1, step=0, learner={"weight": torch.arange(3.0)}, losses=torch.zeros(0), seconds=None,
        observer={}, results=[analytic.result(recipe(), seed, 1)],
    )  # fmt: skip


def _weights(directory: Path, seed: int) -> FileDigest:
    """A file that the result names."""
    file = directory / WEIGHTS
    writing.write(file, {"seed": torch.tensor(seed)})
    content = file.read_bytes()
    return FileDigest("weights", WEIGHTS, hashlib.sha256(content).hexdigest(), len(content))


# ---- a life in a process of its own ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a life ended."""

    code: int
    """Exit code, or minus the signal."""
    told: list[list[Any]]
    """What it had told until then."""


def fork(body: Callable[[Says], None], fault: str = "") -> Ended:
    """Run `body` in a fork of this process, with the fault armed, to its end."""
    (ended,) = in_forks([body], fault)
    return ended


def in_forks(bodies: Sequence[Callable[[Says], None]], fault: str = "") -> list[Ended]:
    """Run the bodies at the same time, each in a fork of this process, to their ends."""
    started = [_started(body, fault) for body in bodies]
    with ThreadPoolExecutor(len(started)) as readers:  # a pipe that nobody reads would stop its writer
        told = list(readers.map(_read, [pipe for _, pipe in started]))
    ended = [Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), each)
             for (child, _), each in zip(started, told, strict=True)]  # fmt: skip
    for each in ended:
        assert each.code in (0, -signal.SIGKILL), each.told[-1:]
    return ended


def _started(body: Callable[[Says], None], fault: str) -> tuple[int, int]:
    """The fork's id, and the pipe by which it tells."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        os._exit(_run(body, writable, fault))
    os.close(writable)
    return child, readable


def _read(pipe: int) -> list[list[Any]]:
    with open(pipe) as lines:
        return [json.loads(line) for line in lines]


def _run(body: Callable[[Says], None], pipe: int, fault: str) -> int:
    """In the fork: tell each line with one write, that a kill right after it cannot take back."""

    def says(*words: object) -> None:
        os.write(pipe, (json.dumps(words) + "\n").encode())

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    faults.arm(fault)
    try:
        body(says)
    except BaseException:
        says("broke", traceback.format_exc())
        return 1
    return 0
