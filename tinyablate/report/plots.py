"""What the page's script draws, as JSON that can stand inside a page: forest plots and curves. It draws nothing."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from markupsafe import Markup

from tinyablate.report.read import Curve
from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Sweep
from tinyablate.tables import stats
from tinyablate.tables.figures.forest import Point, limits_of, points
from tinyablate.tables.render import words
from tinyablate.tables.schema import Table, TableColumn

MOST_LINES = 100
"""A picture with more says nothing, and its numbers make the page large."""
MOST_POINTS = 200
"""Of a line: a screen shows no more."""


@dataclass(frozen=True)
class Interval:
    """One difference of a forest plot, in the metric's unit."""

    label: str
    series: str
    value: float
    low: float | None
    """Ends of the 95 % interval; …"""
    high: float | None
    block_low: float | None
    """… of that with seed as block and pooled variance."""
    block_high: float | None
    null: bool
    """The reference again under other seeds."""
    verdict: str
    """What it comes to, in a word or two; empty without one."""
    text: str
    """What hovers over it."""


@dataclass(frozen=True)
class Forest:
    """The differences of one metric. `margin` is the smallest that matters, if the sweep declares one."""

    title: str
    digits: int
    margin: float | None
    low: float
    """Ends between which the axis stays: rows far outside would hide all others."""
    high: float
    intervals: tuple[Interval, ...]
    left_out: int
    """Rows beyond the most that are drawn."""
    kind: str = "forest"


@dataclass(frozen=True)
class Line:
    """A line over the epochs, with a band of one standard deviation where that is known."""

    label: str
    dashed: bool
    epochs: tuple[int, ...]
    mean: tuple[float | None, ...]
    sd: tuple[float | None, ...]
    """Empty without a band."""
    note: str
    """How many seeds, for the legend."""


@dataclass(frozen=True)
class Curves:
    """One metric over the epochs."""

    title: str
    digits: int
    lines: tuple[Line, ...]
    left_out: int
    kind: str = "curves"


def embedded(plot: Forest | Curves) -> Markup:
    """The plot as JSON inside a script element: nothing in it ends the element or a line of JavaScript."""
    text = json.dumps(asdict(plot), separators=(",", ":"), allow_nan=False)  # ASCII: U+2028 is \\u2028
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


# ---- forest ----------------------------------------------------------------------------------------------------------


def forests(table: Table, margin: float | None) -> tuple[Forest, ...]:
    """A plot for each metric whose differences have intervals."""
    found = []
    for metric in dict.fromkeys(column.metric for column in table.columns if column.compared):
        columns = {column.label: column for column in table.columns if column.metric == metric}
        known = [point for point in points(table, metric.name) if point.value is not None and point.low is not None]
        if metric.compared and known:
            first = next(iter(columns.values()))
            own = margin if metric == table.columns[0].metric else None
            low, high = (round(end, first.digits + 2) for end in limits_of(known, margin=own or 0.0))
            drawn = tuple(_interval(point, columns[point.column]) for point in known[:MOST_LINES])
            rules = {cell.comparison.rule for row in table.rows for cell in row.cells if cell.comparison}
            rule = f", {', '.join(sorted(rules))} epoch" if rules and metric.source == "epochs" else ""
            found.append(Forest(f"difference in {metric.heading}{rule}", first.digits, own, low, high, drawn,
                                max(0, len(known) - MOST_LINES)))  # fmt: skip
    return tuple(found)


def _interval(point: Point, column: TableColumn) -> Interval:
    value = point.value or 0.0
    ends = words.interval(point.low, point.high, column, "+")
    difference = " ".join(filter(None, (words.number(value, column, "+"), ends, column.metric.unit)))
    seeds = f"{point.pairs} pairs of seeds" if point.kind == "paired" else "independent seeds"
    block = words.interval(point.block_low, point.block_high, column, "+")
    block = f"seed as block: {block}" if block else ""
    verdict = words.line(point.short) if point.judged else ""
    text = " · ".join(filter(None, (difference, block, seeds, verdict)))
    edges = (point.low, point.high, point.block_low, point.block_high)
    low, high, block_low, block_high = _rounded(edges, column.digits)
    return Interval(point.label, column.label, round(value, column.digits + 2), low, high, block_low, block_high,
                    point.null, verdict, text)  # fmt: skip


# ---- curves ----------------------------------------------------------------------------------------------------------


def drawn_metric(sweep: Sweep) -> Metric:
    """What the sweep's curves show: what its figure asks for, else its first metric of epochs, else top-1."""
    asked = [figure.metric for figure in sweep.figures if figure.kind == "curves"]
    named = [metric.name for metric in map(metrics.lookup, sweep.metrics) if metric.source == "epochs"]
    return metrics.lookup([*asked, *named, "val_top1"][0].partition("@")[0])


def row_curves(
    sweep: Sweep, cells: Sequence[tuple[str, Sequence[str]]], curves: Mapping[str, Curve], left_out: int
) -> Curves:
    """The metric of `drawn_metric` over the epochs: for each cell (label, keys of its complete trials) its mean.

    Published curves stand behind them, dashed.
    """
    metric = drawn_metric(sweep)
    lines = [_mean_line(label, [curves[key] for key in keys if key in curves], metric) for label, keys in cells]
    published = {
        label: curve for figure in sweep.figures if figure.kind == "curves"
        for label, curve in figure.published.items()
    }  # fmt: skip
    for label, curve in published.items():
        epochs, values = zip(*curve, strict=True)
        lines.append(Line(label, True, epochs, values, (), "published"))
    return Curves(metric.heading, metric.digits, tuple(line for line in lines if line.epochs), left_out)


def _mean_line(label: str, seeds: Sequence[Curve], metric: Metric) -> Line:
    """Mean and sd over the seeds, at most `MOST_POINTS` epochs of them."""
    epochs = thinned(sorted({epoch for curve in seeds for epoch, (value,) in curve.items() if value is not None}))
    if not epochs:
        return Line(label, False, (), (), (), "")
    values = np.array([[curve.get(epoch, (None,))[0] for curve in seeds] for epoch in epochs], dtype=np.float64)
    spread = stats.spread(values)
    mean, sd = (_rounded(array.tolist(), metric.digits) for array in (spread.mean, spread.sd))
    return Line(label, False, tuple(epochs), mean, sd if len(seeds) > 1 else (), f"n = {len(seeds)}")


def trial_curves(names: Sequence[str], curves: Sequence[tuple[str, Curve]]) -> tuple[Curves, ...]:
    """The curves (label, numbers by epoch in the order of `names`) of single trials: top-1, and both losses."""
    at = {name: index for index, name in enumerate(names)}
    top1, losses = ["val_top1"], ["val_loss", "train_loss"]
    plots = []
    for title, shown in ((metrics.KNOWN["val_top1"].heading, top1), ("loss", losses)):
        lines = [
            _single_line(label, curve, at[name], metrics.KNOWN[name], len(shown) > 1)
            for label, curve in curves[:MOST_LINES]
            for name in shown
        ]
        lines = [line for line in lines if any(value is not None for value in line.mean)]
        if lines:
            left_out = max(0, len(curves) - MOST_LINES)
            plots.append(Curves(title, metrics.KNOWN[shown[0]].digits, tuple(lines), left_out))
    return tuple(plots)


def _single_line(label: str, curve: Curve, at: int, metric: Metric, several: bool) -> Line:
    epochs = thinned(sorted(curve))
    values = _rounded([curve[epoch][at] for epoch in epochs], metric.digits)
    name = " · ".join(filter(None, (label, metric.title if several else "")))
    return Line(name, metric.name == "train_loss", tuple(epochs), values, (), "")


def thinned(epochs: Sequence[int]) -> Sequence[int]:
    """At most `MOST_POINTS` of the epochs, evenly, with the first and the last."""
    if len(epochs) <= MOST_POINTS:
        return epochs
    step = (len(epochs) - 1) / (MOST_POINTS - 1)
    return [epochs[round(index * step)] for index in range(MOST_POINTS)]


def _rounded(values: Iterable[float | None], digits: int) -> tuple[float | None, ...]:
    """As short as the hovering text needs; nan is None."""
    return tuple(None if value is None or value != value else round(value, digits + 2) for value in values)
