"""Speed and memory of a trial's training and inference, measured on a device that it has to itself. It trains nothing.

What is timed is what `loop` runs: the input pipeline, the updates with all that watches them, the evaluation's passes.
"""

import math
import statistics
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

from tinyablate.job import Checkpointed, Due, Event, Finished, Job, Outcome, Progress, Started
from tinyablate.train import work as works
from tinyablate.train.evaluate import Evaluation
from tinyablate.train.pace import never
from tinyablate.train.work import Work

WINDOWS = 3
"""Windows whose median rate counts, so that one which something else disturbed does not."""


@dataclass(frozen=True)
class Effort:
    """How long is measured on a type of device."""

    window: float
    """Seconds that a window takes at least."""
    calls: int
    """Updates or passes in a window at least: on a GPU more than one, so that its queue hides what the host does."""
    most: float
    """Seconds after which no further window begins."""


_EFFORTS = {"cpu": Effort(0.1, 1, 120.0), "cuda": Effort(0.7, 4, 120.0)}
"""By device type. CPU: 0.3 s of small models; of a model that needs minutes an update, one update after another."""


def measure_job(job: Job, due: Due = never) -> Iterator[Event]:
    """Measure the one trial of `job`; its outcome has no epochs, and as metrics the model's facts and

    - `train_images_per_second`: of updates, input pipeline included;
    - `epoch_seconds`: an epoch's training images at that rate, its validation not included;
    - `inference_images_per_second`: passes of `batch.size` images that lie on the device, as the evaluation makes them;
    - `train_peak_memory`: most bytes that tensors held at once, on a GPU only (data that lie there are counted).

    Yields Started; Progress after every window of updates or passes (on a CPU 0.1 s, on a GPU 0.7 s, but no less than
    1 or 4 updates), with nothing under way, and where `due` says so a Checkpointed: a measurement that is given up
    starts again, so nothing is saved; Finished. Raises what `loop.run_job` raises.
    """
    if len(job.tasks) != 1:
        raise ValueError("what shares a job is not measured")
    work = works.prepare(replace(job, cache_features=False))
    device = torch.device(job.device)
    yield Started(1, work.environment)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with closing(_updates(work)) as updates:
        training = _Meter(updates, work.batch, device)
        for _ in training.windows():
            yield Progress(1, 1, len(training.rates), 2 * WINDOWS, training.rate)
            if due():
                yield Checkpointed(1, 0)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    inference = _Meter(_passes(work), work.batch, device)
    for _ in inference.windows():
        yield Progress(1, 1, WINDOWS + len(inference.rates), 2 * WINDOWS, inference.rate)
        if due():
            yield Checkpointed(1, 0)
    metrics = {
        **work.facts,
        "epoch_seconds": work.batches.steps * work.batch / training.rate,
        "train_images_per_second": training.rate,
        "inference_images_per_second": inference.rate,
        **({} if memory is None else {"train_peak_memory": float(memory)}),
    }
    yield Finished(job.tasks[0].key, Outcome("complete", epochs=(), metrics=tuple(metrics.items())))


class _Meter:
    """Times something that is done again and again, in windows of equally many times."""

    def __init__(self, work: Iterator[None], images: int, device: torch.device) -> None:
        """Every `next(work)` takes in `images` images."""
        self._work, self._images, self._device = work, images, device
        self.rates: list[float] = []
        """Images per second of each window that counts."""

    @property
    def rate(self) -> float:
        """The median of `rates`, 0.0 without any."""
        return statistics.median(self.rates) if self.rates else 0.0

    def windows(self) -> Iterator[None]:
        """Work until WINDOWS windows are measured; what comes before them warms up and tells how long one must be."""
        effort = _EFFORTS[self._device.type]
        calls, spent = effort.calls, self._seconds(effort.calls)  # optimizer state, kernels, the pipeline's first batch
        yield
        while len(self.rates) < WINDOWS and not (self.rates and spent > effort.most):
            seconds = self._seconds(calls)
            spent += seconds
            if seconds < effort.window and not self.rates:
                calls = math.ceil(1.2 * calls * effort.window / seconds)
            else:
                self.rates.append(calls * self._images / seconds)
            yield

    def _seconds(self, calls: int) -> float:
        """Wall time of so many calls; the device has finished what it was given before them, and them."""
        began = time.perf_counter()
        for _ in range(calls):
            next(self._work)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - began


def _updates(work: Work) -> Generator[None, None, None]:
    """Updates as an epoch of `loop` makes them, without end: after the last epoch's rates the first's come again."""
    (training,) = work.trainings
    for epoch in count():
        work.backbone.begin_epoch(training.learner.module for training in work.trainings)
        training.losses.clear()
        for step, batch in enumerate(work.batches.epoch(epoch + 1)):
            number = (epoch % training.learner.epochs) * work.batches.steps + step
            training.losses.append(training.learner.update(work.backbone.passes(batch, number), number))
            for observer in training.observers:
                observer.follow(number)
            yield


def _passes(work: Work) -> Iterator[None]:
    """The first training batch, passed as evaluation passes its images, again and again."""
    (training,) = work.trainings
    (observer,) = training.observers
    batch, precision = next(work.batches.epoch(1)), observer.setting.precision
    parts = _OneBatch(batch.images, batch.labels, work.backbone.micro_batch)
    shown = work.backbone.evaluated(parts, precision)
    model = observer.model()
    while True:
        for inputs, labels in shown.batches():
            Evaluation(model, precision).add(inputs, labels)
        yield


@dataclass(frozen=True)
class _OneBatch:
    """Images [n, 3, S, S] and labels [n] on the device in the place of an evaluation set."""

    images: Tensor
    labels: Tensor
    micro_batch: int
    """Images per pass."""

    def __len__(self) -> int:
        return -(-len(self.images) // self.micro_batch)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batch, a micro-batch at a time."""
        yield from zip(
            torch.split(self.images, self.micro_batch), torch.split(self.labels, self.micro_batch), strict=True
        )
