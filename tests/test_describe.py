"""Texts of the commands that only look: status of a folder, answers of queries in formats that read them as markup."""

import json
import re
from pathlib import Path

import pytest
from inspection.conftest import new_trial

from tinyablate.describe import describe_status
from tinyablate.errors import UsageError
from tinyablate.listing import columns_text, render_rows
from tinyablate.store.query import Rows
from tinyablate.store.records import CellOf, SweepRecord
from tinyablate.store.store import Store
from tinyablate.sweep.load import text_of
from tinyablate.terminal import say


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Two sweeps of a folder and another one whose name only begins alike; nothing was run."""
    path = tmp_path / "ablations.db"
    trial = new_trial(0)
    with Store(path) as store:
        for name in ("paper/a", "paper/b", "paperclip"):
            sweep = SweepRecord(name, name, "t", "", False, "")
            store.register(sweep, [trial], [CellOf(0, 0, "Default", "", trial.key)])
    return str(path)


def test_status_of_a_folder_shows_its_sweeps(database: str) -> None:
    """A folder's name stands for its sweeps and for no other; so does a file's path for its sweep."""

    def names(asked: str | None) -> list[str]:
        return re.findall(r"^(paper\S*)", describe_status(database, asked), re.M)

    assert names(None) == ["paper/a", "paper/b", "paperclip"]
    assert names("paper") == names("paper/") == ["paper/a", "paper/b"]
    assert names("sweeps/paper/b.toml") == ["paper/b"]
    with pytest.raises(UsageError, match=r"pape: was never run with this database.*names: 'paper/a'"):
        describe_status(database, "pape")


def test_versions_of_a_sweep_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what they were run with, when, and whether the sweep's file, by name or by path, has that text now."""
    monkeypatch.chdir(tmp_path)
    Path("sweeps").mkdir()
    Path("there").mkdir()
    trial = new_trial(0)
    with Store(tmp_path / "a.db") as store:
        for folder, title, overrides in (("sweeps", "one", ""), ("there", "two", ""), ("sweeps", "one", "a=1\nb=2")):
            path = Path(folder, "mine.toml")
            path.write_text(f"title = '{title}'\n")
            sweep = SweepRecord(title + overrides, "mine", title, text_of(path), False, overrides)
            store.register(sweep, [trial], [CellOf(0, 0, "Default", "", trial.key)])

    def told(asked: str | None) -> list[str]:
        return re.findall(r"\d\d:\d\d  (as now|other|gone)", describe_status(str(tmp_path / "a.db"), asked))

    assert told(None) == ["as now", "other", "as now"]
    assert told("there/mine.toml") == ["other", "as now", "other"]
    assert "mine   --set a=1 --set b=2  " in describe_status(str(tmp_path / "a.db"), "mine")
    Path("sweeps", "mine.toml").unlink()
    assert told("mine") == ["gone"] * 3


def test_columns_stand_below_one_another() -> None:
    """Characters that take two places of a terminal are counted so."""
    lines = columns_text(("row", "new"), [("默认基线", "2"), ("No decay", "12")]).splitlines()
    assert lines == ["row       new", "默认基线    2", "No decay   12"]


def test_answers_are_literal_in_every_format() -> None:
    """What a label holds is neither markup in Markdown nor an escape of the terminal's."""
    rows = Rows(("label",), (("<script>|a_b` \n\x1b[31m$x$ 无",),))
    markdown = render_rows(rows, "markdown").splitlines()
    assert markdown[2] == "| \\<script>\\|a_b\\`   [31m\\$x\\$ 无 |"
    assert len(markdown) == 3
    assert columns_text(("label",), rows.rows).splitlines()[1] == "<script>|a_b`   [31m$x$ 无"


def test_json_has_neither_infinity_nor_bytes() -> None:
    """What JSON cannot say is null, and bits are told by their number, as in CSV."""
    rows = Rows(("value", "bits"), ((float("inf"), b"\x00\x01"),))
    assert json.loads(render_rows(rows, "json"), parse_constant=pytest.fail) == [{"value": None, "bits": "2 bytes"}]
    assert render_rows(rows, "csv").splitlines() == ["value,bits", "inf,2 bytes"]


def test_what_is_said_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """A stored name that holds a terminal's codes is told without them."""
    say("left out: \x1b[2Jname\n  next")
    assert capsys.readouterr().err == "left out:  [2Jname\n  next\n"
