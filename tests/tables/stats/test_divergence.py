"""Rates of failure agree with Newcombe's published examples and with scipy."""

import math

import numpy as np
import pytest
import scipy.stats

from tinyablate.tables import stats


@pytest.mark.parametrize(
    ("counts", "ends"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.0582, 0.8062)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
        ((0, 10, 0, 10), (-0.2775, 0.2775)),
        ((10, 10, 0, 20), (0.6791, 1.0000)),
        ((10, 10, 0, 10), (0.6075, 1.0000)),
    ],
)
def test_intervals_are_newcombes(counts, ends):
    """Newcombe (1998), Table II, method 10: all eight of his examples."""
    found = stats.rates(*counts)
    assert (found.low, found.high) == pytest.approx(ends, abs=5e-5)
    assert found.difference == pytest.approx(counts[0] / counts[1] - counts[2] / counts[3])


def test_fishers_tea_and_scipy():
    """The lady who finds 3 of 4 cups has p = 0.4857; other tables, scarce ones too, have scipy's p."""
    assert stats.rates(3, 4, 1, 4).p == pytest.approx(0.4857, abs=5e-5)
    random = np.random.default_rng(0)
    for n_a, n_b in random.integers(1, 30, (40, 2)):
        a, b = int(random.integers(0, n_a + 1)), int(random.integers(0, n_b + 1))
        theirs = scipy.stats.fisher_exact([[a, n_a - a], [b, n_b - b]]).pvalue
        assert stats.rates(a, int(n_a), b, int(n_b)).p == pytest.approx(theirs)


def test_no_rate_without_trials():
    """Where a row has no trial there is nothing to compare."""
    assert math.isnan(stats.rates(0, 0, 1, 3).difference)
    assert math.isnan(stats.rates(1, 3, 0, 0).p)


def test_newcombes_intervals_cover():
    """At 6 trials a row, rates of 5 to 50 % on either side: all outcomes weighed, 94 to 99.9 % of them are covered."""
    ends = {(a, b): stats.rates(a, 6, b, 6) for a in range(7) for b in range(7)}
    for p, q in [(0.05, 0.05), (0.05, 0.3), (0.2, 0.2), (0.5, 0.2), (0.5, 0.5)]:
        chance = {at: scipy.stats.binom.pmf(at[0], 6, p) * scipy.stats.binom.pmf(at[1], 6, q) for at in ends}
        covered = sum(chance[at] for at, one in ends.items() if one.low <= p - q <= one.high)
        assert 0.94 <= covered <= 1.0
