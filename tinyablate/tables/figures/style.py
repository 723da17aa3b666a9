"""How all figures look: settings, colours, text that fits; and a painted figure as the bytes of a file, undated."""

import bisect
import io
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinyablate.errors import UsageError
from tinyablate.sweep.schema import Look
from tinyablate.tables.figures import fonts
from tinyablate.tables.figures.drawn import Drawn
from tinyablate.tables.render import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Picture

UNDATED: Mapping[str, dict[str, str | None]] = {
    ".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None},
}  # fmt: skip
SUFFIXES = tuple(UNDATED)
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito, "Color universal design" (2008), without yellow, which is faint on white; more lines begin again, …"""
STROKES = ("-", "-.", ":")
"""… with the next of these. Dashes are for what was published."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
"""One more than colours, so that lines differ without them: in grey, and to whoever does not see them."""
BETTER, WORSE, PLAIN, FAINT = COLORS[0], COLORS[1], "#1a1a1a", "#8a8a8a"
BAND = "#dddddd"
"""The margin, and what else lies behind everything."""
LIGHT = COLORS[5]
"""A surface on which black lines are seen."""
DPI = 200
WIDTH = 7.0
"""Of most pictures, in inches: the text block of a paper of one column."""
FONT_SIZE = 9.0
"""Of axes' names, in points."""
SETTINGS: Mapping[Any, Any] = {
    "svg.hashsalt": "tinyablate",  # else ids are random
    "svg.fonttype": "none",  # text stays text: found, read aloud and edited; `fonts.embedded` brings its glyphs along
    "pdf.fonttype": 42,  # TrueType: some journals refuse matplotlib's own choice, Type 3
    "text.parse_math": False,  # a label may hold a dollar sign
    "axes.unicode_minus": True,
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}
PLAINLY = Look()
LINE = 0.125
"""Height of a line of a note, in inches, at the usual size of the font."""
SIDE = 0.1
"""Beside notes and title, in inches."""
LEAST_HEIGHT = 0.8
"""Of what is drawn, in inches, where a height is asked for."""


def picture(title: str, drawn: Drawn, suffix: str, look: Look = PLAINLY) -> tuple[bytes, str]:
    """The figure as a file of this kind, and the characters of its words that no font here has.

    Raises UsageError for a height that title and notes leave no room in.
    """
    import matplotlib
    from matplotlib.figure import Figure

    said = "\n".join([title, *drawn.notes, *(str(value) for line in drawn.numbers for value in line)])
    families, absent = fonts.families(said)
    file = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # a user's own style would change the bytes
        size = look.font_size or FONT_SIZE
        matplotlib.rcParams.update({**SETTINGS, "font.size": size, "font.family": list(families)})
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # told below, once
        # no pyplot: no window system is asked for
        painted = Figure(figsize=drawn.size, layout="constrained", dpi=DPI)
        _frame(painted, title if look.title else "", drawn.notes if look.notes else (), look.height)
        drawn.paint(painted)
        painted.savefig(file, format=suffix[1:], dpi=DPI, metadata=UNDATED[suffix])
    content = file.getvalue()
    return (fonts.embedded(content, families) if suffix == ".svg" else content), absent


def _frame(painted: "Picture", title: str, notes: Sequence[str], wanted: float | None) -> None:
    """Title and notes with the height that they take; `wanted` is that of the whole."""
    width, height = painted.get_size_inches().tolist()
    room, line = width - 2 * SIDE, LINE * points(7.0) / 7.0
    heading = wrapped(plain(title), room, measure=_inches(painted, points(10.0))) if title else ""
    measure = _inches(painted, points(7.0))
    text = "\n".join(wrapped(plain(note), room, 99, measure) for note in notes)
    below = line * (text.count("\n") + 1.5) if text else 0.0
    above = 0.2 * points(10.0) / 10.0 * (heading.count("\n") + 1) if heading else 0.0
    if wanted is not None:
        height = wanted - below - above
        if height < LEAST_HEIGHT:
            raise UsageError(
                f"a height of {wanted:g} inches: title and notes take {below + above:.1f}; next: --height "
                f"{below + above + LEAST_HEIGHT:.1f} or more, or --no-notes"
            )
    whole = height + below + above
    painted.set_size_inches(width, whole)
    engine = painted.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, below / whole, 1, 1 - below / whole))  # type: ignore[call-arg]
    if heading:
        painted.suptitle(heading, fontsize=points(10.0))
    if text:
        painted.text(SIDE / width, 0.06 / whole, text, fontsize=points(7.0), va="bottom", color="#333333")


def _inches(painted: "Picture", size: float) -> Callable[[str], float]:
    """How wide a text of this size is drawn."""
    from matplotlib.text import Text

    text = Text(fontsize=size)
    text.set_figure(painted)

    def measure(words: str) -> float:
        text.set_text(words)
        return float(text.get_window_extent(dpi=DPI).width) / DPI

    return measure


def points(size: float) -> float:
    """`size` as it is where the font has its usual one, changed with it."""
    import matplotlib

    return size / FONT_SIZE * float(matplotlib.rcParams["font.size"])


def room(look: Look, usual: float = WIDTH) -> float:
    """How many letters go across, as a share of those that go into the usual width at the usual size."""
    return (look.width or usual) / usual * FONT_SIZE / (look.font_size or FONT_SIZE)


def tall(look: Look) -> float:
    """How much higher a line is than at the usual size."""
    return (look.font_size or FONT_SIZE) / FONT_SIZE


def legend_below(axes: "Axes", lines: int, columns: int, size: float = 8.0, title: str = "") -> None:
    """The legend below the axis, under `lines` of numbers and name, where it hides nothing."""
    pad = (11.0 * lines + 14.0) / size
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=pad, ncols=columns, title=title or None,
                fontsize=points(size), title_fontsize=points(size))  # fmt: skip


def panels(picture: "Picture", count: int, most: int, shared: bool = True) -> "list[Axes]":
    """`count` axes, at most `most` in a line; `shared`: one scale of y for all. Places left over stay blank."""
    lines = -(-count // most)
    axes = picture.subplots(lines, min(count, most), squeeze=False, sharey=shared).ravel().tolist()
    for extra in axes[count:]:
        extra.set_visible(False)
    return list(axes[:count])


def grid(axes: "Axes", axis: str = "both") -> None:
    """A faint grid behind everything."""
    axes.set_axisbelow(True)
    axes.grid(axis=axis, color="#e6e6e6", linewidth=0.6)  # type: ignore[arg-type]


def plain_numbers(axis: "Axis") -> None:
    """Plain numbers on a scale of ratios: matplotlib's own are formulas, which are off for the labels' sake."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def look(at: int) -> tuple[str, str, str]:
    """Colour, marker and stroke of the line number `at`."""
    return COLORS[at % len(COLORS)], MARKERS[at % len(MARKERS)], STROKES[at // len(COLORS) % len(STROKES)]


def luminance(color: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour, 0 to 1. Source: WCAG 2.1, "relative luminance"."""
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in color[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# ---- words -----------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """`text` on one line; a label that begins with _ would be hidden, so a space stands before it."""
    line = words.line(text)
    return f" {line}" if line.startswith("_") else line


def columns(text: str) -> float:
    """How many columns of letters `text` takes; Chinese and other wide characters count as two."""
    return float(sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text))


def wrapped(text: str, width: float, most: int = 3, measure: Callable[[str], float] = columns) -> str:
    """`text` in at most `most` lines that are at most `width` wide, cut with … where it is longer than that.

    A word longer than a line is broken.
    """
    lines, rest = list[str](), text.strip(" ") if text.strip(" ") else text
    while rest and len(lines) < most:
        end = _fitting(rest, width, measure)
        space = rest.rfind(" ", 0, end + 1) if end < len(rest) else -1
        end = space if space > 0 else end
        lines.append(rest[:end].rstrip(" "))
        rest = rest[end:].lstrip(" ")
    if rest:
        lines[-1] = lines[-1][: max(1, _fitting(lines[-1], width - measure("…"), measure))] + "…"
    return ("" if not text.startswith(" ") else " ") + "\n".join(lines)


def _fitting(text: str, width: float, measure: Callable[[str], float]) -> int:
    """How many characters of `text` fit into `width`; at least one."""
    ends = range(1, len(text) + 1)
    return max(1, bisect.bisect_right(ends, width, key=lambda end: measure(text[:end])))
