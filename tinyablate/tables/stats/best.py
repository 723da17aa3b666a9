"""Which of several rows is the best, and which ones noise cannot separate from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyablate.tables.stats.additive import additive
from tinyablate.tables.stats.differences import ALPHA, Array, t_above


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
    comparisons with the best"; Dunn, Journal of the American Statistical Association 56 (1961), for Bonferroni's t.
    """
    fit = additive(values)
    if fit is None:
        return None
    arms, adjusted = len(fit.n), fit.adjusted
    at = int(np.argmax(adjusted))
    best, close = int(np.flatnonzero(fit.rows)[at]), np.zeros(len(values), dtype=bool)
    if fit.freedom:
        error = fit.errors(np.arange(arms), np.full(arms, at))
        separated = adjusted[at] - adjusted > t_above(ALPHA / max(arms - 1, 1), fit.freedom) * error
        close[fit.rows] = ~separated | np.isclose(adjusted, adjusted[at], rtol=1e-12, atol=0)
        close[best] = False
    return Best(best, close, arms, fit.sd, fit.freedom, bool(fit.here.all()))
