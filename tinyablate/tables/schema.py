"""What the tables are made of: results of cells as they come, finished cells, rows and tables. It computes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Kind

CellState = Literal["complete", "partial", "running", "failed", "diverged", "stale", "missing", "excluded"]
Pairing = Literal["paired", "unpaired"]
Standing = Literal["best", "close", "separated"]
"""In a two-way table: the best cell, one that noise cannot separate from it, one that it can."""


@dataclass(frozen=True)
class Provenance:
    """What computed a result: everything that a table must not mix in silence."""

    commit: str
    train_digest: str
    device: str
    torch: str
    timm: str
    core_version: int
    data_digest: str
    weights_digest: str = ""
    compiled: bool = False


class CellResult(NamedTuple):
    """What the store has for one seed of one cell, from its training or from its measurement."""

    seed: int
    state: str
    """complete | diverged | failed | running | pending | stale."""
    values: Mapping[str, float]
    """Metric -> value in its unit, under the sweep's selection rule. What the trial does not yield is left out; of one
    that is not complete there are at most facts. A ratio's value is that of the metric that it is the ratio of."""
    diverged_epoch: int | None = None
    provenance: Provenance | None = None
    trial: Kind = "train"
    """Which kind of trial it is."""


@dataclass(frozen=True)
class TableColumn:
    """One metric in one column of the sweep's second axis."""

    label: str
    """Label of the second axis; empty in a sweep without one."""
    metric: Metric
    sources: tuple[str, ...]
    """Who published a number in this column."""
    compared: bool
    """Whether any cell below has a difference, now or when its trials are done."""


@dataclass(frozen=True)
class TableCell:
    """One metric of one variant over its seeds. What is not known, or not defined, is None."""

    mean: float | None
    sd: float | None
    n: int
    """Complete seeds with a value."""
    n_planned: int
    delta: float | None
    """Difference to the reference row of the same column."""
    delta_low: float | None
    delta_high: float | None
    kind: Pairing | None
    """How the difference was taken; None where there is none."""
    pairs: int
    """Seeds behind the difference."""
    state: CellState
    marks: tuple[str, ...]
    """What is wrong or open, with counts: `1 diverged`."""
    published: Mapping[str, float]
    """Source -> value."""
    low: float | None = None
    """Ends of the 95 % t interval of the mean; only of a metric that is itself a comparison, as a ratio is."""
    high: float | None = None
    standing: Standing | None = None
    """Only in a two-way table, of a cell with a value; None too where nothing can be separated."""


@dataclass(frozen=True)
class TableRow:
    """A row, with one cell for every column of the table."""

    label: str
    group: str
    baseline: bool
    """Other rows are compared with it."""
    compared: bool
    """It is compared with another row."""
    cells: tuple[TableCell, ...]


@dataclass(frozen=True)
class Table:
    """A table with everything that any format prints of it."""

    title: str
    question: str
    columns: tuple[TableColumn, ...]
    """Column axis first, metrics of one column side by side."""
    rows: tuple[TableRow, ...]
    footnotes: tuple[str, ...]
    axes: tuple[str, ...] = ()
    """Of a two-way table the field of its rows, then that of its columns: one metric, one cell a combination."""
