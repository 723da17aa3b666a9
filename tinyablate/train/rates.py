"""What really happens to the images that a training shows: shares of them that are mixed, cut, erased, changed.

All draws are keyed, so that looking at them changes none. It shows and trains nothing.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from tinyablate import policies
from tinyablate.recipe import Augment, Recipe
from tinyablate.train.batches import TrainBatches
from tinyablate.train.data.images import ImageSource
from tinyablate.train.randomness import Shown

POLICY_IMAGES = 256
"""Images that are run through policy and colour jitter to count those that they change, at up to 256 pixels."""
LEAST_IMAGES = 32
"""Of larger ones as many as take the same time, but not less than this."""
TRAINED_IMAGES = 64
"""As many at most for a training's own record. (`shapes` at 32 pixels under RandAugment on one core: 50 ms, a hundredth
of an epoch; the share's standard error is below 0.07.)"""
ERASE_IMAGES = 2_000
"""Images whose rectangles are measured."""
MIXED_BATCHES = 1_000
"""Batches of a long epoch whose mixing a training records."""
_TOGETHER = 32
"""Images that are rendered at once: 14 MB at 384 pixels."""


@dataclass(frozen=True)
class Rates:
    """What happened to how many images of the first epoch."""

    mixup: float
    """Share of the images that were mixed by Mixup."""
    cutmix: float
    """Share of the images that got a box of another."""
    erased: float
    """Mean share of an image's pixels that is erased."""
    changed: float
    """Share of the images of which policy or colour jitter changed any pixel; nan where none was looked at."""
    batches: int
    """How many batches `mixup` and `cutmix` are of: the epoch's first, or all."""
    measured: int
    """How many images `erased` is of: the epoch's first."""
    compared: int
    """How many images `changed` is of: the epoch's first."""

    def metrics(self) -> Mapping[str, float]:
        """By the names under which outcomes have them; without what is not known."""
        named = {
            "mixup_share": self.mixup, "cutmix_share": self.cutmix, "erased_area": self.erased,
            "changed_share": self.changed,
        }  # fmt: skip
        return {name: value for name, value in named.items() if not math.isnan(value)}


def of_training(recipe: Recipe, batches: TrainBatches, source: ImageSource, size: int, seed: int) -> Rates:
    """What a training of `size` x `size` pixels records of itself: what costs it next to nothing.

    Images that are streamed from files are not decoded for it, so that of them `changed` is known only where nothing
    can change.
    """
    compared = min(_comparable(size), TRAINED_IMAGES) if source.native or _leaves(recipe.augment) else 0
    return realised(recipe, batches, size, seed, mixed=MIXED_BATCHES, compared=compared)


def of_preview(recipe: Recipe, batches: TrainBatches, size: int, seed: int) -> Rates:
    """What people are shown: the mixing of the whole epoch, and images that are decoded for it."""
    return realised(recipe, batches, size, seed, mixed=None, compared=_comparable(size))


def realised(recipe: Recipe, batches: TrainBatches, size: int, seed: int, *, mixed: int | None, compared: int) -> Rates:
    """The rates over the first `mixed` batches (None: all) and the first `compared` images of the first epoch."""
    drawn = [batches.mixing(shown, step) for step, shown in enumerate(itertools.islice(batches.shown(1), mixed))]
    measured, looked_at = _first(recipe, batches, seed, ERASE_IMAGES), _first(recipe, batches, seed, max(compared, 1))
    return Rates(
        mixup=float(np.mean([mixing.mixup_share for mixing in drawn])),
        cutmix=float(np.mean([mixing.cutmix_share for mixing in drawn])),
        erased=float(batches.boxes(measured).shares(len(measured), size).mean()) if recipe.augment.erase_prob else 0.0,
        changed=_changed(recipe, batches, looked_at) if compared else math.nan,
        batches=len(drawn),
        measured=len(measured),
        compared=len(looked_at) if compared else 0,
    )


def _comparable(size: int) -> int:
    """How many images of `size` x `size` pixels are run through policy and colour jitter."""
    return min(POLICY_IMAGES, max(POLICY_IMAGES * 256**2 // size**2, LEAST_IMAGES))


def _leaves(augment: Augment) -> bool:
    """Whether policy and colour jitter leave every image as it is."""
    return policies.canonical(augment.policy) == "none" and augment.color_jitter == 0


def _first(recipe: Recipe, batches: TrainBatches, seed: int, most: int) -> Shown:
    """The first images of the first epoch, up to `most`."""
    parts = list(itertools.islice(batches.shown(1), -(-most // recipe.batch.size)))
    ids = np.concatenate([part.ids for part in parts])[:most]
    repeats = [part.repeats for part in parts if part.repeats is not None]
    return Shown(ids, seed, epoch=1, repeats=np.concatenate(repeats)[:most] if repeats else None)


def _changed(recipe: Recipe, batches: TrainBatches, shown: Shown) -> float:
    """Share of the images whose pixels differ with and without policy and colour jitter."""
    if _leaves(recipe.augment):
        return 0.0
    parts = [shown.take(part) for part in np.split(np.arange(len(shown)), range(_TOGETHER, len(shown), _TOGETHER))]
    before = (images.clone() for images in batches.cropped(parts))
    differ = [(a != b).flatten(1).any(1) for a, b in zip(before, batches.colored(parts), strict=True)]
    return float(torch.cat(differ).double().mean())
