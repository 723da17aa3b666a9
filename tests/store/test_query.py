"""Reading: outcomes for tables, SQL of the user's that can only read, the Parquet mirror."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tinyablate.errors import StoreError, UsageError
from tinyablate.job import Outcome
from tinyablate.store.parquet import mirror
from tinyablate.store.query import outcomes_of, run_sql
from tinyablate.store.records import NewTrial
from tinyablate.store.store import Store

OutcomeOf = Callable[[NewTrial], Outcome]


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
        filled.path, "WITH x AS (SELECT state, count(*) AS n FROM results GROUP BY 1) SELECT * FROM x ORDER BY 1"
    )
    assert answer.columns == ("state", "n")
    assert answer.rows == (("complete", 1), ("failed", 1), ("pending", 1), ("running", 1))
    assert run_sql(filled.path, "PRAGMA table_info(trials)").rows[1][1] == "key"


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM trials",
        "UPDATE trials SET state = 'complete'",
        "INSERT INTO sweeps (name) VALUES ('x')",
        "DROP TABLE trials",
        "CREATE TABLE x (y)",
        "CREATE TEMP TABLE x (y)",
        "ATTACH DATABASE '{folder}/other.db' AS o",
        "VACUUM INTO '{folder}/copy.db'",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA writable_schema=1",
        "SELECT load_extension('{folder}/x.so')",
        "SELECT 1; DELETE FROM trials",
        "BEGIN",
        "COMMIT",
        "REINDEX",
        "",
    ],
)
def test_nothing_can_be_written(filled: Store, tmp_path: Path, sql: str) -> None:
    """Whatever is not one SELECT is refused, and nothing changed in the database or beside it."""
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UsageError, match="query"):
        run_sql(filled.path, sql.format(folder=tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert run_sql(filled.path, "SELECT count(*) FROM trials").rows == ((4,),)


def test_mistakes_are_explained(filled: Store, tmp_path: Path) -> None:
    """A wrong table or column names the nearest; a missing database says what to do."""
    with pytest.raises(UsageError, match=r"no such table: trails; did you mean 'trials'.*tables: "):
        run_sql(filled.path, "SELECT * FROM trails")
    with pytest.raises(UsageError, match="did you mean 'best_val_top"):
        run_sql(filled.path, "SELECT best_val_top FROM results")
    with pytest.raises(UsageError, match="did you mean 'optimizer_lr'"):
        run_sql(filled.path, "SELECT lr FROM results")
    with pytest.raises(UsageError, match="syntax error"):
        run_sql(filled.path, "SELEC 1")
    with pytest.raises(StoreError, match="no such database"):
        run_sql(tmp_path / "none.db", "SELECT 1")


def test_parquet_mirror_equals_the_database(filled: Store, trials: list[NewTrial]) -> None:
    """The mirror has the same rows as the views, typed, and nothing half-written beside it."""
    folder = mirror(filled)
    assert sorted(path.name for path in folder.iterdir()) == [
        "cells.parquet", "epochs.parquet", "outcomes.parquet", "trials.parquet",
    ]  # fmt: skip
    table = pq.read_table(folder / "trials.parquet")
    assert table.num_rows == 4
    expected = run_sql(filled.path, "SELECT trial, best_val_top1, optimizer_lr FROM results")
    got = [(row["trial"], row["best_val_top1"], row["optimizer_lr"]) for row in table.to_pylist()]
    assert got == list(expected.rows)
    assert str(table.schema.field("best_val_top1").type) == "double"
    assert pq.read_table(folder / "epochs.parquet").num_rows == 3
    assert pq.read_table(folder / "outcomes.parquet").to_pylist()[0]["accepted"] == 1


def test_an_empty_database_mirrors_empty_tables(store: Store) -> None:
    """With nothing stored the files exist with their columns."""
    folder = mirror(store)
    assert pq.read_table(folder / "epochs.parquet").num_rows == 0
    assert str(pq.read_table(folder / "epochs.parquet").schema.field("val_top1").type) == "double"
