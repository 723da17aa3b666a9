"""What a recipe does to images, for people to look at before they spend GPU-days: pictures and realised rates."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tinyablate.recipe import Augment, Mix, Recipe
from tinyablate.train import randomness
from tinyablate.train.batches import TrainBatches
from tinyablate.train.data.images import Images
from tinyablate.train.inputs import Inputs, channel_statistics
from tinyablate.train.model.build import input_config
from tinyablate.train.randomness import Shown
from tinyablate.train.rates import Rates, of_preview

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Line:
    """One recipe's line of the sheet."""

    pictures: NDArray[np.uint8]
    """[n, S, S, 3] as the model sees them, less the normalisation."""
    rates: Rates | None
    """None where nothing is random."""


class Previewer:
    """Shows one recipe's training images of the first epoch, under one seed."""

    def __init__(self, recipe: Recipe, images: Images, seed: int) -> None:
        """Raises RecipeError as training would."""
        size, own_mean, own_std, crop_pct = input_config(recipe.model.name, recipe.data.image_size)
        self._mean, self._std = channel_statistics(recipe.data.normalize, (own_mean, own_std))
        inputs = Inputs(size, self._mean, self._std, CPU, crop_pct)
        self.batches = TrainBatches(recipe, images.train, inputs, classes=images.classes, seed=seed)
        self._recipe, self._images, self._size, self._seed = recipe, images, size, seed

    def line(self, ids: randomness.Ids, count: int) -> Line:
        """`count` pictures of the images `ids` [k], fewer where k is less, and the realised rates.

        With r = `augment.repeats`, picture i is copy i % r of image i // r. Each stands first in a batch of two, with
        the next of `ids` as its partner in mixing (the last one's is the first), and batch i of the first epoch says
        how it is mixed.
        """
        rates = of_preview(self._recipe, self.batches, self._size, self._seed)
        return Line(np.stack(list(self._pictures(ids, count))), rates)

    def original(self, ids: randomness.Ids, count: int) -> Line:
        """The first `count` of the images `ids`, scaled to this recipe's input size and else as they are stored."""
        plain = dataclasses.replace(self._recipe, augment=Augment(), mix=Mix())
        pictures = Previewer(plain, self._images, self._seed)._pictures(ids, count)
        return Line(np.stack(list(pictures)), None)

    def _pictures(self, ids: randomness.Ids, count: int) -> Iterator[NDArray[np.uint8]]:
        pairs = [self._pair(ids, number) for number in range(min(count, len(ids)))]
        for step, images in enumerate(self.batches.colored(pairs)):
            first = self.batches.finish(images, pairs[step], step).images[0].permute(1, 2, 0)
            pixels = (first * torch.tensor(self._std) + torch.tensor(self._mean)) * 255
            yield pixels.round().clamp(0, 255).to(torch.uint8).numpy()

    def _pair(self, ids: randomness.Ids, number: int) -> Shown:
        """What picture `number` shows, and its partner."""
        repeats = self._recipe.augment.repeats
        place, copy = divmod(number, repeats)
        pair = ids[[place, (place + 1) % len(ids)]]
        return Shown(pair, self._seed, epoch=1, repeats=np.array([copy, copy]) if repeats > 1 else None)


def common_ids(previewers: list[Previewer], seed: int, count: int) -> randomness.Ids:
    """Up to `count` images that every recipe trains on, in the order of the first epoch."""
    shared = previewers[0].batches.ids
    for previewer in itertools.islice(previewers, 1, None):
        shared = np.intersect1d(shared, previewer.batches.ids)
    hashes = randomness.image_hash(randomness.stream_key(seed, "order", 1), shared)
    return np.asarray(shared[np.argsort(hashes, kind="stable")][:count])
