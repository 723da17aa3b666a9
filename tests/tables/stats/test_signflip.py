"""Sign-flip tests agree with Fisher's own example and with plain enumeration, and keep what they promise."""

import itertools
import time

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tinyablate.tables import stats
from tinyablate.tables.stats import signflip

# Darwin's maize in eighths of an inch: crossed less self-fertilised, 15 pairs (Fisher 1935, section 17).
MAIZE = np.array([[49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48.0]])

nan = np.nan


def enumerated(differences: np.ndarray) -> list[float]:
    """Step-down max-T over all 2^n patterns, written out: the t of scipy in each, one row after the other."""
    n = differences.shape[1]
    signs = np.array(list(itertools.product([1, -1], repeat=n)))
    t = np.abs(scipy.stats.ttest_1samp(signs[:, None, :] * differences, 0, axis=2).statistic)  # identity first
    left, p, before = list(range(len(differences))), [0.0] * len(differences), 0.0
    while left:
        row = max(left, key=lambda one: t[0, one])
        before = max(before, float(np.mean(t[:, left].max(axis=1) >= t[0, row] * (1 - 1e-9))))
        p[row] = before
        left.remove(row)
    return p


def test_fishers_own_example():
    """Of 2^15 sign patterns of Darwin's pairs, 863 give a sum of 314 or more: p = 2 * 863 / 32768, 5.267 %."""
    assert stats.sign_flip(MAIZE) == pytest.approx([2 * 863 / 32768], abs=1e-12)
    assert stats.max_t(MAIZE) == pytest.approx([2 * 863 / 32768], abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(4, 6), (3, 8)])
def test_joint_flips_agree_with_enumeration(k, n):
    """Adjusted p of correlated rows, one of them different, are those of the algorithm written out."""
    random = np.random.default_rng(n)
    differences = random.normal(0, 1, (k, n)) + random.normal(0, 1, n)
    differences[1] += 2
    found = stats.max_t(differences)
    assert found == pytest.approx(enumerated(differences), abs=1e-12)
    assert len(set(found)) > 1


@settings(max_examples=40)
@given(arrays.arrays(np.float64, (1, 7), elements=st.integers(-5, 5).map(lambda step: step / 100)))
def test_one_row_has_nothing_to_adjust_for(differences):
    """Of a single row, discrete and with ties and zeros, the joint p is its own, as scipy's permutation test has it."""
    own = stats.sign_flip(differences)
    assert stats.max_t(differences) == pytest.approx(own, abs=1e-12)
    whole = np.rint(differences[0] * 100)  # in whole numbers equal sums are equal
    theirs = scipy.stats.permutation_test([whole], np.sum, permutation_type="samples", n_resamples=np.inf)
    assert own == pytest.approx([theirs.pvalue], abs=1e-12)


def test_least_p_counts_sign_patterns():
    """2/2^n: 0.25 at 3 seeds, and 6 is the first number of seeds that can reach 5 %, for any k; Holm needs more."""
    assert [stats.least_p(n) for n in (0, 1, 3, 5, 6)] == [1, 1, 0.25, 0.0625, 0.03125]
    assert [stats.least_pairs(k) for k in (1, 10, 1000)] == [6, 6, 6]
    assert [stats.least_pairs(k, "holm") for k in (1, 2, 5, 10, 100)] == [6, 7, 8, 9, 12]


@pytest.mark.parametrize("n", [2, 3, 5, 6, 10])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_the_floor_is_the_same_for_any_number_of_rows(k, n):
    """Rows that differ on every seed by far more than the seeds do all have p = 2 / 2^n, as one row has."""
    differences = 10 + np.random.default_rng(n).normal(0, 0.01, (k, n))
    assert stats.max_t(differences) == pytest.approx(np.full(k, 2 / 2**n), abs=1e-12)


@given(arrays.arrays(np.float64, (4, 6), elements=st.floats(-10, 10).map(lambda value: round(value, 2))))
def test_adjusting_never_lowers_p(differences):
    """Adjusted p are at least the row's own and at least the floor, and ranked as |t| is."""
    adjusted, own = stats.max_t(differences), stats.sign_flip(differences)
    assert (adjusted >= own - 1e-12).all()
    assert (adjusted >= 2 / 2**6 - 1e-12).all()
    assert (adjusted <= 1).all()


def test_rows_without_spread():
    """Equal differences have an infinite t and the least p; differences of 0 everywhere have p = 1; no warning."""
    differences = np.array([[0.3] * 6, [0.0] * 6, [0.1, -0.1, 0.2, -0.2, 0.1, -0.2], [-0.7] * 6])
    found = stats.max_t(differences)
    assert found[[0, 3]] == pytest.approx([1 / 32, 1 / 32])
    assert found[1] == 1.0
    assert stats.sign_flip(differences)[[0, 1]] == pytest.approx([1 / 32, 1.0])


def test_rows_use_their_own_seeds():
    """A seed that a row lacks does not count in it, and a row without values has no p and is not in the way."""
    random = np.random.default_rng(1)
    differences = random.normal(0.5, 1, (3, 8))
    differences[1, 6:] = nan
    with_empty = np.insert(differences, 1, nan, axis=0)
    alone = [float(stats.sign_flip(row[~np.isnan(row)][None])[0]) for row in differences]
    assert stats.sign_flip(differences) == pytest.approx(alone)
    found = stats.max_t(with_empty)
    assert np.isnan(found).tolist() == [False, True, False, False]
    assert found[[0, 2, 3]] == pytest.approx(stats.max_t(differences))
    assert np.isnan(stats.max_t(np.full((2, 3), nan))).all()
    assert stats.max_t(np.empty((0, 4))).shape == (0,)


def test_short_rows_do_not_hide_long_ones():
    """Rows of 3 pairs, whose t is huge in a quarter of all patterns, cost rows of 10 pairs nothing and stay at 25 %."""
    random = np.random.default_rng(2)
    long = random.normal(1.2, 1, (2, 10))
    short = np.full((3, 10), nan)
    short[:, :3] = 5 + random.normal(0, 0.001, (3, 3))
    single = np.full((1, 10), nan)
    single[0, 4] = 3.0
    found = stats.max_t(np.concatenate([long, short, single]))
    assert found[:2] == pytest.approx(stats.max_t(long))
    assert found[2:5] == pytest.approx([0.25] * 3)
    assert found[5] == 1.0


def test_unequal_degrees_of_freedom_meet_on_one_scale():
    """A t of 4 says more with 12 pairs than with 6: the row of 12 comes first though its t is a little smaller."""
    deviates = np.array([-1.5, -0.5, 0.5, 1.5, -1.0, 1.0])
    few = np.concatenate([deviates - deviates.mean() + 4.1 * deviates.std(ddof=1) / 6**0.5, np.full(6, nan)])
    many = np.tile(deviates, 2)
    many = many - many.mean() + 4.0 * many.std(ddof=1) / 12**0.5
    t = scipy.stats.ttest_1samp(np.stack([few, many]), 0, axis=1, nan_policy="omit").statistic
    assert t == pytest.approx([4.1, 4.0])
    found = stats.max_t(np.stack([few, many]))
    assert found[1] < found[0]


def test_many_seeds_draw_patterns():
    """Above 15 seeds p is that of 10,000 drawn patterns: near the exact one, above 0, and the same every time."""
    random = np.random.default_rng(3)
    differences = random.normal(0.4, 1, (3, 18))
    differences[2] = 5
    found = stats.sign_flip(differences)
    sums = np.zeros((3, 1))
    for seed in range(18):  # every pattern's sum, by doubling
        sums = np.concatenate([sums + differences[:, [seed]], sums - differences[:, [seed]]], axis=1)
    exact = (np.abs(sums) >= np.abs(differences.sum(axis=1, keepdims=True)) - 1e-9).mean(axis=1)
    assert found == pytest.approx(exact, abs=4 * (0.25 / 10_000) ** 0.5)  # four standard errors at most
    assert found[2] == pytest.approx(1 / 10_001)
    signflip._patterns.cache_clear()
    assert stats.max_t(differences).tolist() == stats.max_t(differences).tolist()
    assert stats.sign_flip(differences).tolist() == found.tolist()
    assert stats.max_t(random.normal(3, 1, (2, 130))) == pytest.approx([1 / 10_001] * 2)  # signs beyond a word


def test_holm_of_a_worked_example():
    """Holm's own steps: 0.01, 0.02, 0.03, 0.04 become 0.04, 0.06, 0.06, 0.06 in any order, nan not counted."""
    assert stats.holm(np.array([0.03, nan, 0.01, 0.04, 0.02])) == pytest.approx(
        [0.06, nan, 0.04, 0.06, 0.06], nan_ok=True
    )
    assert stats.holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert np.isnan(stats.holm(np.array([nan]))).all()


@pytest.mark.parametrize(("k", "n", "limit"), [(100, 10, 0.05), (1000, 12, 1.0)])
def test_joint_flips_are_fast(k, n, limit):
    """100 rows of 10 seeds within 50 ms, 1,000 of 12 within a second (measured: 1 and 40 ms)."""
    differences = np.random.default_rng(0).normal(size=(k, n))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        stats.max_t(differences)
        times.append(time.perf_counter() - start)
    assert min(times) < limit


def test_the_unit_does_not_matter():
    """Differences so small or so large that their squares are no numbers have the p of any other unit."""
    differences = np.random.default_rng(4).normal(0.5, 1, (3, 7))
    for unit in (1e-170, 1e170):
        assert stats.max_t(unit * differences) == pytest.approx(stats.max_t(differences))
