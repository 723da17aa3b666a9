"""What stands below a table: all its footnotes, or what a reader of a paper cannot do without. It sets nothing."""

from collections.abc import Iterator

from tinyablate.tables.render import words
from tinyablate.tables.render.choice import Choice
from tinyablate.tables.schema import Table, VerdictKind


def notes_of(table: Table, choice: Choice) -> tuple[str, ...]:
    """The footnotes of a format that has no caption: each a line."""
    if choice.notes == "none":
        return ()
    kinds = ("warning", "reader") if choice.notes == "short" else ("warning", "reader", "detail", "author")
    return tuple(note.text for note in table.notes if note.kind in kinds)


def paper_notes(table: Table, choice: Choice) -> tuple[str, ...]:
    """Paragraphs below a table whose caption says what its numbers are (`caption`); nothing about what to do next.

    `short`, the default, is one paragraph: what must not be overlooked, and what a reader needs and the caption lacks.
    """
    if choice.notes == "none":
        return ()
    if choice.notes == "full":
        return tuple(note.text for note in table.notes if note.kind != "author")
    warnings = [note.text for note in table.notes if note.kind == "warning"]
    needed = [note.text for note in table.notes if note.kind == "reader" and not note.text.startswith(_IN_CAPTION)]
    sentences = [*warnings, *needed, *(_verdicts(table) if choice.shows("verdict") else ())]
    return (" ".join(map(words.line, sentences)),) if sentences else ()


_IN_CAPTION = ("Values:", "±:", "Δ:", "p:", "Verdict:", "Margin")
"""How footnotes begin that say what a caption, or `_verdicts`, says in its own words. One that is missing here stands
there twice; none is lost."""


_VERDICTS: dict[VerdictKind, str] = {
    "better": "better, worse: p at most 0.05, and 0 outside of the interval",
    "worse": "better, worse: p at most 0.05, and 0 outside of the interval",
    "equivalent": "equivalent: within ±{margin:g} by two one-sided t tests at 5 %",
    "undecided": "undecided: no difference shown",
    "n too small": "n too small: no result could reach 5 %",
}


def _verdicts(table: Table) -> Iterator[str]:
    """What the verdicts that stand in the table mean."""
    found = {
        cell.comparison.verdict.kind
        for row in table.rows
        for cell in row.cells
        if cell.comparison and cell.comparison.verdict
    }
    margin = table.about.margin if table.about and table.about.margin is not None else 0.0
    if found == {"n too small"}:
        yield "No p and no verdicts: n is too small for any result to reach 5 %."
    elif found:
        phrases = dict.fromkeys(text.format(margin=margin) for kind, text in _VERDICTS.items() if kind in found)
        yield f"Verdicts: {'; '.join(phrases)}."
