"""Forest: each row's difference to its reference with its 95 % intervals, zero, the margin, and what it comes to."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinyablate.tables.figures import style
from tinyablate.tables.figures.drawn import (
    Drawn,
    NothingToDraw,
    View,
    difference_title,
    gap_notes,
    interval,
)
from tinyablate.tables.schema import Pairing, Table, TableCell, TableColumn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

COLUMNS = ("label", "column", "value", "low", "high", "block_low", "block_high", "pairs", "kind", "verdict")
FEW = 2
"""Pairs from which an interval is so long that it must not set the scale."""
FAR = 5.0
"""Times the span of all other rows: rows that would stretch the axis further stand at its edge."""

Limits = tuple[float, float]
"""Ends of the axis of differences."""


@dataclass(frozen=True)
class Point:
    """One difference, in the metric's unit; None where it is not known."""

    label: str
    column: str
    """Label of the second axis."""
    group: str
    null: bool
    """The reference again under other seeds."""
    value: float | None
    low: float | None
    """Ends of the 95 % t interval."""
    high: float | None
    block_low: float | None
    """Ends of the 95 % interval with seed as block and the variance pooled over the rows."""
    block_high: float | None
    pairs: int
    kind: Pairing | None
    verdict: str
    """What the comparison comes to; without a verdict the numbers, or why there are none."""
    short: str
    """The same where there is little room."""
    judged: bool
    """The comparison has a verdict."""


def points(table: Table, metric: str = "", rows: tuple[int, ...] | None = None) -> tuple[Point, ...]:
    """The differences of every compared row, column by column; of the table's first metric unless one is named.

    Where the column has comparisons under the rule of the verdicts, those are shown, else the table's own.
    """
    name = metric or table.columns[0].metric.name
    return tuple(
        _point(table, row, column)
        for column, each in enumerate(table.columns)
        if each.metric.name == name
        for row in (range(len(table.rows)) if rows is None else rows)
        if table.rows[row].compared and table.rows[row].cells[column].state != "excluded"
    )


def _point(table: Table, at: int, column: int) -> Point:
    row, heading = table.rows[at], table.columns[column]
    cell, own = row.cells[column], row.cells[column].comparison
    ratio = bool(heading.metric.relative_to)
    value, low, high = (cell.mean, cell.low, cell.high) if ratio else (cell.delta, cell.delta_low, cell.delta_high)
    if own:
        value, low, high = own.value, own.low, own.high
    block = (own.block_low, own.block_high) if own else (None, None)
    verdict = own.verdict.text if own and own.verdict else _numbers(heading, cell, value, low, high)
    known = table.statistics[column] if table.statistics else None
    few = known and own and own.verdict and own.verdict.kind == "n too small"
    short = f"n too small: {cell.pairs} of {known.least_pairs}" if known and few else verdict
    return Point(row.label, heading.label, row.group, row.null, value, low, high, *block, cell.pairs, cell.kind,
                 verdict, short, bool(own and own.verdict))  # fmt: skip


def _numbers(column: TableColumn, cell: TableCell, value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return ", ".join(cell.marks) or "—"
    text = interval(value, low, high, column.digits)
    return text.replace("+", "") if column.metric.relative_to else text


def lacks(view: View) -> str:
    """Why this table has no forest; empty if it has one."""
    return "" if any(view.table.rows[row].compared for row in view.rows) else "no row is compared with another"


def drawn(view: View) -> Drawn:
    """The figure. Raises NothingToDraw."""
    found = points(view.table, view.spec.metric, view.rows)
    if all(point.value is None for point in found):
        raise NothingToDraw(view.sweep, "no row has a complete seed in common with its baseline")
    numbers = tuple(
        (point.label, point.column, point.value, point.low, point.high, point.block_low, point.block_high, point.pairs,
         point.kind, point.verdict)
        for point in found
    )  # fmt: skip
    gaps = gap_notes(list(view.gaps()))
    limits = view.spec.xlim or limits_of(found, _neutral(view), view.margin or 0.0)
    lines = max(2, *(_verdict(view, point, limits).count("\n") + 1 for point in found))
    height = (0.9 + (0.06 + 0.14 * lines) * (len(found) + len(_headings(found)))) * style.tall(view.spec.look)
    size = (view.spec.look.width or style.WIDTH, height)
    return Drawn(COLUMNS, numbers, (*_notes(view, found, limits), *gaps), gaps, size, lambda picture: _paint(
        picture, view, found, limits
    ))  # fmt: skip


def _notes(view: View, found: tuple[Point, ...], limits: Limits) -> list[str]:
    rules = {cell.comparison.rule for row in view.table.rows for cell in row.cells if cell.comparison}
    rule = f" ({', '.join(sorted(rules))} epoch)" if rules and view.metric.source == "epochs" else ""
    what = "ratio" if view.metric.relative_to else "difference"
    by = "interval by Stein's two-stage rule" if view.sweep.sequential else "t interval"
    alone = any(point.kind == "unpaired" and not point.null for point in found)
    paired = "paired by seed where rows share seeds" if alone else "paired by seed"
    notes = [f"Points: mean {what} to the baseline{rule}; thin lines: 95 % {by}, {paired}"]
    notes[0] += "; thick: seed as block, variance pooled over the rows." if any(p.block_low for p in found) else "."
    low, high = limits
    if any(_beyond(point, limits) for point in found):
        notes.append("Arrows at the edge: the row lies beyond the axis, its numbers stand at the right.")
    if any(p.low is not None and p.high is not None and (p.low < low or p.high > high) and not _beyond(p, limits)
           for p in found):  # fmt: skip
        notes.append("Arrows at a line: the interval goes on beyond the axis.")
    if view.margin is not None:
        notes.append(f"Shaded: smaller than the declared margin of {view.margin:g}.")
    if any(point.null and point.value is not None for point in found):
        notes.append("Hollow: the baseline again under other seeds, unpaired, with Welch's interval: what noise is.")
    return notes


def _neutral(view: View) -> float:
    """What no difference is."""
    return 1.0 if view.metric.relative_to else 0.0


def _headings(found: tuple[Point, ...]) -> list[str]:
    """Of the second axis and of groups, as they come."""
    runs = (key for key, _ in itertools.groupby(found, key=_heading))
    return [heading for heading in runs if heading]


def _heading(point: Point) -> str:
    return ", ".join(part for part in (point.column, point.group) if part)


# ---- picture ---------------------------------------------------------------------------------------------------------


def _paint(picture: "Picture", view: View, found: tuple[Point, ...], limits: Limits) -> None:
    axes = picture.add_subplot()
    neutral, letters = _neutral(view), max(12, int(30 * style.room(view.spec.look)))
    if view.margin is not None:
        axes.axvspan(neutral - view.margin, neutral + view.margin, color=style.BAND, linewidth=0, zorder=0)
    axes.axvline(neutral, color=style.PLAIN, linewidth=0.8, zorder=1)
    labels, verdicts, bold, before = list[str](), list[str](), list[int](), ""
    for point in found:
        heading = _heading(point)
        if heading and heading != before:
            bold.append(len(labels))
            labels.append(style.wrapped(style.plain(heading), letters, 2))
            verdicts.append("")
        before = heading
        _bar(axes, point, len(labels), limits)
        labels.append(style.wrapped(style.plain(point.label), letters, 2))
        verdicts.append(_verdict(view, point, limits))
    axes.set_xlim(*limits)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), labels)
    for at in bold:
        axes.get_yticklabels()[at].set_fontweight("bold")
    _beside(axes, verdicts)
    axes.set_xlabel(difference_title(view.metric))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=8)
    style.grid(axes, "x")


def _verdict(view: View, point: Point, limits: Limits) -> str:
    """What stands at the right of a row: of one beyond the axis its numbers too."""
    letters = max(16, int(36 * style.room(view.spec.look)))
    column = next(each for each in view.table.columns if each.metric.name == view.spec.metric)
    parts = point.short.split(" (")
    if _beyond(point, limits) and point.value is not None and point.short == point.verdict and point.judged:
        parts = [interval(point.value, point.low, point.high, column.digits), *parts]
    lines = [style.wrapped(style.plain(part), letters, 2) for part in parts]
    return "\n".join(f"({line}" if line.endswith(")") and "(" not in line else line for line in lines)


def _beside(axes: "Axes", texts: list[str]) -> None:
    """Texts at the right end of the lines, in a scale of their own so that the layout makes room for them."""
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(len(texts)), texts)
    beside.tick_params(length=0, labelsize=style.points(8), pad=8)
    beside.spines["right"].set_visible(False)


def _bar(axes: "Axes", point: Point, y: int, limits: Limits) -> None:
    """A difference with its intervals; an arrow where one goes on beyond the axis."""
    if point.value is None:
        return
    low, high = limits
    color = style.FAINT if point.null else style.BETTER
    if _beyond(point, limits):
        edge, arrow = (low, "<") if point.value < low else (high, ">")
        axes.plot([edge], [y], arrow, color=color, markersize=8, markerfacecolor="white" if point.null else color,
                  clip_on=False, zorder=4)  # fmt: skip
        return
    if point.low is not None and point.high is not None:
        axes.plot([max(point.low, low), min(point.high, high)], [y, y], color=color, linewidth=1.1, zorder=2)
        for end, edge, arrow in ((point.low < low, low, "<"), (point.high > high, high, ">")):
            if end:
                axes.plot([edge], [y], arrow, color=color, markersize=5, clip_on=False, zorder=3)
    if point.block_low is not None and point.block_high is not None:
        axes.plot([point.block_low, point.block_high], [y, y], color=color, linewidth=4.5, alpha=0.45, zorder=2,
                  solid_capstyle="butt")  # fmt: skip
    axes.plot([point.value], [y], "o", color=color, markerfacecolor="white" if point.null else color, markersize=5.5,
              zorder=4)  # fmt: skip


def _beyond(point: Point, limits: Limits) -> bool:
    """Whether the difference itself is not on the axis."""
    return point.value is not None and not limits[0] <= point.value <= limits[1]


def limits_of(found: Sequence[Point], neutral: float = 0.0, margin: float = 0.0) -> Limits:
    """Ends of an axis for these: all but rows so far outside that nothing could be seen of the others.

    Long intervals of few pairs are cut, unless nothing else gives a scale.
    """
    ends = list[list[float]]()
    for point in found:
        own = [end for end in (point.value, point.block_low, point.block_high) if end is not None]
        if point.pairs > FEW or all(each.pairs <= FEW for each in found):
            own += [end for end in (point.low, point.high) if end is not None]
        ends += [own] if own else []
    ends.sort(key=lambda own: max(abs(end - neutral) for end in own))
    least = (neutral - margin, neutral + margin)
    axes = list(itertools.accumulate(ends, lambda so, own: (min(so[0], *own), max(so[1], *own)), initial=least))
    spans = [high - low for low, high in axes]
    kept = next(
        (at for at in range(max(1, len(ends) // 2), len(ends)) if 0 < FAR * spans[at] < spans[at + 1]), len(ends)
    )
    low, high = axes[kept]
    pad = 0.06 * (high - low) or 1.0
    return low - pad, high + pad
