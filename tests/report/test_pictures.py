"""Declared figures in a report, and the forest plot's marks: from disk, in a browser, from a live database."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from reported import SWEEP, fill, write_sweep

from tinyablate.report.plots import forests
from tinyablate.report.serve import Live, bound
from tinyablate.report.site import Site
from tinyablate.report.write import write_report
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.tables.collect import collect
from tinyablate.tables.figures.drawn import written

FIGURES = """
[[rows]]
label = "Again"
null = true
seeds = [10, 11, 12, 13]
[[figures]]
kind = "slopes"
[[figures]]
kind = "forest"
[[figures]]
kind = "power"
name = "noise"
[[figures]]
kind = "heatmap"
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of several figures, its results and their report, `out`."""
    folder = tmp_path_factory.mktemp("pictures")
    text = SWEEP.partition("[figure]")[0].replace('metrics = ["val_top1", "val_loss"]', 'metrics = ["val_top1"]')
    sweep = write_sweep(folder, text + FIGURES.replace("null = true\n", ""), "drawn")
    with Store(folder / "a.db") as store:
        fill(store, sweep)
        write_report([sweep], store, folder / "out")
    return folder


def test_declared_figures_are_files_of_the_report(drawn: Path) -> None:
    """Each has its picture and numbers, linked from the page with words for who cannot see it."""
    out = drawn / "out"
    names = sorted(path.name for path in (out / "figures" / "drawn").iterdir())
    assert names == ["noise.csv", "noise.svg", "slopes.csv", "slopes.svg"]
    page = unescape((out / "sweeps" / "drawn.html").read_text())
    assert 'src="../figures/drawn/slopes.svg" alt="slopes: top-1 (%)"' in page
    assert 'href="../figures/drawn/slopes.csv"' in page
    assert "black: the mean." in page
    assert "cannot be shown as 'heatmap': it has no second axis" in page
    picture = (out / "figures" / "drawn" / "slopes.svg").read_text()
    assert "black: the mean." not in picture  # it stands in the page
    assert (out / "figures" / "drawn" / "slopes.csv").read_text().startswith("label,reference,seed,before,after\n")


def test_figures_go_with_their_sweep(drawn: Path, tmp_path: Path) -> None:
    """A report without it removes them and their folders; equal results are equal bytes."""
    from tinyablate.sweep.load import load

    with Store(drawn / "a.db") as store:
        write_report([load(drawn / "sweeps" / "drawn.toml")], store, tmp_path)
        first = (drawn / "out" / "figures" / "drawn" / "noise.svg").read_bytes()
        assert (tmp_path / "figures" / "drawn" / "noise.svg").read_bytes() == first
        write_report([], store, tmp_path)
    assert not (tmp_path / "figures").exists()


def test_a_figure_is_painted_once_and_only_when_asked(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page paints none; a picture asked for twice is painted once; other paths lead nowhere."""
    from tinyablate.report import pictures
    from tinyablate.sweep.load import load

    painted = list[str]()
    whole = pictures.painted

    def counted(*given: Any) -> bytes:
        painted.append(given[1].name)
        return whole(*given)

    monkeypatch.setattr(pictures, "painted", counted)
    site = Site([load(drawn / "sweeps" / "drawn.toml")])
    with Store(drawn / "a.db") as store:
        assert site.page("sweeps/drawn.html", store)
        assert painted == []
        assert site.page("figures/drawn/slopes.svg", store) == site.page("figures/drawn/slopes.svg", store)
        assert painted == ["slopes"]
        for path in ("figures/drawn/heatmap.svg", "figures/drawn/slopes.png", "figures/slopes.svg", "figures/x/y.svg",
                     "figures/drawn/../drawn/slopes.svg"):  # fmt: skip
            assert site.page(path, store) is None


@pytest.fixture
def address(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where that database is served."""
    monkeypatch.chdir(drawn)
    with bound(Live((), "a.db"), "127.0.0.1", 0) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}/"
        found.shutdown()
        thread.join()


@pytest.mark.parametrize("live", [False, True])
def test_figures_are_seen(drawn: Path, address: str, look: Callable[..., Any], live: bool) -> None:
    """Pictures load from disk and from a server with its policy, glyphs and colours included, without a complaint."""
    if live:
        page = look(f"{address}sweeps/drawn.html", network=address)
    else:
        page = look((drawn / "out" / "sweeps" / "drawn.html").as_uri())
    images = page.locator(".picture img")
    assert images.count() == 2
    for at in range(2):
        images.nth(at).scroll_into_view_if_needed()
        page.wait_for_function("each => each.complete", arg=images.nth(at).element_handle())
        assert images.nth(at).evaluate("each => each.naturalWidth") > 200


def test_the_forest_shows_what_the_figure_shows(drawn: Path, look: Callable[..., Any]) -> None:
    """Block intervals behind the others, hollow points of null rows, and what each row comes to."""
    page = look((drawn / "out" / "sweeps" / "drawn.html").as_uri())
    data = json.loads(re.findall(r'json">(.*?)</script>', page.content())[0])
    blocks = sum(each["block_low"] is not None for each in data["intervals"])
    assert page.locator("#forest-1 .block").count() == blocks > 2
    assert page.locator("#forest-1 .verdict").first.text_content().startswith("n too small")


def test_a_row_far_outside_does_not_set_the_axis(drawn: Path) -> None:
    """The ends that the page's script keeps to leave out a row that is far from all others."""
    from tinyablate.sweep.load import load

    with Store(drawn / "a.db") as store:
        table = collect(load(drawn / "sweeps" / "drawn.toml"), store)
    (usual,) = forests(table, 0.5)
    assert usual.low < min(each.low or 0.0 for each in usual.intervals if each.low is not None)
    row = table.rows[1]
    cell = row.cells[0]
    assert cell.comparison is not None
    far = replace(cell.comparison, value=-740.0, low=-741.0, high=-739.0, block_low=-740.5, block_high=-739.5)
    rows = (table.rows[0], replace(row, cells=(replace(cell, comparison=far),)), *table.rows[2:])
    (cut,) = forests(replace(table, rows=rows), 0.5)
    assert cut.intervals[0].value == -740.0
    assert cut.low > -100.0


def test_values_are_written_as_in_a_table() -> None:
    """Small counts keep two digits that count, a loss has its own digits unless a file wants others."""
    macs, loss = metrics.lookup("macs"), metrics.lookup("val_loss")
    assert [written(macs, value) for value in (0.0014, 1.8, 0.0)] == ["0.0014 G", "1.80 G", "0.00 G"]
    assert (written(loss, 1.23456), written(loss, 1.23456, 2)) == ("1.2346", "1.23")
