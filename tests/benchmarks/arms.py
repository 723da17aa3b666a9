"""Made-up tables in which no row differs from another: what intervals and tests are held against.

Values are in percentage points, as accuracies are. A seed moves all rows of a table alike (a shared part), and each
value has noise of its own.
"""

import numpy as np

KINDS = ("correlated", "discrete", "unequal", "heavy tails")


def arms(kind: str, random: np.random.Generator, tables: int, rows: int, seeds: int) -> np.ndarray:
    """Values (tables, rows, seeds), all of one mean: 90 %.

    `correlated`: normal, the shared part five times the noise. `discrete`: accuracies over 10,000 images, so multiples
    of 0.01. `unequal`: normal, sd from 0.1 in the first row to 0.6 in the last. `heavy tails`: the noise is Student's t
    with 3 degrees of freedom, where single seeds are off by several sds.
    """
    shape = (tables, rows, seeds)
    shared = 90 + random.normal(0, 0.2, (tables, 1, seeds))
    if kind == "discrete":
        rate = (shared + random.normal(0, 0.1, shape)) / 100
        return random.binomial(10_000, rate) / 100
    if kind == "unequal":
        return shared + random.normal(0, 1, shape) * np.geomspace(0.1, 0.6, rows)[:, None]
    if kind == "heavy tails":
        return shared + 0.2 * random.standard_t(3, shape)
    return 90 + 5 * (shared - 90) + random.normal(0, 0.2, shape)


def covers(low: np.ndarray, high: np.ndarray, truth: float = 0.0) -> np.ndarray:
    """Where an interval holds the truth."""
    return (low <= truth) & (truth <= high)
