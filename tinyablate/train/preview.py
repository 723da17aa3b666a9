"""What a recipe does to images, for people to look at before they spend GPU-days: pictures and realised rates."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tinyablate.recipe import Recipe
from tinyablate.train import randomness
from tinyablate.train.batches import TrainBatches
from tinyablate.train.data.images import Images
from tinyablate.train.inputs import Inputs, channel_statistics
from tinyablate.train.model.build import input_config
from tinyablate.train.randomness import Shown

POLICY_IMAGES = 256
"""Images that are run through the policy to count those that it changes."""
ERASE_IMAGES = 20_000
"""Images whose rectangles are counted."""
CPU = torch.device("cpu")


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
    """Share of the images of which policy or colour jitter changed any pixel."""


@dataclass(frozen=True)
class Line:
    """One recipe's line of the sheet."""

    pictures: NDArray[np.uint8]
    """[n, S, S, 3] as the model sees them, less the normalisation."""
    rates: Rates


class Previewer:
    """Shows one recipe's training images of the first epoch, under one seed."""

    def __init__(self, recipe: Recipe, images: Images, seed: int) -> None:
        """Raises RecipeError as training would."""
        size, own_mean, own_std, crop_pct = input_config(recipe.model.name, recipe.data.image_size)
        self._mean, self._std = channel_statistics(recipe.data.normalize, (own_mean, own_std))
        inputs = Inputs(size, self._mean, self._std, CPU, crop_pct)
        self.batches = TrainBatches(recipe, images.train, inputs, classes=images.classes, seed=seed)
        self._size, self._seed = size, seed

    def line(self, ids: randomness.Ids) -> Line:
        """The images `ids` [n] as n steps show them: each with the next one as its partner in mixing."""
        return Line(np.stack(list(self._pictures(ids))), self._rates())

    def _pictures(self, ids: randomness.Ids) -> Iterator[NDArray[np.uint8]]:
        pairs = [self._shown(np.array(pair)) for pair in zip(ids, np.roll(ids, -1), strict=True)]
        for step, images in enumerate(self.batches.colored(pairs)):
            first = self.batches.finish(images, pairs[step], step).images[0].permute(1, 2, 0)
            pixels = (first * torch.tensor(self._std) + torch.tensor(self._mean)) * 255
            yield pixels.round().clamp(0, 255).to(torch.uint8).numpy()

    def _shown(self, ids: randomness.Ids) -> Shown:
        return Shown(ids, self._seed, epoch=1)

    def _rates(self) -> Rates:
        drawn = [self.batches.mixing(shown, step) for step, shown in enumerate(self.batches.shown(1))]
        ids = self.batches.ids[:ERASE_IMAGES]
        boxes = self.batches.boxes(self._shown(ids))
        return Rates(
            mixup=float(np.mean([mixing.mixup_share for mixing in drawn])),
            cutmix=float(np.mean([mixing.cutmix_share for mixing in drawn])),
            erased=float(boxes.shares(len(ids), self._size).mean()),
            changed=self._changed(),
        )

    def _changed(self) -> float:
        """Share of images whose pixels differ with and without the policy."""
        ids = self.batches.ids[:: max(len(self.batches.ids) // POLICY_IMAGES, 1)][:POLICY_IMAGES]
        parts = [self._shown(part) for part in np.array_split(ids, -(-len(ids) // 32))]
        before = (images.clone() for images in self.batches.cropped(parts))
        differ = [(a != b).flatten(1).any(1) for a, b in zip(before, self.batches.colored(parts), strict=True)]
        return float(torch.cat(differ).double().mean())


def common_ids(previewers: list[Previewer], seed: int, count: int) -> randomness.Ids:
    """Up to `count` images that every recipe trains on, in the order of the first epoch."""
    shared = previewers[0].batches.ids
    for previewer in itertools.islice(previewers, 1, None):
        shared = np.intersect1d(shared, previewer.batches.ids)
    hashes = randomness.image_hash(randomness.stream_key(seed, "order", 1), shared)
    return np.asarray(shared[np.argsort(hashes, kind="stable")][:count])
