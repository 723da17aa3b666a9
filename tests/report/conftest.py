"""A report to look at, and a browser to look with."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reported import fill, write_sweep

from tinyablate.report.write import write_report
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Sweep


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep, a database of its results, `a.db`, and their report, `out`."""
    folder = tmp_path_factory.mktemp("report")
    sweep = write_sweep(folder)
    with Store(folder / "a.db") as store:
        fill(store, sweep)
        write_report([sweep], store, folder / "out")
    return folder


@pytest.fixture(scope="session")
def mine(work: Path) -> Sweep:
    """That sweep."""
    return load(work / "sweeps" / "mine.toml")


@pytest.fixture
def store(work: Path) -> Iterator[Store]:
    """That database."""
    with Store(work / "a.db") as opened:
        yield opened


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as tool:
        found = tool.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page, with `color_scheme` and the like; when the test ends it must have had nothing to complain about.

    That is: no message on its console, no error, and no request but for files, unless `network` allows one address.
    """
    complaints: list[str] = []
    contexts = []

    def open_page(address: str, network: str = "file:", **options: Any) -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith((network, "data:")) or complaints.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
