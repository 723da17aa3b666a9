"""Where a figure's files go, and their writing: the picture and its numbers as CSV, each whole or not at all."""

import csv
import io
from collections.abc import Collection
from pathlib import Path

from tinyablate.errors import UsageError, listed, nearest
from tinyablate.sweep.schema import Figure, Sweep
from tinyablate.tables.figures.drawn import Drawn
from tinyablate.tables.figures.style import SUFFIXES
from tinyablate.tables.whole import put

FOLDER = Path("results/figures")


def path_of(sweep: Sweep, spec: Figure, out: Path | None) -> Path:
    """Where the picture goes. Raises UsageError for a format that is not drawn."""
    if out is None:
        parts = [sweep.name.replace("/", "-"), "smoke" if sweep.smoke else "", spec.name]
        return FOLDER / f"{'-'.join(part for part in parts if part)}.svg"
    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: must end in {listed(SUFFIXES)}{nearest(out.suffix, SUFFIXES)}")
    return out


def refuse_others(numbers: Path, headings: Collection[tuple[str, ...]]) -> None:
    """Raises UsageError where a file that no figure wrote, such as the published curves, has the numbers' name."""
    if not numbers.is_file():
        return
    with numbers.open("rb") as file:
        first = file.readline().rstrip(b"\r\n")
    if first not in [",".join(heading).encode() for heading in headings]:
        raise UsageError(f"--out: {numbers} is no figure's and is not overwritten; name another file")


def as_csv(drawn: Drawn) -> bytes:
    """The numbers, one line for each thing drawn; empty where nothing is known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(drawn.columns)
    writer.writerows(drawn.numbers)
    return text.getvalue().encode()


def write(path: Path, content: bytes) -> None:
    """The file, whole or not at all. Raises UsageError."""
    put(path, content)
