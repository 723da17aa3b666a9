"""A table's printed columns, from the widest arrangement to the narrowest. Formats choose one and draw it."""

import itertools
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tinyablate.tables.render import words
from tinyablate.tables.render.choice import EVERYTHING, Choice, FieldKind
from tinyablate.tables.schema import Table, TableCell, TableColumn, TableRow


@dataclass(frozen=True)
class Field:
    """One printed column."""

    kind: FieldKind
    name: str
    """Its heading under that of the column of the table that it belongs to; `\n` parts its lines."""
    head: tuple[str, ...]
    """Lines of its heading where it stands alone."""
    texts: tuple[str, ...]
    """One for each row of the table; `\n` parts the lines of a cell."""
    column: int = -1
    """Index of the column of the table; -1: it belongs to the rows."""
    right: bool = False
    """Aligned to the right."""
    marks: tuple[str, ...] = ()
    """What follows the number of each text, as ` *`; empty, or one for each row."""
    source: str = ""
    """Of kind `published`."""

    def mark(self, index: int) -> str:
        """What follows this row's number."""
        return self.marks[index] if self.marks else ""

    @cached_property
    def _room(self) -> int:
        """Characters that marks take."""
        return max(map(len, self.marks), default=0)

    def strong(self, index: int) -> bool:
        """Whether the row is the best here, or not separated from it."""
        return self.kind == "mean" and bool(self.mark(index))

    def lines(self, index: int) -> tuple[str, str, list[str]]:
        """The row's number, what follows its mark in the first line, and further lines."""
        first, *more = self.texts[index].split("\n")
        number, bracket, rest = first.partition(" (") if self.kind == "mean" else (first, "", "")
        return number, bracket + rest, more

    def text(self, index: int) -> str:
        """The row's text with its mark, whose place stays empty in other rows where numbers end in one column."""
        number, rest, more = self.lines(index)
        room = self._room if number and self.right else 0
        return "\n".join([number + self.mark(index).ljust(room) + rest, *(line + " " * room for line in more)])


_FOLDS: tuple[tuple[FieldKind, FieldKind], ...] = (("delta", "block"), ("verdict", "p"))
"""What stands under what in a folded table."""

Block = list[Field]
"""The printed columns of one column of the table; they stay together."""


@dataclass(frozen=True)
class _Part:
    """One column of the table with its cells."""

    at: int
    column: TableColumn
    rows: Sequence[TableRow]
    cells: Sequence[TableCell]
    single: bool
    """The table has no other column."""
    restated: bool
    """Verdicts judge the last epoch, and the printed differences are those of the best one."""
    choice: Choice

    @property
    def fact(self) -> bool:
        """Whether its numbers are the same under every seed."""
        return self.column.metric.source == "facts"


def _parts(table: Table, choice: Choice) -> Iterator[_Part]:
    single = len(table.columns) == 1
    for at, column in enumerate(table.columns):
        cells = [row.cells[at] for row in table.rows]
        yield _Part(at, column, table.rows, cells, single, any(map(words.restated, cells)), choice)


# ---- arrangements ----------------------------------------------------------------------------------------------------


def spread(table: Table, choice: Choice = EVERYTHING, short: bool = False) -> Iterator[Block]:
    """Everything in a column of its own; `short`: verdicts in a word or two."""
    for part in _parts(table, choice):
        yield from _filled([*_means(part), *_sources(part), *_deltas(part), *_judged(part, short)])


def folded(table: Table, choice: Choice = EVERYTHING) -> Iterator[Block]:
    """The block interval under the interval, p under the verdict, open seeds under the mean: two lines a row."""
    for part in _parts(table, choice):
        found = {field.kind: field for field in (*_deltas(part), *_judged(part, short=True))}
        for above, below in _FOLDS:
            if above in found and below in found:
                found[above] = _under(found[above], found.pop(below), part)
        yield from _filled([*_means(part, raised=True), *_sources(part), *found.values()])


def halved(table: Table, choice: Choice = EVERYTHING) -> Iterator[Block]:
    """Verdict and p under the mean, the block interval under the interval: two lines a row, and narrower."""
    for part in _parts(table, choice):
        judged = {field.kind: field for field in _judged(part, short=True)}
        block, deltas = judged.pop("block", None), list(_deltas(part))
        if block and deltas:
            deltas = [_under(deltas[0], block, part)]
        elif block:
            deltas = [block]
        yield from _filled([*_first(part, judged, []), *_sources(part), *deltas])


def stacked(table: Table, choice: Choice = EVERYTHING) -> Iterator[Block]:
    """Everything but published numbers under the mean: half as wide."""
    for part in _parts(table, choice):
        judged = {field.kind: field for field in _judged(part, short=True)}
        inner = [*_deltas(part), *filter(None, [judged.pop("block", None)])]
        yield from _filled([*_first(part, judged, inner), *_sources(part)])


def _filled(block: Block) -> Iterator[Block]:
    """The block, if anything of it is shown."""
    if block:
        yield block


def _first(part: _Part, judged: Mapping[FieldKind, Field], inner: Sequence[Field]) -> Iterator[Field]:
    """Mean and n, below them `inner`, then verdict and p."""
    names, lines = [*_both_name(part)], [_both(part)] if _both(part) else []
    own = len(names)
    for field in inner:
        lines.append(field.texts)
        names.append(_inside(field, part))
    if judged:
        lines.append(tuple(_verdict_and_p(cell, judged) for cell in part.cells))
        names.append(", ".join(field.name for field in reversed([*judged.values()])).replace(", last epoch: ", ", "))
    if lines:
        texts = tuple("\n".join(filter(None, each)) for each in zip(*lines, strict=True))
        head, alone = (*_over(part), *names[own:]), part.fact and len(lines) == 1
        yield broken(Field("mean", "\n".join(names), head, texts, part.at, alone, _standings(part)))


def crossed(table: Table, choice: Choice = EVERYTHING) -> Iterator[Block]:
    """Of a two-way table: a column for each level of its second field; it has means, n and published numbers alone."""
    for part in _parts(table, choice):
        head = words.line(part.column.label)
        texts = tuple(_crossed_cell(cell, part.column, choice) for cell in part.cells)
        yield [Field("mean", head, (head,), texts, part.at, marks=_standings(part, always=True))]


def components(table: Table, choice: Choice = EVERYTHING) -> Block:
    """The columns of ✓ and ✗ before the numbers; a heading takes a line for each of its words."""
    return [
        Field("component", words.line(label), tuple(words.line(label).split(" ")),
              tuple(words.line(row.components[at]) if at < len(row.components) else "" for row in table.rows))
        for at, label in enumerate(table.components)
        if choice.shows("component")
    ]  # fmt: skip


def broken(field: Field) -> Field:
    """The field with the marks of open seeds on a line of their own."""
    return replace(field, texts=tuple(text.replace("; ", ";\n", 1) for text in field.texts))


def side_by_side(blocks: Sequence[Block], fits: Callable[[Sequence[Field]], bool]) -> Iterator[list[Block]]:
    """As many blocks as fit together, in order, then the next; one is parted only where it does not fit alone."""
    whole = itertools.chain.from_iterable([block] if fits(block) else [[field] for field in block] for block in blocks)
    taken: list[Block] = []
    for block in whole:
        if taken and not fits([*itertools.chain.from_iterable(taken), *block]):
            yield taken
            taken = []
        taken = [*taken, block]
    yield taken


# ---- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Label:
    """A line of the table: a row, or the heading of a group."""

    text: str
    index: int | None
    """Of the row; None for a heading, which is empty where rows after a group belong to none."""
    apart: bool = False
    """It is the first of rows that are no rows like the others: the baseline again under other seeds."""
    null: bool = False


def labels(rows: Sequence[TableRow]) -> list[Label]:
    """Every line of the table in order."""
    group, null, found = "", False, list[Label]()
    for index, row in enumerate(rows):
        if row.group != group:
            group = row.group
            found.append(Label(words.line(group), None))
        headed = bool(found) and found[-1].index is None
        found.append(Label(words.line(row.label), index, row.null and not null and index > 0 and not headed, row.null))
        null = row.null
    return found


# ---- single fields ---------------------------------------------------------------------------------------------------


def _over(part: _Part) -> tuple[str, ...]:
    return tuple(filter(None, (words.line(part.column.label), words.title(part.column))))


def over(table: Table, at: int) -> str:
    """Heading over all printed columns of one column of the table."""
    column = table.columns[at]
    return " ".join(filter(None, (words.line(column.label), words.title(column))))


def _means(part: _Part, raised: bool = False) -> Iterator[Field]:
    """Mean and n, in one if there are other columns; `raised`: which seeds are open stands under the mean."""
    column, marks, choice = part.column, _standings(part), part.choice
    if not part.single:
        if texts := _both(part):
            (name,) = _both_name(part)
            yield Field("mean", name, _over(part), texts, part.at, part.fact, marks)  # facts have no counts behind them
        return
    means, counts = [words.mean(cell, column) for cell in part.cells], [words.count(cell) for cell in part.cells]
    if raised:
        means = ["\n".join([mean, *cell.marks]) for mean, cell in zip(means, part.cells, strict=True)]
        counts = [count.partition(";")[0] for count in counts]
    if choice.shows("mean"):
        yield Field("mean", "mean ± sd", (*_over(part), "mean ± sd"), tuple(means), part.at, right=True, marks=marks)
    if choice.shows("n"):
        yield Field("n", "n", ("n",), tuple(counts), part.at)


def _both(part: _Part) -> tuple[str, ...]:
    """Mean and n of each cell, as far as they are shown."""
    mean, n = part.choice.shows("mean"), part.choice.shows("n")
    if mean and n:
        return tuple(words.mean_and_count(cell, part.column) for cell in part.cells)
    if mean:
        return tuple(words.mean(cell, part.column) for cell in part.cells)
    return tuple(map(words.count, part.cells)) if n else ()


def _both_name(part: _Part) -> tuple[str, ...]:
    """What these texts are called."""
    mean, n = part.choice.shows("mean"), part.choice.shows("n")
    if not mean:
        return ("n",) if n else ()
    if part.fact:
        return ("value",)
    spread = " ± sd" if any(cell.sd is not None for cell in part.cells) else ""
    return (f"mean{spread}{' (n)' if n else ''}",)


def _sources(part: _Part) -> Iterator[Field]:
    for source in part.column.sources if part.choice.shows("published") else ():
        name = words.line(source)
        head = (name,) if part.single else (words.near(part.column), name)
        texts = tuple(words.published(cell, part.column, source) for cell in part.cells)
        marks = tuple("†" if words.unexpected(cell, source) else "" for cell in part.cells)
        yield Field("published", name, head, texts, part.at, right=True, marks=marks, source=source)


def _deltas(part: _Part) -> Iterator[Field]:
    asked = part.choice.asks("delta") if part.fact else part.choice.shows("delta")
    if part.column.compared and asked:
        ends = ("[95 % interval]",) if any(cell.delta_low is not None for cell in part.cells) else ()
        name = " ".join(["Δ", *ends])
        head = ("Δ to baseline", *ends) if part.single else (words.near(part.column), name)
        pairs = zip(part.rows, part.cells, strict=True)
        yield Field("delta", name, head, tuple(words.delta(row, cell, part.column) for row, cell in pairs), part.at)


def _judged(part: _Part, short: bool) -> Iterator[Field]:
    """Block interval, p and verdict, as far as any cell has them; the latter two only where some verdict is one."""
    cells, column, choice = part.cells, part.column, part.choice
    last, name = ("last epoch:",) if part.restated else (), "Δ [block]" if part.restated else "block interval"
    if choice.shows("block"):
        blocks = tuple(words.block(cell, column, part.restated) for cell in cells)
        yield from _told("block", name, (*last, name) if part.restated else ("block", "[95 % interval]"), blocks, part)
    found = [cell.comparison.verdict.kind for cell in cells if cell.comparison and cell.comparison.verdict]
    alike = all(kind == "n too small" for kind in found)  # the footnote says it once for all of them
    if choice.asks("p") if alike else choice.shows("p"):
        yield from _told("p", "p", (*last, "p"), tuple(map(words.chance, cells)), part)
    if choice.asks("verdict") if alike else choice.shows("verdict"):
        verdicts = tuple(words.verdict(cell, short) for cell in cells)
        yield from _told("verdict", "verdict", (*last, "verdict"), verdicts, part)


def _told(kind: FieldKind, name: str, head: tuple[str, ...], texts: tuple[str, ...], part: _Part) -> Iterator[Field]:
    """The field if any row has a text; among other columns of the table its head says which one it belongs to."""
    if any(texts):
        whole = f"last epoch: {name}" if part.restated else name
        yield Field(kind, whole, head if part.single else (words.near(part.column), whole), texts, part.at, kind == "p")


def _inside(field: Field, part: _Part) -> str:
    """Its heading where it is a line of a cell."""
    return "[block]" if field.kind == "block" and not part.restated else field.name


def _p(cell: TableCell) -> str:
    """`p = 0.031`, `p <0.001`, or nothing."""
    p = words.chance(cell)
    return p and (f"p {p}" if p.startswith("<") else f"p = {p}")


def _verdict_and_p(cell: TableCell, judged: Container[FieldKind]) -> str:
    verdict = words.verdict(cell, short=True) if "verdict" in judged else ""
    return ", ".join(filter(None, (verdict, _p(cell) if "p" in judged else "")))


def _under(upper: Field, lower: Field, part: _Part) -> Field:
    """`lower`'s texts as second lines of `upper`'s, an interval under the interval."""
    texts = []
    for above, below, cell in zip(upper.texts, lower.texts, part.cells, strict=True):
        indent = max(above.find("["), 0) if lower.kind == "block" and not part.restated else 0
        texts.append(f"{above}\n{' ' * indent}{_p(cell) if lower.kind == 'p' else below}" if below else above)
    name = _inside(lower, part) if lower.kind == "block" else "p"
    return replace(upper, name=f"{upper.name}\n{name}", head=(*upper.head, name), texts=tuple(texts))


def _crossed_cell(cell: TableCell, column: TableColumn, choice: Choice) -> str:
    """Mean and sd; below them whatever is open, and what was published."""
    count = [] if cell.state in ("complete", "excluded") or not choice.shows("n") else [words.count(cell)]
    published = [
        f"{words.line(source)} {words.published(cell, column, source)}{'†' if words.unexpected(cell, source) else ''}"
        for source in cell.published
        if choice.shows("published")
    ]
    return "\n".join([words.mean(cell, column), *count, *published])


def _standings(part: _Part, always: bool = False) -> tuple[str, ...]:
    """Marks of the best and of what noise cannot separate from it; none where it can separate nothing.

    `always`: as in a two-way table, whose purpose is the best cell.
    """
    if not always and not any(cell.standing == "separated" for cell in part.cells):
        return ()
    return tuple({"best": " *", "close": " ≈"}.get(cell.standing or "", "") for cell in part.cells)
