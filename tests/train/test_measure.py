"""Measured speed and memory of whole trials on a small data set."""

import dataclasses
import math
from typing import Any

import pytest
import torch

from tinyablate.job import Checkpointed, Event, Finished, Job, Outcome, Progress, Started
from tinyablate.recipe import Recipe
from tinyablate.sweep.metrics import KNOWN
from tinyablate.train.measure import measure_job
from tinyablate.train.model.build import construct, describe
from tinyablate.train.model.size import facts_of

Lab = Any
Change = Any

MEASURED = {name for name, metric in KNOWN.items() if metric.source == "measured" and not metric.relative_to}


def measured(events: list[Event]) -> dict[str, float]:
    """The metrics of the one outcome."""
    (finished,) = (event for event in events if isinstance(event, Finished))
    return dict(finished.outcome.metrics)


def measure(lab: Lab, recipe: Recipe, **job: Any) -> dict[str, float]:
    """What the trial of this recipe measures."""
    return measured(list(measure_job(lab.job(lab.task("a", recipe), **job))))


def facts(recipe: Recipe) -> dict[str, float]:
    """Of the whole model, as it is built for the ten classes of the small data set."""
    module = construct(recipe.model, recipe.data.image_size, 10)
    return facts_of(describe(module, recipe.model, recipe.data.image_size), recipe.model)


SHORT: dict[str, Any] = {"model__name": "test_vit", "model__args": {"depth": 1}}


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_a_measurement_is_an_outcome_without_epochs(lab: Lab, changed: Change, trainable: str) -> None:
    """Started, Progress up to the last window, Finished with facts and measurements; on a CPU without a peak memory."""
    recipe = changed(**SHORT, model__trainable=trainable, ema__decay=0.9)
    job = dataclasses.replace(lab.job(lab.task("a", recipe)), kind="measure")
    started, *between, finished = list(measure_job(job))
    assert isinstance(started, Started)
    assert started.epoch == 1
    shown = [(event.step, event.steps) for event in between if isinstance(event, Progress)]
    assert len(shown) == len(between)
    assert shown == sorted(shown)
    assert shown[-1] == (6, 6)
    assert isinstance(finished, Finished)
    assert finished.key == "a"
    metrics = dict(finished.outcome.metrics)
    assert finished.outcome == Outcome("complete", (), tuple(metrics.items()))
    assert metrics.keys() == (MEASURED - {"train_peak_memory"}) | facts(recipe).keys()
    assert facts(recipe).items() <= metrics.items()
    assert all(math.isfinite(value) and value > 0 for value in metrics.values())
    assert metrics["epoch_seconds"] == pytest.approx(200 / metrics["train_images_per_second"], rel=1e-9)


def test_a_measurement_can_be_left_where_its_driver_wants(lab: Lab, changed: Change) -> None:
    """After every Progress it may be: nothing is saved, it would start again."""
    task = lab.task("a", changed(**SHORT))
    events = list(measure_job(dataclasses.replace(lab.job(task), kind="measure"), lambda: True))
    pairs = list(zip(events[1:-1:2], events[2:-1:2], strict=True))
    assert len(pairs) >= 6
    assert all(isinstance(event, Progress) and saved == Checkpointed(1, 0) for event, saved in pairs)
    assert list(task.directory.iterdir()) == []


def test_an_epoch_is_what_it_trains_on(lab: Lab, changed: Change) -> None:
    """The last, incomplete batch of an epoch is dropped, so its images take no time."""
    metrics = measure(lab, changed(**SHORT, batch__size=48))
    assert metrics["epoch_seconds"] == pytest.approx(4 * 48 / metrics["train_images_per_second"], rel=1e-9)


def test_what_shares_a_job_is_not_measured(lab: Lab, changed: Change) -> None:
    """Two trials in a job would share the device."""
    job: Job = lab.job(lab.task("a", changed()), lab.task("b", changed(ema__decay=0.9)))
    with pytest.raises(ValueError, match="shares a job"):
        next(measure_job(job))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_tells_its_peak_memory(lab: Lab, changed: Change) -> None:
    """A larger batch holds more bytes, and all that a sweep may ask for is measured."""
    small, large = (measure(lab, changed(batch__size=size), device="cuda") for size in (20, 200))
    assert small.keys() >= MEASURED
    assert large["train_peak_memory"] > small["train_peak_memory"] > 4 * small["parameters"]
