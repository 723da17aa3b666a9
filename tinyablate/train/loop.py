"""The training loop: learners on common passes, any number of observers, a generator of events that its driver pulls.

It touches no database and no network; all it writes is checkpoints, each in its trial's own directory.
"""

import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from tinyablate import retries
from tinyablate.errors import DiskFullError
from tinyablate.job import (
    Checkpointed,
    Due,
    EpochDone,
    EpochResult,
    Event,
    Failed,
    FileDigest,
    Finished,
    Job,
    Outcome,
    Progress,
    Started,
)
from tinyablate.train import device as devices
from tinyablate.train import work as works
from tinyablate.train.backbone import Passes
from tinyablate.train.checkpoint import Point
from tinyablate.train.clock import Clock
from tinyablate.train.evaluate import Evaluation, Scores
from tinyablate.train.kept import keep_weights
from tinyablate.train.observer import Observer
from tinyablate.train.pace import Pace, never
from tinyablate.train.work import Training, Work


def run_job(job: Job, due: Due = never) -> Iterator[Event]:
    """Train and evaluate the trials of `job`, each learner from the newest point that earlier attempts left of it.

    Yields Started; Progress after every update of all learners and every evaluated batch (`step` counts both); in each
    epoch an EpochDone per trial, once its checkpoint is safe, and a Checkpointed; Finished per trial. After a Progress
    `due` is asked, and where it says so, or `job.checkpoint_minutes` have passed since the last save, all trials are
    saved as they stand and a Checkpointed follows; in the midst of an evaluation that is the state before it.

    It may be abandoned at any event. The last epoch's checkpoints stay: the driver removes them when it has committed
    the outcome. A learner that breaks beside others gives a Failed for each of its trials, and they go on. Raises what
    breaks the job: RecipeError, WeightsError, DataError, memory that runs out, DiskFullError where there is no room for
    a checkpoint (the one before it is whole then), and OSError where a lone trial's cannot be written for another
    reason.
    """
    clock = Clock()
    return clock.excluding_pauses(_events(job, clock, Pace(due, job.checkpoint_minutes)))


def _events(job: Job, clock: Clock, pace: Pace) -> Iterator[Event]:
    work = works.prepare(job)
    at = works.resume(job, work)
    yield Started(at.epoch + 1, work.environment, at.step)
    yield from _leave(job, work, at.epoch)
    epochs = max((training.learner.epochs for training in work.trainings), default=0)
    while work.trainings:
        at = max(at, min(training.joins for training in work.trainings))  # what nobody needs any longer is left out
        epoch = _Epoch(job, work, clock, pace, at, epochs)
        yield from epoch.train()
        yield from epoch.evaluate()
        yield from epoch.keep()
        at = Point(at.epoch + 1)
        yield from _leave(job, work, at.epoch)


def _leave(job: Job, work: Work, epoch: int) -> Iterator[Event]:
    """Finish the trials of the learners that are trained for `epoch` epochs at most, or came with all of theirs."""
    for training in list(work.trainings):
        if training.learner.epochs <= max(epoch, training.joins.epoch):
            ended: list[Event] = []
            failures = _guarded(work, training, partial(_complete, job, work, training, ended))
            if not failures:
                work.trainings.remove(training)
            yield from failures or ended


@dataclass
class _Scored:
    """An observer's evaluation under way."""

    training: Training
    observer: Observer
    evaluation: Evaluation


class _Epoch:
    """One epoch of a job's learners, or what is left of it."""

    def __init__(self, job: Job, work: Work, clock: Clock, pace: Pace, first: Point, epochs: int) -> None:
        """The epoch after `first.epoch`, from its update `first.step` on."""
        self._job, self._work, self._clock, self._pace = job, work, clock, pace
        self._number, self._epochs, self._steps = first.epoch + 1, epochs, work.batches.steps
        self._first = self._unit = first.step
        self._before = work.trainings[0].seconds if work.alone and first.step else 0.0
        self._began, self._rate = clock.seconds, clock.lap()
        observers = [observer for training in self._trainings for observer in training.observers]
        self._units = self._steps + sum(len(work.evaluations[each.setting]) for each in observers)
        self._train_seconds: float | None = None
        """What all updates took; None before they are made too."""
        self._saved: Point | None = None

    def train(self) -> Iterator[Event]:
        """Every update of the epoch, all learners taking it one after the other."""
        work = self._work
        work.backbone.begin_epoch(training.learner.module for training in work.trainings)
        for batch in work.batches.epoch(self._number, self._first):
            number = (self._number - 1) * self._steps + self._unit
            passes = work.backbone.passes(batch, number)
            for training in work.awake(Point(self._number - 1, self._unit)):
                failures = _guarded(work, training, partial(_update, training, passes, number))
                yield from failures
                if work.reads_losses and not failures and not training.losses[-1].isfinite():
                    yield from self._diverged(training)
            self._unit, self._rate = self._unit + 1, self._clock.lap(work.batch)
            yield self._progress()
            if not self._trainings:
                break
            yield from self._save_if_due()
        for training in self._trainings:
            training.loss = float(torch.stack(training.losses).double().mean())
            if not math.isfinite(training.loss):
                yield from self._diverged(training)
        self._train_seconds = self._spent()  # now that the losses are there, all is computed

    def evaluate(self) -> Iterator[Event]:
        """Every observer's numbers; one whose loss is not finite has diverged."""
        work = self._work
        scored = [
            _Scored(training, observer, Evaluation(observer.model(), observer.setting.precision))
            for training in self._trainings
            for observer in training.observers
        ]
        for setting, shown in work.evaluations.items():
            alike = [each for each in scored if each.observer.setting == setting]
            for inputs, labels in shown.batches() if alike else ():
                for each in alike:
                    if each.training in work.trainings:
                        yield from _guarded(work, each.training, partial(each.evaluation.add, inputs, labels))
                    self._unit += 1
                    yield self._progress()
                    yield from self._save_if_due()
        seconds = self._spent()
        for each in [each for each in scored if each.training in work.trainings]:
            scores = each.evaluation.scores()
            if math.isfinite(scores.loss):
                each.observer.results.append(self._result(each, scores, seconds))
                continue
            each.training.observers.remove(each.observer)
            yield _finished(work, each.observer, diverged=self._number)
        work.trainings[:] = [training for training in work.trainings if training.observers]

    def keep(self) -> Iterator[Event]:
        """Make the epoch last, then tell of it."""
        for training in self._trainings:
            training.losses.clear()
        yield from self._save(Point(self._number), 0.0)
        for training in self._trainings:
            for observer in training.observers:
                yield EpochDone(observer.task.key, observer.results[-1])
        if self._trainings:
            yield Checkpointed(self._number, self._steps)

    @property
    def _trainings(self) -> list[Training]:
        """Those that take part in the epoch, or will before it is evaluated."""
        return self._work.awake(Point(self._number - 1, self._steps))

    def _save_if_due(self) -> Iterator[Event]:
        """Let all trials be continued from here, if that is wanted; at the epoch's very end `keep` does it anyway."""
        if self._unit == self._units or not self._pace.due():
            return
        at = Point(self._number - 1, min(self._unit, self._steps))
        if at != self._saved:  # else the evaluation has gone on, and would begin anew in any case
            devices.wait_for(self._work.device)
            yield from self._save(at, self._train_seconds if at.step == self._steps else self._spent())
            self._saved = at
        if self._trainings:
            yield Checkpointed(self._number, at.step)

    def _save(self, at: Point, seconds: float | None) -> Iterator[Event]:
        """Write the checkpoints of all that have joined, then drop those before; not counted as the epoch's time."""
        failures: list[Event] = []
        with self._clock.stopped():
            for training in self._joined(at):
                save = partial(works.save, self._job, self._work, training, at, seconds)
                failures += _guarded(self._work, training, save)
            works.prune(self._joined(at), at)
        self._pace.saved()
        yield from failures

    def _joined(self, at: Point) -> list[Training]:
        return [training for training in self._trainings if training.joins <= at]

    def _diverged(self, training: Training) -> Iterator[Event]:
        self._work.trainings.remove(training)
        for observer in training.observers:
            yield _finished(self._work, observer, diverged=self._number)

    def _spent(self) -> float | None:
        """Seconds of the epoch so far, an earlier attempt's included; None where they are not one trial's own."""
        if self._before is None or not self._work.alone:
            return None
        return self._before + self._clock.seconds - self._began

    def _progress(self) -> Progress:
        return Progress(self._number, self._epochs, self._unit, self._units, self._rate)

    def _result(self, scored: _Scored, scores: Scores, seconds: float | None) -> EpochResult:
        images = self._steps * self._work.batch
        return EpochResult(
            observer=scored.observer.kind,
            epoch=self._number,
            lr=scored.training.learner.rate(self._number * self._steps - 1),
            train_loss=scored.training.loss,
            val_loss=scores.loss,
            val_top1=scores.top1,
            val_top5=scores.top5,
            correct=scores.correct,
            seconds=seconds,
            images_per_second=None if self._train_seconds is None else images / self._train_seconds,
        )


def _guarded(work: Work, training: Training, action: Callable[[], None]) -> list[Event]:
    """Do it; what breaks one learner of several ends its trials alone. A full memory or disk concerns them all."""
    if len(work.trainings) == 1:
        action()
        return []
    try:
        action()
    except (torch.OutOfMemoryError, DiskFullError):
        raise
    except Exception as error:
        work.trainings.remove(training)
        what, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
        return [Failed(retries.EXCEPTION, what, trace, observer.task.key) for observer in training.observers]
    return []


def _update(training: Training, passes: Passes, number: int) -> None:
    training.losses.append(training.learner.update(passes, number))
    for observer in training.observers:
        observer.follow(number)


def _complete(job: Job, work: Work, training: Training, ended: list[Event]) -> None:
    """Add to `ended` the outcomes of a learner's trials, that are through; keep their weights where that is wanted."""
    for observer in training.observers:
        files = (keep_weights(observer, work.backbone),) if job.keep_weights else ()
        ended.append(_finished(work, observer, files))


def _finished(
    work: Work, observer: Observer, files: tuple[FileDigest, ...] = (), diverged: int | None = None
) -> Finished:
    """The outcome of a trial that is through, or whose loss stopped being finite in epoch `diverged`."""
    outcome = Outcome(
        state="complete" if diverged is None else "diverged",
        epochs=tuple(observer.results),
        metrics=tuple(work.facts.items()),
        diverged_epoch=diverged,
        files=files,
    )
    return Finished(observer.task.key, outcome)
