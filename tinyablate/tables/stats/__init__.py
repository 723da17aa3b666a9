"""The statistics of a table: spread, differences, intervals, tests, verdicts. Pure: knows no sweep and no layout.

Arrays hold one value per seed along the last axis, float64, nan where that seed has no value. A result is nan where it
is not defined. scipy is imported where it is needed, when it is needed.
"""

from tinyablate.tables.stats.best import Best, best_of
from tinyablate.tables.stats.blocks import Pooled, pooled
from tinyablate.tables.stats.bootstrap import LEAST_VALUES, bca
from tinyablate.tables.stats.differences import (
    ALPHA,
    LEVEL,
    Array,
    Difference,
    Spread,
    correlation,
    equivalent_p,
    paired,
    prediction,
    spread,
    t_quantile,
    welch,
)
from tinyablate.tables.stats.divergence import Rates, rates
from tinyablate.tables.stats.images import Components, McNemar, components, mcnemar
from tinyablate.tables.stats.power import POWER, detect_pairs, detectable
from tinyablate.tables.stats.signflip import Test, holm, least_p, least_pairs, max_t, sign_flip
from tinyablate.tables.stats.stages import stein, stein_half_width, stein_interval, stein_pairs
from tinyablate.tables.stats.verdicts import verdict

__all__ = [
    "ALPHA",
    "LEAST_VALUES",
    "LEVEL",
    "POWER",
    "Array",
    "Best",
    "Components",
    "Difference",
    "McNemar",
    "Pooled",
    "Rates",
    "Spread",
    "Test",
    "bca",
    "best_of",
    "components",
    "correlation",
    "detect_pairs",
    "detectable",
    "equivalent_p",
    "holm",
    "least_p",
    "least_pairs",
    "max_t",
    "mcnemar",
    "paired",
    "pooled",
    "prediction",
    "rates",
    "sign_flip",
    "spread",
    "stein",
    "stein_half_width",
    "stein_interval",
    "stein_pairs",
    "t_quantile",
    "verdict",
    "welch",
]
