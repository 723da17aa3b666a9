"""What of each image is shown, and how large: numbers that are drawn once and carried out wherever the pixels are.

Here stand the numbers, the resampling filters' weights, and the rendering of one image of any size. numpy and PIL only:
the processes that decode image files import it, and need no torch. It draws nothing (see `geometry`).
"""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Numbers: TypeAlias = NDArray[np.int64]
Pixels: TypeAlias = NDArray[np.uint8]
Padding: TypeAlias = Literal["reflect", "constant"]

OUTSIDE = -1
"""Stands in a window's positions for a pixel that `constant` padding makes black."""

_A = -0.5
"""Keys' coefficient (Keys 1981), as PIL has it; torch's own bicubic uses -0.75 without antialiasing."""
_FIXED = 1 << 22
"""PIL's weights for 8-bit images are whole multiples of 1 / this (11 to 13: `PRECISION_BITS` in its Resample.c)."""
_MOST_PIXELS = 1 << 26
"""Scaled pixels of one image above which only the window is computed: PIL would hold them all, 256 MB."""


@dataclass(frozen=True)
class Boxes:
    """For each of n images: a box of it, what it is scaled to, and where in the result the window lies."""

    top: Numbers
    """[n] in pixels of the source image, as the next three."""
    left: Numbers
    height: Numbers
    width: Numbers
    scaled_height: Numbers
    """[n] pixels that the box is scaled to, as the next."""
    scaled_width: Numbers
    row: Numbers
    """[n] first row of the window in the scaled box, may be negative; as the next."""
    column: Numbers

    @property
    def boxes(self) -> tuple[Numbers, ...]:
        """The fields `top` to `column`, in their order."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(Boxes))


@dataclass(frozen=True)
class Views(Boxes):
    """For each of n images: a box of it is scaled, and a window of `size` x `size` pixels of the result is shown.

    The window may reach beyond the scaled box, which is then continued as `padding` says.
    """

    flip: NDArray[np.bool_]
    """[n] whether the window is mirrored left to right at the end."""
    bilinear: NDArray[np.bool_]
    """[n] scaled by PIL's bilinear filter rather than by its bicubic (a = -0.5)."""
    size: int
    """Height and width of every window."""
    padding: Padding = "reflect"
    """`reflect` mirrors at the border pixel, which is not repeated; `constant` is black."""
    antialias: bool = True
    """Whether the filter is stretched when shrinking, as PIL's is."""

    def __len__(self) -> int:
        return len(self.top)

    def sides(self) -> "Iterator[tuple[Side, Side]]":
        """Of every image its vertical and its horizontal side."""
        shared = (self.size, self.padding, self.antialias)
        numbers = (self.height, self.width, self.scaled_height, self.scaled_width, self.row, self.column)
        for tall, wide, high, broad, row, column, flip, bilinear in zip(
            *(part.tolist() for part in (*numbers, self.flip, self.bilinear)), strict=True
        ):
            yield Side(tall, high, row, False, bilinear, *shared), Side(wide, broad, column, flip, bilinear, *shared)

    def take(self, index: Numbers | slice) -> "Views":
        """The views of the images at these places [k] of the batch."""
        per_image = [*(field.name for field in dataclasses.fields(Boxes)), "flip", "bilinear"]
        return dataclasses.replace(self, **{name: getattr(self, name)[index] for name in per_image})


@dataclass(frozen=True)
class Taps:
    """Output k of a resampling is the sum over t of `weights[k, t]` times the source pixel `first[k] + t`."""

    first: Numbers
    """[k]"""
    weights: NDArray[np.float64]
    """[k, T]: every row sums to 1; 0 where `first[k] + t` is beyond the source."""


def filter_taps(source: int, target: int, outputs: Numbers, *, bilinear: bool, antialias: bool) -> Taps:
    """The weights of the pixels `outputs` [k] of a side of `source` pixels that is scaled to `target`.

    PIL's filters: triangle, or Keys' cubic with a = -0.5 (Keys 1981), cut at the borders and normalised. With
    `antialias` they are stretched by the scale when shrinking; without, they always span 2 or 4 pixels, as in
    TensorFlow's `tf.image.resize`, and bilinear equals torch's `interpolate`.
    """
    scale = source / target
    stretch = max(scale, 1.0) if antialias else 1.0
    support = (1.0 if bilinear else 2.0) * stretch
    centers = (outputs + 0.5) * scale
    first = np.maximum(np.floor(centers - support + 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(centers + support + 0.5), source).astype(np.int64)
    pixels = first[:, None] + np.arange((last - first).max(initial=1))
    distance = np.abs((pixels + 0.5 - centers[:, None]) / stretch)
    weights = np.where(pixels < last[:, None], _triangle(distance) if bilinear else _cubic(distance), 0.0)
    return Taps(first, weights / weights.sum(axis=1, keepdims=True))


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - x, 0.0)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel of x >= 0."""
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * _A - 4 * _A
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def positions(start: int, size: int, scaled: int, padding: Padding) -> Numbers:
    """Which pixel of a side of `scaled` pixels stands at each place of the window from `start` on: int64 [size].

    Places beyond the side hold the mirrored pixel, or `OUTSIDE` for `constant` padding.
    """
    places = np.arange(start, start + size)
    if padding == "constant":
        return np.where((places >= 0) & (places < scaled), places, OUTSIDE)
    period = max(2 * (scaled - 1), 1)
    places = places % period
    return np.minimum(places, period - places) if scaled > 1 else np.zeros_like(places)


class Side(NamedTuple):
    """One side of a view: `length` pixels scaled to `scaled`, of which `size` are shown from `start` on."""

    length: int
    scaled: int
    start: int
    mirrored: bool
    bilinear: bool
    size: int
    padding: Padding
    antialias: bool

    @property
    def unscaled(self) -> bool:
        """Whether the pixels stay what they are."""
        return self.length == self.scaled

    def taps(self) -> Taps:
        """The weights of every pixel of the window in PIL's fixed point; one tap where nothing is scaled."""
        places = _window(self).places
        outputs, inside = np.maximum(places, 0), (places != OUTSIDE)[:, None]
        if self.unscaled:
            return Taps(outputs, inside.astype(np.float64))
        taps = filter_taps(self.length, self.scaled, outputs, bilinear=self.bilinear, antialias=self.antialias)
        fixed = np.floor(np.abs(taps.weights) * _FIXED + 0.5) / _FIXED  # as PIL rounds them: then every sum is exact
        return Taps(taps.first, np.copysign(fixed, taps.weights) * inside)


class _Window(NamedTuple):
    """Where the pixels of a side come from once it is scaled."""

    places: Numbers
    """[S]: number of the scaled pixel, or `OUTSIDE`."""
    inner: slice | None
    """The same as a slice, where they stand side by side in their order."""
    bytes: Numbers
    """[3 S]: places of their bytes in a row of pixels."""
    outside: Numbers
    """Places of the window that are `OUTSIDE`."""


@functools.lru_cache(maxsize=1024)
def _window(side: Side) -> _Window:
    places = positions(side.start, side.size, side.scaled, side.padding)
    inside = 0 <= side.start <= side.scaled - side.size and not side.mirrored
    places = places[::-1] if side.mirrored else places
    return _Window(
        places,
        slice(side.start, side.start + side.size) if inside else None,
        (3 * np.maximum(places, 0)[:, None] + np.arange(3)).ravel(),
        np.flatnonzero(places == OUTSIDE),
    )


def render_one(pixels: Pixels, views: Views, index: int) -> Pixels:
    """What view `index` shows of the image `pixels` uint8 [H, W, 3] of any size: uint8 [S, S, 3].

    PIL's crop, resize (columns first, as all its versions before 13), pad, crop and flip to the bit, except that PIL
    cannot scale without antialias.
    """
    ((rows, columns),) = views.take(slice(index, index + 1)).sides()
    top, left = int(views.top[index]), int(views.left[index])
    box = pixels[top : top + rows.length, left : left + columns.length]
    if (views.antialias or (rows.unscaled and columns.unscaled)) and rows.scaled * columns.scaled <= _MOST_PIXELS:
        shown = np.empty((views.size, views.size, 3), np.uint8)
        gather(_pil_resize(box, rows, columns), rows, columns, shown)
    else:
        shown = _scale(box, rows.taps(), columns.taps())
    return np.ascontiguousarray(shown)


def gather(image: Pixels, rows: Side, columns: Side, out: Pixels) -> None:
    """Copy the windows of both sides of a scaled image [H, W, 3] into `out` [S, S, 3]."""
    tall, wide = _window(rows), _window(columns)
    if wide.inner is not None and tall.inner is not None:
        out[:] = image[tall.inner, wide.inner]
        return
    kept = np.take(image, tall.places, axis=0, mode="clip") if tall.inner is None else image[tall.inner]
    # numpy takes single bytes faster than threes, and whole rows faster than either
    np.take(kept.reshape(len(kept), -1), wide.bytes, axis=1, mode="clip", out=out.reshape(len(kept), -1))
    if len(tall.outside) or len(wide.outside):
        out[tall.outside] = 0
        out[:, wide.outside] = 0


def _pil_resize(box: Pixels, rows: Side, columns: Side) -> Pixels:
    """PIL's resize in two calls: in one, PIL 13 takes the rows first where that is cheaper, and rounds differently."""
    if rows.unscaled and columns.unscaled:
        return box
    image, resample = Image.fromarray(np.ascontiguousarray(box)), Image.Resampling.BICUBIC
    if rows.bilinear:
        resample = Image.Resampling.BILINEAR
    return np.asarray(
        image.resize((columns.scaled, rows.length), resample).resize((columns.scaled, rows.scaled), resample)
    )


def _scale(box: Pixels, rows: Taps, columns: Taps) -> Pixels:
    """The box scaled by both sides' taps, without what the window does not show: uint8 [S, S, 3]."""
    low, high = int(rows.first.min()), int(rows.first.max()) + rows.weights.shape[1]
    narrow = _resample(box[low:high], columns)
    return _resample(narrow.swapaxes(0, 1), Taps(rows.first - low, rows.weights)).swapaxes(0, 1)


def _resample(image: Pixels, taps: Taps) -> Pixels:
    """The rows of `image` [H, W, 3] by these taps [S, T]: uint8 [H, S, 3]."""
    total = np.full((len(image), len(taps.first), 3), 0.5)
    for tap in range(taps.weights.shape[1]):
        total += np.take(image, taps.first + tap, axis=1, mode="clip") * taps.weights[:, tap, None]
    levels: Pixels = np.clip(np.floor(total), 0, 255).astype(np.uint8)
    return levels
