"""Policies: which operation each image gets in each layer, drawn for a whole batch at once.

It knows no strengths (`strengths.py`), carries nothing out (`operations.py`) and reads no names
(`tinyablate/policies.py`). A draw belongs to an image and a layer: it depends neither on the other images nor on the
number of layers.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tinyablate.policies import (
    TOP_LEVEL,
    BigVisionRand,
    NoPolicy,
    Policy,
    ThreeAugment,
    TimmAuto,
    TimmRand,
    TorchvisionAuto,
    TorchvisionRand,
)
from tinyablate.train.augment import operations, strengths
from tinyablate.train.augment.operations import VALUES, Op, Step
from tinyablate.train.augment.strengths import ANGLE, APPLY, OPERATION, RADIUS, Canvas, Group, Layer, Numbers, Table
from tinyablate.train.randomness import Shown

Index = NDArray[np.int64]


def draw(policy: Policy, shown: Shown, height: int, width: int, *, interpolation: str) -> tuple[Step, ...]:
    """The operations of each layer for images of `height` x `width` pixels.

    `interpolation` is the recipe's: timm's warps use that filter or, with `random`, bilinear or bicubic, drawn for each
    operation (timm's `create_transform`); torchvision's and big_vision's take the nearest pixel.
    """
    filtered, nearest = Canvas(height, width, interpolation), Canvas(height, width)
    match policy:
        case NoPolicy():
            return ()
        case TimmRand():
            return _timm_rand(policy, shown, filtered)
        case TimmAuto():
            levels = functools.partial(_timm_levels, std=policy.std, bound=TOP_LEVEL)
            return _auto(_timm_pairs(policy.table), shown, filtered, strengths.TIMM, levels)
        case ThreeAugment():
            return (_three(policy, shown, nearest),)
        case TorchvisionRand():
            table = strengths.torchvision(policy.bins)
            return _rand(policy, shown, nearest, _TORCHVISION, table)
        case TorchvisionAuto():
            table = strengths.torchvision(_AUTO_BINS)
            return _auto(_pairs(_ORIGINAL, "Posterize"), shown, nearest, table, _fixed_levels)
        case BigVisionRand():
            return _rand(policy, shown, nearest, _BIG_VISION, strengths.BIG_VISION)


def augment(images: Tensor, policy: Policy, shown: Shown, *, interpolation: str, mean: Sequence[float]) -> Tensor:
    """`images` uint8 [n, H, W, 3] after the policy, uint8 of the same shape; may reuse their memory.

    `mean` [3] is what normalisation subtracts: with timm's policies it is the colour outside a warped image.
    """
    fill = fill_color(policy, mean)
    for step in draw(policy, shown, images.shape[1], images.shape[2], interpolation=interpolation):
        images = operations.apply(images, step, fill)
    return images


def fill_color(policy: Policy, mean: Sequence[float]) -> tuple[int, int, int]:
    """The colour outside a warped image: timm's `img_mean`, torchvision's black (no fill), big_vision's gray."""
    if isinstance(policy, (TorchvisionRand, TorchvisionAuto)):
        return 0, 0, 0
    if isinstance(policy, BigVisionRand):
        return 128, 128, 128
    red, green, blue = (min(255, round(255 * value)) for value in mean)
    return red, green, blue


def jitter(strength: float, shown: Shown) -> tuple[Step, Step, Step]:
    """Brightness, contrast and saturation by factors uniform in [max(0, 1 - strength), 1 + strength].

    torchvision's ColorJitter without hue: the three in an order drawn for each image.
    """
    low, high = max(0.0, 1.0 - strength), 1.0 + strength
    factors = np.stack([low + (high - low) * shown.uniform("jitter", 1 + number) for number in range(3)], axis=1)
    order = _ORDERS[_pick(shown.uniform("jitter", 0), len(_ORDERS))]
    kinds = np.array([Op.BRIGHTNESS, Op.CONTRAST, Op.SATURATION], np.int8)[order]
    values = np.zeros((3, len(shown), VALUES))
    values[:, :, 0] = np.take_along_axis(factors, order, axis=1).T
    first, second, third = (Step(kinds[:, place], values[place]) for place in range(3))
    return first, second, third


_ORDERS = np.array(list(itertools.permutations(range(3))))


def _timm_rand(policy: TimmRand, shown: Shown, canvas: Canvas) -> tuple[Step, ...]:
    """timm's RandAugment: each layer's operation is applied with a probability, at a level of its own."""
    weights = _WEIGHTS.get(policy.choice)
    names = tuple(weights) if weights else _timm_names(policy)
    order = _race(shown, list(weights.values()), range(len(names))) if weights else None
    steps = []
    for layer in _layers(policy.layers, shown, canvas):
        choice = _pick(layer.uniform(OPERATION), len(names)) if order is None else order[:, layer.number]
        if policy.prob < 1:
            choice = np.where(layer.uniform(APPLY) < policy.prob, choice, -1)
        level = _timm_levels(layer, _same(policy.magnitude, layer), std=policy.std, bound=policy.bound)
        steps.append(_step(layer, names, choice, level, strengths.TIMM))
    return tuple(steps)


def _timm_levels(layer: Layer, level: Numbers, *, std: float, bound: int) -> Numbers:
    """timm's AugmentOp: normal about `level` [n], or uniform up to it, cut off at 0 and at the bound."""
    if math.isinf(std):
        level = level * layer.uniform(RADIUS)
    elif std > 0:  # Box & Muller 1958; 1 - u is above 0
        radius = np.sqrt(-2.0 * np.log1p(-layer.uniform(RADIUS)))
        level = level + std * radius * np.cos(2.0 * math.pi * layer.uniform(ANGLE))
    return np.clip(level, 0.0, float(bound))


def _fixed_levels(layer: Layer, level: Numbers) -> Numbers:
    """torchvision's AutoAugment: the levels as they stand."""
    return level


Entry = tuple[str, float, int]
"""An operation of AutoAugment: name, probability, level."""


def _auto(
    pairs: Sequence[tuple[Entry, Entry]],
    shown: Shown,
    canvas: Canvas,
    table: Table,
    levels: Callable[[Layer, Numbers], Numbers],
) -> tuple[Step, ...]:
    """AutoAugment: a pair for each image, and of it each operation with its own probability."""
    layers, steps = _layers(2, shown, canvas), []
    pair = _pick(layers[0].uniform(OPERATION), len(pairs))
    for layer in layers:
        entries = [both[layer.number] for both in pairs]
        names = sorted({name for name, _, _ in entries})
        number = np.array([names.index(name) for name, _, _ in entries])
        prob, level = (np.array([entry[column] for entry in entries], np.float64) for column in (1, 2))
        choice = np.where(layer.uniform(APPLY) < prob[pair], number[pair], -1)
        steps.append(_step(layer, names, choice, levels(layer, level[pair]), table))
    return tuple(steps)


def _rand(
    policy: TorchvisionRand | BigVisionRand, shown: Shown, canvas: Canvas, names: Sequence[str], table: Table
) -> tuple[Step, ...]:
    """RandAugment as in its paper: every layer applies an operation, always at the same level."""
    return tuple(
        _step(layer, names, _pick(layer.uniform(OPERATION), len(names)), _same(policy.magnitude, layer), table)
        for layer in _layers(policy.layers, shown, canvas)
    )


def _three(policy: ThreeAugment, shown: Shown, canvas: Canvas) -> Step:
    """3-Augment: one of its operations. Leaving one out changes only the images that had drawn it."""
    every = ThreeAugment().operations
    choice = _race(shown, [1.0] * len(policy.operations), [every.index(name) for name in policy.operations])[:, 0]
    (layer,) = _layers(1, shown, canvas)
    return _step(layer, policy.operations, choice, _same(0, layer), strengths.THREE)


def _layers(count: int, shown: Shown, canvas: Canvas) -> list[Layer]:
    """Layers to draw in."""
    return [Layer(shown, number, canvas) for number in range(count)]


def _same(level: int, layer: Layer) -> Numbers:
    """One level for all images: [n]."""
    return np.full(len(layer), float(level))


def _race(shown: Shown, weights: Sequence[float], runners: Sequence[int]) -> Index:
    """Places in `weights`, drawn by weight and without replacement, in the order drawn: [n, len(weights)].

    Each runner's time is exponential with its weight as rate, so that among those still running each comes next with a
    probability in proportion to its weight (Efraimidis & Spirakis 2006). `runners` numbers their draws: leaving one out
    changes no other's time.
    """
    uniform = np.stack([shown.uniform("policy race", number) for number in runners], axis=1)
    return np.argsort(-np.log1p(-uniform) / np.array(weights), axis=1, kind="stable")


def _pick(uniform: Numbers, count: int) -> Index:
    """Uniform draws in [0, 1) as whole numbers below `count`."""
    return (uniform * count).astype(np.int64)


def _step(layer: Layer, names: Sequence[str], choice: Index, level: Numbers, table: Table) -> Step:
    """One layer: image i gets the operation `names[choice[i]]` at `level[i]`, or none where `choice` is -1."""
    op, values = np.full(len(layer), Op.IDENTITY, np.int8), np.zeros((len(layer), VALUES))
    for number, name in enumerate(names):
        index = np.flatnonzero(choice == number)
        if not len(index):
            continue
        group = Group(layer, index, level[index])
        operation, strength = table[name]
        op[index] = group.warps() if operation is None else operation
        if strength is not None:
            columns = strength(group).reshape(len(index), -1)
            values[index, : columns.shape[1]] = columns
    return Step(op, values)


_RAND = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast"),
    *("Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"),
)
_VARIED = {"Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness"}
"""Those that timm also has in a variant that gets stronger with the level."""
_RAND_3A = ("SolarizeIncreasing", "Desaturate", "GaussianBlur")


def _increasing(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{name}Increasing" if name in _VARIED else name for name in names)


def _timm_names(policy: TimmRand) -> tuple[str, ...]:
    """What timm's RandAugment draws from, all alike and with replacement: timm's names, in timm's order."""
    if policy.choice == "3a":
        return _RAND_3A
    return _increasing(_RAND) if policy.increasing else _RAND


_WEIGHTS = {
    "3aw": dict(SolarizeIncreasing=6.0, Desaturate=6.0, GaussianBlur=6.0, Rotate=3.0, ShearX=2.0, ShearY=2.0)
    | dict.fromkeys(_increasing(("Posterize", "AutoContrast", "Color", "Sharpness")), 1.0)
    | dict.fromkeys(_increasing(("Contrast", "Brightness", "Equalize", "Invert")), 1.0),
    "weights": dict(Rotate=3.0, ShearX=2.0, ShearY=2.0, TranslateXRel=1.0, TranslateYRel=1.0)
    | dict.fromkeys(_increasing(("Color", "Sharpness", "AutoContrast")), 0.25)
    | dict.fromkeys(_increasing(("Solarize", "SolarizeAdd", "Contrast", "Brightness")), 0.05)
    | dict.fromkeys(_increasing(("Equalize", "Posterize", "Invert")), 0.05),
}
"""timm's `_RAND_WEIGHTED_3A` and `_RAND_WEIGHTED_0`, drawn without replacement."""

_TORCHVISION = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast"),
    *("Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
_AUTO_BINS = 10
_BIG_VISION = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "Color", "Contrast", "Brightness"),
    *("Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY", "Cutout", "SolarizeAdd"),
)

_ORIGINAL = """
Posterize 0.4 8 Rotate 0.6 9, Solarize 0.6 5 AutoContrast 0.6 5, Equalize 0.8 8 Equalize 0.6 3,
Posterize 0.6 7 Posterize 0.6 6, Equalize 0.4 7 Solarize 0.2 4, Equalize 0.4 4 Rotate 0.8 8,
Solarize 0.6 3 Equalize 0.6 7, Posterize 0.8 5 Equalize 1.0 2, Rotate 0.2 3 Solarize 0.6 8,
Equalize 0.6 8 Posterize 0.4 6, Rotate 0.8 8 Color 0.4 0, Rotate 0.4 9 Equalize 0.6 2, Equalize 0.0 7 Equalize 0.8 8,
Invert 0.6 4 Equalize 1.0 8, Color 0.6 4 Contrast 1.0 8, Rotate 0.8 8 Color 1.0 2, Color 0.8 8 Solarize 0.8 7,
Sharpness 0.4 7 Invert 0.6 8, ShearX 0.6 5 Equalize 1.0 9, Color 0.4 0 Equalize 0.6 3, Equalize 0.4 7 Solarize 0.2 4,
Solarize 0.6 5 AutoContrast 0.6 5, Invert 0.6 4 Equalize 1.0 8, Color 0.6 4 Contrast 1.0 8,
Equalize 0.8 8 Equalize 0.6 3
"""
"""The ImageNet policy of AutoAugment's paper (Cubuk et al. 2019)."""

_V0 = """
Equalize 0.8 1 ShearY 0.8 4, Color 0.4 9 Equalize 0.6 3, Color 0.4 1 Rotate 0.6 8, Solarize 0.8 3 Equalize 0.4 7,
Solarize 0.4 2 Solarize 0.6 2, Color 0.2 0 Equalize 0.8 8, Equalize 0.4 8 SolarizeAdd 0.8 3, ShearX 0.2 9 Rotate 0.6 8,
Color 0.6 1 Equalize 1.0 2, Invert 0.4 9 Rotate 0.6 0, Equalize 1.0 9 ShearY 0.6 3, Color 0.4 7 Equalize 0.6 0,
Posterize 0.4 6 AutoContrast 0.4 7, Solarize 0.6 8 Color 0.6 9, Solarize 0.2 4 Rotate 0.8 9,
Rotate 1.0 7 TranslateYRel 0.8 9, ShearX 0.0 0 Solarize 0.8 4, ShearY 0.8 0 Color 0.6 4, Color 1.0 0 Rotate 0.6 2,
Equalize 0.8 4 Equalize 0.0 8, Equalize 1.0 4 AutoContrast 0.6 2, ShearY 0.4 7 SolarizeAdd 0.6 7,
Posterize 0.8 2 Solarize 0.6 10, Solarize 0.6 8 Equalize 0.6 1, Color 0.8 6 Rotate 0.4 5
"""
"""The policy of EfficientNet's code, timm's `v0`."""


def _timm_pairs(table: str) -> tuple[tuple[Entry, Entry], ...]:
    """The pairs of timm's AutoAugment; `r` posterises in the variant that gets stronger with the level."""
    posterize = {"original": "PosterizeOriginal", "v0": "Posterize"}.get(table, "PosterizeIncreasing")
    return _pairs(_V0 if table.startswith("v0") else _ORIGINAL, posterize)


@functools.cache
def _pairs(table: str, posterize: str) -> tuple[tuple[Entry, Entry], ...]:
    """The pairs written in `table`, with this variant of posterising."""
    words = [pair.replace("Posterize", posterize).split() for pair in table.split(",")]
    first, second = ([(w[at], float(w[at + 1]), int(w[at + 2])) for w in words] for at in (0, 3))
    return tuple(zip(first, second, strict=True))
