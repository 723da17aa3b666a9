"""Text as LaTeX that any engine sets, with packages or without. It knows no table.

What plain LaTeX has no command for (Chinese, Arabic, emoji) is written twice, within `\\tinyablateunicode`: xelatex and
lualatex set the characters, pdflatex, which would stop at them, their code points.
"""

import re
import unicodedata

from tinyablate.tables.render import words

UNICODE = r"""\providecommand{\tinyablateunicode}[2]{\ifdefined\Umathchar#1\else#2\fi}"""
"""A table with such characters holds this line. `\\Umathchar` is a primitive of XeTeX and LuaTeX alone."""

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\`{}",
    "<": "$<$", ">": "$>$", "|": "$|$",  # the usual fonts have other characters in their places
    "[": "{[}", "*": "{*}",  # after \\ they would be its argument
    "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "·": r"$\cdot$", "≈": r"$\approx$", "≤": r"$\leq$", "≥": r"$\geq$",
    "≠": r"$\neq$", "≡": r"$\equiv$", "∼": r"$\sim$", "∞": r"$\infty$", "∈": r"$\in$", "∅": r"$\emptyset$",
    "→": r"$\rightarrow$", "←": r"$\leftarrow$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "↔": r"$\leftrightarrow$",
    "√": r"$\surd$", "✓": r"$\surd$", "✔": r"$\surd$", "✗": r"$\times$", "✘": r"$\times$", "°": r"$^{\circ}$",
    "²": "$^{2}$", "³": "$^{3}$", "¹": "$^{1}$", "†": r"$\dagger$", "‡": r"$\ddagger$", "•": r"$\bullet$",
    "∗": "$*$", "∙": r"$\cdot$", "½": "$1/2$", "¼": "$1/4$", "¾": "$3/4$", "‖": r"$\|$", "∂": r"$\partial$",
    "…": r"\ldots{}", "—": r"\textemdash{}", "–": r"\textendash{}", "‐": "-", "‑": "-",
    "‘": "`", "’": "'", "“": "``", "”": "''",
    "§": r"\S{}", "¶": r"\P{}", "©": r"\copyright{}", "£": r"\pounds{}", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}",
    "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
    "¿": "?`", "¡": "!`",
}  # fmt: skip

_GREEK = "αalpha βbeta γgamma δdelta εvarepsilon ζzeta ηeta θtheta ιiota κkappa λlambda μmu µmu νnu ξxi πpi ρrho " \
    "σsigma ςvarsigma τtau υupsilon φvarphi χchi ψpsi ωomega ΓGamma ΔDelta ΘTheta ΛLambda ΞXi ΠPi ΣSigma ΥUpsilon " \
    "ΦPhi ΨPsi ΩOmega"  # fmt: skip
_KNOWN = _SPECIAL | {name[0]: f"$\\{name[1:]}$" for name in _GREEK.split()}

_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`", "\N{COMBINING ACUTE ACCENT}": "'", "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~", "\N{COMBINING DIAERESIS}": '"', "\N{COMBINING MACRON}": "=",
    "\N{COMBINING DOT ABOVE}": ".", "\N{COMBINING BREVE}": "u", "\N{COMBINING CARON}": "v",
    "\N{COMBINING DOUBLE ACUTE ACCENT}": "H", "\N{COMBINING CEDILLA}": "c", "\N{COMBINING DOT BELOW}": "d",
    "\N{COMBINING RING ABOVE}": "r",
}  # fmt: skip
"""Accents that LaTeX's oldest text encoding, OT1, can put on any letter."""

_WIDTHS = {
    character: width
    for width, characters in {
        0.278: "!',.:;[]_`il", 0.306: "fj", 0.333: "- ", 0.361: "I", 0.389: "()t", 0.392: "r", 0.394: "s", 0.444: "cez",
        0.472: "?", 0.514: "J", 0.528: "kqvxy", 0.556: "Sbdhnpu", 0.611: "Z", 0.625: "L", 0.653: "F",
        0.681: "EP", 0.708: "B", 0.722: "CTw", 0.736: "R", 0.75: "AHNUVXY", 0.764: "D", 0.778: "&+=@KOQ±−≈<>×",
        0.785: "G", 0.833: "#%mΔ✓", 0.917: "M", 1.0: "→", 1.028: "W",
    }.items()
    for character in characters
}  # fmt: skip
"""Of characters in em: cmr10.tfm and cmsy10.tfm (Computer Modern, TeX Live 2024). Others: half an em."""

_BELOW = ("\N{COMBINING CEDILLA}", "\N{COMBINING DOT BELOW}")
_DOTLESS = {"i": r"\i", "j": r"\j"}
"""An accent takes the place of the dot."""


def escaped(text: str) -> str:
    """`text` on one line, every character literal. Hyphens in a row stay hyphens, and quotes straight."""
    out, strange = list[str](), ""
    for character in unicodedata.normalize("NFC", words.line(text)):
        known = _plain(character)
        if known is None:
            strange += character
            continue
        out += [_twice(strange), known] if strange else [known]
        strange = ""
    return re.sub(r"-(?=-)", "-{}", "".join([*out, _twice(strange)]))  # else two become a dash


def numeric(text: str) -> str:
    """A text of our own with numbers: escaped, minus signs as such, spaces within numbers unbreakable."""
    return _MINUS.sub("$-$", escaped(text)).replace(r" $\pm$ ", r"~$\pm$~")


_MINUS = re.compile(r"(?<![\w.])-(?=\.?\d)")


def width(text: str) -> float:
    """How wide `numeric(text)` is, in em of the usual font; what pdflatex sets as code points as wide as these."""
    return sum(map(_width, text)) + 0.445 * len(_MINUS.findall(text))  # by which a minus is wider than a hyphen


def _width(character: str) -> float:
    if _plain(character) is None:
        return 4.0
    return _WIDTHS.get(character, 0.5)


def _plain(character: str) -> str | None:
    """The character in plain LaTeX; None where there is no way."""
    if character in _KNOWN:
        return _KNOWN[character]
    if " " <= character <= "~":
        return character
    parts = unicodedata.normalize("NFD", character)
    base, accent = parts[0], parts[1:]
    if not (base.isascii() and base.isalpha() and accent in _ACCENTS):
        return None
    above = accent not in _BELOW
    return f"\\{_ACCENTS[accent]}{{{_DOTLESS.get(base, base) if above else base}}}"


def _twice(strange: str) -> str:
    if not strange:
        return ""
    points = " ".join(f"U+{ord(character):04X}" for character in strange)
    return f"\\tinyablateunicode{{{strange}}}{{{{[}}{points}]}}"
