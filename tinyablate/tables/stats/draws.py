"""Random numbers that are the same for ever: from a key, by Philox, whose stream numpy promises not to change.

numpy's generators may change how they turn bits into numbers from version to version (NEP 19); a table's p must not.
"""

import numpy as np
from numpy.typing import NDArray

from tinyablate.tables.stats.differences import Array


def words(key: int, count: int) -> NDArray[np.uint64]:
    """`count` words of 64 random bits. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011)."""
    return np.asarray(np.random.Philox(key=key).random_raw(count), dtype=np.uint64)


def uniform(key: int, count: int) -> Array:
    """`count` numbers inside (0, 1): multiples of 2^-53, plus a half of one so that no end is met."""
    return ((words(key, count) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
