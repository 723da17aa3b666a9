"""Texts of the commands that only look: status of a folder, answers of queries in formats that read them as markup."""

import re
from pathlib import Path

import pytest
from inspection.conftest import new_trial

from tinyablate.describe import columns_text, describe_status, render_rows
from tinyablate.errors import UsageError
from tinyablate.store.query import Rows
from tinyablate.store.records import CellOf, SweepRecord
from tinyablate.store.store import Store


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


def test_answers_are_literal_in_every_format() -> None:
    """What a label holds is neither markup in Markdown nor an escape of the terminal's."""
    rows = Rows(("label",), (("<script>|a_b` \n\x1b[31m$x$ 无",),))
    markdown = render_rows(rows, "markdown").splitlines()
    assert markdown[2] == "| \\<script>\\|a_b\\`   [31m\\$x\\$ 无 |"
    assert len(markdown) == 3
    assert columns_text(("label",), rows.rows).splitlines()[1] == "<script>|a_b`   [31m$x$ 无"
