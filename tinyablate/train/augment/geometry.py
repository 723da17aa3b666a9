"""Crop, scale, pad and flip whole batches: first what each image shows (`Views`), then its pixels.

On a CPU every image goes through products of its own, small enough for the cache, so that its bits depend on nothing
but itself; on a GPU a batch is two batched products. Both do what PIL does: columns first, rounded to bytes, then rows.
Images of various sizes are rendered one by one (`views.render_one`); colours are not touched here.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyablate.errors import DataError, RecipeError
from tinyablate.recipe import Augment, Evaluate
from tinyablate.train.augment.boxes import first_fitting
from tinyablate.train.augment.views import Boxes, Numbers, Padding, Pixels, Side, Views, gather
from tinyablate.train.randomness import Shown
from tinyablate.train.transfer import send

_ROW, _COLUMN, _SHAPE = 0, 1, 2
"""Numbers of the draws of stream "crop"; the tries' areas and ratios follow from _SHAPE in pairs."""
_BLOCK, _LEAST_BLOCK = 32, 8
"""Output pixels per product on a CPU when enlarging, each needing only the source pixels under them; fewer when
shrinking. Of 16, 32, 48 and 64 the fastest from 64 to 96, 200, 224 and 384 on one core of an AMD EPYC."""
_TILE = 1 << 18
"""Bytes of images that are flipped at a time on a CPU: they stay in the L2 cache."""
_GPU_VALUES = 1 << 26
"""Values of the images, small or large, per pass on a GPU, where each takes 8 bytes."""
_SIDE_BITS = 20
"""Bits for a number of pixels in the code of a side: three such numbers and two flags fill an int64."""
_TABLE_ROWS = 4096
"""Most sides that a GPU's table of taps holds: 80 MB at 384 pixels."""


def train_views(augment: Augment, shown: Shown, heights: Numbers, widths: Numbers, size: int, crop_pct: float) -> Views:
    """What the images `shown` [n], `heights` x `widths` int64 [n] pixels, show in training at `size` x `size`.

    `crop_pct` is the model's own, for `center` without one in the recipe. Draws: streams "crop" (place, then the tries
    of `rrc`), "hflip" and "interpolation". Raises RecipeError where reflect padding needs more pixels than there are.
    """
    _refuse_empty(heights, widths)
    mode: Padding = "constant"
    if augment.crop == "rrc":
        boxes = _random_resized_crop(augment, shown, heights, widths, size)
    elif augment.crop in ("src", "pad"):
        boxes = _random_window(augment, shown, heights, widths, size)
        mode = augment.crop_padding_mode
    elif augment.crop == "center":
        boxes = _center(heights, widths, size, augment.crop_pct or crop_pct)
    else:
        boxes = _whole(heights, widths, np.full_like(heights, size), np.full_like(widths, size))
    flip, bilinear = shown.uniform("hflip") < augment.hflip, _bilinear(augment, shown)
    return Views(**vars(boxes), flip=flip, bilinear=bilinear, size=size, padding=mode, antialias=augment.antialias)


def evaluate_views(evaluate: Evaluate, heights: Numbers, widths: Numbers, size: int, crop_pct: float) -> Views:
    """What images of `heights` x `widths` int64 [n] pixels show in evaluation at `size` x `size`; see `train_views`."""
    _refuse_empty(heights, widths)
    if evaluate.crop == "center":
        boxes = _center(heights, widths, size, evaluate.crop_pct or crop_pct)
    else:
        boxes = _whole(heights, widths, np.full_like(heights, size), np.full_like(widths, size))
    bilinear = np.full(len(heights), evaluate.interpolation == "bilinear")
    return Views(**vars(boxes), flip=np.zeros(len(heights), bool), bilinear=bilinear, size=size, padding="constant")


def _refuse_empty(heights: Numbers, widths: Numbers) -> None:
    empty = np.flatnonzero((heights < 1) | (widths < 1))
    if len(empty):
        raise DataError(f"an image of {heights[empty[0]]} x {widths[empty[0]]} pixels shows nothing")


def _bilinear(augment: Augment, shown: Shown) -> NDArray[np.bool_]:
    if augment.interpolation == "random":
        return shown.uniform("interpolation") < 0.5
    return np.full(len(shown), augment.interpolation == "bilinear")


def _whole(heights: Numbers, widths: Numbers, tall: Numbers, wide: Numbers) -> Boxes:
    """Whole images scaled to `tall` x `wide`, the window at their corner."""
    zero = np.zeros_like(heights)
    return Boxes(zero, zero, heights, widths, scaled_height=tall, scaled_width=wide, row=zero, column=zero)


def _short_side_to(heights: Numbers, widths: Numbers, short: int) -> list[Numbers]:
    """Height and width when the short side becomes `short`, the long one rounded down as in torchvision's Resize."""
    least = np.minimum(heights, widths)
    return [np.where(side == least, short, (short * side / least).astype(np.int64)) for side in (heights, widths)]


def _center(heights: Numbers, widths: Numbers, size: int, crop_pct: float) -> Boxes:
    """timm's evaluation: short side to floor(S / crop_pct), then the window that torchvision's CenterCrop takes."""
    boxes = _whole(heights, widths, *_short_side_to(heights, widths, max(math.floor(size / crop_pct), 1)))
    row, column = (
        np.where(side < size, -((size - side) // 2), np.rint((side - size) / 2)).astype(np.int64)
        for side in (boxes.scaled_height, boxes.scaled_width)
    )
    return replace(boxes, row=row, column=column)


def _random_window(augment: Augment, shown: Shown, heights: Numbers, widths: Numbers, size: int) -> Boxes:
    """`src`, `pad`: scaled, padded on every side, any window with equal chance (torchvision's RandomCrop)."""
    padding = augment.crop_padding
    if augment.crop_padding_mode == "reflect" and size <= padding:
        rule = f"reflect padding needs images larger than itself; these have {size} pixels"
        raise RecipeError([("augment.crop_padding", padding, rule)])
    if augment.crop == "src":
        boxes = _whole(heights, widths, *_short_side_to(heights, widths, size))
    else:
        boxes = _whole(heights, widths, np.full_like(heights, size), np.full_like(widths, size))
    row, column = (
        _floor(shown.uniform("crop", draw) * (side + 2 * padding - size + 1)) - padding
        for draw, side in ((_ROW, boxes.scaled_height), (_COLUMN, boxes.scaled_width))
    )
    return replace(boxes, row=row, column=column)


def _random_resized_crop(augment: Augment, shown: Shown, heights: Numbers, widths: Numbers, size: int) -> Boxes:
    """Area uniform, ratio log-uniform, up to ten tries until the box fits, its place uniform (Szegedy et al. 2015)."""
    width, height = first_fitting(
        shown,
        "crop",
        _SHAPE,
        shares=augment.crop_scale,
        ratios=augment.crop_ratio,
        area=lambda share, places: share * (heights * widths)[places],
        most=np.stack([widths, heights]),
    )
    central = height == 0
    height, width = np.where(central, _central_box(augment, heights, widths), (height, width))
    top, left = (
        np.where(central, room // 2, _floor(shown.uniform("crop", draw) * (room + 1)))
        for draw, room in ((_ROW, heights - height), (_COLUMN, widths - width))
    )
    whole, zero = np.full_like(heights, size), np.zeros_like(heights)
    return Boxes(top, left, height, width, scaled_height=whole, scaled_width=whole, row=zero, column=zero)


def _central_box(augment: Augment, heights: Numbers, widths: Numbers) -> tuple[Numbers, Numbers]:
    """What no try found: the largest box whose aspect ratio is allowed, of at least one pixel."""
    low, high = min(augment.crop_ratio), max(augment.crop_ratio)
    tall = np.where(widths / heights < low, np.rint(widths / low), heights)
    wide = np.where(widths / heights > high, np.rint(heights * high), widths)
    return np.maximum(tall, 1).astype(np.int64), np.maximum(wide, 1).astype(np.int64)


def _floor(values: NDArray[np.float64]) -> Numbers:
    return np.floor(values).astype(np.int64)


def render(images: Tensor, views: Views) -> Tensor:
    """What the views [n] show of `images` uint8 [n, H, W, 3]: uint8 [n, S, S, 3] on their device, a new tensor.

    The bytes of `render_one`, on any device and in any batch: sums are whole multiples of 2**-22 in float64, so no
    order of adding changes them.
    """
    if images.device.type != "cpu":
        return _render_batch(images, views)
    if _untouched(views, images.shape[1], images.shape[2]):
        return torch.from_numpy(_mirror(images.numpy(), views.flip))
    return torch.from_numpy(_render_each(images.numpy(), views))


def _untouched(views: Views, height: int, width: int) -> bool:
    """Whether every window is the whole image as it is, or mirrored."""
    shape = (0, 0, height, width, views.size, views.size, 0, 0)
    same = views.size == height == width
    return same and all(bool((part == whole).all()) for part, whole in zip(views.boxes, shape, strict=True))


def _mirror(images: Pixels, chosen: NDArray[np.bool_]) -> Pixels:
    """A copy of `images` [n, H, W, 3] with the chosen ones [n] mirrored left to right."""
    shown, index = images.copy(), np.flatnonzero(chosen)
    tile = max(_TILE // max(images[0].size, 1), 1) if len(images) else 1
    for first in range(0, len(index), tile):
        part = index[first : first + tile]
        shown[part] = torch.flip(torch.from_numpy(images[part]), (2,)).numpy()  # numpy's own flip takes 4 times as long
    return shown


def _render_each(images: Pixels, views: Views) -> Pixels:
    """`render` on a CPU, image by image."""
    canvas = _Canvas(images.shape[1], images.shape[2], views.size)
    shown = np.empty((len(images), views.size, views.size, 3), np.uint8)
    for index, (rows, columns) in enumerate(views.sides()):
        top, left = int(views.top[index]), int(views.left[index])
        box = images[index, top : top + rows.length, left : left + columns.length]
        if rows.unscaled and columns.unscaled:
            gather(box, rows, columns, out=shown[index])
        else:
            canvas.scale(box, _row_products(rows), _column_products(columns), shown[index])
    return shown


class _Product(NamedTuple):
    """A stretch of output pixels as a product of a matrix and the source pixels that it needs."""

    target: slice
    source: slice
    matrix: Tensor


def _bands(side: Side) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """For every block of output pixels: the first one, the first source pixel, and the weights [outputs, sources]."""
    taps, block = side.taps(), max(int(_BLOCK * min(side.scaled / side.length, 1.0)), _LEAST_BLOCK)
    reach = np.arange(taps.weights.shape[1])
    for start in range(0, side.size, block):
        first, weights = taps.first[start : start + block, None], taps.weights[start : start + block]
        low = int(first.min())
        matrix = np.zeros((len(first), int(first.max()) - low + len(reach)), np.float64)
        np.put_along_axis(matrix, first - low + reach, weights, axis=1)
        yield start, low, matrix[:, : side.length - low]


@functools.lru_cache(maxsize=256)
def _row_products(side: Side) -> tuple[_Product, ...]:
    """Matrices [outputs, sources] that scale a column of pixels."""
    return tuple(
        _Product(slice(start, start + len(band)), slice(low, low + band.shape[1]), torch.tensor(band))
        for start, low, band in _bands(side)
    )


@functools.lru_cache(maxsize=256)
def _column_products(side: Side) -> tuple[_Product, ...]:
    """Matrices [sources * 3, outputs * 3] that scale a row of pixels: its colours stay side by side, as in memory."""
    return tuple(
        _Product(
            slice(3 * start, 3 * (start + len(band))),
            slice(3 * low, 3 * (low + band.shape[1])),
            torch.tensor(_per_colour(band.T)),
        )
        for start, low, band in _bands(side)
    )


def _per_colour(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Kronecker product of the matrix with the identity of the three colours; `np.kron` takes 9 times as long."""
    blocks = np.zeros((len(matrix), 3, matrix.shape[1], 3), np.float64)
    for colour in range(3):
        blocks[:, colour, :, colour] = matrix
    return blocks.reshape(3 * len(matrix), -1)


class _Canvas:
    """Memory for one image on its way, used again for every image: it stays in the cache."""

    def __init__(self, height: int, width: int, size: int) -> None:
        shapes = ((height, 3 * width), (height, 3 * size), (size, 3 * size))
        self._source, self._narrow, self._scaled = (torch.empty(shape, dtype=torch.float64) for shape in shapes)
        self._source_array, self._scaled_array = self._source.numpy(), self._scaled.numpy()

    def scale(self, box: Pixels, rows: tuple[_Product, ...], columns: tuple[_Product, ...], out: Pixels) -> None:
        """`box` [h, w, 3] scaled into `out` [S, S, 3]; of each row of the box first what the columns make of it."""
        low, high = min(part.source.start for part in rows), max(part.source.stop for part in rows)
        np.copyto(self._source_array[low:high, : 3 * box.shape[1]], box[low:high].reshape(high - low, -1))
        source, narrow = self._source[low:high], self._narrow[low:high]
        for part in columns:
            torch.mm(source[:, part.source], part.matrix, out=narrow[:, part.target])
        narrow.add_(0.5).floor_().clamp_(0, 255)
        for part in rows:
            torch.mm(part.matrix, self._narrow[part.source], out=self._scaled[part.target])
        self._scaled.add_(0.5).clamp_(0, 255)
        np.copyto(out.reshape(self._scaled_array.shape), self._scaled_array, casting="unsafe")  # torch's takes 5x


def _render_batch(images: Tensor, views: Views) -> Tensor:
    """`render` in a few large operations, for a GPU."""
    count, height, width, _ = images.shape
    table = _table(views.size, views.padding, views.antialias, images.device)
    vertical = _codes(views.height, views.scaled_height, views.row, np.zeros(count, bool), views.bilinear)
    horizontal = _codes(views.width, views.scaled_width, views.column, views.flip, views.bilinear)
    sides = table.find(np.stack([vertical, horizontal]))
    tall, wide, top, left = send(np.stack([*sides, views.top, views.left]), images.device)
    unscaled = bool((views.height == views.scaled_height).all() and (views.width == views.scaled_width).all())
    shown = torch.empty((count, views.size, views.size, 3), dtype=torch.uint8, device=images.device)
    step = max(_GPU_VALUES // (3 * max(views.size, height) * max(views.size, width)), 1)
    for start in range(0, count, step):
        part = slice(start, start + step)
        rows, columns = table.taps(tall[part], top[part]), table.taps(wide[part], left[part])
        if unscaled:
            shown[part] = _gather_batch(images[part], rows, columns)
        else:
            shown[part] = _scale_batch(images[part], _matrices(*rows, height), _matrices(*columns, width))
    return shown


class _Table:
    """The taps of every side that was met so far, on one device: a batch sends only which of them it uses."""

    def __init__(self, size: int, padding: Padding, antialias: bool, device: torch.device) -> None:
        self._shared, self._device = (size, padding, antialias), device
        self._codes = np.empty(0, np.int64)
        self._first = self._weights = torch.empty(0)

    def find(self, codes: Numbers) -> Numbers:
        """int64, shaped as `codes`: each side's row of the table, which is added where it is new."""
        if not np.isin(codes, self._codes).all():
            self._add(np.unique(codes))
        return np.searchsorted(self._codes, codes)

    def _add(self, codes: Numbers) -> None:
        """Make the table anew with these too; it starts over when it is full."""
        joined = np.union1d(self._codes, codes)
        self._codes = codes if len(joined) > _TABLE_ROWS else joined
        taps = [_coded(int(code), *self._shared).taps() for code in self._codes]
        weights = np.zeros((len(taps), self._shared[0], max(one.weights.shape[1] for one in taps)), np.float64)
        for row, one in zip(weights, taps, strict=True):
            row[:, : one.weights.shape[1]] = one.weights
        self._first = send(np.stack([one.first for one in taps]), self._device)
        self._weights = send(weights, self._device)

    def taps(self, rows: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """First pixels int64 [n, S], `offset` [n] added, and weights float64 [n, S, T] of these rows [n]."""
        return self._first[rows] + offset[:, None], self._weights[rows]


def _codes(
    length: Numbers, scaled: Numbers, start: Numbers, mirrored: NDArray[np.bool_], bilinear: NDArray[np.bool_]
) -> Numbers:
    """One int64 for each side [n]. Raises DataError where a number of pixels has no room in it."""
    if max(length.max(initial=0), scaled.max(initial=0), np.abs(start).max(initial=0)) >> _SIDE_BITS:
        raise DataError(f"an image would be scaled to {scaled.max()} pixels: a GPU takes less than {1 << _SIDE_BITS}")
    shifted = start + (1 << _SIDE_BITS)
    numbers: Numbers = (length << _SIDE_BITS | scaled) << (_SIDE_BITS + 1) | shifted
    return (numbers << 1 | mirrored) << 1 | bilinear


def _coded(code: int, size: int, padding: Padding, antialias: bool) -> Side:
    """The side of which `_codes` made `code`."""
    length, scaled = code >> (2 * _SIDE_BITS + 3), code >> (_SIDE_BITS + 3) & ((1 << _SIDE_BITS) - 1)
    start = (code >> 2 & ((2 << _SIDE_BITS) - 1)) - (1 << _SIDE_BITS)
    return Side(length, scaled, start, bool(code & 2), bool(code & 1), size, padding, antialias)


@functools.lru_cache(maxsize=8)
def _table(size: int, padding: Padding, antialias: bool, device: torch.device) -> _Table:
    return _Table(size, padding, antialias, device)


def _matrices(first: Tensor, weights: Tensor, source: int) -> Tensor:
    """Taps as matrices float64 [n, S, source]."""
    reach = torch.arange(weights.shape[2], device=first.device)
    wide = weights.new_zeros(*first.shape, source + len(reach))  # room for taps of weight 0 beyond the border
    return wide.scatter_(2, first[..., None] + reach, weights)[..., :source]


def _gather_batch(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """The pixels uint8 [n, S, S, 3] at the rows' and columns' first tap, black where its weight is 0."""
    (tall, tall_weights), (wide, wide_weights) = rows, columns
    numbers = torch.arange(len(images), device=images.device)[:, None, None]
    inside = (tall_weights[..., :1] * wide_weights[..., :1].transpose(1, 2)).to(torch.uint8)
    return images[numbers, tall[:, :, None], wide[:, None]].mul_(inside[..., None])


def _scale_batch(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images uint8 [n, H, W, 3] by matrices [n, S, H] and [n, S, W]: float64 [n, S, S, 3], to be cut to bytes."""
    count, height, width, _ = images.shape
    planes = images.permute(0, 3, 1, 2).to(torch.float64, memory_format=torch.contiguous_format)
    narrow = torch.bmm(planes.view(count, 3 * height, width), columns.transpose(1, 2)).add_(0.5).floor_()
    interleaved = narrow.new_empty(count, height, columns.shape[1], 3)
    torch.clamp(narrow.view(count, 3, height, -1).permute(0, 2, 3, 1), 0, 255, out=interleaved)
    scaled = torch.bmm(rows, interleaved.view(count, height, -1)).add_(0.5).clamp_(0, 255)
    return scaled.view(count, rows.shape[1], -1, 3)
