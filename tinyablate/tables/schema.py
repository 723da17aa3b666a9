"""What the tables are made of: results of cells as they come, finished cells, rows and tables. It computes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tinyablate.sweep.metrics import Metric

CellState = Literal["complete", "partial", "running", "failed", "diverged", "stale", "missing", "excluded"]
Kind = Literal["paired", "unpaired"]


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


class CellResult(NamedTuple):
    """What the store has for one seed of one cell."""

    seed: int
    state: str
    """complete | diverged | failed | running | pending | stale."""
    values: Mapping[str, float]
    """Metric -> value under the sweep's selection rule; empty unless complete. A metric not measured is left out."""
    diverged_epoch: int | None = None
    provenance: Provenance | None = None


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
    kind: Kind | None
    """How the difference was taken; None where there is none."""
    pairs: int
    """Seeds behind the difference."""
    state: CellState
    marks: tuple[str, ...]
    """What is wrong or open, with counts: `1 diverged`."""
    published: Mapping[str, float]
    """Source -> value."""


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
