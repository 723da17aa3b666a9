"""The four architectures of Huynh 2022 in small, from random weights: head-only and whole, stopped and taken up."""

import dataclasses
import math
from typing import Any

import pytest

from tinyablate.job import EpochDone, Outcome
from tinyablate.train.loop import run_job

Lab = Any
Change = Any

NARROW = {"depth": 2, "embed_dim": 48, "num_heads": 2}
SMALL: dict[str, dict[str, Any]] = {
    "vit_large_patch16_384": NARROW,
    "cait_s36_384": NARROW,
    "deit_base_distilled_patch16_384": NARROW,
    "swin_large_patch4_window12_384": {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 4, 8)},
}
"""timm's name -> fewer and narrower blocks of the same classes."""


def numbers(outcome: Outcome) -> list[Any]:
    """All of an outcome's epochs but their times."""
    return [dataclasses.replace(epoch, seconds=None, images_per_second=None) for epoch in outcome.epochs]


@pytest.mark.parametrize("trainable", ["head", "all"])
@pytest.mark.parametrize("name", SMALL)
def test_each_trains_and_resumes_bit_equal_after_any_epoch(
    lab: Lab, changed: Change, name: str, trainable: str
) -> None:
    """Stopped after each of three epochs and taken up again, a trial has the numbers of the undisturbed one."""
    recipe = changed(
        model__name=name, model__args=SMALL[name], model__trainable=trainable, model__drop_path=0.1, ema__decay=0.9
    )
    straight = lab.outcome(recipe)
    assert straight.state == "complete"
    assert all(math.isfinite(e.train_loss) and math.isfinite(e.val_loss) for e in straight.epochs)
    assert dict(straight.metrics)["layers"] >= 2
    earlier: tuple[Any, ...] = ()
    for _ in range(2):
        task = lab.task("trial", recipe, earlier=earlier)
        next(event for event in run_job(lab.job(task)) if isinstance(event, EpochDone))
        earlier = (task.directory, *earlier)
    resumed = lab.run(lab.task("trial", recipe, earlier=earlier))
    assert resumed.started.epoch == 3
    assert numbers(resumed.outcomes["trial"]) == numbers(straight)
