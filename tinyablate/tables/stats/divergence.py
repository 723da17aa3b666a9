"""Rates of failure, such as divergence, compared between two rows."""

import math
from dataclasses import dataclass

from tinyablate.tables.stats.differences import LEVEL


@dataclass(frozen=True)
class Rates:
    """Rate of the first minus rate of the second, between -1 and 1; all nan where one of them has no trial."""

    difference: float
    low: float
    high: float
    """Newcombe's interval at `LEVEL`."""
    p: float
    """Fisher's exact p, two-sided."""


def rates(failed_a: int, n_a: int, failed_b: int, n_b: int) -> Rates:
    """Compare `failed_a` of `n_a` trials with `failed_b` of `n_b`, all independent.

    Sources: Newcombe, Statistics in Medicine 17 (1998), 873-890, method 10 (hybrid score interval without continuity
    correction); Wilson, Journal of the American Statistical Association 22 (1927); Fisher, "The Design of Experiments"
    (1935), chapter II, two-sided as the sum over all tables that are not more likely.
    """
    if not n_a or not n_b:
        return Rates(*[float("nan")] * 4)
    a, b = failed_a / n_a, failed_b / n_b
    (low_a, high_a), (low_b, high_b) = _wilson(failed_a, n_a), _wilson(failed_b, n_b)
    low = a - b - math.hypot(a - low_a, high_b - b)
    high = a - b + math.hypot(high_a - a, b - low_b)
    return Rates(a - b, max(low, -1.0), min(high, 1.0), _fisher(failed_a, n_a, failed_b, n_b))


def _wilson(count: int, n: int) -> tuple[float, float]:
    """Ends of Wilson's score interval of a rate."""
    from scipy.special import ndtri

    z = float(ndtri((1 + LEVEL) / 2))
    middle, half = 2 * count + z * z, z * math.sqrt(z * z + 4 * count * (1 - count / n))
    return max(0.0, (middle - half) / (2 * (n + z * z))), min(1.0, (middle + half) / (2 * (n + z * z)))


def _fisher(failed_a: int, n_a: int, failed_b: int, n_b: int) -> float:
    """In whole numbers, so that equally likely tables are equal."""
    failed = failed_a + failed_b
    ways = [math.comb(n_a, k) * math.comb(n_b, failed - k) for k in range(max(0, failed - n_b), min(n_a, failed) + 1)]
    seen = math.comb(n_a, failed_a) * math.comb(n_b, failed_b)
    return sum(way for way in ways if way <= seen) / math.comb(n_a + n_b, failed)
