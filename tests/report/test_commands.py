"""`tinyablate report` and `serve` as a user types them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from reported import fill, write_sweep

from tinyablate.cli import app
from tinyablate.errors import UsageError
from tinyablate.store.store import Store
from tinyablate.sweep.load import load


def run(*words: str) -> Result:
    """The command line in this process."""
    return CliRunner().invoke(app, words)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in, with a sweep and its results."""
    monkeypatch.chdir(tmp_path)
    sweep = write_sweep(tmp_path)
    with Store("results/ablations.db") as store:
        fill(store, sweep)
    return tmp_path


def test_report_is_about_everything_that_was_run(folder: Path) -> None:
    """Without a name it is about the database's sweeps; it prints the path of the first page, alone on stdout."""
    result = run("report")
    assert (result.exit_code, result.stdout) == (0, "results/report/index.html\n")
    assert (folder / "results" / "report" / "sweeps" / "mine.html").is_file()


def test_report_of_one_sweep_takes_what_changes_it(folder: Path) -> None:
    """--set and --seeds make it the report of another sweep, whose trials are not there; --out says where."""
    result = run("report", "mine", "--set", "schedule.epochs=9", "--seeds", "0-1", "--out", "there")
    assert (result.exit_code, result.stdout) == (0, "there/index.html\n")
    (page,) = (folder / "there" / "sweeps").iterdir()
    assert page.name.startswith("mine-")
    assert "10 pending" in page.read_text()


def test_a_sweep_whose_file_is_gone_is_named(folder: Path) -> None:
    """Its line is on stderr; where no other is left, an earlier report stays as it was."""
    run("report")
    page = folder / "results" / "report" / "sweeps" / "mine.html"
    before = page.read_bytes()
    (folder / "sweeps" / "mine.toml").unlink()
    result = run("report")
    assert isinstance(result.exception, UsageError)
    assert "no sweep of this database has its file here" in str(result.exception)
    assert result.stderr.startswith("left out: mine: ")
    assert page.read_bytes() == before


def test_results_of_another_file_of_the_name_are_told(folder: Path) -> None:
    """The report is of ./sweeps/mine.toml; a line on stderr says how many results it does not have, and the way."""
    (folder / "there").mkdir()
    text = (folder / "sweeps" / "mine.toml").read_text().replace("schedule.epochs = 6", "schedule.epochs = 5")
    (folder / "there" / "mine.toml").write_text(text)
    (folder / "there" / "curves.csv").write_text((folder / "sweeps" / "curves.csv").read_text())
    assert run("report").stderr == ""
    with Store("results/ablations.db") as store:
        fill(store, load(folder / "there" / "mine.toml"))
    told = run("report").stderr
    assert re.match(
        r"left out: mine: \d+ results of another version \(digest \w{8}, first run \d{4}-\d\d-\d\d\), ", told
    )
    assert told.endswith("which are not in sweeps/mine.toml; if that was another file, name its path\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("report", "--smoke"), "change a sweep: name one"),
        (("report", "mien"), "no such sweep; did you mean 'mine'?"),
        (("report", "mine", "--db", "x.db"), "no such database"),
        (("report", "mine", "--out", "sweeps/mine.toml"), "is a file; a report is a folder"),
        (("report", "results"), "results: holds no sweep file\ndid you mean: tinyablate report --out results"),
        (("serve", "mien"), "no such sweep; did you mean 'mine'?"),
        (("serve", "--db", "x.db"), "no such database"),
    ],
)
def test_mistakes_are_told(folder: Path, words: tuple[str, ...], message: str) -> None:
    """Each is one clear error of the user's, exit code 2."""
    result = run(*words)
    assert message in str(result.exception)
    assert getattr(result.exception, "exit_code", 0) == 2


def test_help_needs_no_templates() -> None:
    """The commands' help imports neither jinja2 nor what pages are made of."""
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom tinyablate.cli import app\n"
        "assert CliRunner().invoke(app, ['serve', '--help']).exit_code == 0\n"
        "print(*{'jinja2', 'sqlalchemy', 'numpy', 'http.server'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
