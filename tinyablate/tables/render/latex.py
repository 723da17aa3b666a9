"""A table for a paper: LaTeX with booktabs, to be \\input. It decides what fits a page, and sets nothing itself."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from tinyablate.tables.render import fields, words
from tinyablate.tables.render.caption import caption_of
from tinyablate.tables.render.choice import EVERYTHING, Choice
from tinyablate.tables.render.fields import Block, Field, Label
from tinyablate.tables.render.notes import paper_notes
from tinyablate.tables.render.tex import UNICODE, escaped, numeric, width
from tinyablate.tables.schema import Table

TEXT_WIDTH, COLUMN_WIDTH, PAGE_WIDTH = 345.0, 229.8, 469.7
"""Points: \\textwidth of the article class at 10 pt, and on letter paper its \\columnwidth and \\textwidth with the
option twocolumn (article.cls and size10.clo, LaTeX2e)."""
_SEPARATION = 4.0
"""\\tabcolsep in points; LaTeX's own 6 suits tables of fewer columns."""
_SIZES = {"normalsize": 10.0, "small": 9.25, "footnotesize": 8.5}
"""Font sizes of the article class at 10 pt, largest first, and the em that their digits are half of, in points (tfm
files of cmr10, cmr9 and cmr8)."""
_BOLD = 1.15
"""How much wider than its digits those of the bold font are (cmbx10)."""
_LABELS = (20.0, 12.0, 8.0, 6.5)
"""Em that a row's label may take before it is broken into lines, longer words apart; a smaller one where that saves an
arrangement."""

_BREAK = r"\\"


def latex(table: Table, choice: Choice = EVERYTHING) -> str:
    """A `table` environment with caption, label and notes; needs \\usepackage{booktabs} and nothing else.

    It compiles under pdflatex, xelatex and lualatex. The widest arrangement and largest font size that fit the text
    width of a bare article are taken; with columns of one's own choosing, a column of a two-column article if any fits
    that; with `choice.wide` the width of its page.
    """
    labels = fields.labels(table.rows)
    parts, size, longest = _fitting(table, labels, choice)
    environment = "table*" if choice.wide else "table"
    body = [
        rf"\begin{{{environment}}}[tbp]",
        r"\centering",
        rf"\caption[{{{escaped(table.title)}}}]{{{numeric(caption_of(table, choice))}}}",
        rf"\label{{tab:{label_name(table)}}}",
        rf"\{size}",
        rf"\setlength{{\tabcolsep}}{{{_SEPARATION:g}pt}}",
        *itertools.chain.from_iterable(_tabular(table, labels, blocks, longest) for blocks in parts),
        *_notes(table, choice),
        rf"\end{{{environment}}}",
    ]
    text = "\n".join(body)
    return "\n".join([*_comments(table, r"\tinyablateunicode" in text), text])


def _tabular(table: Table, labels: Sequence[Label], blocks: Sequence[Block], longest: float) -> Iterator[str]:
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
        yield from _row(label, at, flat, longest)
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


def _notes(table: Table, choice: Choice) -> Iterator[str]:
    """The footnotes as a paragraph each, as wide as the text."""
    notes = paper_notes(table, choice)
    if notes:
        yield r"\begin{minipage}{\linewidth}\scriptsize\raggedright\setlength{\parskip}{1pt}"
        yield from (rf"{numeric(note)}\par" for note in notes)
        yield r"\end{minipage}"


# ---- what fits -------------------------------------------------------------------------------------------------------


def _fitting(table: Table, labels: Sequence[Label], choice: Choice) -> tuple[list[list[Block]], str, float]:
    """The blocks of each tabular, components first, the font size, and how long a label's lines are, in em.

    There are several tabulars where one is too wide in every way: one for each metric of trainings, facts beside them.
    """
    rooms = [PAGE_WIDTH] if choice.wide else [COLUMN_WIDTH, TEXT_WIDTH] if choice.columns else [TEXT_WIDTH]
    own = [[field] for field in fields.components(table, choice)]
    arrangements = [[*own, *blocks] for blocks in _arrangements(table, choice)]
    sizes = list(itertools.product(_LABELS, _SIZES))
    for room in rooms:
        readable = arrangements if room == rooms[-1] else arrangements[:-1]
        for blocks, (longest, size) in itertools.product(readable, sizes):
            if _width(labels, _flat(blocks), size, longest) <= room:
                return [blocks], size, longest
    for several in (arrangements[:-1], arrangements):
        found = [
            (_height(labels, parts, longest), (parts, size, longest))
            for blocks, (longest, size) in itertools.product(several, sizes)
            if (parts := _panels(table, blocks, partial(_fits, labels, size, longest, rooms[-1])))
        ]
        lines, best = min(found, key=lambda each: each[0], default=(0, None))
        if best and (lines <= _PAGE or several is arrangements):
            return best
    longest, size = sizes[-1]
    return list(fields.side_by_side(blocks, partial(_fits, labels, size, longest, rooms[-1]))), size, longest


_PAGE = 45
"""Lines of tabulars that a page has room for beside caption and notes, at 10 points a line."""


def _height(labels: Sequence[Label], parts: Sequence[Sequence[Block]], longest: float) -> int:
    """About how many lines high the tabulars are; a heading with its rules and the space below are four."""
    lines = 0
    for part in map(_flat, parts):
        lines += 4 + sum(
            max([math.ceil(width(label.text) / longest), *(field.texts[label.index].count("\n") + 1 for field in part)])
            for label in labels
            if label.index is not None
        )
    return lines


def _flat(blocks: Sequence[Block]) -> list[Field]:
    return list(itertools.chain.from_iterable(blocks))


def _fits(labels: Sequence[Label], size: str, longest: float, room: float, printed: Sequence[Field]) -> bool:
    return _width(labels, printed, size, longest) <= room


def _arrangements(table: Table, choice: Choice) -> Iterator[list[Block]]:
    """From the widest to the narrowest."""
    if table.axes:
        yield list(fields.crossed(table, choice))
        return
    shown = choice if choice.columns else replace(choice, hidden=frozenset({"block"}))  # two intervals do not fit
    spread = list(fields.spread(table, shown, short=True))
    for blocks in (spread, list(fields.folded(table, shown)), [[*map(_lined, block)] for block in spread]):
        yield [[*map(fields.broken, block)] for block in blocks]
    yield list(fields.stacked(table, shown))


def _lined(field: Field) -> Field:
    """A difference with its interval on a line of its own."""
    if field.kind != "delta":
        return field
    head = tuple(itertools.chain.from_iterable(text.replace(" [95", "\n[95").split("\n") for text in field.head))
    return replace(
        field, name=field.name.replace(" [", "\n["), head=head,
        texts=tuple(text.replace(" [", "\n[", 1) for text in field.texts),
    )  # fmt: skip


def _panels(table: Table, blocks: Sequence[Block], fits: Callable[[Sequence[Field]], bool]) -> list[list[Block]] | None:
    """As few tabulars as hold all blocks, those of facts beside others; None where a block does not fit."""

    def is_fact(block: Block) -> bool:
        at = block[0].column
        return at >= 0 and table.columns[at].metric.source == "facts"

    others = [block for block in blocks if not is_fact(block)]
    if not others or not all(map(fits, blocks)):
        return None
    parts = list(fields.side_by_side(others, fits))
    for block in filter(is_fact, blocks):
        part = next((part for part in parts if fits([*_flat(part), *block])), None)
        if part is None:
            return None
        part.append(block)
    return parts


def _width(labels: Sequence[Label], printed: Sequence[Field], size: str, longest: float) -> float:
    """About how many points wide a tabular is."""
    em = min(_longest_line(labels), _broken_at(labels, longest)) + sum(map(_field_width, printed))
    return em * _SIZES[size] + 2 * _SEPARATION * len(printed)


def _field_width(field: Field) -> float:
    texts = [
        max(map(width, text.split("\n"))) * (_BOLD if field.strong(index) else 1.0)
        for index, text in enumerate(field.texts)
    ]
    name = field.name.split("\n") if field.kind == "mean" else []  # where its column's title stands over several
    return max([*texts, *map(width, (*field.head, *name))], default=0.0)


def _label_column(labels: Sequence[Label], longest: float) -> str:
    """A line that does not reach the edge is not stretched to it."""
    at = _broken_at(labels, longest)
    return "l" if _longest_line(labels) <= at else rf"p{{{at:.3g}em}}"


def _longest_line(labels: Sequence[Label]) -> float:
    return max((width(label.text) for label in labels if label.index is not None), default=0.0)


def _broken_at(labels: Sequence[Label], longest: float) -> float:
    """Em that a line of a label has: `longest`, or what its longest word takes."""
    return max([longest, *(width(word) for label in labels if label.index is not None for word in label.text.split())])


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


def _row(label: Label, at: int, printed: Sequence[Field], longest: float) -> Iterator[str]:
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
    own = rf"\raggedright {own}" if width(label.text) > longest else own
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
