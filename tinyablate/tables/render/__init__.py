"""A finished Table as text: terminal, markdown, latex, html, csv, json. It computes nothing, it rounds and arranges.

For people numbers are rounded to their column's digits; for scripts (csv, json) they are exact unless asked otherwise.
"""

from collections.abc import Sequence

from tinyablate.errors import UsageError, listed, nearest
from tinyablate.tables.schema import Table

FORMATS = ("terminal", "markdown", "latex", "html", "csv", "json")
"""What `render` takes."""


def render(
    table: Table, format: str = "terminal", width: int | None = None, color: bool = False, rounded: bool = False
) -> str:
    """`table` as text without a final newline; equal input gives equal bytes, whatever the environment.

    `width` (characters per line) and `color` (ANSI styles) concern the terminal format only; `rounded` csv and json,
    whose numbers it rounds as the other formats do. Raises UsageError for an unknown format.
    """
    from tinyablate.tables.render import data, html, latex, markdown, terminal

    if format not in FORMATS:
        raise UsageError(f"--format {format}: no such table format; valid: {listed(FORMATS)}{nearest(format, FORMATS)}")
    if format == "terminal":
        return terminal.terminal(table, width, color)
    if format in ("csv", "json"):
        return data.to_csv(table, rounded) if format == "csv" else data.to_json(table, rounded)
    if format == "html":
        return html.page([table])
    return latex.latex(table) if format == "latex" else markdown.markdown(table)


def render_all(
    tables: Sequence[Table],
    format: str = "terminal",
    width: int | None = None,
    color: bool = False,
    rounded: bool = False,
) -> str:
    """Several tables as one text: of json a list, of html one page, else one below the other. See `render`."""
    if format == "html" and tables:
        from tinyablate.tables.render import html

        return html.page(tables)
    texts = [render(table, format, width, color, rounded) for table in tables]
    many = len(texts) > 1 and format == "json"
    return "[" + ",\n".join(texts) + "]" if many else "\n\n".join(texts)
