"""Small pieces of text that tables' footnotes and titles are made of. They know no sweep and no numbers' meaning."""

from collections.abc import Sequence

SMALL = 0.1
"""Counts and costs that are all below it are shown with digits enough for the least of them."""


def place(row_label: str, column_label: str) -> str:
    """A cell by its labels; a sweep without a second axis has no column label."""
    return " / ".join(filter(None, (row_label, column_label)))


def counted(count: int, what: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def short(digest: str) -> str:
    """The first 12 digits of a digest or commit; what follows a `+` or `-`, such as `-dirty`, stays."""
    end = next((at for at, character in enumerate(digest) if not character.isalnum()), len(digest))
    return digest[: min(12, end)] + digest[end:]


def images(split: str) -> str:
    """Which images a recipe is evaluated on, in words."""
    return "the validation set" if split == "val" else f"{split}, held out"


def ranges(seeds: Sequence[int]) -> str:
    """Seeds in ascending order, three or more in a row as `0-9`."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and runs[-1][-1] == seed - 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def cut(names: Sequence[str], most: int = 6, between: str = ", ") -> str:
    """The names, comma-separated; a long list is cut with a count of the rest."""
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def capital(text: str) -> str:
    """`text` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def signed(value: float, digits: int) -> str:
    """`+0.15`; what rounds to zero has no sign of its own."""
    return f"{value:+z.{digits}f}"
