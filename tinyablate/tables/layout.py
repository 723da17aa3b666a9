"""From a sweep and the results of its cells to a finished Table: numbers, states and marks.

It reads no database (the caller brings the results) and knows no output format (see `render`).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Row, Sweep
from tinyablate.tables import stats
from tinyablate.tables.arrays import CODES, Collected, collected, reference_of
from tinyablate.tables.footnotes import Facts, footnotes
from tinyablate.tables.schema import (
    CellResult,
    CellState,
    Pairing,
    Provenance,
    Standing,
    Table,
    TableCell,
    TableColumn,
    TableRow,
)

__all__ = ["CellResult", "Provenance", "Table", "TableCell", "TableColumn", "TableRow", "build"]

# Order of the marks; a cell without any value takes its state from the first that applies.
_OPEN: tuple[CellState, ...] = ("running", "failed", "diverged", "stale", "missing")
_EXCLUDED = TableCell(None, None, 0, 0, None, None, None, None, 0, "excluded", (), {})


def build(sweep: Sweep, results: Mapping[tuple[int, int], Sequence[CellResult]], measured_on: str = "") -> Table:
    """The table of `sweep` from the results of its cells, by (row index, column index).

    `measured_on` names the device of the measurements among them. Results of seeds or cells that the sweep does not
    plan are ignored. Raises ValueError where a seed of a cell has two results of one kind or a value is infinite.
    """
    found = collected(sweep, results)
    reference = reference_of(sweep.rows, found.values)
    rows = _rows(sweep, found, reference)
    facts = Facts(found.unpaired, _correlation(sweep, found, reference), found.diverged, found.provenance,
                  found.weights, measured_on)  # fmt: skip
    best = _best(sweep, found)
    if best is not None:
        rows = _ranked(rows, best)
    notes = tuple(footnotes(sweep, rows, facts, best))
    axes = sweep.axes if is_two_way(sweep) else ()
    return Table(title_of(sweep), sweep.question, _columns(sweep), rows, notes, axes)


def title_of(sweep: Sweep) -> str:
    """The sweep's title, marked where the file alone would not give these results."""
    overrides = "".join(f" [--set {override}]" for override in sweep.overrides)
    return f"{'SMOKE — ' if sweep.smoke else ''}{sweep.title}{overrides}"


def is_two_way(sweep: Sweep) -> bool:
    """Whether the table has a cell for every combination of two fields, and only one metric to show there."""
    return len(sweep.axes) == 2 and len(sweep.metrics) == 1


def _columns(sweep: Sweep) -> tuple[TableColumn, ...]:
    compared = any(row.reference is not None for row in sweep.rows)
    sources: dict[tuple[int, str], dict[str, None]] = {}
    for cell in sweep.cells:
        for metric, published in cell.published.items():
            sources.setdefault((cell.column, metric), {}).update(dict.fromkeys(published))
    known = [metrics.lookup(name) for name in sweep.metrics]
    return tuple(
        TableColumn(
            column.label,
            metric,
            tuple(sources.get((column.index, metric.name), ())),
            compared and not metric.relative_to,
        )
        for column in sweep.columns
        for metric in known
    )


# ---- comparisons -----------------------------------------------------------------------------------------------------


def _correlation(sweep: Sweep, found: Collected, reference: stats.Array) -> stats.Array:
    """Pearson's r of each paired comparison (rows, columns) in the metric that `metrics.tested` gives."""
    at = metrics.tested(sweep.metrics)
    if at is None:
        return np.zeros((0, len(sweep.columns)))
    correlation = stats.correlation(found.values[at], reference[at])
    correlation[list(found.unpaired)] = np.nan
    return correlation


def _difference(values: stats.Array, reference: stats.Array, unpaired: frozenset[int]) -> stats.Difference:
    paired, rows = stats.paired(values, reference), sorted(unpaired)
    welch = stats.welch(values[:, rows], reference[:, rows])
    for name in ("n", "value", "low", "high"):
        getattr(paired, name)[:, rows] = getattr(welch, name)
    return paired


def _best(sweep: Sweep, found: Collected) -> stats.Best | None:
    """Which cell of a two-way table is the best, and which are close; arms are its cells, row by row."""
    better = metrics.lookup(sweep.metrics[0]).better
    if better is None or not is_two_way(sweep):
        return None
    cells = found.values[0].reshape(-1, found.values.shape[-1])
    return stats.best_of(-cells if better == "min" else cells)


def _ranked(rows: Sequence[TableRow], best: stats.Best) -> tuple[TableRow, ...]:
    """The rows with the standing of each cell that has a value."""
    means = [cell.mean for row in rows for cell in row.cells]

    def standing(at: int, cell: TableCell) -> Standing | None:
        if at == best.index or (not best.freedom and cell.mean == means[best.index]):
            return "best"
        if cell.mean is None or not best.freedom:
            return None
        return "close" if best.close[at] else "separated"

    numbered = enumerate(cell for row in rows for cell in row.cells)
    ranked = iter([replace(cell, standing=standing(at, cell)) for at, cell in numbered])
    return tuple(replace(row, cells=tuple(itertools.islice(ranked, len(row.cells)))) for row in rows)


# ---- cells -----------------------------------------------------------------------------------------------------------


def _rows(sweep: Sweep, found: Collected, reference: stats.Array) -> tuple[TableRow, ...]:
    """Every row with its cells. Arrays become lists first: 100,000 single look-ups in an array take a second."""
    known = [metrics.lookup(name) for name in sweep.metrics]
    spread, difference = stats.spread(found.values), _difference(found.values, reference, found.unpaired)
    ratios = any(metric.relative_to for metric in known)  # what alone shows the interval of its own mean
    own = stats.paired(found.values, np.zeros(1)) if ratios else difference
    parts = (spread.mean, spread.sd, difference.value, difference.low, difference.high, own.low, own.high)
    numbers = np.stack(parts, axis=-1).tolist()
    seeds = np.stack((spread.n, difference.n), axis=-1).tolist()
    states = np.stack([(found.states == code).sum(axis=-1) for code in range(len(CODES) + 1)], axis=-1).tolist()
    at = {(cell.row, cell.column): cell for cell in sweep.cells}
    references = {row.reference for row in sweep.rows}

    def cells(row: Row) -> Iterator[TableCell]:
        kind: Pairing = "unpaired" if row.index in found.unpaired else "paired"
        for column in sweep.columns:
            cell = at.get((row.index, column.index))
            for number, metric in enumerate(known):
                if cell is None:
                    yield _EXCLUDED
                    continue
                n, pairs = seeds[number][row.index][column.index]
                state, marks = _state(n, len(row.seeds), states[number][row.index][column.index])
                shown = _shown(metric, numbers[number][row.index][column.index], row.reference is None)
                if row.index in found.unpaired:
                    shown = (*shown[:5], None, None)  # the reference's mean varies too, which this interval leaves out
                mean, sd, delta, low, high, own_low, own_high = shown
                published = cell.published.get(metric.name, {})
                yield TableCell(
                    mean, sd, n, len(row.seeds), delta, low, high, None if delta is None else kind, pairs, state, marks,
                    published, own_low, own_high,
                )  # fmt: skip

    return tuple(
        TableRow(row.label, row.group, row.index in references, row.reference is not None, tuple(cells(row)))
        for row in sweep.rows
    )


def _shown(metric: Metric, numbers: Sequence[float], alone: bool) -> tuple[float | None, ...]:
    """Mean, sd, difference with its ends, the mean's ends; None for what is not defined, or says nothing.

    `alone`: the row is compared with none, so that its ratios are 1 by definition.
    """
    mean, sd, delta, low, high, own_low, own_high = (None if number != number else number for number in numbers)
    if metric.relative_to:
        delta = low = high = None  # the ratio is the comparison
    if not metric.relative_to or alone:
        own_low = own_high = None
    if sd == 0 and (metric.better is None or (metric.relative_to and alone)):
        sd = None  # a count is the same under every seed: "± 0" and [x, x] say nothing
    if metric.better is None and low == high:
        low = high = None
    return mean, sd, delta, low, high, own_low, own_high


def _state(n: int, planned: int, states: Sequence[int]) -> tuple[CellState, tuple[str, ...]]:
    """State and marks of a cell with a value for `n` of its `planned` seeds; `states` counts them by `_CODES`."""
    if n == planned:
        return "complete", ()
    _, complete, diverged, failed, running, _, stale = states
    counts = {"running": running, "failed": failed, "diverged": diverged, "stale": stale}
    counts["missing"] = planned - complete - sum(counts.values())
    marks = [f"{counts[name]} {name}" for name in _OPEN if counts[name]]
    if complete > n:
        marks.append(f"{complete - n} not measured")
    state: CellState = "partial" if n else next((name for name in _OPEN if counts[name]), "missing")
    return state, tuple(marks)
