"""Interaction: of every two factors of a factorial the mean at the levels of one, a line for each of the other's."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinyablate.tables import stats
from tinyablate.tables.figures import style
from tinyablate.tables.figures.design import Design, designs
from tinyablate.tables.figures.drawn import Drawn, NothingToDraw, View, gap_notes, interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

COLUMNS = ("column", "across", "lines", "across_level", "lines_level", "mean", "low", "high", "n")
IN_A_LINE = 3
"""Panels."""


@dataclass(frozen=True)
class Pair:
    """Two factors, averaged over the levels of all others; values in the metric's unit, nan where there is none."""

    panel: str
    """Label of the column of the second axis; empty where there is none, or where it is a factor itself."""
    names: tuple[str, str]
    """Of the factor across and of the factor with a line for each level."""
    levels: tuple[tuple[str, ...], tuple[str, ...]]
    mean: stats.Array
    """(levels across, levels of the lines), over the seeds that all cells behind it have; …"""
    low: stats.Array
    high: stats.Array
    """… with the ends of its 95 % t interval."""
    n: stats.Array
    contrast: tuple[float, float | None, float | None] | None
    """Of two levels each: by how much the effect of one factor differs with and without the other, and the ends of its
    95 % t interval, paired by seed; None for more levels."""


def pairs(view: View) -> Iterator[Pair]:
    """Every two factors, design by design."""
    for design in designs(view):
        for two in itertools.combinations(range(len(design.factors)), 2):
            yield _pair(view, design, two)


def _pair(view: View, design: Design, two: tuple[int, int]) -> Pair:
    lines, across = two  # of a grid the columns go across, as in its table
    assert view.table.replicates is not None
    values = view.table.replicates.values
    means = np.array([
        [
            np.mean([values[c, r] for at, (r, c) in design.cells.items() if (at[across], at[lines]) == (x, y)], axis=0)
            for y in range(len(design.levels[lines]))
        ]
        for x in range(len(design.levels[across]))
    ])  # fmt: skip
    own, contrast = stats.paired(means, np.zeros(1)), None
    if means.shape[:2] == (2, 2):
        change = stats.paired(means[1, 1] - means[1, 0], means[0, 1] - means[0, 0])
        ends = [None if np.isnan(end) else float(end) for end in (change.low, change.high)]
        contrast = None if np.isnan(change.value) else (float(change.value), ends[0], ends[1])
    names, levels = (design.factors[across], design.factors[lines]), (design.levels[across], design.levels[lines])
    return Pair(design.panel, names, levels, own.value, own.low, own.high, own.n.astype(np.float64), contrast)


def lacks(view: View) -> str:
    """Why this table shows no interaction; empty if it does."""
    return "" if designs(view) else (
        "it is no factorial: neither a [grid] of two axes nor rows for every combination of two techniques or more"
    )  # fmt: skip


def drawn(view: View) -> Drawn:
    """The figure. Raises NothingToDraw."""
    found = tuple(pairs(view))
    if all(np.isnan(pair.mean).all() for pair in found):
        raise NothingToDraw(view.sweep, "no trial is complete")
    answered = any(pair.contrast for pair in found)
    notes = ["Means over seeds, and over the levels of factors not in a panel; upright lines: 95 % t interval of each "
             "mean. They contain what the seeds have in common, so that whether they overlap says nothing of an "
             f"interaction{': the answer paired by seed stands above each panel' if answered else ''}."]  # fmt: skip
    if answered:
        notes.append("Above a panel: by how much one effect changes with the other factor, 95 % t interval paired by "
                     "seed; 0 is no interaction.")  # fmt: skip
    gaps = gap_notes(list(view.gaps()))
    numbers = tuple(line for pair in found for line in _lines(pair))
    width = view.spec.look.width or (style.WIDTH if len(found) > 1 else 4.5)
    height = 3.2 * style.tall(view.spec.look) * -(-len(found) // _in_a_line(view))
    height = height if len(found) > 1 else 0.6 + min(3.3, 0.85 * width)
    return Drawn(COLUMNS, numbers, (*notes, *gaps), gaps, (width, height), lambda picture: _paint(picture, view, found))


def _in_a_line(view: View) -> int:
    return max(1, int(IN_A_LINE * style.room(view.spec.look)))


def _lines(pair: Pair) -> Iterator[tuple[object, ...]]:
    for x, line in np.ndindex(*pair.mean.shape):
        ends = [None if np.isnan(each[x, line]) else float(each[x, line]) for each in (pair.mean, pair.low, pair.high)]
        yield pair.panel, *pair.names, pair.levels[0][x], pair.levels[1][line], *ends, int(pair.n[x, line])


def _paint(picture: "Picture", view: View, found: tuple[Pair, ...]) -> None:
    digits = view.table.columns[view.columns()[0]].digits
    axes = style.panels(picture, len(found), _in_a_line(view))
    for panel in axes[:: _in_a_line(view)]:
        panel.set_ylabel(view.metric.heading)
    for panel, pair in zip(axes, found, strict=True):
        _panel(panel, pair, digits)
        if view.spec.ylim:
            panel.set_ylim(*view.spec.ylim)


def _panel(axes: "Axes", pair: Pair, digits: int) -> None:
    count = len(pair.levels[1])
    for line, level in enumerate(pair.levels[1]):
        color, marker, stroke = style.look(line)
        stroke = ("-", "--", "-.", ":")[line % 4]
        x = np.arange(len(pair.levels[0])) + (line - (count - 1) / 2) * min(0.06, 0.3 / count)
        axes.plot(x, pair.mean[:, line], stroke, color=color, marker=marker, markersize=4.5, linewidth=1.4,
                  label=style.wrapped(style.plain(level), 18, 1))  # fmt: skip
        axes.vlines(x, pair.low[:, line], pair.high[:, line], color=color, linewidth=1.0)
    axes.set_xlim(-0.35, len(pair.levels[0]) - 0.65)
    ticks = [style.wrapped(style.plain(each), 12, 2) for each in pair.levels[0]]
    axes.set_xticks(range(len(pair.levels[0])), ticks)
    across = style.wrapped(style.plain(pair.names[0]), 28, 2)
    axes.set_xlabel(across)
    heading = [style.wrapped(style.plain(pair.panel), 30, 1)] if pair.panel else []
    heading += [f"interaction {interval(*pair.contrast, digits)}"] if pair.contrast else []
    axes.set_title("\n".join(heading), fontsize=style.points(8))
    lines = 2 + max(tick.count("\n") for tick in ticks) + across.count("\n")
    style.legend_below(axes, lines, min(count, 3), 7, style.wrapped(style.plain(pair.names[1]), 28, 2))
    style.grid(axes, "y")
