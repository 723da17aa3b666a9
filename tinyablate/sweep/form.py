"""The parts of a sweep file, each value checked and with its place; nothing is combined yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tinyablate.sweep.fields import Assignments, Condition, Leaf, Place
from tinyablate.sweep.schema import Component, Select, Sequential

Published = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Column label -> metric -> source -> number."""


@dataclass(frozen=True)
class Axis:
    """Fields whose levels move together: one field of [grid], or all of [zip]."""

    paths: tuple[str, ...]
    levels: tuple[tuple[Leaf, ...], ...]
    """For each level, a value for each path."""


@dataclass(frozen=True)
class RowForm:
    """An entry of [[rows]], or a row made from a grid or a list of components."""

    label: str
    place: Place
    set: Assignments = field(default_factory=dict)
    group: str = ""
    axes: tuple[Axis, ...] = ()
    when: Condition | None = None
    seeds: tuple[int, ...] | None = None
    """None: the sweep's."""
    published: Published = field(default_factory=dict)
    smoke: Assignments = field(default_factory=dict)
    """What `--smoke` puts over this row alone, after everything else."""
    reference: int | None = None
    """Only for components; in other sweeps the first row that sets nothing."""
    declares: tuple[str, ...] | None = None
    """Fields or sections in which it may differ from its reference; None: the file does not say."""
    null: bool = False
    """Asked for by --null-rows: its reference again, under other seeds."""
    broken: bool = False
    """Something in it was refused, so nothing can be said about its recipe."""


@dataclass(frozen=True)
class ColumnForm:
    """An entry of [[columns]], or a column made from a grid's last axis."""

    label: str
    place: Place
    set: Assignments = field(default_factory=dict)
    when: Condition | None = None
    broken: bool = False


@dataclass(frozen=True)
class ExcludeForm:
    """An entry of [[exclude]]."""

    where: Condition
    reason: str
    place: Place


@dataclass(frozen=True)
class CellForm:
    """An entry of [[cells]]: what was published of one cell, for grids, which have no [[rows]] to say it in."""

    where: Condition
    published: Mapping[str, Mapping[str, float]]
    """Metric -> source -> number."""


@dataclass(frozen=True)
class Part:
    """An entry of [components.parts]: what a recipe is without it, and with it."""

    label: str
    off: Assignments
    on: Assignments
    """Empty: the baseline's values."""
    place: Place


@dataclass(frozen=True)
class Components:
    """The table [components]."""

    expansions: tuple[str, ...]
    parts: tuple[Part, ...]
    place: Place
    broken: bool
    """A part was refused, so nothing can be said about the rows' recipes."""


@dataclass
class Smoke:
    """The overlay of `--smoke`."""

    given: bool = False
    set: Assignments = field(default_factory=dict)
    levels: dict[str, dict[str, Leaf]] = field(default_factory=dict)
    """Field -> `ident` of a level -> the small level it becomes."""


@dataclass(frozen=True)
class Layout:
    """The table [layout]."""

    digits: Mapping[str, int] = field(default_factory=dict)
    """Metric -> digits after the point."""
    named: tuple[Component, ...] = ()
    """Columns of ✓ and ✗ that the file names."""
    derive: bool = False
    """They are derived from what rows, or parts, change."""


@dataclass(frozen=True)
class Form:
    """A sweep file and all that it extends, checked value by value."""

    place: Place
    kinds: frozenset[str]
    """Which of rows, columns, grid, zip and components the file has."""
    title: str
    question: str
    source: str
    metrics: tuple[str, ...]
    select: Select
    seeds: tuple[int, ...] | None
    """None: the file gives none. Of a rule, its first seeds."""
    sequential: Sequential | None
    """The rule, where `seeds` is one."""
    margin: float | None
    family: Literal["table", "column"]
    test: Literal["max-t", "holm"]
    retry_diverged: int
    layout: Layout
    baseline: Assignments
    baseline_broken: bool
    overridden: frozenset[str]
    """Fields that the command line set."""
    rows: tuple[RowForm, ...]
    columns: tuple[ColumnForm, ...]
    axes: tuple[Axis, ...]
    """Of [grid], then [zip]."""
    excludes: tuple[ExcludeForm, ...]
    cells: tuple[CellForm, ...]
    smoke: Smoke
    components: Components | None


@dataclass(frozen=True)
class Source:
    """One file of the chain of `extends`, the sweep itself first."""

    place: Place
    path: Path
    name: str
    """As the file that extends it writes it; the sweep's own file name."""
    text: str
    table: Mapping[str, Any]
