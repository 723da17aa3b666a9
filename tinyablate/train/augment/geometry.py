"""Flip and resize whole batches of images: a resize is two small matrices, equal to PIL's antialiased bicubic.

It draws nothing: which images are flipped is the caller's choice.
"""

import functools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_A = -0.5
"""Keys' coefficient (Keys 1981), as PIL has it; torch's own bicubic uses -0.75 without antialiasing."""
_SUPPORT = 2.0
"""Half-width of the cubic kernel, in source pixels when enlarging."""


def flip(images: Tensor, chosen: npt.NDArray[np.bool_]) -> Tensor:
    """`images` [n, C, H, W] with the chosen ones [n] mirrored left to right, in place."""
    index = torch.from_numpy(np.flatnonzero(chosen)).to(images.device)
    if len(index):
        images[index] = images[index].flip(3)
    return images


def resize(images: Tensor, size: int) -> Tensor:
    """Whole images uint8 [n, H, W, C] scaled to `size` x `size` as PIL's `Image.resize(BICUBIC)` does.

    Returns float32 [n, size, size, C] with whole values 0..255. As in PIL the columns come first and are rounded to
    whole values before the rows; where a side already has its size, its pass is left out.
    """
    count, height, width, channels = images.shape
    if width == size:
        values = images.to(torch.float32)
    else:
        planes = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        narrow = _as_bytes(planes.view(-1, width) @ _weights(width, size, images.device).T)
        values = narrow.view(count, channels, height, size).permute(0, 2, 3, 1).contiguous()
    if height != size:
        rows = values.view(count, height, size * channels)
        values = _as_bytes(_weights(height, size, images.device) @ rows).view(count, size, size, channels)
    return values


def bicubic_matrix(source: int, target: int) -> npt.NDArray[np.float64]:
    """Weights [target, source] of PIL's antialiased bicubic along one side: every row sums to 1.

    The kernel (Keys 1981, a = -0.5) is stretched by the scale when shrinking; at the borders it is cut and normalised.
    """
    scale = source / target
    stretch = max(scale, 1.0)
    centers = (np.arange(target) + 0.5) * scale
    pixels = np.arange(source)
    first = np.maximum(np.floor(centers - _SUPPORT * stretch + 0.5), 0)
    last = np.minimum(np.floor(centers + _SUPPORT * stretch + 0.5), source)
    weights = _cubic((pixels[None] + 0.5 - centers[:, None]) / stretch)
    weights[(pixels < first[:, None]) | (pixels >= last[:, None])] = 0.0
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel."""
    x = np.abs(x)
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * _A - 4 * _A
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


@functools.lru_cache(maxsize=32)
def _weights(source: int, target: int, device: torch.device) -> Tensor:
    return torch.from_numpy(bicubic_matrix(source, target)).to(device, torch.float32)


def _as_bytes(values: Tensor) -> Tensor:
    """What storing the values as uint8 leaves of them, in place: PIL keeps each pass in bytes, halves rounded up."""
    return values.add_(0.5).floor_().clamp_(0, 255)
