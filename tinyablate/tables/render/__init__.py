"""A finished Table as text: terminal, markdown, latex, html, csv, json. It computes nothing, it rounds and arranges.

For people numbers are rounded to their column's digits; for scripts (csv, json) they are exact unless asked otherwise.
"""

from collections.abc import Sequence

from tinyablate.errors import UsageError, listed, nearest
from tinyablate.tables.render.choice import EVERYTHING, Choice
from tinyablate.tables.schema import Table

FORMATS = ("terminal", "markdown", "latex", "html", "csv", "json")
"""What `render` takes."""

FOR_SCRIPTS = ("csv", "json")
"""Those that always have everything."""


def render(
    table: Table,
    format: str = "terminal",
    width: int | None = None,
    color: bool = False,
    rounded: bool = False,
    choice: Choice = EVERYTHING,
) -> str:
    """`table` as text without a final newline; equal input gives equal bytes, whatever the environment.

    `width` (characters per line) and `color` (ANSI styles) concern the terminal format only; `rounded` csv and json,
    whose numbers it rounds as the other formats do; `choice` all but these two. Raises UsageError for an unknown
    format, and where nothing of what `choice` asks for is there.
    """
    from tinyablate.tables.render import data, html, latex, markdown, terminal

    if format not in FORMATS:
        raise UsageError(f"--format {format}: no such table format; valid: {listed(FORMATS)}{nearest(format, FORMATS)}")
    if format in FOR_SCRIPTS:
        return data.to_csv(table, rounded) if format == "csv" else data.to_json(table, rounded)
    _check(table, choice)
    if format == "terminal":
        return terminal.terminal(table, width, color, choice)
    if format == "html":
        return html.page([table], choice)
    return latex.latex(table, choice) if format == "latex" else markdown.markdown(table, choice)


def render_all(
    tables: Sequence[Table],
    format: str = "terminal",
    width: int | None = None,
    color: bool = False,
    rounded: bool = False,
    choice: Choice = EVERYTHING,
) -> str:
    """Several tables as one text: of json a list, of html one page, else one below the other. See `render`."""
    if format == "html" and tables:
        from tinyablate.tables.render import html

        for table in tables:
            _check(table, choice)
        return html.page(tables, choice)
    texts = [render(table, format, width, color, rounded, choice) for table in tables]
    many = len(texts) > 1 and format == "json"
    return "[" + ",\n".join(texts) + "]" if many else "\n\n".join(texts)


def _check(table: Table, choice: Choice) -> None:
    """Refuse a table without any column."""
    from tinyablate.tables.render import fields

    if choice.columns is None or fields.components(table, choice):
        return
    if not any(True for _ in (fields.crossed if table.axes else fields.spread)(table, choice)):
        raise UsageError(f"--columns: {table.name or table.title} has none of these columns")
