"""Spreads, differences and their intervals agree with published worked examples, with scipy and with simulation."""

import math
import time

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tinyablate.tables import stats

# Student's sleep data (Cushny & Peebles 1905; Student 1908), as in R's `sleep`: ten patients under two drugs.
DRUG_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
DRUG_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])

seeds = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=2, max_size=12)


def test_paired_interval_is_students():
    """Student's own example: mean 1.58, and R's `t.test(paired = TRUE)` gives 0.7001142 to 2.4598858."""
    found = stats.paired(DRUG_2, DRUG_1)
    assert int(found.n) == 10
    assert float(found.value) == pytest.approx(1.58)
    assert (float(found.low), float(found.high)) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)


def test_welch_interval_is_that_of_r():
    """R's `t.test(extra ~ group)` on the same data gives -3.3654832 to 0.2054832 on 17.776 degrees of freedom."""
    found = stats.welch(DRUG_1, DRUG_2)
    assert (float(found.low), float(found.high)) == pytest.approx((-3.3654832, 0.2054832), abs=1e-7)


def test_quantiles_are_those_of_the_printed_table():
    """t at 0.975 for 1, 2, 5 and 9 degrees of freedom, as in every textbook's table; none for 0."""
    assert stats.t_quantile(np.array([1, 2, 5, 9])) == pytest.approx([12.706, 4.303, 2.571, 2.262], abs=5e-4)
    assert np.isnan(stats.t_quantile(np.array([0]))).all()


@given(seeds)
def test_spread_agrees_with_scipy(values):
    """Mean and sd are scipy's, and the order of the seeds does not matter beyond rounding."""
    found = stats.spread(np.array(values))
    assert float(found.mean) == pytest.approx(scipy.stats.tmean(values), abs=1e-9)
    assert float(found.sd) == pytest.approx(np.std(values, ddof=1), abs=1e-9)


def test_paired_and_welch_agree_with_scipy_on_a_table():
    """A whole (rows, columns, seeds) array gives, cell by cell, what scipy.stats gives for each cell alone."""
    random = np.random.default_rng(0)
    arms, reference = random.normal(90, 1, (3, 2, 7)), random.normal(90, 2, (1, 2, 7))
    paired, welch = stats.paired(arms, reference), stats.welch(arms, reference)
    for row, column in np.ndindex(3, 2):
        one, two = arms[row, column], reference[0, column]
        ends = scipy.stats.ttest_rel(one, two).confidence_interval()
        assert (paired.low[row, column], paired.high[row, column]) == pytest.approx((ends.low, ends.high))
        ends = scipy.stats.ttest_ind(one, two, equal_var=False).confidence_interval()
        assert (welch.low[row, column], welch.high[row, column]) == pytest.approx((ends.low, ends.high))
        assert stats.correlation(one, two) == pytest.approx(scipy.stats.pearsonr(one, two).statistic)


def test_only_common_seeds_are_paired():
    """A seed that one arm lacks does not enter the difference, whatever the other arm has there."""
    arm, reference = np.array([1.0, 2.0, np.nan, 50.0]), np.array([0.0, 0.5, 70.0, np.nan])
    found = stats.paired(arm, reference)
    assert (int(found.n), float(found.value)) == (2, 1.25)
    assert float(found.high) == pytest.approx(float(stats.paired(arm[:2], reference[:2]).high))


@pytest.mark.parametrize("pairs", [0, 1])
def test_no_interval_below_two_pairs(pairs):
    """One pair gives a difference without an interval, none gives nothing."""
    arm = np.where(np.arange(4) < pairs, 3.0, np.nan)
    found = stats.paired(arm, np.ones(4))
    assert math.isnan(found.value) == (pairs == 0)
    assert np.isnan([found.low, found.high]).all()


def test_no_welch_interval_from_a_single_run():
    """Without a spread on both sides there is no interval, only the difference."""
    found = stats.welch(np.array([1.0, np.nan]), np.array([0.0, 0.5]))
    assert float(found.value) == 0.75
    assert math.isnan(found.low)


@given(st.floats(-1e6, 1e6, allow_subnormal=False), st.integers(2, 12))
def test_equal_values_have_no_spread(value, n):
    """Seeds that agree exactly give exactly their value, sd 0 and intervals of width 0: no dust of rounding."""
    same = np.full(n, value)
    assert float(stats.spread(same).mean) == value
    assert float(stats.spread(same).sd) == 0
    paired, welch = stats.paired(same + 1, same), stats.welch(same, same)
    assert float(paired.low) == float(paired.high) == float((same + 1 - same)[0])
    assert float(welch.low) == float(welch.high) == 0


def test_correlation_needs_three_pairs_and_two_spreads():
    """Two points always lie on a line, and a constant has no correlation."""
    assert math.isnan(stats.correlation(np.array([1.0, 2.0, np.nan]), np.array([1.0, 3.0, 4.0])))
    assert math.isnan(stats.correlation(np.ones(5), np.arange(5.0)))


@pytest.mark.parametrize("n", [2, 3, 6])
def test_paired_intervals_cover(n):
    """95 % of 20,000 simulated tables hold the true difference, seeds being shared noise (s.e. 0.15 points)."""
    random = np.random.default_rng(n)
    shared = random.normal(0, 2, (20_000, n))
    arm, reference = shared + random.normal(0.3, 1, (20_000, n)), shared + random.normal(0, 1, (20_000, n))
    found = stats.paired(arm, reference)
    assert np.mean((found.low <= 0.3) & (found.high >= 0.3)) == pytest.approx(0.95, abs=0.006)


def test_welch_intervals_cover_unequal_variances():
    """4 seeds of fivefold variance against 8: Welch covers 94 %, where Student's pooled interval covers 87 %."""
    random = np.random.default_rng(1)
    arm, reference = random.normal(0.3, 5**0.5, (20_000, 4)), random.normal(0, 1, (20_000, 8))
    found = stats.welch(arm, reference)
    assert np.mean((found.low <= 0.3) & (found.high >= 0.3)) == pytest.approx(0.94, abs=0.006)
    pooled = scipy.stats.ttest_ind(arm, reference, axis=1).confidence_interval()
    assert np.mean((pooled.low <= 0.3) & (pooled.high >= 0.3)) < 0.88


def test_prediction_interval_of_a_worked_example():
    """Hahn & Meeker's five readings (mean 50.10, sd 1.31): one more falls into 46.1 to 54.1 in 95 % of the cases."""
    low, high = stats.prediction(np.array([51.4, 49.5, 48.7, 49.3, 51.6, np.nan]))
    assert (float(low), float(high)) == pytest.approx((46.1, 54.1), abs=0.05)
    assert np.isnan(stats.prediction(np.array([[1.0, np.nan], [np.nan, np.nan]]))).all()


def test_equivalence_is_two_one_sided_tests():
    """p is the larger one of scipy's two one-sided p, and below 5 % just where the 90 % interval is inside."""
    random = np.random.default_rng(3)
    differences = random.normal(0.05, 0.15, (200, 5))
    found = stats.equivalent_p(differences, 0.2)
    above = scipy.stats.ttest_1samp(differences, -0.2, axis=1, alternative="greater")
    below = scipy.stats.ttest_1samp(differences, 0.2, axis=1, alternative="less")
    assert found == pytest.approx(np.maximum(above.pvalue, below.pvalue))
    ends = scipy.stats.ttest_1samp(differences, 0, axis=1).confidence_interval(0.90)
    inside = (ends.low > -0.2) & (ends.high < 0.2)
    assert (found <= 0.05).tolist() == inside.tolist()
    assert 0 < inside.sum() < 200


def test_equivalence_at_its_ends():
    """Equal differences decide without noise, on the margin against; one value or none decides nothing."""
    nan = np.nan
    found = stats.equivalent_p(np.array([[0.1, 0.1], [0.2, 0.2], [-0.3, -0.3], [0.1, nan], [nan, nan]]), 0.2)
    assert found[:3].tolist() == [0, 1, 1]
    assert np.isnan(found[3:]).all()
    assert np.isnan(stats.equivalent_p(np.array([[nan, 1.0]]), 0.2)).all()


def test_a_large_table_is_fast():
    """10,000 cells of 10 seeds take no loop over cells: all four together well below a second (about 10 ms)."""
    values = np.random.default_rng(0).normal(size=(10_000, 10))
    start = time.perf_counter()
    stats.spread(values)
    stats.paired(values, values[:1])
    stats.prediction(values)
    stats.equivalent_p(values, 0.5)
    assert time.perf_counter() - start < 0.5
