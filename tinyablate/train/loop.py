"""The training loop: one learner, any number of observers, a generator of events that its driver pulls.

It touches no database and no network; all it writes is checkpoints, each in its trial's own directory.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from tinyablate.job import EpochDone, EpochResult, Event, Finished, Job, Outcome, Progress, Started
from tinyablate.train import work as works
from tinyablate.train.clock import Clock
from tinyablate.train.evaluate import Evaluation, Scores
from tinyablate.train.observer import Observer
from tinyablate.train.work import Work


def run_job(job: Job) -> Iterator[Event]:
    """Train and evaluate the trials of `job`, from the newest epoch that earlier attempts left of all of them.

    Yields Started; Progress after every update and every evaluated batch (`step` counts both); in each epoch an
    EpochDone per trial, once all their checkpoints are safe; Finished per trial. It may be abandoned at any event. The
    last epoch's checkpoints stay: the driver removes them when it has committed the outcome. Raises what breaks:
    RecipeError, WeightsError, DataError, and OSError where a trial's directory is gone.
    """
    clock = Clock()
    return clock.excluding_pauses(_events(job, clock))


def _events(job: Job, clock: Clock) -> Iterator[Event]:
    work = works.prepare(job)
    learner, observers = work.learner, work.observers
    epochs, steps, size = work.recipe.schedule.epochs, work.batches.steps, work.recipe.batch.size
    done = works.resume(job, work)
    yield Started(done + 1, work.environment)

    for epoch in range(done + 1, epochs + 1):
        began, rate = clock.seconds, clock.lap()
        unit, units = 0, steps + sum(len(work.evaluations[observer.setting]) for observer in observers)

        # --- train
        learner.begin_epoch()
        losses: list[Tensor] = []
        for batch in work.batches.epoch(epoch):
            losses.append(learner.update(batch, (epoch - 1) * steps + unit))
            for observer in observers:
                observer.follow()
            unit, rate = unit + 1, clock.lap(size)
            yield Progress(epoch, epochs, unit, units, rate)
            if work.reads_losses and not losses[-1].isfinite():
                break
        train_loss = float(torch.stack(losses).double().mean())
        trained = clock.seconds - began
        if not math.isfinite(train_loss):
            for observer in observers:
                yield _finished(work, observer, diverged=epoch)
            return

        # --- evaluate
        evaluations = [Evaluation(observer.model()) for observer in observers]
        for setting, shown in work.evaluations.items():
            alike = [e for e, observer in zip(evaluations, observers, strict=True) if observer.setting == setting]
            for images, labels in shown.batches() if alike else ():
                for evaluation in alike:
                    evaluation.add(images, labels)
                    unit += 1
                    yield Progress(epoch, epochs, unit, units, rate)
        timing = (clock.seconds - began, steps * size / trained) if work.alone else (None, None)
        for observer, evaluation in zip(tuple(observers), evaluations, strict=True):
            scores = evaluation.scores()
            if math.isfinite(scores.loss):
                lr = learner.rate(epoch * steps - 1)
                observer.results.append(_result(observer, epoch, lr, train_loss, scores, timing))
            else:
                observers.remove(observer)
                yield _finished(work, observer, diverged=epoch)
        if not observers:
            return

        # --- make it last, then tell
        works.save(job, work, epoch)
        for observer in observers:
            yield EpochDone(observer.task.key, observer.results[-1])

    for observer in observers:
        yield _finished(work, observer)


def _result(
    observer: Observer,
    epoch: int,
    lr: float,
    train_loss: float,
    scores: Scores,
    timing: tuple[float, float] | tuple[None, None],
) -> EpochResult:
    return EpochResult(
        observer=observer.kind,
        epoch=epoch,
        lr=lr,
        train_loss=train_loss,
        val_loss=scores.loss,
        val_top1=scores.top1,
        val_top5=scores.top5,
        correct=scores.correct,
        seconds=timing[0],
        images_per_second=timing[1],
    )


def _finished(work: Work, observer: Observer, diverged: int | None = None) -> Finished:
    """The outcome of a trial that is through, or whose loss stopped being finite in epoch `diverged`."""
    metrics = (
        ("parameters", float(work.built.parameters)),
        ("trainable_parameters", float(work.built.trainable_parameters)),
    )
    outcome = Outcome(
        state="complete" if diverged is None else "diverged",
        epochs=tuple(observer.results),
        metrics=metrics,
        diverged_epoch=diverged,
    )
    return Finished(observer.task.key, outcome)
