"""Random streams without state: every draw is a pure function of what it is keyed by.

| draws                          | keyed by                                                | function        |
|--------------------------------|---------------------------------------------------------|-----------------|
| of an image (flip, erase, ...) | seed, stream, epoch, image id, repeat, number of draw   | `Shown.uniform` |
| noise for an image's pixels    | seed, stream, epoch, image id, repeat, place            | `Shown.noise`   |
| order of the images            | seed, epoch, image id                                   | `epoch_order`   |
| of a batch (mixing)            | seed, stream, epoch, step                               | `batch_random`  |
| drop-path                      | seed, step, layer's name, place in the batch            | `drop_path.py`  |
| initial weights                | seed, parameter's name                                  | `init.py`       |

Nothing depends on how often another stream was used, nor on batch size, micro-batch, worker or device.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tinyablate.train.transfer import send

Ids = npt.NDArray[np.int64]

_GAMMA = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB
_WORD = 0xFFFFFFFFFFFFFFFF
_CHUNK = 1 << 15
"""Hashes per pass of `pixel_noise` on a CPU: 256 kB of int64, so that the dozen passes stay in the L2 cache."""
_FILL, _FILL_CUDA = 1 << 16, 1 << 24
"""Hashes per pass of `fill_noise` on a CPU (its passes cost more to start) and on a GPU, where one needs below 1 GB."""


def stream_key(seed: int, stream: str, *index: int) -> int:
    """The root of one stream: 64 bits (0 <= key < 2**64) of blake2b over the seed, the stream's name and its index.

    `stream` is any text without a NUL, `index` what the stream is further keyed by: epoch, step, ...
    """
    text = "\0".join((str(seed), stream, *map(str, index)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def image_hash(key: int, image_ids: Ids, draw: int = 0, repeat: int | Ids = 0) -> npt.NDArray[np.uint64]:
    """64 random bits for each image id, distinct for distinct ids: uint64, shaped as `image_ids`.

    Two rounds of the finaliser of splitmix64 (Steele, Lea & Flood 2014), one over the id and one with the key.
    """
    ids = np.asarray(image_ids).astype(np.uint64)
    return _mix(_subkeys(key, draw, repeat) ^ _mix(ids * np.uint64(_GAMMA)))


def image_uniform(key: int, image_ids: Ids, draw: int = 0, repeat: int | Ids = 0) -> npt.NDArray[np.float64]:
    """One uniform draw in [0, 1) for each image: float64, shaped as `image_ids` (int64).

    An image's draw depends on nothing but `key` (= stream_key(seed, stream, epoch)), its id, `draw` (which of the
    stream's draws) and `repeat` (which copy of the image, where an epoch holds several; one for all or for each).
    """
    return _unit(image_hash(key, image_ids, draw, repeat))


@dataclass(frozen=True)
class Runs:
    """Stretches of consecutive places in the noise of a batch's images."""

    image: Ids
    """int64 [r]: place of the image in the batch, as the next two."""
    first: Ids
    """First place in the image's noise."""
    length: Ids
    """How many places."""

    def within(self, low: int, high: int) -> "Runs":
        """What of them lies in the places `low` to `high`, which is excluded."""
        first, stop = np.maximum(self.first, low), np.minimum(self.first + self.length, high)
        kept = first < stop
        return Runs(self.image[kept], first[kept], (stop - first)[kept])

    def flat(self, places: int, device: torch.device) -> torch.Tensor:
        """Each of their places in [n, places] seen as one row: int64 [sum of lengths] on `device`."""
        return _counted(self.image * places + self.first, self.length, 1, device)

    def parts(self, most: int) -> Iterator["Runs"]:
        """They again in groups of at most `most` places; a longer run is a group of its own."""
        stops = np.cumsum(self.length)
        at = 0
        while at < len(stops):
            before = stops[at] - self.length[at]
            after = max(int(np.searchsorted(stops, before + most, "right")), at + 1)
            yield Runs(self.image[at:after], self.first[at:after], self.length[at:after])
            at = after


@dataclass(frozen=True)
class Shown:
    """Images of one epoch, as they stand in a batch, and the streams of random draws that belong to them."""

    ids: Ids
    """int64 [n]: numbers of the images in their data set."""
    seed: int
    epoch: int
    repeats: Ids | None = None
    """int64 [n]: which copy of its image each is, counted from 0; None where every image stands once."""

    def __len__(self) -> int:
        return len(self.ids)

    def uniform(self, stream: str, draw: int = 0) -> npt.NDArray[np.float64]:
        """One uniform draw in [0, 1) for each image: float64 [n]. `draw` numbers the draws of a stream."""
        key = stream_key(self.seed, stream, self.epoch)
        return image_uniform(key, self.ids, draw, 0 if self.repeats is None else self.repeats)

    def noise(self, stream: str, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
        """Standard normal noise for each image: float32 [n, *shape] on `device`."""
        ids = send(self.ids, device)
        return pixel_noise(stream_key(self.seed, stream, self.epoch), ids, shape, self.repeats)

    def fill_noise(self, stream: str, values: torch.Tensor, runs: Runs) -> None:
        """Put into `values` [n, P], at the places `runs` alone, what `noise` gives for the shape (P,), in place."""
        key = stream_key(self.seed, stream, self.epoch)
        fill_noise(values, key, self.ids, runs, 0 if self.repeats is None else self.repeats)

    def take(self, index: Ids) -> "Shown":
        """Those of the images at the places `index` [k] of the batch."""
        repeats = None if self.repeats is None else self.repeats[index]
        return Shown(self.ids[index], self.seed, self.epoch, repeats)


def table_uniform(key: int, rows: npt.NDArray[np.uint64], columns: int) -> npt.NDArray[np.float64]:
    """Uniform draws in [0, 1) for rows known by 64-bit names: float64 [len(rows), columns].

    A draw depends on `key`, its row's name and its column's number, not on which other rows or columns there are.
    """
    states = _mix(np.uint64(_subkey(key, 0, 0)) ^ rows)[:, None]
    places = _mix(np.arange(columns, dtype=np.uint64) * np.uint64(_GAMMA))
    return _unit(_mix(states ^ places))


def epoch_order(seed: int, epoch: int, n: int) -> Ids:
    """The order in which an epoch shows the images 0..n-1: an int64 permutation, keyed by (seed, epoch) and image id.

    Sorting by each image's own hash keeps the order of those that remain when the set is a part of another.
    """
    hashes = image_hash(stream_key(seed, "order", epoch), np.arange(n, dtype=np.int64))
    return np.argsort(hashes, kind="stable").astype(np.int64, copy=False)


def batch_random(seed: int, stream: str, epoch: int, step: int) -> np.random.RandomState:
    """A generator for the draws that belong to one batch, keyed by (seed, stream, epoch, step).

    numpy's legacy `RandomState`, seeded the legacy way: by numpy's policy (NEP 19) its streams are frozen, so `beta`
    gives the same numbers in every version, which the methods of `Generator` do not promise.
    """
    key = stream_key(seed, stream, epoch, step)
    # Made without asking the system for entropy, which takes twice as long as the seeding: 116 -> 43 µs.
    random = np.random.RandomState(np.random.MT19937(_Unseeded()))  # type: ignore[arg-type]
    random.seed(np.array([key & 0xFFFFFFFF, key >> 32], dtype=np.uint32))
    return random


class _Unseeded(np.random.bit_generator.ISeedSequence):
    """What a generator that is seeded at once begins with."""

    def generate_state(self, n_words: int, dtype: npt.DTypeLike = np.uint32) -> npt.NDArray[Any]:
        """Zeros, [n_words]."""
        return np.zeros(n_words, dtype)


def pixel_noise(key: int, image_ids: torch.Tensor, shape: tuple[int, ...], repeats: Ids | None = None) -> torch.Tensor:
    """Standard normal noise for each image: float32 [n, *shape] on the device of `image_ids` (int64 [n]).

    Keyed by `key`, image id, repeat and place in `shape`, so an image gets the same noise in any batch. Each image runs
    splitmix64 from a state of its own; one 64-bit hash gives two normals (Box & Muller 1958). The integers are the same
    bits on CPU and CUDA, the floats equal to rounding.
    """
    pairs = (math.prod(shape) + 1) // 2
    states = _torch_states(key, image_ids, repeats)
    noise = torch.empty(len(image_ids), 2 * pairs, dtype=torch.float32, device=image_ids.device)
    steps = torch.arange(1, pairs + 1, device=image_ids.device) * _signed(_GAMMA)
    images, places = _tiles(noise.is_cuda, len(image_ids), pairs)
    for first in range(0, len(image_ids), images):
        rows = slice(first, first + images)
        for start in range(0, pairs, places):
            stop = min(start + places, pairs)
            hashes = _torch_mix(states[rows, None] + steps[start:stop])
            _box_muller(hashes, noise[rows, start:stop], noise[rows, pairs + start : pairs + stop])
    return noise[:, : math.prod(shape)].reshape(len(image_ids), *shape)


def fill_noise(values: torch.Tensor, key: int, image_ids: Ids, runs: Runs, repeat: int | Ids = 0) -> None:
    """Put noise into `values` float [n, P], contiguous, at the places `runs` alone; the others keep what they hold.

    It has the bits of `pixel_noise` for the images `image_ids` int64 [n] and the shape (P,), at the cost of the places
    that are asked for.
    """
    places = values.shape[1]
    pairs = (places + 1) // 2
    states = image_hash(key, image_ids, 0, repeat)
    for half, (low, high) in enumerate(((0, pairs), (pairs, places))):
        for part in runs.within(low, high).parts(_FILL_CUDA if values.is_cuda else _FILL):
            begins = (states[part.image] + (part.first - low + 1).astype(np.uint64) * np.uint64(_GAMMA)).view(np.int64)
            noise, angle = _polar(_torch_mix(_counted(begins, part.length, _signed(_GAMMA), values.device)))
            noise.mul_(angle.sin_() if half else angle.cos_())
            values.view(-1).scatter_(0, part.flat(places, values.device), noise.to(values.dtype))


def stretched(values: Ids, lengths: Ids, device: torch.device) -> torch.Tensor:
    """Each of `values` int64 [r] as often in a row as `lengths` [r] says: int64 [sum of lengths] on `device`."""
    if device.type == "cpu":
        return torch.from_numpy(np.repeat(values, lengths))
    each, times = send(np.stack([values, lengths]), device)
    return torch.repeat_interleave(each, times, output_size=int(lengths.sum()))  # given, so that the host need not wait


def _counted(begins: Ids, lengths: Ids, step: int, device: torch.device) -> torch.Tensor:
    """`begin`, `begin` + `step`, ... as often as its length says, for each of `begins`, one after the other."""
    starts = (np.cumsum(lengths) - lengths).astype(np.uint64) * np.uint64(step & _WORD)
    count = torch.arange(int(lengths.sum()), device=device)
    return stretched(begins - starts.view(np.int64), lengths, device).add_(count.mul_(step))


def _subkey(key: int, draw: int, repeat: int) -> int:
    """The key of one draw of one repeat; without it, draws would walk one another's sequences."""
    return _mix_int((_mix_int(key + _GAMMA * (draw + 1)) + _GAMMA * (repeat + 1)) & _WORD)


def _subkeys(key: int, draw: int, repeat: int | Ids) -> npt.NDArray[np.uint64]:
    """`_subkey` of one repeat, or of each of several."""
    if isinstance(repeat, (int, np.integer)):
        return np.asarray(_subkey(key, draw, int(repeat)), np.uint64)
    known = np.array([_subkey(key, draw, number) for number in range(int(repeat.max(initial=0)) + 1)], np.uint64)
    return np.asarray(known[repeat])


def _mix_int(state: int) -> int:
    """splitmix64's finaliser of one Python integer."""
    state &= _WORD
    state = ((state ^ (state >> 30)) * _MIX1) & _WORD
    state = ((state ^ (state >> 27)) * _MIX2) & _WORD
    return state ^ (state >> 31)


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """splitmix64's finaliser, elementwise."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX1)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX2)
    return state ^ (state >> np.uint64(31))


def _unit(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """The upper 53 bits, all that a float64 holds, as a number in [0, 1)."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _signed(word: int) -> int:
    """The 64-bit word as two's complement: torch has no arithmetic on uint64."""
    return word - (1 << 64) if word >> 63 else word


def _torch_mix(state: torch.Tensor) -> torch.Tensor:
    """splitmix64's finaliser of int64 `state`, in place; its logical shifts are arithmetic ones, sign bits masked."""
    for shift, factor in ((30, _MIX1), (27, _MIX2)):
        state.bitwise_xor_((state >> shift).bitwise_and_((1 << (64 - shift)) - 1)).mul_(_signed(factor))
    return state.bitwise_xor_((state >> 31).bitwise_and_((1 << 33) - 1))


def _torch_states(key: int, image_ids: torch.Tensor, repeats: Ids | None = None) -> torch.Tensor:
    """`image_hash` in torch: the int64 state at which each image's noise begins."""
    subkeys = send(_subkeys(key, 0, 0 if repeats is None else repeats).view(np.int64), image_ids.device)
    return _torch_mix(_torch_mix(image_ids * _signed(_GAMMA)).bitwise_xor_(subkeys))


def _tiles(cuda: bool, images: int, pairs: int) -> tuple[int, int]:
    """Images and pairs of pixels per pass: everything at once on a GPU, what fits into the cache on a CPU."""
    if cuda:
        return max(images, 1), max(pairs, 1)
    return max(_CHUNK // max(pairs, 1), 1), _CHUNK


def _box_muller(hashes: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> None:
    """Two independent standard normals of each 64-bit hash."""
    radius, angle = _polar(hashes)
    torch.mul(radius, angle.cos(), out=first)
    torch.mul(radius, angle.sin_(), out=second)


def _polar(hashes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The pair of normals of each hash in polar form, float32: upper half -> radius, lower half -> angle."""
    radius = (
        (hashes >> 32).bitwise_and_(0xFFFFFFFF).to(torch.float32).add_(1.0).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
    )
    angle = hashes.bitwise_and_(0xFFFFFFFF).to(torch.float32).mul_(2 * math.pi * 2.0**-32)
    return radius, angle
