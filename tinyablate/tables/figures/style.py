"""How all figures look: settings, colours, text that fits; and a painted figure as the bytes of a file, undated."""

import io
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
SETTINGS: Mapping[Any, Any] = {
    "svg.hashsalt": "tinyablate",  # else ids are random
    "svg.fonttype": "none",  # text stays text: found, read aloud and edited; `fonts.embedded` brings its glyphs along
    "pdf.fonttype": 42,  # TrueType: some journals refuse matplotlib's own choice, Type 3
    "text.parse_math": False,  # a label may hold a dollar sign
    "axes.unicode_minus": True,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}
LINE = 0.125
"""Height of a line of a note, in inches."""


def picture(title: str, drawn: Drawn, suffix: str) -> tuple[bytes, str]:
    """The figure as a file of this kind, and the characters of its words that no font here has."""
    import matplotlib
    from matplotlib.figure import Figure

    heading = wrapped(plain(title), int(drawn.size[0] * 12))
    notes = "\n".join(wrapped(plain(note), int(drawn.size[0] * 20), 4) for note in drawn.notes)
    file, below = io.BytesIO(), LINE * (notes.count("\n") + 1.5) if notes else 0.0
    height = drawn.size[1] + below + 0.2 * (heading.count("\n") + 1)
    said = "\n".join([title, notes, *(str(value) for line in drawn.numbers for value in line)])
    families, absent = fonts.families(said)
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # a user's own style would change the bytes
        matplotlib.rcParams.update({**SETTINGS, "font.family": list(families)})
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # told below, once
        # no pyplot: no window system is asked for
        painted = Figure(figsize=(drawn.size[0], height), layout="constrained", dpi=DPI)
        engine = painted.get_layout_engine()
        assert engine is not None
        engine.set(rect=(0, below / height, 1, 1 - below / height))  # type: ignore[call-arg]
        painted.suptitle(heading, fontsize=10)
        if notes:
            painted.text(0.1 / drawn.size[0], 0.06 / height, notes, fontsize=7, va="bottom", color="#333333")
        drawn.paint(painted)
        painted.savefig(file, format=suffix[1:], dpi=DPI, metadata=UNDATED[suffix])
    content = file.getvalue()
    return (fonts.embedded(content, families) if suffix == ".svg" else content), absent


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


def wrapped(text: str, width: int, most: int = 3) -> str:
    """`text` in at most `most` lines of about `width` columns, cut with … where it is longer than that.

    Chinese and other wide characters count as two columns; a word longer than a line is broken.
    """
    lines, rest = list[str](), text.strip(" ") if text.strip(" ") else text
    while rest and len(lines) < most:
        end = _fitting(rest, width)
        space = rest.rfind(" ", 0, end + 1) if end < len(rest) else -1
        end = space if space > 0 else end
        lines.append(rest[:end].rstrip(" "))
        rest = rest[end:].lstrip(" ")
    if rest:
        lines[-1] = lines[-1][: max(1, _fitting(lines[-1], width - 1))] + "…"
    return ("" if not text.startswith(" ") else " ") + "\n".join(lines)


def _fitting(text: str, width: int) -> int:
    """How many characters of `text` fit into `width` columns; at least one."""
    used = 0
    for at, character in enumerate(text):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > width:
            return max(at, 1)
    return len(text)
