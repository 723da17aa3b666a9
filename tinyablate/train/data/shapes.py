"""Generates the procedural data set `shapes` as JPEG files in the `tiny-imagenet-200` layout; it reads nothing back.

What tells the classes apart is the outline of one object. Its colour, place, size, turn, stretch and texture, the
background and the clutter are drawn alike for every class, and each class is its own mirror image, so that a flip
keeps the label. Pixels come from numpy's frozen RandomState and from arithmetic that IEEE 754 rounds in one way only:
they are the same on every machine.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image

from tinyablate.datasets import DataSet
from tinyablate.errors import DataError

Field = NDArray[np.floating[Any]]
"""A value per pixel [H, W]; as a distance it is in radii of the object, negative inside. Also colours, 0…255 [3]."""
Outline = Callable[[Field, Field], Field]
"""From x and y in the object's frame (radii, y points down) to the distance."""

# Chosen by trial, so that the tiny model of the demo separates good recipes from bad ones within a few epochs: timm's
# test_resnet from scratch, 32 pixels, batch 50, AdamW 8e-3, Mixup + CutMix + erasing + smoothing reaches about 71 %
# top-1 after 3 epochs and 89 % after 4 (3 seeds each), and 97 % after 4 without any of them.
RADIUS = (0.27, 0.42)
"""Radius of the object in image sizes."""
TURN = (-0.2, 0.2)
"""Tangent of half the angle by which the object is turned: up to 23 degrees either way."""
STRETCH = (0.83, 1.2)
CONTRAST = 70
"""Least difference in brightness (0…255) between object and background, before texture."""
TEXTURE = 45
"""Greatest difference, per channel, between the two colours of one surface."""
CELLS = (2, 3, 5, 9, 16)
"""Cells of a surface's noise along an axis: from smooth to fine."""
FRAGMENTS = (1, 5)
"""Number of fragments that clutter an image; the upper end is excluded."""
FRAGMENT_RADIUS = (0.02, 0.08)
NOISE = 9
"""Greatest deviation of a pixel's brightness."""
GRAYSCALE = 0.02
"""Share of images stored in mode L: Tiny ImageNet has 1.8 %, and they must neither break a reader nor be dropped."""
QUALITY = 90


def _circle(x: Field, y: Field, radius: float) -> Field:
    distance: Field = np.sqrt(x * x + y * y) - radius
    return distance


def _box(x: Field, y: Field, width: float, height: float) -> Field:
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def _disc(x: Field, y: Field) -> Field:
    return _circle(x, y, 1.0)


def _square(x: Field, y: Field) -> Field:
    return _box(x, y, 0.84, 0.84)


def _triangle(x: Field, y: Field) -> Field:
    return np.maximum(y, np.abs(x) * 0.866025 - y * 0.5) - 0.58


def _dumbbell(x: Field, y: Field) -> Field:
    return np.minimum(_circle(np.abs(x) - 0.6, y, 0.4), _box(x, y, 0.6, 0.14))


def _star(x: Field, y: Field) -> Field:
    """Five points: the distance to one edge after folding the plane into a tenth with two mirrors."""
    x, y = np.abs(x), -y
    for across in (0.809017, -0.809017):
        beyond = np.maximum(x * across - y * 0.587785, 0) * 2
        x, y = x - beyond * across, y + beyond * 0.587785
    return np.abs(x) * 0.923 + (y - 1.1) * 0.384


def _ring(x: Field, y: Field) -> Field:
    return np.abs(_circle(x, y, 0.76)) - 0.24


def _cross(x: Field, y: Field) -> Field:
    return np.minimum(_box(x, y, 1.0, 0.32), _box(x, y, 0.32, 1.0))


def _crescent(x: Field, y: Field) -> Field:
    return np.maximum(_circle(x, y, 1.0), -_circle(x - 0.5, y, 0.85))


def _heart(x: Field, y: Field) -> Field:
    """A square on its corner with a disc on the middle of each of its two upper edges."""
    x, y = np.abs(x), y * 1.05 - 0.1
    square = _box((x + y) * 0.707107, (x - y) * 0.707107, 0.56, 0.56)
    return np.minimum(square, _circle(x - 0.39598, y + 0.39598, 0.56))


def _bars(x: Field, y: Field) -> Field:
    return np.minimum(_box(x, y, 0.95, 0.17), _box(x, np.abs(y) - 0.66, 0.95, 0.17))


OUTLINES: tuple[tuple[str, Outline], ...] = (
    ("disc", _disc),
    ("square", _square),
    ("triangle", _triangle),
    ("dumbbell", _dumbbell),
    ("star", _star),
    ("ring", _ring),
    ("cross", _cross),
    ("crescent", _crescent),
    ("heart", _heart),
    ("bars", _bars),
)
"""The classes in the order of their indices and ids."""


@dataclass(frozen=True)
class Box:
    """Where the object is, in whole pixels, both ends included."""

    x_min: int
    y_min: int
    x_max: int
    y_max: int

    def __str__(self) -> str:
        return f"{self.x_min}\t{self.y_min}\t{self.x_max}\t{self.y_max}"


def wnid(index: int) -> str:
    """The made-up WordNet id of a class; the real ones end far below."""
    return f"n{90_000_001 + index}"


def stream(*key: object) -> RandomState:
    """The random stream of one image or ordering: a function of the key alone."""
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return RandomState(np.frombuffer(digest, "<u4"))


def _surface(rng: RandomState, colour: Field, size: int) -> Field:
    """A texture [size, size, 3] between `colour` and a near one: noise, smooth to fine along each axis."""
    other = colour + rng.randint(-TEXTURE, TEXTURE + 1, 3)
    coarse = Image.fromarray(rng.randint(0, 256, (rng.choice(CELLS), rng.choice(CELLS))).astype(np.uint8))
    blend = np.asarray(coarse.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255
    return colour + blend[..., None] * (other - colour).astype(np.float32)


def _colour(rng: RandomState) -> Field:
    return rng.randint(0, 256, 3).astype(np.float32)


def _brightness(colour: Field) -> float:
    red, green, blue = colour.tolist()
    return float(red * 0.299 + green * 0.587 + blue * 0.114)


def _colour_apart(rng: RandomState, other: Field) -> Field:
    """A colour that differs from `other` in brightness, so that the object shows in grayscale too."""
    while True:
        colour = _colour(rng)
        if abs(_brightness(colour) - _brightness(other)) >= CONTRAST:
            return colour


def _frame(rng: RandomState, size: int, centre: tuple[float, float], radius: float) -> tuple[Field, Field]:
    """The pixels' coordinates in the object's frame [size, size]: shifted, turned, stretched and perhaps mirrored."""
    across = (np.arange(size, dtype=np.float32) + 0.5 - centre[0]) / radius
    down = (np.arange(size, dtype=np.float32)[:, None] + 0.5 - centre[1]) / radius
    # (1 - t², 2t) / (1 + t²) lies on the unit circle; the last bit of a sine differs between C libraries.
    t = rng.uniform(*TURN)
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    stretch = rng.uniform(*STRETCH) * (1 if rng.randint(2) else -1)
    return (across * cos + down * sin) * stretch, down * cos - across * sin


def _paint(image: Field, distance: Field, radius: float, paint: Field) -> None:
    """Lays `paint` over `image` [H, W, 3], in place, where `distance` is negative; edges are antialiased."""
    cover = np.clip(0.5 - distance * radius, 0, 1)[..., None]
    image += cover * (paint - image)


def _scatter(rng: RandomState, image: Field) -> None:
    """Paints fragments (dots and slivers of any colour) on `image`: they distract and hide a little."""
    size = image.shape[0]
    for _ in range(rng.randint(*FRAGMENTS)):
        radius = rng.uniform(*FRAGMENT_RADIUS) * size
        side = int(radius * 2) + 4
        top, left = rng.randint(0, size - side, 2)
        x, y = _frame(rng, side, (side / 2, side / 2), radius)
        distance = _disc(x, y) if rng.randint(2) else _box(x, y, 0.9, 0.35)
        _paint(image[top : top + side, left : left + side], distance, radius, _colour(rng))


def render(rng: RandomState, outline: Outline, size: int) -> tuple[NDArray[np.uint8], Box]:
    """One image, uint8 [size, size, 3], and the object's box."""
    ground = _colour(rng)
    image = _surface(rng, ground, size)
    body = _surface(rng, _colour_apart(rng, ground), size)
    radius = rng.uniform(*RADIUS) * size
    centre = (rng.uniform(radius, size - radius), rng.uniform(radius, size - radius))
    distance = outline(*_frame(rng, size, centre, radius))
    _paint(image, distance, radius, body)
    _scatter(rng, image)
    image += rng.randint(-NOISE, NOISE + 1, (size, size, 1))
    columns, rows = np.flatnonzero((distance < 0).any(0)), np.flatnonzero((distance < 0).any(1))
    box = Box(int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
    return np.clip(image, 0, 255).astype(np.uint8), box


def _write_image(path: Path, data: DataSet, split: str, label: int, k: int) -> Box:
    rng = stream(data.fingerprint, split, label, k)
    pixels, box = render(rng, OUTLINES[label][1], data.size)
    image = Image.fromarray(pixels)
    if rng.uniform() < GRAYSCALE:
        image = image.convert("L")
    image.save(path, "JPEG", quality=QUALITY)
    return box


def _write_train(root: Path, data: DataSet, done: Callable[[], None]) -> None:
    for label in range(data.classes):
        folder = root / "train" / wnid(label)
        (folder / "images").mkdir(parents=True)
        boxes = []
        for k in range(data.train_per_class):
            name = f"{wnid(label)}_{k}.JPEG"
            boxes.append(f"{name}\t{_write_image(folder / 'images' / name, data, 'train', label, k)}\n")
            done()
        (folder / f"{wnid(label)}_boxes.txt").write_text("".join(boxes))


def _write_val(root: Path, data: DataSet, done: Callable[[], None]) -> None:
    """The classes come in shuffled order, as in Tiny ImageNet: nothing but the annotations tells the label."""
    folder = root / "val" / "images"
    folder.mkdir(parents=True)
    lines = []
    for k, place in enumerate(stream(data.fingerprint, "val order").permutation(data.val)):
        label, name = int(place) // data.val_per_class, f"val_{k}.JPEG"
        box = _write_image(folder / name, data, "val", label, int(place) % data.val_per_class)
        lines.append(f"{name}\t{wnid(label)}\t{box}\n")
        done()
    (root / "val" / "val_annotations.txt").write_text("".join(lines))


def _write_names(root: Path, data: DataSet) -> None:
    """wnids.txt is not sorted and words.txt knows more ids than are used, as in Tiny ImageNet."""
    order = stream(data.fingerprint, "wnids").permutation(data.classes)
    (root / "wnids.txt").write_text("".join(f"{wnid(int(index))}\n" for index in order))
    words = [(wnid(index), name) for index, (name, _) in enumerate(OUTLINES)] + [("n90000000", "shape, form")]
    (root / "words.txt").write_text("".join(f"{id_}\t{name}\n" for id_, name in sorted(words)))


def write(root: Path, data: DataSet, progress: Callable[[int, int], None] | None = None) -> None:
    """Writes the data set into the new folder `root`, byte for byte the same each time under one Pillow version.

    An image depends on the data's fingerprint, its split, class and number alone. About 0.7 ms an image. `progress`
    gets (images done, images in all). Raises DataError if `data` has more classes than there are outlines.
    """
    if data.classes > len(OUTLINES):
        raise DataError(f"data set '{data.name}': {data.classes} classes wanted, there are {len(OUTLINES)} outlines")
    written = 0

    def done() -> None:
        nonlocal written
        written += 1
        if progress is not None:
            progress(written, data.train + data.val)

    (root / "test" / "images").mkdir(parents=True)
    _write_names(root, data)
    _write_train(root, data, done)
    _write_val(root, data, done)
