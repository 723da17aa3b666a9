"""A table for a terminal: as wide as that and no wider, in plain characters, with ANSI styles if asked for.

Drawn here and not by rich's Table: that takes 1.3 s for 10,000 rows, this 0.15 s.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from tinyablate.tables.render import fields, words
from tinyablate.tables.render.choice import EVERYTHING, Choice
from tinyablate.tables.render.fields import Block, Field, Label
from tinyablate.tables.render.notes import notes_of
from tinyablate.tables.schema import Table

WIDTH = 80
"""Characters per line of a terminal that nobody measured."""
LEAST_WIDTH = 40
"""A narrower terminal gets lines of this length."""

_GAP = 2
"""Spaces between two columns."""
_BOLD, _DIM, _ITALIC = 1, 2, 3
"""ANSI styles."""


def terminal(table: Table, width: int | None = None, color: bool = False, choice: Choice = EVERYTHING) -> str:
    """Blocks of columns side by side as far as they fit into `width` characters, the others in further tables below."""
    width = max(width or WIDTH, LEAST_WIDTH)
    labels = fields.labels(table.rows)
    label_width = min(_width(["Row", *(label.text for label in labels)]), max(width * 2 // 5, 12))
    room = width - label_width
    lines = [_styled(line, _BOLD, color) for line in _wrapped(words.line(table.title), width)]
    lines += [_styled(line, _ITALIC, color) for line in _wrapped(words.line(table.question), width) if line]
    lines += [line for line in _wrapped(words.above(table), width) if line]
    for blocks in fields.side_by_side(_blocks(table, room, choice), lambda block: _needed(block) <= room):
        lines += ["", *_drawn(labels, label_width, list(itertools.chain.from_iterable(blocks)), room, color)]
    notes = notes_of(table, choice)
    lines += [""] * bool(notes)
    for note in notes:
        first, *more = _wrapped(words.line(note), width - 2)
        lines += [_styled(f"- {first}", _DIM, color), *(_styled(f"  {line}", _DIM, color) for line in more)]
    return "\n".join(lines)


def _styled(text: str, style: int, color: bool) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if color and text else text


def _blocks(table: Table, room: int, choice: Choice) -> list[Block]:
    """The printed columns in the widest arrangement that fits beside the labels; else the narrowest."""
    own = fields.components(table, choice)
    apart = [[field] for field in own]
    if table.axes:
        return [*apart, *fields.crossed(table, choice)]
    for arrange in (fields.spread, partial(fields.spread, short=True), fields.folded, fields.halved):
        blocks = [[*map(fields.broken, block)] for block in arrange(table, choice)]
        whole = [*own, *itertools.chain.from_iterable(blocks)]
        if _needed(whole) <= room:
            return [whole]
    return [*apart, *fields.stacked(table, choice)]


def _needed(block: Sequence[Field]) -> int:
    return sum(_field_width(field) + _GAP for field in block)


def _drawn(labels: Sequence[Label], label_width: int, block: Block, room: int, color: bool) -> Iterator[str]:
    """The lines of the heading, of the rule below it, and of each row."""
    widths = [label_width, *(min(_field_width(field), max(room - _GAP, 1)) for field in block)]
    right = [False, *(field.right for field in block)]
    heads = [["Row"], *([*field.head] for field in block)]
    most = max(map(len, heads))
    for line in _row_lines([[""] * (most - len(head)) + head for head in heads], widths, right):
        yield _styled(line, _BOLD, color)
    yield "─" * (sum(widths) + _GAP * len(block))
    for label in labels:
        if label.index is None:
            yield from _row_lines([[label.text]], widths, right)
            continue
        if label.apart:
            yield ""
        texts = [field.text(label.index).split("\n") for field in block]
        bold = [False, *(color and field.strong(label.index) for field in block)]
        yield from _row_lines([[label.text], *texts], widths, right, bold)


def _row_lines(
    cells: Sequence[Sequence[str]], widths: Sequence[int], right: Sequence[bool], bold: Sequence[bool] = ()
) -> list[str]:
    """The printed lines of one row: `cells` top-aligned in columns of these widths, longer lines wrapped."""
    columns = [
        [_padded(piece, width, to_right) for line in cell for piece in _wrapped(line, width)]
        for cell, width, to_right in zip(cells, widths, right, strict=False)  # a group's heading has no cells
    ]
    height = max(map(len, columns))
    for at, (column, width) in enumerate(zip(columns, widths, strict=False)):
        column += [" " * width] * (height - len(column))
        if bold and bold[at]:
            column[0] = _embolden(column[0])
    return [(" " * _GAP).join(line).rstrip() for line in zip(*columns, strict=True)]


def _embolden(text: str) -> str:
    """Bold but for the spaces around it."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    return text[:start] + _styled(text[start:end], _BOLD, True) + text[end:]


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _cells(text))
    return space + text if right else text + space


def _wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width`, parted at spaces; only a longer word is parted elsewhere."""
    if _cells(text) <= width:
        return [text]
    from rich.cells import chop_cells

    lines = [""]
    for word in text.split(" "):
        for piece in [word] if _cells(word) <= width else chop_cells(word, width):
            together = f"{lines[-1]} {piece}" if lines[-1] else piece
            if _cells(together) <= width:
                lines[-1] = together
            else:
                lines.append(piece)
    return lines


def _field_width(field: Field) -> int:
    texts = (line for index in range(len(field.texts)) for line in field.text(index).split("\n"))
    return _width([*field.head, *texts])


def _width(texts: Iterable[str]) -> int:
    return max(map(_cells, texts), default=0)


def _cells(text: str) -> int:
    """How many characters of a terminal `text` takes; East Asian ones take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
