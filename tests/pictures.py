"""Images that show what an operation does wrong, for the tests of colours and warps."""

import numpy as np


def pictures(height: int, width: int) -> np.ndarray:
    """Noise, saturated areas, hard edges, a gradient, one colour, white; a constant channel, few levels, black.

    uint8 [9, H, W, 3], in this order.
    """
    generator = np.random.default_rng(height * 1000 + width)
    y, x = np.mgrid[:height, :width]
    noise = generator.integers(0, 256, (height, width, 3))
    saturated = np.where(noise < 90, 0, np.where(noise > 160, 255, noise))
    edges = np.where(((x // 5 + y // 7) % 2)[..., None] > 0, 255, [0, 3, 90])
    smooth = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1)
    flat = np.broadcast_to([7, 255, 130], noise.shape)
    white, black = np.full_like(noise, 255), np.zeros_like(noise)
    one_channel, narrow = np.where([True, False, True], noise, 200), 100 + noise // 16
    return np.stack([noise, saturated, edges, smooth, flat, white, one_channel, narrow, black]).astype(np.uint8)
