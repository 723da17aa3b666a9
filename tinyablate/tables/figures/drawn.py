"""What every kind of figure is made from, and what it hands over: numbers, words, and how they are painted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinyablate.errors import UsageError, listed, nearest
from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Figure, Sweep
from tinyablate.tables.protocol import command
from tinyablate.tables.schema import Table, TableCell
from tinyablate.tables.words import cut, place, signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

Numbers = tuple[tuple[object, ...], ...]
"""Lines of the CSV file beside a picture; None is empty there."""


class NotShown(UsageError):
    """This sweep has no figure of this kind."""


class NothingToDraw(NotShown):
    """The figure is fine but the store has nothing for it yet."""

    def __init__(self, sweep: Sweep, why: str) -> None:
        super().__init__(f"{sweep.name}: nothing to draw, {why}; next: {command(sweep)}")


@dataclass(frozen=True)
class Drawn:
    """A figure before it becomes a file."""

    columns: tuple[str, ...]
    """Heading of `numbers`."""
    numbers: Numbers
    notes: tuple[str, ...]
    """Sentences under the picture."""
    warnings: tuple[str, ...]
    """What the person at the terminal should know of it."""
    size: tuple[float, float]
    """Width and height in inches, without title and notes."""
    paint: "Callable[[Picture], None]"


@dataclass(frozen=True)
class View:
    """A table as one figure looks at it: its metric's columns, the rows that it shows."""

    sweep: Sweep
    """Whose rows are the table's, in the same order."""
    spec: Figure
    table: Table

    @property
    def metric(self) -> Metric:
        """What is drawn."""
        return metrics.lookup(self.spec.metric)

    @property
    def margin(self) -> float | None:
        """The declared smallest difference that matters, where it is one of this metric."""
        return self.sweep.margin if self.spec.metric == self.sweep.metrics[0] else None

    @property
    def rows(self) -> tuple[int, ...]:
        """Indices of the rows shown. Raises UsageError for a label that no row has."""
        return chosen_rows(self.spec, [row.label for row in self.table.rows])

    def columns(self, name: str = "") -> tuple[int, ...]:
        """Indices of the table's columns of this metric, one for each column of the second axis."""
        return tuple(at for at, each in enumerate(self.table.columns) if each.metric.name == (name or self.spec.metric))

    def label(self, row: int, column: int) -> str:
        """What a cell is called."""
        return place(self.table.rows[row].label, self.table.columns[column].label)

    def cell(self, row: int, column: int) -> TableCell:
        """The cell there."""
        return self.table.rows[row].cells[column]

    def gaps(self) -> Iterator[tuple[str, bool, str]]:
        """(label, whether it has a value at all, what is wrong or open) of every cell shown that is not complete."""
        for row in self.rows:
            for column in self.columns():
                cell = self.cell(row, column)
                if cell.marks:
                    yield self.label(row, column), cell.mean is not None, ", ".join(cell.marks)


def chosen_rows(spec: Figure, labels: Sequence[str]) -> tuple[int, ...]:
    """Indices of the rows that a figure of a sweep with these labels shows. Raises UsageError."""
    for label in spec.rows:
        if label not in labels:
            raise UsageError(f"--row {label}: no such row{nearest(label, labels)} (rows: {listed(labels)})")
    return tuple(labels.index(label) for label in spec.rows) if spec.rows else tuple(range(len(labels)))


def gap_notes(gaps: Sequence[tuple[str, bool, str]]) -> tuple[str, ...]:
    """A sentence for what is not drawn and one for what is drawn from fewer seeds than planned."""
    absent = [f"{label} ({what})" for label, some, what in gaps if not some]
    partial = [f"{label} ({what})" for label, some, what in gaps if some]
    notes = [f"Not drawn: {named(absent)}."] if absent else []
    return (*notes, f"Of fewer seeds than planned: {named(partial)}.") if partial else tuple(notes)


def named(labels: Sequence[str]) -> str:
    """The labels, separated by semicolons; long lists are cut with a count of the rest."""
    return cut(labels, most=12, between="; ")


def difference_title(metric: Metric, what: str = "") -> str:
    """`difference in top-1 (percentage points)`; a ratio is its own comparison."""
    if metric.relative_to:
        return metric.heading
    unit = "percentage points" if metric.unit == "%" else metric.unit
    what = what or f"difference in {metric.title}"
    return f"{what} ({unit})" if unit else what


def written(metric: Metric, value: float, digits: int | None = None) -> str:
    """A single value with its unit: `1.82 G`; a small count or cost with two digits that tell something: `0.0014 G`.

    `digits`: after the point, where a sweep's file wants others than the metric's.
    """
    small = metric.better is None and digits is None and 0 < abs(value) < 0.1
    text = f"{value:.2g}" if small else f"{value:z,.{metric.digits if digits is None else digits}f}"
    return f"{text} {metric.unit}".rstrip()


def interval(value: float, low: float | None, high: float | None, digits: int) -> str:
    """`+0.35 [-0.10, +0.80]`, without the brackets where there is no interval."""
    if low is None or high is None:
        return signed(value, digits)
    return f"{signed(value, digits)} [{signed(low, digits)}, {signed(high, digits)}]"
