"""Results from one kind of database into the other: the same results, tables and files."""

import dataclasses
import math
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import stores
from exchanged import PROTOCOL, filled, full_claim, replaced, write_again

from tinyablate.errors import StoreError
from tinyablate.job import Outcome
from tinyablate.store import form, schema
from tinyablate.store.exchange import Imported, export, import_folder
from tinyablate.store.parquet import mirror
from tinyablate.store.query import run_sql
from tinyablate.store.reading import ReadOnly
from tinyablate.store.records import EnvironmentRecord, NewTrial
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.tables.collect import collect
from tinyablate.tables.render import render

OutcomeOf = Callable[[NewTrial], Outcome]

BACKENDS = stores.BACKENDS

PUBLISHED = Path(__file__).parents[2] / "results" / "published" / "demo"


@pytest.fixture
def other(store: Store, tmp_path: Path, postgres_url: str) -> str:
    """A new database of the other kind than the store's."""
    return postgres_url if store.location.path else str(tmp_path / "other.db")


@pytest.fixture
def full(
    store: Store, trials: list[NewTrial], outcome_of: OutcomeOf, new_trial: Callable[..., NewTrial],
    environment: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch,
) -> Store:  # fmt: skip
    """A store with every kind of trial and note."""
    return filled(store, trials, outcome_of, new_trial, environment, monkeypatch)


def same_files(one: Path, two: Path) -> None:
    """Both folders hold an export of the same bytes."""
    for name in (*(f"{stem}.parquet" for stem in form.files()), form.MANIFEST):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_a_round_trip_through_the_other_kind_leaves_everything_equal(full: Store, other: str, tmp_path: Path) -> None:
    """Exported, imported there, exported there: the same bytes; imported where it came from, nothing is new."""
    full.release(full_claim(full), "stopped")  # a running trial is pending elsewhere
    folder = export(full, tmp_path / "out")
    with Store(other) as there:
        assert import_folder(there, folder) == Imported(5, 0, 2)
        assert import_folder(there, folder) == Imported(0, 5, 0)
        again = export(there, tmp_path / "again")
        assert there.protocols("demo/x", False)[0][1] == PROTOCOL
        assert there.extensions("demo/y", True) == full.extensions("demo/y", True)
    same_files(folder, again)
    assert import_folder(full, again) == Imported(0, 5, 0)
    anonymous = export(full, tmp_path / "anonymous", ["demo/x"], anonymous=True)
    with Store(other) as there:
        same_files(anonymous, export(there, tmp_path / "theirs", ["demo/x"], anonymous=True))


def test_after_an_import_all_goes_on(full: Store, other: str, tmp_path: Path, outcome_of: OutcomeOf,
                                     trials: list[NewTrial]) -> None:  # fmt: skip
    """What is claimed and registered next has ids of its own."""
    with Store(other) as there:
        import_folder(there, export(full, tmp_path / "out"))
        (claim,) = there.claim([trials[3].key], "job")
        assert there.finish(claim, outcome_of(trials[3]))
        made = stores.registered(there, seeds=4)
        claims = there.claim([trial.key for trial in made[2:4]], "next")
        assert len({*(each.attempt_id for each in claims), claim.attempt_id}) == 3
        export(there, tmp_path / "again")


def test_tables_are_equal_byte_for_byte(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The published demo's table from either database: CSV, LaTeX, Markdown, HTML, JSON; the Parquet mirror too."""
    monkeypatch.setenv("TINYABLATE_RESULTS", str(tmp_path / "server"))
    sweep = load(PUBLISHED / "sweeps" / "demo" / "ablation.toml")
    found = []
    for url in (tmp_path / "file" / "a.db", postgres_url):
        with Store(url) as store:
            import_folder(store, PUBLISHED)
            folder = mirror(store)
        with ReadOnly(url) as store:
            table = collect(sweep, store, "")
            texts = {name: render(table, name) for name in ("csv", "latex", "markdown", "html", "json")}
            frames = [store.view(name).to_pylist() for name in ("trials", "epochs", "cells", "outcomes")]
        files = [pq.read_table(path).to_pylist() for path in sorted(folder.glob("*.parquet"))]
        found.append((texts, *([sorted(rows, key=repr) for rows in each] for each in (frames, files))))
    assert found[0] == found[1]
    assert "78.56" in found[0][0]["csv"] or "Default" in found[0][0]["csv"]


REFUSED = [
    ("epochs", lambda table: pa.concat_tables([table, table]), "holds what no database of results can: (?i:.*unique)"),
    ("epochs", lambda table: table.drop_columns(["epoch"]), "(?i)not.null constraint"),
    ("sweeps", replaced("title", None), "(?i)not.null constraint"),
    ("environments", lambda table: table.drop_columns(["host"]), "(?i)not.null constraint"),
    ("metrics", replaced("attempt", 9), "results of an attempt that is not there"),
    ("attempts", lambda table: pa.concat_tables([table, table]), "has an attempt of number 1 twice"),
    ("attempts", replaced("epoch", 2**40), "holds what no database of results can|^$"),
]


def test_what_was_edited_is_refused_as_a_whole(full: Store, other: str, tmp_path: Path) -> None:
    """One clear message in the words of either database, and nothing of it is taken."""
    with Store(other) as there:
        for number, (stem, change, message) in enumerate(REFUSED):
            folder = export(full, tmp_path / str(number))
            write_again(folder, stem, change)
            if number == len(REFUSED) - 1 and there.location.path:
                continue  # SQLite's whole numbers are all of 64 bits
            with pytest.raises(StoreError, match=message):
                import_folder(there, folder)
            counts = run_sql(there.location, "SELECT (SELECT count(*) FROM trials), (SELECT count(*) FROM attempts)")
            assert counts.rows == ((0, 0),)


def test_texts_and_numbers_of_every_kind_arrive(full: Store, other: str, tmp_path: Path) -> None:
    """A NUL, nan and infinity, as they may stand in files that others wrote, and texts that mean something to COPY."""
    folder = export(full, tmp_path / "out")
    odd = "a\0b\\N\t\n\\. ' \" % $1 ? é 列 \U0001f600"
    write_again(folder, "attempts", replaced("message", odd))
    write_again(folder, "epochs", replaced("val_loss", math.nan))
    write_again(folder, "epochs", replaced("train_loss", math.inf))
    write_again(folder, "metrics", replaced("name", odd))
    with Store(other) as there:
        import_folder(there, folder)
        found = run_sql(there.location, "SELECT name FROM metrics WHERE name LIKE 'a%'").rows
        assert found in (((odd,),), ((odd.replace("\0", "\ufffd"),),))
        assert run_sql(there.location, "SELECT count(*) FROM epochs WHERE val_loss IS NULL").rows == ((1,),)
        ((most,),) = run_sql(there.location, "SELECT max(train_loss) FROM epochs").rows
        assert most == math.inf
        export(there, tmp_path / "again")


def test_an_import_and_a_driver_at_once(
    full: Store, other: str, tmp_path: Path, trials: list[NewTrial], outcome_of: OutcomeOf
) -> None:
    """While one imports, another claims, finishes and registers: neither fails, and each trial has one result."""
    folder, errors = export(full, tmp_path / "out"), []
    with Store(other) as there:
        mine = stores.registered(there, seeds=12)

        def imports() -> None:
            try:
                with Store(other) as store:
                    import_folder(store, folder)
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=imports)
        thread.start()
        for trial in mine:
            for claim in there.claim([trial.key], trial.key):
                there.finish(claim, dataclasses.replace(outcome_of(trial)))
        thread.join()
        assert not errors
        sql = (
            "SELECT t.key, count(a.id) FROM stored_trials t JOIN attempts a ON a.trial_id = t.id "
            "AND a.state IN ('complete', 'diverged') GROUP BY t.key"
        )
        counted = dict(run_sql(there.location, sql).rows)
        assert set(counted.values()) == {1}
        with there.backend.read() as connection:
            accepted = connection.scalar(sa.select(sa.func.count(schema.trials.c.accepted_attempt_id)))
        assert accepted == len(counted) >= len(mine) - 1
