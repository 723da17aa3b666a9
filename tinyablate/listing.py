"""Plain tables of text: what `query`, `schema` and `plan` print. It asks nothing, and imports little."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from tinyablate.store.query import Rows
from tinyablate.terminal import one_line


def render_rows(rows: Rows, format: str) -> str:
    """A query's answer as table, csv, json or markdown."""
    if format == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([rows.columns, *(map(_plain, row) for row in rows.rows)])
        return text.getvalue().rstrip("\n")
    if format == "json":
        found = [dict(zip(rows.columns, map(_finite, map(_plain, row)), strict=True)) for row in rows.rows]
        return json.dumps(found, indent=1, allow_nan=False)
    texts = [[_text(value) for value in row] for row in rows.rows]
    if format == "markdown":
        from tinyablate.tables.render.markdown import escaped

        told = [[escaped(one_line(cell)) for cell in line] for line in (rows.columns, *texts)]
        lines = [told[0], ["---"] * len(rows.columns), *told[1:]]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return columns_text(rows.columns, texts)


def _plain(value: Any) -> Any:
    return f"{len(value)} byte{'s' * (len(value) != 1)}" if isinstance(value, bytes) else value


def _finite(value: Any) -> Any:
    """JSON has no infinity: such a number is null there."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(_plain(value))


def columns_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns two spaces apart, numbers right-aligned."""
    lines = [list(map(str, header)), *(list(map(one_line, row)) for row in rows)]
    widths = [max(_width(line[index]) for line in lines) for index in range(len(header))]
    numeric = [all(_is_number(line[index]) for line in lines[1:]) for index in range(len(header))]
    return "\n".join("  ".join(map(_padded, line, widths, numeric)).rstrip() for line in lines)


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - _width(cell))
    return space + cell if right else cell + space


def _width(text: str) -> int:
    """How many places of a terminal `text` takes; East Asian characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True
