"""Databases of earlier versions: nothing is lost on the way, and what is new is filled in."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from tinyablate.errors import UsageError
from tinyablate.store import schema
from tinyablate.store.query import run_sql
from tinyablate.store.records import ExtensionRecord, ProtocolRecord
from tinyablate.store.store import Store

FIXTURES = Path(__file__).parent / "fixtures"
RENAMED = {table.name.removeprefix("stored_"): table.name for table in schema.metadata.tables.values()}


def made(version: int, path: Path) -> dict[str, tuple[list[str], list[tuple[object, ...]]]]:
    """The fixture of that version as a database at `path`; table -> columns and rows as they were."""
    with sqlite3.connect(path) as connection:
        connection.executescript((FIXTURES / f"schema-{version}.sql").read_text())
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for name in names:
            cursor = connection.execute(f"SELECT * FROM {name}")
            found[name] = [column[0] for column in cursor.description], cursor.fetchall()
    return found


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_every_row_is_kept(version: int, tmp_path: Path) -> None:
    """Each table has its rows with the values that they had, under its new name, and the file is whole."""
    before = made(version, tmp_path / "old.db")
    with Store(tmp_path / "old.db") as store, store.engine().connect() as connection:
        for name, (columns, rows) in before.items():
            now = connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM {RENAMED.get(name, name)}").fetchall()
            kept = [tuple(row) for row in now]
            kept = [row for row in kept if row[0] <= version] if name == "schema_version" else kept
            assert sorted(kept, key=repr) == sorted(rows, key=repr), name
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall() == []
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        broken = "INSERT INTO stored_cells VALUES (1, 99, 0, 123456, 'x', '')"
        with pytest.raises(sa.exc.IntegrityError, match="FOREIGN KEY"):
            connection.exec_driver_sql(broken)


def chosen_elsewhere(correct: np.ndarray) -> float:
    """Of (epochs, images): each half of the images scored at the epoch that is best on the other half, in %."""
    even, odd = correct[:, ::2].sum(axis=1), correct[:, 1::2].sum(axis=1)
    return 100 * float(odd[even.argmax()] + even[odd.argmax()]) / correct.shape[1]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_cross_fitted_scores_are_filled_in(version: int, tmp_path: Path) -> None:
    """Every result with bits has the score that the definition gives for them."""
    path = tmp_path / "old.db"
    made(version, path)
    with sqlite3.connect(path) as connection:  # bits that make a difference, 1,001 images of them
        random, truth = np.random.default_rng(version), {}
        for attempt, observer, epochs in connection.execute(
            "SELECT attempt_id, observer, epochs FROM outcomes"
        ).fetchall():
            bits = random.random((epochs, 1001)) < 0.7
            truth[attempt] = chosen_elsewhere(bits) if epochs else None
            for epoch, right in enumerate(bits, start=1):
                at = (attempt, observer, epoch)
                where = "attempt_id = ? AND observer = ? AND epoch = ?"
                connection.execute(
                    f"UPDATE correctness SET bits = ? WHERE {where}", (np.packbits(right).tobytes(), *at)
                )
                connection.execute(f"UPDATE epochs SET val_top1 = ? WHERE {where}", (100 * float(right.mean()), *at))
    with Store(path) as store, store.engine().connect() as connection:
        found = connection.exec_driver_sql("SELECT attempt_id, cross_fitted_val_top1 FROM stored_outcomes").fetchall()
    assert len(truth) >= 9
    scores = {attempt: score for attempt, score in found if score is not None}
    truth = {attempt: score for attempt, score in truth.items() if score is not None}
    assert scores == pytest.approx(truth, rel=1e-12)  # one division, of the same whole numbers


def test_jobs_are_counted(tmp_path: Path) -> None:
    """Attempts know how many trials their job computed, from which their share of its time follows."""
    before = made(3, tmp_path / "old.db")
    columns, attempts = before["attempts"]
    jobs = [row[columns.index("job")] for row in attempts]
    with Store(tmp_path / "old.db") as store:
        rows = run_sql(store.location, "SELECT job, job_trials FROM attempts").rows
        assert rows == tuple((job, jobs.count(job)) for job in jobs)
        ((hours, attempt),) = run_sql(
            store.location, "SELECT device_hours, trial FROM trials WHERE seed = 0 AND ema_decay = 0.9"
        ).rows
        wall = next(row for row in attempts if row[0] == 2)
        started, ended = (wall[columns.index(name)] for name in ("started_at", "ended_at"))
        assert hours == pytest.approx((ended - started) / 2 / 3600)  # one of the two observers of a job
        assert attempt.startswith("cca479cb")


def test_what_version_4_holds_is_read(tmp_path: Path) -> None:
    """Its protocol and extension."""
    made(4, tmp_path / "old.db")
    with Store(tmp_path / "old.db") as store:
        ((_, protocol),) = store.protocols("tiny", False)
        assert protocol == ProtocolRecord("val_top1", "last", 0.2, "table", "max-t", "0, 1, 2, 4", "5f1c0a")
        assert store.extensions("tiny", False) == [ExtensionRecord("No decay", "", 4, 6, 4, 0.31, 0.25)]


def test_what_version_5_holds_is_read(tmp_path: Path) -> None:
    """Its driver, where an attempt went on, and from which attempt on retries count."""
    before = made(5, tmp_path / "old.db")
    with Store(tmp_path / "old.db") as store:
        (driver,) = store.drivers()
        assert (driver.owner, driver.name, driver.log, driver.stop_asked) == ("host:1:1", "tiny", "ablations.log", True)
        assert not driver.live
        assert driver.ended_at is not None
        columns, trials = before["stored_trials"]
        ((key, counted),) = [(row[columns.index("key")], row[-1]) for row in trials if row[-1]]
        assert (columns[-1], counted) == ("counted_from", 2)
        (claim,) = store.claim([str(key)], "job")
        assert claim.causes == ("worker lost",)
        assert len(claim.earlier) == 3
        assert run_sql(store.location, "SELECT from_step FROM attempts WHERE from_step > 0").rows == ((7,),)


@pytest.mark.parametrize(("old", "new"), [("results", "trials"), ("curves", "epochs")])
def test_views_that_were_renamed_are_named(old: str, new: str, tmp_path: Path) -> None:
    """Whoever asks for a view by its former name is told the new one."""
    made(3, tmp_path / "old.db")
    Store(tmp_path / "old.db").close()
    with pytest.raises(UsageError, match=f"no such table: {old}; it is now called {new}"):
        run_sql(tmp_path / "old.db", f"SELECT * FROM {old}")


def test_a_migration_that_fails_leaves_the_old_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is one transaction: what breaks in the middle has done nothing."""
    from tinyablate.store import cross_fit

    made(3, tmp_path / "old.db")

    def broken(*_: object) -> float:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(cross_fit, "cross_fitted", broken)
    with pytest.raises(RuntimeError, match="in the middle"):
        Store(tmp_path / "old.db")
    with sqlite3.connect(tmp_path / "old.db") as connection:
        assert connection.execute("SELECT max(version) FROM schema_version").fetchone() == (3,)
        assert connection.execute("SELECT count(*) FROM curves").fetchone() == (15,)
    monkeypatch.undo()
    with Store(tmp_path / "old.db") as store:
        assert run_sql(store.location, "SELECT count(*) FROM epochs").rows == ((15,),)
