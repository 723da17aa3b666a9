"""The results of a sweep's cells as arrays over metrics, rows, columns and seeds. It summarises nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Cell, Row, Sweep
from tinyablate.tables import stats
from tinyablate.tables.footnotes import place
from tinyablate.tables.schema import CellResult, Provenance

CODES: dict[str, int] = {"complete": 1, "diverged": 2, "failed": 3, "running": 4, "pending": 5, "stale": 6}
"""State of a seed -> its number in `Collected.states`; 0 is a seed without a result."""
COMPLETE = CODES["complete"]

TRIALS = ("train", "measure")
"""Order of the trials' kinds in arrays."""


@dataclass(frozen=True)
class Collected:
    """The results as arrays over metrics M, rows R, columns C and seeds S (the union of all rows' seeds)."""

    values: stats.Array
    """(M, R, C, S), nan where there is none."""
    states: NDArray[np.int64]
    """(M, R, C, S), see `CODES`: of the trial that yields the metric."""
    unpaired: frozenset[int]
    """Indices of the rows whose difference is between independent runs."""
    diverged: tuple[str, ...]
    """A phrase for each diverged trial."""
    provenance: Counter[tuple[str, Provenance]]
    """(data set's name, provenance) -> complete trials."""
    weights: Mapping[str, set[str]]
    """Model -> digests of the pretrained weights that its complete trials started from."""


def collected(sweep: Sweep, results: Mapping[tuple[int, int], Sequence[CellResult]]) -> Collected:
    """The results of the planned seeds. Raises ValueError as `layout.build` says."""
    union = {seed: at for at, seed in enumerate(sorted({seed for row in sweep.rows for seed in row.seeds}))}
    shape = (len(TRIALS), len(sweep.rows), len(sweep.columns), len(union))
    start_of = {kind: at * shape[1] * shape[2] * shape[3] for at, kind in enumerate(TRIALS)}
    where: list[int] = []
    found: list[CellResult] = []
    diverged: list[str] = []
    origins: dict[str, list[Provenance | None]] = {}
    weights: dict[str, set[str]] = {}
    for cell in sweep.cells:
        row, start = sweep.rows[cell.row], (cell.row * shape[2] + cell.column) * shape[3]
        planned = [result for result in results.get((cell.row, cell.column), ()) if result.seed in row.seeds]
        where += [start_of[result.trial] + start + union[result.seed] for result in planned]
        found += planned
        diverged += [_divergence(sweep, cell, result) for result in planned if result.state == "diverged"]
        complete = [result.provenance for result in planned if result.state == "complete"]
        origins.setdefault(cell.recipe.data.name, []).extend(complete)
        digests = {origin.weights_digest for origin in complete if origin is not None}
        weights.setdefault(cell.recipe.model.name, set()).update(digests - {""})
    by_kind = np.zeros(shape, dtype=np.int64)
    by_kind.reshape(-1)[where] = [CODES[result.state] for result in found]
    if np.count_nonzero(by_kind) != len(found):
        raise ValueError("two results for one seed of one cell")
    unpaired = frozenset(row.index for row in sweep.rows if _is_unpaired(row, sweep.rows))
    known = [metrics.lookup(name) for name in sweep.metrics]
    parts = [_of_metric(metric, sweep, _values(metric, shape, where, found), by_kind, unpaired) for metric in known]
    values, states = (np.stack(each) for each in zip(*parts, strict=True))
    return Collected(values, states, unpaired, tuple(diverged), _counted(origins), weights)


def reference_of(rows: Sequence[Row], values: stats.Array) -> stats.Array:
    """`values` (…, rows, columns, seeds) of each row's reference in that row's place, nan where it has none."""
    reference = values[..., [row.reference or 0 for row in rows], :, :]
    reference[..., [row.reference is None for row in rows], :, :] = np.nan
    return reference


def _values(metric: Metric, shape: tuple[int, ...], where: Sequence[int], found: Sequence[CellResult]) -> stats.Array:
    """The metric by kind of trial, (2, R, C, S)."""
    values, name = np.full(shape, np.nan), metric.relative_to or metric.name
    values.reshape(-1)[where] = [result.values.get(name, np.nan) for result in found]
    if np.isinf(values).any():
        raise ValueError("a result is infinite")
    return values


def _of_metric(
    metric: Metric, sweep: Sweep, values: stats.Array, states: NDArray[np.int64], unpaired: frozenset[int]
) -> tuple[stats.Array, NDArray[np.int64]]:
    """Values and states (R, C, S) of the metric, from those of both kinds of trials (2, R, C, S)."""
    if metric.source == "facts":  # the same whichever trial tells them, even one that diverged later
        home = TRIALS.index(sweep.kinds[0])
        either = np.where(np.isnan(values[home]), values[1 - home], values[home])
        return either, np.where(np.isnan(either), states[home], COMPLETE)
    home = TRIALS.index("measure" if metric.source == "measured" else "train")
    if metric.relative_to:
        return _ratio(sweep.rows, values[home], states[home], unpaired)
    return values[home], states[home]


def _ratio(
    rows: Sequence[Row], values: stats.Array, states: NDArray[np.int64], unpaired: frozenset[int]
) -> tuple[stats.Array, NDArray[np.int64]]:
    """Each value over that of the row's reference under the same seed, or over its mean where seeds are not paired.

    A row without a reference is its own. A seed whose reference is not there yet has the reference's state.
    """
    against = [row.index if row.reference is None else row.reference for row in rows]
    base, base_states, alone = values[against], states[against], sorted(unpaired)
    base[alone] = stats.spread(base[alone]).mean[..., None]
    ratio = values / np.where(base > 0, base, np.nan)
    waiting = np.isnan(ratio) & ~np.isnan(values) & (base_states != COMPLETE)
    return ratio, np.where(waiting, base_states, states)


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
