"""Finds what a person names: a trial by the start of its key, a row of a sweep by its label. It compares nothing."""

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tinyablate.activity import options_of
from tinyablate.asked import given
from tinyablate.errors import UsageError, listed, nearest
from tinyablate.store import schema
from tinyablate.store.store import Store
from tinyablate.tables.words import place as cell_name
from tinyablate.terminal import one_line

KEY_DIGITS = 12
"""So many digits of a key are shown: two of a million trials share them with a chance of 1 in 500."""


@dataclass(frozen=True)
class FoundTrial:
    """A stored trial."""

    id: int
    key: str
    kind: str
    seed: int
    state: str
    core_version: int | None
    fingerprint: str
    measured_on: str | None
    canonical: str
    """Its recipe, see `identity.canonical`."""
    accepted: int | None
    """The attempt whose result counts."""


@dataclass(frozen=True)
class Version:
    """A sweep as it once was run."""

    id: int
    name: str
    smoke: bool
    overrides: str
    digest: str
    given: tuple[str, ...] = ()
    """`--seeds …`, `--null-rows …`, as words."""

    @property
    def said(self) -> str:
        """Its name with what it was run with."""
        return one_line(" ".join([self.name, *options_of(self)]))


@dataclass(frozen=True)
class FoundRow:
    """A row of a sweep, in one of its columns, with its trials by seed: trainings where it has any."""

    version: Version
    label: str
    trials: Mapping[int, FoundTrial]


@dataclass(frozen=True)
class Place:
    """A cell that a trial fills."""

    version: Version
    row_index: int
    row: str
    column: str

    @property
    def label(self) -> str:
        """The row's label, with the column's where there is one."""
        return cell_name(self.row, self.column)


# ---- trials ----------------------------------------------------------------------------------------------------------


def trial(store: Store, prefix: str) -> FoundTrial:
    """The one trial whose key begins with `prefix`. Raises UsageError where there is none, or more than one."""
    t = schema.trials.c
    found = _trials(store, t.key.startswith(prefix.strip().lower(), autoescape=True), most=6)
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(each.key[:16] for each in found)
        raise UsageError(f"trial {prefix}: {len(found)} or more keys begin so: {keys}; write more of it")
    raise UsageError(f"trial {prefix}: no trial's key begins so{_as_label(store, prefix)}")


def _as_label(store: Store, text: str) -> str:
    """What else `text` could be: a row's label; else where keys are to be found."""
    with store.backend.read() as connection:
        rows = connection.execute(sa.text(_LABELS)).fetchall()
    labels = {one_line(row.row_label): one_line(row.name) for row in rows}
    close = [text] if text in labels else difflib.get_close_matches(text, labels, n=1, cutoff=0.7)
    if close:
        name = labels[close[0]]
        return f"; a row '{close[0]}' stands in {name}: {shlex.join(['--sweep', name])}"
    return '; keys: tinyablate query "SELECT trial, seed, sweeps FROM trials"'


_LABELS = """
SELECT c.row_label, s.name FROM stored_cells c JOIN sweeps s ON s.id = c.sweep_id
GROUP BY 1, 2 ORDER BY max(s.created_at) LIMIT 20000
"""


def _trials(store: Store, condition: Any, most: int | None = None) -> list[FoundTrial]:
    t, v = schema.trials.c, schema.variants.c
    wanted = (
        sa.select(
            t.id, t.key, t.kind, t.seed, t.state, t.core_version, t.fingerprint, t.measured_on, v.canonical,
            t.accepted_attempt_id.label("accepted"),
        )
        .select_from(schema.trials.join(schema.variants, v.id == t.variant_id))
        .where(condition).order_by(t.key).limit(most)
    )  # fmt: skip
    with store.backend.read() as connection:
        return [FoundTrial(**row._asdict()) for row in connection.execute(wanted)]


def places(store: Store, found: FoundTrial) -> tuple[Place, ...]:
    """The cells that the trial fills, each once: in the newest version of its sweep that has it."""
    with store.backend.read() as connection:
        rows = connection.execute(sa.text(_PLACES), {"trial": found.id}).fetchall()
        ways = given(connection, [row.digest for row in rows])
    newest = dict[object, Place]()
    for row in rows:
        way = (row.name, row.smoke, row.overrides, ways[row.digest], row.row_label, row.column_label)
        newest.pop(way, None)  # what was made last stands last
        newest[way] = Place(_version(row, ways[row.digest]), row.row_index, row.row_label, row.column_label)
    return tuple(newest.values())


_PLACES = """
SELECT s.id, s.name, s.smoke, s.overrides, s.digest, c.row_index, c.row_label, c.column_label
FROM stored_cells c JOIN sweeps s ON s.id = c.sweep_id WHERE c.trial_id = :trial
ORDER BY s.created_at, s.id, c.row_index, c.column_index
"""


def _version(row: Any, words: tuple[str, ...] = ()) -> Version:
    return Version(row.id, row.name, bool(row.smoke), row.overrides, row.digest, words)


def first_of(store: Store, place: Place, seed: int) -> tuple[str, FoundTrial] | None:
    """Label and trial of the first row of the place's sweep in its column, of this seed if the row has it."""
    with store.backend.read() as connection:
        values = {"sweep": place.version.id, "column": place.column, "seed": seed}
        row = connection.execute(sa.text(_FIRST), values).first()
    if row is None:
        return None
    (found,) = _trials(store, schema.trials.c.key == row.key)
    return cell_name(row.row_label, place.column), found


_FIRST = """
SELECT t.key, c.row_label FROM stored_cells c JOIN stored_trials t ON t.id = c.trial_id
WHERE c.sweep_id = :sweep AND c.column_label = :column ORDER BY c.row_index, t.seed != :seed, t.seed LIMIT 1
"""


# ---- rows ------------------------------------------------------------------------------------------------------------


def version(store: Store, name: str, smoke: bool) -> Version:
    """The newest version of the sweep `name` that was run, without overrides if there is one. Raises UsageError."""
    with store.backend.read() as connection:
        rows = connection.execute(sa.text(_VERSIONS)).fetchall()
    found = [_version(row) for row in rows if row.name == name and bool(row.smoke) == smoke]
    if found:
        return next((each for each in found if not each.overrides), found[0])
    if any(row.name == name for row in rows):
        how = "only without --smoke: leave it out" if smoke else "only with --smoke: add it"
        raise UsageError(f"--sweep {name}: was run {how}")
    names = dict.fromkeys(one_line(row.name) for row in rows)
    known = f"; names: {listed(names)}" if names else "; no sweep was run with this database"
    raise UsageError(f"--sweep {name}: was never run with this database{nearest(name, names)}{known}")


_VERSIONS = "SELECT id, name, smoke, overrides, digest FROM sweeps ORDER BY created_at DESC, id DESC"


def rows(store: Store, name: str, labels: Sequence[str], smoke: bool = False) -> list[FoundRow]:
    """The rows of the sweep `name` with these labels, as its newest version has them.

    Of a sweep with several columns a label is `row / column`. Raises UsageError, with the nearest label.
    """
    of = version(store, name, smoke)
    with store.backend.read() as connection:
        cells = connection.execute(sa.text(_CELLS), {"sweep": of.id}).fetchall()
    return [_row(store, of, label, cells) for label in labels]


_CELLS = """
SELECT DISTINCT row_index, column_index, row_label, column_label FROM stored_cells
WHERE sweep_id = :sweep ORDER BY row_index, column_index
"""


def _row(store: Store, of: Version, label: str, cells: Sequence[Any]) -> FoundRow:
    by_label = {cell_name(cell.row_label, cell.column_label): cell for cell in cells}
    in_row = [cell for cell in cells if cell.row_label == label]
    if label not in by_label and len(in_row) > 1:
        several = listed(one_line(cell_name(cell.row_label, cell.column_label)) for cell in in_row)
        raise UsageError(f"row '{label}' of {of.said} stands in {len(in_row)} columns; name one: {several}")
    cell = by_label.get(label) or next(iter(in_row), None)
    if cell is None:
        told = list(map(one_line, by_label))
        raise UsageError(f"row '{label}': {of.said} has none{nearest(label, told)}; its rows: {listed(told)}")
    return FoundRow(of, cell_name(cell.row_label, cell.column_label), _by_seed(store, of, cell))


def _by_seed(store: Store, of: Version, cell: Any) -> Mapping[int, FoundTrial]:
    c = schema.cells.c
    here = (c.sweep_id == of.id) & (c.row_index == cell.row_index) & (c.column_index == cell.column_index)
    found = _trials(store, schema.trials.c.id.in_(sa.select(c.trial_id).where(here)))
    return {each.seed: each for each in _of_one_kind(found)}


def _of_one_kind(found: Iterable[FoundTrial]) -> list[FoundTrial]:
    """The trainings, or where a cell has none its measurements; by seed."""
    every = sorted(found, key=lambda each: each.seed)
    return [each for each in every if each.kind == "train"] or every
