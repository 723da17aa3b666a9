"""Rows against their references: intervals, p over the table's family, verdicts. It prints nothing.

Which comparisons there are, and which are tested together, is settled here; how each number is computed, in `stats`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Select, Sweep
from tinyablate.tables import stats
from tinyablate.tables.arrays import Collected, reference_of
from tinyablate.tables.schema import ColumnStatistics, Comparison, Verdict

At = tuple[int, int, int]
"""(metric, row, column)."""


@dataclass(frozen=True)
class Compared:
    """Every comparison of a table."""

    shown: stats.Difference
    """(M, R, C) of the values that the table shows."""
    tested: stats.Difference
    """(M, R, C) under the rule that verdicts use; `shown` where that is the same."""
    correlation: stats.Array
    """(M, R, C): Pearson's r of each paired comparison."""
    comparisons: Mapping[At, Comparison]
    """Of metrics that chance moves; cells without a difference are absent."""
    statistics: tuple[ColumnStatistics | None, ...]
    """One for each printed column; empty where no row is compared."""
    family: tuple[At, ...]
    """The comparisons that get a p, column by column: planned, with or without values."""
    flipped: int
    """Seeds whose signs were flipped together: those of any pair of the family that has the most."""


def rule_of(select: Select) -> Select:
    """The rule that verdicts use: what was chosen on the reported images is not tested."""
    return "last" if select == "best" else select


def compare(sweep: Sweep, found: Collected) -> Compared:
    """Every comparison of the sweep's table, from its values."""
    shown = _difference(sweep, found, found.values)
    if all(row.reference is None for row in sweep.rows):
        return Compared(shown, shown, np.full(shown.value.shape, np.nan), {}, (), (), 0)
    tested = shown if found.compared is found.values else _difference(sweep, found, found.compared)
    pairs = found.compared - reference_of(sweep.rows, found.compared)
    correlation = stats.correlation(found.compared, reference_of(sweep.rows, found.compared))
    correlation[:, sorted(found.unpaired)] = np.nan
    families, pools = _families(sweep, found), _pools(sweep, found)
    statistics = tuple(_statistics(sweep, at, families, pools) for at in _columns(sweep))
    family = _Family(sweep, pairs, tested, (~np.isnan(pairs[..., _first_stage(sweep, found)])).sum(axis=-1) - 1)
    p = {at: each for one in families for at, each in family.p_values(one).items()}
    made = _Made(sweep, found, tested, pairs, correlation, pools, statistics, p)
    known = [metrics.lookup(name) for name in sweep.metrics]
    comparisons = {
        (m, row.index, column.index): made.comparison(metric, (m, row.index, column.index))
        for m, metric in enumerate(known)
        for row in sweep.rows
        for column in sweep.columns
        if metric.compared and tested.n[m, row.index, column.index]
    }
    whole = tuple(at for family in families for at in family)
    flipped = max((_seeds_of(pairs, each) for each in families), default=0)
    return Compared(shown, tested, correlation, comparisons, statistics, whole, flipped)


def _seeds_of(pairs: stats.Array, family: Sequence[At]) -> int:
    """How many seeds have a pair in any comparison of the family."""
    return int((~np.isnan(pairs[tuple(np.array(family).T)])).any(axis=0).sum())


def _columns(sweep: Sweep) -> list[tuple[int, int]]:
    """(column, metric) of each printed column."""
    return [(column.index, m) for column in sweep.columns for m in range(len(sweep.metrics))]


# ---- intervals -------------------------------------------------------------------------------------------------------


def _difference(sweep: Sweep, found: Collected, values: stats.Array) -> stats.Difference:
    """Each row against its reference (M, R, C): paired, Welch's where rows are unpaired, Stein's in a sequential sweep.

    Stein's interval holds for every metric, not only the one that the rule looks at: under a normal distribution the
    mean of all pairs is independent of the first stage's spreads, which alone decide how many there are.
    """
    reference = reference_of(sweep.rows, values)
    whole, alone = stats.paired(values, reference), sorted(found.unpaired)
    if alone:
        _put(whole, np.s_[:, alone], stats.welch(values[:, alone], reference[:, alone]))
    if first := _first_stage(sweep, found):
        both = [row.index for row in sweep.rows if row.index not in found.unpaired]
        order = first + [at for at in range(len(found.seeds)) if at not in first]
        pairs = (values - reference)[:, both][..., order]
        _put(whole, np.s_[:, both], stats.stein_interval(pairs, len(first)))
    return whole


def _put(whole: stats.Difference, at: object, part: stats.Difference) -> None:
    for name in ("n", "value", "low", "high"):
        getattr(whole, name)[at] = getattr(part, name)


def _first_stage(sweep: Sweep, found: Collected) -> list[int]:
    """Where the seeds of a sequential sweep's first stage stand; empty in another sweep."""
    rule = sweep.sequential
    seeds = next((row.seeds for row in sweep.rows if not row.null), ())
    return [] if rule is None else [found.seeds.index(seed) for seed in seeds[: rule.least]]


def _pools(sweep: Sweep, found: Collected) -> Mapping[tuple[int, int], stats.Pooled]:
    """(column, metric) -> seed as block, variance pooled over the column's rows that are paired with one another."""
    out = [row.index for row in sweep.rows if row.null or row.index in found.unpaired]
    references = [None if row.index in out else row.reference for row in sweep.rows]
    values = found.compared.copy()
    values[:, out] = np.nan
    known = [metrics.lookup(name) for name in sweep.metrics]
    return {
        (column, m): stats.pooled(values[m, :, column], references)
        for column, m in _columns(sweep)
        if known[m].compared
    }


# ---- families --------------------------------------------------------------------------------------------------------


def _families(sweep: Sweep, found: Collected) -> list[list[At]]:
    """The comparisons that are tested together: all of the table's, or those of each printed column."""
    cells = {(cell.row, cell.column) for cell in sweep.cells}
    by_column = [
        [
            (m, row.index, column)
            for row in sweep.rows
            if row.reference is not None and not row.null and row.index not in found.unpaired
            if {(row.index, column), (row.reference, column)} <= cells
        ]
        for column, m in _columns(sweep)
        if metrics.lookup(sweep.metrics[m]).tested
    ]
    families = by_column if sweep.family == "column" else [[at for column in by_column for at in column]]
    return [family for family in families if family]


@dataclass(frozen=True)
class _P:
    """The p-values of one comparison."""

    adjusted: float
    """As the sweep's `test` says."""
    holm: float
    raw: float
    """Of the one comparison alone."""
    equivalent: float
    """That it lies outside of the margin, adjusted Holm's way; nan where no margin is declared for it."""


@dataclass(frozen=True)
class _Family:
    """What p-values are computed from; arrays over (M, R, C)."""

    sweep: Sweep
    pairs: stats.Array
    """(M, R, C, S)."""
    tested: stats.Difference
    freedom: stats.Array
    """Of the first stage; only in a sequential sweep."""

    def p_values(self, family: Sequence[At]) -> dict[At, _P]:
        """Those of the comparisons of one family."""
        where = tuple(np.array(family).T)
        if self.sweep.sequential is not None:
            raw = self._stein(where, 0.0)
            adjusted = holm = stats.holm(raw)
        else:
            raw = stats.sign_flip(self.pairs[where])
            holm = stats.holm(raw)
            adjusted = stats.max_t(self.pairs[where]) if self.sweep.test == "max-t" else holm
        numbers = (adjusted.tolist(), holm.tolist(), raw.tolist(), self._equivalent(where).tolist())
        return {at: _P(*each) for at, each in zip(family, zip(*numbers, strict=True), strict=True)}

    def _equivalent(self, where: tuple[NDArray[np.int64], ...]) -> stats.Array:
        """The larger p of two one-sided tests, of the first metric alone: the margin is in its unit."""
        p, margin = np.full(len(where[0]), np.nan), self.sweep.margin
        first = where[0] == 0
        if margin is None or not first.any():
            return p
        there = tuple(index[first] for index in where)
        if self.sweep.sequential is None:
            p[first] = stats.equivalent_p(self.pairs[there], margin)
        else:
            ends = np.maximum(self._stein(there, -margin), self._stein(there, margin)) / 2
            p[first] = np.where(np.abs(self.tested.value[there]) < margin, ends, 1.0)
        return stats.holm(p)

    def _stein(self, where: tuple[NDArray[np.int64], ...], against: float) -> stats.Array:
        """Two-sided p, unadjusted, that a difference is `against`, by Stein's t on the first stage's freedom.

        Sign flips would not do: how many pairs there are depends on the signs of the first.
        """
        from scipy.special import stdtr  # late: an import of 0.2 s

        freedom, half = self.freedom[where], (self.tested.high[where] - self.tested.low[where]) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(self.tested.value[where] - against) / (half / stats.t_quantile(freedom))
        return np.asarray(2 * stdtr(np.maximum(freedom, 1), -t), dtype=np.float64)


def _statistics(
    sweep: Sweep,
    at: tuple[int, int],
    families: Sequence[Sequence[At]],
    pools: Mapping[tuple[int, int], stats.Pooled],
) -> ColumnStatistics | None:
    """What the comparisons of a printed column have in common; None where none of them gets a p."""
    column, m = at
    size = next((len(each) for each in families if any((a[0], a[2]) == (m, column) for a in each)), 0)
    if not size:
        return None
    pool = pools[at]
    least = 2 if sweep.sequential is not None else stats.least_pairs(size, sweep.test)
    detect = None
    if m == 0 and sweep.margin is not None and pool.freedom > 0 and pool.sd > 0:
        enough = stats.detect_pairs(sweep.margin, math.sqrt(2) * pool.sd, size)
        detect = None if enough is None else max(enough, least)
    return ColumnStatistics(size, _known(pool.sd), int(pool.freedom), _known(pool.p_fair), least, detect)


# ---- one comparison --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Made:
    """Everything that the comparisons of one table are made of."""

    sweep: Sweep
    found: Collected
    tested: stats.Difference
    pairs: stats.Array
    correlation: stats.Array
    pools: Mapping[tuple[int, int], stats.Pooled]
    statistics: tuple[ColumnStatistics | None, ...]
    p: Mapping[At, _P]

    def comparison(self, metric: Metric, at: At) -> Comparison:
        """The comparison at (metric, row, column), which has a value."""
        m, r, c = at
        tested, pool = self.tested, self.pools[c, m]
        p = self.p.get(at)
        low, high = self._bca(at)
        # Not where rows have unequal n by rule, nor where no other row adds anything: that is the paired interval.
        alone = self.sweep.sequential is not None or pool.freedom < int(tested.n[at])
        return Comparison(
            rule=rule_of(self.sweep.select),
            value=float(tested.value[at]),
            low=_known(tested.low[at]),
            high=_known(tested.high[at]),
            block_low=None if alone else _known(pool.low[r]),
            block_high=None if alone else _known(pool.high[r]),
            bca_low=low,
            bca_high=high,
            p=None if p is None else _known(p.adjusted),
            p_holm=None if p is None else _known(p.holm),
            p_raw=None if p is None else _known(p.raw),
            correlation=_known(self.correlation[at]),
            verdict=None if p is None else self._verdict(metric, at, p),
        )

    def _bca(self, at: At) -> tuple[float | None, float | None]:
        pairs = self.pairs[at]
        pairs = pairs[~np.isnan(pairs)]
        if at[1] in self.found.unpaired or len(pairs) < stats.LEAST_VALUES or self.sweep.sequential is not None:
            return None, None
        low, high = stats.bca(pairs)
        return _known(low), _known(high)

    def _verdict(self, metric: Metric, at: At, p: _P) -> Verdict | None:
        m, _, c = at
        common = self.statistics[c * len(self.sweep.metrics) + m]
        assert common is not None
        return stats.verdict(
            low=_known(self.tested.low[at]),
            high=_known(self.tested.high[at]),
            n=int(self.tested.n[at]),
            p=_known(p.adjusted),
            p_equivalent=_known(p.equivalent),
            better=metric.better,
            margin=self.sweep.margin if m == 0 else None,
            least=common.least_pairs,
            detect=common.detect_pairs,
            comparisons=common.comparisons,
            digits=self.sweep.digits.get(metric.name, metric.digits),
        )


def _known(value: float) -> float | None:
    """The number, None where it is not defined."""
    return None if math.isnan(value) else float(value)
