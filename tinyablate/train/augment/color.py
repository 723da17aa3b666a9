"""Changes of colour and focus of uint8 images [k, H, W, 3], equal to PIL's: lookup tables, blends, small filters.

It does not choose which image gets which; a policy does. Formulas and rounding are those of Pillow 13.0, in the same
precision, so that point operations and blends are equal to it in every pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyablate.train.transfer import send

Column = NDArray[np.float64] | float

LEVELS = 256
_LUMA = (19595.0, 38470.0, 7471.0)
"""Weights of R, G, B in PIL's conversion to L, in 1/65536 (Rec. 601)."""
_CHUNK = 1 << 17
"""Levels that a CPU looks up at a time: what is made on the way stays in the L2 cache."""
_TILE = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Pixels that are filtered or warped at a time. On a CPU fewer cost more in calls than they gain in cache; on a GPU it
bounds the working memory, up to 500 bytes for each."""


@dataclass(frozen=True)
class Chosen:
    """Those images of a batch that get one operation, and its numbers."""

    images: Tensor
    """uint8 [n, H, W, 3], contiguous: the whole batch, which is changed in place."""
    index: NDArray[np.int64]
    """[k] places in the batch."""
    numbers: NDArray[np.float64]
    """[k, m] numbers of each image's operation."""
    place: Tensor
    """`index` on the device."""
    values: Tensor
    """`numbers` on the device."""

    @classmethod
    def of(cls, images: Tensor, index: NDArray[np.int64], numbers: NDArray[np.float64]) -> "Chosen":
        """Sends what the device needs in one piece."""
        sent = send(np.column_stack([index, numbers]), images.device)
        return cls(images, index, numbers, sent[:, 0].to(torch.int64), sent[:, 1:])

    def __len__(self) -> int:
        return len(self.index)

    def part(self, first: int, stop: int) -> "Chosen":
        """Those from `first` to before `stop`."""
        chosen = slice(first, stop)
        return Chosen(self.images, self.index[chosen], self.numbers[chosen], self.place[chosen], self.values[chosen])

    def tiles(self, size: int = 1) -> Iterator["Chosen"]:
        """In parts of `size` times `_TILE` pixels, one image at least."""
        height, width = self.images.shape[1:3]
        images = max(size * _TILE[self.images.device.type] // (height * width), 1)
        return (self.part(first, first + images) for first in range(0, len(self), images))

    def take(self) -> Tensor:
        """They themselves where that is one image on a CPU, else a copy of them: [k, H, W, 3]."""
        if len(self) == 1 and not self.images.is_cuda:
            return self.images[self.index[0]][None]
        return self.images.index_select(0, self.place)

    def put(self, changed: Tensor) -> None:
        """Writes `changed` [k, H, W, 3] in their places."""
        if self.images.is_cuda:
            self.images.index_copy_(0, self.place, changed)
        elif len(self) > 1 or changed.data_ptr() != self.images[self.index[0]].data_ptr():
            self.images.numpy()[self.index] = changed.numpy()  # torch's index_copy_ takes a nanosecond for each byte


def auto_contrast(chosen: Chosen) -> Tensor:
    """Tables that stretch each channel to 0..255 (ImageOps.autocontrast): uint8 [k, 3, 256]."""
    low, high = (extreme.to(torch.float64).unsqueeze(-1) for extreme in _extremes(chosen))
    levels = _levels(chosen, torch.float64)
    span = (high - low).clamp(min=1)
    scale = torch.full_like(span, 255) / span  # a number over a tensor is computed as a product with the reciprocal
    stretched = levels * scale + -low * scale
    return _table(torch.where(high > low, stretched, levels))


def equalize(chosen: Chosen) -> Tensor:
    """Tables that spread each channel evenly over 0..255 (ImageOps.equalize): uint8 [k, 3, 256]."""
    counts = _histograms(chosen)
    levels = _levels(chosen, torch.int64)
    summed = counts.cumsum(-1)
    brightest = ((counts > 0) * levels).amax(-1, keepdim=True)
    step = (summed[..., -1:] - counts.gather(-1, brightest)).div(255, rounding_mode="floor")
    below = summed - counts + step.div(2, rounding_mode="floor")
    return _table(torch.where(step > 0, below.div(step.clamp(min=1), rounding_mode="floor"), levels))


def pointwise(chosen: Chosen) -> Tensor:
    """Tables of what needs no look at the image: uint8 [k, 1, 256].

    `values` are those of `point_values`: levels are cut to multiples of the unit, the summand is added below 128, what
    is at least the threshold is inverted, the rest is blended with the gray.
    """
    unit, summand, threshold, factor, gray = chosen.values[:, :5].view(-1, 5, 1, 1).unbind(1)
    levels = _levels(chosen, torch.float64)
    coarse = (levels / unit).floor_().mul_(unit)
    brighter = coarse.add_((levels < 128) * summand)
    inverted = torch.where(brighter >= threshold, 255 - brighter, brighter)
    return _faded(inverted, gray, factor)


def contrast(chosen: Chosen) -> Tensor:
    """Tables of a blend with the image's mean gray (ImageEnhance.Contrast), factor `values[0]`: uint8 [k, 1, 256]."""
    factor, gray = chosen.values[:, 0].view(-1, 1, 1), _mean_gray(chosen).view(-1, 1, 1)
    return _faded(_levels(chosen, torch.float64), gray, factor)


def point_values(
    *,
    unit: Column = 1.0,
    summand: Column = 0.0,
    threshold: Column = np.inf,
    factor: Column = 1.0,
    gray: Column = 0.0,
) -> NDArray[np.float64]:
    """Rows for `pointwise`, [k, 5]; what is not given changes nothing."""
    return np.stack(np.broadcast_arrays(unit, summand, threshold, factor, gray), -1)


def _levels(chosen: Chosen, dtype: torch.dtype) -> Tensor:
    return torch.arange(LEVELS, dtype=dtype, device=chosen.images.device).view(1, 1, LEVELS)


def _faded(levels: Tensor, gray: Tensor, factor: Tensor) -> Tensor:
    """PIL's Image.blend(gray, level, factor) of every level; in float32, in which PIL computes."""
    gray, levels, factor = (numbers.to(torch.float32) for numbers in (gray, levels, factor))
    return _table(_blend(gray, levels, factor))


def _blend(degenerate: Tensor, level: Tensor, factor: Tensor) -> Tensor:
    """Product and sum rounded one after the other, as PIL's; a fused multiply-add would differ in the last bit."""
    return (level - degenerate).mul_(factor).add_(degenerate)


def _table(values: Tensor) -> Tensor:
    """Cut at 0 and 255, then truncated, as C's cast does."""
    return values.clamp(0, 255).to(torch.uint8)


def _extremes(chosen: Chosen) -> tuple[Tensor, Tensor]:
    """Darkest and brightest level of each channel: uint8 [k, 3] each."""
    low, high = [], []
    for part in chosen.tiles():
        images = part.take()
        # Rows first: a reduction over whole rows is vectorised, one over pixels of three channels is not.
        rows = images.view(*images.shape[:2], -1)
        low.append(rows.amin(1).view(len(rows), -1, 3).amin(1))
        high.append(rows.amax(1).view(len(rows), -1, 3).amax(1))
    return torch.cat(low), torch.cat(high)


def _histograms(chosen: Chosen) -> Tensor:
    """How often each level occurs in each channel: int64 [k, 3, 256]."""
    if chosen.images.is_cuda:
        return torch.cat([_counted(part.take()) for part in chosen.tiles()])
    images = [image for part in chosen.tiles() for image in _planes(part.take()).unbind(1)]
    counts = [channel.reshape(-1).bincount(minlength=LEVELS) for image in images for channel in image]
    return torch.stack(counts).view(-1, 3, LEVELS)


def _counted(images: Tensor) -> Tensor:
    """`_histograms` of `images` [k, H, W, 3] at once."""
    levels = images.view(len(images), -1, 3).to(torch.int64)
    counts = levels.new_zeros((len(images), LEVELS, 3))
    return counts.scatter_add_(1, levels, torch.ones_like(levels)).transpose(1, 2)


def _mean_gray(chosen: Chosen) -> Tensor:
    """The mean of the image's gray levels, rounded half up: float64 [k]."""
    means = [
        _gray(_planes(part.take()).to(torch.float32)).mean(dim=(1, 2), dtype=torch.float64) for part in chosen.tiles()
    ]
    return torch.cat(means).add_(0.5).floor_()


def _gray(planes: Tensor) -> Tensor:
    """PIL's L of `planes` [3, k, H, W]: float32 [k, H, W], whole numbers. All sums stay below 2**24, so are exact."""
    red, green, blue = planes
    weighted: Tensor = (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])
    return weighted.add_(0x8000).mul_(2.0**-16).floor_()


def _planes(images: Tensor) -> Tensor:
    """The channels of `images` [k, H, W, 3] one by one: uint8 [3, k, H, W]."""
    channels = images.permute(3, 0, 1, 2)
    return copy_planes(channels, images.new_empty(channels.shape))


def copy_planes(source: Tensor, target: Tensor) -> Tensor:
    """`target` [3, ...] with the values of `source`, truncated; numpy's strided loops are the faster ones on a CPU."""
    if source.is_cuda:
        return target.copy_(source)
    for old, new in zip(target, source, strict=True):
        np.copyto(old.numpy(), new.numpy(), casting="unsafe")
    return target


def look_up(groups: list[tuple[Chosen, Tensor]]) -> None:
    """Replaces levels by their entries in the images' tables: uint8 [k, 1, 256], or [k, 3, 256], one a channel."""
    if not groups:
        return
    if groups[0][0].images.is_cuda:
        _look_up_at_once(groups)
        return
    for chosen, tables in groups:
        (_translate if tables.shape[1] == 1 else _gather)(chosen, tables)


def _look_up_at_once(groups: list[tuple[Chosen, Tensor]]) -> None:
    """One gather for the images of all groups."""
    parts = [chosen for chosen, _ in groups]
    index, numbers = (np.concatenate([getattr(part, name) for part in parts]) for name in ("index", "numbers"))
    place, values = (torch.cat([getattr(part, name) for part in parts]) for name in ("place", "values"))
    tables = torch.cat([table.expand(-1, 3, -1) for _, table in groups]).view(-1)
    first = 0
    for tile in Chosen(parts[0].images, index, numbers, place, values).tiles():
        pixels = tile.take()
        starts = torch.arange(3 * first, 3 * (first + len(tile)), dtype=torch.int32, device=pixels.device) * LEVELS
        found = tables.index_select(0, pixels.to(torch.int32).add_(starts.view(-1, 1, 1, 3)).view(-1))
        tile.put(found.view_as(pixels))
        first += len(tile)


def _translate(chosen: Chosen, tables: Tensor) -> None:
    """One table for all channels: `bytearray.translate` takes half the time of torch's or numpy's gather."""
    pixels = chosen.images.view(len(chosen.images), -1).numpy()
    for i, table in zip(chosen.index, tables.numpy(), strict=True):
        view, lookup = pixels[i].data, table.tobytes()
        for first in range(0, len(view), _CHUNK):
            view[first : first + _CHUNK] = bytearray(view[first : first + _CHUNK]).translate(lookup)


def _gather(chosen: Chosen, tables: Tensor) -> None:
    """A table for each channel."""
    pixels = chosen.images.view(len(chosen.images), -1)
    starts = torch.arange(0, 3 * LEVELS, LEVELS, dtype=torch.int32).repeat(min(pixels.shape[1], _CHUNK) // 3 + 1)
    scratch = torch.empty_like(starts)
    for i, table in zip(chosen.index, tables.view(len(tables), -1), strict=True):
        for part in torch.split(pixels[i], _CHUNK - _CHUNK % 3):
            index = torch.add(starts[: len(part)], part, out=scratch[: len(part)])
            torch.index_select(table, 0, index, out=part)


def saturate(images: Tensor, factor: Tensor) -> Tensor:
    """Blends `images` [k, H, W, 3] with their gray (ImageEnhance.Color), in place; `factor` [k], 0 is gray."""
    planes = _planes(images).to(torch.float32)
    saturated = _blend(_gray(planes), planes, factor.to(torch.float32).view(-1, 1, 1)).clamp_(0, 255)
    copy_planes(saturated, images.permute(3, 0, 1, 2))
    return images


def grayscale(images: Tensor) -> Tensor:
    """`images` [k, H, W, 3] with PIL's L in all channels, in place."""
    gray = _gray(_planes(images).to(torch.float32)).to(torch.int32).to(torch.uint8)
    copy_planes(gray.expand(3, *gray.shape), images.permute(3, 0, 1, 2))
    return images


def sharpen(images: Tensor, factor: Tensor) -> Tensor:
    """Blends `images` [k, H, W, 3] with themselves smoothed (ImageEnhance.Sharpness), in place; `factor` [k].

    PIL's SMOOTH is 3 x 3 of weight 1, the centre 5, over 13. Border pixels have no such neighbourhood and stay.
    """
    k, height, width, _ = images.shape
    if min(height, width) < 3:
        return images
    rows = images.view(k, height, 3 * width).to(torch.int16)
    column = (rows[:, :-2] + rows[:, 1:-1]).add_(rows[:, 2:])
    centre = rows[:, 1:-1, 3:-3]
    total = (column[:, :, :-6] + column[:, :, 3:-3]).add_(column[:, :, 6:]).add_(centre, alpha=4)
    # A thirteenth of a whole number is never near the half at which it is rounded, so float32 rounds as PIL does.
    smooth = total.to(torch.float32).mul_(1 / 13).add_(0.5).floor_()
    sharp = _blend(smooth, centre.to(torch.float32), factor.to(torch.float32).view(-1, 1, 1))
    images.view(k, height, 3 * width)[:, 1:-1, 3:-3] = sharp.clamp_(0, 255).to(torch.int32)
    return images


def blur(images: Tensor, box: NDArray[np.int32]) -> Tensor:
    """Three box filters along each axis of `images` [k, H, W, 3], as PIL's GaussianBlur; `box` from `box_weights`."""
    weights = send(box, images.device)
    k, height, width, _ = images.shape
    of_rows = weights.unsqueeze(1).expand(-1, height, -1).reshape(k * height, -1)
    rows = _box_filtered(images.view(k * height, width, 3), of_rows)
    return _box_filtered(rows.view(k, height, 3 * width), weights).to(torch.uint8).view_as(images)


def box_weights(radius: NDArray[np.float64]) -> NDArray[np.int32]:
    """The box filter that, run three times, is close to a Gaussian of sd `radius` [k]: int32 [k, m], in 2**-24.

    Column j weighs the two pixels at distance j; the outermost has a part of the others' weight (Gwosdek et al. 2011,
    equations 7, 11 and 14). Float32, as in Pillow's C.
    """
    variance = np.square(radius.astype(np.float32)) / np.float32(3)
    length = np.sqrt(12.0 * variance.astype(np.float64) + 1.0).astype(np.float32)
    whole = np.floor((length.astype(np.float64) - 1.0) / 2.0).astype(np.float32)
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - np.square(whole + 1)))
    inner = (np.float32(1 << 24) / ((whole + part) * np.float32(2) + np.float32(1))).astype(np.int64)
    outer = ((1 << 24) - (2 * whole.astype(np.int64) + 1) * inner) // 2
    distance = np.arange(int(whole.max()) + 2) - whole[:, None]
    return np.where(distance <= 0, inner[:, None], np.where(distance == 1, outer[:, None], 0)).astype(np.int32)


def _box_filtered(lines: Tensor, weights: Tensor) -> Tensor:
    """Three passes along the middle axis of `lines` [a, L, b], each rounded to a level: int32 [a, L, b].

    Sums reach 255.5 * 2**24: 32 bits that overflow the sign, which the mask after the shift takes back.
    """
    a, length, b = lines.shape
    reach = weights.shape[1] - 1
    padded = lines.new_empty((a, length + 2 * reach, b), dtype=torch.int32)
    padded[:, reach : reach + length] = lines
    scratch = lines.new_empty(lines.shape, dtype=torch.int32)
    for _ in range(3):
        padded[:, :reach] = padded[:, reach : reach + 1]
        padded[:, -reach:] = padded[:, -reach - 1 : -reach]
        centre = padded[:, reach : reach + length]
        total = centre * weights[:, :1, None]
        for j in range(1, reach + 1):
            ahead, behind = padded[:, reach + j : reach + j + length], padded[:, reach - j : reach - j + length]
            total.addcmul_(torch.add(ahead, behind, out=scratch), weights[:, j : j + 1, None])
        total.add_(1 << 23).bitwise_right_shift_(24).bitwise_and_(255)
        centre.copy_(total)
    return total


def cut_out(images: Tensor, box: Tensor, fill: tuple[int, int, int]) -> Tensor:
    """`images` [k, H, W, 3] with rectangles of one colour, in place; `box` [k, 4] is top, bottom, left, right."""
    top, bottom, left, right = box.unsqueeze(-1).unbind(1)
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[1:3])
    inside = ((rows >= top) & (rows < bottom)).unsqueeze(2) & ((columns >= left) & (columns < right)).unsqueeze(1)
    for channel, level in enumerate(fill):
        images[..., channel].masked_fill_(inside, level)
    return images
