"""A table's caption: what is asked and what its numbers are, in sentences. It knows no format."""

from collections.abc import Iterator

from tinyablate.tables.render import words
from tinyablate.tables.render.choice import EVERYTHING, Choice
from tinyablate.tables.schema import Table, TableCell
from tinyablate.tables.words import capital, counted, cut

RULES = {
    "best": "at the best epoch by top-1 on these images",
    "last": "at the last epoch",
    "cross-fitted": "at the epoch that is best on one half of these images, scored on the other half, and vice versa",
}
"""Which epoch a number is of, in words."""

_TESTS = {
    "max-t": "joint sign flips, step-down max-T",
    "holm": "sign flips, adjusted by Holm",
    "stein": "Stein's t on the first stage's degrees of freedom, adjusted by Holm",
}


def caption_of(table: Table, choice: Choice = EVERYTHING) -> str:
    """One paragraph: what is asked, n and seeds, rule, spread, differences, tests, margin, changes, hardware.

    Of block intervals it speaks only where `choice` asks for them, as LaTeX shows them.
    """
    return " ".join(map(words.line, _sentences(table, choice)))


def _sentences(table: Table, choice: Choice) -> Iterator[str]:
    yield _sentence(table.title)
    for text in (table.question, words.above(table)):
        if words.line(text):
            yield _sentence(text)
    titles = ", ".join(dict.fromkeys(words.title(column) for column in table.columns))
    about = table.about
    measured = f" on {' and '.join(about.measured_on)}" if about and is_chosen(table) else ""
    rule = f", {RULES[about.select]}" if about and is_chosen(table) else ""
    seeds = f" (seeds planned: {about.seeds})" if about else ""
    yield f"{capital(titles)}{measured}{rule}: mean ± sample standard deviation over {n_of(table)}{seeds}."
    yield from compared(table, choice)
    yield from margin_of(table)
    if about and about.origins:
        yield f"Computed on {cut(sorted({origin.provenance.device for origin in about.origins} - {''}))}."


def compared(table: Table, choice: Choice = EVERYTHING) -> Iterator[str]:
    """What differences, intervals and p-values are."""
    about = table.about
    kinds = {cell.kind for cell in cells_of(table) if cell.delta is not None}
    if kinds and choice.shows("delta"):
        paired = "paired by seed" if kinds == {"paired"} else "paired by seed where rows share seeds"
        paired = "between independent runs" if kinds == {"unpaired"} else paired
        interval = "95 % interval by Stein's two-stage rule" if about and about.test == "stein" else "95 % t interval"
        yield f"Δ: difference to the baseline, {paired}, with its {interval}."
    found = [cell.comparison for cell in cells_of(table) if cell.comparison]
    if choice.asks("block") and any(each.block_low is not None for each in found):
        last = " (of the last epoch)" if about and about.select == "best" else ""
        yield f"Block{last}: the 95 % interval with seed as block and the variance pooled over the rows."
    tests = sum(each.p is not None for each in found)
    if tests and about and (choice.shows("p") or choice.shows("verdict")):
        last = "of the last epoch, " if about.select == "best" else ""
        over = "of the table" if about.family == "table" else "of each column"
        yield f"p: {last}two-sided, {_TESTS[about.test]}, over the comparisons {over} ({counted(tests, 'comparison')})."


def margin_of(table: Table) -> Iterator[str]:
    """The smallest difference that matters; one that came after results is not called declared. What else changed."""
    about = table.about
    if about is None:
        return
    if about.margin is not None:
        late = any(phrase.startswith("margin ") for phrase in about.changed)
        how = "was set after the first run, to" if late else "was declared as"
        yield f"The smallest difference that matters {how} {about.margin:g}."
    if about.changed:
        yield f"CHANGED since the first run: {'; '.join(about.changed)}."


def n_of(table: Table) -> str:
    """How many seeds are behind the means."""
    counts = sorted({cell.n for cell in cells_of(table) if cell.state != "excluded"})
    if len(counts) < 2:
        return f"n = {counts[0] if counts else 0} {'seed' if counts == [1] else 'seeds'}"
    return f"n = {counts[0]} to {counts[-1]} seeds"


def is_chosen(table: Table) -> bool:
    """Whether any number is an epoch's, so that a rule chose it."""
    return any(column.metric.source == "epochs" for column in table.columns)


def cells_of(table: Table) -> Iterator[TableCell]:
    """Every cell, row by row."""
    return (cell for row in table.rows for cell in row.cells)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
