"""Cost: what a cell costs against what it reaches, with the sd of both, and the front of those that nothing beats."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.tables.figures import style
from tinyablate.tables.figures.drawn import Drawn, NothingToDraw, View, gap_notes, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

COLUMNS = ("label", "cost", "cost_sd", "mean", "sd", "n", "front")
LOG_FROM = 20.0
"""Ratio of the highest cost to the lowest from which the scale is logarithmic."""
DISTANCES = (7.0, 13.0, 22.0, 34.0, 48.0)
"""Of a label from its point, in points: the nearest that overlaps nothing; …"""
LEADER = 13.0
"""… past this with a line to its point."""
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))
"""From the point to its label, in the order in which they are tried."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in pixels."""


@dataclass(frozen=True)
class Spot:
    """A cell with both numbers, in their metrics' units."""

    label: str
    cost: float
    cost_sd: float | None
    mean: float
    sd: float | None
    n: int
    front: bool
    """Nothing costs less and reaches as much, or reaches more for the same."""


def spots(view: View) -> tuple[Spot, ...]:
    """Every cell that has both numbers, row by row."""
    known = metrics.lookup(view.spec.cost)
    found = [
        (view.label(row, here), view.cell(row, there), view.cell(row, here))
        for row in view.rows
        for here, there in zip(view.columns(), view.columns(view.spec.cost), strict=True)
    ]
    both = [(label, cost.mean, cost.sd, cell.mean, cell.sd, cell.n) for label, cost, cell in found
            if cost.mean is not None and cell.mean is not None]  # fmt: skip
    down, up = (-1 if known.better == "max" else 1), (-1 if view.metric.better == "min" else 1)
    scores = [(cost * down, -mean * up) for _, cost, _, mean, _, _ in both]
    return tuple(
        Spot(*each, not any(other != own and other[0] <= own[0] and other[1] <= own[1] for other in scores))
        for each, own in zip(both, scores, strict=True)
    )


def lacks(view: View) -> str:
    """Why this table has no cost figure; empty if it has one."""
    return "" if view.spec.metric != view.spec.cost else "metric and cost are the same"


def same(view: View) -> str:
    """What every cell costs, where several cost the same: `1.82 G of MACs`; else empty."""
    known, costs = metrics.lookup(view.spec.cost), {each.cost for each in spots(view)}
    if len(costs) != 1 or len(spots(view)) == 1:
        return ""
    return f"{written(known, costs.pop())} of {known.title}"


def drawn(view: View) -> Drawn:
    """The figure. Raises NothingToDraw."""
    found, cost = spots(view), metrics.lookup(view.spec.cost)
    if not found:
        raise NothingToDraw(view.sweep, f"no cell has both {view.spec.metric} and {cost.name}{_hint(view, cost)}")
    numbers = tuple(
        (each.label, each.cost, each.cost_sd, each.mean, each.sd, each.n, int(each.front)) for each in found
    )
    bars = "bars ± sd over seeds; " if any(each.sd is not None for each in found) else ""
    notes = [f"Points: means over seeds, {bars}filled and joined: nothing costs less and reaches as much."]
    names = {each.label for each in found}
    width = view.spec.look.width or style.WIDTH
    size = (width, min(4.4, 0.8 * width))
    gaps = gap_notes([gap for gap in view.gaps() if gap[0] in names or not gap[1]])
    return Drawn(COLUMNS, numbers, (*notes, *gaps), gaps, size, lambda picture: _paint(
        picture, view, cost, found
    ))  # fmt: skip


def _hint(view: View, cost: Metric) -> str:
    """What a sweep lacks whose trials are not measured."""
    measured = cost.source == "measured" and "measure" not in view.sweep.kinds
    hint = f' (it is measured once the file has [[figures]] with kind = "cost" and cost = "{cost.name}")'
    return hint if measured else ""


# ---- picture ---------------------------------------------------------------------------------------------------------


def _paint(picture: "Picture", view: View, cost: Metric, found: tuple[Spot, ...]) -> None:
    axes = picture.add_subplot()
    for each in found:
        face = style.BETTER if each.front else "white"
        axes.errorbar(each.cost, each.mean, yerr=each.sd, xerr=each.cost_sd or None, fmt="o", color=style.BETTER,
                      markerfacecolor=face, markersize=5, elinewidth=0.9, capsize=2, zorder=3)  # fmt: skip
    front = sorted((each.cost, each.mean) for each in found if each.front)
    axes.plot(*zip(*front, strict=True), color=style.FAINT, linewidth=1.0, zorder=2)
    lowest, highest = min(each.cost for each in found), max(each.cost for each in found)
    if lowest > 0 and highest / lowest >= LOG_FROM:
        axes.set_xscale("log")
        style.plain_numbers(axes.xaxis)
    axes.margins(0.14, 0.14)
    if view.spec.xlim:
        axes.set_xlim(*view.spec.xlim)
    if view.spec.ylim:
        axes.set_ylim(*view.spec.ylim)
    axes.set_xlabel(cost.heading)
    axes.set_ylabel(view.metric.heading)
    style.grid(axes)
    _label(picture, axes, found)


def _label(picture: "Picture", axes: "Axes", found: Sequence[Spot]) -> None:
    """The labels, each where it overlaps neither a point, a bar nor another label, as far as there is such a place."""
    picture.draw_without_rendering()  # places the axes, on which the pixels of points depend
    renderer: Any = picture.canvas.get_renderer() if hasattr(picture.canvas, "get_renderer") else None
    scale = picture.dpi / 72
    frame = axes.get_window_extent(renderer)
    taken = [box for each in found for box in _inked(axes, each, scale)] + _along(axes, found, scale)
    for each in found:
        x, y = axes.transData.transform((each.cost, each.mean))
        text = axes.annotate(style.wrapped(style.plain(each.label), 24, 2), (each.cost, each.mean), xytext=(0, 0),
                             textcoords="offset points", ha="center", va="center", fontsize=style.points(7.5),
                             zorder=5)  # fmt: skip
        text.set_in_layout(False)
        extent = text.get_window_extent(renderer)
        offset, box = _place(
            (x, y), (extent.width, extent.height), (frame.x0, frame.y0, frame.x1, frame.y1), taken, scale
        )
        text.set_position((offset[0] / scale, offset[1] / scale))
        taken.append(box)
        if math.hypot(*_gap((x, y), box)) > LEADER * scale:
            leader = axes.annotate("", (each.cost, each.mean), xytext=text.get_position(), textcoords="offset points",
                                   arrowprops={"arrowstyle": "-", "color": style.FAINT, "linewidth": 0.6},
                                   zorder=1)  # fmt: skip
            leader.set_in_layout(False)


def _inked(axes: "Axes", each: Spot, scale: float) -> list[Box]:
    """What a point and its bars cover."""
    sd, cost_sd, pad = each.sd or 0.0, each.cost_sd or 0.0, 2.5 * scale
    x, y = axes.transData.transform((each.cost, each.mean))
    bottom, top = (axes.transData.transform((each.cost, each.mean + end))[1] for end in (-sd, sd))
    low = each.cost - cost_sd if axes.get_xscale() == "linear" else max(each.cost - cost_sd, each.cost / 1e3)
    left, right = (axes.transData.transform((end, each.mean))[0] for end in (low, each.cost + cost_sd))
    return [(x - pad, bottom - pad, x + pad, top + pad), (left - pad, y - pad, right + pad, y + pad)]


def _along(axes: "Axes", found: Sequence[Spot], scale: float) -> list[Box]:
    """What the line of the front covers, as a chain of small boxes."""
    corners = [
        axes.transData.transform(each) for each in sorted((each.cost, each.mean) for each in found if each.front)
    ]
    boxes: list[Box] = []
    for (x, y), (to_x, to_y) in itertools.pairwise(corners):
        steps = max(1, int(math.hypot(to_x - x, to_y - y) / (4 * scale)))
        middles = [(x + (to_x - x) * at / steps, y + (to_y - y) * at / steps) for at in range(steps + 1)]
        boxes += [(left - scale, low - scale, left + scale, low + scale) for left, low in middles]
    return boxes


def _place(
    point: tuple[float, float], size: tuple[float, float], frame: Box, taken: Sequence[Box], scale: float
) -> tuple[tuple[float, float], Box]:
    """(offset of the label's middle from the point, its box), of the places tried the first without overlap."""
    tried: list[tuple[float, tuple[float, float], Box]] = []
    for distance in DISTANCES:
        for right, up in DIRECTIONS:
            dx, dy = right * (distance * scale + size[0] / 2), up * (distance * scale + size[1] / 2)
            middle = point[0] + dx, point[1] + dy
            box = (middle[0] - size[0] / 2, middle[1] - size[1] / 2, middle[0] + size[0] / 2, middle[1] + size[1] / 2)
            outside = max(frame[0] - box[0], frame[1] - box[1], box[2] - frame[2], box[3] - frame[3], 0.0) * 1e6
            lost = outside + sum(_overlap(box, other) for other in taken)
            if not lost:
                return (dx, dy), box
            tried.append((lost, (dx, dy), box))
    _, offset, box = min(tried)
    return offset, box


def _overlap(one: Box, two: Box) -> float:
    """Area that two boxes share."""
    width, height = min(one[2], two[2]) - max(one[0], two[0]), min(one[3], two[3]) - max(one[1], two[1])
    return max(width, 0.0) * max(height, 0.0)


def _gap(point: tuple[float, float], box: Box) -> tuple[float, float]:
    """From a point to the nearest of a box."""
    return max(box[0] - point[0], 0.0, point[0] - box[2]), max(box[1] - point[1], 0.0, point[1] - box[3])
