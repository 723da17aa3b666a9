"""A table as HTML: a fragment that stands anywhere, and a page around it that needs nothing else.

No script: what makes a page of fragments sortable reads their `data-*` attributes (`tinyablate.report`).
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files

from tinyablate.tables.render import fields, words
from tinyablate.tables.render.choice import EVERYTHING, Choice
from tinyablate.tables.render.fields import Block, Field, Label
from tinyablate.tables.render.notes import notes_of
from tinyablate.tables.render.seeds import Seed, seeds_of
from tinyablate.tables.schema import Table, TableCell, TableColumn

_BREAK = "<br>"


def fragment(table: Table, choice: Choice = EVERYTHING) -> str:
    """A `<figure class="sweep-table">`: the table with its caption, and its footnotes as a list.

    Cells of numbers have their exact value in `data-value`, and those of means the seeds' values in `data-seeds` (a
    JSON list of [seed, value or null, state, trial's key]) and, for the pointer, in `title`. Rows are `data-row`.
    """
    blocks = list(fields.crossed(table, choice) if table.axes else fields.spread(table, choice))
    own = fields.components(table, choice)
    flat = [*own, *itertools.chain.from_iterable(blocks)]
    seeds = seeds_of(table)
    name = f' data-sweep="{_text(table.name)}"' if table.name else ""
    return "\n".join(
        [
            f'<figure class="sweep-table{" smoke" if table.smoke else ""}"{name}>',
            "<table>",
            *_caption(table),
            "<thead>",
            *_heads(table, own, blocks),
            "</thead>",
            *_bodies(table, flat, seeds),
            "</table>",
            *_notes(notes_of(table, choice)),
            "</figure>",
        ]
    )


def page(tables: Sequence[Table], choice: Choice = EVERYTHING) -> str:
    """A whole document of these tables, one below the other, with its style inside."""
    titles = " · ".join(words.line(table.title) for table in tables)
    style = files("tinyablate.tables.render").joinpath("table.css").read_text(encoding="utf-8").strip()
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(titles)}</title>",
            f"<style>\n{style}\n</style>",
            "</head>",
            "<body>",
            "<main>",
            *(fragment(table, choice) for table in tables),
            "</main>",
            "</body>",
            "</html>",
        ]
    )


def _text(text: str) -> str:
    return escape(words.line(text))


def _lines(texts: Sequence[str]) -> str:
    """For an attribute: each on a line of its own where it is shown."""
    return "&#10;".join(map(_text, texts))


def _caption(table: Table) -> Iterator[str]:
    yield f'<caption><strong dir="auto">{_text(table.title)}</strong>'
    for text in (table.question, words.above(table)):
        if words.line(text):
            yield f'<br><span dir="auto">{_text(text)}</span>'
    yield "</caption>"


def _notes(notes: Sequence[str]) -> Iterator[str]:
    if notes:
        yield '<figcaption><ul class="notes">'
        yield from (f'<li dir="auto">{words.minus(_text(note))}</li>' for note in notes)
        yield "</ul></figcaption>"


# ---- headings --------------------------------------------------------------------------------------------------------


def _heads(table: Table, own: Block, blocks: Sequence[Block]) -> Iterator[str]:
    """Two lines where a column of the table is printed as several, else one."""
    two = any(len(block) > 1 for block in blocks)
    span = ' rowspan="2"' if two else ""
    upper = [f'<th scope="col"{span} class="row">Row</th>']
    upper += [f'<th scope="col"{span} class="component">{_text(field.name)}</th>' for field in own]
    lower = list[str]()
    for block in blocks:
        over = block[0].name if table.axes else fields.over(table, block[0].column)
        if len(block) == 1:
            upper.append(f'<th scope="col"{span} class="{block[0].kind}">{_text(over)}</th>')
            continue
        upper.append(f'<th scope="colgroup" colspan="{len(block)}">{_text(over)}</th>')
        lower += [f'<th scope="col" class="{field.kind}">{_text(field.name)}</th>' for field in block]
    yield f"<tr>{''.join(upper)}</tr>"
    if lower:
        yield f"<tr>{''.join(lower)}</tr>"


# ---- rows ------------------------------------------------------------------------------------------------------------

Seeds = Mapping[tuple[int, int], Sequence[Seed]]


def _bodies(table: Table, flat: Sequence[Field], seeds: Seeds) -> Iterator[str]:
    """A `tbody` for each group of rows, and one for rows that are set apart."""
    yield "<tbody>"
    for at, label in enumerate(fields.labels(table.rows)):
        if at and (label.index is None or label.apart):
            yield "</tbody>"
            yield "<tbody>"
        if label.index is not None:
            yield _row(table, label, flat, seeds)
        elif label.text:
            span = f'colspan="{len(flat) + 1}"'
            yield f'<tr class="group"><th scope="rowgroup" {span} dir="auto">{_text(label.text)}</th></tr>'
    yield "</tbody>"


def _row(table: Table, label: Label, flat: Sequence[Field], seeds: Seeds) -> str:
    index = label.index or 0
    row = table.rows[index]
    kinds = [name for name, holds in (("baseline", row.baseline), ("null", row.null)) if holds]
    marked = f' class="{" ".join(kinds)}"' if kinds else ""
    changes = [f"{change.path}: {change.before} → {change.after}" for change in row.changes]
    title = f' title="{_lines(changes)}"' if changes else ""
    head = f'<th scope="row" dir="auto"{title}>{_text(row.label)}</th>'
    cells = (_cell(table, field, index, seeds) for field in flat)
    return f'<tr{marked} data-row="{index}">{head}{"".join(cells)}</tr>'


def _cell(table: Table, field: Field, index: int, seeds: Seeds) -> str:
    number, rest, more = field.lines(index)
    if field.kind != "component":
        number, rest, more = words.minus(number), words.minus(rest), [*map(words.minus, more)]
    text = f"<strong>{escape(number)}</strong>" if field.strong(index) else escape(number)
    whole = _BREAK.join([text + escape(field.mark(index) + rest), *map(escape, more)])
    if field.column < 0:
        return f'<td class="component">{whole}</td>'
    column, cell = table.columns[field.column], table.rows[index].cells[field.column]
    value = _value(field, cell)
    attributes = f' data-value="{value!r}"' if value is not None else ""
    if field.kind == "mean":
        attributes += _replicates(seeds.get((field.column, index), ()), column)
    return f'<td class="{_classes(field, cell)}"{attributes}>{whole}</td>'


def _classes(field: Field, cell: TableCell) -> str:
    """Its kind, what state the cell is in where it is not complete, its standing, its verdict."""
    extra = ""
    if field.kind in ("mean", "n") and cell.state != "complete":
        extra = cell.state
    if field.kind == "verdict" and cell.comparison and cell.comparison.verdict:
        extra = cell.comparison.verdict.kind.replace(" ", "-")
    return f"{field.kind} {extra}".strip()


def _value(field: Field, cell: TableCell) -> float | None:
    """What the field is sorted by."""
    if field.kind in ("mean", "n", "delta"):
        return {"mean": cell.mean, "n": cell.n, "delta": cell.delta}[field.kind]
    if field.kind == "published":
        return cell.published.get(field.source)
    found = cell.comparison
    return None if found is None else found.p if field.kind == "p" else found.value


def _replicates(seeds: Sequence[Seed], column: TableColumn) -> str:
    if not seeds:
        return ""
    told = [
        f"seed {each.seed}: {each.state if each.value is None else words.minus(words.number(each.value, column))}"
        for each in seeds
    ]
    data = json.dumps(seeds, separators=(",", ":"))
    return f' title="{_lines(told)}" data-seeds="{escape(data)}"'
