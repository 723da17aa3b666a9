"""A table for a paper: LaTeX with booktabs, to be \\input. It decides what fits a page, and sets nothing itself."""

import itertools
import re
from collections.abc import Iterator, Sequence

from tinyablate.tables.render import fields, words
from tinyablate.tables.render.fields import Block, Field, Label
from tinyablate.tables.render.tex import UNICODE, escaped, numeric
from tinyablate.tables.schema import Table

TEXT_WIDTH = 345.0
"""Points: \\textwidth of the article class at 10 pt (article.cls and size10.clo, LaTeX2e)."""
_SEPARATION = 4.0
"""\\tabcolsep in points; LaTeX's own 6 suits tables of fewer columns."""
_SIZES = {"normalsize": 5.0, "small": 4.63, "footnotesize": 4.25}
"""Font sizes of the article class at 10 pt, largest first, and how many points wide a digit is (the tfm files of cmr10,
cmr9 and cmr8): minus signs and bold are wider than it, brackets and spaces narrower."""
_LABELS = (40, 24)
"""Characters of a row's label beyond which it is broken into lines; the second where that saves an arrangement."""

_BREAK = r"\\"


def latex(table: Table) -> str:
    """A `table` environment with caption, label and notes; needs \\usepackage{booktabs} and nothing else.

    It compiles under pdflatex, xelatex and lualatex. The widest arrangement and largest font size that fit the text
    width of a bare article are taken.
    """
    labels = fields.labels(table.rows)
    parts, size, longest = _fitting(table, labels)
    body = [
        r"\begin{table}[tbp]",
        r"\centering",
        rf"\caption{{{_caption(table)}}}",
        rf"\label{{tab:{label_name(table)}}}",
        rf"\{size}",
        rf"\setlength{{\tabcolsep}}{{{_SEPARATION:g}pt}}",
        *itertools.chain.from_iterable(_tabular(table, labels, blocks, longest) for blocks in parts),
        *_notes(table),
        r"\end{table}",
    ]
    text = "\n".join(body)
    return "\n".join([*_comments(table, r"\tinyablateunicode" in text), text])


def _tabular(table: Table, labels: Sequence[Label], blocks: Sequence[Block], longest: int) -> Iterator[str]:
    """The lines of one tabular; a paragraph, so that a further one stands below it."""
    flat = list(itertools.chain.from_iterable(blocks))
    loose = any("\n" in text for field in flat for text in field.texts)
    yield rf"\begin{{tabular}}{{@{{}}{_label_column(labels, longest)}{''.join(map(_align, flat))}@{{}}}}"
    yield r"\toprule"
    yield from _heads(table, blocks)
    yield r"\midrule"
    for at, label in enumerate(labels):
        if at and loose and not label.apart and label.index is not None and labels[at - 1].index is not None:
            yield r"\addlinespace[2pt]"
        yield from _row(label, at, flat)
    yield r"\bottomrule"
    yield r"\end{tabular}\par\medskip"


def label_name(table: Table) -> str:
    r"""What `\ref{tab:...}` and file names call it: `demo-ablation` of `demo/ablation`, of a smoke run `-smoke`."""
    name = plain_name(table.name or table.title) or "table"
    return f"{name}-smoke" if table.smoke else name


def plain_name(text: str) -> str:
    """`text` with ASCII letters, digits, points and hyphens alone."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")


def _comments(table: Table, unicode: bool) -> Iterator[str]:
    yield f"% {_comment(table.name or table.title)}: written by tinyablate, as often as it is asked to."
    yield r"% In the preamble: \usepackage{booktabs}"
    if unicode:
        yield "% pdflatex sets only the code points of some characters here; xelatex and lualatex set them, with a font"
        yield r"% that has them: \usepackage{fontspec} \setmainfont{...}"
        yield UNICODE


def _comment(text: str) -> str:
    return words.line(text)[:80]


def _caption(table: Table) -> str:
    """Title, question, and of a two-way table its axes."""
    sentences = [words.line(text) for text in (table.title, table.question, words.above(table)) if words.line(text)]
    return " ".join(escaped(text if text.endswith((".", "?", "!")) else f"{text}.") for text in sentences)


def _notes(table: Table) -> Iterator[str]:
    """The footnotes as a paragraph each, as wide as the text."""
    if not table.footnotes:
        return
    yield r"\begin{minipage}{\linewidth}\scriptsize\raggedright\setlength{\parskip}{1pt}"
    for note in table.footnotes:
        yield rf"{numeric(note)}\par"
    yield r"\end{minipage}"


# ---- what fits -------------------------------------------------------------------------------------------------------


def _fitting(table: Table, labels: Sequence[Label]) -> tuple[list[list[Block]], str, int]:
    """The blocks of each tabular, components first, the font size, and how long a label's lines are.

    There are several tabulars only where one is too wide in every way.
    """
    own = [[field] for field in fields.components(table)]
    for arrange in (fields.crossed,) if table.axes else (_short, _folded, fields.stacked):
        blocks = [*own, *arrange(table)]
        flat = list(itertools.chain.from_iterable(blocks))
        for longest, (size, character) in itertools.product(_LABELS, _SIZES.items()):
            if _width(labels, flat, character, longest) <= TEXT_WIDTH:
                return [blocks], size, longest
    parts = fields.side_by_side(blocks, lambda part: _width(labels, part, character, longest) <= TEXT_WIDTH)
    return list(parts), size, longest


def _short(table: Table) -> Iterator[Block]:
    return ([fields.broken(field) for field in block] for block in fields.spread(table, short=True))


def _folded(table: Table) -> Iterator[Block]:
    return ([fields.broken(field) for field in block] for block in fields.folded(table))


def _width(labels: Sequence[Label], printed: Sequence[Field], character: float, longest: int) -> float:
    """About how many points wide a tabular is."""
    label = min(max((len(each.text) for each in labels), default=0), longest)
    widths = [max(map(len, "\n".join([*field.head, *field.texts]).split("\n"))) for field in printed]
    return (label + sum(widths)) * character + 2 * _SEPARATION * len(widths)


def _label_column(labels: Sequence[Label], longest: int) -> str:
    """Half an em is a digit; a line that does not reach the edge is not stretched to it."""
    most = max((len(label.text) for label in labels if label.index is not None), default=0)
    return "l" if most <= longest else rf"p{{{longest / 2:g}em}}"


def _align(field: Field) -> str:
    return "c" if field.kind == "component" else "r" if field.right else "l"


# ---- lines of the tabular --------------------------------------------------------------------------------------------


def _heads(table: Table, printed: Sequence[Block]) -> Iterator[str]:
    """One line with shortstacks; over columns that belong together, where there are several such, a line of its own."""
    flat = list(itertools.chain.from_iterable(printed))
    grouped = len(table.columns) > 1 and any(len(block) > 1 for block in printed)
    if not grouped:
        yield _line(["Row", *(_stack(field.head, field) for field in flat)])
        return
    spans, rules, names, at = [""], list[str](), ["Row"], 2
    for block in printed:
        alone = len(block) == 1
        over = escaped(fields.over(table, block[0].column)) if not alone else ""
        spans.append(rf"\multicolumn{{{len(block)}}}{{c}}{{{over}}}" if over else "")
        rules += [rf"\cmidrule(lr){{{at}-{at + len(block) - 1}}}"] if over else []
        names += [_stack(field.head if alone else field.name.split("\n"), field) for field in block]
        at += len(block)
    yield _line(spans)
    yield "".join(rules)
    yield _line(names)


def _stack(lines: Sequence[str], field: Field) -> str:
    texts = [numeric(line) for line in lines]
    return texts[0] if len(texts) == 1 else rf"\shortstack[{_align(field)}]{{{_BREAK.join(texts)}}}"


def _row(label: Label, at: int, printed: Sequence[Field]) -> Iterator[str]:
    """The line of a row, or of a group's heading, with the rule above it."""
    if label.index is None:
        if at:
            yield r"\midrule"
        if label.text:
            yield rf"\multicolumn{{{len(printed) + 1}}}{{@{{}}l}}{{\textit{{{escaped(label.text)}}}}} \\"
        return
    if label.apart:
        yield r"\midrule"
    own = rf"\emph{{{escaped(label.text)}}}" if label.null else escaped(label.text)
    own = rf"\raggedright {own}" if len(label.text) > _LABELS[-1] else own
    yield _line([own, *(_cell(field, label.index) for field in printed)])


def _line(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"


def _cell(field: Field, index: int) -> str:
    """The row's text, its first line bold where it is among the best; further lines below it."""
    number, rest, more = field.lines(index)
    own = numeric(number) if field.kind != "component" else escaped(number)
    own = (rf"\textbf{{{own}}}" if field.strong(index) else own) + _mark(field.mark(index), bool(rest)) + numeric(rest)
    if not more:
        return own
    lines = [own, *(_indented(line, number) for line in more)]
    return rf"\begin{{tabular}}[t]{{@{{}}{_align(field)}@{{}}}}{_BREAK.join(lines)}\end{{tabular}}"


def _indented(line: str, first: str) -> str:
    """A line whose leading spaces are as wide as what stands above them."""
    space = len(line) - len(line.lstrip(" "))
    return (rf"\hphantom{{{numeric(first[:space])}~}}" if space else "") + numeric(line.lstrip(" "))


def _mark(mark: str, followed: bool) -> str:
    """Raised; where nothing follows, without a width, so that numbers stay aligned."""
    sign = {"*": "*", "≈": r"\approx", "†": r"\dagger"}.get(mark.strip())
    if not sign:
        return " " if followed else ""
    return rf"$^{{{sign}}}$ " if followed else rf"\rlap{{$^{{{sign}}}$}}"
