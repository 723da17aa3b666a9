"""The figure of a sweep: a metric over the epochs, a line a row with its band, published curves dashed below.

It reads the store and writes a picture with the numbers that are in it; matplotlib is imported only to draw.
"""

import contextlib
import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyablate.errors import SweepError, UsageError, listed, nearest
from tinyablate.plan import ask, unique
from tinyablate.store.query import epochs_of, outcomes_of
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Sweep
from tinyablate.tables import stats
from tinyablate.tables.collect import state_of
from tinyablate.tables.footnotes import place
from tinyablate.tables.layout import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".pdf", ".png")
FOLDER = Path("results/figures")
COLUMNS = ("label", "source", "epoch", "mean", "sd", "n", "n_planned")
"""Of the numbers beside a picture."""
SIZE = (7.0, 4.5)
"""Width and height in inches: a column and a half of a paper."""
UNDATED: Mapping[str, dict[str, str | None]] = {
    ".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None},
}  # fmt: skip
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito, "Color universal design" (2008), without yellow, which is faint on white; more lines begin again, …"""
STROKES = ("-", "-.", ":")
"""… with the next of these. Dashes are for what was published."""


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


def figure(sweep: Sweep, store: Store, out: Path | None = None) -> tuple[Path, Path]:
    """Draw the sweep's figure as the store has it now; the paths of the picture and of its numbers as CSV.

    `out` ends in .svg, .pdf or .png; without it the picture goes to results/figures. Raises SweepError for a sweep
    without a figure, UsageError where there is nothing to draw or a path cannot be written.
    """
    path = out or FOLDER / f"{sweep.name.replace('/', '-')}{'-smoke' if sweep.smoke else ''}.svg"
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--out {path}: must end in {listed(SUFFIXES)}{nearest(path.suffix, SUFFIXES)}")
    if not sweep.figures:
        raise SweepError([f'{sweep.path}: has no figure; add [figure] with metric = "val_top1", or another metric'])
    drawn = lines(sweep, store)
    if not drawn:
        raise UsageError(f"{sweep.name}: nothing to draw, no trial is complete; next: tinyablate run {sweep.name}")
    numbers = path.with_suffix(".csv")
    _refuse_others(numbers)
    _write(path, _picture(sweep, drawn, path.suffix))
    _write(numbers, _csv(drawn).encode())
    return path, numbers


def _refuse_others(numbers: Path) -> None:
    """Raises UsageError where a file that no figure wrote, such as the published curves, has the numbers' name."""
    if not numbers.is_file():
        return
    with numbers.open("rb") as file:
        if not file.readline().startswith(",".join(COLUMNS).encode()):
            raise UsageError(f"--out: {numbers} is no figure's and is not overwritten; name another file")


# ---- numbers ---------------------------------------------------------------------------------------------------------


def lines(sweep: Sweep, store: Store) -> tuple[Line, ...]:
    """A line for each cell with a complete trial, row by row, then the published curves."""
    if not sweep.figures:
        return ()
    metric = metrics.lookup(sweep.figures[0].metric)
    asked = ask(sweep)
    keys = unique([asked])
    stored = outcomes_of(store, keys, [])
    curves = epochs_of(store, keys, [metric.name])
    found: list[Line] = []
    for cell in sweep.cells:
        trials = asked.keys[cell.row, cell.column, "train"]
        complete = [key for key in trials if key in stored and state_of(stored[key]) == "complete"]
        label = place(sweep.rows[cell.row].label, sweep.columns[cell.column].label)
        found += _line(label, [curves.get(key, {}) for key in complete], metric, len(trials))
    for label, points in sweep.figures[0].published.items():
        epochs, values = zip(*points, strict=True)
        found.append(Line(label, True, epochs, values, (None,) * len(epochs), (0,) * len(epochs), 0))
    return tuple(found)


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


def _csv(drawn: Sequence[Line]) -> str:
    """One line for each point; sd and n are empty where nothing is known of them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in drawn:
        source = "published" if line.published else "reproduced"
        for epoch, mean, sd, n in zip(line.epochs, line.mean, line.sd, line.n, strict=True):
            known = ("", "") if line.published else (n, line.n_planned)
            writer.writerow([line.label, source, epoch, mean, "" if sd is None else sd, *known])
    return text.getvalue()


# ---- picture ---------------------------------------------------------------------------------------------------------


def _picture(sweep: Sweep, drawn: Sequence[Line], suffix: str) -> bytes:
    """The figure as a file of this kind."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    assert sweep.figures
    metric, file = metrics.lookup(sweep.figures[0].metric), io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style would change the bytes
        matplotlib.rcParams.update({
            "svg.hashsalt": "tinyablate",  # else ids are random
            "svg.fonttype": "none",  # text stays text
            "pdf.fonttype": 42,
            "text.parse_math": False,  # a label may hold a dollar sign
            "font.size": 9,
        })  # fmt: skip
        picture = Figure(figsize=SIZE, layout="constrained")  # no pyplot: no window system is asked for
        axes = picture.add_subplot()
        _draw(axes, drawn)
        axes.set_title(_plain(title_of(sweep)), wrap=True)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{metric.title} ({metric.unit})" if metric.unit else metric.title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3, linewidth=0.5)
        axes.legend(frameon=False)
        picture.savefig(file, format=suffix[1:], dpi=200, metadata=UNDATED[suffix])
    return file.getvalue()


def _draw(axes: "Axes", drawn: Sequence[Line]) -> None:
    """Ours in front with bands of ± sd, published ones dashed below; one label, one colour."""
    labels = {label: at for at, label in enumerate(dict.fromkeys(line.label for line in drawn))}
    for line in drawn:
        again, at = divmod(labels[line.label], len(COLORS))
        stroke = "--" if line.published else STROKES[again % len(STROKES)]
        axes.plot(
            line.epochs, line.mean, stroke, color=COLORS[at], linewidth=1.0 if line.published else 1.5,
            zorder=2 if line.published else 3, marker="." if len(line.epochs) == 1 else None, label=_legend(line),
        )  # fmt: skip
        if all(value is not None for value in line.sd):
            mean, sd = np.array(line.mean), np.array(line.sd, dtype=np.float64)
            axes.fill_between(line.epochs, mean - sd, mean + sd, color=COLORS[at], alpha=0.2, linewidth=0)


def _legend(line: Line) -> str:
    if line.published:
        return f"{_plain(line.label)} (published)"
    least = min(line.n)
    spread = ", ± sd" if least > 1 else ""
    return f"{_plain(line.label)} (n = {least}{'' if least == line.n_planned else f'/{line.n_planned}'}{spread})"


def _plain(text: str) -> str:
    """`text` on one line; a label that begins with _ would be hidden, so a space stands before it."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f" {line}" if line.startswith("_") else line


def _write(path: Path, content: bytes) -> None:
    """The file, whole or not at all. Raises UsageError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        raise UsageError(f"--out {path}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
