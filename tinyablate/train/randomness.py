"""Random streams without state: every draw is a pure function of what it is keyed by.

| draws                          | keyed by                                                | function        |
|--------------------------------|---------------------------------------------------------|-----------------|
| of an image (flip, erase, ...) | seed, stream, epoch, image id, repeat, number of draw   | `image_uniform` |
| noise for an image's pixels    | seed, stream, epoch, image id, place in the image       | `pixel_noise`   |
| order of the images            | seed, epoch, image id                                   | `epoch_order`   |
| of a batch (mixing)            | seed, stream, epoch, step                               | `batch_random`  |
| drop-path                      | seed, step, layer's name, place in the batch            | `drop_path.py`  |
| initial weights                | seed, parameter's name                                  | `init.py`       |

Nothing depends on how often another stream was used, nor on batch size, micro-batch, worker or device.
"""

import hashlib
import math

import numpy as np
import numpy.typing as npt
import torch

Ids = npt.NDArray[np.int64]

_GAMMA = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB
_WORD = 0xFFFFFFFFFFFFFFFF
_CHUNK = 1 << 15
"""Hashes per pass of `pixel_noise` on a CPU: 256 kB of int64, so that the dozen passes stay in the L2 cache."""


def stream_key(seed: int, stream: str, *index: int) -> int:
    """The root of one stream: 64 bits (0 <= key < 2**64) of blake2b over the seed, the stream's name and its index.

    `stream` is any text without a NUL, `index` what the stream is further keyed by: epoch, step, ...
    """
    text = "\0".join((str(seed), stream, *map(str, index)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def image_hash(key: int, image_ids: Ids, draw: int = 0, repeat: int = 0) -> npt.NDArray[np.uint64]:
    """64 random bits for each image id, distinct for distinct ids: uint64, shaped as `image_ids`.

    Two rounds of the finaliser of splitmix64 (Steele, Lea & Flood 2014), one over the id and one with the key.
    """
    subkey = np.uint64(_subkey(key, draw, repeat))
    ids = np.asarray(image_ids).astype(np.uint64)
    return _mix(subkey ^ _mix(ids * np.uint64(_GAMMA)))


def image_uniform(key: int, image_ids: Ids, draw: int = 0, repeat: int = 0) -> npt.NDArray[np.float64]:
    """One uniform draw in [0, 1) for each image: float64, shaped as `image_ids` (int64).

    An image's draw depends on nothing but `key` (= stream_key(seed, stream, epoch)), its id, `draw` (which of the
    stream's draws) and `repeat` (which copy of the image, where an epoch holds several).
    """
    return _unit(image_hash(key, image_ids, draw, repeat))


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
    return np.random.RandomState(np.array([key & 0xFFFFFFFF, key >> 32], dtype=np.uint32))


def pixel_noise(key: int, image_ids: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal noise for each image: float32 [n, *shape] on the device of `image_ids` (int64 [n]).

    Keyed by `key`, image id and place in `shape`, so an image gets the same noise in any batch. Each image runs
    splitmix64 from a state of its own; one 64-bit hash gives two normals (Box & Muller 1958). The integers are the same
    bits on CPU and CUDA, the floats equal to rounding.
    """
    pairs = (math.prod(shape) + 1) // 2
    states = _torch_states(key, image_ids)
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


def _subkey(key: int, draw: int, repeat: int) -> int:
    """The key of one draw of one repeat; without it, draws would walk one another's sequences."""
    return _mix_int((_mix_int(key + _GAMMA * (draw + 1)) + _GAMMA * (repeat + 1)) & _WORD)


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


def _torch_states(key: int, image_ids: torch.Tensor) -> torch.Tensor:
    """`image_hash` in torch: the int64 state at which each image's noise begins."""
    return _torch_mix(_torch_mix(image_ids * _signed(_GAMMA)).bitwise_xor_(_signed(_subkey(key, 0, 0))))


def _tiles(cuda: bool, images: int, pairs: int) -> tuple[int, int]:
    """Images and pairs of pixels per pass: everything at once on a GPU, what fits into the cache on a CPU."""
    if cuda:
        return max(images, 1), max(pairs, 1)
    return max(_CHUNK // max(pairs, 1), 1), _CHUNK


def _box_muller(hashes: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> None:
    """Two independent standard normals of each 64-bit hash: upper half -> radius, lower half -> angle."""
    radius = (
        (hashes >> 32).bitwise_and_(0xFFFFFFFF).to(torch.float32).add_(1.0).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
    )
    angle = hashes.bitwise_and_(0xFFFFFFFF).to(torch.float32).mul_(2 * math.pi * 2.0**-32)
    torch.mul(radius, angle.cos(), out=first)
    torch.mul(radius, angle.sin_(), out=second)
