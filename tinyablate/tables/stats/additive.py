"""The two-way model value = row + seed + noise, fitted by least squares whichever seeds rows lack. It tests nothing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyablate.tables.stats.differences import Array


@dataclass(frozen=True)
class Additive:
    """The fit over those rows and seeds that have any value: `kept` rows of them."""

    rows: NDArray[np.bool_]
    """Shape (all rows,): which ones have a value; everything below is of these alone."""
    here: NDArray[np.bool_]
    """Shape (rows, seeds): where there is a value."""
    n: NDArray[np.int64]
    """Shape (rows,): values of each."""
    adjusted: Array
    """Shape (rows,): means, adjusted for the seeds that a row lacks."""
    residuals: Array
    """Shape (rows, seeds); 0 where there is no value."""
    sd: float
    """Of the noise; nan while `freedom` is 0."""
    freedom: int
    """Values less rows less independent seeds; 0: nothing is left to see the noise in."""
    share: Array
    between: Array
    inverse: Array

    def errors(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> Array:
        """Standard errors of adjusted[one] - adjusted[other]; nan where no chain of common seeds joins the two."""
        apart = self.share[one] - self.share[other]
        extra = np.einsum("as,st,at->a", apart, self.inverse, apart)
        joined = np.isclose(apart @ self.inverse @ self.between, apart).all(axis=1)
        return np.where(joined, self.sd * np.sqrt(1 / self.n[one] + 1 / self.n[other] + extra), np.nan)


def additive(values: Array) -> Additive | None:
    """Least squares of row + seed + noise over `values` (rows, seeds), nan = missing; None without a value.

    The rows are eliminated, so that the equations are as many as seeds. With every value there, the adjusted means are
    the plain means. Source: Searle, "Linear Models" (1971), 7.1; balanced, NIST/SEMATECH e-Handbook 5.3.3.2.
    """
    given = ~np.isnan(values)
    rows = np.asarray(given.any(axis=1))
    if not rows.any():
        return None
    y = values[rows][:, given.any(axis=0)]
    here = ~np.isnan(y)
    n, (share, between, inverse, rank) = here.sum(axis=1), eliminated(here)
    adjusted, residuals = solve(np.where(here, y, 0.0), here, share, inverse)
    freedom = int(here.sum()) - len(y) - rank
    sd = float(np.sqrt((residuals**2).sum() / freedom)) if freedom > 0 else float("nan")
    return Additive(rows, here, n, adjusted, residuals, sd, max(freedom, 0), share, between, inverse)


def eliminated(here: NDArray[np.bool_]) -> tuple[Array, Array, Array, int]:
    """Of a table with values `here` (rows, seeds): each row's weights, the equations left for the seeds when the rows
    are eliminated, their generalised inverse, and their rank."""
    share = here / here.sum(axis=1)[:, None]
    between = np.diag(here.sum(axis=0)) - here.T @ share
    sizes, directions = np.linalg.eigh(between)
    real = sizes > 1e-9 * len(here)
    inverse = (directions[:, real] / sizes[real]) @ directions[:, real].T
    return share, between, inverse, int(real.sum())


def solve(y: Array, here: NDArray[np.bool_], share: Array, inverse: Array) -> tuple[Array, Array]:
    """Adjusted means (..., rows) and residuals, of the shape of `y` (..., rows, seeds), which is 0 where missing."""
    mean = y.sum(axis=-1) / here.sum(axis=1)
    effects = (y - here * mean[..., None]).sum(axis=-2) @ inverse
    adjusted = mean - effects @ share.T
    return adjusted, np.where(here, y - adjusted[..., None] - effects[..., None, :], 0.0)
