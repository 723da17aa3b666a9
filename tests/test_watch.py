"""`tinyablate watch` as a user meets it: lines, a panel, ends; with real processes and databases."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import Cli
from driven import ELSEWHERE, LABEL, begun, sweep, token, trials
from inspection.conftest import outcome
from servers import PostgresServer

from tinyablate import retries
from tinyablate.job import Progress
from tinyablate.processes import shown
from tinyablate.store.store import Store

SECONDS = 30.0
"""How long a line is waited for: far longer than it takes."""


@pytest.fixture
def store(cli: Cli) -> Iterator[Store]:
    """The database of the command line's folder, with a sweep of three trials."""
    with Store(cli.folder / "results" / "ablations.db") as opened:
        sweep(opened, "mine", trials(3))
        yield opened


class Reader:
    """The lines of a running command, as they come."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process, self.text = process, ""

    def until(self, pattern: str) -> str:
        """Read until a line matches; all that was read so far."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + SECONDS
        while not re.search(pattern, self.text):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            read = os.read(self.process.stdout.fileno(), 65536).decode() if ready else ""
            assert read, f"no {pattern!r} in:\n{self.text}"
            self.text += read
        return self.text

    def end(self) -> tuple[int, str, str]:
        """Exit code, what came since on stdout, and stderr."""
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err


@contextmanager
def watching(cli: Cli, *words: str) -> Iterator[Reader]:
    """`tinyablate watch` under way."""
    process = cli.start("watch", *words)
    try:
        yield Reader(process)
    finally:
        process.kill()
        process.communicate()


def test_lines_tell_what_happens(cli: Cli, store: Store) -> None:
    """All at first; then every change of the counts, every attempt that breaks, and at the end what is to be done."""
    first, second, third = trials(3)
    store.owner = ELSEWHERE
    store.enter("mine", None)
    claim = begun(store, first)
    store.heartbeat({claim: Progress(2, 2, 1, 4, 1234.0)})
    with watching(cli, "mine", "--db", "./results/ablations.db") as reader:
        text = reader.until(r"driver (?s:.*)\n.*\n.*\n")
        assert text.startswith("mine: 0 of 3 trials done · 1 running · 2 pending · 1,234 images/s · ")
        assert f"driver {shown(ELSEWHERE)}: mine, for " in text
        assert re.search(rf"  mine: {re.escape(LABEL)} +0 +1 +2 of 2 +1,234 +\d+s ago +{first.key[:12]}\n", text)
        store.finish(claim, outcome(["1", "0"]))
        reader.until("1 of 3 trials done")
        store.again(begun(store, second), retries.WORKER_LOST, "")
        reader.until(f"mine: {re.escape(LABEL)}, seed 1: worker lost in attempt 1, to be tried again")
        store.fail(begun(store, third), retries.DATA, "", "")
        reader.until(rf"seed 2: data in attempt 1, given up; see: tinyablate show {third.key[:12]} --db \./results")
        store.leave()
        code, out, err = reader.end()
    assert (code, err) == (1, "")
    assert (reader.text + out).endswith(
        "mine: 1 of 3 trials done · 1 failed · 0 running · 1 pending\n"
        "failed by: data 1\ntried again after: worker lost 1\n"
        "next: tinyablate retry mine --db ./results/ablations.db\n"
        "next: tinyablate run mine --db ./results/ablations.db\n"
    )


def test_it_ends_well_when_all_is_done(cli: Cli, store: Store) -> None:
    """Exit code 0, where every trial has its result."""
    store.owner = ELSEWHERE
    store.enter("mine", None)
    claims = [begun(store, trial) for trial in trials(3)]
    with watching(cli) as reader:
        reader.until("3 running")
        for claim in claims:
            store.finish(claim, outcome(["1", "0"]))
        store.leave()
        code, out, _ = reader.end()
    assert code == 0
    assert out.endswith("mine: 3 of 3 trials done · 0 running · 0 pending\n")


def test_a_driver_that_dies_ends_it(cli: Cli, store: Store) -> None:
    """A driver that was killed is told by its token, and that its trials are free."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    store.owner = token(process.pid)
    store.enter("mine", None)
    begun(store, trials(1)[0])
    with watching(cli) as reader:
        reader.until("1 running")
        process.kill()
        process.wait()
        code, out, _ = reader.end()
    assert code == 1
    assert f"driver {shown(store.owner)} is gone without a word; what it computed is free again" in out
    assert out.endswith("next: tinyablate run mine\n")


def test_ctrl_c_only_detaches(cli: Cli, store: Store) -> None:
    """Exit code 130 and no traceback; the driver goes on and was asked nothing."""
    store.owner = ELSEWHERE
    store.enter("mine", None)
    with watching(cli) as reader:
        reader.until("0 running")
        reader.process.send_signal(signal.SIGINT)
        code, _, err = reader.end()
    assert (code, err) == (130, "detached; runs go on: tinyablate stop ends them\n")
    (driver,) = store.drivers()
    assert driver.live
    assert not driver.stop_asked


def test_a_reader_that_has_seen_enough_ends_it(cli: Cli, store: Store) -> None:
    """A closed pipe, as of head, is no error."""
    store.owner = ELSEWHERE
    store.enter("mine", None)
    with watching(cli) as reader:
        reader.until("0 running")
        assert reader.process.stdout is not None
        reader.process.stdout.close()
        begun(store, trials(1)[0])
        assert reader.process.wait(SECONDS) == 0
        assert reader.process.stderr is not None
        assert reader.process.stderr.read() == ""


def test_where_nothing_runs_it_says_so(cli: Cli, store: Store) -> None:
    """Exit code 0 with what is known of a sweep that is named; an unknown sweep or database is refused."""
    assert cli("watch").stderr == "nothing runs on this database\n"
    assert (
        cli("watch", "mine").stderr
        == "nothing runs on this database; mine: 0 of 3 trials done · 0 running · 3 pending\n"
    )
    assert "mien: was never run with this database; did you mean 'mine'?" in cli("watch", "mien", code=2).stderr
    assert "no such database" in cli("watch", "--db", "other.db", code=2).stderr
    (cli.folder / "text.db").write_text("not a database, but a longer text than the header of one")
    assert "text.db" in cli("watch", "--db", "text.db", code=2).stderr


def test_it_draws_a_panel_on_a_terminal(cli: Cli, store: Store) -> None:
    """The panel is drawn over itself, fits the terminal and leaves nothing; the end stays."""
    store.owner = ELSEWHERE
    store.enter("mine", None)
    claim = begun(store, trials(1)[0])
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    command = [sys.executable, "-m", "tinyablate.cli", "watch"]
    environment = cli.env({"TERM": "xterm"})
    environment.pop("COLUMNS", None)  # set where tests run in parallel, it would count for more than the terminal's own
    process = subprocess.Popen(command, cwd=cli.folder, env=environment, stdout=end, stderr=end)
    os.close(end)
    drawn = b""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            drawn += os.read(screen, 65536)
        except OSError:  # the other end is closed
            break
        if drawn.count(b"1 running") == 2 and claim.trial_id:
            store.finish(claim, outcome(["1", "0"]))
            store.leave()
    text = drawn.decode()
    assert process.wait(SECONDS) == 1
    assert "\x1b[2K" in text, "drawn over what was there"
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()
    assert [line for line in lines if len(line) > 60] == []
    assert text.endswith("mine: 1 of 3 trials done · 0 running · 2 pending\r\nnext: tinyablate run mine\r\n")


def test_a_database_that_is_away_is_waited_for(cli: Cli, postgres: PostgresServer, postgres_url: str) -> None:
    """A server that is stopped is told once, then that it is back; the password is told nowhere."""
    with Store(postgres_url) as store:
        sweep(store, "mine", trials(1))
        store.owner = ELSEWHERE
        store.enter("mine", None)
        with watching(cli, "--db", postgres_url) as reader:
            reader.until("0 running")
            postgres.stop("immediate")
            reader.until("cannot be reached at present")
            postgres.start()
            reader.until("the database is back")
            store.finish(begun(store, trials(1)[0]), outcome(["1", "0"]))
            store.leave()
            code, out, err = reader.end()
    assert (code, err) == (0, "")
    assert reader.text.count("cannot be reached") == 1
    assert "p%40ss" not in reader.text + out
