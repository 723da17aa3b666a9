"""A driver killed at every statement, fsync and rename of its work: nothing is half, nothing that it told is lost."""

import itertools
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import stores
from reliability.life import RESULT, SOAK, Ended, fork, live, outcome, trials_of, work
from reliability.promise import broken, damaged_files

from tinyablate.store import schema
from tinyablate.store.store import Store
from tinyablate.train import checkpoint

BACKENDS = stores.BACKENDS


def points_of(database: str, folder: Path, sweep: int) -> list[str]:
    """The points that an undisturbed life passes, in order."""
    ended = fork(partial(live, database, sweep), str(folder / "points"))
    assert (ended.code, ended.told[-1]) == (0, ["left"])
    return (folder / "points").read_text().splitlines()


def chosen(points: list[str], inside: bool) -> list[int]:
    """Which points a life is killed at, from 1: all, or in the suite those that no earlier one is like.

    Alike are files of one name, the ends of transactions of the same statements, and, with `inside`, single statements
    of one text; without it those are left out.
    """
    first: dict[object, int] = {}
    transaction: tuple[str, ...] = ()
    for number, name in enumerate(points, start=1):
        what, _, subject = name.partition(":")
        transaction = () if subject.startswith("BEGIN") else (*transaction, subject)
        if subject == "COMMIT":
            first.setdefault((what, transaction), number)
        elif not what.startswith("statement") or (inside and what == "statement-before"):  # after: before the next one
            first.setdefault((what, subject if what == "statement-before" else Path(subject).name), number)
    return list(range(1, len(points) + 1)) if SOAK else sorted(first.values())


def test_killed_at_every_point(database: str, tmp_path: Path) -> None:
    """After each death the database keeps its promise, and a second life brings one accepted result per trial."""
    live(database, 0, lambda *_: None)  # what it imports, its forks need not
    points = points_of(database, tmp_path, 1)
    kinds = {name.partition(":")[0] for name in points}
    assert kinds == {f"{what}-{when}" for what in ("statement", "fsync", "rename") for when in ("before", "after")}
    store = Store(database)
    deaths = chosen(points, inside="://" not in database)
    assert len(deaths) > 30
    for sweep, point in enumerate(deaths, start=2):
        store.close()  # a fork must not find a connection
        ended = fork(partial(live, database, sweep), str(point))
        assert ended.code == -signal.SIGKILL
        check(store, sweep, ended, points[point - 1])
        work(store, sweep)
        check_finished(store, sweep, points[point - 1])
    store.close()


def check(store: Store, sweep: int, ended: Ended, point: str) -> None:
    """What holds after a death: nothing is half, and all that was told is there."""
    assert broken(store.engine()) == [], point
    assert damaged_files(store.engine(), store.home) == [], point
    with store.engine().connect() as connection:
        attempts = sa.select(schema.attempts.c.id, schema.attempts.c.state)
        states = {row.id: row.state for row in connection.execute(attempts)}
        keys = set(connection.scalars(sa.select(schema.trials.c.key)))
        accepted = _accepted(connection, sweep)
    for what, *told in ended.told:
        match what, *told:
            case "registered", registered:
                assert set(registered) <= keys, point
            case "claimed", claimed:
                assert set(claimed) <= states.keys(), point
            case "saved", path:
                assert checkpoint.load(Path(path)) is not None, point
            case "ended", attempt, state, True:
                assert states[attempt] == state, point
            case "finished", key, attempt, True:
                assert accepted[key][:2] == (attempt, outcome(_seed(sweep, key)).state), point


def check_finished(store: Store, sweep: int, point: str) -> None:
    """What holds at the end: each trial has one accepted result, the one that it always has, with its files."""
    assert broken(store.engine()) == [], point
    assert damaged_files(store.engine(), store.home) == [], point
    with store.engine().connect() as connection:
        accepted = _accepted(connection, sweep)
        assert len(accepted) == 5, point
        for key, (attempt, state, files) in accepted.items():
            wanted = outcome(_seed(sweep, key))
            assert (state, files) == (wanted.state, _seed(sweep, key) % 10 == RESULT), point
            assert _epochs(connection, attempt) == [(e.epoch, e.val_top1, e.correct) for e in wanted.epochs], point


def _seed(sweep: int, key: str) -> int:
    return next(trial.seed for trial in trials_of(sweep) if trial.key == key)


def _accepted(connection: sa.Connection, sweep: int) -> Mapping[str, tuple[int, str, int]]:
    """Trial of the sweep that has a result -> accepted attempt, state, how many files it names."""
    t, f = schema.trials.c, schema.artefacts.c
    files = sa.select(sa.func.count()).where(f.attempt_id == t.accepted_attempt_id).scalar_subquery()
    ours = t.key.in_([trial.key for trial in trials_of(sweep)]) & t.state.in_(("complete", "diverged"))
    rows = connection.execute(sa.select(t.key, t.accepted_attempt_id, t.state, files).where(ours))
    return {key: (attempt, state, count) for key, attempt, state, count in rows}


def _epochs(connection: sa.Connection, attempt: int) -> list[tuple[Any, ...]]:
    """Epoch, top-1 and bits, as stored."""
    e, b = schema.epochs.c, schema.correctness.c
    same = (b.attempt_id == e.attempt_id) & (b.observer == e.observer) & (b.epoch == e.epoch)
    rows = sa.select(e.epoch, e.val_top1, b.bits).join_from(schema.epochs, schema.correctness, same)
    return [tuple(row) for row in connection.execute(rows.where(e.attempt_id == attempt).order_by(e.epoch))]


def test_a_file_is_durable_before_it_is_named(database: str, tmp_path: Path) -> None:
    """A file is synced, renamed, its folder synced, and only then named by a transaction: a power cut loses none."""
    points = points_of(database, tmp_path, 0)
    renamed = [at for at, name in enumerate(points) if name.startswith("rename-after:")]
    assert len(renamed) == 2  # a checkpoint, the weights
    for at in renamed:
        target = Path(points[at].partition(":")[2])
        assert points[at - 1] == f"rename-before:{target}"
        assert points[at - 2].startswith("fsync-after:"), target
        assert Path(points[at - 2].partition(":")[2]).parent == target.parent
        assert points[at + 1 : at + 3] == [f"fsync-before:{target.parent}", f"fsync-after:{target.parent}"]
    weights = next(at for at in renamed if "weights" in points[at])
    named = next(at for at, name in enumerate(points) if "INSERT INTO artefacts" in name)
    assert weights + 2 < named < next(at for at in itertools.count(named) if points[at].endswith("COMMIT"))
