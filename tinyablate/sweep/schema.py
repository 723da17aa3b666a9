"""What a sweep file becomes: rows, columns and the recipe of every cell, all frozen. It reads nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tinyablate.recipe import Recipe, Value
from tinyablate.sweep import metrics

Kind = Literal["train", "measure"]
"""What a trial does: train, or measure speed on a device that it has to itself."""


Select = Literal["best", "last", "cross-fitted"]
"""Which epoch's numbers stand in a table: the best by val_top1, the last, or (val_top1 alone) the best on one half of
the evaluated images scored on the other half, and the other way round."""


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
    declares: tuple[str, ...] | None = None
    """Fields, or whole sections, in which it may differ from its reference; None: the file does not say."""


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


FigureKind = Literal["curves", "forest", "slopes", "heatmap", "waterfall", "interaction", "cost", "power"]
"""What a figure shows; see `tables.figures`."""


@dataclass(frozen=True)
class Look:
    """How a figure is laid out, where it differs from the usual."""

    width: float | None = None
    """Of the file, in inches."""
    height: float | None = None
    """In inches, title and notes included."""
    font_size: float | None = None
    """Of its axes' names, in points; other words keep their ratio to them."""
    title: bool = True
    notes: bool = True
    """Whether they stand in the picture."""


@dataclass(frozen=True)
class Figure:
    """A figure that the file declares."""

    kind: FigureKind
    metric: str
    """What is drawn; of source `epochs` for curves."""
    published: Mapping[str, tuple[tuple[int, float], ...]]
    """Of curves: label -> (epoch, value), the published ones, from a CSV file beside the sweep; drawn under ours."""
    cost: str = ""
    """Of kind `cost`: the metric of the other axis."""
    rows: tuple[str, ...] = ()
    """Labels of the rows that it shows, in this order; empty: all."""
    ylim: tuple[float, float] | None = None
    """Ends of the metric's axis, in its unit; None: as the values need."""
    name: str = ""
    """What its file is called after the sweep's name."""
    xlim: tuple[float, float] | None = None
    """Ends of the axis across: of differences, epochs or costs, whatever the kind has there."""
    look: Look = Look()


@dataclass(frozen=True)
class Sequential:
    """How many seeds a row gets: `least` first, then as many as the half width needs (`tables.sequential`)."""

    least: int
    most: int
    half_width: float
    """Of the 95 % interval of the row's difference, in the unit of the first metric."""


@dataclass(frozen=True)
class Component:
    """A column of ✓ and ✗ before the numbers: a technique that rows have or lack."""

    label: str
    paths: tuple[str, ...]
    """The recipe fields that it is made of."""
    off: Mapping[str, Value]
    """Path -> value without it; empty: a field is off where it is false, zero, empty or "none"."""


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
    select: Select
    margin: float | None
    """The smallest difference that matters, in the unit of the first metric."""
    baseline: Recipe
    """What rows and columns change; the first cell's where [baseline] is no whole recipe (each row names its model)."""
    figures: tuple[Figure, ...]
    """What `tinyablate figure` draws; empty where the file has no [figure] and no [[figures]]."""
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
    sequential: Sequential | None = None
    """Where the file gives `seeds` as a rule; the rows then have its first seeds."""
    family: Literal["table", "column"] = "table"
    """Over which comparisons p-values are adjusted: all of the table's, or those of one printed column."""
    test: Literal["max-t", "holm"] = "max-t"
    """How they are adjusted: step-down over the joint sign flips, or Holm's way."""
    retry_diverged: int = 0
    """How often a trial whose loss stopped being finite is tried again before that is its result."""
    digits: Mapping[str, int] = field(default_factory=dict)
    """Metric -> digits after the point, where the file wants others than the metric's own."""
    components: tuple[Component, ...] = ()
    """Columns of ✓ and ✗; empty: none."""
    expansions: tuple[str, ...] = ()
    """Of a sweep of [components]: how they were expanded (`path-add`, `factorial`, …)."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of trials that its metrics and figure need; facts of a model come with either."""
        drawn = [name for figure in self.figures for name in (figure.metric, figure.cost) if name]
        sources = {metrics.lookup(name).source for name in (*self.metrics, *drawn)}
        train: tuple[Kind, ...] = ("train",) if sources & {"epochs", "spent"} else ()
        measure: tuple[Kind, ...] = ("measure",) if "measured" in sources or not train else ()
        return train + measure
