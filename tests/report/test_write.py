"""The report as files: what is in them, what stays and what goes."""

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from reported import HOSTILE, TRACEBACK, fill, fill_fast, grid, write_sweep

from tinyablate.errors import UsageError
from tinyablate.report import found
from tinyablate.report.plots import Curves, Line, embedded
from tinyablate.report.write import MANIFEST, write_report
from tinyablate.store.records import SweepRecord
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Sweep


class Elements(HTMLParser):
    """The start tags of a page and its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag, and where it leads."""
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]


def text_of(path: Path) -> str:
    """The page as text."""
    return path.read_text(encoding="utf-8")


def test_every_link_leads_to_a_file_of_the_report(work: Path) -> None:
    """All links are relative and lead to files that are there: nothing of the network is named."""
    out = work / "out"
    pages = sorted(out.rglob("*.html"))
    assert len(pages) == 1 + 1 + 20
    for page in pages:
        for link in Elements(text_of(page)).links:
            if not link.startswith(("#", "data:")):
                assert not re.match(r"[a-z]+:|/", link), f"{page.name}: {link}"
                assert (page.parent / unquote(link.partition("#")[0])).is_file(), f"{page.name}: {link}"


def test_equal_results_are_equal_bytes_and_are_not_written_again(work: Path, mine: Sweep, store: Store) -> None:
    """A second report touches no file, and one elsewhere has the same bytes."""
    out = work / "out"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    write_report([mine], store, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    paths = write_report([mine], store, work / "again")
    assert paths[0] == work / "again" / "index.html"
    for path in paths:
        assert path.read_bytes() == (out / path.relative_to(work / "again")).read_bytes()


def test_what_an_earlier_report_left_goes_and_nothing_else(
    work: Path, mine: Sweep, store: Store, tmp_path: Path
) -> None:
    """Pages of sweeps that are no longer asked for are removed; a user's own file beside them is not."""
    other = write_sweep(tmp_path, grid(2, 1), "other")
    out = tmp_path / "out"
    write_report([mine, other], store, out)
    (out / "trials" / "notes.txt").write_text("mine")
    assert (out / "sweeps" / "mine.html").exists()
    write_report([other], store, out)
    assert sorted(path.name for path in (out / "sweeps").iterdir()) == ["other.html"]
    assert (out / "trials" / "notes.txt").read_text() == "mine"
    assert len(list((out / "trials").iterdir())) == 2 + 1
    write_report([], store, out)
    assert not (out / "sweeps").exists()


def test_a_file_that_no_report_wrote_is_not_overwritten(mine: Sweep, store: Store, tmp_path: Path) -> None:
    """A folder with an index.html of its own is refused, and stays as it was."""
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(UsageError, match=r"index\.html is there and no report wrote it"):
        write_report([mine], store, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    with pytest.raises(UsageError, match="is a file; a report is a folder"):
        write_report([mine], store, tmp_path / "index.html")


def test_a_manifest_of_somebody_else_removes_nothing_outside(mine: Sweep, store: Store, tmp_path: Path) -> None:
    """Names that lead out of the folder are ignored."""
    precious = tmp_path / "precious.txt"
    precious.write_text("keep")
    out = tmp_path / "out"
    write_report([], store, out)
    with (out / MANIFEST).open("a") as file:
        file.write(f"../precious.txt\n{precious}\nlink/precious.txt\n")
    (out / "link").symlink_to(tmp_path)
    write_report([], store, out)
    assert precious.exists()
    assert "precious" not in text_of(out / MANIFEST)


def test_labels_stay_text(work: Path) -> None:
    """Markup in titles, labels, devices and messages makes no element, on any page."""
    for page in (work / "out").rglob("*.html"):
        tags = Elements(text_of(page)).tags
        assert "img" not in tags
        assert "b" not in tags
        scripts = re.findall(r"<script([^>]*)>", text_of(page))
        assert all("report.js" in given or given == ' type="application/json"' for given in scripts)
    assert HOSTILE in unescape(text_of(work / "out" / "sweeps" / "mine.html"))


def test_embedded_numbers_cannot_end_their_element() -> None:
    """`</script>`, `<!--` and U+2028 are written so that a parser of HTML or JavaScript sees none of them."""
    label = "</script><!-- & \u2028 标签"
    text = str(embedded(Curves("top-1", 2, (Line(label, False, (1,), (0.5,), (), ""),), 0)))
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text)["lines"][0]["label"] == label


def test_a_sweeps_page_says_what_happened(work: Path, mine: Sweep) -> None:
    """Progress, failures with their cause and traceback, divergence, provenance and the file stand on it."""
    page = unescape(text_of(work / "out" / "sweeps" / "mine.html"))
    assert "17 complete, 1 diverged, 1 failed, 1 pending" in page
    assert page.count(TRACEBACK) == 2  # one trial failed, one failed and was tried again
    assert "ValueError: <img src=x onerror=alert(1)></summary>" in page
    assert re.search(r"seed 3, in epoch 3", page)
    for known in ("a1b2c3d4", "0123456789abcdef", "fedcba9876543210", "shapes-v1", "A <b>GPU</b>", mine.text):
        assert known in page


def test_a_rows_changes_are_told(work: Path) -> None:
    """Every row shows the fields in which it differs, with both values."""
    page = text_of(work / "out" / "sweeps" / "mine.html")
    section = page[page.index('id="changes"') : page.index('id="failures"')]
    assert re.search(r"optimizer\.weight_decay.*?0\.05.*?0\.0<", section, re.DOTALL)
    assert re.search(r"loss\.smoothing.*?0\.0.*?0\.3<", section, re.DOTALL)
    assert "parameters the same, MACs the same" in section


def test_a_trials_page_begins_with_what_differs(work: Path, mine: Sweep, store: Store) -> None:
    """The difference comes first, then the whole recipe; attempts, numbers and curves follow."""
    trial = fill_keys(mine)[9]
    page = unescape(text_of(work / "out" / "trials" / f"{trial[:12]}.html"))
    places = [page.index(text) for text in ("loss.smoothing", "The whole recipe", "Numbers", "application/json",
                                            "Attempts", TRACEBACK)]  # fmt: skip
    assert places == sorted(places)
    assert trial in page
    assert "11,000,000" in page


def fill_keys(sweep: Sweep) -> list[str]:
    """The keys of the sweep's trials in the order of the table."""
    from tinyablate.plan import ask, unique

    return unique([ask(sweep)])


def test_a_trial_of_two_sweeps_names_both(work: Path, mine: Sweep, store: Store, tmp_path: Path) -> None:
    """Its page has the cells that it fills in either, each with what differs there."""
    text = (
        Path(mine.path)
        .read_text()
        .replace('label = "Add EMA"\nset.ema.decay = 0.9', 'label = "X"\nset.ema.decay = 0.5')
    )
    other = write_sweep(tmp_path, text.replace("Which <b>", "Another: which <b>"), "other")
    out = tmp_path / "out"
    write_report([mine, other], store, out)
    page = unescape(text_of(out / "trials" / f"{fill_keys(mine)[0][:12]}.html"))
    assert "../sweeps/mine.html" in page
    assert "../sweeps/other.html" in page


def test_a_large_sweep_has_a_page_for_each_row(tmp_path: Path) -> None:
    """Beyond 500 trials a row's trials stand on one page, each to be reached by its key."""
    sweep = write_sweep(tmp_path, grid(26, 20), "large")
    with Store(tmp_path / "a.db") as store:
        fill_fast(store, sweep)
        write_report([sweep], store, tmp_path / "out")
    pages = sorted(path.name for path in (tmp_path / "out" / "trials").iterdir())
    assert len(pages) == 26
    assert "large-row-26.html" in pages
    links = [link for link in Elements(text_of(tmp_path / "out" / "sweeps" / "large.html")).links if "trials/" in link]
    assert len(links) == 520
    for link in links[::40]:
        path, _, anchor = link.partition("#")
        assert f'id="{anchor}"' in text_of(tmp_path / "out" / "sweeps" / path)


def test_sweeps_are_told_apart_by_their_files_names(mine: Sweep, store: Store, tmp_path: Path) -> None:
    """a/b-c and a-b/c, and one with changes, have pages of their own."""
    from dataclasses import replace

    sweeps = [replace(mine, name="a/b-c", digest="1" * 64), replace(mine, name="a-b/c", digest="2" * 64),
              replace(mine, name="a/b-c", overrides=("ema.decay=0.9",)), replace(mine, name="../é &?#"),
              replace(mine, name="𠀀" * 60 + "/" + "𠀀" * 60, smoke=True)]  # fmt: skip
    write_report(sweeps, store, tmp_path)
    names = {path.name for path in (tmp_path / "sweeps").iterdir()}
    assert len(names) == 5
    assert "é.html" in names


def test_an_empty_database_and_a_sweep_that_never_ran(tmp_path: Path) -> None:
    """Either says so, with the next command."""
    sweep = write_sweep(tmp_path)
    with Store(tmp_path / "a.db") as store:
        assert found.stored(store) == ([], [])
        write_report([], store, tmp_path / "none")
        write_report([sweep], store, tmp_path / "unstarted")
    assert "tinyablate run SWEEP" in text_of(tmp_path / "none" / "index.html")
    assert "tinyablate run mine" in text_of(tmp_path / "unstarted" / "sweeps" / "mine.html")


def test_the_databases_sweeps_are_found_by_name(
    work: Path, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a name every sweep in the database is reported, and one whose file is gone is named."""
    monkeypatch.chdir(work)
    sweeps, missing = found.stored(store)
    assert [sweep.name for sweep in sweeps] == ["mine"]
    assert missing == []
    monkeypatch.chdir(tmp_path)
    sweeps, missing = found.stored(store)
    assert sweeps == []
    assert len(missing) == 1
    assert missing[0].startswith("left out: mine: ")


def test_results_that_change_are_written(tmp_path: Path) -> None:
    """A report after another result shows it."""
    sweep = write_sweep(tmp_path)
    with Store(tmp_path / "a.db") as store:
        write_report([sweep], store, tmp_path / "out")
        fill(store, sweep)
        write_report([sweep], store, tmp_path / "out")
    assert "17 complete" in text_of(tmp_path / "out" / "index.html")


def test_a_sweeps_name_cannot_write_to_the_terminal(store: Store, tmp_path: Path) -> None:
    """What an imported sweep is called is told as one line of text."""
    with Store(tmp_path / "a.db") as other:
        other.register(SweepRecord("d", "a\x1b[2J\nleft out: b", "t", "", False, ""), [], [])
        _, (told,) = found.stored(other)
    assert told.isprintable()


def test_a_stored_name_chooses_no_file(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is a path, which an import may bring, is that of no sweep here: no file is opened, nor looked at."""
    monkeypatch.chdir(work)
    names = [str(work / "sweeps" / "mine.toml"), "sweeps/mine.toml", str(work / "sweeps"), "sweeps", "../sweeps/mine"]
    with Store(tmp_path / "a.db") as other:
        for number, name in enumerate(names):
            other.register(SweepRecord(f"d{number}", name, "t", "", False, ""), [], [])
        sweeps, missing = found.stored(other)
        assert sweeps == []
        assert sorted(line.partition(": no such sweep")[0] for line in missing) == sorted(
            f"left out: {name}" for name in names
        )
        assert found.stamp((), other) == ""
        other.register(SweepRecord("real", "mine", "t", "", False, ""), [], [])
        assert [sweep.name for sweep in found.stored(other)[0]] == ["mine"]
        assert "mine.toml" in found.stamp((), other)
