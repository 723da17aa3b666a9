"""Which sweeps a report is about: those named, else every one that the database has and whose file can be found."""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from tinyablate import bundled
from tinyablate.errors import SweepError
from tinyablate.store import schema
from tinyablate.store.store import Store
from tinyablate.sweep.load import files_of, load
from tinyablate.sweep.schema import Sweep

NO_FILES = {"calibration"}
"""Sweeps that the program itself makes: they have no file, and nobody asks for their page."""


def named(names: Sequence[str]) -> list[Sweep]:
    """The sweeps of these names, all of one that is a folder, each once. Raises SweepError with every problem."""
    loaded, problems = list[Sweep](), list[str]()
    for name in names:
        for path in bundled.resolve_all(name):
            try:
                loaded.append(load(path))
            except SweepError as error:
                problems += error.problems
    if problems:
        raise SweepError(problems)
    return list({sweep.path.resolve(): sweep for sweep in loaded}.values())


def stored(store: Store) -> tuple[list[Sweep], list[str]]:
    """Every sweep that was run with this database, as its file stands now, sorted by name; and why others are not.

    A sweep that was run with --smoke or --set is another than its file's, and stands beside it.
    """
    s = schema.sweeps.c
    with store.engine().connect() as connection:
        rows = connection.execute(sa.select(s.name, s.smoke, s.overrides).distinct()).fetchall()
    loaded, missing = list[Sweep](), list[str]()
    for name, smoke, overrides in sorted(rows):
        if name in NO_FILES:
            continue
        try:
            loaded.append(
                load(bundled.resolve(name), smoke=smoke, overrides=overrides.split("\n") if overrides else ())
            )
        except SweepError as error:
            missing.append(f"left out: {name}: {error.problems[0]}")
    return loaded, missing


def stamp(names: Sequence[str], store: Store) -> str:
    """Text that changes when a file of these sweeps does, or of the database's where none is named."""
    if not names:
        with store.engine().connect() as connection:
            found = list(connection.scalars(sa.select(schema.sweeps.c.name).distinct().order_by(schema.sweeps.c.name)))
    else:
        found = list(names)
    return " ".join(_stamp(path) for name in found for path in _files(name))


def _files(name: str) -> list[Path]:
    """The files that the sweep, or folder of sweeps, is read from, as far as they can be."""
    try:
        return [file for path in bundled.resolve_all(name) for file in files_of(path)]
    except SweepError:
        return []


def _stamp(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{path}:{stat.st_mtime_ns}:{stat.st_size}"
