"""Waterfall: what each step of a cumulative path adds, from its first row to its last, with the interval of each step.

All steps are taken over the seeds that every row of the path has, so that they sum to the whole.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinyablate.tables import stats
from tinyablate.tables.changes import OFF, ON
from tinyablate.tables.figures import style
from tinyablate.tables.figures.design import on_of, recipes_of
from tinyablate.tables.figures.drawn import Drawn, NothingToDraw, View, gap_notes, interval, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

COLUMNS = ("label", "change", "column", "mean", "step", "low", "high", "n")

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Step:
    """A row of the path, in the metric's unit."""

    label: str
    """Of the row."""
    change: str
    """What the step to it does: `+ Mixup`, as the components tell; else the row's label."""
    column: str
    mean: float
    value: float | None
    """Mean difference to the row before it, paired by seed; None of the first."""
    low: float | None
    """Ends of its 95 % t interval; None below two seeds."""
    high: float | None
    n: int
    """Seeds, the same for all steps of a column."""


def path(view: View) -> tuple[int, ...]:
    """Indices of the path's rows in its order; empty where the sweep has no path.

    It is what the figure's `rows` say; else that of [components] expanded as a path; else all rows, null rows left
    out, if each changes what the one before it changes and more.
    """
    rows = tuple(row for row in view.rows if not view.table.rows[row].null)
    if view.spec.rows:
        return rows if len(rows) > 1 else ()
    if expanded := [name for name in view.sweep.expansions if name.startswith("path-")]:
        return _expanded(view, expanded[0] == "path-add") or (rows if len(view.sweep.expansions) == 1 else ())
    recipes = recipes_of(view)
    changed = [{path for path, value in recipes[row].items() if value != recipes[rows[0]][path]} for row in recipes]
    cumulative = len(rows) > 2 and all(one < two for one, two in itertools.pairwise(changed))
    return rows if cumulative else ()


def _expanded(view: View, adds: bool) -> tuple[int, ...]:
    """The rows that have the first 0, 1, 2, … components, or all but those; empty where one is absent."""
    parts, row_of = len(view.table.components), on_of(view)
    states = [frozenset(range(taken) if adds else range(taken, parts)) for taken in range(parts + 1)]
    return tuple(row_of[state] for state in states) if parts and all(state in row_of for state in states) else ()


def steps(view: View, column: int, rows: Sequence[int]) -> tuple[Step, ...]:
    """The path through one column of the table, rows without a value left out; empty without a seed that all have."""
    assert view.table.replicates is not None
    values = view.table.replicates.values[column, list(rows)]
    has = np.flatnonzero(~np.isnan(values).all(axis=1)).tolist()
    values, rows = values[has], [rows[at] for at in has]
    values = values[:, ~np.isnan(values).any(axis=0)]
    if not values.size:
        return ()
    means, change = values.mean(axis=1).tolist(), stats.paired(values[1:], values[:-1])
    steps_, lows, highs = ([None, *_known(each)] for each in (change.value, change.low, change.high))
    heading = view.table.columns[column].label
    changes = [view.table.rows[rows[0]].label, *(_change(view, *two) for two in itertools.pairwise(rows))]
    return tuple(
        Step(view.table.rows[row].label, change, heading, mean, value, low, high, values.shape[1])
        for row, change, mean, value, low, high in zip(rows, changes, means, steps_, lows, highs, strict=True)
    )


def _change(view: View, before: int, after: int) -> str:
    """What sets a row apart from the one before it on the path: the components that are switched on and off."""
    names, rows = view.table.components, view.table.rows
    pairs = list(zip(names, rows[before].components, rows[after].components, strict=True)) if names else []
    switched = [(name, texts) for name, *texts in pairs if texts[0] != texts[1]]
    if not switched or any(set(texts) != {ON, OFF} for _, texts in switched):
        return rows[after].label
    return ", ".join(f"{'+' if texts[1] == ON else MINUS} {name}" for name, texts in switched)


def _known(values: stats.Array) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def lacks(view: View) -> str:
    """Why this table has no waterfall; empty if it has one."""
    if path(view):
        return ""
    if any(name.startswith("path-") for name in view.sweep.expansions):
        return (
            "[components] is expanded in several ways: give [layout] components = true, or name the path's rows (--row)"
        )
    return (
        "its rows are no path: neither [components] expanded as path-add or path-remove nor rows that each change what "
        "the one before it changes and more; name a path's rows with --row"
    )


def drawn(view: View) -> Drawn:
    """The figure. Raises NothingToDraw."""
    rows = path(view)
    found = [walk for column in view.columns() if len(walk := steps(view, column, rows)) > 1]
    if not found:
        raise NothingToDraw(view.sweep, "no two rows of the path have a complete seed in common")
    numbers = tuple(
        (step.label, step.change, step.column, step.mean, step.value, step.low, step.high, step.n)
        for walk in found
        for step in walk
    )
    gaps = gap_notes([gap for gap in view.gaps() if gap[0] in {view.label(r, c) for r in rows for c in view.columns()}])
    left_out = [view.table.rows[row].label for row in rows if view.table.rows[row].label not in
                {step.label for step in found[0]}]  # fmt: skip
    notes = [f"Bars: mean change from the row above, over the {found[0][0].n} seeds that all rows have; lines: its "
             "95 % t interval, paired by seed. Dots: first and last row."]  # fmt: skip
    if left_out:
        notes.append(f"Left out without a value: {named(left_out)}; the next step holds their change too.")
    height = sum(0.7 + 0.34 * len(walk) for walk in found)
    size = (view.spec.look.width or style.WIDTH, height * style.tall(view.spec.look))
    return Drawn(COLUMNS, numbers, (*notes, *gaps), gaps, size, lambda picture: _paint(
        picture, view, found
    ))  # fmt: skip


def _paint(picture: "Picture", view: View, found: list[tuple[Step, ...]]) -> None:
    axes = style.panels(picture, len(found), 1, shared=False)
    for panel, walk in zip(axes, found, strict=True):
        _panel(panel, walk, view)
        if walk[0].column:
            panel.set_title(style.wrapped(style.plain(walk[0].column), 60, 1))
    axes[-1].set_xlabel(view.metric.heading)


def _panel(axes: "Axes", walk: tuple[Step, ...], view: View) -> None:
    sign, digits = -1 if view.metric.better == "min" else 1, view.table.columns[view.columns()[0]].digits
    for y, (before, step) in enumerate(itertools.pairwise(walk), start=1):
        assert step.value is not None
        good = step.value * sign >= 0
        axes.barh(y, step.value, left=before.mean, height=0.55, color=style.LIGHT if good else "white", zorder=2,
                  edgecolor=style.BETTER if good else style.WORSE, hatch=None if good else "/////")  # fmt: skip
        axes.plot([step.mean, step.mean], [y - 0.28, min(y + 1.28, len(walk) - 1)], color=style.FAINT, linewidth=0.8)
        if step.low is not None and step.high is not None:
            ends = [before.mean + step.low, before.mean + step.high]
            axes.plot(ends, [y, y], color=style.PLAIN, linewidth=1.2, marker="|", markersize=6, zorder=3)
    axes.plot([walk[0].mean] * 2, [0, 1.28], color=style.FAINT, linewidth=0.8)
    axes.plot([walk[0].mean, walk[-1].mean], [0, len(walk) - 1], "o", color=style.PLAIN, markersize=5.5, zorder=4)
    axes.use_sticky_edges = False  # of bars: the last row's dot would be cut in half
    axes.set_ylim(len(walk) - 0.4, -0.6)
    letters = max(10, int(30 * style.room(view.spec.look)))
    axes.set_yticks(range(len(walk)), [style.wrapped(style.plain(step.change), letters, 2) for step in walk])
    if view.spec.xlim:
        axes.set_xlim(*view.spec.xlim)
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(len(walk)), [_text(step, digits) for step in walk])
    beside.tick_params(length=0, labelsize=style.points(8))
    beside.spines["right"].set_visible(False)
    style.grid(axes, "x")


def _text(step: Step, digits: int) -> str:
    return f"{step.mean:.{digits}f}" if step.value is None else interval(step.value, step.low, step.high, digits)
