"""The training loop: learners on common passes, any number of observers, a generator of events that its driver pulls.

It touches no database and no network; all it writes is checkpoints, each in its trial's own directory.
"""

import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from tinyablate.job import EpochDone, EpochResult, Event, Failed, Finished, Job, Outcome, Progress, Started
from tinyablate.train import work as works
from tinyablate.train.backbone import Passes
from tinyablate.train.clock import Clock
from tinyablate.train.evaluate import Evaluation, Scores
from tinyablate.train.observer import Observer
from tinyablate.train.work import Training, Work


def run_job(job: Job) -> Iterator[Event]:
    """Train and evaluate the trials of `job`, from the newest epoch that earlier attempts left of all of them.

    Yields Started; Progress after every update of all learners and every evaluated batch (`step` counts both); in each
    epoch an EpochDone per trial, once its checkpoint is safe; Finished per trial. It may be abandoned at any event. The
    last epoch's checkpoints stay: the driver removes them when it has committed the outcome. A learner that breaks
    beside others gives a Failed for each of its trials, and they go on. Raises what breaks the job: RecipeError,
    WeightsError, DataError, memory that runs out, and OSError where a lone trial's directory is gone.
    """
    clock = Clock()
    return clock.excluding_pauses(_events(job, clock))


def _events(job: Job, clock: Clock) -> Iterator[Event]:
    work = works.prepare(job)
    done = works.resume(job, work)
    yield Started(done + 1, work.environment)
    epochs = max(training.learner.epochs for training in work.trainings)
    for number in range(done + 1, epochs + 1):
        yield from _leave(work, number - 1)
        epoch = _Epoch(job, work, clock, number, epochs)
        yield from epoch.train()
        yield from epoch.evaluate()
        yield from epoch.keep()
        if not work.trainings:
            return
    yield from _leave(work, epochs)


def _leave(work: Work, epoch: int) -> Iterator[Event]:
    """Finish the trials of the learners that are trained for no more than `epoch` epochs."""
    for training in [each for each in work.trainings if each.learner.epochs <= epoch]:
        work.trainings.remove(training)
        for observer in training.observers:
            yield _finished(work, observer)


@dataclass
class _Scored:
    """An observer's evaluation under way."""

    training: Training
    observer: Observer
    evaluation: Evaluation


class _Epoch:
    """One epoch of a job's learners."""

    def __init__(self, job: Job, work: Work, clock: Clock, number: int, epochs: int) -> None:
        self._job, self._work, self._clock = job, work, clock
        self._number, self._epochs, self._steps = number, epochs, work.batches.steps
        self._began, self._rate = clock.seconds, clock.lap()
        self._unit = 0
        self._units = self._steps + sum(len(work.evaluations[each.setting]) for each in work.observers)
        self._train_seconds = 0.0

    def train(self) -> Iterator[Event]:
        """Every update of the epoch, all learners taking it one after the other."""
        work = self._work
        work.backbone.begin_epoch(training.learner.module for training in work.trainings)
        for training in work.trainings:
            training.losses.clear()
        training_now = list(work.trainings)
        for batch in work.batches.epoch(self._number):
            number = (self._number - 1) * self._steps + self._unit
            passes = work.backbone.passes(batch, number)
            for training in list(training_now):
                failures = self._guarded(training, partial(_update, training, passes, number))
                yield from failures
                if failures or (work.reads_losses and not training.losses[-1].isfinite()):
                    training_now.remove(training)
            self._unit, self._rate = self._unit + 1, self._clock.lap(work.batch)
            yield self._progress()
            if not training_now:
                break
        for training in work.trainings:
            training.loss = float(torch.stack(training.losses).double().mean())
        self._train_seconds = self._clock.seconds - self._began  # now that the losses are there, all is computed
        for training in list(work.trainings):
            if not math.isfinite(training.loss):
                work.trainings.remove(training)
                for observer in training.observers:
                    yield _finished(work, observer, diverged=self._number)

    def evaluate(self) -> Iterator[Event]:
        """Every observer's numbers; one whose loss is not finite has diverged."""
        work = self._work
        scored = [
            _Scored(training, observer, Evaluation(observer.model(), observer.setting.precision))
            for training in work.trainings
            for observer in training.observers
        ]
        for setting, shown in work.evaluations.items():
            alike = [each for each in scored if each.observer.setting == setting]
            for inputs, labels in shown.batches() if alike else ():
                for each in alike:
                    if each.training in work.trainings:
                        yield from self._guarded(each.training, partial(each.evaluation.add, inputs, labels))
                    self._unit += 1
                    yield self._progress()
        seconds = self._clock.seconds - self._began
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
        for training in list(self._work.trainings):
            save = partial(works.save, self._job, self._work, training, self._number)
            yield from self._guarded(training, save)
        works.prune(self._work, self._number)
        for observer in self._work.observers:
            yield EpochDone(observer.task.key, observer.results[-1])

    def _guarded(self, training: Training, action: Callable[[], None]) -> list[Event]:
        """Do it; what breaks one learner of several ends its trials alone. Memory that runs out concerns them all."""
        if len(self._work.trainings) == 1:
            action()
            return []
        try:
            action()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            self._work.trainings.remove(training)
            what, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
            return [Failed("exception", what, trace, observer.task.key) for observer in training.observers]
        return []

    def _progress(self) -> Progress:
        return Progress(self._number, self._epochs, self._unit, self._units, self._rate)

    def _result(self, scored: _Scored, scores: Scores, seconds: float) -> EpochResult:
        alone = self._work.alone
        return EpochResult(
            observer=scored.observer.kind,
            epoch=self._number,
            lr=scored.training.learner.rate(self._number * self._steps - 1),
            train_loss=scored.training.loss,
            val_loss=scores.loss,
            val_top1=scores.top1,
            val_top5=scores.top5,
            correct=scores.correct,
            seconds=seconds if alone else None,
            images_per_second=self._steps * self._work.batch / self._train_seconds if alone else None,
        )


def _update(training: Training, passes: Passes, number: int) -> None:
    training.losses.append(training.learner.update(passes, number))
    for observer in training.observers:
        observer.follow(number)


def _finished(work: Work, observer: Observer, diverged: int | None = None) -> Finished:
    """The outcome of a trial that is through, or whose loss stopped being finite in epoch `diverged`."""
    outcome = Outcome(
        state="complete" if diverged is None else "diverged",
        epochs=tuple(observer.results),
        metrics=tuple(work.facts.items()),
        diverged_epoch=diverged,
    )
    return Finished(observer.task.key, outcome)
