"""The commands that look, and the Python API, say the same of the same results in SQLite and in PostgreSQL."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from servers import PASSWORD, PostgresServer

import tinyablate
from tinyablate.cli import app
from tinyablate.errors import UsageError
from tinyablate.store.exchange import import_folder
from tinyablate.store.parquet import mirror
from tinyablate.store.query import run_sql
from tinyablate.store.store import Store

PUBLISHED = Path(__file__).parents[1] / "results" / "published" / "demo"
SWEEP = str(PUBLISHED / "sweeps" / "demo" / "ablation.toml")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> tuple[str, str]:
    """The published demo in a file and on a server."""
    home = tmp_path_factory.mktemp("either")
    urls = (str(home / "file" / "a.db"), postgres.url("either"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYABLATE_RESULTS", str(home / "server"))
        for url in urls:
            with Store(url) as store:
                import_folder(store, PUBLISHED)
                mirror(store)
    return urls


@pytest.fixture(scope="module")
def keys(both: tuple[str, str]) -> list[str]:
    """Keys of trials, of two recipes."""
    rows = run_sql(both[0], "SELECT min(trial) FROM cells WHERE seed = 0 GROUP BY row_index ORDER BY row_index").rows
    return [row[0] for row in rows]


def said(url: str, *words: str) -> str:
    """What a command says, but for where its database is."""
    done = CliRunner().invoke(app, [*words, "--db", url])
    assert done.exit_code == 0, (words, done.output, done.exception)
    assert PASSWORD not in done.output
    return done.output.replace(url, "DB")


def test_commands_that_look_say_the_same(both: tuple[str, str], keys: list[str]) -> None:
    """Tables in every format, trials, differences, states, answers: byte for byte."""
    commands = [
        *(("table", SWEEP, "--format", name) for name in ("csv", "latex", "markdown", "json", "html")),
        ("show", keys[0], "--why", "--recipe"),
        ("diff", keys[0], keys[1]),
        ("diff", "Default", "Remove Mixup", "--sweep", "demo/ablation", "--epoch", "best"),
        ("status", SWEEP),
        ("plan", SWEEP, "--format", "json"),
        *(("query", "SELECT * FROM trials ORDER BY trial", "--format", name) for name in ("csv", "json", "table")),
        ("query", "SELECT row_label, smoke, latest, count(*) AS n, max(last_val_top1) AS top1 FROM cells "
                  "GROUP BY 1, 2, 3 ORDER BY row_label", "--format", "csv"),
        ("query", "SELECT c.row_label, e.epoch, max(e.val_top1) AS top1 FROM epochs e JOIN cells c USING (trial) "
                  "WHERE e.epoch > 1 GROUP BY 1, 2 ORDER BY 1, 2"),
    ]  # fmt: skip
    for words in commands:
        assert said(both[0], *words) == said(both[1], *words), words


def test_reports_are_equal(both: tuple[str, str], tmp_path: Path) -> None:
    """Every file of a report, byte for byte."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for url, folder in zip(both, folders, strict=True):
        said(url, "report", SWEEP, "--out", str(folder))
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert files[0] == files[1]
    for name in files[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


METHODS: dict[str, Callable[[Any], Any]] = {
    "trials": lambda r: r.trials("demo/ablation", where="seed < ? AND model_pretrained = ?", params=[2, False]),
    "epochs": lambda r: r.epochs("demo/ablation"),
    "cells": lambda r: r.cells("demo/ablation", smoke=False, where="latest"),
    "outcomes": lambda r: r.outcomes(where="accepted AND last_val_top1 > ?", params=[50]),
    "sweeps": lambda r: r.sweeps(),
    "query": lambda r: r.query("SELECT seed, count(*) AS n, min(best_val_top1) AS worst, max(state) AS state "
                               "FROM trials WHERE kind = ? AND '?' <> kind GROUP BY 1 ORDER BY 1", ["train"]),
    "empty": lambda r: r.trials(where="seed > 99"),
    "table": lambda r: r.table("demo/ablation").frame(),
    "seeds": lambda r: r.table("demo/ablation").seeds(),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_python_sees_the_same(both: tuple[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of the same columns, types and values. (Only avg() and sum() differ, in the last digit.)"""
    monkeypatch.chdir(PUBLISHED)
    frames = []
    for url in both:
        with tinyablate.open(url, backend="pyarrow") as results:
            frames.append(METHODS[name](results))
    assert frames[0].schema == frames[1].schema
    one, two = (sorted(frame.to_pylist(), key=repr) for frame in frames)
    assert one == two
    assert len(one) > 0 or name == "empty"


def test_an_opened_server_tells_no_password(both: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as text, nor in a notebook, nor in errors; the environment variable names it too."""
    monkeypatch.setitem(os.environ, "TINYABLATE_DB", both[1])
    with tinyablate.open() as results:
        texts = [repr(results), results._repr_html_(), results.database]
        assert results.path is None
        with pytest.raises(UsageError) as told:
            results.trials("demo/none")
        texts.append(str(told.value))
    assert all("127.0.0.1" in text and "tester@" in text for text in texts)
    assert not any(PASSWORD in text or "p%40ss" in text for text in texts)
