"""Power: the difference that n pairs of seeds detect with 80 % power, where this table stands, what the margin needs.

It is computed from the noise of all rows, never from a row's own difference.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinyablate.tables import stats
from tinyablate.tables.figures import style
from tinyablate.tables.figures.drawn import Drawn, NothingToDraw, View, difference_title
from tinyablate.tables.schema import ColumnStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

COLUMNS = ("column", "pairs", "detectable", "present")
LEAST = 3
"""Pairs from which the curve is drawn: with two the t distribution is so wide that nothing else could be read."""
MOST = 60
USUAL = 5.2
"""Width in inches."""


@dataclass(frozen=True)
class Power:
    """The curve of one column of the second axis."""

    column: str
    pairs: tuple[int, ...]
    detectable: tuple[float, ...]
    """In the metric's unit: two-sided at 5 % over the family, 80 % power."""
    present: tuple[int, ...]
    """Pairs that the table's comparisons have now, ascending, each number once."""
    least_pairs: int
    """Below it no result of this family can reach 5 %."""
    detect_pairs: int | None
    """Pairs that detect the declared margin."""
    comparisons: int
    sd: float
    """Of one value within its row, pooled."""


def powers(view: View) -> tuple[Power, ...]:
    """A curve for each column whose noise is known."""
    found = []
    for column in view.columns():
        known = view.table.statistics[column] if view.table.statistics else None
        if known and known.sd:
            found.append(_power(view, column, known, known.sd))
    return tuple(found)


def _power(view: View, column: int, known: ColumnStatistics, sd: float) -> Power:
    cells = [row.cells[column] for row in view.table.rows if row.compared and not row.null]
    present = tuple(sorted({cell.pairs for cell in cells if cell.pairs}))
    wanted = max(12, *(2 * pairs for pairs in present), (known.detect_pairs or 0) + 3, known.least_pairs)
    pairs = tuple(range(LEAST, min(wanted, MOST) + 1))
    # a difference has the noise of two values; the seeds' common part is no part of `sd`
    detectable = tuple(stats.detectable(sd * 2**0.5, n, known.comparisons) for n in pairs)
    return Power(view.table.columns[column].label, pairs, detectable, present, known.least_pairs, known.detect_pairs,
                 known.comparisons, sd)  # fmt: skip


def lacks(view: View) -> str:
    """Why this table has no power curve; empty if it has one."""
    if not view.metric.tested:
        return f"differences in {view.spec.metric} are not tested"
    return "" if any(row.compared for row in view.table.rows) else "no row is compared with another"


def drawn(view: View) -> Drawn:
    """The figure. Raises NothingToDraw."""
    found = powers(view)
    if not found:
        raise NothingToDraw(view.sweep, "the noise is not known before two rows have two complete seeds each")
    numbers = tuple(
        (each.column, n, value, int(n in each.present))
        for each in found
        for n, value in zip(each.pairs, each.detectable, strict=True)
    )
    height = 3.4 + (0.18 * (1 + len(found)) if len(found) > 1 else 0.0)
    return Drawn(COLUMNS, numbers, tuple(_notes(found)), (), (view.spec.look.width or USUAL, height), lambda picture: (
        _paint(picture, view, found)
    ))  # fmt: skip


def _notes(found: tuple[Power, ...]) -> Iterator[str]:
    families = {each.comparisons for each in found}
    over = f"{families.pop()} comparisons" if len(families) == 1 else "its comparisons"
    noise = f"sd {found[0].sd:.3g}" if len(found) == 1 else "the sd in the legend"
    yield ("Smallest true difference that is found with 80 % power, two-sided at 5 % over "
           f"{over} (Bonferroni's level); noise of one value: {noise}, pooled over rows.")  # fmt: skip
    if (least := _least(found)) > LEAST:
        yield f"Grey: fewer than {least} pairs of seeds, with which no result can reach 5 %."
    if any(_now(each) for each in found):
        yield "Dots: pairs that comparisons have now."


def _least(found: tuple[Power, ...]) -> int:
    """Pairs below which none of the columns can have a result."""
    return min(each.least_pairs for each in found)


def _now(each: Power) -> list[int]:
    return [n for n in each.present if n in each.pairs]


def _paint(picture: "Picture", view: View, found: tuple[Power, ...]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = picture.add_subplot()
    if _least(found) > LEAST:
        axes.axvspan(0, _least(found) - 0.5, color=style.BAND, alpha=0.6, linewidth=0, zorder=0)
    for at, each in enumerate(found):
        color, marker, _ = style.look(at)
        axes.plot(each.pairs, each.detectable, ("-", "--", "-.", ":")[at % 4], color=color, linewidth=1.5,
                  label=_legend(each, view.margin))  # fmt: skip
        axes.plot(_now(each), [each.detectable[each.pairs.index(n)] for n in _now(each)], marker, color=color,
                  markersize=6)  # fmt: skip
    axes.set_xlim(*(view.spec.xlim or (LEAST - 0.5, max(each.pairs[-1] for each in found) + 0.5)))
    axes.set_yscale("log")
    style.plain_numbers(axes.yaxis)
    lowest = min(value for each in found for value in (*each.detectable, view.margin or each.detectable[0]))
    axes.set_ylim(bottom=lowest * 0.8)
    if view.spec.ylim:
        axes.set_ylim(*view.spec.ylim)
    if view.margin is not None:
        _margin(axes, found, view.margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("pairs of seeds")
    axes.set_ylabel(difference_title(view.metric, "detectable difference"))
    style.grid(axes)
    if len(found) > 1:
        style.legend_below(axes, 2, 1)


def _legend(each: Power, margin: float | None) -> str:
    """The column with its noise, and the pairs that its margin takes."""
    needed = "" if margin is None or each.detect_pairs is None else f"; margin: {each.detect_pairs} pairs"
    return f"{style.wrapped(style.plain(each.column), 26, 1)} (sd {each.sd:.3g}{needed})"


def _margin(axes: "Axes", found: tuple[Power, ...], margin: float) -> None:
    """The margin, named at the end of its line outside of the axes; and for each curve the pairs that detect it."""
    axes.axhline(margin, color=style.WORSE, linewidth=1.0, linestyle="--")
    needed = found[0].detect_pairs if len(found) == 1 else None
    text = f"margin {margin:g}" + (f":\n{needed} pairs" if needed else "")
    axes.annotate(text, (1, margin), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                  ha="left", va="center", fontsize=style.points(8), color=style.WORSE)  # fmt: skip
    for at, each in enumerate(found):
        if each.detect_pairs and each.detect_pairs <= MOST:
            color = style.WORSE if len(found) == 1 else style.look(at)[0]
            axes.plot([each.detect_pairs] * 2, [axes.get_ylim()[0], margin], color=color, linewidth=0.9, linestyle=":")
