"""Which sweeps a report is about: those named, else every one that the database has and whose file can be found."""

import time
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from tinyablate import bundled
from tinyablate.errors import SweepError, nearest
from tinyablate.store import schema
from tinyablate.store.query import Swept, swept
from tinyablate.store.store import Store
from tinyablate.sweep.load import files_of, load, load_each
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.render.words import line

NO_FILES = {"calibration"}
"""Sweeps that the program itself makes: they have no file, and nobody asks for their page."""


def named(names: Sequence[str]) -> list[Sweep]:
    """The sweeps of these names, all of one that is a folder, each once. Raises SweepError with every problem."""
    loaded = load_each([path for name in names for path in bundled.resolve_all(name)])
    return list({sweep.path.resolve(): sweep for sweep in loaded}.values())


def stored(store: Store) -> tuple[list[Sweep], list[str]]:
    """Every sweep that was run with this database, as its file stands now, sorted by name; and what is left out, why.

    A sweep that was run with --smoke or --set is another than its file's, and stands beside it.
    """
    versions: dict[tuple[str, bool, str], list[Swept]] = {}
    for each in swept(store):
        versions.setdefault((each.name, bool(each.smoke), each.overrides), []).append(each)
    loaded, missing, known = list[Sweep](), list[str](), _names()
    for (name, smoke, overrides), run in sorted(versions.items()):
        if name in NO_FILES:
            continue
        if name not in known:
            guess = nearest(name, known)
            missing.append(f"left out: {name[:200]}: no such sweep{guess}; if its file lies elsewhere, name its path")
            continue
        try:
            sweep = load(bundled.resolve(name), smoke=smoke, overrides=overrides.split("\n") if overrides else ())
        except SweepError as error:
            missing.append(f"left out: {name}: {error.problems[0]}")
            continue
        loaded.append(sweep)
        missing += _left_out(store, sweep, [each for each in run if each.text != sweep.text])
    return loaded, list(dict.fromkeys(map(line, missing)))  # sweeps' names may come from an import


def _names() -> list[str]:
    """Names of the sweeps here, as far as they can be nothing but names. Stored names, which come from imports too, are
    looked up only if they are among them: no other may choose a file, as an argument of `bundled.resolve` can."""
    return [name for name in bundled.names() if not name.endswith(".toml")]


def _left_out(store: Store, sweep: Sweep, others: Sequence[Swept]) -> list[str]:
    """A line about results of other texts than the sweep's: of an earlier one, or another file of its name."""
    found = [(each, count) for each in others if (count := _only_in(store, each, sweep))]
    if not found:
        return []
    (newest, count), more = found[0], len(found) - 1
    which = f"digest {newest.digest[:8]}, first run {time.strftime('%Y-%m-%d', time.localtime(newest.created_at))}"
    return [
        f"left out: {sweep.name}: {count} results of another version ({which})" + f" and of {more} more" * bool(more)
        + f", which are not in {sweep.path}; if that was another file, name its path"
    ]  # fmt: skip


def _only_in(store: Store, version: Swept, sweep: Sweep) -> int:
    """How many results this version has that the sweep, as it was run, has not."""
    with store.backend.read() as connection:
        values = {"version": version.digest, "sweep": sweep.digest}
        return int(connection.scalar(sa.text(_ONLY_IN), values) or 0)


_ONLY_IN = """
SELECT count(DISTINCT c.trial_id) FROM sweeps s JOIN stored_cells c ON c.sweep_id = s.id
JOIN stored_trials t ON t.id = c.trial_id AND t.accepted_attempt_id IS NOT NULL
WHERE s.digest = :version AND c.trial_id NOT IN (
    SELECT x.trial_id FROM sweeps y JOIN stored_cells x ON x.sweep_id = y.id WHERE y.digest = :sweep
)
"""


def stamp(names: Sequence[str], store: Store) -> str:
    """Text that changes when a file of these sweeps does, or of the database's where none is named."""
    if not names:
        with store.backend.read() as connection:
            ever = set(connection.scalars(sa.select(schema.sweeps.c.name).distinct()))
        found = sorted(ever.intersection(_names()))
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
