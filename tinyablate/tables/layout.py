"""From a sweep and the results of its cells to a finished Table: numbers, states and marks.

It reads no database (the caller brings the results) and knows no output format (see `render`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Cell, Row, Sweep
from tinyablate.tables import stats
from tinyablate.tables.footnotes import Facts, footnotes, place
from tinyablate.tables.schema import (
    CellResult,
    CellState,
    Kind,
    Provenance,
    Table,
    TableCell,
    TableColumn,
    TableRow,
)

__all__ = ["CellResult", "Provenance", "Table", "TableCell", "TableColumn", "TableRow", "build"]

# State of a seed -> its number in `_Collected.states`; 0 is a seed without a result.
_CODES: dict[str, int] = {"complete": 1, "diverged": 2, "failed": 3, "running": 4, "pending": 5, "stale": 6}
# Order of the marks; a cell without any value takes its state from the first that applies.
_OPEN: tuple[CellState, ...] = ("running", "failed", "diverged", "stale", "missing")
_EXCLUDED = TableCell(None, None, 0, 0, None, None, None, None, 0, "excluded", (), {})


@dataclass(frozen=True)
class _Collected:
    """The results as arrays over metrics M, rows R, columns C and seeds S (the union of all rows' seeds)."""

    values: stats.Array
    """(M, R, C, S), nan where there is none."""
    states: NDArray[np.int64]
    """(R, C, S), see `_CODES`."""
    diverged: tuple[str, ...]
    """A phrase for each diverged trial."""
    provenance: Counter[tuple[str, Provenance]]
    """(data set's name, provenance) -> complete trials."""
    weights: Mapping[str, set[str]]
    """Model -> digests of the pretrained weights that its complete trials started from."""


def build(sweep: Sweep, results: Mapping[tuple[int, int], Sequence[CellResult]]) -> Table:
    """The table of `sweep` from the results of its cells, by (row index, column index).

    Results of seeds or cells that the sweep does not plan are ignored. Raises ValueError where a seed of a cell has two
    results or a value is infinite.
    """
    collected = _collect(sweep, results)
    unpaired = frozenset(row.index for row in sweep.rows if _is_unpaired(row, sweep.rows))
    reference = _reference_values(sweep.rows, collected.values)
    correlation = stats.correlation(collected.values[0], reference[0])
    correlation[list(unpaired)] = np.nan
    rows = _rows(sweep, collected, reference, unpaired)
    facts = Facts(unpaired, correlation, collected.diverged, collected.provenance, collected.weights)
    return Table(_title(sweep), sweep.question, _columns(sweep), rows, tuple(footnotes(sweep, rows, facts)))


def _title(sweep: Sweep) -> str:
    overrides = "".join(f" [--set {override}]" for override in sweep.overrides)
    return f"{'SMOKE — ' if sweep.smoke else ''}{sweep.title}{overrides}"


def _columns(sweep: Sweep) -> tuple[TableColumn, ...]:
    compared = any(row.reference is not None for row in sweep.rows)
    sources: dict[tuple[int, str], dict[str, None]] = {}
    for cell in sweep.cells:
        for metric, published in cell.published.items():
            sources.setdefault((cell.column, metric), {}).update(dict.fromkeys(published))
    return tuple(
        TableColumn(column.label, metrics.KNOWN[name], tuple(sources.get((column.index, name), ())), compared)
        for column in sweep.columns
        for name in sweep.metrics
    )


def _collect(sweep: Sweep, results: Mapping[tuple[int, int], Sequence[CellResult]]) -> _Collected:
    """The results of the planned seeds as arrays."""
    union = {seed: at for at, seed in enumerate(sorted({seed for row in sweep.rows for seed in row.seeds}))}
    shape = (len(sweep.rows), len(sweep.columns), len(union))
    where: list[int] = []
    found: list[CellResult] = []
    diverged: list[str] = []
    origins: dict[str, list[Provenance | None]] = {}
    weights: dict[str, set[str]] = {}
    for cell in sweep.cells:
        row, start = sweep.rows[cell.row], (cell.row * shape[1] + cell.column) * shape[2]
        planned = [result for result in results.get((cell.row, cell.column), ()) if result.seed in row.seeds]
        where += [start + union[result.seed] for result in planned]
        found += planned
        diverged += [_divergence(sweep, cell, result) for result in planned if result.state == "diverged"]
        complete = [result.provenance for result in planned if result.state == "complete"]
        origins.setdefault(cell.recipe.data.name, []).extend(complete)
        weights.setdefault(cell.recipe.model.name, set()).update(p.weights_digest for p in complete if p is not None)
    states = np.zeros(shape, dtype=np.int64)
    states.reshape(-1)[where] = [_CODES[result.state] for result in found]
    if np.count_nonzero(states) != len(found):
        raise ValueError("two results for one seed of one cell")
    return _Collected(_values(sweep.metrics, shape, where, found), states, tuple(diverged), _counted(origins), weights)


def _values(
    names: Sequence[str], shape: tuple[int, int, int], where: Sequence[int], found: Sequence[CellResult]
) -> stats.Array:
    values = np.full((len(names), *shape), np.nan)
    for at, name in enumerate(names):
        values[at].reshape(-1)[where] = [result.values.get(name, np.nan) for result in found]
    if np.isinf(values).any():
        raise ValueError("a result is infinite")
    return values


def _counted(origins: Mapping[str, Sequence[Provenance | None]]) -> Counter[tuple[str, Provenance]]:
    """How often each occurs; by identity first, because hashing 100,000 provenances takes 0.1 s."""
    counted: Counter[tuple[str, Provenance]] = Counter()
    for data, found in origins.items():
        by_identity = {id(origin): origin for origin in found}
        for identity, count in Counter(map(id, found)).items():
            origin = by_identity[identity]
            if origin is not None:
                counted[data, origin] += count
    return counted


def _divergence(sweep: Sweep, cell: Cell, result: CellResult) -> str:
    epoch = "" if result.diverged_epoch is None else f" in epoch {result.diverged_epoch}"
    return f"{place(sweep.rows[cell.row].label, sweep.columns[cell.column].label)} with seed {result.seed}{epoch}"


def _is_unpaired(row: Row, rows: Sequence[Row]) -> bool:
    """Whether the row's difference is between independent runs: a null row, or no planned seed in common."""
    if row.reference is None or row.seeds == rows[row.reference].seeds:
        return False
    return row.null or not set(row.seeds) & set(rows[row.reference].seeds)


def _reference_values(rows: Sequence[Row], values: stats.Array) -> stats.Array:
    """`values` of each row's reference in that row's place, nan where it has none."""
    reference = values[:, [row.reference or 0 for row in rows]]
    reference[:, [row.reference is None for row in rows]] = np.nan
    return reference


def _difference(values: stats.Array, reference: stats.Array, unpaired: frozenset[int]) -> stats.Difference:
    paired, rows = stats.paired(values, reference), sorted(unpaired)
    welch = stats.welch(values[:, rows], reference[:, rows])
    for name in ("n", "value", "low", "high"):
        getattr(paired, name)[:, rows] = getattr(welch, name)
    return paired


def _rows(
    sweep: Sweep, collected: _Collected, reference: stats.Array, unpaired: frozenset[int]
) -> tuple[TableRow, ...]:
    """Every row with its cells. Arrays become lists first: 100,000 single look-ups in an array take a second."""
    known = [metrics.KNOWN[name] for name in sweep.metrics]
    spread, difference = stats.spread(collected.values), _difference(collected.values, reference, unpaired)
    parts = (spread.mean, spread.sd, difference.value, difference.low, difference.high)
    numbers = np.stack(parts, axis=-1).tolist()
    seeds = np.stack((spread.n, difference.n), axis=-1).tolist()
    states = np.stack([(collected.states == code).sum(axis=-1) for code in range(len(_CODES) + 1)], axis=-1).tolist()
    at = {(cell.row, cell.column): cell for cell in sweep.cells}
    references = {row.reference for row in sweep.rows}

    def cells(row: Row) -> Iterator[TableCell]:
        kind: Kind = "unpaired" if row.index in unpaired else "paired"
        for column in sweep.columns:
            cell = at.get((row.index, column.index))
            for number, metric in enumerate(known):
                if cell is None:
                    yield _EXCLUDED
                    continue
                n, pairs = seeds[number][row.index][column.index]
                state, marks = _state(n, len(row.seeds), states[row.index][column.index])
                mean, sd, delta, low, high = _shown(metric, numbers[number][row.index][column.index])
                published = cell.published.get(metric.name, {})
                yield TableCell(
                    mean, sd, n, len(row.seeds), delta, low, high, None if delta is None else kind, pairs, state, marks,
                    published,
                )  # fmt: skip

    return tuple(
        TableRow(row.label, row.group, row.index in references, row.reference is not None, tuple(cells(row)))
        for row in sweep.rows
    )


def _shown(metric: Metric, numbers: Sequence[float]) -> tuple[float | None, ...]:
    """Mean, sd, difference, low, high with None for what is not defined, or says nothing."""
    mean, sd, delta, low, high = (None if number != number else number for number in numbers)
    if metric.better is None and sd == 0:  # a count is the same under every seed: "± 0" and [x, x] say nothing
        sd = None
    if metric.better is None and low == high:
        low = high = None
    return mean, sd, delta, low, high


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
