"""Random Erasing (Zhong et al. 2017) of normalised images, with timm's choice of the rectangles.

Every draw belongs to an image: its rectangles and their noise do not depend on the batch that it is in.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tinyablate.recipe import Augment
from tinyablate.train.augment.boxes import TRIES, first_fitting
from tinyablate.train.randomness import Ids, Runs, Shown, stretched

_APPLY, _TOP, _LEFT, _SHAPE = 0, 1, 2, 3
"""Numbers of the stream's draws; the tries' areas and ratios follow from _SHAPE in pairs."""
_COUNT = _SHAPE + 2 * TRIES
_EACH = 2 + 2 * TRIES
"""Draws of one rectangle. Those of the second and later ones follow from _COUNT, in the order of the first's."""


@dataclass(frozen=True)
class Boxes:
    """Rectangles to erase, [k] each; bottom and right are excluded. Of one image's, a later one covers an earlier."""

    index: Ids
    """Place of the image in the batch."""
    number: Ids
    """Which of its image's rectangles it is, counted from 0, in ascending order."""
    top: Ids
    """In pixels, as the next three."""
    bottom: Ids
    left: Ids
    right: Ids

    def __len__(self) -> int:
        return len(self.index)

    def take(self, places: Ids) -> "Boxes":
        """Those at `places`."""
        return Boxes(*(getattr(self, f.name)[places] for f in fields(Boxes)))

    def rows(self, width: int) -> Runs:
        """Their rows, one rectangle after the other, as runs of pixels of images `width` pixels wide."""
        heights = self.bottom - self.top
        box = np.repeat(np.arange(len(self)), heights)
        row = self.top[box] + np.arange(len(box)) - np.repeat(np.cumsum(heights) - heights, heights)
        return Runs(self.index[box], row * width + self.left[box], (self.right - self.left)[box])

    def shares(self, images: int, size: int) -> npt.NDArray[np.float64]:
        """The erased share of each of `images` images of `size` x `size` pixels: float64 [images]."""
        areas = (self.bottom - self.top) * (self.right - self.left)
        counts = np.bincount(self.index, minlength=images)
        covered = np.bincount(self.index, areas, minlength=images)
        order, stops = np.argsort(self.index, kind="stable"), np.cumsum(counts)
        for image in np.flatnonzero(counts > 1):  # rectangles may overlap
            inside = np.zeros((size, size), bool)
            for k in order[stops[image] - counts[image] : stops[image]]:
                inside[self.top[k] : self.bottom[k], self.left[k] : self.right[k]] = True
            covered[image] = np.count_nonzero(inside)
        return np.asarray(covered / (size * size))


def draw_boxes(augment: Augment, size: int, shown: Shown) -> Boxes:
    """The rectangles of the images `shown` [n] of `size` x `size` pixels.

    As timm 1.0.31's `RandomErasing`: their number is uniform in 1..`erase_count`; for each, area uniform in
    `erase_area` of the image, divided by that number, ratio log-uniform in `erase_ratio`, up to ten tries until it is
    smaller than the image both ways, its place uniform. A rectangle that rounds to nothing is tried again, where timm
    erases nothing; it takes an area of about a pixel.
    """
    index = np.flatnonzero(shown.uniform("erase", _APPLY) < augment.erase_prob)
    counts = np.ones(len(index), np.int64)
    if augment.erase_count > 1:
        counts += (shown.take(index).uniform("erase", _COUNT) * augment.erase_count).astype(np.int64)
    parts = [_numbered(0, augment, size, index, counts, shown)]
    parts += [_numbered(number, augment, size, index, counts, shown) for number in range(1, counts.max(initial=1))]
    return Boxes(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Boxes)))


def _numbered(number: int, augment: Augment, size: int, index: Ids, counts: Ids, shown: Shown) -> Boxes:
    """The rectangles `number` of those images at the places `index` whose `counts` of rectangles reach it."""
    offset = _COUNT + _EACH * (number - 1) if number else 0
    index, counts = index[counts > number], counts[counts > number]
    images = shown.take(index)
    height, width = first_fitting(
        images,
        "erase",
        _SHAPE + offset,
        shares=augment.erase_area,
        ratios=augment.erase_ratio,
        area=lambda share, places: share * size * size / counts[places],
        most=np.full((2, len(index)), size - 1),
    )
    fitting = np.flatnonzero(height)
    images, index, height, width = images.take(fitting), index[fitting], height[fitting], width[fitting]
    top = (images.uniform("erase", _TOP + offset) * (size - height + 1)).astype(np.int64)
    left = (images.uniform("erase", _LEFT + offset) * (size - width + 1)).astype(np.int64)
    return Boxes(index, np.full(len(index), number), top, top + height, left, left + width)


def erase(images: Tensor, boxes: Boxes, mode: str, shown: Shown) -> Tensor:
    """`images` float [n, C, S, S], normalised, with the rectangles filled, in place.

    `pixel`: standard normal noise per value; `rand`: one normal per channel and rectangle; `const`: 0.
    """
    if not len(boxes):
        return images
    lines = images.permute(0, 2, 3, 1)
    pixels = lines.contiguous()  # the same memory where images lie channels last
    if mode == "pixel":
        _fill_noise(pixels, boxes, shown)
    elif mode == "rand":
        for number in range(int(boxes.number.max()) + 1):  # one of an image at a time: a later one covers an earlier
            chosen = boxes.take(np.flatnonzero(boxes.number == number))
            _fill_colors(pixels, chosen, _colors(pixels, chosen, number, shown))
    else:
        _fill_colors(pixels, boxes, pixels.new_zeros(len(boxes), pixels.shape[3]))
    if pixels.data_ptr() != lines.data_ptr():
        lines.copy_(pixels)
    return images


def _fill_noise(pixels: Tensor, boxes: Boxes, shown: Shown) -> None:
    """A normal for every value. It belongs to image and place, so where rectangles overlap there is only one."""
    channels = pixels.shape[3]
    rows = boxes.rows(pixels.shape[2])
    runs = Runs(rows.image, rows.first * channels, rows.length * channels)
    shown.fill_noise("erase-fill", pixels.view(len(pixels), -1), runs)


def _colors(pixels: Tensor, boxes: Boxes, number: int, shown: Shown) -> Tensor:
    """A normal for each channel of each rectangle, all of them the `number`-th of their images: float [k, C]."""
    stream = f"erase-fill-{number}" if number else "erase-fill"
    return shown.take(boxes.index).noise(stream, (pixels.shape[3],), pixels.device).to(pixels.dtype)


def _fill_colors(pixels: Tensor, boxes: Boxes, colors: Tensor) -> None:
    """Fill each rectangle with its row of `colors` [k, C]."""
    _, height, width, channels = pixels.shape
    where = boxes.rows(width).flat(height * width, pixels.device)
    areas = (boxes.bottom - boxes.top) * (boxes.right - boxes.left)
    which = stretched(np.arange(len(boxes)), areas, pixels.device)
    pixels.view(-1, channels).index_copy_(0, where, colors[which])
