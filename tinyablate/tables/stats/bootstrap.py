"""Efron's BCa bootstrap interval of a mean, where there are values enough for it."""

import math

import numpy as np

from tinyablate.tables.stats import draws
from tinyablate.tables.stats.differences import LEVEL, Array

LEAST_VALUES = 30
"""Below, it covers too little. Simulated 95 % intervals cover 90 % of normal means at 10 values, 93.6 % at 30."""

_CHUNK = 1 << 21
"""Drawn values that are in memory at a time."""


def bca(values: Array, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Ends of the two-sided BCa interval, at `LEVEL`, of the mean of `values` (n,); nan are left out.

    Bias-corrected and accelerated: percentiles of the means of resamples, shifted by z0, the normal quantile of the
    share of them below the mean seen (ties count a half), and by the acceleration a, the skewness of the jackknife.
    At 30 values it still covers 93.6 % of normal means and 90.5 % under Student's t with 3 degrees of freedom, where a
    t interval covers 95 (`tests/benchmarks/bench_coverage.py`): it is for skewed values, and for images by thousands.
    Equal `seed` gives equal ends. Raises ValueError below `LEAST_VALUES` values. Values that are all equal give that
    value twice.

    Sources: Efron, Journal of the American Statistical Association 82 (1987), 171-185; Efron & Tibshirani, "An
    Introduction to the Bootstrap" (1993), 14.3, equations 14.10, 14.14 and 14.15.
    """
    from scipy.special import ndtr, ndtri

    x = values[~np.isnan(values)]
    if len(x) < LEAST_VALUES:
        raise ValueError(f"a BCa interval needs {LEAST_VALUES} values, not {len(x)}: use a t interval")
    mean, spread = float(x.mean()), x - x.mean()
    if (x == x[0]).all():
        return float(x[0]), float(x[0])
    acceleration = float((spread**3).sum() / (6 * (spread**2).sum() ** 1.5))
    means = _resampled(x, resamples, seed)
    dust = 1e-12 * float(np.abs(x).max())
    below = float((means < mean - dust).mean() + (means < mean + dust).mean()) / 2
    shift = ndtri(min(max(below, 0.5 / resamples), 1 - 0.5 / resamples))
    tails = shift + ndtri(np.array([1 - LEVEL, 1 + LEVEL]) / 2)
    low, high = np.quantile(means, ndtr(shift + tails / (1 - acceleration * tails)))
    return float(low), float(high)


def _resampled(x: Array, resamples: int, seed: int) -> Array:
    """Means of `resamples` samples of len(x) from `x`, with replacement."""
    some, means = max(1, _CHUNK // len(x)), []
    for part in range(math.ceil(resamples / some)):
        count = min(some, resamples - part * some)
        drawn = draws.uniform((seed << 32) + part, count * len(x))
        means.append(x[(drawn * len(x)).astype(np.intp)].reshape(count, len(x)).mean(axis=1))
    return np.concatenate(means)
