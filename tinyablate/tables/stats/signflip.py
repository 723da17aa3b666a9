"""Exact tests by flipping the signs of paired differences, and p-values adjusted for being one of many."""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tinyablate.tables.stats import draws
from tinyablate.tables.stats.differences import ALPHA, Array

Test = Literal["max-t", "holm"]

EXACT_SEEDS = 15
"""Up to here every sign pattern is tried: 2^14 of them, because a pattern and its opposite give the same."""

RANDOM = 10_000
"""Sign patterns drawn above that, beside the identity."""

_KEY = 0x51641
"""Of the random patterns: any fixed number."""

_CHUNK = 1 << 20
"""Patterns times rows that are in memory at a time."""


def least_p(pairs: int) -> float:
    """The least p that an exact two-sided sign-flip test of `pairs` differences can give: 2 of the 2^n sign patterns.

    Source: Fisher, "The Design of Experiments" (1935), section 21.
    """
    return min(1.0, 2.0 ** (1 - pairs))


def least_pairs(k: int = 1, test: Test = "max-t") -> int:
    """The smallest number of pairs with which any of `k` comparisons can reach `ALPHA`.

    6 whatever k is under joint sign flips; under Holm's method the first step multiplies the least p by k (10: 9).
    """
    factor = k if test == "holm" else 1
    return next(pairs for pairs in range(1, 64) if factor * least_p(pairs) <= ALPHA)


def sign_flip(differences: Array) -> Array:
    """Two-sided p, shape (k,), of each row of `differences` (k, seeds) alone: how rare so far a mean is from 0.

    The p is the share of sign patterns whose sum is as far from 0 as the one seen: exact up to `EXACT_SEEDS` seeds
    with a value in any row, above from `RANDOM` keyed random patterns and the identity. nan where a row has no value.
    It holds if a difference is as likely as its opposite, which it is where the row changes nothing.

    Sources: Fisher, "The Design of Experiments" (1935), section 21; the identity counted among random patterns: Phipson
    & Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010).
    """
    d, n = _given(differences)
    p = np.full(len(n), np.nan)
    p[n > 0] = _shares(d[n > 0], n[n > 0], joint=False)
    return p


def max_t(differences: Array) -> Array:
    """Two-sided p, shape (k,), of the rows of `differences` (k, seeds), adjusted for there being k of them.

    Joint sign flips with step-down max-T: a pattern gives one sign to each seed, the same in all rows, so that what the
    rows have in common (seeds, a shared reference) stays. The largest |t| is held against the largest |t| over all
    rows in every pattern, the second largest against the largest over all rows but the first, and so on. Hence the
    least p is `least_p(seeds)` for any k, and the chance of any false difference is at most the level, whichever
    rows truly differ. Patterns and nan as in `sign_flip`. Rows that lack seeds use their own.

    Rows with too few pairs ever to reach `ALPHA` are adjusted among themselves: they can cause no error, but a t from
    3 seeds is huge so often that it would hide the rows with more (Tarone, Biometrics 46, 1990, for the idea). t of
    unlike degrees of freedom are brought to one scale, the normal's (Wallace, Annals of Mathematical Statistics 30,
    1959: sqrt(v log(1 + t^2 / v)) (8 v + 1) / (8 v + 3)), which leaves the order within equal ones as it is. Equal
    differences have an infinite t, which here is one of about 3,000 sqrt(v); all differences 0: t = 0.

    Assumes that the rows' differences are jointly as likely as their opposites under the null hypothesis: exact for
    symmetric noise of any, and of unequal, variance. Skewed noise does no harm where all rows have the same (simulated,
    exponential: a false difference in 3 to 5 % of the tables); a shared reference with three times as much of it as
    the rows does (6 to 10 %). Sources: Westfall & Young, "Resampling-based Multiple Testing" (1993), algorithm 4.1;
    Romano & Wolf, Journal of the American Statistical Association 100 (2005), for why it controls the error.
    """
    d, n = _given(differences)
    p, able = np.full(len(n), np.nan), n >= least_pairs()
    for rows in (able, ~able & (n > 0)):
        p[rows] = _shares(d[rows], n[rows], joint=True)
    return p


def holm(p: Array) -> Array:
    """`p` (k,) adjusted by Holm's step-down method; nan stays nan and is not counted.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979).
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    adjusted = np.full(p.shape, np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _given(differences: Array) -> tuple[Array, NDArray[np.int64]]:
    """Differences of the seeds that any row has, 0 where a row lacks one, and how many values each row has.

    Each row is divided by its largest one, so that squares neither vanish nor overflow; no p depends on it.
    """
    here = ~np.isnan(differences)
    d = np.where(here, differences, 0.0)[:, here.any(axis=0)]
    largest = np.abs(d).max(axis=1, initial=0.0, keepdims=True)
    return d / np.where(largest > 0, largest, 1.0), here.sum(axis=1)


def _shares(d: Array, n: NDArray[np.int64], joint: bool) -> Array:
    """Share of the sign patterns in which a row's statistic (`joint`: the largest of those not above it) is reached."""
    if not len(d):
        return np.empty(0)
    seen = _statistic(d, n, np.ones((1, d.shape[1])))[0]
    order = np.argsort(seen, kind="stable")  # ascending: the rows not above a row are those before it
    d, n, seen = d[order], n[order], seen[order]
    reached, patterns = np.zeros(len(d), dtype=np.int64), _patterns(d.shape[1])
    bar = seen * (1 - 1e-8) - 1e-15  # sums of the same numbers in another order are equal
    some = max(1, _CHUNK // len(d))
    for first in range(0, len(patterns), some):
        found = _statistic(d, n, patterns[first : first + some])
        if joint:
            np.maximum.accumulate(found, axis=1, out=found)
        reached += (found >= bar).sum(axis=0)
    p = reached / len(patterns)
    if joint:
        p = np.maximum.accumulate(p[::-1])[::-1]
    back = np.empty(len(d))
    back[order] = p
    return back


def _statistic(d: Array, n: NDArray[np.int64], signs: Array) -> Array:
    """(patterns, rows): a value that grows with |t|, the square of Wallace's normal deviate.

    Flipping signs leaves a row's sum of squares Q as it is, so that t follows from the sum S: with r = S^2 / (n Q),
    t^2 / (n - 1) = r / (1 - r).
    """
    v = n - 1
    squares = n * (d**2).sum(axis=1)
    able = (squares > 0) & (v > 0)
    root = np.sqrt(np.where(able, 1 / np.where(able, squares, 1.0), 0.0))
    r = (signs @ (d * root[:, None]).T) ** 2
    np.minimum(r, 1 - 1e-7, out=r)  # closer to 1 only rounding speaks
    np.log1p(np.negative(r, out=r), out=r)
    r *= -v * ((8 * v + 1) / (8 * v + 3)) ** 2
    return np.asarray(r)


@lru_cache(maxsize=4)
def _patterns(seeds: int) -> Array:
    """The sign patterns (patterns, seeds) of +1 and -1; the identity comes first."""
    if seeds <= EXACT_SEEDS:
        bits = np.arange(2 ** max(seeds - 1, 0), dtype=np.uint64)[:, None]
    else:
        wide = -(-seeds // 64)
        drawn = draws.words(_KEY, RANDOM * wide).reshape(RANDOM, wide)
        bits = np.concatenate([np.zeros((1, wide), dtype=np.uint64), drawn])
    seed = np.arange(seeds, dtype=np.uint64)
    flipped = (bits[:, (seed // np.uint64(64)).astype(np.intp)] >> (seed % np.uint64(64))) & np.uint64(1)
    signs: Array = 1.0 - 2.0 * flipped.astype(np.float64)
    signs.setflags(write=False)
    return signs
