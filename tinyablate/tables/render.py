"""A finished Table as text: terminal, markdown, csv, json. It computes no number, only rounds and arranges.

For people (terminal, markdown) numbers are rounded to their metric's digits; for scripts (csv, json) they are exact.
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tinyablate.errors import UsageError, listed, nearest
from tinyablate.tables.schema import Table, TableCell, TableColumn, TableRow

WIDTH = 80
"""Characters per line of a terminal that nobody measured."""
LEAST_WIDTH = 40
"""A narrower terminal gets lines of this length."""


def render(table: Table, format: str = "terminal", width: int | None = None, color: bool = False) -> str:
    """`table` as text without a final newline; equal input gives equal bytes, whatever the environment.

    `width` (characters per line) and `color` (ANSI styles) concern the terminal format only. Raises UsageError for an
    unknown format.
    """
    if format == "terminal":
        return _terminal(table, max(width or WIDTH, LEAST_WIDTH), color)
    formats = {"markdown": _markdown, "csv": _csv, "json": _json}
    if format not in formats:
        valid = ("terminal", *formats)
        raise UsageError(f"--format {format}: no such table format; valid: {listed(valid)}{nearest(format, valid)}")
    return formats[format](table)


# ---- numbers and words -----------------------------------------------------------------------------------------------


def _number(value: float, column: TableColumn, sign: str = "") -> str:
    if column.metric.better is None and 0 < abs(value) < 0.1:  # a small model's 0.0014 G
        return f"{value:{sign}.2g}"
    return f"{value:{sign}z,.{column.metric.digits}f}"  # z: what rounds to zero has no minus


def _mean(cell: TableCell, column: TableColumn) -> str:
    if cell.mean is None:
        return "n/a" if cell.state == "excluded" else "—"
    sd = f" ± {_number(cell.sd, column)}" if cell.sd is not None else ""
    return _number(cell.mean, column) + sd + _interval(cell.low, cell.high, column)


def _interval(low: float | None, high: float | None, column: TableColumn, sign: str = "") -> str:
    if low is None or high is None:
        return ""
    return f" [{_number(low, column, sign)}, {_number(high, column, sign)}]"


def _count(cell: TableCell) -> str:
    if cell.state == "excluded":
        return ""
    if cell.state == "complete":
        return str(cell.n)
    return f"{cell.n}/{cell.n_planned}; {', '.join(cell.marks)}"


def _mean_and_count(cell: TableCell, column: TableColumn) -> str:
    count = _count(cell)
    return _mean(cell, column) + (f" ({count})" if count else "")


def _delta(row: TableRow, cell: TableCell, column: TableColumn) -> str:
    if cell.delta is None:
        return "baseline" if row.baseline and not row.compared else ""
    return _number(cell.delta, column, "+") + _interval(cell.delta_low, cell.delta_high, column, "+")


def _published(cell: TableCell, column: TableColumn, source: str) -> str:
    return _number(cell.published[source], column) if source in cell.published else ""


def _line(text: str) -> str:
    """`text` on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


# ---- columns as people read them -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Field:
    """One printed column."""

    head: tuple[str, ...]
    """Lines of its heading."""
    texts: tuple[str, ...]
    """One for each row of the table; `\n` parts the lines of a cell."""
    right: bool = False
    """Aligned to the right."""


def _spread_out(table: Table) -> Iterator[list[_Field]]:
    """The printed columns of each column of the table, with everything in a column of its own."""
    single = len(table.columns) == 1
    for at, column in enumerate(table.columns):
        cells = [row.cells[at] for row in table.rows]
        if single:
            head = (*_head(column), "mean ± sd")
            fields = [
                _Field(head, tuple(_mean(cell, column) for cell in cells), right=True),
                _Field(("n",), tuple(map(_count, cells))),
            ]
        else:
            fields = [_Field(_head(column), tuple(_mean_and_count(cell, column) for cell in cells))]
        if column.compared:
            head = ("Δ to baseline", "[95 % interval]") if single else (_near(column), "Δ [95 % interval]")
            deltas = (_delta(row, cell, column) for row, cell in zip(table.rows, cells, strict=True))
            fields.append(_Field(head, tuple(deltas)))
        yield fields + _sources(column, cells, single)


def _stacked(table: Table) -> Iterator[list[_Field]]:
    """The same with marks and difference under the mean: half as wide."""
    for at, column in enumerate(table.columns):
        cells = [row.cells[at] for row in table.rows]
        head = (*_head(column), *(("Δ [95 % interval]",) if column.compared else ()))
        means = [_mean_and_count(cell, column) for cell in cells]
        deltas = [_delta(row, cell, column) for row, cell in zip(table.rows, cells, strict=True)]
        both = ("\n".join(filter(None, pair)) for pair in zip(means, deltas, strict=True))
        yield [_narrowed(_Field(head, tuple(both))), *_sources(column, cells, len(table.columns) == 1)]


def _crossed(table: Table) -> Iterator[list[_Field]]:
    """The printed columns of a two-way table: one for each level of its second field."""
    for at, column in enumerate(table.columns):
        yield [_Field((_line(column.label),), tuple(_crossed_cell(row.cells[at], column) for row in table.rows))]


def _crossed_cell(cell: TableCell, column: TableColumn) -> str:
    """Mean, sd and standing; below them whatever is open, and what was published."""
    standing = {"best": " *", "close": " ≈"}.get(cell.standing or "", "")
    count = [] if cell.state in ("complete", "excluded") else [_count(cell)]
    published = [f"{_line(source)} {_published(cell, column, source)}" for source in cell.published]
    return "\n".join([_mean(cell, column) + standing, *count, *published])


def _above(table: Table) -> list[str]:
    """What a line of its own says between a two-way table's question and its cells."""
    if not table.axes:
        return []
    rows, columns = map(_line, table.axes)
    return [f"{_head(table.columns[0])[-1]} by {rows} (rows) and {columns} (columns)"]


def _sources(column: TableColumn, cells: Sequence[TableCell], single: bool) -> list[_Field]:
    return [
        _Field(
            (_line(source),) if single else (_near(column), _line(source)),
            tuple(_published(cell, column, source) for cell in cells),
            right=True,
        )
        for source in column.sources
    ]


def _head(column: TableColumn) -> tuple[str, ...]:
    unit = f" ({column.metric.unit})" if column.metric.unit else ""
    return tuple(filter(None, (_line(column.label), f"{column.metric.title}{unit}")))


def _near(column: TableColumn) -> str:
    """What tells a column from its neighbours, for the columns that belong to it."""
    return _line(column.label) or column.metric.title


def _labels(rows: Sequence[TableRow]) -> list[tuple[str, int | None]]:
    """(text of the first column, row index), with (heading, None) where a group begins."""
    group, labels = "", list[tuple[str, int | None]]()
    for index, row in enumerate(rows):
        if row.group != group:
            group = row.group
            labels.append((_line(group), None))
        labels.append((_line(row.label), index))
    return labels


# ---- terminal --------------------------------------------------------------------------------------------------------

_GAP = 2
"""Spaces between two columns."""
_BOLD, _DIM, _ITALIC = 1, 2, 3
"""ANSI styles. Drawn here, not by rich's Table: that takes 1.3 s for 10,000 rows, this 0.15 s."""


def _terminal(table: Table, width: int, color: bool) -> str:
    """Blocks of columns side by side as far as they fit, the others in further tables below."""

    def styled(text: str, style: int) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if color and text else text

    labels = _labels(table.rows)
    label_width = min(_width(["Row", *(text for text, _ in labels)]), max(width * 2 // 5, 12))
    room = width - label_width
    lines = [styled(line, _BOLD) for line in _wrapped(_line(table.title), width)]
    lines += [styled(line, _ITALIC) for line in _wrapped(_line(table.question), width)] if table.question else []
    lines += [piece for line in _above(table) for piece in _wrapped(line, width)]
    for fields in _side_by_side(_blocks(table, room), room):
        heading, *rest = _drawn(labels, label_width, fields, room)
        lines += ["", *(styled(line, _BOLD) for line in heading), *itertools.chain.from_iterable(rest)]
    lines.append("")
    for note in table.footnotes:
        first, *more = _wrapped(_line(note), width - 2)
        lines += [styled(f"- {first}", _DIM), *(styled(f"  {line}", _DIM) for line in more)]
    return "\n".join(lines)


def _blocks(table: Table, room: int) -> list[list[_Field]]:
    """The printed columns of each column of the table: spread out where there is one and it fits, else stacked."""
    if table.axes:
        return list(_crossed(table))
    if len(table.columns) == 1:
        block = [_narrowed(field) for field in next(_spread_out(table))]
        if _needed(block) <= room:
            return [block]
    return list(_stacked(table))


def _narrowed(field: _Field) -> _Field:
    """The field with the marks of a cell on a line of their own."""
    return replace(field, texts=tuple(text.replace("; ", ";\n", 1) for text in field.texts))


def _needed(fields: Sequence[_Field]) -> int:
    return sum(_field_width(field) + _GAP for field in fields)


def _side_by_side(blocks: Sequence[list[_Field]], room: int) -> Iterator[list[_Field]]:
    """As many as fit into `room` characters together, in order; a block is parted only where it does not fit alone."""
    whole = itertools.chain.from_iterable(
        [block] if _needed(block) <= room else [[f] for f in block] for block in blocks
    )
    taken: list[_Field] = []
    for block in whole:
        if taken and _needed(taken + block) > room:
            yield taken
            taken = []
        taken = taken + block
    yield taken


def _drawn(
    labels: Sequence[tuple[str, int | None]], label_width: int, fields: Sequence[_Field], room: int
) -> Iterator[list[str]]:
    """The lines of the heading, of the rule below it, and of each row."""
    widths = [label_width, *(min(_field_width(field), max(room - _GAP, 1)) for field in fields)]
    right = [False, *(field.right for field in fields)]
    heads = [["Row"], *([*field.head] for field in fields)]
    most = max(map(len, heads))
    yield _row_lines([[""] * (most - len(head)) + head for head in heads], widths, right)
    yield ["─" * (sum(widths) + _GAP * len(fields))]
    for label, index in labels:
        texts = [] if index is None else [field.texts[index].split("\n") for field in fields]
        yield _row_lines([[label], *texts], widths, right)


def _row_lines(cells: Sequence[Sequence[str]], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    """The printed lines of one row: `cells` top-aligned in columns of these widths, longer lines wrapped."""
    columns = [
        [_padded(piece, width, to_right) for line in cell for piece in _wrapped(line, width)]
        for cell, width, to_right in zip(cells, widths, right, strict=False)  # a group's heading has no cells
    ]
    height = max(map(len, columns))
    for column, width in zip(columns, widths, strict=False):
        column += [" " * width] * (height - len(column))
    return [(" " * _GAP).join(line).rstrip() for line in zip(*columns, strict=True)]


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


def _field_width(field: _Field) -> int:
    return _width([*field.head, *(line for text in field.texts for line in text.split("\n"))])


def _width(texts: Iterable[str]) -> int:
    return max(map(_cells, texts), default=0)


def _cells(text: str) -> int:
    """How many characters of a terminal `text` takes; East Asian ones take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


# ---- markdown --------------------------------------------------------------------------------------------------------


def _markdown(table: Table) -> str:
    """A GitHub table under a heading, footnotes as a list."""
    blocks = _crossed(table) if table.axes else _spread_out(table)
    fields = [field for block in blocks for field in block]
    labels = _labels(table.rows)
    lines = [
        _markdown_line(["Row", *(" ".join(field.head) for field in fields)]),
        "|" + "|".join(["---", *("---:" if field.right else "---" for field in fields)]) + "|",
    ]
    for label, index in labels:
        if index is None:
            lines.append(f"| {label and f'**{_escaped(label)}**'} |" + " |" * len(fields))
        else:
            lines.append(_markdown_line([label, *(field.texts[index].replace("\n", " · ") for field in fields)]))
    question = [_escaped(_line(table.question)), ""] if table.question else []
    question += [text for line in _above(table) for text in (_escaped(line), "")]
    notes = [f"- {_line(note)}" for note in table.footnotes]
    return "\n".join([f"### {_escaped(_line(table.title))}", "", *question, *lines, "", *notes])


def _markdown_line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(map(_escaped, texts)) + " |"


def _escaped(text: str) -> str:
    return re.sub(r"([\\|*`<])", r"\\\1", text)


# ---- csv and json ----------------------------------------------------------------------------------------------------


def _csv(table: Table) -> str:
    """One line for each row, column and metric; what is not there is empty."""
    sources = list(dict.fromkeys(source for column in table.columns for source in column.sources))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([
        "label", "group", "column", "metric", "mean", "sd", "n", "n_planned", "delta", "delta_low", "delta_high",
        "state", "unit", "low", "high", "standing", *(f"published_{source}" for source in sources),
    ])  # fmt: skip
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            writer.writerow([
                row.label, row.group, column.label, column.metric.name, cell.mean, cell.sd, cell.n, cell.n_planned,
                cell.delta, cell.delta_low, cell.delta_high, cell.state, column.metric.unit, cell.low, cell.high,
                cell.standing, *map(cell.published.get, sources),
            ])  # fmt: skip
    return text.getvalue().rstrip("\n")


def _json(table: Table) -> str:
    """The form that scripts rely on: its keys are a contract."""
    rows = [{"label": row.label, "group": row.group, "cells": list(_json_cells(table, row))} for row in table.rows]
    whole = {"title": table.title, "rows": rows, "footnotes": table.footnotes, "axes": table.axes}
    return json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=1)


def _json_cells(table: Table, row: TableRow) -> Iterator[dict[str, object]]:
    for column, cell in zip(table.columns, row.cells, strict=True):
        yield {
            "column": column.label,
            "metric": column.metric.name,
            "mean": cell.mean,
            "sd": cell.sd,
            "n": cell.n,
            "n_planned": cell.n_planned,
            "delta": cell.delta,
            "delta_low": cell.delta_low,
            "delta_high": cell.delta_high,
            "state": cell.state,
            "unit": column.metric.unit,
            "low": cell.low,
            "high": cell.high,
            "standing": cell.standing,
            "published": dict(cell.published),
        }
