"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch with itself in reverse order, and the soft targets.

The semantics of timm's `Mixup(mode="batch")`, with every draw on a stream of its own: leaving one technique out leaves
the other's draws as they were.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tinyablate.recipe import Mix
from tinyablate.train.randomness import batch_random

Box = tuple[int, int, int, int]
"""top, bottom, left, right in pixels; bottom and right are excluded."""


@dataclass(frozen=True)
class Mixing:
    """What a batch is mixed with: `lam` of its own and 1 - `lam` of its partner; CutMix where there is a `box`."""

    lam: float = 1.0
    box: Box | None = None


UNMIXED = Mixing()


def draw(mix: Mix, size: int, *, seed: int, epoch: int, step: int) -> Mixing:
    """How the batch of this step, images of `size` x `size` pixels, is mixed. CutMix's lambda is the box's true one."""
    if not _applies(mix, seed, epoch, step):
        return UNMIXED
    if _takes_cutmix(mix, seed, epoch, step):
        lam = batch_random(seed, "cutmix-lambda", epoch, step).beta(mix.cutmix_alpha, mix.cutmix_alpha)
        box = random_box(batch_random(seed, "cutmix-box", epoch, step), size, lam)
        top, bottom, left, right = box
        return Mixing(1.0 - (bottom - top) * (right - left) / (size * size), box)
    return Mixing(float(batch_random(seed, "mixup-lambda", epoch, step).beta(mix.mixup_alpha, mix.mixup_alpha)))


def _applies(mix: Mix, seed: int, epoch: int, step: int) -> bool:
    if not mix.on or mix.prob == 1:
        return mix.on
    return bool(batch_random(seed, "mix-apply", epoch, step).random_sample() < mix.prob)


def _takes_cutmix(mix: Mix, seed: int, epoch: int, step: int) -> bool:
    if mix.mixup_alpha == 0 or mix.cutmix_alpha == 0:
        return mix.cutmix_alpha > 0
    return bool(batch_random(seed, "mix-switch", epoch, step).random_sample() < mix.switch_prob)


def random_box(random: np.random.RandomState, size: int, lam: float) -> Box:
    """A square of area 1 - `lam` about a uniform centre, cut at the image's border (Yun et al. 2019)."""
    side = int(size * np.sqrt(1 - lam))
    row, column = (int(random.randint(0, size)) for _ in range(2))
    top, left = max(row - side // 2, 0), max(column - side // 2, 0)
    return top, min(row + (side + 1) // 2, size), left, min(column + (side + 1) // 2, size)


def mix_images(images: Tensor, mixing: Mixing) -> Tensor:
    """`images` float [n, C, S, S] mixed with their partners, in place."""
    if mixing.box is not None:
        top, bottom, left, right = mixing.box
        images[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    elif mixing.lam != 1.0:
        partners = images.flip(0).mul_(1.0 - mixing.lam)
        images.mul_(mixing.lam).add_(partners)
    return images


def soft_targets(labels: Tensor, classes: int, smoothing: float, mixing: Mixing = UNMIXED) -> Tensor:
    """float32 [n, classes] of `labels` int64 [n]: smoothed (s/K elsewhere, 1 - s + s/K at the label), then mixed."""
    off = smoothing / classes
    own = torch.full((len(labels), classes), off, device=labels.device)
    own.scatter_(1, labels[:, None], 1.0 - smoothing + off)
    if mixing.lam == 1.0:
        return own
    return own * mixing.lam + own.flip(0) * (1.0 - mixing.lam)
