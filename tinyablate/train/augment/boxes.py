"""Rectangles of random area and aspect ratio, tried until one fits, for Random Resized Crop and Random Erasing.

Where they lie in the image is not drawn here.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tinyablate.train.randomness import Ids, Shown

TRIES = 10
"""Draws of area and ratio before a rectangle is given up (torchvision's and timm's number)."""

Floats = npt.NDArray[np.float64]


def first_fitting(
    shown: Shown,
    stream: str,
    draw: int,
    *,
    shares: tuple[float, float],
    ratios: tuple[float, float],
    area: Callable[[Floats, Ids], Floats],
    most: Ids,
) -> Ids:
    """Both sides of each image's first rectangle of 1 to `most` [2, n] pixels: int64 [2, n], 0 where no try fits.

    Try k takes the draws `draw` + 2k and `draw` + 2k + 1 of `stream`: a share uniform in `shares`, of which
    `area(share, places)` makes the pixels, float64 [k] of the images at `places` [k], and the first side's ratio to
    the second, log-uniform in `ratios`.
    """
    (least, greatest), (low, high) = shares, map(math.log, ratios)
    sides = np.zeros(most.shape, np.int64)
    for attempt in range(draw, draw + 2 * TRIES, 2):
        open_ = np.flatnonzero(sides[0] == 0)
        if not len(open_):
            break
        images = shown.take(open_)
        pixels = area(least + (greatest - least) * images.uniform(stream, attempt), open_)
        ratio = np.exp(low + (high - low) * images.uniform(stream, attempt + 1))
        tried = np.rint(np.sqrt([pixels * ratio, pixels / ratio])).astype(np.int64)
        fits = ((tried > 0) & (tried <= most[:, open_])).all(axis=0)
        sides[:, open_[fits]] = tried[:, fits]
    return sides
