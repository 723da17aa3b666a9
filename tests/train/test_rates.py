"""Realised rates: what a training records of its images is what its batches show, resumed and shared ones too."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tinyablate.job import EpochDone, Outcome
from tinyablate.recipe import Recipe
from tinyablate.train.batches import TrainBatches
from tinyablate.train.data import images
from tinyablate.train.inputs import Inputs
from tinyablate.train.loop import run_job
from tinyablate.train.rates import of_training

Lab = Any
Change = Callable[..., Recipe]
CPU = torch.device("cpu")
NAMES = ("mixup_share", "cutmix_share", "erased_area", "changed_share")


def recorded(outcome: Outcome) -> tuple[float, ...]:
    """The four rates."""
    metrics = dict(outcome.metrics)
    return tuple(metrics[name] for name in NAMES)


def batches(recipe: Recipe, data: Path, seed: int = 0) -> TrainBatches:
    """The training batches of 32 pixels, not normalised but for the scale."""
    loaded = images.load(data, CPU)
    return TrainBatches(recipe, loaded.train, Inputs(32, (0.0,) * 3, (1.0,) * 3, CPU), classes=10, seed=seed)


@pytest.mark.parametrize("mode", ["batch", "elem"])
def test_mixing_is_counted_as_it_is_done(mode: str, changed: Change, small_data: Path) -> None:
    """The shares are those of the mixings that the first epoch's batches carry."""
    recipe = changed(mix__mode=mode, mix__prob=0.7)
    made = batches(recipe, small_data, seed=3)
    done = [batch.mixing for batch in made.epoch(1)]
    rates = of_training(recipe, made, images.load(small_data, CPU).train, 32, 3)
    assert rates.mixup == pytest.approx(sum(mixing.mixup_share for mixing in done) / 5, abs=1e-12)  # a sum's rounding
    assert rates.cutmix == pytest.approx(sum(mixing.cutmix_share for mixing in done) / 5, abs=1e-12)
    assert 0 < rates.mixup + rates.cutmix < 1
    assert rates.batches == 5


def test_erasing_and_policy_are_counted_by_pixels(changed: Change, small_data: Path) -> None:
    """The erased share is that of the pixels that differ with erasing; `changed` that of images under the policy."""
    plain = changed(mix__mixup_alpha=0.0, mix__cutmix_alpha=0.0, augment__erase_prob=0.0)
    erasing = changed(plain, augment__erase_prob=0.5, augment__erase_mode="pixel")
    policed = changed(plain, augment__policy="torchvision-randaugment-n2-m0")
    shown = {name: torch.cat([batch.images for batch in batches(recipe, small_data).epoch(1)])
             for name, recipe in {"plain": plain, "erasing": erasing, "policed": policed}.items()}  # fmt: skip
    source = images.load(small_data, CPU).train
    erased = of_training(erasing, batches(erasing, small_data), source, 32, 0)
    differs = (shown["erasing"] != shown["plain"]).any(1).double().mean()
    assert erased.erased == pytest.approx(float(differs), abs=1e-9)  # noise equals a pixel with probability 0
    assert erased.erased > 0
    assert (erased.mixup, erased.cutmix, erased.changed) == (0, 0, 0)
    policy = of_training(policed, batches(policed, small_data), source, 32, 0)
    first = (shown["policed"] != shown["plain"])[: policy.compared].flatten(1).any(1)
    assert policy.compared == 64
    assert policy.changed == float(first.double().mean())
    assert 0 < policy.changed < 1


def test_every_trial_of_a_job_records_them(lab: Lab, changed: Change) -> None:
    """Heads on one trunk see the same images; their rates are the lone trials'."""
    base = changed(model__name="test_vit", model__trainable="head", schedule__epochs=1, schedule__warmup_epochs=0)
    other = changed(base, optimizer__lr=1e-2)
    together = lab.run(lab.task("a", base), lab.task("b", other)).outcomes
    assert recorded(together["a"]) == recorded(together["b"]) == recorded(lab.outcome(other))


def test_a_resumed_training_records_the_same(lab: Lab, changed: Change) -> None:
    """They are of the first epoch, whichever attempt finishes."""
    recipe = changed(schedule__epochs=2)
    task = lab.task("t", recipe)
    events = run_job(lab.job(task))
    assert any(isinstance(event, EpochDone) for event in events)  # leaves the generator after the first epoch
    events.close()  # type: ignore[attr-defined]
    resumed = lab.run(lab.task("t", recipe, earlier=(task.directory,)))
    assert resumed.started.epoch == 2
    whole = lab.outcome(recipe)
    assert recorded(resumed.outcomes["t"]) == recorded(whole)
    assert dataclasses.replace(resumed.outcomes["t"].epochs[1], seconds=None, images_per_second=None) == (
        dataclasses.replace(whole.epochs[1], seconds=None, images_per_second=None)
    )


def test_a_diverged_training_has_them_too(lab: Lab, changed: Change) -> None:
    """They are known before the first update."""
    wild = lab.outcome(changed(optimizer__name="sgd", optimizer__lr=1e30))
    assert wild.state == "diverged"
    assert len(recorded(wild)) == 4
