"""What the cells of a table say: numbers rounded to their column's digits, and the words around them.

Every format for people takes its texts from here; it knows no format.
"""

import re
from dataclasses import replace

from tinyablate.tables.schema import Table, TableCell, TableColumn, TableRow
from tinyablate.tables.words import SMALL

NOTHING = "—"
"""A cell without a value."""


def line(text: str) -> str:
    """`text` on one line, without control characters."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


def minus(text: str) -> str:
    """A text of our own with minus signs before its numbers instead of hyphens; within words and ranges they stay."""
    return _MINUS.sub("\N{MINUS SIGN}", text)


_MINUS = re.compile(r"(?<![\w.])-(?=\.?\d)")


def number(value: float, column: TableColumn, sign: str = "") -> str:
    """`value` in the column's unit, rounded to its digits; with `sign` `+` above zero too."""
    return f"{value:{sign}z,.{column.digits}f}"  # z: what rounds to zero has no minus


def rounded(value: float, column: TableColumn) -> float:
    """`value` as `number` shows it."""
    return float(number(value, column).replace(",", ""))


def probability(p: float) -> str:
    """A p-value with two or three digits: `0.50`, `0.031`, `<0.001`."""
    if p < 0.001:
        return "<0.001"
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}"


def interval(low: float | None, high: float | None, column: TableColumn, sign: str = "") -> str:
    """`[low, high]`, or nothing."""
    if low is None or high is None:
        return ""
    return f"[{number(low, column, sign)}, {number(high, column, sign)}]"


def _joined(*parts: str, by: str = " ") -> str:
    return by.join(filter(None, parts))


# ---- a cell ----------------------------------------------------------------------------------------------------------


def mean(cell: TableCell, column: TableColumn) -> str:
    """`91.17 ± 0.21`, of a ratio with the interval of its mean."""
    if cell.mean is None:
        return "n/a" if cell.state == "excluded" else NOTHING
    sd = f"± {number(cell.sd, column)}" if cell.sd is not None else ""
    return _joined(number(cell.mean, column), sd, interval(cell.low, cell.high, column))


def count(cell: TableCell) -> str:
    """Seeds behind the mean; where some are open, of those planned, and why."""
    if cell.state == "excluded":
        return ""
    if cell.state == "complete":
        return str(cell.n)
    return f"{cell.n}/{cell.n_planned}; {', '.join(cell.marks)}"


def mean_and_count(cell: TableCell, column: TableColumn) -> str:
    """Both in one. A fact of the model is the same under every seed: complete, it has no count."""
    known = cell.state == "complete" and column.metric.source == "facts"
    return _joined(mean(cell, column), f"({count(cell)})" if count(cell) and not known else "")


def delta(row: TableRow, cell: TableCell, column: TableColumn) -> str:
    """`-0.23 [-0.61, +0.15]`; of a row that others are compared with, `baseline`."""
    if cell.delta is None:
        return "baseline" if row.baseline and not row.compared else ""
    return _joined(number(cell.delta, column, "+"), interval(cell.delta_low, cell.delta_high, column, "+"))


def restated(cell: TableCell) -> bool:
    """Whether the verdict judges another difference than the printed one: the last epoch's beside the best one's."""
    comparison = cell.comparison
    return comparison is not None and cell.delta is not None and comparison.value != cell.delta


def block(cell: TableCell, column: TableColumn, restate: bool = False) -> str:
    """The interval with seed as block and pooled variance; `restate`: after the difference that it belongs to."""
    comparison = cell.comparison
    if comparison is None:
        return ""
    ends = interval(comparison.block_low, comparison.block_high, column, "+")
    return _joined(number(comparison.value, column, "+"), ends) if restate else ends


def chance(cell: TableCell) -> str:
    """The adjusted p-value, or nothing."""
    return "" if cell.comparison is None or cell.comparison.p is None else probability(cell.comparison.p)


def verdict(cell: TableCell, short: bool = False) -> str:
    """What the comparison comes to, in a word or two with `short`."""
    if cell.comparison is None or cell.comparison.verdict is None:
        return ""
    found = cell.comparison.verdict
    return found.kind if short else line(found.text)


def published(cell: TableCell, column: TableColumn, source: str) -> str:
    """The number that `source` gives, or nothing; a large count beside a small one of ours has the metric's digits."""
    if source not in cell.published:
        return ""
    value = cell.published[source]
    apart = column.metric.better is None and abs(value) >= SMALL > abs(cell.mean or 0.0)
    return number(value, replace(column, digits=column.metric.digits) if apart else column)


def unexpected(cell: TableCell, source: str) -> bool:
    """Whether that number lies outside what one more run of ours would be expected to give."""
    if cell.predicted is None or source not in cell.published:
        return False
    low, high = cell.predicted
    return not low <= cell.published[source] <= high


# ---- around the cells ------------------------------------------------------------------------------------------------


def title(column: TableColumn) -> str:
    """The metric with its unit."""
    return column.metric.heading


def near(column: TableColumn) -> str:
    """What tells a column from its neighbours, for the printed columns that belong to it."""
    return line(column.label) or column.metric.title


def above(table: Table) -> str:
    """What a line of its own says between a two-way table's question and its cells; empty for other tables."""
    if not table.axes:
        return ""
    rows, columns = map(line, table.axes)
    return f"{title(table.columns[0])} by {rows} (rows) and {columns} (columns)"
