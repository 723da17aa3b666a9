"""Random Erasing (Zhong et al. 2017) of normalised images, with timm's choice of the rectangle.

Every draw belongs to an image: its rectangle and noise do not depend on the batch it is in.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tinyablate.recipe import Augment
from tinyablate.train import randomness

_TRIES = 10
"""Draws of area and ratio before an image is left whole (timm's number)."""
_APPLY, _TOP, _LEFT, _SHAPE = 0, 1, 2, 3
"""Numbers of the stream's draws; the tries' areas and ratios follow from _SHAPE in pairs."""


@dataclass(frozen=True)
class Boxes:
    """Rectangles to erase: `index` [k] places in the batch, the others [k] in pixels; bottom and right are excluded."""

    index: npt.NDArray[np.int64]
    top: npt.NDArray[np.int64]
    bottom: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]


def draw_boxes(augment: Augment, size: int, *, seed: int, epoch: int, image_ids: randomness.Ids) -> Boxes:
    """The rectangles of the images `image_ids` [n] of `size` x `size` pixels in this epoch.

    As in timm: area uniform in `erase_area` of the image, ratio log-uniform in `erase_ratio`, up to ten tries until the
    rectangle is smaller than the image both ways, its place uniform.
    """
    key = randomness.stream_key(seed, "erase", epoch)
    index = np.flatnonzero(randomness.image_uniform(key, image_ids, _APPLY) < augment.erase_prob)
    height, width = np.zeros(len(index), np.int64), np.zeros(len(index), np.int64)
    for attempt in range(_TRIES):
        open_ = np.flatnonzero(height == 0)
        if not len(open_):
            break
        tall, wide = _rectangle(augment, size, key, image_ids[index[open_]], attempt)
        fits = (tall < size) & (wide < size) & (tall > 0) & (wide > 0)
        height[open_[fits]], width[open_[fits]] = tall[fits], wide[fits]
    index, height, width = index[height > 0], height[height > 0], width[height > 0]
    ids = image_ids[index]
    top = (randomness.image_uniform(key, ids, _TOP) * (size - height + 1)).astype(np.int64)
    left = (randomness.image_uniform(key, ids, _LEFT) * (size - width + 1)).astype(np.int64)
    return Boxes(index, top, top + height, left, left + width)


def _rectangle(
    augment: Augment, size: int, key: int, ids: randomness.Ids, attempt: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Height and width in pixels that each image draws in this attempt."""
    least, most = augment.erase_area
    low, high = (math.log(ratio) for ratio in augment.erase_ratio)
    area = (least + (most - least) * randomness.image_uniform(key, ids, _SHAPE + 2 * attempt)) * size * size
    ratio = np.exp(low + (high - low) * randomness.image_uniform(key, ids, _SHAPE + 2 * attempt + 1))
    return np.rint(np.sqrt(area * ratio)).astype(np.int64), np.rint(np.sqrt(area / ratio)).astype(np.int64)


def erase(images: Tensor, boxes: Boxes, mode: str, *, seed: int, epoch: int, image_ids: randomness.Ids) -> Tensor:
    """`images` float [n, C, S, S], normalised, with the rectangles filled, in place.

    `pixel`: standard normal noise per value; `rand`: one normal per channel; `const`: 0.
    """
    if not len(boxes.index):
        return images
    index = torch.from_numpy(boxes.index).to(images.device)
    ids = torch.from_numpy(image_ids[boxes.index]).to(images.device)
    fill = _fill(mode, randomness.stream_key(seed, "erase-fill", epoch), ids, images)
    images[index] = torch.where(_inside(boxes, images), fill, images[index])
    return images


def _fill(mode: str, key: int, ids: Tensor, images: Tensor) -> Tensor:
    """What the erased images hold inside their rectangles, to be broadcast to [k, C, S, S]."""
    if mode == "const":
        return images.new_zeros(())
    _, channels, size, _ = images.shape
    side = size if mode == "pixel" else 1
    # Places run over pixels first and channels last, the layout in which images lie in memory.
    return randomness.pixel_noise(key, ids, (side, side, channels)).permute(0, 3, 1, 2).to(images.dtype)


def _inside(boxes: Boxes, images: Tensor) -> Tensor:
    """bool [k, 1, S, S]: the pixels inside each rectangle."""
    bounds = np.stack([boxes.top, boxes.bottom, boxes.left, boxes.right])[..., None]
    top, bottom, left, right = torch.from_numpy(bounds).to(images.device)
    place = torch.arange(images.shape[-1], device=images.device)
    rows, columns = (place >= top) & (place < bottom), (place >= left) & (place < right)
    inside: Tensor = rows[:, None, :, None] & columns[:, None, None, :]
    return inside
