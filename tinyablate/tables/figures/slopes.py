"""Slopes: for each compared row a small panel, in it a line for every seed from the reference's value to the row's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinyablate.tables.figures import style
from tinyablate.tables.figures.drawn import Drawn, NothingToDraw, View, gap_notes, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

COLUMNS = ("label", "reference", "seed", "before", "after")
IN_A_LINE = 4
"""Panels."""
FAR = 5.0
"""Times the span of the usual panel: from there one scale for all would show nothing in most of them."""


@dataclass(frozen=True)
class Slope:
    """The pairs of one row, values in the metric's unit."""

    label: str
    reference: str
    seeds: tuple[int, ...]
    """That both have, ascending."""
    before: tuple[float, ...]
    after: tuple[float, ...]


def slopes(view: View) -> Iterator[Slope]:
    """The pairs of every compared row that has some, column by column."""
    replicates = view.table.replicates
    assert replicates is not None
    for column in view.columns():
        for row in view.rows:
            reference = view.sweep.rows[row].reference
            if reference is None:
                continue
            before, after = replicates.values[column, reference], replicates.values[column, row]
            both = ~np.isnan(before - after)
            if both.any():
                seeds = tuple(seed for seed, here in zip(replicates.seeds, both, strict=True) if here)
                yield Slope(view.label(row, column), view.label(reference, column), seeds,
                            tuple(before[both].tolist()), tuple(after[both].tolist()))  # fmt: skip


def lacks(view: View) -> str:
    """Why this table has no slopes; empty if it has some."""
    rows = view.sweep.rows
    for row in view.rows:
        reference = rows[row].reference
        if reference is not None and set(rows[row].seeds) & set(rows[reference].seeds):
            return ""
    return "no row has seeds in common with a row that it is compared with"


def drawn(view: View) -> Drawn:
    """The figure. Raises NothingToDraw."""
    found = tuple(slopes(view))
    if not found:
        raise NothingToDraw(view.sweep, "no row has a complete seed in common with its baseline")
    numbers = tuple(
        (slope.label, slope.reference, *pair)
        for slope in found
        for pair in zip(slope.seeds, slope.before, slope.after, strict=True)
    )
    gaps = gap_notes(list(view.gaps()))
    references = named(list(dict.fromkeys(slope.reference for slope in found)))
    notes = [f"Left in each panel: {references}; right: the row. A line a seed, better ones solid and blue, worse ones "
             "dashed and orange; black: the mean."]  # fmt: skip
    notes += [] if _shared(view, found) else ["Each panel has a scale of its own."]
    height = 0.4 + 2.0 * -(-len(found) // _in_a_line(view)) * style.tall(view.spec.look)
    width = view.spec.look.width or (style.WIDTH if len(found) > 2 else 4.5)
    return Drawn(COLUMNS, numbers, (*notes, *gaps), gaps, (width, height), lambda picture: _paint(picture, view, found))


def _in_a_line(view: View) -> int:
    return max(1, int(IN_A_LINE * style.room(view.spec.look)))


def _shared(view: View, found: tuple[Slope, ...]) -> bool:
    """Whether all panels have one scale."""
    ends = np.array([(min(*each.before, *each.after), max(*each.before, *each.after)) for each in found])
    usual = float(np.median(ends[:, 1] - ends[:, 0]))
    return bool(view.spec.ylim or not usual or ends[:, 1].max() - ends[:, 0].min() <= FAR * usual)


def _paint(picture: "Picture", view: View, found: tuple[Slope, ...]) -> None:
    shared = _shared(view, found)
    axes = style.panels(picture, len(found), _in_a_line(view), shared)
    for panel in axes[:: _in_a_line(view)]:
        panel.set_ylabel(view.metric.heading)
    for panel, slope in zip(axes, found, strict=True):
        _panel(panel, slope, view.metric.better)
        if view.spec.ylim:
            panel.set_ylim(*view.spec.ylim)


def _panel(axes: "Axes", slope: Slope, better: str | None) -> None:
    for before, after in zip(slope.before, slope.after, strict=True):
        gain = (after - before) * (-1 if better == "min" else 1)
        color, stroke = (style.BETTER, "-") if gain > 0 else (style.WORSE, "--") if gain < 0 else (style.FAINT, "-")
        if better is None:
            color, stroke = style.BETTER, "-"
        axes.plot([0, 1], [before, after], stroke, color=color, linewidth=1.0, marker="o", markersize=2.5)
    means = [float(np.mean(slope.before)), float(np.mean(slope.after))]
    axes.plot([0, 1], means, "-", color=style.PLAIN, linewidth=2.2, marker="o", markersize=4, zorder=4)
    axes.set_xlim(-0.25, 1.25)
    axes.set_xticks([0, 1], ["baseline", "row"])
    label = style.wrapped(style.plain(slope.label), 22, 2)
    axes.set_title(f"{label}\nn = {len(slope.seeds)}", fontsize=style.points(8))
    style.grid(axes, "y")
