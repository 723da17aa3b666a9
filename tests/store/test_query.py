"""Reading: outcomes for tables, SQL of the user's that can only read, the Parquet mirror."""

import dataclasses
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import stores

from tinyablate.job import Outcome
from tinyablate.store import schema
from tinyablate.store import store as store_module
from tinyablate.store.columns import views
from tinyablate.store.parquet import mirror
from tinyablate.store.query import bits_of, device_hours, noted, outcomes_of, run_sql, swept
from tinyablate.store.records import CellOf, NewTrial, SweepRecord
from tinyablate.store.store import Store

OutcomeOf = Callable[[NewTrial], Outcome]

BACKENDS = stores.BACKENDS


@pytest.fixture
def filled(store: Store, trials: list[NewTrial], outcome_of: OutcomeOf) -> Store:
    """A store with one complete, one failed, one running and one pending trial."""
    done, failed, _ = store.claim([trial.key for trial in trials[:3]], "job")
    store.finish(done, outcome_of(trials[0]))
    store.fail(failed, "exception", "ValueError", "Traceback")
    return store


def test_outcomes_come_with_state_and_values(filled: Store, trials: list[NewTrial], outcome_of: OutcomeOf) -> None:
    """Each stored trial has its state; only the complete one has numbers."""
    found = outcomes_of(filled, [trial.key for trial in trials] + ["unknown"], ["last_val_top1", "parameters"])
    assert [found[trial.key].state for trial in trials] == ["complete", "failed", "running", "pending"]
    assert found[trials[0].key].values == (outcome_of(trials[0]).epochs[-1].val_top1, 5)
    assert found[trials[2].key].live
    assert "unknown" not in found


def test_select_answers(filled: Store) -> None:
    """A SELECT gives columns and rows, also through views, expressions and common table expressions."""
    answer = run_sql(
        filled.location, "WITH x AS (SELECT state, count(*) AS n FROM trials GROUP BY 1) SELECT * FROM x ORDER BY 1"
    )
    assert answer.columns == ("state", "n")
    assert answer.rows == (("complete", 1), ("failed", 1), ("pending", 1), ("running", 1))


def test_parquet_mirror_equals_the_database(filled: Store, trials: list[NewTrial]) -> None:
    """The mirror has the same rows as the views, typed, and nothing half-written beside it."""
    folder = mirror(filled)
    assert sorted(path.name for path in folder.iterdir()) == [
        "cells.parquet", "epochs.parquet", "outcomes.parquet", "trials.parquet",
    ]  # fmt: skip
    table = pq.read_table(folder / "trials.parquet")
    assert table.num_rows == 4
    expected = run_sql(filled.location, "SELECT trial, best_val_top1, optimizer_lr FROM trials")
    got = {(row["trial"], row["best_val_top1"], row["optimizer_lr"]) for row in table.to_pylist()}
    assert got == set(expected.rows)
    assert str(table.schema.field("best_val_top1").type) == "double"
    assert pq.read_table(folder / "epochs.parquet").num_rows == 3
    assert pq.read_table(folder / "outcomes.parquet").to_pylist()[0]["accepted"] == 1


def test_an_empty_database_mirrors_empty_tables(store: Store) -> None:
    """With nothing stored the files exist with their columns."""
    folder = mirror(store)
    assert pq.read_table(folder / "epochs.parquet").num_rows == 0
    assert str(pq.read_table(folder / "epochs.parquet").schema.field("val_top1").type) == "double"


def test_a_mirror_of_what_has_not_changed_is_left_alone(filled: Store, trials: list[NewTrial]) -> None:
    """Nothing new, no file written; a trial that ends, or a sweep over known trials, shows in it."""
    folder = mirror(filled)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    mirror(filled)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    (claim,) = filled.claim([trials[3].key], "job")
    filled.release(claim, "stopped")
    assert pq.read_table(mirror(filled) / "trials.parquet")["attempts"].to_pylist() == [1, 1, 1, 1]
    cells = [CellOf(0, 0, "again", "", trials[0].key)]
    filled.register(SweepRecord("other", "demo/y", "T", "", False, ""), [], cells)
    found = pq.read_table(mirror(filled) / "trials.parquet")["sweeps"].to_pylist()
    assert sorted(found) == ["demo/x", "demo/x", "demo/x", "demo/x, demo/y"]
    (folder / "cells.parquet").write_bytes(b"damaged")
    assert pq.read_table(mirror(filled) / "cells.parquet").num_rows == 5


def test_the_mirror_has_the_types_that_are_told(filled: Store) -> None:
    """Every column is of the type that `columns` gives it, booleans as such, whether it holds anything or not."""
    types = {"integer": "int64", "real": "double", "text": "string", "boolean": "bool"}
    folder = mirror(filled)
    for view, described in views().items():
        found = {field.name: str(field.type) for field in pq.read_schema(folder / f"{view}.parquet")}
        assert found == {column.name: types[column.type] for column in described}, view


def test_device_hours_are_the_share_of_a_job(store: Store, trials: list[NewTrial], outcome_of: OutcomeOf) -> None:
    """Failed attempts count, and of a job of two trials each has half its time."""
    one, two = store.claim([trials[0].key, trials[1].key], "shared")
    store.again(two, "exception", "no")
    store.finish(one, outcome_of(trials[0]))
    (again,) = store.claim([trials[1].key], "alone")
    store.finish(again, outcome_of(trials[1]))
    with store.backend.transaction() as connection:
        for attempt, seconds in ((one, 3600.0), (two, 1800.0), (again, 7200.0)):
            update = sa.update(schema.attempts).where(schema.attempts.c.id == attempt.attempt_id)
            connection.execute(update.values(started_at=1000, ended_at=1000 + seconds))
    keys = [trial.key for trial in trials]
    assert device_hours(store, [*keys, "unknown"]) == {keys[0]: 0.5, keys[1]: 0.25 + 2.0}
    found = run_sql(store.location, "SELECT trial, device_hours FROM trials WHERE device_hours IS NOT NULL").rows
    assert dict(found) == {keys[0]: 0.5, keys[1]: 2.25}


def test_bits_are_those_of_the_epoch_asked_for(store: Store, trials: list[NewTrial], outcome_of: OutcomeOf) -> None:
    """Of the best and of the last epoch; what has none is left out."""
    (claim,) = store.claim([trials[0].key], "job")
    whole = outcome_of(trials[0])
    tops = (80.0, 90.0, 70.0)
    epochs = [
        dataclasses.replace(epoch, correct=bytes([number]), val_top1=top)
        for number, (epoch, top) in enumerate(zip(whole.epochs, tops, strict=True), start=1)
    ]
    store.finish(claim, dataclasses.replace(whole, epochs=tuple(epochs)))
    keys = [trial.key for trial in trials]
    assert bits_of(store, keys, "best") == {keys[0]: b"\x02"}
    assert bits_of(store, keys, "last") == {keys[0]: b"\x03"}
    assert noted(store, keys, ["extra", "parameters"]) == {keys[0]: {"extra": 1.5, "parameters": 5.0}}


def test_sweeps_that_were_run_come_newest_first(store: Store) -> None:
    """Every version with its text."""
    for number in range(3):
        store.register(SweepRecord(f"d{number}", "demo/x", "T", f"text {number}", number == 1, "a=1"), [], [])
    found = swept(store)
    assert [(each.digest, each.smoke, each.text) for each in found] == [
        ("d2", False, "text 2"), ("d1", True, "text 1"), ("d0", False, "text 0"),
    ]  # fmt: skip


def test_the_newest_version_of_a_sweep_is_marked(store: Store, trials: list[NewTrial]) -> None:
    """Of each name, smoke and overrides the cells of the version that was first run last are `latest`."""
    asked = [("1", "a", False, ""), ("2", "a", False, ""), ("3", "a", True, ""), ("4", "a", False, "x=1")]
    for digest, name, smoke, overrides in [*asked, ("5", "b", False, "")]:
        record = SweepRecord(digest, name, name, "text", smoke, overrides)
        store.register(record, trials[:1], [CellOf(0, 0, "Default", "", trials[0].key)])
    rows = run_sql(store.location, "SELECT digest, latest FROM cells WHERE sweep IN ('a', 'b') ORDER BY 1").rows
    assert rows == (("1", 0), ("2", 1), ("3", 1), ("4", 1), ("5", 1))


def test_a_superseded_result_is_in_no_view_but_outcomes(
    store: Store, trials: list[NewTrial], outcome_of: OutcomeOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its epochs do not stand among those of the attempt that counts."""
    monkeypatch.setattr(store_module, "LEASE_SECONDS", -1.0)
    (late,) = store.claim([trials[0].key], "late")
    monkeypatch.setattr(store_module, "LEASE_SECONDS", 60.0)
    (claim,) = store.claim([trials[0].key], "job")
    store.finish(late, outcome_of(trials[1]))
    store.finish(claim, outcome_of(trials[0]))
    assert run_sql(store.location, "SELECT epoch, val_top1 FROM epochs").rows == tuple(
        (epoch.epoch, epoch.val_top1) for epoch in outcome_of(trials[0]).epochs
    )
    assert run_sql(store.location, "SELECT attempt, accepted FROM outcomes ORDER BY 1").rows == ((1, 0), (2, 1))
