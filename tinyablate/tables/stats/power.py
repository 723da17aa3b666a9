"""How many seeds a comparison needs, and what so many can detect: planned from a margin, never from a result."""

import math

from tinyablate.tables.stats.differences import ALPHA, t_above

POWER = 0.8
"""Chance to detect a difference as large as the margin. Cohen, "Statistical Power Analysis" (2nd ed., 1988), 2.4."""

MOST_PAIRS = 10_000
"""More seeds than anyone runs: beyond it there is no answer."""


def detect_pairs(margin: float, sd_difference: float, k: int = 1, power: float = POWER) -> int | None:
    """The smallest number of pairs whose two-sided t test at level `ALPHA` / `k` detects `margin` with that power.

    `sd_difference` is the standard deviation of one paired difference, in the unit of `margin`; under `pooled` it is
    sqrt(2) times the sd. Bonferroni's level stands for any adjustment over `k` comparisons: step-down methods need
    somewhat fewer seeds; what sign flips can never reach is `least_pairs`. None where margin or sd is not a positive
    number, or where `MOST_PAIRS` do not suffice. It must not be fed with the row's own difference: power "observed"
    is p in other words (Hoenig & Heisey, The American Statistician 55, 2001).
    """
    if not (margin > 0 and sd_difference > 0 and math.isfinite(margin) and math.isfinite(sd_difference)):
        return None
    low, high = 1, 2
    while _power(margin / sd_difference, high, k) < power:
        if high >= MOST_PAIRS:
            return None
        low, high = high, min(2 * high, MOST_PAIRS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(margin / sd_difference, middle, k) >= power else (middle, high)
    return high


def detectable(sd_difference: float, pairs: int, k: int = 1, power: float = POWER) -> float:
    """The difference that `pairs` pairs detect with that power: the inverse of `detect_pairs`; nan below two pairs."""
    if pairs < 2 or not (sd_difference >= 0 and math.isfinite(sd_difference)):
        return float("nan")
    low, high = 0.0, 1.0
    while _power(high, pairs, k) < power:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle, pairs, k) >= power else (middle, high)
    return high * sd_difference


def _power(effect: float, pairs: int, k: int) -> float:
    """Power of the two-sided paired t test at level `ALPHA` / `k` where the true difference is `effect` sds.

    Under it t is noncentral with noncentrality effect * sqrt(pairs): Johnson & Welch, Biometrika 31 (1940); its
    distribution function is scipy.special's `nctdtr`. Significance on the wrong side is not counted: where the power
    is 80 %, its chance is below 1e-5.
    """
    from scipy.special import nctdtr

    freedom, shift = pairs - 1, effect * math.sqrt(pairs)
    bar = t_above(ALPHA / (2 * k), freedom)
    return float(1 - nctdtr(freedom, shift, bar))
