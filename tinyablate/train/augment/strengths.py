"""What the operations of a policy are and how strong they are at a level, in each library's own terms.

It chooses nothing (`policy.py`) and carries nothing out (`operations.py`). The formulas are those of timm 1.0.31
(`auto_augment.py`), torchvision 0.29.2 (`v2.RandAugment` on tensors) and big_vision 538b8a8 (`pp/autoaugment.py`), with
their order of operations, so that a strength is the same floating-point number.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tinyablate.policies import TOP_LEVEL
from tinyablate.train.augment import warp
from tinyablate.train.augment.operations import Op
from tinyablate.train.randomness import Shown

Numbers = NDArray[np.float64]

OPERATION, APPLY, SIGN, RADIUS, ANGLE, FILTER, ROW, COLUMN = range(8)
"""What is drawn in a layer; `RADIUS` and `ANGLE` are those of Box and Muller's pair of normals."""
_PER_LAYER = 16
"""Numbers kept for the draws of a layer: eight are free."""


@dataclass(frozen=True)
class Canvas:
    """The size of the images in pixels, and the filter of the warps."""

    height: int
    width: int
    interpolation: str = "nearest"
    """`nearest`, `bilinear`, `bicubic`, or `random`: bilinear or bicubic, drawn for each operation."""


@dataclass(frozen=True)
class Layer:
    """One layer of a policy over a batch of n images, and its draws, each made when it is first asked for."""

    shown: Shown
    number: int
    canvas: Canvas
    drawn: dict[int, Numbers] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.shown)

    def uniform(self, which: int) -> Numbers:
        """One of the layer's draws: [n] in [0, 1)."""
        if which not in self.drawn:
            self.drawn[which] = self.shown.uniform("policy", self.number * _PER_LAYER + which)
        return self.drawn[which]


@dataclass(frozen=True)
class Group:
    """Those k images of a layer that get the same operation."""

    layer: Layer
    index: NDArray[np.int64]
    """[k] places in the batch."""
    level: Numbers
    """[k]: the policy's magnitude, or an index into torchvision's bins."""

    @property
    def canvas(self) -> Canvas:
        """Size and filter."""
        return self.layer.canvas

    def uniform(self, which: int) -> Numbers:
        """One of the layer's draws: [k] in [0, 1)."""
        return self.layer.uniform(which)[self.index]

    def signed(self, strength: Numbers) -> Numbers:
        """The strength with a random sign."""
        return np.where(self.uniform(SIGN) < 0.5, strength, -strength)

    @property
    def share(self) -> Numbers:
        """The level as a share of the highest."""
        return self.level / float(TOP_LEVEL)

    def warps(self) -> NDArray[np.int8]:
        """The warp with the canvas's filter: [k] of Op."""
        if self.canvas.interpolation == "random":
            return np.where(self.uniform(FILTER) < 0.5, Op.WARP_BILINEAR, Op.WARP_BICUBIC).astype(np.int8)
        kinds = {"nearest": Op.WARP_NEAREST, "bilinear": Op.WARP_BILINEAR, "bicubic": Op.WARP_BICUBIC}
        return np.full(len(self.index), kinds[self.canvas.interpolation], np.int8)


Strength = Callable[[Group], Numbers]
"""The values of an operation for a group: [k], or [k, columns] where it has several."""
Table = Mapping[str, tuple[Op | None, Strength | None]]
"""By the library's name: our operation (None: a warp, with the canvas's filter) and its strength, if it has any."""


def _rotate(group: Group) -> Numbers:
    return warp.rotate(group.signed(group.share * 30.0), group.canvas.height, group.canvas.width)


def _shear_x(group: Group) -> Numbers:
    return warp.shear_x(group.signed(group.share * 0.3))


def _shear_y(group: Group) -> Numbers:
    return warp.shear_y(group.signed(group.share * 0.3))


def _move_x(pixels: Numbers) -> Numbers:
    return warp.translate(pixels, np.zeros_like(pixels))


def _move_y(pixels: Numbers) -> Numbers:
    return warp.translate(np.zeros_like(pixels), pixels)


def _bits(group: Group) -> Numbers:
    return np.trunc(group.share * 4)


def _solarize(group: Group) -> Numbers:
    return np.minimum(256.0, np.trunc(group.share * 256))


def _enhance(group: Group) -> Numbers:
    return group.share * 1.8 + 0.1


def _enhance_increasing(group: Group) -> Numbers:
    return np.maximum(0.1, 1.0 + group.signed(group.share * 0.9))


def _desaturate(group: Group) -> Numbers:
    return 1.0 - np.clip(0.5 + (1.0 - 0.5) * group.share, 0.5, 1.0)


_FACTORS = {"Color": Op.SATURATION, "Contrast": Op.CONTRAST, "Brightness": Op.BRIGHTNESS, "Sharpness": Op.SHARPNESS}
_PLAIN: Table = {
    "AutoContrast": (Op.AUTO_CONTRAST, None),
    "Equalize": (Op.EQUALIZE, None),
    "Invert": (Op.INVERT, None),
}

TIMM: Table = {
    **_PLAIN,
    "Rotate": (None, _rotate),
    # At 0 bits and fewer an older Pillow returns a black image, as here; with Pillow 13 timm's own operation raises,
    # for 1 image in 600 of rand-m9-mstd0.5-inc1. From 8 bits on timm does nothing.
    "Posterize": (Op.POSTERIZE, lambda group: np.minimum(_bits(group), 8.0)),
    "PosterizeIncreasing": (Op.POSTERIZE, lambda group: np.maximum(4.0 - _bits(group), 0.0)),
    "PosterizeOriginal": (Op.POSTERIZE, lambda group: np.minimum(_bits(group) + 4.0, 8.0)),
    "Solarize": (Op.SOLARIZE, _solarize),
    "SolarizeIncreasing": (Op.SOLARIZE, lambda group: 256.0 - _solarize(group)),
    "SolarizeAdd": (Op.SOLARIZE_ADD, lambda group: np.minimum(128.0, np.trunc(group.share * 110))),
    **{name: (op, _enhance) for name, op in _FACTORS.items()},
    **{f"{name}Increasing": (op, _enhance_increasing) for name, op in _FACTORS.items()},
    "ShearX": (None, _shear_x),
    "ShearY": (None, _shear_y),
    "TranslateXRel": (None, lambda group: _move_x(group.signed(group.share * 0.45) * group.canvas.width)),
    "TranslateYRel": (None, lambda group: _move_y(group.signed(group.share * 0.45) * group.canvas.height)),
    "Desaturate": (Op.SATURATION, _desaturate),
    "GaussianBlur": (Op.BLUR, lambda group: np.clip(0.1 + (2.0 - 0.1) * group.share, 0.1, 2.0)),
}

THREE: Table = {
    "gray": (Op.GRAYSCALE, None),
    "solarize": (Op.SOLARIZE, lambda group: np.full(len(group.level), 128.0)),
    "blur": (Op.BLUR, lambda group: 0.1 + (2.0 - 0.1) * group.uniform(RADIUS)),
}
"""3-Augment (DeiT III's `augment.py`; timm's `3a`)."""


@functools.cache
def torchvision(bins: int) -> Table:
    """torchvision's operations: a level is an index into `bins` strengths, spaced evenly in float32 as there."""

    def at(group: Group, strengths: torch.Tensor) -> Numbers:
        return np.asarray(strengths.double().numpy()[group.level.astype(np.int64)])

    def signed(group: Group, end: float) -> Numbers:
        return group.signed(at(group, torch.linspace(0.0, end, bins)))

    def moved(group: Group, size: int) -> Numbers:
        return np.trunc(signed(group, 150.0 / 331.0 * size))

    def threshold(group: Group) -> Numbers:
        shares = at(group, torch.linspace(1.0, 0.0, bins))
        return np.ceil((255.0 * shares).astype(np.float32))  # which it compares with pixels as float32

    def bits(group: Group) -> Numbers:
        return at(group, (8 - torch.arange(bins) / ((bins - 1) / 4)).round())

    def rotate(group: Group) -> Numbers:
        return warp.rotate(signed(group, 30.0), group.canvas.height, group.canvas.width)

    return {
        **_PLAIN,
        "Identity": (Op.IDENTITY, None),
        "ShearX": (None, lambda group: warp.shear_x(signed(group, 0.3))),
        "ShearY": (None, lambda group: warp.shear_y(signed(group, 0.3))),
        "TranslateX": (None, lambda group: _move_x(moved(group, group.canvas.width))),
        "TranslateY": (None, lambda group: _move_y(moved(group, group.canvas.height))),
        "Rotate": (None, rotate),
        **{name: (op, lambda group: 1.0 + signed(group, 0.9)) for name, op in _FACTORS.items()},
        "Posterize": (Op.POSTERIZE, bits),
        "Solarize": (Op.SOLARIZE, threshold),
    }


def _fade(group: Group) -> Numbers:
    """big_vision's contrast takes the number of pixels / 256 for the mean gray: factor and gray level, [k, 2]."""
    gray = min(255, group.canvas.height * group.canvas.width // 256)
    return np.stack([_enhance(group), np.full(len(group.level), float(gray))], axis=1)


def _cutout(group: Group) -> Numbers:
    """A square of 80 pixels at level 10 about any pixel of the image, cut off at its border: [k, 4]."""
    height, width = group.canvas.height, group.canvas.width
    half = np.trunc(group.share * 40)
    row, column = np.floor(group.uniform(ROW) * height), np.floor(group.uniform(COLUMN) * width)
    top, left = np.maximum(0, row - half), np.maximum(0, column - half)
    return np.stack([top, np.minimum(height, row + half), left, np.minimum(width, column + half)], axis=1)


def _from_indices(coefficients: Numbers) -> Numbers:
    """A warp of TensorFlow, whose x is 0 in the middle of the first pixel, in PIL's terms, where 0 is its edge."""
    a, b, c, d, e, f = coefficients.T
    return np.stack([a, b, c + 0.5 * (1 - a - b), d, e, f + 0.5 * (1 - d - e)], axis=1)


BIG_VISION: Table = {
    **_PLAIN,
    "Rotate": (None, _rotate),
    "Posterize": (Op.POSTERIZE, _bits),
    # a threshold of 256 overflows to 0 there: level 10 inverts every pixel (google-research/big_vision issue 110)
    "Solarize": (Op.SOLARIZE, lambda group: np.trunc(group.share * 256) % 256),
    "SolarizeAdd": (Op.SOLARIZE_ADD, lambda group: np.trunc(group.share * 110)),
    **{name: (op, _enhance) for name, op in _FACTORS.items()},
    "Contrast": (Op.FADE, _fade),
    "ShearX": (None, lambda group: _from_indices(_shear_x(group))),
    "ShearY": (None, lambda group: _from_indices(_shear_y(group))),
    "TranslateX": (None, lambda group: _move_x(group.signed(group.share * 100.0))),
    "TranslateY": (None, lambda group: _move_y(group.signed(group.share * 100.0))),
    "Cutout": (Op.CUTOUT, _cutout),
}
