"""A table as GitHub's Markdown: a heading, the table, its footnotes as a list."""

import itertools
import re
from collections.abc import Sequence

from tinyablate.tables.render import fields, words
from tinyablate.tables.render.choice import EVERYTHING, Choice
from tinyablate.tables.render.fields import Field
from tinyablate.tables.render.notes import notes_of
from tinyablate.tables.schema import Table


def markdown(table: Table, choice: Choice = EVERYTHING) -> str:
    """One line for each row, everything in a column of its own; the lines of a cell are parted by ` · `."""
    blocks = fields.crossed(table, choice) if table.axes else fields.spread(table, choice)
    printed = [*fields.components(table, choice), *itertools.chain.from_iterable(blocks)]
    lines = [_row(["Row", *(" ".join(_head(field)) for field in printed)]), _rule(printed)]
    for label in fields.labels(table.rows):
        if label.index is None:
            lines.append(f"| {label.text and f'**{escaped(label.text)}**'} |" + " |" * len(printed))
        else:
            own = f"*{escaped(label.text)}*" if label.null else escaped(label.text)
            lines.append(_row([own, *(_cell(field, label.index) for field in printed)]))
    above = [text for line in (table.question, words.above(table)) if line for text in (escaped(words.line(line)), "")]
    notes = listed(notes_of(table, choice))
    notes = [""] * bool(notes) + notes
    return "\n".join([f"### {escaped(words.line(table.title)).rstrip('# ')}", "", *above, *lines, *notes])


def listed(notes: Sequence[str]) -> list[str]:
    """Footnotes as the lines of a list."""
    return [f"- {_paragraph(note)}" for note in notes]


def _head(field: Field) -> list[str]:
    return [escaped(line) for line in field.head]


def _rule(printed: Sequence[Field]) -> str:
    align = {True: "---:", False: "---"}
    return "|" + "|".join(["---", *(":---:" if f.kind == "component" else align[f.right] for f in printed)]) + "|"


def _cell(field: Field, index: int) -> str:
    number, rest, more = field.lines(index)
    return " · ".join(map(escaped, [number + field.mark(index) + rest, *more]))


def _row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


_MARKUP = re.compile(r"[\\|*`<~$]|(?<!\w)_|_(?!\w)|(?<=\])\(|&(?=#?\w+;)")
"""What Markdown, its HTML or its formulas would read as markup; `_` within a word is none, and `[` only before `](`."""


def escaped(text: str) -> str:
    """`text` literally, where it stands within a line."""
    return _MARKUP.sub(r"\\\g<0>", text)


def _paragraph(text: str) -> str:
    """`text` literally as a line of its own, which does not become a heading, a quotation or a list."""
    return re.sub(r"^(\d*)(?=[#>+=.)-])", r"\1\\", escaped(words.line(text)))
