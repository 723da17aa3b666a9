"""Learners for dispatch tests: events as a deterministic function of recipe and seed, no torch, no data.

Named to `tinyablate run` by TINYABLATE_LEARNER=analytic:noop (with this folder on PYTHONPATH).
"""

import dataclasses
import hashlib
import os
import time
from collections.abc import Iterator

import tinyablate
from tinyablate.identity import canonical
from tinyablate.job import Environment, EpochDone, EpochResult, Event, Failed, Finished, Job, Outcome, Progress, Started
from tinyablate.recipe import Recipe

ENVIRONMENT = Environment(
    host="test", device="cpu", driver="", python="3", torch="-", torchvision="-", timm="-", threads=1, compiled=False,
    memory_format="-", data_digest="-",
)  # fmt: skip


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


def noop(job: Job) -> Iterator[Event]:
    """All outcomes at once."""
    yield Started(1, ENVIRONMENT)
    for index, task in enumerate(job.tasks):
        yield Finished(task.key, _outcome(job, index))


def slow(job: Job) -> Iterator[Event]:
    """Epochs of 0.2 s each; resumes from the epoch noted in an earlier attempt's directory, as the real core does."""
    epochs = job.tasks[0].recipe.schedule.epochs
    done = max((int(p.name) for d in job.tasks[0].earlier if d.exists() for p in d.iterdir()), default=0)
    yield Started(done + 1, ENVIRONMENT)
    for epoch in range(done + 1, epochs + 1):
        for step in range(1, 5):
            time.sleep(0.05)
            yield Progress(epoch, epochs, step, 4, 100.0)
        for task in job.tasks:
            (task.directory / str(epoch)).touch()
            yield EpochDone(task.key, result(task.recipe, task.seed, epoch))
    for index, task in enumerate(job.tasks):
        yield Finished(task.key, _outcome(job, index))


def faulty(job: Job) -> Iterator[Event]:
    """Seed 1 raises, seed 2 diverges in epoch 2, seed 3 kills its own process, the others complete."""
    yield Started(1, ENVIRONMENT)
    for index, task in enumerate(job.tasks):
        if task.seed == 1:
            raise ValueError("seed 1 is unlucky")
        if task.seed == 3:
            os.kill(os.getpid(), 9)
        outcome = _outcome(job, index)
        if task.seed == 2:
            outcome = Outcome("diverged", outcome.epochs[:1], outcome.metrics, diverged_epoch=2)
        yield Finished(task.key, outcome)


def origin(job: Job) -> Iterator[Event]:
    """As noop, with the file of the worker's tinyablate as its host."""
    yield Started(1, dataclasses.replace(ENVIRONMENT, host=tinyablate.__file__))
    for index, task in enumerate(job.tasks):
        yield Finished(task.key, _outcome(job, index))


class OutOfMemoryError(RuntimeError):
    """Named as torch's, which is how the worker knows it."""


def cramped(job: Job) -> Iterator[Event]:
    """A device whose memory holds 16 images a pass and 3 trials: more of either runs out."""
    yield Started(1, ENVIRONMENT)
    micro_batch = job.micro_batch or job.tasks[0].recipe.batch.size
    if micro_batch > 16 or len(job.tasks) > 3:
        raise OutOfMemoryError(f"{len(job.tasks)} trials of {micro_batch} images")
    for index, task in enumerate(job.tasks):
        yield Finished(task.key, _outcome(job, index))


def one_breaks(job: Job) -> Iterator[Event]:
    """The first trial of a job fails by its key, the others complete."""
    yield Started(1, ENVIRONMENT)
    yield Failed("exception", "ValueError: unlucky", "Traceback", job.tasks[0].key)
    for index, task in enumerate(job.tasks[1:], 1):
        yield Finished(task.key, _outcome(job, index))
