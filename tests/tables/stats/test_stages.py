"""Stein's two stages: the number of seeds, and an interval that keeps its level."""

import math

import numpy as np
import pytest
import scipy.stats

from tinyablate.tables import stats


@pytest.mark.parametrize(("half_width", "most", "total"), [(10.0, 50, 4), (1.0, 50, 17), (0.1, 50, 50), (1.0, 12, 12)])
def test_total_follows_the_first_stage(half_width, most, total):
    """sd 1.2910 at n0 = 4, t = 3.1824: (3.1824 * 1.2910 / 1)^2 = 16.88, so 17; at least n0, at most `most`."""
    assert stats.stein(np.array([1.0, 2.0, 3.0, 4.0]), half_width, most) == total


def test_total_is_exact_at_a_whole_number():
    """A half width that the first stage has already needs no more seeds."""
    first = np.array([0.3, 0.5, 0.4])
    half = scipy.stats.t.ppf(0.975, 2) * np.std(first, ddof=1) / math.sqrt(3)
    assert stats.stein(first, half, 12) == 3
    assert stats.stein(first, half * 0.999, 12) == 4


def test_little_is_asked_for_from_little():
    """Missing seeds are left out; below two values there is no sd to ask by; a width of 0 is refused."""
    nan = np.nan
    assert stats.stein(np.array([1.0, nan, 2.0, 3.0, 4.0]), 1.0, 50) == 17
    assert stats.stein(np.array([1.0, nan, nan]), 0.1, 12) == 3
    assert stats.stein(np.array([2.0, 2.0, 2.0]), 0.1, 12) == 3
    with pytest.raises(ValueError, match="above 0"):
        stats.stein(np.array([1.0, 2.0]), 0.0, 12)


def test_interval_has_the_first_stages_sd():
    """The middle is the mean of all values; width and degrees of freedom are the first stage's, over sqrt(n)."""
    values = np.array([[1.0, 2.0, 4.0, 2.5, 3.0, np.nan], [1.0, np.nan, 4.0, 2.5, 3.0, 2.0]])
    found = stats.stein_interval(values, 3)
    assert found.n.tolist() == [5, 5]
    assert found.value == pytest.approx([2.5, 2.5])
    half = [
        scipy.stats.t.ppf(0.975, 2) * np.std([1, 2, 4], ddof=1) / 5**0.5,
        scipy.stats.t.ppf(0.975, 1) * np.std([1, 4], ddof=1) / 5**0.5,
    ]
    assert found.high - found.value == pytest.approx(half)
    assert found.value - found.low == pytest.approx(half)


def test_without_a_second_stage_it_is_students():
    """Where the first stage sufficed, the interval is the ordinary one."""
    values = np.array([1.0, 2.0, 4.0])
    found, paired = stats.stein_interval(values, 3), stats.paired(values, np.zeros(1))
    assert (float(found.low), float(found.high)) == pytest.approx((float(paired.low), float(paired.high)))
