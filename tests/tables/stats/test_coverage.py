"""What intervals and tests promise, by simulation: levels that hold, and the ones that do not, as their docs say."""

import numpy as np
import pytest
from benchmarks.arms import KINDS, arms, covers

from tinyablate.tables import stats

TABLES = 12_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [3, 6, 10])
def test_intervals_cover(kind, n):
    """Paired t, Welch and prediction intervals of 95 % cover 93 to 97 % of what they are for (s.e. 0.2 points)."""
    random = np.random.default_rng([n, KINDS.index(kind)])
    values, others = arms(kind, random, TABLES, 2, n), arms(kind, random, TABLES, 2, n)
    more = arms(kind, random, TABLES, 2, 1)[..., 0]
    paired, welch = stats.paired(values[:, 1], values[:, 0]), stats.welch(values[:, 1], others[:, 0])
    low, high = stats.prediction(values)
    assert 0.93 <= covers(paired.low, paired.high).mean() <= 0.97
    assert 0.93 <= covers(welch.low, welch.high).mean() <= 0.97 + 0.005  # heavy tails: up to 97.2
    assert 0.93 <= np.mean((low <= more) & (more <= high)) <= 0.97


@pytest.mark.parametrize("kind", ["correlated", "discrete", "heavy tails"])
def test_pooled_intervals_cover(kind):
    """3 seeds, 6 rows of one variance: pooled intervals cover 93 to 97 %, and have 0.6 of the paired ones' width."""
    random = np.random.default_rng(KINDS.index(kind))
    values = arms(kind, random, 600, 6, 3)
    pools = [stats.pooled(table, [None, 0, 0, 0, 0, 0]) for table in values]
    low, high = (np.array([getattr(pool, end)[1:] for pool in pools]) for end in ("low", "high"))
    paired = stats.paired(values[:, 1:], values[:, :1])
    assert 0.93 <= covers(low, high).mean() <= 0.97
    assert np.mean(high - low) < 0.65 * np.mean(paired.high - paired.low)


def test_pooling_unequal_variances_is_unfair():
    """10 seeds, one of 6 rows of threefold sd: its pooled interval covers 83 %; the check sees it in 3 of 4 tables."""
    random = np.random.default_rng(5)
    sd = np.array([1, 1, 1, 1, 1, 3.0])[:, None]
    covered, unfair = [], []
    for table in random.normal(0, 1, (600, 6, 10)) * sd:
        pool = stats.pooled(table, [None, 0, 0, 0, 0, 0])
        covered.append(covers(pool.low[1:], pool.high[1:]))
        unfair.append(pool.p_fair <= 0.05)
    rows = np.mean(covered, axis=0)
    assert rows[-1] == pytest.approx(0.83, abs=0.045)
    assert (rows[:-1] > 0.97).all()
    assert np.mean(unfair) == pytest.approx(0.76, abs=0.055)


@pytest.mark.parametrize("n", [3, 6])
def test_the_check_of_pooling_keeps_its_level(n):
    """It calls fair tables unfair in 5 %, discrete ones too (800 tables: s.e. 0.8 points)."""
    for kind in ("correlated", "discrete"):
        tables = arms(kind, np.random.default_rng(n), 800, 6, n)
        unfair = [stats.pooled(table, [None] * 6).p_fair <= 0.05 for table in tables]
        assert np.mean(unfair) == pytest.approx(0.05, abs=0.023)


@pytest.mark.parametrize(("kind", "n", "k"), [("discrete", 6, 10), ("unequal", 8, 5), ("heavy tails", 8, 10)])
def test_false_claims_are_rare(kind, n, k):
    """Any better or worse where no row differs, or among those that do not: at most 5 % of 800 tables (s.e. 0.77)."""
    random = np.random.default_rng([n, k])
    claimed = among = alone = 0
    for table in arms(kind, random, 800, k + 1, n):
        differences = table[1:] - table[0]
        paired, p = stats.paired(table[1:], table[:1]), stats.max_t(differences)
        found = [
            stats.verdict(paired.low[r], paired.high[r], n, p[r], None, "max", None, stats.least_pairs(k), None, k, 2)
            for r in range(k)
        ]
        claimed += any(one.kind in ("better", "worse") for one in found)
        alone += bool(((paired.low > 0) | (paired.high < 0)).any())
        differences[::2] += 2
        among += bool((stats.max_t(differences)[1::2] <= 0.05).any())
    assert claimed / 800 <= 0.05 + 0.0154  # two standard errors
    assert among / 800 <= 0.05 + 0.0154
    assert alone / 800 > 0.12  # what the intervals alone would claim


def test_stein_keeps_its_level_and_its_width():
    """3 seeds, then up to 40 for a half width of 1.2 sd: 95 % are covered, where the plain t interval covers less."""
    random = np.random.default_rng(9)
    differences = random.normal(0, 1, (5000, 40))
    total = np.array([stats.stein(row[:3], 1.2, 40) for row in differences])
    taken = np.where(np.arange(40) < total[:, None], differences, np.nan)
    found = stats.stein_interval(taken, 3)
    assert covers(found.low, found.high).mean() == pytest.approx(0.95, abs=0.009)
    reached = total < 40
    assert ((found.high - found.low)[reached] / 2 <= 1.2 + 1e-9).all()
    naive = stats.paired(taken, np.zeros(1))
    assert covers(naive.low, naive.high).mean() < 0.94


@pytest.mark.parametrize(("kind", "least", "most"), [("correlated", 0.915, 0.955), ("heavy tails", 0.88, 0.93)])
def test_bca_covers_less_than_it_says(kind, least, most):
    """At 30 values 95 % BCa intervals cover about 93.5 % of normal means and 91 % of heavy-tailed ones (s.e. 1)."""
    values = arms(kind, np.random.default_rng(1), 700, 2, 30)
    ends = np.array([stats.bca(row, resamples=1000) for row in values[:, 1] - values[:, 0]])
    assert least <= covers(ends[:, 0], ends[:, 1]).mean() <= most
