"""A table as data for scripts: csv and json. Numbers are exact, or rounded as the table shows them if asked for."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from tinyablate.tables.render import words
from tinyablate.tables.render.seeds import Seed, seeds_of
from tinyablate.tables.schema import Comparison, Table, TableCell, TableColumn, TableRow

Number = Callable[[float | None, TableColumn | None], object]
"""How a number is written, given the column in whose unit it is; None: a p-value or a correlation."""


def _exact(value: float | None, column: TableColumn | None) -> float | None:
    return value


def _rounded(value: float | None, column: TableColumn | None) -> float | None:
    if value is None or column is None:
        return value and round(value, 3)
    return words.rounded(value, column)


def _rounded_text(value: float | None, column: TableColumn | None) -> str | None:
    """The same with its trailing zeros."""
    if value is None or column is None:
        return None if value is None else f"{value:.3f}"
    return words.number(value, column).replace(",", "")


# ---- csv -------------------------------------------------------------------------------------------------------------

_COLUMNS: dict[str, type] = {
    "label": str, "group": str, "column": str, "metric": str, "mean": float, "sd": float, "n": int, "n_planned": int,
    "delta": float, "delta_low": float, "delta_high": float, "state": str, "unit": str, "low": float, "high": float,
    "standing": str,
}  # fmt: skip
_MORE: dict[str, type] = {
    "sweep": str, "rule": str, "block_low": float, "block_high": float, "p": float, "p_holm": float, "verdict": str,
    "predicted_low": float, "predicted_high": float, "p_raw": float, "pairs": int, "verdict_text": str, "marks": str,
}  # fmt: skip
"""After the published numbers, so that what reads the columns before them by position goes on working."""


def types_of(table: Table) -> dict[str, type]:
    """Column of the CSV -> type of its values."""
    sources = dict.fromkeys(source for column in table.columns for source in column.sources)
    return {**_COLUMNS, **{f"published_{source}": float for source in sources}, **_MORE}


def records(table: Table) -> Iterator[dict[str, object]]:
    """One for each row, column and metric: the CSV's columns, None for what is not there."""
    return (dict(zip(types_of(table), line, strict=True)) for line in _lines(table, _exact))


def to_csv(table: Table, rounded: bool = False) -> str:
    """One line for each row, column and metric; what is not there is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(types_of(table))
    writer.writerows(_lines(table, _rounded_text if rounded else _exact))
    return text.getvalue().rstrip("\n")


def _lines(table: Table, number: Number) -> Iterator[list[object]]:
    sources = list(dict.fromkeys(source for column in table.columns for source in column.sources))
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            published = (number(cell.published.get(source), column) for source in sources)
            yield [*_line(row, column, cell, number), *published, *_more(table, column, cell, number)]


def _line(row: TableRow, column: TableColumn, cell: TableCell, number: Number) -> Iterator[object]:
    yield from (row.label, row.group, column.label, column.metric.name)
    yield from (number(cell.mean, column), number(cell.sd, column), cell.n, cell.n_planned)
    yield from (number(value, column) for value in (cell.delta, cell.delta_low, cell.delta_high))
    yield from (cell.state, column.metric.unit, number(cell.low, column), number(cell.high, column), cell.standing)


def _more(table: Table, column: TableColumn, cell: TableCell, number: Number) -> Iterator[object]:
    found = cell.comparison
    verdict = found.verdict if found else None
    yield table.name
    if found is None:
        yield from (None,) * 5
    else:
        yield from (found.rule, number(found.block_low, column), number(found.block_high, column))
        yield from (number(found.p, None), number(found.p_holm, None))
    yield verdict.kind if verdict else None
    yield from (number(end, column) for end in cell.predicted or (None, None))
    yield number(found.p_raw if found else None, None)
    yield from (cell.pairs, verdict.text if verdict else None, ", ".join(cell.marks))


# ---- json ------------------------------------------------------------------------------------------------------------


def to_json(table: Table, rounded: bool = False) -> str:
    """The form that scripts rely on: its keys are a contract, to which later versions only add."""
    number: Number = _rounded if rounded else _exact
    seeds = seeds_of(table)
    rows = [
        {
            "label": row.label,
            "group": row.group,
            "cells": [
                _cell(column, cell, number, seeds.get((at, index), ()))
                for at, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True))
            ],
            "baseline": row.baseline,
            "null": row.null,
            "components": row.components,
            "changes": [asdict(change) for change in row.changes],
        }
        for index, row in enumerate(table.rows)
    ]
    whole = {
        "title": table.title,
        "rows": rows,
        "footnotes": list(table.footnotes),
        "axes": table.axes,
        "name": table.name,
        "smoke": table.smoke,
        "question": table.question,
        "components": table.components,
        "columns": list(_columns(table)),
        "test": table.about.test if table.about else None,
        "family": table.about.family if table.about else None,
    }
    return "{\n" + ",\n".join(f"{_dumped(key)}: {_dumped_lines(value)}" for key, value in whole.items()) + "\n}"


def _dumped_lines(value: object) -> str:
    """A list with a line for each of its elements, so that a difference shows; json's own indentation is slow."""
    return "[\n" + ",\n".join(map(_dumped, value)) + "\n]" if isinstance(value, list) and value else _dumped(value)


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _columns(table: Table) -> Iterator[dict[str, object]]:
    statistics = table.statistics or (None,) * len(table.columns)
    for column, found in zip(table.columns, statistics, strict=True):
        yield {
            "column": column.label,
            "metric": column.metric.name,
            "unit": column.metric.unit,
            "better": column.metric.better,
            "digits": column.digits,
            "sources": column.sources,
            "statistics": asdict(found) if found else None,
        }


def _cell(column: TableColumn, cell: TableCell, number: Number, seeds: Sequence[Seed]) -> dict[str, object]:
    return {
        "column": column.label,
        "metric": column.metric.name,
        "mean": number(cell.mean, column),
        "sd": number(cell.sd, column),
        "n": cell.n,
        "n_planned": cell.n_planned,
        "delta": number(cell.delta, column),
        "delta_low": number(cell.delta_low, column),
        "delta_high": number(cell.delta_high, column),
        "state": cell.state,
        "unit": column.metric.unit,
        "low": number(cell.low, column),
        "high": number(cell.high, column),
        "standing": cell.standing,
        "published": {source: number(value, column) for source, value in cell.published.items()},
        "kind": cell.kind,
        "pairs": cell.pairs,
        "marks": cell.marks,
        "comparison": _comparison(cell.comparison, column, number),
        "predicted": [number(end, column) for end in cell.predicted] if cell.predicted else None,
        "values": [each._asdict() | {"value": number(each.value, column)} for each in seeds],
    }


def _comparison(found: Comparison | None, column: TableColumn, number: Number) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "rule": found.rule,
        "value": number(found.value, column),
        "low": number(found.low, column),
        "high": number(found.high, column),
        "block_low": number(found.block_low, column),
        "block_high": number(found.block_high, column),
        "bca_low": number(found.bca_low, column),
        "bca_high": number(found.bca_high, column),
        "p": number(found.p, None),
        "p_holm": number(found.p_holm, None),
        "correlation": number(found.correlation, None),
        "verdict": asdict(found.verdict) if found.verdict else None,
        "p_raw": number(found.p_raw, None),
    }
