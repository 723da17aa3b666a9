"""The input pipeline: from packed bytes to what the model gets, batch by batch, on the device that trains.

It holds the order of the steps; each step's arithmetic stands in `augment/`.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tinyablate.errors import RecipeError
from tinyablate.recipe import Recipe
from tinyablate.train import device as devices
from tinyablate.train import randomness
from tinyablate.train.augment import erase, geometry, mix
from tinyablate.train.data.packed import open_packed


@dataclass(frozen=True)
class Batch:
    """What one update is computed from."""

    images: Tensor
    """float32 [n, 3, S, S], normalised, erased, mixed."""
    targets: Tensor
    """float32 [n, K], each row sums to 1."""


class Split:
    """Images and labels of one half of a data set, taken by number.

    On a CPU the images stay in the memory map, shared with other processes; on a GPU they are held in its memory.
    """

    def __init__(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], device: torch.device) -> None:
        self.device = device
        self.labels = torch.from_numpy(np.array(labels)).to(device)
        self._mapped = images
        self._held = None if device.type == "cpu" else torch.from_numpy(np.array(images)).to(device)

    def __len__(self) -> int:
        return len(self._mapped)

    def take(self, image_ids: randomness.Ids) -> Tensor:
        """A copy of the images with these numbers [n]: uint8 [n, H, W, 3] on the device."""
        if self._held is None:
            return torch.from_numpy(np.asarray(self._mapped[image_ids]))
        return self._held[torch.from_numpy(image_ids).to(self.device)]


@dataclass(frozen=True)
class Images:
    """A prepared data set on one device."""

    train: Split
    val: Split
    classes: int
    digest: str


@functools.lru_cache(maxsize=2)
def load_images(folder: Path, device: torch.device) -> Images:
    """The data set packed in `folder`, kept open (and on a GPU, in its memory) from job to job. Raises DataError."""
    packed = open_packed(folder)
    return Images(
        Split(packed.train, packed.train_labels, device),
        Split(packed.val, packed.val_labels, device),
        len(packed.manifest.classes),
        packed.manifest.digest,
    )


Channels = tuple[float, ...]
"""One value per colour channel, of pixel values in 0..1."""

_STATISTICS: dict[str, tuple[Channels, Channels]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation by their name in the recipe."""


def channel_statistics(name: str, own: tuple[Channels, Channels]) -> tuple[Channels, Channels]:
    """Mean and standard deviation that `data.normalize` names; the model's `own` for `model`."""
    return own if name == "model" else _STATISTICS[name]


class Inputs:
    """From uint8 images to the model's input: whole-image resize, then normalisation."""

    def __init__(self, size: int, mean: Channels, std: Channels, device: torch.device) -> None:
        self.size = size
        self._format = devices.memory_format(device.type)
        spread, middle = (torch.tensor(values, dtype=torch.float64) for values in (std, mean))
        # One value per channel of every pixel of a row: an inner loop over a whole row, not over three values.
        self._scale = (1 / (255 * spread)).repeat(size).to(device, torch.float32)
        self._shift = (-middle / spread).repeat(size).to(device, torch.float32)

    def __call__(self, images: Tensor) -> Tensor:
        """float32 [n, C, S, S], (x / 255 - mean) / std, of uint8 [n, H, W, C]."""
        resized = geometry.resize(images, self.size)
        rows = resized.view(len(resized), self.size, -1)
        normal = torch.addcmul(self._shift, rows, self._scale).view(resized.shape)
        return normal.permute(0, 3, 1, 2).contiguous(memory_format=self._format)


class TrainBatches:
    """The training batches of one seed: every draw is keyed, so any batch of any epoch can be made at any time."""

    def __init__(self, recipe: Recipe, split: Split, inputs: Inputs, *, classes: int, seed: int) -> None:
        """Raises RecipeError where the data set holds less than one batch."""
        if len(split) < recipe.batch.size:
            rule = f"the training set has only {len(split)} images"
            raise RecipeError([("batch.size", recipe.batch.size, rule)])
        self.steps = len(split) // recipe.batch.size
        self._recipe, self._split, self._inputs = recipe, split, inputs
        self._classes, self._seed = classes, seed

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The epoch's batches in order; the last, incomplete one is dropped."""
        order = randomness.epoch_order(self._seed, epoch, len(self._split))
        size = self._recipe.batch.size
        for step in range(self.steps):
            yield self.batch(order[step * size : (step + 1) * size], epoch, step)

    def batch(self, image_ids: randomness.Ids, epoch: int, step: int) -> Batch:
        """The images `image_ids` [n] as this step of this epoch (counted from 0) shows them."""
        seed, recipe = self._seed, self._recipe
        mixing = mix.draw(recipe.mix, self._inputs.size, seed=seed, epoch=epoch, step=step)
        images = self._flipped(self._inputs(self._split.take(image_ids)), image_ids, epoch)
        if recipe.augment.erase_order == "before-mix":
            images = mix.mix_images(self._erased(images, image_ids, epoch), mixing)
        else:
            images = self._erased(mix.mix_images(images, mixing), image_ids, epoch)
        labels = self._split.labels[torch.from_numpy(image_ids).to(images.device)]
        return Batch(images, mix.soft_targets(labels, self._classes, recipe.loss.smoothing, mixing))

    def _flipped(self, images: Tensor, image_ids: randomness.Ids, epoch: int) -> Tensor:
        key = randomness.stream_key(self._seed, "hflip", epoch)
        chosen = randomness.image_uniform(key, image_ids) < self._recipe.augment.hflip
        return geometry.flip(images, chosen)

    def _erased(self, images: Tensor, image_ids: randomness.Ids, epoch: int) -> Tensor:
        augment, seed = self._recipe.augment, self._seed
        if augment.erase_prob == 0:
            return images
        boxes = erase.draw_boxes(augment, self._inputs.size, seed=seed, epoch=epoch, image_ids=image_ids)
        return erase.erase(images, boxes, augment.erase_mode, seed=seed, epoch=epoch, image_ids=image_ids)
