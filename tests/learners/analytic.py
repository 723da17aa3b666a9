"""Learners for dispatch tests: events as a deterministic function of recipe and seed, no torch, no data.

Named to `tinyablate run` by TINYABLATE_LEARNER=analytic:noop (with this folder on PYTHONPATH). Those that break do it
by the trial's seed: seed 1 once, seed 2 always, the others never.
"""

import dataclasses
import errno
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import tinyablate
from tinyablate.identity import canonical
from tinyablate.job import (
    Checkpointed,
    Due,
    Environment,
    EpochDone,
    EpochResult,
    Event,
    Failed,
    Finished,
    Job,
    Learner,
    Outcome,
    Progress,
    Started,
)
from tinyablate.recipe import Recipe

ENVIRONMENT = Environment(
    host="test", device="cpu", driver="", python="3", torch="-", torchvision="-", timm="-", threads=1, compiled=False,
    memory_format="-", data_digest="-",
)  # fmt: skip

STEPS = int(os.environ.get("TINYABLATE_STEPS", "4"))
"""Updates of an epoch of `slow`."""

STEP_SECONDS = float(os.environ.get("TINYABLATE_STEP_SECONDS", "0.05"))
"""How long one of them takes."""


def score(recipe: Recipe, seed: int, epoch: int) -> float:
    """A top-1 in percent that depends on recipe, seed and epoch alone."""
    digest = hashlib.sha256(f"{canonical(recipe)}:{seed}:{epoch}".encode()).digest()
    return 70.0 + epoch + int.from_bytes(digest[:4]) / 2**32


def result(recipe: Recipe, seed: int, epoch: int) -> EpochResult:
    """An epoch's numbers, all from `score`."""
    top1 = score(recipe, seed, epoch)
    observer = "ema" if recipe.ema.decay else "raw"
    return EpochResult(observer, epoch, 1e-3, 2.0 / epoch, 100 / top1, top1, min(100.0, top1 + 20), b"\xf0", None, None)


def _outcome(job: Job, index: int) -> Outcome:
    task = job.tasks[index]
    epochs = tuple(result(task.recipe, task.seed, e) for e in range(1, task.recipe.schedule.epochs + 1))
    return Outcome("complete", epochs, (("parameters", 100.0), ("trainable_parameters", 100.0)))


def _finish(job: Job) -> Iterator[Event]:
    for index, task in enumerate(job.tasks):
        yield Finished(task.key, _outcome(job, index))


def noop(job: Job, due: Due) -> Iterator[Event]:
    """All outcomes at once."""
    yield Started(1, ENVIRONMENT)
    yield from _finish(job)


def slow(job: Job, due: Due) -> Iterator[Event]:
    """Epochs of STEPS updates, which do nothing for STEP_SECONDS. Saves after each, and after an update if that is due.

    What is saved is an empty file `epoch-EPOCH-STEP.pt` in each trial's directory; it resumes from the newest one that
    all trials of the job have, as the real core does.
    """
    epochs = job.tasks[0].recipe.schedule.epochs
    epoch, step = min((max(_saved(task.directory, *task.earlier)) for task in job.tasks), default=(0, STEPS))
    first = epoch + 1 if step == STEPS else epoch
    yield Started(first, ENVIRONMENT, step % STEPS)
    for number in range(first, epochs + 1):
        for update in range(step % STEPS + 1 if number == first else 1, STEPS + 1):
            time.sleep(STEP_SECONDS)
            yield Progress(number, epochs, update, STEPS, 100.0)
            if update < STEPS and due():
                yield _save(job, number, update)
        yield _save(job, number, STEPS)
        for task in job.tasks:
            yield EpochDone(task.key, result(task.recipe, task.seed, number))
    yield from _finish(job)


def _saved(*directories: os.PathLike[str]) -> list[tuple[int, int]]:
    """(epoch, step) of every checkpoint there."""
    names = [name for directory in directories if os.path.isdir(directory) for name in os.listdir(directory)]
    stems = [name.removeprefix("epoch-").removesuffix(".pt") for name in names if name.endswith(".pt")]
    return [(0, STEPS), *(tuple(map(int, stem.split("-"))) for stem in stems)]  # type: ignore[list-item]


def _save(job: Job, epoch: int, step: int) -> Checkpointed:
    for task in job.tasks:
        (task.directory / f"epoch-{epoch}-{step}.pt").touch()
    return Checkpointed(epoch, step)


def origin(job: Job, due: Due) -> Iterator[Event]:
    """As noop, with the file of its tinyablate as host, and as driver libraries that a worker has no use for."""
    useless = " ".join(sorted({"sqlalchemy", "tinyablate.sweep", "tinyablate.tables"} & set(sys.modules)))
    yield Started(1, dataclasses.replace(ENVIRONMENT, host=tinyablate.__file__, driver=useless))
    yield from _finish(job)


# ---- learners that break ---------------------------------------------------------------------------------------------


def _breaks(job: Job) -> bool:
    """Whether a trial of this job is to break now: one of seed 1 at its first attempt, one of seed 2 at each."""
    return any(task.seed == 2 or (task.seed == 1 and not task.earlier) for task in job.tasks)


def _broken(job: Job, due: Due, act: Callable[[], None]) -> Iterator[Event]:
    """As `slow`; but after the first epoch of this attempt `act`, where the job is to break."""
    for event in slow(job, due):
        yield event
        if isinstance(event, Checkpointed) and _breaks(job):
            act()


def _raise() -> None:
    raise ValueError("this seed is unlucky")


def raises(job: Job, due: Due) -> Iterator[Event]:
    """Raises a ValueError."""
    yield from _broken(job, due, _raise)


def _die() -> None:
    print("the last words of a worker", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def killed(job: Job, due: Due) -> Iterator[Event]:
    """Kills its own process, as the kernel does when memory is short."""
    yield from _broken(job, due, _die)


def crashes(job: Job, due: Due) -> Iterator[Event]:
    """Its process dies of a segmentation fault."""
    yield from _broken(job, due, lambda: os.kill(os.getpid(), signal.SIGSEGV))


def asked_to_end(job: Job, due: Due) -> Iterator[Event]:
    """Its process gets SIGTERM, as from a scheduler that wants the machine back."""
    yield from _broken(job, due, lambda: os.kill(os.getpid(), signal.SIGTERM))


def hangs(job: Job, due: Due) -> Iterator[Event]:
    """Never comes back."""
    yield from _broken(job, due, lambda: time.sleep(3600))


def full(job: Job, due: Due) -> Iterator[Event]:
    """The disk has no room for its checkpoint."""

    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.tasks[0].directory / "epoch-2.pt"))

    yield from _broken(job, due, fail)


def not_finite(job: Job, due: Due) -> Iterator[Event]:
    """Its loss stops being finite in epoch 2."""
    yield Started(1, ENVIRONMENT)
    for index, task in enumerate(job.tasks):
        outcome = _outcome(job, index)
        if task.seed == 2 or (task.seed == 1 and not task.earlier):
            outcome = Outcome("diverged", outcome.epochs[:1], outcome.metrics, diverged_epoch=2)
        yield Finished(task.key, outcome)


def fates(job: Job, due: Due) -> Iterator[Event]:
    """A lone trial by its seed: 2 raises each time, 1, 3, 4, 5, 6 break once, 7 diverges each time, others complete."""
    (task,) = job.tasks
    acts: dict[int, Learner] = {1: raises, 2: raises, 3: killed, 4: crashes, 5: asked_to_end, 6: hangs, 7: not_finite}
    broken = 2 if task.seed in (2, 7) else min(task.seed, 1)  # as what the learners above take it for
    acted = dataclasses.replace(job, tasks=(dataclasses.replace(task, seed=broken),))
    for event in acts.get(task.seed, slow)(acted, due):
        if isinstance(event, Finished) and event.outcome.state == "complete":
            event = Finished(task.key, _outcome(job, 0))  # of its own seed
        yield event


class OutOfMemoryError(RuntimeError):
    """Named as torch's, which is how the worker knows it."""


def cramped(job: Job, due: Due) -> Iterator[Event]:
    """A device whose memory holds 16 images a pass and 3 trials: more of either runs out."""
    yield Started(1, ENVIRONMENT)
    micro_batch = job.micro_batch or job.tasks[0].recipe.batch.size
    if micro_batch > 16 or len(job.tasks) > 3:
        raise OutOfMemoryError(f"{len(job.tasks)} trials of {micro_batch} images")
    yield from _finish(job)


def one_breaks(job: Job, due: Due) -> Iterator[Event]:
    """The first trial of a job of several fails by its key, the others complete; alone it completes."""
    yield Started(1, ENVIRONMENT)
    if len(job.tasks) > 1:
        yield Failed("exception", "ValueError: unlucky", "Traceback", job.tasks[0].key)
    for index, task in enumerate(job.tasks[len(job.tasks) > 1 :], len(job.tasks) > 1):
        yield Finished(task.key, _outcome(job, index))
