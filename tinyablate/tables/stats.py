"""The statistics of a table: spread over seeds, differences with their t intervals. Pure; knows no sweep and no layout.

Arrays hold one value per seed along the last axis, float64, nan where that seed has no value. A result is nan where it
is not defined (no value, or too few for a spread). The other axes are free, so that one call serves a whole table.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVEL = 0.95
"""Coverage of every interval."""

ALPHA = 0.05
"""What a test would have to reach; see `least_p`."""


@dataclass(frozen=True)
class Spread:
    """What the seeds of each cell say, shape (...)."""

    n: NDArray[np.int64]
    mean: Array
    sd: Array
    """Sample standard deviation (n - 1 in the denominator); nan below two values, exactly 0 where all are equal."""


@dataclass(frozen=True)
class Difference:
    """Arm minus reference with its interval, shape (...)."""

    n: NDArray[np.int64]
    """Seeds behind it: pairs where it is paired, values of the smaller side where it is not."""
    value: Array
    low: Array
    high: Array
    """Ends of the two-sided interval at `LEVEL`; nan where it cannot be computed."""


def spread(values: Array) -> Spread:
    """Mean and sample standard deviation over the last axis of `values` (..., seeds), in two passes.

    Source: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.1 (mean) and 1.3.5.6 (standard deviation).
    """
    here = ~np.isnan(values)
    n = here.sum(axis=-1)
    mean = _over(np.where(here, values, 0.0).sum(axis=-1), n)
    least = np.where(here, values, np.inf).min(axis=-1, initial=np.inf)
    greatest = np.where(here, values, -np.inf).max(axis=-1, initial=-np.inf)
    mean = np.where(least == greatest, least, mean)  # rounding must not give equal values a spread
    squares = (np.where(here, values - mean[..., None], 0.0) ** 2).sum(axis=-1)
    return Spread(n, mean, np.sqrt(_over(squares, n - 1)))


def paired(arm: Array, reference: Array) -> Difference:
    """Mean of arm - reference over the seeds that both have, with Student's t interval on n - 1 degrees of freedom.

    `arm` and `reference` broadcast to (..., seeds), seeds in one order. Sources: Student, "The probable error of a
    mean", Biometrika 6 (1908); NIST/SEMATECH e-Handbook 7.3.1.1 (paired) and 1.3.5.2 (interval of a mean).
    """
    one = spread(arm - reference)
    half = t_quantile(one.n - 1) * _over(one.sd, np.sqrt(one.n))
    return Difference(one.n, one.mean, one.mean - half, one.mean + half)


def welch(arm: Array, reference: Array) -> Difference:
    """Difference of the means of two independent sets of seeds, with Welch's t interval (variances may differ).

    Degrees of freedom: (a + b)^2 / (a^2 / (n_a - 1) + b^2 / (n_b - 1)) with a = sd_a^2 / n_a and b alike.
    Sources: Welch, Biometrika 34 (1947); Satterthwaite, Biometrics Bulletin 2 (1946); NIST/SEMATECH e-Handbook 7.3.1.
    """
    one, two = spread(arm), spread(reference)
    a, b = _over(one.sd**2, one.n), _over(two.sd**2, two.n)
    freedom = _over((a + b) ** 2, _over(a**2, one.n - 1) + _over(b**2, two.n - 1))
    quantile = t_quantile(np.where(a + b == 0, 1.0, freedom))  # two constants: no spread, so any quantile gives width 0
    value, half = one.mean - two.mean, quantile * np.sqrt(a + b)
    return Difference(np.minimum(one.n, two.n), value, value - half, value + half)


def correlation(arm: Array, reference: Array) -> Array:
    """Pearson's r between two arms over the seeds that both have; nan below three pairs or where one arm is constant.

    It says what pairing buys: the variance of a difference is sd_a^2 + sd_b^2 - 2 r sd_a sd_b.
    Source: NIST/SEMATECH e-Handbook, 6.5.4.1 (covariance and correlation).
    """
    both = ~np.isnan(arm - reference)
    one, two = spread(np.where(both, arm, np.nan)), spread(np.where(both, reference, np.nan))
    apart = (arm - one.mean[..., None]) * (reference - two.mean[..., None])
    product = _over(np.where(both, apart, 0.0).sum(axis=-1), one.n - 1)
    r = np.clip(_over(product, one.sd * two.sd), -1.0, 1.0)
    return np.where(one.n >= 3, r, np.nan)


@dataclass(frozen=True)
class Best:
    """Which of several arms is the best, and which ones noise cannot separate from it."""

    index: int
    """The arm with the highest mean, adjusted for the seeds that arms lack; of several, the first."""
    close: NDArray[np.bool_]
    """Shape (arms,): not separated from the best; False at the best itself, and everywhere while `freedom` is 0."""
    arms: int
    """Arms with a value."""
    sd: float
    """Of the noise, pooled over the arms; nan while `freedom` is 0."""
    freedom: int
    """Degrees of freedom of that sd; 0: nothing can be separated, as with a single seed."""
    balanced: bool
    """Every arm with a value has one for every seed; else means were adjusted."""


def best_of(values: Array) -> Best | None:
    """Hsu's multiple comparisons with the best over `values` (arms, seeds), higher is better; None without a value.

    The model is arm + seed + noise of one variance: each seed is a block. An arm is close to the best unless their
    difference exceeds t at 1 - ALPHA / (arms - 1) times its standard error, one-sided. Whatever the true best is, it
    is the best or close to it with a probability of at least LEVEL: Hsu's own constant is smaller than Bonferroni's t
    by a few per cent, and needs an integral.

    Sources: Hsu, Annals of Statistics 12 (1984), "Constrained simultaneous confidence intervals for multiple
    comparisons with the best"; Dunn, Journal of the American Statistical Association 56 (1961), for Bonferroni's t;
    NIST/SEMATECH e-Handbook 5.3.3.2 (randomized blocks); where seeds are missing, least squares with the arms
    eliminated: Searle, "Linear Models" (1971), 7.1.
    """
    arms, seeds = (~np.isnan(values)).any(axis=1), (~np.isnan(values)).any(axis=0)
    if not arms.any():
        return None
    y = values[arms][:, seeds]
    here = ~np.isnan(y)
    y, n = np.where(here, y, 0.0), here.sum(axis=1)
    share, mean = here / n[:, None], y.sum(axis=1) / n
    between = np.diag(here.sum(axis=0)) - here.T @ share  # normal equations of the seeds, the arms eliminated
    inverse = np.linalg.pinv(between, rcond=1e-9, hermitian=True)
    effects = inverse @ (y - here * mean[:, None]).sum(axis=0)
    adjusted = mean - share @ effects
    at = int(np.argmax(adjusted))
    freedom = int(here.sum()) - len(y) - int(np.linalg.matrix_rank(between, tol=1e-9 * len(y), hermitian=True))
    best, close = int(np.flatnonzero(arms)[at]), np.zeros(len(values), dtype=bool)
    if freedom < 1:
        return Best(best, close, len(y), float("nan"), 0, bool(here.all()))
    sd = float(np.sqrt((np.where(here, y - adjusted[:, None] - effects, 0.0) ** 2).sum() / freedom))
    apart = share - share[at]
    error = sd * np.sqrt(1 / n + 1 / n[at] + np.einsum("as,st,at->a", apart, inverse, apart))
    separated = adjusted[at] - adjusted > _t_above(ALPHA / max(len(y) - 1, 1), freedom) * error
    separated &= np.isclose(apart @ inverse @ between, apart).all(axis=1)  # a chain of common seeds joins the two
    close[arms] = ~separated | np.isclose(adjusted, adjusted[at], rtol=1e-12, atol=0)
    close[best] = False
    return Best(best, close, len(y), sd, freedom, bool(here.all()))


def _t_above(p: float, freedom: int) -> float:
    """Student's t that is exceeded with probability `p`."""
    from scipy.special import stdtrit  # late, as in `t_quantile`

    return float(stdtrit(freedom, 1 - p))


def t_quantile(freedom: NDArray[Any]) -> Array:
    """Student's t at probability (1 + LEVEL) / 2 for `freedom` degrees of freedom; nan where that is not above 0.

    Source: Student (1908); the inverse of the distribution function is scipy.special's `stdtrit`.
    """
    degrees = np.asarray(freedom, dtype=np.float64)
    usable = degrees > 0
    if not usable.any():
        return np.full(degrees.shape, np.nan)
    from scipy.special import stdtrit  # late: 0.2 s that a table without intervals need not pay

    distinct, where = np.unique(np.where(usable, degrees, 1.0), return_inverse=True)
    quantiles = np.asarray(stdtrit(distinct, (1 + LEVEL) / 2), dtype=np.float64)[where].reshape(degrees.shape)
    return np.where(usable, quantiles, np.nan)


def least_p(pairs: int) -> float:
    """The least p that an exact two-sided sign-flip test of `pairs` differences can give: 2 of the 2^n sign patterns.

    Source: Fisher, "The Design of Experiments" (1935), section 21.
    """
    return min(1.0, 2.0 ** (1 - pairs))


def least_pairs() -> int:
    """The smallest number of pairs with which a sign-flip test can reach `ALPHA`: 6."""
    return next(pairs for pairs in range(1, 64) if least_p(pairs) <= ALPHA)


def _over(numerator: Array, denominator: NDArray[Any]) -> Array:
    """The quotient; nan where the denominator is not above 0."""
    safe = np.where(denominator > 0, denominator, 1)
    return np.where(denominator > 0, numerator / safe, np.nan)
