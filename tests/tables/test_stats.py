"""The statistics agree with published worked examples, with scipy.stats and with simulation."""

import math

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


def test_least_p_counts_sign_patterns():
    """2/2^n: 0.25 at 3 seeds, and 6 is the first number of seeds that can reach 5 %."""
    assert [stats.least_p(n) for n in (0, 1, 3, 5, 6)] == [1, 1, 0.25, 0.0625, 0.03125]
    assert stats.least_pairs() == 6


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


def least_squares(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Arm effects, their covariance, residual sd and degrees of freedom of arm + seed + noise, written out."""
    arms, seeds = np.nonzero(~np.isnan(values))
    design = np.hstack([np.eye(values.shape[0])[arms], np.eye(values.shape[1])[seeds][:, 1:]])
    y = values[arms, seeds]
    effects, *_ = np.linalg.lstsq(design, y, rcond=None)
    freedom = len(y) - design.shape[1]
    sd = float(np.sqrt(((y - design @ effects) ** 2).sum() / freedom))
    k = values.shape[0]
    return effects[:k], (np.linalg.inv(design.T @ design) * sd**2)[:k, :k], sd, freedom


@pytest.mark.parametrize("missing", [0, 3])
def test_best_agrees_with_least_squares(missing):
    """Best arm, sd, degrees of freedom and every verdict are those of the linear model fitted by numpy, gaps or not."""
    random = np.random.default_rng(missing)
    values = random.normal(90, 1, (6, 4)) + random.normal(0, 3, 4) + np.linspace(0, 4, 6)[:, None]
    values[random.permutation(6)[:missing], random.permutation(4)[:missing]] = np.nan
    effects, covariance, sd, freedom = least_squares(values)
    found = stats.best_of(values)
    assert (found.index, found.freedom, found.balanced) == (int(np.argmax(effects)), freedom, missing == 0)
    assert found.sd == pytest.approx(sd)
    at, variance = found.index, np.diag(covariance)
    error = np.sqrt(variance + variance[at] - 2 * covariance[at])
    close = effects[at] - effects <= scipy.stats.t.ppf(1 - 0.05 / 5, freedom) * error
    close[at] = False
    assert found.close.tolist() == close.tolist()
    assert 0 < close.sum() < 5  # both verdicts occur


def test_best_of_a_randomized_block_design():
    """With every value there, the standard error of a difference is that of the textbook: sqrt(2 s^2 / seeds)."""
    seeds = np.array([0.0, 5.0, -3.0])
    noise = np.array([[0.1, -0.1, 0.0], [-0.1, 0.0, 0.1], [0.0, 0.1, -0.1]])
    values = seeds + noise + np.array([[0.0], [0.2], [2.0]])
    found = stats.best_of(values)
    assert (found.index, found.freedom, found.sd) == (2, 4, pytest.approx(np.sqrt((noise**2).sum() / 4)))
    half = scipy.stats.t.ppf(1 - 0.05 / 2, 4) * np.sqrt(2 * found.sd**2 / 3)
    for gap, close in ((half * 0.999, True), (half * 1.001, False)):
        shifted = values + np.array([[0.0], [2.0 - 0.2 - gap], [0.0]])
        assert stats.best_of(shifted).close.tolist() == [False, close, False]


def test_best_from_little():
    """Without values there is no best; with one seed or one arm nothing is judged; an empty arm is never close."""
    assert stats.best_of(np.full((2, 3), np.nan)) is None
    one_seed = stats.best_of(np.array([[1.0], [3.0], [np.nan]]))
    assert (one_seed.index, one_seed.freedom, one_seed.close.any(), one_seed.arms) == (1, 0, np.False_, 2)
    assert stats.best_of(np.array([[1.0, 2.0]])).freedom == 0
    found = stats.best_of(np.array([[1.0, 2.0], [np.nan, np.nan], [1.5, 1.4]]))
    assert (found.index, found.close.tolist()) == (0, [False, False, True])


def test_best_without_common_seeds():
    """Arms that no chain of common seeds joins with the best cannot be separated from it, however far they lie."""
    nan = np.nan
    apart = np.array([[9.0, 9.1, nan, nan], [7.0, 7.2, nan, nan], [nan, nan, 1.0, 1.1], [nan, nan, 0.9, 1.1]])
    found = stats.best_of(apart)
    assert (found.index, found.close.tolist()) == (0, [False, False, True, True])


def test_equal_arms_are_close():
    """Arms that agree exactly on every seed are not separated by the dust of rounding."""
    found = stats.best_of(np.tile(np.array([91.1, 90.3, 91.7]), (4, 1)))
    assert (found.index, found.close.tolist()) == (0, [False, True, True, True])


@pytest.mark.parametrize(("arms", "seeds"), [(12, 3), (4, 2)])
def test_true_best_is_kept(arms, seeds):
    """In 1,000 simulated tables the true best is best or close in at least 95 % (s.e. 0.7 points), a far one rarely."""
    random = np.random.default_rng(arms)
    truth = np.concatenate([[0.3], np.zeros(arms - 2), [-8.0]])
    kept = far = 0
    for _ in range(1000):
        values = truth[:, None] + random.normal(0, 2, seeds) + random.normal(0, 1, (arms, seeds))
        found = stats.best_of(values)
        kept += found.index == 0 or bool(found.close[0])
        far += bool(found.close[-1])
    assert kept / 1000 >= 0.95 - 0.01
    assert far / 1000 < 0.02
