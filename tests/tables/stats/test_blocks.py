"""Rows with seeds as blocks: the best one, and differences under one pooled variance."""

import time

import numpy as np
import pytest
import scipy.stats

from tinyablate.tables import stats

# Box, Hunter & Hunter, "Statistics for Experimenters" (1978), 7.1: yield of penicillin, 4 treatments by 5 blends.
PENICILLIN = np.array([[89, 84, 81, 87, 79], [88, 77, 87, 92, 81], [97, 92, 87, 89, 80], [94, 79, 85, 84, 88.0]])


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


def test_pooled_interval_of_a_worked_example():
    """Penicillin: treatment means 84, 85, 89, 86, and a residual mean square of 226 / 12 = 18.83 on 12 degrees."""
    found = stats.pooled(PENICILLIN, [None, 0, 0, 0])
    assert found.value[1:] == pytest.approx([1, 5, 2])
    assert (found.sd**2, found.freedom, found.n.tolist()) == (pytest.approx(226 / 12), 12, [0, 5, 5, 5])
    half = scipy.stats.t.ppf(0.975, 12) * np.sqrt(2 * 226 / 12 / 5)
    assert found.high - found.value == pytest.approx([np.nan, half, half, half], nan_ok=True)
    assert found.value - found.low == pytest.approx([np.nan, half, half, half], nan_ok=True)


@pytest.mark.parametrize("missing", [2, 6])
def test_pooled_agrees_with_least_squares(missing):
    """With seeds missing, values and ends are those of the linear model fitted by numpy, for any reference."""
    random = np.random.default_rng(missing)
    values = random.normal(90, 1, (5, 6)) + random.normal(0, 3, 6)
    values[random.integers(0, 5, missing), random.permutation(6)[:missing]] = np.nan
    references = [None, 0, 0, 2, 2]
    found = stats.pooled(values, references)
    effects, covariance, sd, freedom = least_squares(values)
    assert (found.sd, found.freedom) == (pytest.approx(sd), freedom)
    for row, to in enumerate(references):
        if to is None:
            assert np.isnan([found.value[row], found.low[row], found.high[row]]).all()
            continue
        assert found.n[row] == (~np.isnan(values[row]) & ~np.isnan(values[to])).sum()
        half = covariance[row, row] + covariance[to, to] - 2 * covariance[row, to]
        half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(half)
        assert found.value[row] == pytest.approx(effects[row] - effects[to])
        assert (found.low[row], found.high[row]) == pytest.approx((found.value[row] - half, found.value[row] + half))


def test_pooled_of_two_rows_is_paired():
    """With a row and its reference alone, nothing is pooled: it is the paired t interval."""
    values = np.array([[1.0, 2.0, 4.0, 3.0], [1.5, 2.0, 5.5, 3.0]])
    found, paired = stats.pooled(values, [None, 0]), stats.paired(values[1], values[0])
    assert (found.low[1], found.high[1]) == pytest.approx((float(paired.low), float(paired.high)))
    assert np.isnan(found.p_fair)


def test_pooled_from_little():
    """No value, one seed, an empty row, rows without common seeds: what is not defined is nan, the rest is there."""
    nan = np.nan
    none = stats.pooled(np.full((2, 3), nan), [None, 0])
    assert (none.n.tolist(), none.freedom, np.isnan(none.value).all()) == ([0, 0], 0, np.True_)
    one_seed = stats.pooled(np.array([[1.0], [3.0]]), [None, 0])
    assert (one_seed.value[1], one_seed.freedom) == (2.0, 0)
    assert np.isnan([one_seed.low[1], one_seed.sd, one_seed.p_fair]).all()
    empty = stats.pooled(np.array([[1.0, 2.0, 3.5], [nan, nan, nan], [2.0, 3.5, 4.0]]), [None, 0, 0])
    assert np.isnan(empty.value).tolist() == [True, True, False]
    apart = np.array([[9.0, 9.1, nan, nan], [7.0, 7.2, nan, nan], [nan, nan, 1.0, 1.1], [nan, nan, 0.9, 1.1]])
    found = stats.pooled(apart, [None, 0, 0, 2])
    assert np.isnan(found.value).tolist() == [True, False, True, False]
    assert np.isnan(found.low).tolist() == [True, False, True, False]


def test_variances_that_differ_make_pooling_unfair():
    """One row of tenfold noise is found at 10 seeds; equal noise is not; rows without any noise are equal."""
    random = np.random.default_rng(4)
    values = random.normal(0, 3, 10) + random.normal(0, 1, (6, 10))
    assert stats.pooled(values, [None] * 6).p_fair > 0.2
    values[2] += random.normal(0, 10, 10)
    assert stats.pooled(values, [None] * 6).p_fair <= 0.001
    assert stats.pooled(np.tile([1.0, 2.0, 4.5], (4, 1)), [None] * 4).p_fair == 1.0


def test_fairness_has_the_p_of_its_simulation():
    """p_fair is where scipy's F of the absolute residuals lies among the F of 4,000 tables of noise."""
    random = np.random.default_rng(5)

    def levene(tables):
        away = tables - tables.mean(axis=2, keepdims=True) - tables.mean(axis=1, keepdims=True)
        away += tables.mean(axis=(1, 2), keepdims=True)
        return scipy.stats.f_oneway(*np.abs(away).transpose(1, 0, 2), axis=1).statistic

    values = random.normal(0, 1, (5, 4)) * np.array([[1], [1], [2], [1], [0.5]])
    p = np.mean(levene(random.normal(0, 1, (4000, 5, 4))) >= levene(values[None]))
    assert 0.05 < p < 0.95  # a place where the two could disagree
    assert stats.pooled(values, [None] * 5).p_fair == pytest.approx(p, abs=0.035)  # 3 standard errors of both


def test_fairness_is_the_same_every_time():
    """Also when nothing is remembered from a table of the same shape, and with values missing."""
    from tinyablate.tables.stats import blocks

    values = np.random.default_rng(6).normal(0, 1, (6, 5))
    values[2, 3] = np.nan
    first = stats.pooled(values, [None] * 6).p_fair
    blocks._simulated.cache_clear()
    assert stats.pooled(values, [None] * 6).p_fair == first
    assert 0 < first < 1


def test_pooling_a_large_table_is_fast():
    """1,000 rows of 10 seeds, with the check, within a second (measured: 0.1 s)."""
    values = np.random.default_rng(7).normal(size=(1000, 10))
    start = time.perf_counter()
    stats.pooled(values, [None, *[0] * 999])
    assert time.perf_counter() - start < 1
