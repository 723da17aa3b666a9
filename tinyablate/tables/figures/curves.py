"""Curves: a metric over the epochs, a line for each cell with the band of its seeds, published curves dashed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinyablate.plan import ask, unique
from tinyablate.store.query import StoredOutcome, epochs_of, outcomes_of
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Figure, Sweep
from tinyablate.tables import stats
from tinyablate.tables.collect import state_of
from tinyablate.tables.figures import style
from tinyablate.tables.figures.drawn import Drawn, NothingToDraw, chosen_rows, gap_notes
from tinyablate.tables.words import place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

COLUMNS = ("label", "source", "epoch", "mean", "sd", "n", "n_planned")
MOST_MARKERS = 10
"""On a line, so that they tell lines apart without hiding them."""
LETTER = 0.064
"""Width of a letter of the legend, in inches: 8 points of DejaVu Sans, whose usual letter is 0.58 of that wide."""
PLAIN = Figure("curves", "val_top1", {})


@dataclass(frozen=True)
class Line:
    """One line of the figure, arrays over its epochs."""

    label: str
    published: bool
    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    """In the metric's unit."""
    sd: tuple[float | None, ...]
    """None below two seeds, and of published curves."""
    n: tuple[int, ...]
    """Seeds behind each mean; 0 of published curves, which say nothing of that."""
    n_planned: int


@dataclass(frozen=True)
class Curves:
    """The lines of a figure, and what it lacks."""

    lines: tuple[Line, ...]
    labels: tuple[str, ...]
    """Of all cells shown, with or without a line: their order gives the colours, which stay while a sweep fills."""
    gaps: tuple[tuple[str, bool, str], ...]
    """(label, whether it has a line, what is wrong or open)."""
    strangers: tuple[str, ...]
    """Labels of published curves that are those of no cell."""


def lines(sweep: Sweep, store: Store, spec: Figure | None = None) -> tuple[Line, ...]:
    """A line for each cell with a complete trial, row by row, then the published curves.

    Without `spec` they are those of the sweep's first figure of curves, else of val_top1.
    """
    declared = (figure for figure in sweep.figures if figure.kind == "curves")
    return read(sweep, store, spec or next(declared, PLAIN)).lines


def read(sweep: Sweep, store: Store, spec: Figure) -> Curves:
    """What the store has for this figure."""
    metric, asked = metrics.lookup(spec.metric), ask(sweep)
    shown = chosen_rows(spec, [row.label for row in sweep.rows])
    cells = sorted((cell for cell in sweep.cells if cell.row in shown), key=lambda cell: shown.index(cell.row))
    known = unique([asked])
    stored, curves = outcomes_of(store, known, []), epochs_of(store, known, [metric.name])
    found, labels, gaps = list[Line](), list[str](), list[tuple[str, bool, str]]()
    for cell in cells:
        trials = asked.keys[cell.row, cell.column, "train"]
        complete = [key for key in trials if _state(stored, key) == "complete"]
        labels.append(place(sweep.rows[cell.row].label, sweep.columns[cell.column].label))
        line = _line(labels[-1], [curves.get(key, {}) for key in complete], metric, len(trials))
        found += line
        if open_ := _open(Counter(_state(stored, key) for key in trials)):
            gaps.append((labels[-1], bool(line), open_))
    every = {place(sweep.rows[cell.row].label, sweep.columns[cell.column].label) for cell in sweep.cells}
    published = {label: points for label, points in spec.published.items() if label in labels or label not in every}
    found += [_published(label, points) for label, points in published.items()]
    return Curves(tuple(found), tuple(labels), tuple(gaps), tuple(label for label in published if label not in every))


def _state(stored: Mapping[str, StoredOutcome], key: str) -> str:
    return state_of(stored[key]) if key in stored else "missing"


def _open(states: Counter[str]) -> str:
    """`1 diverged, 2 missing`; empty where all are complete."""
    states["missing"] += states.pop("pending", 0)
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if count and state != "complete")


def _line(
    label: str, seeds: Sequence[Mapping[int, tuple[float | None, ...]]], metric: Metric, planned: int
) -> list[Line]:
    """The line of a cell whose complete seeds have these curves; none where there is no number."""
    epochs = sorted({epoch for curve in seeds for epoch, (value,) in curve.items() if value is not None})
    if not epochs:
        return []
    values = np.array([[curve.get(epoch, (None,))[0] for curve in seeds] for epoch in epochs], dtype=np.float64)
    spread = stats.spread(values * metric.scale)
    sd = tuple(None if value != value else value for value in spread.sd.tolist())
    return [Line(label, False, tuple(epochs), tuple(spread.mean.tolist()), sd, tuple(spread.n.tolist()), planned)]


def _published(label: str, points: Sequence[tuple[int, float]]) -> Line:
    epochs, values = zip(*points, strict=True)
    return Line(label, True, epochs, values, (None,) * len(epochs), (0,) * len(epochs), 0)


# ---- picture ---------------------------------------------------------------------------------------------------------


def drawn(sweep: Sweep, store: Store, spec: Figure) -> Drawn:
    """The figure. Raises NothingToDraw."""
    found, metric = read(sweep, store, spec), metrics.lookup(spec.metric)
    if not found.lines:
        raise NothingToDraw(sweep, "no trial is complete")
    notes = (*_notes(found.lines), *gap_notes(found.gaps))
    warnings = (*gap_notes(found.gaps), *(
        f"published curve '{label}': no row has this label, so it has a colour of its own" for label in found.strangers
    ))  # fmt: skip
    numbers = tuple(point for line in found.lines for point in _points(line))
    height = 3.6 + 0.18 * -(-len(found.lines) // _columns(spec))
    return Drawn(COLUMNS, numbers, notes, warnings, (spec.look.width or style.WIDTH, height), lambda picture: _paint(
        picture, found, metric, spec
    ))  # fmt: skip


def _notes(found: Sequence[Line]) -> list[str]:
    """How the seeds are shown, as far as any are."""
    spread = [line for line in found if _spreads(line)]
    how = ["bands"] * any(len(line.epochs) > 1 for line in spread)
    how += ["upright lines"] * any(len(line.epochs) == 1 for line in spread)
    lines = "Lines" if any(len(line.epochs) > 1 for line in found) else "Points"
    notes = [f"{lines} are means over seeds, {' and '.join(how)} ± one sample standard deviation (sd)."] if how else []
    return notes + ["Points of one epoch stand side by side."] * (_apart(found) > 0)


def _spreads(line: Line) -> bool:
    """Whether its sd is drawn: it is known at every epoch."""
    return all(value is not None for value in line.sd)


def _apart(found: Sequence[Line]) -> float:
    """By how many epochs the points of two lines are moved apart; by none where lines have many points."""
    few = len(found) > 1 and all(len(line.epochs) <= MOST_MARKERS for line in found)
    return min(0.06, 0.3 / len(found)) if few else 0.0


def _columns(spec: Figure) -> int:
    """Of the legend."""
    return max(1, int(2 * style.room(spec.look)))


def _points(line: Line) -> list[tuple[object, ...]]:
    source = "published" if line.published else "reproduced"
    known = [(None, None) if line.published else (n, line.n_planned) for n in line.n]
    return [
        (line.label, source, epoch, mean, sd, *counts)
        for epoch, mean, sd, counts in zip(line.epochs, line.mean, line.sd, known, strict=True)
    ]


def _paint(picture: "Picture", found: Curves, metric: Metric, spec: Figure) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = picture.add_subplot()
    at = {label: index for index, label in enumerate((*found.labels, *found.strangers))}
    apart, inches = _apart(found.lines), (spec.look.width or style.WIDTH) / style.tall(spec.look)
    letters = max(12, int((inches / _columns(spec) - 0.5) / LETTER) - 16)
    for place_, line in enumerate(found.lines):
        _trace(axes, line, at[line.label], apart * (place_ - (len(found.lines) - 1) / 2), letters)
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric.heading)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    first, last = min(line.epochs[0] for line in found.lines), max(line.epochs[-1] for line in found.lines)
    pad = max(0.5, 0.04 * (last - first)) if apart else 0.04 * (last - first) or 0.5
    axes.set_xlim(*(spec.xlim or (max(first - pad, 0.5), last + pad)))  # there is no epoch 0
    if spec.ylim:
        axes.set_ylim(*spec.ylim)
    style.grid(axes)
    style.legend_below(axes, 2, _columns(spec))


def _trace(axes: "Axes", line: Line, at: int, aside: float, letters: int) -> None:
    """Ours in front with a band of ± sd, published ones dashed below; one label, one colour and marker.

    `aside`: by how many epochs its points are moved; `letters`: of its label that the legend has room for in a line.
    """
    color, marker, stroke = style.look(at)
    step = -(-len(line.epochs) // MOST_MARKERS)
    epochs = [epoch + aside for epoch in line.epochs]
    axes.plot(
        epochs, line.mean, "--" if line.published else stroke, color=color, marker=marker,
        markersize=3.5, markevery=(at % step, step), markerfacecolor="white" if line.published else color,
        linewidth=1.0 if line.published else 1.5, zorder=2 if line.published else 3, label=_legend(line, letters),
    )  # fmt: skip
    if _spreads(line):
        mean, sd = np.array(line.mean), np.array(line.sd, dtype=np.float64)
        if len(epochs) == 1:
            axes.vlines(epochs, mean - sd, mean + sd, color=color, linewidth=1.0)
        else:
            axes.fill_between(epochs, mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0)


def _legend(line: Line, letters: int) -> str:
    label = style.wrapped(style.plain(line.label), letters, 2)
    if line.published:
        return f"{label} (published)"
    least = min(line.n)
    spread = ", ± sd" if least > 1 else ""
    return f"{label} (n = {least}{'' if least == line.n_planned else f'/{line.n_planned}'}{spread})"
