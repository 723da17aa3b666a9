"""What `tinyablate table` does with the tables that it was asked for: print, write, watch. It makes none of them."""

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinyablate.errors import UsageError, WorkError, listed
from tinyablate.terminal import say, show

if TYPE_CHECKING:
    from tinyablate.store.store import Store
    from tinyablate.sweep.schema import Sweep
    from tinyablate.tables.render.choice import Choice
    from tinyablate.tables.schema import Table

ALL = "all"
"""In a sweep's place: every sweep that was ever run with this database."""


@dataclass(frozen=True)
class Wanted:
    """The command's options about tables, not about sweeps."""

    format: str
    machine: str
    out: Path | None
    rounded: bool
    caption: bool
    checklist: bool
    strict: bool
    watch: bool
    notes: str | None
    columns: str | None
    wide: bool
    named: bool = False
    """Whether the format was given, and is not the default."""

    def choice(self) -> "Choice":
        """What of a table is shown. Raises UsageError."""
        from tinyablate.tables.render.choice import NOTES, Choice, columns_of

        notes = next((each for each in NOTES if each == self.notes), None)
        return Choice(notes, None if self.columns is None else columns_of(self.columns), self.wide)


def means_all(sweep: str, given: Sequence[object]) -> bool:
    """Whether `sweep` stands for every sweep. Raises UsageError where options come with it that change one of them."""
    from tinyablate import bundled

    if sweep != ALL or ALL in bundled.names():
        return False
    if any(given):
        raise UsageError(
            "table all: takes every sweep as it was run, so no --smoke, --set, --seeds, --null-rows; name the sweep"
        )
    return True


def every_sweep(store: "Store") -> "list[Sweep]":
    """All that were run and whose file is found; tells which are not. Raises UsageError where there is none."""
    from tinyablate.report.found import stored

    found, missing = stored(store)
    for line in missing:
        say(line)
    if not found:
        raise UsageError("table all: no sweep of this database has its file here; next: tinyablate sweeps")
    return found


def deliver(sweeps: "Sequence[Sweep]", store: "Store", wanted: Wanted) -> None:
    """Print the sweeps' tables, or write them, as was asked for; the files written are printed line by line."""
    from tinyablate.tables.collect import collect, printed

    _refuse_contradictions(wanted, whole=wanted.out is not None and _is_folder(sweeps, wanted.out))
    if wanted.watch:
        if wanted.out or wanted.caption or wanted.checklist or wanted.strict:
            raise UsageError("--watch: only draws tables; leave out --out, --caption, --checklist and --strict")
        gc.enable()  # this process lasts
        show(_watched(sweeps, store, wanted))
        return
    tables = [collect(sweep, store, wanted.machine, hours=wanted.checklist) for sweep in sweeps]
    if wanted.strict:
        _refuse_unsound(tables)
    if wanted.out is not None:
        for path in _written(tables, wanted.out, wanted):
            show(str(path))
    elif wanted.caption or wanted.checklist:
        texts = [text for table in tables for text in _told(table, wanted)]
        show("\n\n".join(texts))
    else:
        show(printed(tables, wanted.format, wanted.rounded, wanted.choice()))


def _told(table: "Table", wanted: Wanted) -> list[str]:
    from tinyablate.tables import paper

    caption = [paper.caption_text(table, wanted.format, wanted.choice())] if wanted.caption else []
    return caption + ([paper.checklist_of(table)] if wanted.checklist else [])


def _written(tables: "Sequence[Table]", out: Path, wanted: Wanted) -> list[Path]:
    """The files: of one table the one that `out` names by its suffix, else every format of all in the folder `out`."""
    from tinyablate.tables import paper
    from tinyablate.tables.render import render

    choice = wanted.choice()
    if _is_folder(tables, out):
        return paper.write_tables(tables, out, wanted.rounded, wanted.caption, wanted.checklist, choice)
    format = paper.SUFFIXES[out.suffix]
    return [paper.write(out, render(tables[0], format, rounded=wanted.rounded, choice=choice))]


def _is_folder(tables: Sequence[object], out: Path) -> bool:
    """Whether `out` is to hold every format of these tables."""
    return len(tables) > 1 or out.is_dir() or not out.suffix


def _refuse_contradictions(wanted: Wanted, whole: bool) -> None:
    """Raises UsageError where options exclude one another; `whole`: a folder of every format is written."""
    from tinyablate.tables.paper import SUFFIXES
    from tinyablate.tables.render import FOR_SCRIPTS

    out, format = wanted.out, wanted.format
    if out is not None and whole and wanted.named:
        raise UsageError(f"--out {out} --format {format}: a folder gets every format; leave out --format")
    if out is not None and not whole:
        format = SUFFIXES.get(out.suffix, "")
        if not format:
            valid = f"valid: {listed(SUFFIXES)}, or a folder"
            raise UsageError(f"--out {out}: no table format has this suffix; {valid}")
        if wanted.named and format != wanted.format:
            raise UsageError(
                f"--out {out} --format {wanted.format}: the suffix is that of {format}; leave out --format"
            )
        if wanted.caption or wanted.checklist:
            raise UsageError(
                f"--out {out}: --caption and --checklist are files of their own; name a folder, or leave --out"
            )
    if whole:
        return
    if wanted.caption and format in FOR_SCRIPTS:
        raise UsageError(f"--caption --format {format}: has no captions; valid: terminal, markdown, latex, html")
    if wanted.checklist and format not in ("terminal", "markdown"):
        raise UsageError(f"--checklist --format {format}: a checklist is Markdown; valid: terminal, markdown")
    if format in FOR_SCRIPTS and (wanted.notes or wanted.columns):
        raise UsageError(f"--notes and --columns: {format} always has everything; leave them out")
    if wanted.wide and format != "latex":
        raise UsageError(f"--wide: only LaTeX has tables over two columns of a page, not {format}; with --format latex")


def _refuse_unsound(tables: "Sequence[Table]") -> None:
    """Raises WorkError that names everything that a table mixes, lacks, or settled after its first results."""
    from tinyablate.tables.origins import unsettled
    from tinyablate.tables.paper import mixed

    lines = [
        f"{table.name or table.title}: {phrase}"
        for table in tables
        for phrase in (*mixed(table), *(unsettled(table.about) if table.about else ()))
    ]
    if lines:
        raise WorkError(
            "--strict: not every table is complete, computed alike and as first declared:\n" + "\n".join(lines)
        )


def _watched(sweeps: "Sequence[Sweep]", store: "Store", wanted: Wanted) -> str:
    """The tables when nothing runs any more; until then they are drawn anew, on a terminal."""
    from tinyablate.tables.collect import collect, printed
    from tinyablate.tables.watch import running, watch

    def look() -> tuple[str, bool]:
        tables = [collect(sweep, store, wanted.machine) for sweep in sweeps]
        return printed(tables, wanted.format, wanted.rounded, wanted.choice()), any(map(running, tables))

    if not sys.stdout.isatty():
        say("--watch: stdout is no terminal, so the table is printed once")
        return look()[0]
    return watch(look, sys.stdout)
