"""What of a table is shown: which of its printed columns, how much below it, how wide. It shows nothing."""

from dataclasses import dataclass
from typing import Literal

from tinyablate.errors import UsageError, listed, nearest

Notes = Literal["full", "short", "none"]
NOTES: tuple[Notes, ...] = ("full", "short", "none")

FieldKind = Literal["component", "mean", "n", "published", "delta", "block", "p", "verdict"]
"""Of a printed column."""

COLUMNS: dict[str, FieldKind] = {
    "components": "component",
    "mean": "mean",
    "n": "n",
    "published": "published",
    "delta": "delta",
    "block": "block",
    "p": "p",
    "verdict": "verdict",
}
"""As users call them -> kind."""


@dataclass(frozen=True)
class Choice:
    """What the formats for people show."""

    notes: Notes | None = None
    """None: `short` in LaTeX, `full` elsewhere."""
    columns: frozenset[FieldKind] | None = None
    """None: all, but no differences of facts and, in LaTeX, no block interval."""
    wide: bool = False
    """In LaTeX a `table*`, as wide as a page of two columns."""
    hidden: frozenset[FieldKind] = frozenset()
    """What a format leaves out of itself."""

    def shows(self, kind: FieldKind) -> bool:
        """Whether columns of this kind are printed."""
        return kind not in self.hidden and (self.columns is None or kind in self.columns)

    def asks(self, kind: FieldKind) -> bool:
        """Whether they are asked for by name."""
        return self.columns is not None and kind in self.columns


EVERYTHING = Choice()


def columns_of(text: str) -> frozenset[FieldKind]:
    """The printed columns that `mean,n,delta` names; their order is the table's. Raises UsageError."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in COLUMNS:
            raise UsageError(
                f"--columns {text[:80]}: no column is called '{name[:40]}'{nearest(name, COLUMNS)}; "
                f"valid, parted by commas: {listed(COLUMNS)}"
            )
    return frozenset(COLUMNS[name] for name in names)
