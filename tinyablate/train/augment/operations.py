"""One step of a policy: an operation for each image of a batch, carried out for all images at once.

Values are PIL's and timm's: a strength means the same here as in the argument of the PIL function it is named after.
"""

import enum
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyablate.train.augment import color, warp
from tinyablate.train.augment.color import Chosen, Column

VALUES = 6
"""Columns of `Step.values`."""


class Op(enum.IntEnum):
    """What happens to an image; behind each, what its row of `Step.values` holds."""

    IDENTITY = 0
    AUTO_CONTRAST = 1
    EQUALIZE = 2
    INVERT = 3
    POSTERIZE = 4  # bits kept, 0..8
    SOLARIZE = 5  # threshold 0..256: values from it on are inverted
    SOLARIZE_ADD = 6  # what is added to values below 128, cut at 255 (and at 0)
    BRIGHTNESS = 7  # factor: 0 black, 1 as it is; PIL's ImageEnhance, as the next three
    CONTRAST = 8  # factor: 0 the image's mean gray, 1 as it is
    SATURATION = 9  # factor: 0 gray, 1 as it is (PIL's Color)
    SHARPNESS = 10  # factor: 0 smoothed, 1 as it is
    GRAYSCALE = 11
    BLUR = 12  # radius in pixels of PIL's GaussianBlur
    FADE = 13  # factor, gray level: like CONTRAST towards a level that is given
    CUTOUT = 14  # top, bottom, left, right of the rectangle that gets the fill colour; bottom and right excluded
    WARP_NEAREST = 15  # PIL's six coefficients of Image.transform(AFFINE): output -> input pixel
    WARP_BILINEAR = 16  # the same, bilinear
    WARP_BICUBIC = 17  # the same, bicubic (a = -1, which PIL's transform has; its resize has -0.5)


_FACTOR, _LINEAR, _OFFSET, _EDGE = (0.0, 1e3), (-1e3, 1e3), (-1e6, 1e6), (0.0, 1e6)
_BOUNDS: dict[Op, tuple[tuple[float, float], ...]] = {
    Op.POSTERIZE: ((0, 8),),
    Op.SOLARIZE: ((0, 256),),
    Op.SOLARIZE_ADD: ((-255, 255),),
    Op.BRIGHTNESS: (_FACTOR,),
    Op.CONTRAST: (_FACTOR,),
    Op.SATURATION: (_FACTOR,),
    Op.SHARPNESS: (_FACTOR,),
    Op.BLUR: ((0, 1e3),),
    Op.FADE: (_FACTOR, (0, 255)),
    Op.CUTOUT: (_EDGE, _EDGE, _EDGE, _EDGE),
    **{
        op: (_LINEAR, _LINEAR, _OFFSET, _LINEAR, _LINEAR, _OFFSET)
        for op in (Op.WARP_NEAREST, Op.WARP_BILINEAR, Op.WARP_BICUBIC)
    },
}
"""Least and greatest value of the columns that an operation uses. Warps: what 32 bits hold for any image."""


def _bounds(end: int) -> NDArray[np.float64]:
    """One end of `_BOUNDS` as a table [operations, 6]; 0 for what is not used."""
    table = np.zeros((len(Op), VALUES))
    for op, columns in _BOUNDS.items():
        table[op, : len(columns)] = [column[end] for column in columns]
    return table


_LEAST, _MOST = _bounds(0), _bounds(1)


@dataclass(frozen=True)
class Step:
    """An operation for each of n images. Raises ValueError for what no operation can be carried out with."""

    op: NDArray[np.int8]
    """[n], of Op."""
    values: NDArray[np.float64]
    """[n, 6]; columns that an operation does not use are 0."""

    def __post_init__(self) -> None:
        if self.op.ndim != 1 or self.values.shape != (len(self.op), VALUES):
            raise ValueError(f"a step needs op [n] and values [n, {VALUES}], not {self.op.shape}, {self.values.shape}")
        if len(self.op) and not 0 <= self.op.min() <= self.op.max() < len(Op):
            raise ValueError(f"a step's operations are 0..{len(Op) - 1}, not {self.op.min()}..{self.op.max()}")
        wrong = ~((self.values >= _LEAST[self.op]) & (self.values <= _MOST[self.op]))  # nan is not within any bounds
        if wrong.any():
            i, column = (int(place) for place in np.argwhere(wrong)[0])
            op, bounds = Op(self.op[i]), (_LEAST[self.op[i], column], _MOST[self.op[i], column])
            rule = f"between {bounds[0]:g} and {bounds[1]:g}"
            raise ValueError(f"{op.name}: value {column} of image {i} must be {rule}, not {self.values[i, column]}")

    def __len__(self) -> int:
        return len(self.op)


def apply(images: Tensor, step: Step, fill: tuple[int, int, int]) -> Tensor:
    """`images` uint8 [n, H, W, 3] after the step, uint8 of the same shape; may reuse their memory.

    `fill` is the colour of what a warp brings in from outside the image, and of CUTOUT. Which image gets what is known
    on the host, so a GPU is never waited for. Raises ValueError where shapes, dtype or colour do not fit.
    """
    if images.dtype != torch.uint8 or images.shape != (len(step), *images.shape[1:3], 3):
        raise ValueError(f"a step of {len(step)} needs uint8 [n, H, W, 3], not {images.dtype} {tuple(images.shape)}")
    if not all(0 <= level <= 255 for level in fill):
        raise ValueError(f"fill must be three levels in 0..255, not {fill}")
    images = images.contiguous()
    looked_up = []
    for kind, chosen in _groups(images, step):
        if kind in _TABLES:
            looked_up.append((chosen, _TABLES[Op(kind)](chosen)))
        else:
            way = warp.Way(kind // _KIND) if kind >= _KIND else None
            for part in chosen.tiles(1 if way is None else way.tile):
                part.put(_change(Op(kind), part, fill) if way is None else _warp(way, part, fill))
    color.look_up(looked_up)
    return images


_POINTS: dict[Op, Callable[[Column, Column], NDArray[np.float64]]] = {
    Op.INVERT: lambda first, second: color.point_values(threshold=0.0 * first),
    Op.POSTERIZE: lambda bits, second: color.point_values(unit=2.0 ** (8 - np.floor(bits))),
    Op.SOLARIZE: lambda threshold, second: color.point_values(threshold=threshold),
    Op.SOLARIZE_ADD: lambda summand, second: color.point_values(summand=summand),
    Op.BRIGHTNESS: lambda factor, second: color.point_values(factor=factor),
    Op.FADE: lambda factor, gray: color.point_values(factor=factor, gray=gray),
}
"""The first two values of an operation as those of `color.pointwise`."""
_TABLES: dict[Op, Callable[[Chosen], Tensor]] = {
    Op.AUTO_CONTRAST: color.auto_contrast,
    Op.EQUALIZE: color.equalize,
    Op.CONTRAST: color.contrast,
    Op.INVERT: color.pointwise,  # and the other _POINTS
}
_FILTERS = {
    Op.WARP_NEAREST: warp.Filter.NEAREST,
    Op.WARP_BILINEAR: warp.Filter.BILINEAR,
    Op.WARP_BICUBIC: warp.Filter.BICUBIC,
}
_TAPS = np.array([_FILTERS.get(op, 0) for op in Op], np.int64)
_KIND = 32
"""The kind of a group is its operation, that of a warp this many times its way (1, 2, ...)."""
_SAMPLED_APART = 1 << 15
"""Pixels for which the calls of a pass take as long as the taps of the bicubic filter that the others lack."""


def _groups(images: Tensor, step: Step) -> Iterator[tuple[int, Chosen]]:
    """The images of each kind of operation that changes any."""
    kinds, numbers = step.op.astype(np.int64), np.zeros((len(step), VALUES + 2))
    numbers[:, :VALUES] = step.values
    present = np.flatnonzero(np.bincount(kinds, minlength=len(Op))).tolist()
    for op in _POINTS.keys() & present:
        rows = np.flatnonzero(step.op == int(op))
        numbers[rows, :5] = _POINTS[op](step.values[rows, 0], step.values[rows, 1])
        kinds[rows] = int(Op.INVERT)
    if present and present[-1] >= Op.WARP_NEAREST:
        rows = np.flatnonzero(_TAPS[step.op])
        numbers[rows] = warp.pixel_maps(step.values[rows], _TAPS[step.op[rows]])
        kinds[rows] = _warp_kinds(images, numbers[rows])
    order = np.argsort(kinds, kind="stable")
    order = order[np.count_nonzero(kinds == int(Op.IDENTITY)) :]
    chosen, ordered = Chosen.of(images, order, numbers[order]), kinds[order]
    edges = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(order)]
    for first, stop in itertools.pairwise(edges):
        if first < stop:
            yield int(ordered[first]), chosen.part(first, stop)


def _warp_kinds(images: Tensor, maps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Kinds of warps: those of one way go together, which saves calls. Grouping changes no bit of any image.

    Only many pixels on a CPU are better sampled apart where they have fewer taps.
    """
    height, width = images.shape[1:3]
    ways = warp.ways(maps, height, width, cuda=images.is_cuda)
    sampled = ways == int(warp.Way.SAMPLE)
    apart = not images.is_cuda and np.count_nonzero(sampled) * height * width > _SAMPLED_APART
    return _KIND * ways + (warp.taps_of(maps) * sampled if apart else 0)


def _warp(way: warp.Way, chosen: Chosen, fill: tuple[int, int, int]) -> Tensor:
    """The chosen images warped: uint8 [k, H, W, 3]."""
    return warp.warp(chosen.take(), chosen.values, way, int(warp.taps_of(chosen.numbers).max()), fill)


def _change(op: Op, chosen: Chosen, fill: tuple[int, int, int]) -> Tensor:
    """The chosen images after an operation that is neither a table nor a warp: uint8 [k, H, W, 3]."""
    images = chosen.take()
    match op:
        case Op.SATURATION:
            return color.saturate(images, chosen.values[:, 0])
        case Op.GRAYSCALE:
            return color.grayscale(images)
        case Op.SHARPNESS:
            return color.sharpen(images, chosen.values[:, 0])
        case Op.BLUR:
            return color.blur(images, color.box_weights(chosen.numbers[:, 0]))
        case _:
            return color.cut_out(images, chosen.values[:, :4], fill)
