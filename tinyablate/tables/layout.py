"""From a sweep and the results of its cells to a finished Table: numbers, states and marks.

It reads no database (the caller brings the results) and knows no output format (see `render`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Cell, Row, Sweep
from tinyablate.tables import stats
from tinyablate.tables.arrays import CODES, Collected, Trials, collected, home, trials_of
from tinyablate.tables.changes import changes_of, marks_of
from tinyablate.tables.comparisons import At, Compared, compare
from tinyablate.tables.footnotes import Facts, footnotes
from tinyablate.tables.ranking import Ranking, is_two_way, rankings
from tinyablate.tables.schema import (
    CellResult,
    CellState,
    Comparison,
    Note,
    Pairing,
    Provenance,
    Replicates,
    Standing,
    Table,
    TableCell,
    TableColumn,
    TableRow,
)
from tinyablate.tables.words import SMALL

__all__ = ["CellResult", "Provenance", "Table", "TableCell", "TableColumn", "TableRow", "build", "finished", "title_of"]

# Order of the marks; a cell without any value takes its state from the first that applies.
_OPEN: tuple[CellState, ...] = ("running", "failed", "diverged", "stale", "missing")
_EXCLUDED = TableCell(None, None, 0, 0, None, None, None, None, 0, "excluded", (), {})


def build(sweep: Sweep, results: Mapping[tuple[int, int], Sequence[CellResult]], measured_on: str = "") -> Table:
    """The table of `sweep` from the results of its cells, by (row index, column index).

    `measured_on` names the device of the measurements among them. Results of seeds or cells that the sweep does not
    plan are ignored. Raises ValueError where a seed of a cell has two results of one kind or a value is infinite.
    """
    return finished(sweep, trials_of(sweep, results), measured_on)


def finished(sweep: Sweep, trials: Trials, measured_on: str = "", remarks: Sequence[Note] = ()) -> Table:
    """The table from its trials; `remarks` stand among the first footnotes. Raises ValueError as `build` does."""
    found = collected(sweep, trials)
    compared, ranked = compare(sweep, found), rankings(sweep, found)
    rows = _rows(sweep, found, compared, ranked)
    facts = Facts(found, compared, ranked, measured_on, tuple(remarks))
    return Table(
        title=title_of(sweep),
        question=sweep.question,
        columns=_columns(sweep, found),
        rows=rows,
        notes=tuple(footnotes(sweep, rows, facts)),
        axes=sweep.axes if is_two_way(sweep) else (),
        name=sweep.name,
        components=tuple(component.label for component in sweep.components),
        statistics=compared.statistics,
        replicates=_replicates(sweep, found),
        smoke=sweep.smoke,
    )


def title_of(sweep: Sweep) -> str:
    """The sweep's title, marked where the file alone would not give these results."""
    overrides = "".join(f" [--set {override}]" for override in sweep.overrides)
    return f"{'SMOKE — ' if sweep.smoke else ''}{sweep.title}{overrides}"


def _columns(sweep: Sweep, found: Collected) -> tuple[TableColumn, ...]:
    compared = any(row.reference is not None for row in sweep.rows)
    sources: dict[tuple[int, str], dict[str, None]] = {}
    for cell in sweep.cells:
        for metric, published in cell.published.items():
            sources.setdefault((cell.column, metric), {}).update(dict.fromkeys(published))
    return tuple(
        TableColumn(
            column.label,
            metric,
            tuple(sources.get((column.index, metric.name), ())),
            compared and not metric.relative_to,
            sweep.digits.get(metric.name, _digits(metric, found.values[m, :, column.index])),
        )
        for column in sweep.columns
        for m, metric in enumerate(map(metrics.lookup, sweep.metrics))
    )


def _digits(metric: Metric, values: stats.Array) -> int:
    """The metric's; of a count or cost that is small in every row, as a tiny model's MACs, two of its least value."""
    known = np.abs(values[np.isfinite(values) & (values != 0)])
    if metric.better is not None or not known.size or known.max() >= SMALL:
        return metric.digits
    return max(metric.digits, 1 - math.floor(math.log10(known.min())))


def _replicates(sweep: Sweep, found: Collected) -> Replicates:
    """The values behind the cells, printed column by printed column."""
    known = [metrics.lookup(name) for name in sweep.metrics]
    shape = (len(sweep.columns) * len(known), len(sweep.rows), len(found.seeds))
    values, states = found.values.transpose(2, 0, 1, 3).reshape(shape), found.states.transpose(2, 0, 1, 3)
    keys = {
        (cell.column * len(known) + m, cell.row): found.trials.keys.get((cell.row, cell.column, kind), {})
        for m, kind in enumerate(home(metric, sweep) for metric in known)
        for cell in sweep.cells
    }
    return Replicates(found.seeds, values, states.reshape(shape), keys)


# ---- cells -----------------------------------------------------------------------------------------------------------


def _rows(sweep: Sweep, found: Collected, compared: Compared, ranked: Sequence[Ranking]) -> tuple[TableRow, ...]:
    """Every row with its cells."""
    known = [metrics.lookup(name) for name in sweep.metrics]
    filler = _Filler.of(sweep, found, compared, ranked)
    at = {(cell.row, cell.column): cell for cell in sweep.cells}

    def cells(row: Row) -> Iterator[TableCell]:
        for column in sweep.columns:
            cell = at.get((row.index, column.index))
            for number, metric in enumerate(known):
                yield _EXCLUDED if cell is None else filler.cell(row, cell, number, metric)

    references = {row.reference for row in sweep.rows}
    extra = zip(sweep.rows, marks_of(sweep), changes_of(sweep), strict=True)
    return tuple(
        TableRow(
            row.label, row.group, row.index in references, row.reference is not None, tuple(cells(row)),
            row.null, components, changes,
        )
        for row, components, changes in extra
    )  # fmt: skip


@dataclass(frozen=True)
class _Filler:
    """What cells are made of: lists over metrics, rows and columns, as 100,000 single look-ups in an array take a
    second."""

    sweep: Sweep
    found: Collected
    comparisons: Mapping[At, Comparison]
    standings: Mapping[At, Standing]
    numbers: list[list[list[list[float]]]]
    """Mean, sd, difference with its ends, the mean's ends."""
    seeds: list[list[list[list[int]]]]
    """Behind the mean, and behind the difference."""
    states: list[list[list[list[int]]]]
    """How many seeds are in each state."""

    @classmethod
    def of(cls, sweep: Sweep, found: Collected, compared: Compared, ranked: Sequence[Ranking]) -> "_Filler":
        """That of a table."""
        spread, difference = stats.spread(found.values), compared.shown
        ratios = any(
            metrics.lookup(name).relative_to for name in sweep.metrics
        )  # they alone show their mean's interval
        own = stats.paired(found.values, np.zeros(1)) if ratios else difference
        parts = (spread.mean, spread.sd, difference.value, difference.low, difference.high, own.low, own.high)
        states = [(found.states == code).sum(axis=-1) for code in range(len(CODES) + 1)]
        standings = {at: standing for ranking in ranked for at, standing in ranking.standings.items()}
        return cls(
            sweep, found, compared.comparisons, standings, np.stack(parts, axis=-1).tolist(),
            np.stack((spread.n, difference.n), axis=-1).tolist(), np.stack(states, axis=-1).tolist(),
        )  # fmt: skip

    def cell(self, row: Row, cell: Cell, number: int, metric: Metric) -> TableCell:
        """One metric of the cell; `number` is the metric's place."""
        at, planned = (number, row.index, cell.column), len(row.seeds)
        unpaired = row.index in self.found.unpaired
        n, pairs = self.seeds[number][row.index][cell.column]
        state, marks = _state(n, planned, self.states[number][row.index][cell.column])
        mean, sd, delta, low, high, own_low, own_high = _shown(
            metric, self.numbers[number][row.index][cell.column], row.reference is None
        )
        if unpaired:
            own_low = own_high = None  # the reference's mean varies too, which this interval leaves out
        kind: Pairing | None = None if delta is None else "unpaired" if unpaired else "paired"
        published = cell.published.get(metric.name, {})
        predicted = self._predicted(row, metric, at) if published and n > 1 else None
        return TableCell(
            mean, sd, n, planned, delta, low, high, kind, pairs, state, marks, published, own_low, own_high,
            self.standings.get(at), self.comparisons.get(at), predicted,
        )  # fmt: skip

    def _predicted(self, row: Row, metric: Metric, at: At) -> tuple[float, float] | None:
        """The prediction interval of one more run, where the number is one that chance moves."""
        alone = row.reference is None or row.index in self.found.unpaired
        if not metric.compared and (not metric.relative_to or alone):
            return None
        low, high = stats.prediction(self.found.values[at])
        return float(low), float(high)


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
    """State and marks of a cell with a value for `n` of its `planned` seeds; `states` counts them by `CODES`."""
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
