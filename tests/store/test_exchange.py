"""Results out of one database and into another: whole, once, and only as they were written."""

import dataclasses
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from exchanged import PROTOCOL, filled, full_claim, replaced, write_again

from tinyablate.cli import app
from tinyablate.errors import StoreError, UsageError
from tinyablate.identity import CORE_VERSION
from tinyablate.job import Outcome
from tinyablate.store import exchange, form, parquet
from tinyablate.store import store as store_module
from tinyablate.store.exchange import Imported, export, import_folder
from tinyablate.store.query import run_sql
from tinyablate.store.records import (
    EnvironmentRecord,
    NewTrial,
    SweepRecord,
)
from tinyablate.store.store import Store

OutcomeOf = Callable[[NewTrial], Outcome]
EVERYTHING = [
    "trials", "cells", "epochs", "outcomes", "metrics", "correctness", "environments", "sweeps", "protocols",
    "extensions",
]  # fmt: skip


@pytest.fixture
def full(
    store: Store, trials: list[NewTrial], outcome_of: OutcomeOf, new_trial: Callable[..., NewTrial],
    environment: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch,
) -> Store:  # fmt: skip
    """A store with every kind of trial and note."""
    return filled(store, trials, outcome_of, new_trial, environment, monkeypatch)


@pytest.fixture
def folder(full: Store, tmp_path: Path) -> Path:
    """Its export."""
    return export(full, tmp_path / "out")


def contents(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row of everything, in an order that ids have no part in."""
    return {name: sorted(run_sql(store.location, f"SELECT * FROM {name}").rows, key=repr) for name in EVERYTHING}


def dump(store: Store) -> list[str]:
    """The database as SQL."""
    with store.engine().connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        return list(driver.iterdump())


def test_a_round_trip_leaves_everything_equal(full: Store, folder: Path, tmp_path: Path) -> None:
    """Imported into an empty database, exported again: the same rows and the same bytes, but for what runs there."""
    full.release(full_claim(full), "stopped")  # a running trial is pending elsewhere
    export(full, folder)
    with Store(tmp_path / "other.db") as other:
        assert import_folder(other, folder) == Imported(5, 0, 2)
        again = export(other, tmp_path / "again")
        assert {path.name for path in again.glob("*.parquet")} == {f"{stem}.parquet" for stem in form.files()}
        for stem in form.files():
            assert pq.read_table(again / f"{stem}.parquet").equals(pq.read_table(folder / f"{stem}.parquet")), stem
            assert (again / f"{stem}.parquet").read_bytes() == (folder / f"{stem}.parquet").read_bytes()
        assert (again / form.MANIFEST).read_text() == (folder / form.MANIFEST).read_text()
        rows = run_sql(other.location, "SELECT sum(attempts), count(cross_fitted_val_top1) FROM trials").rows
        assert rows == ((5, 2),)
        assert other.protocols("demo/x", False)[0][1] == PROTOCOL
        assert other.extensions("demo/y", True) == full.extensions("demo/y", True)


def test_the_same_folder_twice_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """Neither a row nor an id: also where it comes back to where it came from."""
    with Store(tmp_path / "other.db") as other:
        import_folder(other, folder)
        before = dump(other)
        assert import_folder(other, folder) == Imported(0, 5, 0)
        assert dump(other) == before


def test_it_comes_back_to_its_own_database(full: Store, folder: Path) -> None:
    """What is there already stays as it is."""
    before = dump(full)
    assert import_folder(full, folder) == Imported(0, 5, 0)
    assert dump(full) == before


def test_what_has_no_result_here_takes_the_imported_one(
    folder: Path, trials: list[NewTrial], outcome_of: OutcomeOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pending, a failed and a stale trial take it; one that is complete here, and one that runs, stay."""
    with Store(tmp_path / "other.db") as other:
        other.register(SweepRecord("digest", "demo/x", "A title", "text", False, ""), trials, [])
        monkeypatch.setattr(store_module, "CORE_VERSION", CORE_VERSION - 1)
        (stale,) = other.claim([trials[0].key], "old")
        worse = dataclasses.replace(outcome_of(trials[0]), epochs=outcome_of(trials[0]).epochs[:1])
        other.finish(stale, worse)
        monkeypatch.setattr(store_module, "CORE_VERSION", CORE_VERSION)
        (failed,) = other.claim([trials[1].key], "job")
        other.fail(failed, "exception", "mine", "mine")
        (running,) = other.claim([trials[2].key], "job")
        assert import_folder(other, folder) == Imported(3, 2, 1)
        states = other.states([trial.key for trial in trials])
        assert [states[trial.key].state for trial in trials] == ["complete", "diverged", "running", "pending"]
        assert run_sql(other.location, "SELECT attempts, epochs FROM trials WHERE state = 'complete'").rows == ((3, 3),)
        numbers = run_sql(
            other.location,
            "SELECT a.number, a.state, a.owner = 'imported' FROM attempts a JOIN stored_trials t ON t.id = a.trial_id "
            f"WHERE t.key = '{trials[0].key}' ORDER BY 1",
        ).rows
        assert numbers == ((1, "superseded", 0), (2, "superseded", 1), (3, "complete", 1))
        assert other.finish(running, outcome_of(trials[2])), "the trial that runs here keeps its lease"
        assert run_sql(other.location, "SELECT count(*) FROM epochs").rows == ((9,),)


def test_a_result_that_comes_while_it_runs_is_late(
    folder: Path, trials: list[NewTrial], outcome_of: OutcomeOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial whose driver seems gone takes the import; what the driver brings after all is superseded."""
    with Store(tmp_path / "other.db") as other:
        other.register(SweepRecord("digest", "demo/x", "A title", "text", False, ""), trials, [])
        monkeypatch.setattr(store_module, "LEASE_SECONDS", -1.0)
        (gone,) = other.claim([trials[0].key], "job")
        import_folder(other, folder)
        assert not other.finish(gone, outcome_of(trials[0]))
        assert other.states([trials[0].key])[trials[0].key].state == "complete"


def test_the_places_of_attempts_are_our_own(folder: Path, tmp_path: Path) -> None:
    """An imported attempt's folder, which a later run would remove, is one below this database's that nobody has."""
    with Store(tmp_path / "other.db") as other:
        import_folder(other, folder)
        for (place,) in run_sql(other.location, "SELECT directory FROM attempts").rows:
            assert place.startswith("other.db.trials/")
            assert place.endswith("-imported")
            assert not (tmp_path / place).exists()


def test_some_sweeps_alone(full: Store, trials: list[NewTrial], tmp_path: Path) -> None:
    """Only the sweeps named, or those in a folder of that name; an unknown one names the nearest."""
    one = export(full, tmp_path / "one", ["demo/y"])
    found = pq.read_table(one / "trials.parquet")
    assert found.num_rows == 2
    assert set(found["sweeps"].to_pylist()) == {"demo/y"}
    assert set(pq.read_table(one / "cells.parquet")["sweep"].to_pylist()) == {"demo/y"}
    assert pq.read_table(one / "protocols.parquet").num_rows == 0
    assert set(pq.read_table(one / "epochs.parquet")["trial"].to_pylist()) == {trials[0].key}
    assert pq.read_table(export(full, tmp_path / "two", ["demo"]) / "trials.parquet").num_rows == 5
    with pytest.raises(UsageError, match=r"demo/z: was never run with this database; did you mean 'demo/[xy]'"):
        export(full, tmp_path / "three", ["demo/z"])
    assert not (tmp_path / "three").exists()
    with Store(tmp_path / "other.db") as other:
        assert import_folder(other, one) == Imported(2, 0, 1)


def test_anonymous_names_no_machine(full: Store, tmp_path: Path) -> None:
    """No file holds the machine's name or a path from an error message; and it can be imported."""
    out = export(full, tmp_path / "out", anonymous=True)
    for path in out.glob("*.parquet"):
        texts = repr(pq.read_table(path).to_pylist())
        assert "machine.example" not in texts, path.name
        assert "/home/me" not in texts
    assert pq.read_table(out / "environments.parquet")["host"].to_pylist() == ["host-1"]
    with Store(tmp_path / "other.db") as other:
        import_folder(other, out)


def test_the_sweeps_files_lie_beside(full: Store, folder: Path) -> None:
    """Each sweep's own file under its name, what it extends beside it; a second text of a name gets its version."""
    names = json.loads((folder / form.MANIFEST).read_text())["sweeps"]
    assert names == ["sweeps/demo/recipe.toml", "sweeps/demo/x.toml", "sweeps/demo/y.toml"]
    assert (folder / "sweeps" / "demo" / "y.toml").read_text() == "title = 1\n"
    assert (folder / "sweeps" / "demo" / "recipe.toml").read_text() == "[baseline]\n"
    full.register(SweepRecord("0123456789", "demo/x", "T", "later", False, ""), [], [])
    export(full, folder)
    assert (folder / "sweeps" / "demo" / "x.toml").read_text() == "later"
    assert (folder / "sweeps" / "demo" / "x.digest.toml").read_text() == "text"


def test_names_of_sweeps_lead_nowhere_else(store: Store, tmp_path: Path) -> None:
    """Whatever a sweep is called, its file is written below the folder."""
    for number, name in enumerate(
        ["../../climbs", "/etc/passwd", "a/../../../b", "..", "nul\0l", "标签 <b>", "标" * 99]
    ):
        store.register(SweepRecord(str(number), name, "T", f"text {number}", False, ""), [], [])
    for number in range(2):
        store.register(SweepRecord(f"../{number}", "../digest", "T", f"its text {number}", False, ""), [], [])
    out = export(store, tmp_path / "deep" / "out")
    names = json.loads((out / form.MANIFEST).read_text())["sweeps"]
    assert len(names) == 9
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.toml")} == set(names)
    assert list((tmp_path / "deep").iterdir()) == [out]


def test_other_files_stay(full: Store, folder: Path, tmp_path: Path) -> None:
    """An export beside other things leaves them; among other Parquet files it does not go."""
    (folder / "README.md").write_text("mine")
    export(full, folder, ["demo/y"])
    assert (folder / "README.md").read_text() == "mine"
    assert not (folder / "sweeps" / "demo" / "x.toml").exists()
    other = tmp_path / "data"
    other.mkdir()
    (other / "mine.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="holds other Parquet files"):
        export(full, other)


@pytest.mark.parametrize(
    ("stem", "change", "message"),
    [
        ("trials", replaced("recipe", '{"model.name":"other"}'), "not of its recipe, seed and data"),
        ("trials", replaced("seed", 12345), "not of its recipe, seed and data"),
        ("trials", replaced("recipe", '{"model.nam":"x"}'), "a recipe that this tinyablate does not know"),
        ("trials", replaced("recipe", "[[["), "a recipe that this tinyablate does not know"),
        ("trials", replaced("state", "splendid"), "'splendid' where only these are valid: complete, diverged"),
        ("trials", replaced("updated_at", None), "not complete"),
        ("trials", lambda table: pa.concat_tables([table, table]), "stands there twice"),
        ("trials", lambda table: table.drop_columns(["trial"]), "trial 'None' is not of its recipe"),
        ("outcomes", lambda table: table.slice(0, 0), "without its result"),
        ("outcomes", replaced("state", "failed"), "'failed' where only these are valid"),
        ("attempts", lambda table: table.slice(0, 0), "results of an attempt that is not there"),
        ("attempts", replaced("attempt", None), "has an attempt of number None"),
        ("attempts", replaced("job_trials", 0), "in a job of 0 trials"),
        ("attempts", replaced("ended_at", float("inf")), "holds inf where a time belongs"),
        ("trials", replaced("updated_at", 1e300), "holds 1e\\+300 where a time belongs"),
        ("sweeps", replaced("created_at", -1.0), "holds -1 where a time belongs"),
        ("protocols", replaced("noted_at", float("-inf")), "holds -inf where a time belongs"),
        ("epochs", lambda table: table.append_column("epoch", table["epoch"]), "two columns of one name"),
        ("epochs", lambda table: pa.concat_tables([table, table]), "holds what no database of results can: UNIQUE"),
        ("epochs", lambda table: table.drop_columns(["epoch"]), "NOT NULL constraint"),
        ("cells", replaced("trial", "x"), "a cell is filled by trial 'x', which is not there"),
        ("sweeps", lambda table: table.slice(0, 0), "cells of a sweep that is not there"),
        ("sweeps", replaced("title", None), "NOT NULL constraint"),
        ("environments", lambda table: table.drop_columns(["host"]), "NOT NULL constraint"),
        ("epochs", lambda table: table.cast(pa.schema(
            [pa.field(f.name, pa.string() if f.name == "val_top1" else f.type) for f in table.schema]
        )), "column val_top1 is string; valid: double"),
    ],
)  # fmt: skip
def test_what_was_edited_is_refused_as_a_whole(
    folder: Path, tmp_path: Path, stem: str, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    """Even with a manifest that fits, nothing of it is taken: one clear message, and the database is as it was."""
    write_again(folder, stem, change)
    with Store(tmp_path / "other.db") as other:
        before = dump(other)
        with pytest.raises(StoreError, match=message):
            import_folder(other, folder)
        assert dump(other) == before


def test_what_is_damaged_or_foreign_is_refused(folder: Path, tmp_path: Path) -> None:
    """A byte changed, a file gone, no manifest, one that is garbage, and one of a newer form."""
    with Store(tmp_path / "other.db") as other:
        manifest, epochs = folder / form.MANIFEST, folder / "epochs.parquet"
        whole, text = epochs.read_bytes(), manifest.read_text()
        epochs.write_bytes(whole[:-9] + b"x" + whole[-8:])
        with pytest.raises(StoreError, match=r"epochs\.parquet: was changed since it was written"):
            import_folder(other, folder)
        epochs.unlink()
        with pytest.raises(StoreError, match=r"epochs\.parquet: is missing"):
            import_folder(other, folder)
        epochs.write_bytes(b"garbage")
        fitting = json.loads(text)
        fitting["files"]["epochs.parquet"] = hashlib.sha256(b"garbage").hexdigest()
        manifest.write_text(json.dumps(fitting))
        with pytest.raises(StoreError, match=r"epochs\.parquet: cannot be read"):
            import_folder(other, folder)
        for wrong in (
            "",
            "[]",
            '{"form": "x"}',
            "[" * 100_000,
            '{"form": 1, "tinyablate": "1", "files": [], "sweeps": 1}',
        ):
            manifest.write_text(wrong)
            with pytest.raises(StoreError, match="is not as `tinyablate export` writes it"):
                import_folder(other, folder)
        manifest.write_text(json.dumps(json.loads(text) | {"form": 99, "tinyablate": "9.9"}))
        with pytest.raises(StoreError, match=r"written by tinyablate 9\.9 in a newer form.*pip install --upgrade"):
            import_folder(other, folder)
        manifest.unlink()
        with pytest.raises(StoreError, match="holds no results to import"):
            import_folder(other, folder)
        assert run_sql(other.location, "SELECT count(*) FROM trials").rows == ((0,),)


def test_the_commands(full: Store, tmp_path: Path) -> None:
    """`export` says where, `import` what came of it; a folder that is none makes no database."""
    run = CliRunner().invoke
    done = run(app, ["export", str(tmp_path / "out"), "demo/x", "--db", full.location.text])
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'out'}\n")
    done = run(app, ["import", str(tmp_path / "out"), "--db", str(tmp_path / "new.db")])
    assert (done.exit_code, done.stdout) == (0, "4 trials imported, 0 known already; 1 new version of sweeps\n")
    shown = f"next: tinyablate table {tmp_path / 'out' / 'sweeps' / 'demo' / 'x.toml'} --db {tmp_path / 'new.db'}"
    assert shown in done.stderr.splitlines()
    shutil.rmtree(tmp_path / "out")
    done = run(app, ["import", str(tmp_path / "out"), "--db", str(tmp_path / "none.db")])
    assert isinstance(done.exception, StoreError)
    assert not (tmp_path / "none.db").exists()


def test_a_killed_export_is_known_as_one(
    full: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is imported from what a kill left behind, and the next export into the folder makes it whole."""
    whole = (folder / form.MANIFEST).read_text()
    for out in (folder, tmp_path / "new"):
        written = itertools.count()

        def dies(*given: object, written: Iterator[int] = written) -> None:
            if next(written) == 3:
                raise SystemExit
            parquet.write(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(exchange, "write", dies)
        with pytest.raises(SystemExit):
            export(full, out)
        monkeypatch.undo()
        with Store(tmp_path / "other.db") as other, pytest.raises(StoreError, match="is half an export"):
            import_folder(other, out)
        export(full, out)
        assert (out / form.MANIFEST).read_text() == whole


def test_a_users_own_sweeps_are_not_written_over(full: Store, tmp_path: Path) -> None:
    """Exported into the folder that one works in, the stored texts would stand in the place of one's own files."""
    mine = tmp_path / "work" / "sweeps" / "demo" / "x.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(StoreError, match=r"sweeps/demo/x\.toml: is there and no export wrote it"):
        export(full, tmp_path / "work")
    assert mine.read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["sweeps"]


def test_a_name_that_no_file_can_have_ends_nothing(store: Store, tmp_path: Path) -> None:
    """Such a sweep is imported and no next command is told for it."""
    store.register(SweepRecord("d", "x" * 5000, "T", "text", False, ""), [], [])
    out = export(store, tmp_path / "out")
    done = CliRunner().invoke(app, ["import", str(out), "--db", str(tmp_path / "new.db")])
    assert (done.exit_code, done.exception) == (0, None)
    assert done.stderr == ""


def test_a_sweeps_file_is_replaced_and_never_half(full: Store, tmp_path: Path) -> None:
    """The next export writes it aside: who reads the earlier one, which a link keeps here, reads it to its end."""
    folder = export(full, tmp_path / "out")
    path = folder / "sweeps" / "demo" / "x.toml"
    before = path.read_bytes()
    (tmp_path / "read").hardlink_to(path)
    with full.backend.transaction() as connection:
        connection.exec_driver_sql("UPDATE sweeps SET text = 'title = 2' WHERE name = 'demo/x'")
    export(full, folder)
    assert path.read_text() == "title = 2"
    assert (tmp_path / "read").read_bytes() == before
    assert not [each for each in folder.rglob(".*")]
