"""Affine warps of uint8 images: PIL's coefficients of a shear, translation or rotation, and the sampling of pixels.

It does not choose strengths or filters; a policy does. Coordinates, borders and rounding are those of Pillow 13.0's
`Image.transform(size, AFFINE, ...)`: pixel centres at halves, a pixel whose coordinates lie outside the image gets the
fill colour, taps beyond the border repeat it, results are truncated.

Sums are integers of 32 bits with weights in 2**-21, so CPU and GPU agree to the rounding of a weight.
"""

import enum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyablate.train.augment.color import copy_planes
from tinyablate.train.transfer import send

Numbers = NDArray[np.float64]

_SHIFT = 21
"""Binary places of a weight. Bicubic weights sum to at most 2.25 in absolute value: 2.25 * 255 * 2**21 < 2**31."""
_NUDGE_4, _NUDGE_16 = 1 << (_SHIFT - 11), 1 << (_SHIFT - 9)
"""Added before truncation, for 255 must stay 255: 4 rounded weights may miss 1 by 2 units, 16 truncated ones by 16."""
_CUDA_SLIDES = 1 << 14
"""Larger images are slid on a GPU too: below, what counts is the number of kernels, and one way has the fewest."""


def shear_x(factor: Numbers) -> Numbers:
    """PIL's coefficients of a horizontal shear: x_in = x + factor * y. [k] -> float64 [k, 6]."""
    return _coefficients(np.asarray(factor, np.float64), b=factor)


def shear_y(factor: Numbers) -> Numbers:
    """PIL's coefficients of a vertical shear: y_in = y + factor * x. [k] -> float64 [k, 6]."""
    return _coefficients(np.asarray(factor, np.float64), d=factor)


def translate(dx: Numbers, dy: Numbers) -> Numbers:
    """PIL's coefficients of a translation: x_in = x + dx, y_in = y + dy, in pixels. [k], [k] -> float64 [k, 6].

    As in `Image.transform`, a positive `dx` moves the picture to the left.
    """
    return _coefficients(np.asarray(dx, np.float64), c=dx, f=dy)


def rotate(degrees: Numbers, height: int, width: int) -> Numbers:
    """The coefficients that PIL's `Image.rotate` uses (counter-clockwise, about the centre): [k] -> float64 [k, 6].

    Sine and cosine are rounded to 15 decimals as PIL does, so that a multiple of 90 degrees moves whole pixels.
    """
    angle = -np.radians(np.asarray(degrees, np.float64) % 360.0)
    cos, sin = (np.asarray(np.round(part, 15), np.float64) for part in (np.cos(angle), np.sin(angle)))
    x, y = width / 2, height / 2
    return _coefficients(angle, a=cos, b=sin, c=x - cos * x - sin * y, d=-sin, e=cos, f=y + sin * x - cos * y)


def _coefficients(like: Numbers, **columns: Numbers) -> Numbers:
    """Rows a, b, c, d, e, f: x_in = a x + b y + c, y_in = d x + e y + f; the identity where not given."""
    rows = np.tile(np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]), (len(like), 1))
    for name, values in columns.items():
        rows[:, "abcdef".index(name)] = values
    return rows


class Filter(enum.IntEnum):
    """How many taps along each axis a pixel is computed from."""

    NEAREST = 1
    BILINEAR = 2
    BICUBIC = 4  # cubic convolution with a = -1, as PIL transforms; its resize has a = -0.5


class Way(enum.IntEnum):
    """How a warp is carried out; all give the same within the rounding of a weight."""

    SLIDE_X = 1  # every row is moved by a number of its own
    SLIDE_Y = 2  # every column is
    SAMPLE = 3  # any affine map

    @property
    def tile(self) -> int:
        """How many times the pixels of another operation to take at a time: slides are many calls, little memory."""
        return 1 if self is Way.SAMPLE else 4


def pixel_maps(coefficients: Numbers, filters: NDArray[np.int64]) -> Numbers:
    """PIL's coefficients as maps between pixel numbers, with PIL's rounding: float64 [k, 8] of [k, 6].

    Columns a..f: the output's pixel (column x, row y) is centred on the input's column a x + b y + c and row
    d x + e y + f, counted from the centre of pixel 0; NEAREST: from its edge. Then whether neighbours are
    interpolated, and whether by BICUBIC. PIL's NEAREST computes in 1/65536 unless the map only scales.
    """
    maps = coefficients.reshape(-1, 2, 3).copy()
    maps[..., 2] += maps[..., 0] / 2 + maps[..., 1] / 2
    nearest = filters == Filter.NEAREST
    maps[~nearest, :, 2] -= 0.5
    fixed = nearest & ((coefficients[:, 1] != 0) | (coefficients[:, 3] != 0))
    maps[fixed] = np.floor(maps[fixed] * 65536 + 0.5) / 65536
    return np.column_stack([maps.reshape(-1, 6), ~nearest, filters == Filter.BICUBIC])


def ways(maps: Numbers, height: int, width: int, *, cuda: bool) -> NDArray[np.int64]:
    """The cheapest `Way` of each map for images of this size: [k]. It depends on nothing else of the batch."""
    if cuda and height * width <= _CUDA_SLIDES:
        return np.full(len(maps), Way.SAMPLE, np.int64)
    a, b, c, d, e, f, _, _ = maps.T
    unscaled = (a == 1) & (e == 1)
    slide_x = unscaled & (d == 0) & ((f == np.floor(f)) | (maps[:, 6] == 0))
    slide_y = unscaled & (b == 0) & ((c == np.floor(c)) | (maps[:, 6] == 0))
    return np.where(slide_x, int(Way.SLIDE_X), np.where(slide_y, int(Way.SLIDE_Y), int(Way.SAMPLE)))


def taps_of(maps: Numbers) -> NDArray[np.int64]:
    """Taps along each axis of `pixel_maps`: [k]."""
    return (1 + maps[:, 6] + 2 * maps[:, 7]).astype(np.int64)


def warp(images: Tensor, maps: Tensor, way: Way, taps: int, fill: tuple[int, int, int]) -> Tensor:
    """`images` uint8 [k, H, W, 3] warped: uint8 of the same shape, perhaps in their memory.

    `maps` [k, 8] are those of `pixel_maps` on the images' device, `way` is that of all, `taps` the most of any.
    """
    if way is Way.SLIDE_X:
        colour = send(torch.tensor(fill, dtype=torch.uint8).repeat(images.shape[2]), images.device)
        flat = images.view(*images.shape[:2], -1)
        _, slope, offset, _, _, step, interpolate, cubic = maps.unbind(1)
        return _slide(flat, 3, (slope, offset, step, interpolate, cubic), taps, colour).view_as(images)
    if way is Way.SLIDE_Y:
        return _slide_columns(images, maps, taps, fill)
    return _sample(images, maps, taps, fill)


def _slide_columns(images: Tensor, maps: Tensor, taps: int, fill: tuple[int, int, int]) -> Tensor:
    """`_slide` of the columns: of the channels one by one, with rows and columns swapped; in place."""
    k, height, width, _ = images.shape
    turned = images.permute(3, 0, 2, 1)
    planes = copy_planes(turned, images.new_empty(turned.shape)).view(3 * k, width, height)
    colour = torch.tensor(fill, dtype=torch.uint8).repeat_interleave(k).view(-1, 1, 1)
    _, _, step, slope, _, offset, interpolate, cubic = maps.repeat(3, 1).unbind(1)
    moves = (slope, offset, step, interpolate, cubic)
    moved = _slide(planes, 1, moves, taps, send(colour, images.device))
    copy_planes(moved.view(3, k, width, height), turned)
    return images


def _slide(lines: Tensor, channels: int, moves: tuple[Tensor, ...], taps: int, fill: Tensor) -> Tensor:
    """Every line moved along itself: uint8 [n, R, L * channels] of the same.

    Place x of line r comes from place x + slope * r + offset of line r + step; `moves` are, [n] each, slope, offset,
    step, whether to interpolate, whether by BICUBIC. `fill` is broadcast over what comes from outside.
    """
    n, count, size = lines.shape
    slope, offset, step, interpolate, cubic = (move.reshape(-1, 1) for move in moves)
    number = torch.arange(count, dtype=torch.float64, device=lines.device)
    place = slope * number + offset
    origin = number + step.floor()
    inside = (origin >= 0) & (origin < count)
    moved = _windows(lines, channels, taps, place.floor(), origin.clamp(0, count - 1))
    if taps > 1:
        weights = _tap_weights((place - place.floor()) * interpolate, cubic, taps)
        moved = _weighted(moved, channels, size, torch.stack(weights, -1).view(n * count, taps))
    kept = _kept(size // channels, channels, (place + interpolate / 2).floor(), inside)
    moved, kept = moved.view_as(lines), kept.view_as(lines)
    return moved.bitwise_xor_(fill).bitwise_and_(kept).bitwise_xor_(fill)


def _windows(lines: Tensor, channels: int, taps: int, first: Tensor, origin: Tensor) -> Tensor:
    """What each line reads: uint8 [n * R, (L + taps - 1) * channels], from place `first` [n, R] of line `origin` on.

    The lines lie one after another with their border places repeated; where a window leaves its line it holds the
    neighbour's values, which nothing uses.
    """
    n, count, size = lines.shape
    length, border = size // channels, taps // 2
    pitch, guard = length + 2 * border, 2 * (length + taps)
    flat = lines.new_empty((2 * guard + n * count * pitch) * channels)
    padded = flat[guard * channels : (guard + n * count * pitch) * channels].view(n, count, pitch, channels)
    padded[:, :, border : border + length] = lines.view(n, count, length, channels)
    if border:
        padded[:, :, :border] = padded[:, :, border : border + 1]
        padded[:, :, -border:] = padded[:, :, -border - 1 : -border]
    line = origin + count * torch.arange(n, dtype=torch.float64, device=lines.device).view(-1, 1)
    lead = (border - 1) if taps > 1 else 0
    start = guard + line * pitch + border + (first - lead).clamp(-length - taps, length + taps)
    width = (length + taps - 1) * channels
    overlapping = flat.as_strided((len(flat) - width + 1, width), (1, 1))
    return overlapping.index_select(0, (start * channels).to(torch.int64).view(-1))


def _weighted(windows: Tensor, channels: int, size: int, weights: Tensor) -> Tensor:
    """The sum of each window's shifted copies with `weights` float64 [lines, taps]: uint8 [lines, size]."""
    whole = (weights * (1 << _SHIFT)).round_().to(torch.int32)
    levels = windows.to(torch.int32)
    total = levels[:, :size] * whole[:, :1]
    for tap in range(1, weights.shape[1]):
        total.addcmul_(levels[:, tap * channels : tap * channels + size], whole[:, tap : tap + 1])
    return total.add_(_NUDGE_4).bitwise_right_shift_(_SHIFT).clamp_(0, 255).to(torch.uint8)


def _kept(length: int, channels: int, move: Tensor, inside: Tensor) -> Tensor:
    """255 where a line moved by `move` [n, R] shows what is in the image, else 0: uint8 [n * R, L * channels]."""
    size = length * channels
    ruler = torch.zeros(3 * size, dtype=torch.uint8, device=move.device)
    ruler[size : 2 * size] = 255
    start = (move.clamp(-length, length) + length) * channels * inside
    overlapping = ruler.as_strided((2 * size + 1, size), (1, 1))
    return overlapping.index_select(0, start.to(torch.int64).view(-1))


def _tap_weights(fraction: Tensor, cubic: Tensor, taps: int) -> list[Tensor]:
    """Weights of two taps, or of four, of which those of a bilinear image's outer ones are 0.

    Linear weights plus `cubic` (0 or 1) times what Keys' cubic convolution with a = -1 adds to them.
    """
    rest = 1 - fraction
    if taps == Filter.BILINEAR:
        return [rest, fraction]
    both = fraction * rest * cubic
    near, far = both * rest, both * fraction
    return [-near, rest + near, fraction + far, -far]


def _sample(images: Tensor, maps: Tensor, taps: int, fill: tuple[int, int, int]) -> Tensor:
    """Any affine map: each pixel's taps are gathered, three channels in one integer of 32 bits; in place."""
    k, height, width, _ = images.shape
    border = taps // 2
    pitch, area = width + 2 * border, (height + 2 * border) * (width + 2 * border)
    interpolate, cubic = maps[:, 6:].to(torch.float32).view(k, 2, 1, 1).unbind(1)
    place, fraction = _places(maps, height, width)
    outside = _outside(place, fraction + interpolate / 2)
    corner = torch.arange(k, dtype=torch.int32, device=images.device) * area + (pitch + 1 if border else 0)
    index = place[1].mul_(pitch).add_(place[0]).add_(corner.view(-1, 1, 1))
    index.bitwise_xor_((index ^ (k * area)).bitwise_and_(outside))  # from the patch of the fill colour
    packed = _packed(images, border, max(taps * pitch, 1), fill)
    if taps == Filter.NEAREST:
        found = packed.index_select(0, index.view(-1))
        levels = torch.stack([found & 255, (found >> 8) & 255, found >> 16])
    else:
        weights = _tap_weights(fraction.mul_(interpolate), cubic, taps)
        levels = _tap_sums(packed, index.view(-1), pitch, [weight.view(2, -1) for weight in weights])
    copy_planes(levels.view(3, k, height, width), images.permute(3, 0, 1, 2))
    return images


def _places(maps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Column and row that each pixel comes from: whole part int32 and fraction float32, each [2, k, H, W].

    The parts of the sum that depend on the pixel's column and on its row are computed in float64 and split, their
    fractions added in float32: the error is below 2**-23 of a pixel, however large the image.
    """
    across, down, offset = maps[:, :6].view(-1, 2, 3, 1).transpose(0, 1).contiguous().unbind(2)
    columns = torch.arange(width, dtype=torch.float64, device=maps.device)
    rows = torch.arange(height, dtype=torch.float64, device=maps.device)
    (place_x, part_x), (place_y, part_y) = _split(across * columns), _split(down * rows + offset)
    fraction = part_x.unsqueeze(2) + part_y.unsqueeze(3)
    carry = fraction.floor()
    place = (place_x.unsqueeze(2) + place_y.unsqueeze(3)).add_(carry.to(torch.int32))
    return place, fraction.sub_(carry)


def _split(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """float64 as its floor, int32, and the rest, float32."""
    whole = numbers.floor()
    return whole.to(torch.int32), (numbers - whole).to(torch.float32)


def _outside(place: Tensor, fraction: Tensor) -> Tensor:
    """-1 where place + floor(fraction) [2, k, H, W] is not in the image, else 0: int32 [k, H, W], from the sign bits.

    (A comparison makes booleans, which torch does not vectorise on a CPU: ten times slower.)
    """
    height, width = place.shape[2:]
    last = torch.tensor([width - 1, height - 1], dtype=torch.int32).view(2, 1, 1, 1)
    nearest = fraction.to(torch.int32).add_(place)
    signs = (send(last, place.device) - nearest).bitwise_or_(nearest)
    return signs[0].bitwise_or_(signs[1]).bitwise_right_shift_(31)


def _packed(images: Tensor, border: int, patch: int, fill: tuple[int, int, int]) -> Tensor:
    """Red + green * 2**8 + blue * 2**16 of each pixel, the border repeated; then `patch` times `fill`: int32, flat."""
    k, height, width, _ = images.shape
    rows, columns = height + 2 * border, width + 2 * border
    packed = torch.zeros(k * rows * columns + patch, dtype=torch.int32, device=images.device)
    packed[-patch:] = fill[0] | fill[1] << 8 | fill[2] << 16
    whole = packed[:-patch].view(k, rows, columns)
    channels = whole[:, border : border + height, border : border + width].unsqueeze(-1).view(torch.uint8)[..., :3]
    copy_planes(images.permute(3, 0, 1, 2), channels.permute(3, 0, 1, 2))
    if border:
        whole[:, :, :border] = whole[:, :, border : border + 1]
        whole[:, :, -border:] = whole[:, :, -border - 1 : -border]
        whole[:, :border] = whole[:, border : border + 1]
        whole[:, -border:] = whole[:, -border - 1 : -border]
    return packed


def _tap_sums(packed: Tensor, index: Tensor, pitch: int, weights: list[Tensor]) -> Tensor:
    """Levels of three channels, int32 [3, m], from the taps at `index` [m] and right and below.

    A sum over the integers as they are holds the sums of the higher channels too, from which it is freed at the end;
    what overflows 32 bits on the way comes back then.
    """
    across, down = (torch.stack([weight[axis] for weight in weights]) for axis in range(2))
    down *= 1 << _SHIFT
    sums = (_sums_at_once if packed.is_cuda else _sums_in_place)(packed, index, pitch, across, down)
    sums[:2] -= sums[1:] * 256
    return sums.add_(_NUDGE_16).bitwise_right_shift_(_SHIFT).clamp_(0, 255)


def _sums_in_place(packed: Tensor, index: Tensor, pitch: int, across: Tensor, down: Tensor) -> Tensor:
    """Tap by tap in the same memory, which stays in the cache."""
    taps, m = across.shape
    shifts = _channel_shifts(packed).view(3, 1)
    weight, whole = torch.empty(taps, m), torch.empty(taps, m, dtype=torch.int32)
    tap, channels, sums = torch.empty_like(index), index.new_empty(3, m), index.new_zeros(3, m)
    for row in range(taps):
        whole.copy_(torch.mul(down[row], across, out=weight))
        for column in range(taps):
            torch.index_select(packed[row * pitch + column :], 0, index, out=tap)
            sums.addcmul_(torch.bitwise_right_shift(tap, shifts, out=channels), whole[column])
    return sums


def _sums_at_once(packed: Tensor, index: Tensor, pitch: int, across: Tensor, down: Tensor) -> Tensor:
    """All taps in one pass of few kernels."""
    number = torch.arange(len(across), dtype=torch.int32, device=packed.device)
    offsets = (number.view(-1, 1) * pitch + number).view(-1, 1)
    tap = packed.index_select(0, (index + offsets).view(-1)).view(len(offsets), -1)
    whole = (down.unsqueeze(1) * across).to(torch.int32).view_as(tap)
    channels = tap >> _channel_shifts(packed).view(3, 1, 1)
    return channels.mul_(whole).sum(1, dtype=torch.int32)


def _channel_shifts(packed: Tensor) -> Tensor:
    return torch.arange(0, 24, 8, dtype=torch.int32, device=packed.device)
