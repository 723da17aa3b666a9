"""What `show` and `schema` say."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from inspection.conftest import OTHER, new_trial

from tinyablate.errors import UsageError
from tinyablate.inspection.attempts import MOST_LINES
from tinyablate.inspection.columns import describe_views
from tinyablate.inspection.show import show_trial
from tinyablate.store.columns import VIEWS, views
from tinyablate.store.records import NewTrial
from tinyablate.sweep.load import load

Rows = Mapping[tuple[str, int], NewTrial]


def test_a_trial_is_shown_against_its_sweeps_first_row(filled: Path, rows: Rows) -> None:
    """The recipe is what differs from the row that the sweep begins with; the cells it fills come with their sweep."""
    text = show_trial(str(filled), rows[OTHER, 1].key[:8])
    assert f"fills small: {OTHER}" in text
    assert "against small: Default\n  optimizer.weight_decay: 0.05 -> 0\n  ema.decay: 0 -> 0.9\n" in text
    assert "attempt 1: complete (counts)" in text
    first = show_trial(str(filled), rows["Default", 0].key)
    assert "against small: Default: the same recipe" in first
    assert "fills wide: Default / all" in first


def test_the_whole_recipe_is_a_sweep_files_own(filled: Path, rows: Rows, tmp_path: Path) -> None:
    """What --recipe prints is TOML that loads as the same recipe."""
    key = rows[OTHER, 0].key
    lines = show_trial(str(filled), key, recipe=True).split("\nrecipe\n")[1].split("\n\n")[0]
    path = tmp_path / "again.toml"
    path.write_text(f"title = 'again'\nseeds = [0]\n[baseline]\n{lines}\n[[rows]]\nlabel = 'A'\n")
    (cell,) = load(path).cells
    assert cell.canonical == rows[OTHER, 0].canonical


def test_a_long_traceback_is_cut_unless_asked_for(filled: Path) -> None:
    """Without --why the first and the last lines stand there, with it all of them and what to do."""
    key = new_trial(7, data__fraction=0.25).key
    short, whole = show_trial(str(filled), key), show_trial(str(filled), key, why=True)
    assert "ValueError: no" in short
    assert "line 39" in short
    assert "line 3\n" not in short
    cut = 42 - MOST_LINES + 2
    assert f"… {cut} lines, shown by --why" in short
    assert short.count("  line ") == 42 - 2 - cut
    assert whole.count("  line ") == 40
    assert "why: it failed, the last time by exception: its code, or a file that it needs, is at fault" in whole
    assert "then `tinyablate retry wide`" in whole


@pytest.mark.parametrize(
    ("state", "part"),
    [("pending", "nobody has begun it"), ("complete", "it has its result\n  epoch")],
)
def test_why_names_the_reason(filled: Path, rows: Rows, state: str, part: str) -> None:
    """--why explains a trial that has not begun and shows the curve of one that is complete."""
    trial = new_trial(0, data__fraction=0.5) if state == "pending" else rows["Default", 0]
    assert part in show_trial(str(filled), trial.key, why=True)


def test_schema_has_every_column_of_every_view() -> None:
    """Each format lists the columns in their order; one view can be asked for; an unknown one has its nearest."""
    data = json.loads(describe_views(None, "json"))
    assert {name: [column["name"] for column in view["columns"]] for name, view in data.items()} == {
        name: [column.name for column in columns] for name, columns in views().items()
    }
    for name, columns in views().items():
        table, markdown = describe_views(name, "table"), describe_views(name, "markdown")
        assert [line.split()[0] for line in table.splitlines()[3:]] == [column.name for column in columns]
        assert len(markdown.splitlines()) == 6 + len(columns)
        assert VIEWS[name] in table
    with pytest.raises(UsageError, match="did you mean 'trials'"):
        describe_views("trial", "table")
    with pytest.raises(UsageError, match="now called epochs"):
        describe_views("curves", "table")
