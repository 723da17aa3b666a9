"""Heat map: the cells of a grid, mean and sd in each, the best marked with all that noise cannot separate from it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinyablate.tables.figures import style
from tinyablate.tables.figures.drawn import Drawn, NothingToDraw, View, gap_notes
from tinyablate.tables.schema import CellState, Standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

COLUMNS = ("row", "column", "mean", "sd", "n", "n_planned", "standing", "state", "marks")
MAP = "cividis"
"""Its lightness rises evenly, also in grey and for the colour-blind. Source: Nuñez et al., PLOS ONE 13 (2018)."""
WIDE, NARROW = 0.82, 0.14
"""Width of a cell in inches: wide enough for its numbers, or at the least; …"""
ROOM = 11.0
"""… all columns together have this much before cells grow narrow and numbers are left to the CSV file."""
LEAST = 0.42
"""Width that the numbers need where the picture's is given."""


@dataclass(frozen=True)
class Square:
    """One cell of the grid."""

    row: int
    """Place in the picture, from above; …"""
    column: int
    """… from the left."""
    labels: tuple[str, str]
    """Of row and column."""
    mean: float | None
    sd: float | None
    n: int
    n_planned: int
    standing: Standing | None
    state: CellState
    marks: tuple[str, ...]


def squares(view: View) -> tuple[Square, ...]:
    """The cells row by row, those without a value included."""
    return tuple(
        Square(y, x, (view.table.rows[row].label, view.table.columns[column].label), cell.mean, cell.sd, cell.n,
               cell.n_planned, cell.standing, cell.state, cell.marks)
        for y, row in enumerate(view.rows)
        for x, column in enumerate(view.columns())
        for cell in [view.cell(row, column)]
    )  # fmt: skip


def lacks(view: View) -> str:
    """Why this table is no heat map; empty if it is one."""
    return "" if len(view.columns()) > 1 and len(view.rows) > 1 else "it has no second axis: no [[columns]], no grid"


def drawn(view: View) -> Drawn:
    """The figure. Raises NothingToDraw."""
    found = squares(view)
    if all(square.mean is None for square in found):
        raise NothingToDraw(view.sweep, "no trial is complete")
    numbers = tuple(
        (*square.labels, square.mean, square.sd, square.n, square.n_planned, square.standing, square.state,
         ", ".join(square.marks))
        for square in found
    )  # fmt: skip
    rows, columns = len(view.rows), len(view.columns())
    look = view.spec.look
    beside = 1.9 * style.tall(look) if look.width is None else min(1.9 * style.tall(look), 0.4 * look.width)
    usual = max(NARROW, min(WIDE * style.tall(look), ROOM / columns))
    wide = usual if look.width is None else (look.width - beside) / columns
    numbered = wide >= (WIDE if look.width is None else LEAST) * style.tall(look)
    high = 0.5 * style.tall(look) if numbered else min(0.5, wide)
    size = (look.width or max(4.5, beside + wide * columns), 0.9 + high * rows)
    gaps = gap_notes(list(view.gaps()))
    notes = (*_notes(view, found), *gaps)
    return Drawn(COLUMNS, numbers, notes, gaps, size, lambda picture: _paint(picture, view, found, numbered))


def _notes(view: View, found: tuple[Square, ...]) -> list[str]:
    bright = "lower" if view.metric.better == "min" else "higher"
    spread = ", below it ± sd over seeds" if any(square.sd is not None for square in found) else ""
    notes = [f"{view.metric.heading}: mean{spread}; brighter is {bright}."]
    best = "the best" if view.table.axes else "the best of its column"
    if any(square.standing == "close" for square in found):
        notes.append(f"Solid frame: {best}; dashed frames: not separated from it at 5 % (Hsu's comparisons).")
    elif any(square.standing == "best" for square in found):
        notes.append(f"Solid frame: {best}.")
    if any(square.mean is None and square.state != "excluded" for square in found):
        notes.append("Hatched: without a value.")
    if any(square.state == "excluded" for square in found):
        notes.append("–: left out by the sweep.")
    return notes


# ---- picture ---------------------------------------------------------------------------------------------------------


def _paint(picture: "Picture", view: View, found: tuple[Square, ...], numbers: bool) -> None:
    from matplotlib import colormaps

    axes = picture.add_subplot()
    values = [square.mean for square in found if square.mean is not None]
    low, span = min(values), max(values) - min(values)
    for square in found:
        share = 0.5 if square.mean is None or not span else (square.mean - low) / span
        share = 1 - share if view.metric.better == "min" else share
        _square(axes, square, colormaps[MAP](share), view.table.columns[view.columns()[0]].digits, numbers)
    axes.set_xlim(0, len(view.columns()))
    axes.set_ylim(len(view.rows), 0)
    across, down = (
        [view.table.columns[at].label for at in view.columns()],
        [view.table.rows[at].label for at in view.rows],
    )
    _ticks(axes, across, down, numbers)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def _square(axes: "Axes", square: Square, color: tuple[float, ...], digits: int, numbers: bool) -> None:
    from matplotlib.patches import Rectangle

    x, y = square.column, square.row
    if square.mean is None:
        absent = square.state == "excluded"
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor="white", edgecolor="#bbbbbb", linewidth=0.5,
                                 hatch=None if absent else "////"))  # fmt: skip
        text, ink, back = "–" if absent else square.state, style.PLAIN, {"facecolor": "white", "linewidth": 0, "pad": 1}
        if numbers:
            axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=style.points(7), color=ink, bbox=back)
        return
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=color, edgecolor="white", linewidth=0.5))
    ink = "white" if style.luminance(color) < 0.18 else "black"
    if square.standing in ("best", "close"):
        best = square.standing == "best"
        axes.add_patch(Rectangle((x + 0.04, y + 0.06), 0.92, 0.88, fill=False, edgecolor=ink, zorder=3,
                                 linewidth=1.8 if best else 1.0, linestyle="-" if best else "--"))  # fmt: skip
    if numbers:
        weight = "bold" if square.standing == "best" else "normal"
        axes.text(x + 0.5, y + 0.5 - (0.12 if square.sd is not None else 0), f"{square.mean:.{digits}f}", ha="center",
                  va="center", fontsize=style.points(8.5), color=ink, fontweight=weight)  # fmt: skip
        if square.sd is not None:
            axes.text(x + 0.5, y + 0.74, f"± {square.sd:.{digits}f}", ha="center", va="center",
                      fontsize=style.points(6), color=ink)  # fmt: skip


def _ticks(axes: "Axes", across: list[str], down: list[str], numbers: bool) -> None:
    """Labels of the axes; where all begin with the same field, that once as the axis' name."""
    for axis, labels, width in ((axes.xaxis, across, 12), (axes.yaxis, down, 26)):
        field, short = _common(labels)
        step = 1 if numbers else max(1, len(labels) // 25)
        texts = [style.wrapped(style.plain(label), width, 3) for label in short]
        axis.set_ticks([at + 0.5 for at in range(0, len(labels), step)], texts[::step], fontsize=style.points(8))
        if field:
            axis.set_label_text(style.plain(field))
    if not numbers:
        axes.tick_params(axis="x", labelrotation=90)


def _common(labels: list[str]) -> tuple[str, list[str]]:
    """(`lr`, [`0.1`, …]) of `lr = 0.1`, …; ("", labels) where they do not all begin so."""
    fields = {label.partition(" = ")[0] for label in labels}
    if len(fields) == 1 and all(label.count(" = ") == 1 for label in labels):
        return fields.pop(), [label.partition(" = ")[2] for label in labels]
    return "", labels
