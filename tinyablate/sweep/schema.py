"""What a sweep file becomes: rows, columns and the recipe of every cell, all frozen. It reads nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinyablate.recipe import Recipe


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
class Sweep:
    """One file and the question it asks, complete: nothing in it needs the file again."""

    name: str
    path: Path
    title: str
    question: str
    source: str
    metrics: tuple[str, ...]
    """Names in `metrics.KNOWN`."""
    select: Literal["best", "last"]
    margin: float | None
    """The smallest difference that matters, in the unit of the first metric."""
    baseline: Recipe
    """What rows and columns change; the first cell's where [baseline] is no whole recipe (each row names its model)."""
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
