"""Fonts: which ones the words of a figure need, what none of them has, and their glyphs inside an SVG file."""

import base64
import contextlib
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from html import unescape

BASE = "DejaVu Sans"
"""Comes with matplotlib: the same on every machine; Latin, Greek, Cyrillic, Arabic, Hebrew and signs."""

EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH", "BOPOMOFO")
"""First words of the names of characters that one family of fonts has."""

SHAPED = (3, 11)
"""matplotlib from which text from right to left is put in order and joined (its release notes: libraqm)."""


def families(words: str) -> tuple[tuple[str, ...], str]:
    """The fonts that these words need, `BASE` first, and the characters that no installed font has.

    Only where `BASE` lacks a character are the installed fonts searched, in the order of their names.
    """
    needed = {ord(each) for each in words if each.isprintable()} - {ord(" ")}
    found, lacking = [BASE], needed - _characters(_file(BASE))
    for name, path in _installed() if lacking else ():
        here = lacking & _characters(path)
        if here:
            found.append(name)
            lacking -= here
        if not lacking:
            break
    return tuple(found), "".join(each for each in dict.fromkeys(words) if ord(each) in lacking)


def such_as(characters: str) -> str:
    """The name of a freely available family of fonts that has the first of these characters."""
    script = unicodedata.name(characters[0], "").partition(" ")[0]
    if script in EAST_ASIAN:
        return "Noto Sans CJK"
    return f"Noto Sans {script.title()}" if unicodedata.category(characters[0]) in ("Lo", "Mc", "Mn") else (
        "Noto Sans Symbols or Noto Emoji"
    )  # fmt: skip


def disordered(words: str) -> bool:
    """Whether these words hold letters that this matplotlib would draw in the wrong order."""
    import matplotlib

    release = tuple(int(part) for part in re.findall(r"\d+", matplotlib.__version__)[:2])
    return release < SHAPED and _right_to_left(words)


def embedded(svg: bytes, names: Sequence[str]) -> bytes:
    """`svg` with the glyphs of its words in it, so that its text looks the same where the fonts are not installed.

    Browsers use them; programs that do not know @font-face take the reader's nearest font, as without them.
    """
    text = svg.decode()
    words = unescape("".join(re.findall(r">([^<]+)</(?:text|tspan)>", text)))
    faces = "".join(_face(name, words) for name in names)
    head, style, tail = text.partition('<style type="text/css">')
    return f"{head}{style}{faces}{tail}".encode()


def _face(name: str, words: str) -> str:
    """The CSS rule of a font with only the glyphs that `words` need; empty where the font may not be cut down."""
    from fontTools import subset  # type: ignore[import-untyped]
    from fontTools.ttLib import TTLibError  # type: ignore[import-untyped]

    # only joined letters need the tables of layout, which cost more time than all the rest of a figure
    layout = [] if _right_to_left(words) else ["GSUB", "GPOS", "GDEF"]
    options = subset.Options(hinting=False, notdef_outline=True, flavor="woff", drop_tables=["FFTM", *layout])
    options.recalc_timestamp = False  # the bytes must not know the date
    file = io.BytesIO()
    try:
        with contextlib.closing(subset.load_font(_file(name), options, dontLoadGlyphNames=True)) as font:
            cut = subset.Subsetter(options)
            cut.populate(text=words)
            cut.subset(font)
            subset.save_font(font, file, options)
    except (TTLibError, subset.Subsetter.SubsettingError):
        return ""
    content = base64.b64encode(file.getvalue()).decode()
    return f"@font-face{{font-family:'{name}';src:url(data:font/woff;base64,{content})}}\n"


def _right_to_left(words: str) -> bool:
    return any(unicodedata.bidirectional(each) in ("R", "AL") for each in words)


def _file(name: str) -> str:
    from matplotlib import font_manager

    return str(font_manager.findfont(name))


def _installed() -> Iterator[tuple[str, str]]:
    """(name, file) of every upright font of normal weight, by name, TrueType before what a PDF holds less well."""
    from matplotlib import font_manager

    fonts = font_manager.fontManager.ttflist
    usual = {
        (each.name, str(each.fname)) for each in fonts if each.style == "normal" and each.weight in (400, "normal")
    }
    for name, path in sorted(usual, key=lambda each: (each[1].endswith(".otf"), *each)):
        if not name.startswith(("Last Resort", "cm", "STIX")) and _file(name) == path:
            yield name, path


def _characters(path: str) -> set[int]:
    """What a font can draw; nothing where it cannot be read."""
    from matplotlib import font_manager

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return set(font_manager.get_font(path).get_charmap())
        except (OSError, RuntimeError, ValueError):
            return set()
