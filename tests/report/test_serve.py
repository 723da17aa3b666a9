"""The report from a live database: what is answered, what is refused, and that open pages follow."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from reported import fill, write_sweep

from tinyablate.errors import StoreError, UsageError
from tinyablate.plan import ask, make_plan
from tinyablate.report.serve import Live, Server, bound
from tinyablate.run import register
from tinyablate.store import schema
from tinyablate.store.store import Store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep whose trials are known to its database, a.db, and not yet done."""
    monkeypatch.chdir(tmp_path)
    sweep = write_sweep(tmp_path)
    with Store("a.db") as store:
        register(store, make_plan([ask(sweep)], {}), "")
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """A server of that database, at a free port."""
    with bound(Live((), "a.db"), "127.0.0.1", 0) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask_for(server: Server, path: str, method: str = "GET", host: str | None = None) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of the answer; `path` is sent as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host if host is not None else f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), text


def test_pages_come_from_the_database_as_it_is(server: Server, folder: Path) -> None:
    """The same pages as a report's; after another result they and the state that pages watch are others."""
    status, headers, text = ask_for(server, "/")
    assert status == 200
    assert "20 pending" in text
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    state = json.loads(ask_for(server, "/state.json")[2])["state"]
    assert f'data-live="{state}"' in text
    assert json.loads(ask_for(server, "/state.json")[2])["state"] == state
    for path in ("/sweeps/mine.html", "/static/report.css", "/static/report.js"):
        assert ask_for(server, path)[0] == 200
    with Store("a.db") as store:
        trials = fill(store, write_sweep(folder))
    assert json.loads(ask_for(server, "/state.json")[2])["state"] != state
    assert "17 complete" in ask_for(server, "/sweeps/mine.html")[2]
    assert trials[0].key in ask_for(server, f"/trials/{trials[0].key[:12]}.html")[2]


def test_a_changed_sweep_file_is_another_state(server: Server, folder: Path) -> None:
    """Pages follow the file too; while it is broken its sweep is left out, and no answer fails."""
    state = ask_for(server, "/state.json")[2]
    path = folder / "sweeps" / "mine.toml"
    path.write_text(path.read_text().replace("Which <b>", "Whichever <b>"))
    assert ask_for(server, "/state.json")[2] != state
    assert "Whichever" in ask_for(server, "/")[2]
    path.write_text("title = ")
    assert ask_for(server, "/sweeps/mine.html")[0] == 404
    assert ask_for(server, "/")[0] == 200


def test_nothing_but_reading_is_answered(server: Server) -> None:
    """Other methods are refused; HEAD has the headers of GET and no body."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        status, headers, _ = ask_for(server, "/", method)
        assert status == 405
        assert headers["Allow"] == "GET, HEAD"
    status, headers, text = ask_for(server, "/index.html", "HEAD")
    assert (status, text) == (200, "")
    assert int(headers["Content-Length"]) == len(ask_for(server, "/index.html")[2].encode())


@pytest.mark.parametrize(
    "path",
    ["/../a.db", "/a.db", "/static/../../a.db", "/static/%2e%2e/%2e%2e/a.db", "/static/..%2f..%2fa.db", "//etc/passwd",
     "/etc/passwd", "/trials/../sweeps/mine.html", "/static/report.py", "/sweeps/mine.html/", "/%00", "/sweeps/",
     "/.html", "/trials/.html", "/trials/mine-row-1.html", "/trials/zz-row-9999999999999999999.html"],
)  # fmt: skip
def test_only_the_reports_own_paths_are_known(server: Server, path: str) -> None:
    """No path leads to a file: whatever is not a page of the report is not there."""
    assert ask_for(server, path)[0] == 404


def test_answers_forbid_what_pages_do_not_need(server: Server) -> None:
    """Scripts and styles from here alone, no framing, no guessing of types, nothing kept."""
    _, headers, _ = ask_for(server, "/")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "[", "a b"])
def test_another_sites_name_is_refused(server: Server, host: str) -> None:
    """A name that somebody else has led here (DNS rebinding) gets no page."""
    assert ask_for(server, "/", host=host)[0] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]:8765", "10.1.2.3"])
def test_numbers_and_this_machine_are_no_names_of_others(server: Server, host: str) -> None:
    """Numeric addresses and localhost are answered, whatever port a tunnel gave them."""
    assert ask_for(server, "/state.json", host=host)[0] == 200


def test_the_database_cannot_be_written(folder: Path) -> None:
    """SQLite itself refuses to write through the connections that requests get."""
    with Live((), "a.db").store() as store, store.engine().connect() as connection:
        with pytest.raises(sa.exc.OperationalError, match="readonly"):
            connection.execute(sa.delete(schema.trials))
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.trials)) == 20


def test_a_taken_port_is_told_with_a_free_one(server: Server, folder: Path) -> None:
    """The message names another port, which is free; an address of nobody's is told too."""
    with pytest.raises(UsageError, match=r"is taken by another program; (\d+) is free: --port \1") as told:
        bound(Live((), "a.db"), "127.0.0.1", server.server_port)
    other = int(str(told.value).rpartition(" ")[2])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", other))
    for host in ("no.such.host.invalid", "a" * 100, "a..b", "\udcff", "a\0b", "127.0.0.1:80"):
        with pytest.raises(UsageError, match="no such address"):
            bound(Live((), "a.db"), host, 0)
    with pytest.raises(UsageError, match="--host: is empty"):
        bound(Live((), "a.db"), "", 0)
    with pytest.raises(UsageError, match="cannot be listened at"):
        bound(Live((), "a.db"), "192.0.2.1", 0)


def test_a_database_that_is_gone_is_told(server: Server, folder: Path) -> None:
    """The answer says so; when it is back, pages are."""
    (folder / "a.db").rename(folder / "b.db")
    status, _, text = ask_for(server, "/")
    assert status == 503
    assert "no such database" in text
    (folder / "b.db").rename(folder / "a.db")
    assert ask_for(server, "/")[0] == 200


def test_there_must_be_a_database(tmp_path: Path) -> None:
    """None is made by serving."""
    with pytest.raises(StoreError, match="no such database"), Live((), str(tmp_path / "x.db")).store():
        pass
    assert not (tmp_path / "x.db").exists()


def test_an_open_page_follows(server: Server, folder: Path, look: Callable[..., Any]) -> None:
    """An open page shows new results within seconds, without loading again, and keeps its sorting and its toggles."""
    address = f"http://127.0.0.1:{server.server_port}/"
    with Store("a.db") as store:
        trials = fill(store, write_sweep(folder))
    page = look(f"{address}sweeps/mine.html", network=address)
    assert page.locator(".live").inner_text() == "live"
    page.evaluate("window.same = true")
    page.locator("#list thead button").first.click()
    page.locator("#curve .legend button").first.click()
    page.locator("#provenance summary").click()
    with Store("a.db") as store:
        (claim,) = store.claim([trials[-1].key], "late")
        store.fail(claim, "exception", "ValueError: late", "")
    page.get_by_text("ValueError: late").wait_for(timeout=20_000)
    assert page.evaluate("window.same")
    assert page.locator("#list th[aria-sort='ascending']").inner_text().strip() == "row"
    assert page.locator("#curve .legend button").first.get_attribute("aria-pressed") == "false"
    assert page.locator("#provenance details").get_attribute("open") is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_command_serves_until_ctrl_c(folder: Path, host: str) -> None:
    """`tinyablate serve` prints its address, answers there, and Ctrl-C ends it; beyond this machine it warns."""
    command = [sys.executable, "-m", "tinyablate.cli", "serve", "--db", "a.db", "--port", "0", "--host", host]
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, **pipes)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith(f"http://{host}:")
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert b"20 pending" in answer.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    warned, _, rest = errors.rpartition("Ctrl-C stops\n")
    assert rest == ""
    assert bool(warned) == (host != "127.0.0.1")
    assert "can read these results" in warned or not warned
