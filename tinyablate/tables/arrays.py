"""The results of a sweep's cells as arrays over metrics, rows, columns and seeds. It summarises nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Cell, Kind, Row, Sweep
from tinyablate.tables import stats
from tinyablate.tables.schema import CellResult, Provenance
from tinyablate.tables.words import place

CODES: dict[str, int] = {"complete": 1, "diverged": 2, "failed": 3, "running": 4, "pending": 5, "stale": 6}
"""State of a seed -> its number in `Collected.states`; 0 is a seed without a result."""
COMPLETE, DIVERGED = CODES["complete"], CODES["diverged"]

TRIALS: tuple[Kind, ...] = ("train", "measure")
"""Order of the trials' kinds in arrays."""


class Frame:
    """Where the seeds of a sweep's cells stand in arrays over kinds, rows, columns and seeds."""

    def __init__(self, sweep: Sweep) -> None:
        self.seeds = tuple(sorted({seed for row in sweep.rows for seed in row.seeds}))
        """The union of all rows' seeds."""
        self.shape = (len(TRIALS), len(sweep.rows), len(sweep.columns), len(self.seeds))
        self._at = {seed: at for at, seed in enumerate(self.seeds)}

    def places(self, row: int, column: int, kind: Kind, seeds: Iterable[int]) -> list[int]:
        """The flat index of each of these seeds of a cell."""
        _, rows, columns, count = self.shape
        start = ((TRIALS.index(kind) * rows + row) * columns + column) * count
        return [start + self._at[seed] for seed in seeds]


@dataclass(frozen=True)
class Trials:
    """Results as they come, entry by entry: one trial in one cell of the table."""

    where: Sequence[int]
    """Flat index by `Frame`."""
    states: Sequence[int] | NDArray[np.int64]
    """See `CODES`."""
    values: Mapping[str, Sequence[float] | stats.Array]
    """Metric -> a value for each entry under the sweep's selection rule, nan where there is none."""
    compared: Mapping[str, Sequence[float] | stats.Array]
    """The same under the rule that verdicts use, for the metrics of which it is another."""
    diverged: tuple[str, ...]
    """A phrase for each diverged trial."""
    provenance: Counter[tuple[str, Provenance]]
    """(data set's name, provenance) -> complete trials."""
    weights: Mapping[str, set[str]]
    """Model -> digests of the pretrained weights that its complete trials started from."""
    keys: Mapping[tuple[int, int, Kind], Mapping[int, str]]
    """(row, column, kind) -> seed -> the trial's key."""


@dataclass(frozen=True)
class Collected:
    """The results as arrays over metrics M, rows R, columns C and seeds S (the union of all rows' seeds)."""

    seeds: tuple[int, ...]
    values: stats.Array
    """(M, R, C, S), nan where there is none."""
    compared: stats.Array
    """(M, R, C, S) under the rule that verdicts use; `values` itself where that is the same."""
    states: NDArray[np.int64]
    """(M, R, C, S), see `CODES`: of the trial that yields the metric."""
    unpaired: frozenset[int]
    """Indices of the rows whose difference is between independent runs."""
    trials: Trials


def needed(names: Sequence[str]) -> list[str]:
    """The metrics, each once, whose values the metrics `names` are made of: a ratio's is the one it is the ratio of."""
    return list(dict.fromkeys(metric.relative_to or metric.name for metric in map(metrics.lookup, names)))


def trials_of(sweep: Sweep, results: Mapping[tuple[int, int], Sequence[CellResult]]) -> Trials:
    """The results of the planned seeds, by (row index, column index)."""
    frame = Frame(sweep)
    found: list[tuple[Cell, CellResult]] = []
    for cell in sweep.cells:
        seeds = sweep.rows[cell.row].seeds
        found += [(cell, one) for one in results.get((cell.row, cell.column), ()) if one.seed in seeds]
    complete = [(cell.recipe, one.provenance) for cell, one in found if one.state == "complete" and one.provenance]
    weights: dict[str, set[str]] = {}
    for recipe, origin in complete:
        weights.setdefault(recipe.model.name, set()).update({origin.weights_digest} - {""})
    keys: dict[tuple[int, int, Kind], dict[int, str]] = {}
    for cell, one in found:
        keys.setdefault((cell.row, cell.column, one.trial), {})[one.seed] = one.key
    names, others = needed(sweep.metrics), any(one.compared is not None for _, one in found)
    return Trials(
        where=[at for cell, one in found for at in frame.places(cell.row, cell.column, one.trial, [one.seed])],
        states=[CODES[one.state] for _, one in found],
        values={name: [one.values.get(name, np.nan) for _, one in found] for name in names},
        compared={name: [_compared(one).get(name, np.nan) for _, one in found] for name in names} if others else {},
        diverged=tuple(
            divergence(sweep, cell, one.seed, one.diverged_epoch) for cell, one in found if one.state == "diverged"
        ),
        provenance=Counter((recipe.data.name, origin) for recipe, origin in complete),
        weights=weights,
        keys=keys,
    )


def _compared(result: CellResult) -> Mapping[str, float]:
    return result.values if result.compared is None else result.compared


def collected(sweep: Sweep, trials: Trials) -> Collected:
    """The arrays. Raises ValueError where a seed of a cell has two results of one kind or a value is infinite."""
    frame = Frame(sweep)
    by_kind = np.zeros(frame.shape, dtype=np.int64)
    by_kind.reshape(-1)[trials.where] = trials.states
    if np.count_nonzero(by_kind) != len(trials.states):
        raise ValueError("two results for one seed of one cell")
    unpaired = frozenset(row.index for row in sweep.rows if _is_unpaired(row, sweep.rows))
    known = [metrics.lookup(name) for name in sweep.metrics]
    by_name = {name: _by_kind(frame, trials.where, trials.values[name]) for name in needed(sweep.metrics)}
    values, states = _over_metrics(known, sweep, by_name, by_kind, unpaired)
    compared = values
    if trials.compared:
        others = {name: _by_kind(frame, trials.where, numbers) for name, numbers in trials.compared.items()}
        compared, _ = _over_metrics(known, sweep, by_name | others, by_kind, unpaired)
    return Collected(frame.seeds, values, compared, states, unpaired, trials)


def home(metric: Metric, sweep: Sweep) -> Kind:
    """The kind of trial that yields the metric; what either knows is asked of the sweep's first."""
    if metric.source in ("facts", "spent"):
        return sweep.kinds[0]
    return "measure" if metric.source == "measured" else "train"


def reference_of(rows: Sequence[Row], values: stats.Array) -> stats.Array:
    """`values` (…, rows, columns, seeds) of each row's reference in that row's place, nan where it has none."""
    reference = values[..., [row.reference or 0 for row in rows], :, :]
    reference[..., [row.reference is None for row in rows], :, :] = np.nan
    return reference


def _by_kind(frame: Frame, where: Sequence[int], numbers: Sequence[float] | stats.Array) -> stats.Array:
    """One metric's numbers by kind of trial, (2, R, C, S)."""
    values = np.full(frame.shape, np.nan)
    values.reshape(-1)[where] = numbers
    if np.isinf(values).any():
        raise ValueError("a result is infinite")
    return values


def _over_metrics(
    known: Sequence[Metric],
    sweep: Sweep,
    values: Mapping[str, stats.Array],
    states: NDArray[np.int64],
    unpaired: frozenset[int],
) -> tuple[stats.Array, NDArray[np.int64]]:
    """Values and states of every metric (M, R, C, S), from those of both kinds of trials (2, R, C, S)."""
    parts = [_of_metric(metric, sweep, values[metric.relative_to or metric.name], states, unpaired) for metric in known]
    return np.stack([part[0] for part in parts]), np.stack([part[1] for part in parts])


def _of_metric(
    metric: Metric, sweep: Sweep, values: stats.Array, states: NDArray[np.int64], unpaired: frozenset[int]
) -> tuple[stats.Array, NDArray[np.int64]]:
    """Values and states (R, C, S) of the metric, from those of both kinds of trials (2, R, C, S)."""
    at = TRIALS.index(home(metric, sweep))
    if metric.source == "facts":  # the same whichever trial tells them, even one that diverged later
        either = np.where(np.isnan(values[at]), values[1 - at], values[at])
        return either, np.where(np.isnan(either), states[at], COMPLETE)
    if metric.relative_to:
        return _ratio(sweep.rows, values[at], states[at], unpaired)
    return values[at], states[at]


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


def divergence(sweep: Sweep, cell: Cell, seed: int, epoch: int | None) -> str:
    """Which trial diverged, and when."""
    when = "" if epoch is None else f" in epoch {epoch}"
    return f"{place(sweep.rows[cell.row].label, sweep.columns[cell.column].label)} with seed {seed}{when}"


def _is_unpaired(row: Row, rows: Sequence[Row]) -> bool:
    """Whether the row's difference is between independent runs: a null row, or no planned seed in common."""
    if row.reference is None or row.seeds == rows[row.reference].seeds:
        return False
    return row.null or not set(row.seeds) & set(rows[row.reference].seeds)
