"""What the views' columns are, as text."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from tinyablate.errors import UsageError, listed, nearest
from tinyablate.listing import columns_text, render_rows
from tinyablate.store.columns import RENAMED, VIEWS, ViewColumn, views
from tinyablate.store.query import Rows

HEADER = ("column", "type", "unit", "meaning")


def describe_views(view: str | None, format: str) -> str:
    """Every column of the views, or of the one called `view`, as table, json or markdown. Raises UsageError."""
    if view is not None and view not in VIEWS:
        hint = f"; it is now called {RENAMED[view]}" if view in RENAMED else nearest(view, VIEWS)
        raise UsageError(f"schema {view}: no such view{hint}; valid: {listed(VIEWS)}")
    known = {name: columns for name, columns in views().items() if view in (None, name)}
    if format == "json":
        return json.dumps(_data(known), indent=1, ensure_ascii=False)
    return "\n\n".join(_section(name, columns, format) for name, columns in known.items())


def _data(known: Mapping[str, tuple[ViewColumn, ...]]) -> dict[str, object]:
    return {
        name: {"line": VIEWS[name], "columns": [asdict(column) for column in columns]}
        for name, columns in known.items()
    }


def _section(name: str, columns: tuple[ViewColumn, ...], format: str) -> str:
    rows = tuple((column.name, column.type, column.unit, column.meaning) for column in columns)
    if format == "markdown":
        return f"## {name}\n\n{VIEWS[name]}\n\n{render_rows(Rows(HEADER, rows), 'markdown')}"
    return f"{name}: {VIEWS[name]}\n\n{columns_text(HEADER, rows)}"
