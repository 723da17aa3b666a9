"""What the tables are made of: results of cells as they come, finished cells, rows and tables. It computes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Kind, Select

CellState = Literal["complete", "partial", "running", "failed", "diverged", "stale", "missing", "excluded"]
Pairing = Literal["paired", "unpaired"]
Standing = Literal["best", "close", "separated"]
"""The best cell of those ranked together, one that noise cannot separate from it, one that it can."""


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
    compared: Mapping[str, float] | None = None
    """As `values`, under the rule that verdicts use; None where that is the same."""
    key: str = ""
    """The trial's."""


VerdictKind = Literal["better", "worse", "equivalent", "undecided", "n too small"]


@dataclass(frozen=True)
class Verdict:
    """What a comparison comes to, by one rule (`stats.verdict`)."""

    kind: VerdictKind
    text: str
    """`worse by at least 3.29`, `no difference detected (-0.21 to +0.15)`, …: rounded to the column's digits."""


@dataclass(frozen=True)
class Comparison:
    """A cell against its reference under the rule that verdicts use. What is not defined is None."""

    rule: Select
    """Which epoch: the sweep's `select`, but the last one where that is `best`."""
    value: float
    low: float | None
    """Ends of the 95 % t interval of the paired difference; of Welch's where it is unpaired."""
    high: float | None
    block_low: float | None
    """Ends of the 95 % interval with seed as block and the variance pooled over the column's rows; None where no third
    row adds to it, as it would be the interval above."""
    block_high: float | None
    bca_low: float | None
    """Ends of the 95 % BCa bootstrap interval; only from 30 pairs."""
    bca_high: float | None
    p: float | None
    """Two-sided, adjusted over the table's family as the sweep's `test` says; None where no sign flips are defined."""
    p_holm: float | None
    correlation: float | None
    """Pearson's r between the paired rows over seeds."""
    verdict: Verdict | None
    p_raw: float | None = None
    """Two-sided, by sign flips of this comparison alone (Stein's t in a sequential sweep): not adjusted for others."""


@dataclass(frozen=True)
class ColumnStatistics:
    """What the comparisons of one column have in common. None where it is not defined."""

    comparisons: int
    sd: float | None
    """Of one value within its row, seed as block, pooled over the rows."""
    freedom: int
    p_fair: float | None
    """Of the test that all rows have one variance; small: pooling is not fair."""
    least_pairs: int
    """Pairs of seeds below which no result of this family can reach 5 %."""
    detect_pairs: int | None
    """Pairs of seeds that detect the declared margin with 80 % power."""


@dataclass(frozen=True, eq=False)
class Replicates:
    """The values behind the cells, for whoever shows single seeds. Arrays, because tables of 100,000 trials exist."""

    seeds: tuple[int, ...]
    """The union over the rows, ascending."""
    values: NDArray[np.float64]
    """(columns, rows, seeds) in the metric's unit under the sweep's selection rule; nan where there is none."""
    states: NDArray[np.int64]
    """(columns, rows, seeds): `arrays.CODES`; 0 where the seed is not planned."""
    keys: Mapping[tuple[int, int], Mapping[int, str]]
    """(column, row) -> seed -> the trial's key."""

    def __eq__(self, other: object) -> bool:
        """Whether all of it is equal, nan to nan."""
        return isinstance(other, Replicates) and (
            (self.seeds, self.keys) == (other.seeds, other.keys)
            and np.array_equal(self.values, other.values, equal_nan=True)
            and np.array_equal(self.states, other.states)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Change:
    """A recipe field in which a row differs from its reference; values as a sweep file writes them."""

    path: str
    before: str
    after: str
    declared: bool = True


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
    digits: int = 2
    """After the decimal point: the file's, else the metric's."""


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
    """Among the cells that it is ranked with (its column's, or all of a two-way table); None where none is ranked."""
    comparison: Comparison | None = None
    predicted: tuple[float, float] | None = None
    """Ends of the 95 % prediction interval of one more run, to hold a published single run against."""


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
    null: bool = False
    """The baseline again under other seeds."""
    components: tuple[str, ...] = ()
    """One text for each of the table's components: ✓, ✗, or the field's value."""
    changes: tuple[Change, ...] = ()
    """What differs from the reference's recipe, in the first column that both have."""


NoteKind = Literal["warning", "reader", "detail", "author"]
"""What nobody may overlook; what whoever reads the numbers needs; what only explains them further; what is to do next,
which says nothing of the numbers and stays out of a paper."""


class Note(NamedTuple):
    """A footnote."""

    text: str
    """Whole sentences."""
    kind: NoteKind = "reader"


class Origin(NamedTuple):
    """What computed some of a table's trials, on which data."""

    data: str
    fingerprint: str
    provenance: Provenance
    trials: int


@dataclass(frozen=True)
class About:
    """By which rules a table was made and from what, for captions, checklists, and the question what it mixes."""

    select: Select
    margin: float | None
    family: str
    test: str
    """The sweep's `test`; `stein` where a rule adds seeds, whose p are Stein's."""
    seeds: str
    """In words: `0-5`, or the rule that adds them."""
    measured_on: tuple[str, ...]
    """Which images the values are of, in words."""
    models: tuple[str, ...]
    overrides: tuple[str, ...]
    digest: str
    """Of the sweep file with all that changes it."""
    planned: int
    """Trials."""
    complete: int
    origins: tuple[Origin, ...]
    """Of the complete trials; sorted."""
    weights: Mapping[str, tuple[str, ...]]
    """Model -> digests of the pretrained weights that its complete trials started from."""
    device_hours: float | None
    """Of all attempts at its trials, failed ones included; None where nobody asked."""
    diverged: int = 0
    """Trials that ended without a value of their own."""
    changed: tuple[str, ...] = ()
    """What decides and is another than at the sweep's first run: `margin 0.2 -> 0.5`."""


@dataclass(frozen=True)
class Table:
    """A table with everything that any format prints of it."""

    title: str
    question: str
    columns: tuple[TableColumn, ...]
    """Column axis first, metrics of one column side by side."""
    rows: tuple[TableRow, ...]
    notes: tuple[Note, ...]
    """Footnotes in the order in which they are read."""
    axes: tuple[str, ...] = ()
    """Of a two-way table the field of its rows, then that of its columns: one metric, one cell a combination."""
    name: str = ""
    """Of the sweep."""
    components: tuple[str, ...] = ()
    """Headings of the ✓ and ✗ columns."""
    statistics: tuple[ColumnStatistics | None, ...] = ()
    """One for each column, or none at all."""
    replicates: Replicates | None = None
    smoke: bool = False
    about: About | None = None
    """Of tables from a store."""

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The texts of all footnotes."""
        return tuple(note.text for note in self.notes)
