"""Results in Python: what `tinyablate.open` gives, typed, and that nothing can be written through it."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import analytic
import pandas as pd
import pyarrow as pa
import pytest
from conftest import TINY

import tinyablate
from tinyablate.api import Results
from tinyablate.errors import StoreError, UsageError, WorkError
from tinyablate.job import Outcome
from tinyablate.plan import ask, make_plan
from tinyablate.run import register
from tinyablate.store.columns import views
from tinyablate.store.records import SweepRecord
from tinyablate.store.schema import SCHEMA_VERSION
from tinyablate.store.store import Store
from tinyablate.sweep.load import load

SWEEP = TINY.replace('title = "A small sweep"', 'title = "<script>alert(1)</script> & 无"')


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a small sweep was run, whole and with --smoke."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "sweeps").mkdir()
    (folder / "sweeps" / "tiny.toml").write_text(SWEEP + "[smoke]\nschedule.epochs = 1\n")
    with Store(folder / "results" / "ablations.db") as store:
        for smoke in (False, True):
            plan = make_plan([ask(load(folder / "sweeps" / "tiny.toml", smoke=smoke))], {})
            register(store, plan, "")
            for trial in plan.trials.values():
                epochs = [
                    analytic.result(trial.recipe, trial.seed, at + 1) for at in range(trial.recipe.schedule.epochs)
                ]
                (claim,) = store.claim([trial.key], trial.key)
                assert store.finish(claim, Outcome("complete", tuple(epochs), (("parameters", 100.0),)))
    return folder


@pytest.fixture
def results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Results[pd.DataFrame]"]:
    """Its database, opened."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("TINYABLATE_DB", raising=False)
    with tinyablate.open() as opened:
        yield opened


def test_importing_the_package_imports_no_library() -> None:
    """`import tinyablate` alone costs nothing, and has `open` all the same."""
    code = (
        "import sys, tinyablate; print('sqlalchemy' in sys.modules, 'pandas' in sys.modules, callable(tinyablate.open))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
    with pytest.raises(AttributeError, match="close"):
        tinyablate.close  # noqa: B018


def test_trials_have_every_column_typed(results: "Results[pd.DataFrame]") -> None:
    """A line per trial with the view's columns in their order; whole numbers and booleans keep their type under NA."""
    trials = results.trials()
    assert list(trials.columns) == [column.name for column in views()["trials"]]
    kinds = {"integer": "Int64", "real": "float64", "boolean": "boolean", "text": "str"}
    assert {c.name: str(trials.dtypes[c.name]) for c in views()["trials"]} == {
        c.name: kinds[c.type] for c in views()["trials"]
    }
    assert trials.diverged_epoch.isna().all()
    assert not trials.model_pretrained.any()
    assert set(trials[trials.ema_decay > 0].observer) == {"ema"}
    asked = results.query("SELECT trial, mix_prob, model_name, optimizer_lr, last_val_top1 FROM trials ORDER BY trial")
    merged = trials.sort_values("trial").reset_index(drop=True)[list(asked.columns)]
    pd.testing.assert_frame_equal(merged, asked)


def test_a_sweeps_trials_are_chosen_in_sql(results: "Results[pd.DataFrame]") -> None:
    """By sweep, with --smoke or without, and by any condition; a sweep that was never run is refused."""
    assert (len(results.trials()), len(results.trials("tiny")), len(results.trials("tiny", smoke=True))) == (12, 9, 3)
    assert len(results.trials("tiny", where="seed < ? OR ema_decay > 0", params=[1])) == 5
    assert len(results.epochs("tiny")) == 18
    assert len(results.epochs("tiny", smoke=True)) == 3
    assert set(results.epochs(where="epoch = 2").epoch) == {2}
    assert (len(results.outcomes("tiny")), bool(results.outcomes().accepted.all())) == (9, True)
    assert len(results.cells("tiny")) == 12
    assert set(results.cells("tiny", smoke=False).row_label) == {"Default", "No decay", "EMA"}
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        results.trials("tny")
    with pytest.raises(UsageError, match="no such column: sed; did you mean 'seed'"):
        results.trials(where="sed < 3")


def test_queries_are_typed_by_their_values(results: "Results[pd.DataFrame]") -> None:
    """Numbers stay numbers, booleans of a view are booleans, names that stand twice are numbered."""
    found = results.query(
        "SELECT seed, smoke, 1 AS smoke, NULL AS none, avg(last_val_top1) AS top1 FROM cells GROUP BY 2, 1"
    )
    assert [str(kind) for kind in found.dtypes] == ["Int64", "boolean", "boolean", "object", "float64"]
    assert list(found.columns) == ["seed", "smoke", "smoke_2", "none", "top1"]
    mixed = results.query("SELECT 1 AS x, 1 AS y UNION ALL SELECT 2.5, 'two' UNION ALL SELECT NULL, X'00'")
    assert mixed.x.dropna().tolist() == [1.0, 2.5]
    assert mixed.y.tolist() == ["1", "two", "b'\\x00'"]
    assert results.query("SELECT count(*) AS n FROM trials WHERE seed = ?", [0]).n.item() == 6
    assert len(results.query("SELECT trial FROM trials WHERE seed > 99")) == 0


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM stored_trials",
        "CREATE TABLE x (y)",
        "PRAGMA journal_mode=DELETE",
        "VACUUM",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_nothing_can_be_written(results: "Results[pd.DataFrame]", sql: str) -> None:
    """Whatever is no SELECT is refused, and the store's own methods of writing fail."""
    before = results.path.read_bytes()
    with pytest.raises(UsageError):
        results.query(sql)
    with pytest.raises(WorkError, match="readonly"):
        results._store.register(SweepRecord("x", "x", "x", "", False, ""), [], [])
    assert results.path.read_bytes() == before


def test_arrow_and_pandas_say_the_same(folder: Path) -> None:
    """backend="pyarrow" gives the same lines as Arrow tables; another library is refused."""
    path = folder / "results" / "ablations.db"
    with tinyablate.open(path, backend="pyarrow") as opened, tinyablate.open(str(path)) as as_pandas:
        trials = opened.trials("tiny")
        assert isinstance(trials, pa.Table)
        assert trials.schema.field("model_pretrained").type == pa.bool_()
        assert trials.to_pylist()[0]["trial"] == as_pandas.trials("tiny").trial[0]
        assert opened.sweeps()["name"].to_pylist() == ["tiny", "tiny"]
    with pytest.raises(UsageError, match='backend "polars"'):
        tinyablate.open(path, backend="polars")  # type: ignore[call-overload]


def test_tables_come_as_frames_and_texts(results: "Results[pd.DataFrame]") -> None:
    """A sweep's table has a line per row with the numbers of `tinyablate table`, and shows itself in a notebook."""
    table = results.table("tiny")
    frame = table.frame()
    assert list(frame.label) == ["Default", "No decay", "EMA"]
    values = results.trials("tiny", where="optimizer_weight_decay = 0").last_val_top1
    assert frame["mean"][1] == pytest.approx(values.mean())
    assert frame.sd[1] == pytest.approx(values.std())
    assert frame.n.tolist() == [3, 3, 3]
    assert list(frame.columns) == table.render("csv").split("\n")[0].split(",")
    assert frame.verdict.tolist()[1:] == ["n too small"] * 2
    seeds = table.seeds()
    assert len(seeds) == 9
    assert set(seeds.trial) == set(results.trials("tiny").trial)
    assert seeds[seeds.label == "No decay"].value.mean() == pytest.approx(values.mean())
    assert "| No decay |" in table.to_markdown()
    assert "\\begin{tabular}" in table.to_latex() == table._repr_latex_()
    for page in (table.to_html(), table._repr_html_()):
        assert "No decay" in page
        assert "<script>alert" not in page
    assert "No decay" in str(table)
    assert len(results.table("tiny", smoke=True).frame()) == 3


def test_a_notebook_shows_the_sweeps(results: "Results[pd.DataFrame]") -> None:
    """The repr for notebooks has path, sweeps and states, with titles escaped."""
    page = results._repr_html_()
    assert str(results.path) in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert page.count("<tr>") == 3
    assert "<td>9</td>" in page
    assert str(results.path) in repr(results)


def test_other_versions_are_refused(folder: Path, tmp_path: Path) -> None:
    """An older schema is told to be migrated, a newer one to upgrade, and neither is touched; so is what is no
    database at all."""
    path = Path(shutil.copy(folder / "results" / "ablations.db", tmp_path))
    for version, part in ((SCHEMA_VERSION - 1, "tinyablate status --db"), (99, "pip install --upgrade")):
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM schema_version WHERE version >= ?", [SCHEMA_VERSION])
            connection.execute("INSERT OR REPLACE INTO schema_version VALUES (?, 0, '0')", [version])
        connection.close()
        before = path.read_bytes()
        with pytest.raises(StoreError, match=part):
            tinyablate.open(path)
        assert path.read_bytes() == before
    (tmp_path / "garbage.db").write_bytes(b"no database " * 400)
    absent = r'no such database.*or name one: tinyablate\.open\("PATH"\)'
    for name, part in (("garbage.db", "not a usable SQLite database"), ("none.db", absent)):
        with pytest.raises(StoreError, match=part):
            tinyablate.open(tmp_path / name)
    assert not (tmp_path / "none.db").exists()


def test_a_folder_that_cannot_be_written_is_read(folder: Path) -> None:
    """A colleague's database, in a folder where SQLite cannot make its own files, opens all the same."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        home, user = Path(name), os.geteuid()
        shutil.copy(folder / "results" / "ablations.db", home)
        home.chmod(0o555)
        try:
            if user == 0:  # root may write anywhere: be nobody for as long as it takes
                os.seteuid(65534)
            with tinyablate.open(home / "ablations.db") as opened:
                assert len(opened.trials()) == 12
            assert [path.name for path in home.iterdir()] == ["ablations.db"]
        finally:
            os.seteuid(user)
            home.chmod(0o755)


def test_results_of_a_running_sweep_are_seen(folder: Path, tmp_path: Path) -> None:
    """What is committed after opening is there at the next reading."""
    path = Path(shutil.copy(folder / "results" / "ablations.db", tmp_path))
    writer = sqlite3.connect(path)
    with tinyablate.open(path) as opened:
        assert set(opened.trials().state) == {"complete"}
        with writer:
            writer.execute("UPDATE stored_trials SET state = 'failed' WHERE seed = 0")
        assert set(opened.trials(where="seed = 0").state) == {"failed"}
    writer.close()
