"""What a sweep file becomes: rows, columns and the recipe of every cell, all frozen. It reads nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinyablate.recipe import Recipe
from tinyablate.sweep import metrics

Kind = Literal["train", "measure"]
"""What a trial does: train, or measure speed on a device that it has to itself."""


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    index: int
    label: str
    group: str
    """Heading that the row stands under; empty without groups."""
    reference: int | None
    """Index of the row that its difference is taken against; None for a reference itself, or where there is none."""
    seeds: tuple[int, ...]
    null: bool
    """The baseline again under other seeds: what its difference shows is noise."""


@dataclass(frozen=True)
class Column:
    """A column of the second axis; a sweep without one has a single column, labelled ''."""

    index: int
    label: str


@dataclass(frozen=True)
class Cell:
    """Where a row meets a column: one variant."""

    row: int
    column: int
    recipe: Recipe
    canonical: str
    """`identity.canonical` of the recipe."""
    published: Mapping[str, Mapping[str, float]]
    """Metric -> source -> the number it gives."""


@dataclass(frozen=True)
class Exclusion:
    """A cell that the file leaves out, and why."""

    row_label: str
    column_label: str
    reason: str


@dataclass(frozen=True)
class Figure:
    """A metric over the epochs, one line per row: the mean over seeds with its spread."""

    metric: str
    """Of source `epochs`."""
    published: Mapping[str, tuple[tuple[int, float], ...]]
    """Label -> (epoch, value): the published curves, from a CSV file beside the sweep; drawn under ours."""


@dataclass(frozen=True)
class Sweep:
    """One file and the question it asks, complete: nothing in it needs the file again."""

    name: str
    path: Path
    title: str
    question: str
    source: str
    metrics: tuple[str, ...]
    """Names that `metrics.lookup` knows."""
    select: Literal["best", "last"]
    margin: float | None
    """The smallest difference that matters, in the unit of the first metric."""
    baseline: Recipe
    """What rows and columns change; the first cell's where [baseline] is no whole recipe (each row names its model)."""
    figure: "Figure | None"
    """What `tinyablate figure` draws; None where the file has no [figure]."""
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: tuple[Cell, ...]
    """Row by row; combinations that `when` or `exclude` drops are absent."""
    excluded: tuple[Exclusion, ...]
    smoke: bool
    overrides: tuple[str, ...]
    """The `path=value` texts that were put onto the baseline."""
    text: str
    """The file and all that it extends, verbatim, each after a line with its name."""
    digest: str
    """sha256 of text, smoke, overrides and the seeds asked for."""
    axes: tuple[str, ...] = ()
    """Of each axis of [grid] and [zip] its field, or the fields that move together; empty where rows are listed."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of trials that its metrics and figure need; facts of a model come with either."""
        sources = {metrics.lookup(name).source for name in self.metrics}
        train: tuple[Kind, ...] = ("train",) if "epochs" in sources or self.figure else ()
        measure: tuple[Kind, ...] = ("measure",) if "measured" in sources or not train else ()
        return train + measure
