"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch with itself in reverse order, and the soft targets.

The semantics of timm 1.0.31's `Mixup`, with every draw on a stream of its own: leaving one technique out leaves the
other's draws as they were.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tinyablate.recipe import Mix
from tinyablate.train.randomness import batch_random
from tinyablate.train.transfer import send

Box = tuple[int, int, int, int]
"""top, bottom, left, right in pixels; bottom and right are excluded."""

_WHOLE, _TILE = 1 << 21, 1 << 18
"""Values of a batch that a CPU mixes in one pass, and values per pass of a larger one. (One thread of an AMD EPYC, 128
images, Mixup, in one pass -> in tiles: 64 px 0.47 -> 0.56 ms, 128 px 5 -> 3 ms, 224 px 59 -> 9 ms.)"""


@dataclass(frozen=True)
class MixingBatch:
    """What a batch is mixed with: `lam` of its own and 1 - `lam` of its partner; CutMix where there is a `box`."""

    lam: float = 1.0
    """The share that an image keeps of its label."""
    box: Box | None = None

    @property
    def mixup_share(self) -> float:
        """The share of the images that Mixup changes."""
        return float(self.box is None and self.lam != 1.0)

    @property
    def cutmix_share(self) -> float:
        """The share of the images that CutMix changes."""
        return float(self.box is not None and self.lam != 1.0)


@dataclass(frozen=True, eq=False)
class MixingEach:
    """A lambda, and for CutMix a box, for each of n images."""

    lams: npt.NDArray[np.float32]
    """[n]"""
    boxes: npt.NDArray[np.int64]
    """[n, 4], columns as in `Box`; without area where there is no CutMix."""

    @property
    def cut(self) -> npt.NDArray[np.bool_]:
        """[n]: which ones CutMix changes."""
        return (self.boxes[:, 0] < self.boxes[:, 1]) & (self.boxes[:, 2] < self.boxes[:, 3])

    @property
    def blended(self) -> npt.NDArray[np.bool_]:
        """[n]: which ones Mixup changes."""
        return np.asarray((self.lams != 1) & ~self.cut)

    @property
    def mixup_share(self) -> float:
        """The share of the images that Mixup changes."""
        return float(np.mean(self.blended))

    @property
    def cutmix_share(self) -> float:
        """The share of the images that CutMix changes."""
        return float(np.mean(self.cut))


Mixing: TypeAlias = MixingBatch | MixingEach

UNMIXED = MixingBatch()


def draw(mix: Mix, size: int, count: int, *, seed: int, epoch: int, step: int) -> Mixing:
    """How the batch of this step, `count` images of `size` x `size` pixels, is mixed.

    CutMix's lambda is the box's true one. With `mode` pair or elem the result is a `MixingEach`.
    """
    if not mix.on:
        return UNMIXED
    streams = _Streams(seed, epoch, step)
    return _draw_one(mix, size, streams) if mix.mode == "batch" else _draw_each(mix, size, count, streams)


@dataclass(frozen=True)
class _Streams:
    """The random streams of one batch."""

    seed: int
    epoch: int
    step: int

    def __getitem__(self, stream: str) -> np.random.RandomState:
        return batch_random(self.seed, stream, self.epoch, self.step)


def _draw_one(mix: Mix, size: int, streams: _Streams) -> MixingBatch:
    if mix.prob < 1 and streams["mix-apply"].random_sample() >= mix.prob:
        return UNMIXED
    cutmix = streams["mix-switch"].random_sample() < mix.switch_prob if mix.switches else mix.cutmix_alpha > 0
    alpha = mix.cutmix_alpha if cutmix else mix.mixup_alpha
    if alpha == 0:
        return UNMIXED
    if not cutmix:
        return MixingBatch(float(streams["mixup-lambda"].beta(alpha, alpha)))
    box = random_box(streams["cutmix-box"], size, streams["cutmix-lambda"].beta(alpha, alpha))
    top, bottom, left, right = box
    return MixingBatch(1.0 - (bottom - top) * (right - left) / (size * size), box)


def _draw_each(mix: Mix, size: int, count: int, streams: _Streams) -> MixingEach:
    """A draw for each image, or for each pair of partners. Number j of a stream does not depend on how many follow."""
    n = count if mix.mode == "elem" else (count + 1) // 2
    mixed = streams["mix-apply-each"].random_sample(n) < mix.prob
    cutmix = np.full(n, mix.cutmix_alpha > 0)
    if mix.switches:
        cutmix = streams["mix-switch-each"].random_sample(n) < mix.switch_prob
    lams, boxes = np.ones(n, np.float32), np.zeros((n, 4), np.int64)
    if mix.mixup_alpha > 0:
        drawn = streams["mixup-lambda-each"].beta(mix.mixup_alpha, mix.mixup_alpha, n)
        lams = np.where(mixed & ~cutmix, drawn.astype(np.float32), lams)
    if mix.cutmix_alpha > 0:
        drawn = streams["cutmix-lambda-each"].beta(mix.cutmix_alpha, mix.cutmix_alpha, n)
        found = random_boxes(streams["cutmix-box-each"], size, drawn.astype(np.float32))
        boxes[mixed & cutmix] = found[mixed & cutmix]
        areas = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
        lams = np.where(mixed & cutmix, 1 - areas / (size * size), lams).astype(np.float32)
    if mix.mode == "pair":
        lams, boxes = (np.concatenate([half, half[: count // 2][::-1]]) for half in (lams, boxes))
    return MixingEach(lams, boxes)


def random_box(random: np.random.RandomState, size: int, lam: float) -> Box:
    """A square of area 1 - `lam` about a uniform centre, cut at the image's border (Yun et al. 2019)."""
    side = int(size * np.sqrt(1 - lam))
    row, column = (int(random.randint(0, size)) for _ in range(2))
    top, left = max(row - side // 2, 0), max(column - side // 2, 0)
    return top, min(row + (side + 1) // 2, size), left, min(column + (side + 1) // 2, size)


def random_boxes(random: np.random.RandomState, size: int, lams: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """`random_box` for each of `lams` [n], in its arithmetic of float32 as in timm: int64 [n, 4]."""
    sides = (size * np.sqrt(1 - lams)).astype(np.int64)[:, None]
    centers = random.randint(0, size, (len(lams), 2))
    low, high = np.maximum(centers - sides // 2, 0), np.minimum(centers + (sides + 1) // 2, size)
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


def mix_images(images: Tensor, mixing: Mixing) -> Tensor:
    """`images` float [n, C, S, S] mixed with their partners, in place."""
    if isinstance(mixing, MixingEach):
        _mix_each(images, mixing)
    elif mixing.box is not None:
        top, bottom, left, right = mixing.box
        cut = images[:, :, top:bottom, left:right]
        for first, last in _halves(images):
            from_last = cut[last].flip(0)
            cut[last] = cut[first].flip(0)
            cut[first] = from_last
    elif mixing.lam != 1.0:
        for first, last in _halves(images):
            _blend(images[first], images[last], mixing.lam, mixing.lam)
    return images


def _halves(images: Tensor) -> Iterator[tuple[slice, slice]]:
    """Places in the first half of a batch and those of their partners, tile by tile.

    On a CPU tiles of a large batch fit into the cache, and their copies into memory that the process already has.
    """
    count, values = len(images), images[0].numel()
    whole = images.device.type != "cpu" or images.numel() <= _WHOLE
    tile = count if whole else max(_TILE // values, 1)
    for first in range(0, count // 2, tile):
        last = min(first + tile, count // 2)
        yield slice(first, last), slice(count - last, count - first)


def _blend(first: Tensor, last: Tensor, keep_first: float | Tensor, keep_last: float | Tensor) -> None:
    """Both [m, ...] become `keep` times themselves plus the rest of their partner, in place."""
    from_last, from_first = last.flip(0), first.flip(0)
    first.mul_(keep_first).add_(from_last.mul_(1.0 - keep_first))
    last.mul_(keep_last).add_(from_first.mul_(1.0 - keep_last))


def _mix_each(images: Tensor, mixing: MixingEach) -> None:
    """Each image with its own lambda and box."""
    pixels = images.permute(0, 2, 3, 1)
    keep = send(np.where(mixing.cut, np.float32(1), mixing.lams), images.device)
    mix_tile = _mix_by_patches if images.device.type == "cpu" else _mix_by_masks
    for first, last in _halves(images):
        mix_tile(pixels, first, last, keep[:, None, None, None], mixing)


def _mix_by_patches(pixels: Tensor, first: slice, last: slice, keep: Tensor, mixing: MixingEach) -> None:
    """Both halves of a tile, for a CPU: it goes from image to image and so touches the boxes alone."""
    values, places = pixels.numpy(), np.arange(len(pixels))
    places = np.concatenate([places[first], places[last]])
    patches = []  # taken from the partners before Mixup changes them
    for i in places[mixing.cut[places]]:
        top, bottom, left, right = mixing.boxes[i]
        patches.append((values[i, top:bottom, left:right], values[-1 - i, top:bottom, left:right].copy()))
    if mixing.blended[places].any():
        _blend(pixels[first], pixels[last], keep[first], keep[last])
    for target, patch in patches:
        target[...] = patch


def _mix_by_masks(pixels: Tensor, first: slice, last: slice, keep: Tensor, mixing: MixingEach) -> None:
    """The same, all images at once: for a GPU."""
    bounds = send(mixing.boxes.T.copy(), pixels.device)[..., None, None]
    top, bottom, left, right = bounds
    row = torch.arange(pixels.shape[1], device=pixels.device)[:, None]
    column = torch.arange(pixels.shape[2], device=pixels.device)
    inside = ((row >= top) & (row < bottom) & (column >= left) & (column < right))[..., None]
    weights = torch.where(inside, 0.0, keep)
    _blend(pixels[first], pixels[last], weights[first], weights[last])


def soft_targets(labels: Tensor, classes: int, smoothing: float, mixing: Mixing = UNMIXED) -> Tensor:
    """float32 [n, classes] of `labels` int64 [n]: smoothed (s/K elsewhere, 1 - s + s/K at the label), then mixed."""
    off = smoothing / classes
    own = torch.full((len(labels), classes), off, device=labels.device)
    own.scatter_(1, labels[:, None], 1.0 - smoothing + off)
    if isinstance(mixing, MixingEach):
        lams = send(mixing.lams, labels.device)[:, None]
        return own * lams + own.flip(0) * (1.0 - lams)
    if mixing.lam == 1.0:
        return own
    return own * mixing.lam + own.flip(0) * (1.0 - mixing.lam)
