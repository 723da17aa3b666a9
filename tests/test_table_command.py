"""`tinyablate table` as a user calls it: formats, files, every sweep at once, captions, what is refused."""

import json
import sqlite3

import pytest

NOOP = {"TINYABLATE_LEARNER": "analytic:noop"}


@pytest.fixture
def ran(cli):
    """A folder with two sweeps that were run, one of them smaller."""
    text = cli.write().read_text()
    cli.write(text.replace("seeds = [0, 1, 2]", "seeds = [0]"), "more/small")
    for name in ("tiny", "more/small"):
        cli("run", name, "--launcher", "inline", **NOOP)
    return cli


def test_table(ran, tmp_path):
    """One table to stdout or a file, all of them into a folder; a sweep whose file is gone is told and left out."""
    assert ran("table", "tiny", "--format", "latex").stdout.count(r"\end{table}") == 1
    assert ran("run", "tiny", "--launcher", "inline", "--format", "html").stdout.startswith("<!doctype html>")
    assert ran("table", "tiny", "--watch", "--format", "markdown").stdout.startswith("### A small sweep\n")
    assert [table["name"] for table in json.loads(ran("table", "all", "--format", "json").stdout)] == [
        "more/small", "tiny",
    ]  # fmt: skip

    one = tmp_path / "t.md"
    assert ran("table", "tiny", "--out", str(one)).stdout == f"{one}\n"
    assert one.read_text() == ran("table", "tiny", "--format", "markdown").stdout

    written = ran("table", "all", "--out", "tables", "--caption", "--strict").stdout.splitlines()
    assert len(written) == 2 * 8 + 1
    before = {path: (ran.folder / path).stat().st_mtime_ns for path in written}
    (ran.folder / "sweeps" / "more" / "small.toml").unlink()
    again = ran("table", "all", "--out", "tables", "--caption")
    assert "left out: more/small" in again.stderr
    unchanged = [path for path in again.stdout.splitlines() if not path.endswith("all.tex")]
    assert {(ran.folder / path).stat().st_mtime_ns for path in unchanged} == {before[path] for path in unchanged}

    assert "n = 3 seeds (seeds planned: 0-2)" in ran("table", "tiny", "--caption").stdout
    latex = ran("table", "tiny", "--caption", "--format", "latex").stdout.strip()
    wide = ran("table", "tiny", "--format", "latex", "--wide", "--notes", "none", "--columns", "mean,n,delta,p").stdout
    assert latex in wide
    assert r"\end{table*}" in wide
    assert "minipage" not in wide
    assert "block" not in ran("table", "tiny", "--columns", "mean,n", "--notes", "none").stdout
    lines = [ran("table", "tiny", COLUMNS=width).stdout.split("\n") for width in ("60", "150")]
    assert max(map(len, lines[0])) <= 60 < max(map(len, lines[1])) <= 150
    assert "- **Runs**: 9 of 9 planned trials are complete." in ran("table", "tiny", "--checklist").stdout
    exact, rounded = (ran("table", "tiny", "--format", "csv", *more).stdout for more in ((), ("--rounded",)))
    assert len(rounded) < len(exact)


def test_refusals(ran):
    """Each with one message: a mixed table under --strict, options that change one sweep with `all`, a wrong suffix."""
    assert "leave out --out" in ran("table", "tiny", "--watch", "--strict", code=2).stderr
    assert "valid: '.txt', '.md', '.tex'" in ran("table", "tiny", "--out", "t.xls", code=2).stderr
    assert "name the sweep" in ran("table", "all", "--smoke", code=2).stderr
    assert "--caption and --checklist" in ran("table", "tiny", "--out", "t.md", "--caption", code=2).stderr
    for given, said in (
        (["--caption", "--format", "csv"], "has no captions"),
        (["--checklist", "--format", "json"], "a checklist is Markdown"),
        (["--format", "latex", "--out", "t.md"], "the suffix is that of markdown"),
        (["--format", "latex", "--out", "tables"], "a folder gets every format"),
        (["--columns", "mean,detla"], "'detla'; did you mean 'delta'"),
        (["--notes", "short", "--out", "t.csv"], "csv always has everything"),
        (["--wide"], "only LaTeX"),
        (["--out", ""], "'--out': is empty"),
    ):
        assert said in ran("table", "tiny", *given, code=2).stderr
    with sqlite3.connect(ran.folder / "results" / "ablations.db") as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(environments)") if row[1] != "id"]
        values = ", ".join("'H100'" if name == "device" else name for name in columns)
        connection.execute(f"INSERT INTO environments ({', '.join(columns)}) SELECT {values} FROM environments LIMIT 1")
        connection.execute("UPDATE attempts SET environment_id = (SELECT max(id) FROM environments) WHERE id = 1")
    refused = ran("table", "tiny", "--strict", code=1).stderr
    assert "tiny: device: " in refused
    assert "H100" in refused
    assert "MIXED" in ran("table", "tiny").stdout
    more = ran("table", "tiny", "--seeds", "0-4", "--strict", code=1).stderr
    assert "tiny: 6 of 15 trials without a result" in more
    assert "tiny: changed since the first run: seeds 0-2 -> 0-4" in more
