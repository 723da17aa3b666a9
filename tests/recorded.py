"""What policies do to images, in one language: steps as we draw them, and timm's and torchvision's own classes.

An image's operation is (name, strength, filter). Of the libraries only what would change pixels is replaced.
"""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL.Image
import torch
from timm.data import auto_augment as timm_policies
from torchvision.transforms import v2

from tinyablate import policies
from tinyablate.train.augment import policy
from tinyablate.train.augment.operations import Op, Step
from tinyablate.train.randomness import Shown

HEIGHT, WIDTH = 48, 80
"""Different, so that a row taken for a column shows."""


def shown(count: int, epoch: int = 1, seed: int = 0) -> Shown:
    """Images 0..count-1 of an epoch."""
    return Shown(np.arange(count, dtype=np.int64), seed, epoch)


def draw(text: str, images: Shown, interpolation: str = "random") -> tuple[Step, ...]:
    """The steps of the policy named `text`."""
    return policy.draw(policies.parse(text), images, HEIGHT, WIDTH, interpolation=interpolation)


FILTERS = {Op.WARP_NEAREST: "nearest", Op.WARP_BILINEAR: "bilinear", Op.WARP_BICUBIC: "bicubic"}
NAMES = {
    Op.IDENTITY: "Identity",
    Op.AUTO_CONTRAST: "AutoContrast",
    Op.SOLARIZE_ADD: "SolarizeAdd",
    Op.SATURATION: "Color",
    Op.GRAYSCALE: "Color",
} | {op: op.name.capitalize() for op in (Op.EQUALIZE, Op.INVERT, Op.POSTERIZE, Op.SOLARIZE, Op.BRIGHTNESS, Op.CONTRAST)}
NAMES |= {op: op.name.capitalize() for op in (Op.SHARPNESS, Op.BLUR, Op.FADE, Op.CUTOUT)}

Seen = tuple[str, float, str]
NOTHING: Seen = ("Identity", 0.0, "")


def read_warp(row: np.ndarray) -> tuple[str, float]:
    """Which warp has these coefficients, and its strength: factor, pixels or degrees."""
    a, b, c, d, _, f = (float(value) for value in row)
    if b and d:
        return "Rotate", float(np.degrees(-np.arctan2(b, a)))
    moved = {"ShearX": b, "ShearY": d, "TranslateX": c, "TranslateY": f}
    return next(((name, value) for name, value in moved.items() if value), ("Still", 0.0))


def read(step: Step) -> list[Seen]:
    """What each image gets. A warp that moves nothing is "Still", whichever it is."""
    seen: list[Seen] = []
    for op, row in zip(step.op.tolist(), step.values, strict=True):
        if Op(op) in FILTERS:
            name, strength = read_warp(row)
            seen.append((name, strength, FILTERS[Op(op)]))
        else:
            seen.append((NAMES[Op(op)], float(row[0]), ""))
    return seen


@dataclass
class Recorder:
    """Stands in for a PIL image where timm's own functions hand it their coefficients, filters and radii."""

    size: tuple[int, int] = (WIDTH, HEIGHT)
    seen: list[Seen] = field(default_factory=list)

    def transform(
        self, size: object, kind: object, data: Sequence[float], resample: PIL.Image.Resampling, fillcolor: object
    ) -> "Recorder":
        self.seen.append((*read_warp(np.array(data)), resample.name.lower()))
        return self

    def rotate(self, degrees: float, resample: PIL.Image.Resampling, fillcolor: object) -> "Recorder":
        self.seen.append(("Rotate" if degrees else "Still", degrees, resample.name.lower()))
        return self

    def filter(self, kernel: Any) -> "Recorder":
        self.seen.append(("Blur", kernel.radius, ""))
        return self


def recorded(op: Any) -> Callable[..., Recorder]:
    """timm's function `op.aug_fn`, or for one that needs pixels, the note of its name and strength."""
    name = op.name.removesuffix("Increasing").removesuffix("Original")
    if name.startswith(("Shear", "Translate", "Rotate", "GaussianBlur")):
        own: Callable[..., Recorder] = op.aug_fn
        return own

    def note(image: Recorder, strength: float = 0.0, **_: object) -> Recorder:
        known = ("Color", 1.0 - strength, "") if name == "Desaturate" else (name, float(strength), "")
        image.seen.append(known)
        return image

    return note


def timm_draws(text: str, count: int) -> list[list[Seen]]:
    """What timm's policy does to each of `count` images."""
    random.seed(1)
    np.random.seed(1)
    hparams = {"translate_const": 30, "img_mean": (124, 116, 104)}
    make = timm_policies.rand_augment_transform if text.startswith("rand") else timm_policies.auto_augment_transform
    transform = make(text, hparams)
    for op in transform.ops if text.startswith("rand") else itertools.chain(*transform.policy):
        op.aug_fn = recorded(op)
    return [transform(Recorder()).seen for _ in range(count)]


def torchvision_draws(transform: Any, count: int) -> list[list[Seen]]:
    """What torchvision's policy does to each of `count` images, with the meaning of its arguments in our words."""
    torch.manual_seed(1)
    seen: list[Seen] = []

    def note(image: torch.Tensor, name: str, magnitude: float, **_: object) -> torch.Tensor:
        seen.append(torchvision_words(name, magnitude))
        return image

    transform._apply_image_or_video_transform = note
    image, found = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8), []
    for _ in range(count):
        transform(image)
        found.append(seen[:])
        seen.clear()
    return found


def torchvision_words(name: str, magnitude: float) -> Seen:
    """What torchvision's magnitude means in our words: factors are 1 + m, translations go the other way."""
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        return name, 1.0 + magnitude, ""
    if name.startswith(("Shear", "Rotate", "Translate")):
        strength = float(-int(magnitude)) if name.startswith("Translate") else magnitude
        return (name, strength, "nearest") if strength else ("Still", 0.0, "nearest")
    if name == "Solarize":
        ramp = torch.arange(256, dtype=torch.uint8)[None].expand(3, 1, 256)
        kept = v2.functional.solarize(ramp, 255 * magnitude) == ramp
        return name, float(kept[0, 0].sum()), ""
    return name, float(int(magnitude)), ""


EVERY = [
    *("rand-m9-mstd0.5-inc1", "rand-m9-mstd101", "rand-n3-m9-mstd0.5-tweights", "rand-n3-t3aw-p1", "original-mstd0.5"),
    *("v0r", "3a", "3a-gray-blur", "torchvision-randaugment", "torchvision-autoaugment", "bigvision-randaugment"),
]
"""One name of every kind."""
