"""Planned seeds agree with published sample sizes and with scipy's noncentral t."""

import math

import pytest
import scipy.stats

from tinyablate.tables import stats


def power(effect: float, n: int, k: int) -> float:
    """Of the two-sided paired t test at level 5 % / k, on the right side alone: the other one is nothing."""
    bar = scipy.stats.t.ppf(1 - 0.05 / (2 * k), n - 1)
    return float(scipy.stats.nct.sf(bar, n - 1, effect * math.sqrt(n)))


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_cohens_effects_need_the_published_pairs(effect, pairs):
    """Small, medium and large effects: 199, 34 and 15 pairs, as G*Power and pwr.t.test (paired) give them."""
    assert stats.detect_pairs(effect, 1.0) == pairs


@pytest.mark.parametrize("k", [1, 10, 100])
@pytest.mark.parametrize("effect", [0.3, 1.0, 2.5, 20.0])
def test_pairs_are_the_smallest_that_do(effect, k):
    """By scipy's distribution, the number found has 80 % power at Bonferroni's level and one less has not."""
    n = stats.detect_pairs(effect * 0.3, 0.3, k)
    assert n >= 2
    assert power(effect, n, k) >= 0.8
    assert n == 2 or power(effect, n - 1, k) < 0.8


@pytest.mark.parametrize(("pairs", "k"), [(2, 1), (2, 1000), (3, 5), (6, 10), (30, 10)])
def test_what_pairs_detect_has_the_power(pairs, k):
    """The difference found has 80 % power by scipy's distribution, in the unit of the sd."""
    found = stats.detectable(0.3, pairs, k)
    assert power(found / 0.3, pairs, k) == pytest.approx(0.8, abs=1e-4)
    assert stats.detectable(0.3, pairs, k, power=0.9) > found


def test_what_cannot_be_planned():
    """Without a margin or a sd there is no number, nor where 10,000 pairs do not suffice."""
    assert stats.detect_pairs(float("nan"), 1.0) is None
    assert stats.detect_pairs(0.2, float("nan")) is None
    assert stats.detect_pairs(0.0, 1.0) is None
    assert stats.detect_pairs(0.2, 0.0) is None
    assert stats.detect_pairs(0.001, 1.0) is None
    assert math.isnan(stats.detectable(0.3, 1))
    assert math.isnan(stats.detectable(float("nan"), 5))
    assert stats.detectable(0.0, 5) == 0
