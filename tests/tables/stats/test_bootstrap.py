"""BCa intervals agree with scipy's."""

import time

import numpy as np
import pytest
import scipy.stats

from tinyablate.tables import stats


@pytest.mark.parametrize(("values", "n"), [("normal", 30), ("exponential", 40), ("lognormal", 200)])
def test_bca_is_scipys(values, n):
    """Both ends are scipy.stats.bootstrap's, whatever the skew, up to the resamples' own noise (3 % of the width)."""
    x = getattr(np.random.default_rng(n), values)(size=n)
    theirs = scipy.stats.bootstrap(
        (x,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    low, high = stats.bca(x, resamples=40_000)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.03 * (high - low))


def test_bca_leans_to_the_long_tail():
    """Of skewed data it reaches farther up than down, unlike a t interval, and is not the plain percentiles' one."""
    x = np.random.default_rng(0).exponential(size=30)
    low, high = stats.bca(x)
    assert high - x.mean() > 1.1 * (x.mean() - low)


def test_bca_needs_thirty_values():
    """29 values are refused, nan not counted."""
    with pytest.raises(ValueError, match="30 values, not 29"):
        stats.bca(np.append(np.arange(29.0), np.nan))


def test_bca_is_the_same_every_time():
    """Equal seeds give equal ends; another seed gives slightly different ones; nan change nothing."""
    x = np.random.default_rng(0).normal(size=35)
    assert stats.bca(x) == stats.bca(np.append(x, np.nan))
    assert stats.bca(x, seed=1) != stats.bca(x)


def test_bca_of_equal_values():
    """Without spread both ends are the value."""
    assert stats.bca(np.full(30, 0.1)) == (0.1, 0.1)


def test_bca_over_images():
    """Differences of 0 and ±1 over 10,000 images: close to the normal interval, and within seconds (measured: 1 s)."""
    x = np.random.default_rng(2).choice([-1.0, 0.0, 1.0], p=[0.03, 0.93, 0.04], size=10_000)
    start = time.perf_counter()
    low, high = stats.bca(x, resamples=2000)
    assert time.perf_counter() - start < 3
    half = 1.96 * x.std() / 100
    assert (low, high) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.1 * half)
