"""Which cells of a table are the best, and which ones noise cannot separate from them. It prints nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Row, Sweep
from tinyablate.tables import stats
from tinyablate.tables.arrays import Collected
from tinyablate.tables.comparisons import At
from tinyablate.tables.schema import Standing


@dataclass(frozen=True)
class Ranking:
    """Cells that were ranked together: a printed column's, or all of a two-way table's."""

    metric: int
    column: int | None
    """None: of a two-way table."""
    best: stats.Best
    left_out: tuple[int, ...]
    """Rows that share no seeds with those that are ranked, and null rows."""
    standings: Mapping[At, Standing]


def is_two_way(sweep: Sweep) -> bool:
    """Whether the table has a cell for every combination of two fields, and only one metric to show there."""
    return len(sweep.axes) == 2 and len(sweep.metrics) == 1


def rankings(sweep: Sweep, found: Collected) -> tuple[Ranking, ...]:
    """Every ranking of the sweep's table: none for metrics without a good end, nor for ratios, which are comparisons.

    A printed column is ranked where two of its rows have values. Ranked together are rows that seeds join; where
    there are several such families, the one with the most rows.
    """
    known = [metrics.lookup(name) for name in sweep.metrics]
    ranked = [m for m, metric in enumerate(known) if metric.better is not None and not metric.relative_to]
    if is_two_way(sweep):
        whole = [_ranking(known[0], 0, None, found.values[0], [])] if ranked else []
        return tuple(one for one in whole if one is not None)
    if len(sweep.rows) < 2:
        return ()
    rows = _joined([row for row in sweep.rows if not row.null])
    out = [row.index for row in sweep.rows if row.index not in rows]
    each = (_ranking(known[m], m, column.index, found.values[m, :, [column.index]].swapaxes(0, 1), out)
            for column in sweep.columns for m in ranked)  # fmt: skip
    return tuple(one for one in each if one is not None and one.best.arms > 1)


def _joined(rows: Sequence[Row]) -> set[int]:
    """Indices of the largest family of rows that seeds join, directly or through others; of several the first."""
    families: list[tuple[set[int], set[int]]] = []
    for row in rows:
        indices, seeds = {row.index}, set(row.seeds)
        for family in [each for each in families if each[1] & seeds]:
            families.remove(family)
            indices |= family[0]
            seeds |= family[1]
        families.append((indices, seeds))
    return max((family[0] for family in families), key=lambda found: (len(found), -min(found)), default=set())


def _ranking(
    metric: Metric, m: int, column: int | None, values: stats.Array, left_out: Sequence[int]
) -> Ranking | None:
    """The ranking of cells with these values (rows, columns, seeds); None while there is no value."""
    columns, seeds = values.shape[1:]
    cells = values.copy()
    cells[list(left_out)] = np.nan
    cells = cells.reshape(-1, seeds)
    best = stats.best_of(-cells if metric.better == "min" else cells)
    if best is None:
        return None
    means, close = stats.spread(cells).mean.tolist(), best.close.tolist()
    standings: dict[At, Standing] = {}
    for at, mean in enumerate(means):
        if at == best.index or (not best.freedom and mean == means[best.index]):
            standing: Standing = "best"
        elif mean != mean or not best.freedom:
            continue
        else:
            standing = "close" if close[at] else "separated"
        standings[m, at // columns, at % columns if column is None else column] = standing
    return Ranking(m, column, best, tuple(left_out), standings)
