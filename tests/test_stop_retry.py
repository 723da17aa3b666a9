"""`tinyablate stop` and `tinyablate retry` as a user meets them, on real runs and on drivers that only wait."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import TINY, Cli
from driven import ELSEWHERE, begun, driver, sweep, trials

from tinyablate import retries
from tinyablate.looking import look
from tinyablate.store.store import Store

SLOW = {"TINYABLATE_LEARNER": "analytic:slow"}
RAISES = {"TINYABLATE_LEARNER": "analytic:raises", "TINYABLATE_STEP_SECONDS": "0.001"}
"""Seed 2 fails, each time."""
DIVERGES = {"TINYABLATE_LEARNER": "analytic:not_finite"}
"""Of seeds 0 and 2 the second diverges."""
NOOP = {"TINYABLATE_LEARNER": "analytic:noop"}

SECONDS = 60.0
"""How long is waited for: far longer than it takes."""


@pytest.fixture
def store(cli: Cli) -> Iterator[Store]:
    """The database of the command line's folder, with a sweep of two trials in a folder of sweeps."""
    with Store(cli.folder / "results" / "ablations.db") as opened:
        sweep(opened, "paper/a", trials(2))
        yield opened


@pytest.fixture
def drivers(store: Store) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts processes that are drivers of the database, and ends what is left of them."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: object) -> "subprocess.Popen[str]":
        started.append(driver(store.location.text, *words))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def signals(process: "subprocess.Popen[str]") -> int:
    """How many signals a driver got until it left."""
    out, _ = process.communicate(timeout=SECONDS)
    return int(out)


# ---- stop ------------------------------------------------------------------------------------------------------------


def test_stop_ends_a_run_that_can_be_continued(cli: Cli) -> None:
    """The run saves, leaves with 130, and says what remains, as stop does; then no run is under way, and another one
    finishes what remains."""
    cli.write(TINY.replace("epochs = 2", "epochs = 40"))
    run = cli.start("run", "tiny", "--launcher", "inline", **SLOW)
    until(lambda: runs(cli))
    done = cli("stop", "tiny")
    out, err = run.communicate(timeout=SECONDS)
    assert (run.returncode, out) == (130, ""), err
    assert "asked " in done.stderr
    assert "tiny: 0 of 9 trials done · 0 running · 9 pending\nnext: tinyablate run tiny\n" in done.stderr
    assert cli("stop").stderr == "no run is under way on this database\n"
    assert {row["cause"] for row in cli.sql("SELECT cause FROM attempts")} == {"stopped"}
    assert cli("run", "tiny", "--launcher", "inline", **NOOP).returncode == 0
    assert "no run of tiny is under way" in cli("stop", "tiny").stderr


def runs(cli: Cli) -> bool:
    """Whether a trial is under way; also before there is a database."""
    path = cli.folder / "results" / "ablations.db"
    if not path.exists():
        return False
    with Store(path) as store:
        return bool(look(store).running)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_stop_sends_one_signal_and_waits(cli: Cli, drivers: Callable[..., "subprocess.Popen[str]"]) -> None:
    """It returns when the driver has left, and has not been ended at once: that takes a second signal."""
    process = drivers("paper/a", 1, 1.0)
    assert "asked " in cli("stop").stderr
    assert process.poll() is not None or process.wait(1.0) == 0
    assert signals(process) == 1


def test_now_sends_the_second_signal(cli: Cli, drivers: Callable[..., "subprocess.Popen[str]"]) -> None:
    """With --now a run that takes its time is ended at once."""
    process = drivers("paper/a", 2)
    began = time.monotonic()
    cli("stop", "paper/a", "--now")
    assert signals(process) >= 1
    assert time.monotonic() - began < SECONDS


def test_only_the_named_sweeps_runs_are_stopped(cli: Cli, drivers: Callable[..., "subprocess.Popen[str]"]) -> None:
    """A folder's name means all in it; a part of a folder that runs as a whole cannot be stopped alone."""
    whole, other = drivers("paper"), drivers("else")
    err = cli("stop", "paper/a", code=2).stderr
    assert "paper/a: runs as a part of paper; to stop all of that: tinyablate stop paper" in err
    assert "papers: was never run with this database; did you mean 'paper'?" in cli("stop", "papers", code=2).stderr
    cli("stop", "paper/")
    assert signals(whole) == 1
    assert other.poll() is None


def test_another_machines_run_is_asked_through_the_database(cli: Cli, store: Store) -> None:
    """No signal reaches it: it is asked, and waited for until it has left; Ctrl-C ends only the waiting."""
    store.owner = ELSEWHERE
    store.enter("paper/a", None)
    begun(store, trials(1)[0])
    asked = cli("stop", "--no-wait", "--now").stderr
    assert (
        "asked elsewhere.example:17 to stop: paper/a (on elsewhere.example: it looks within seconds; --now works only"
        in asked
    )
    assert store.beat_driver()
    assert "asked to stop" in cli("status").stdout
    waiting = cli.start("stop")
    assert waiting.stderr is not None
    assert "asked" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=SECONDS)
    assert (waiting.returncode, "Traceback" in err) == (130, False)
    waiting = cli.start("stop")
    assert waiting.stderr is not None
    assert "asked" in waiting.stderr.readline()
    store.leave()
    _, err = waiting.communicate(timeout=SECONDS)
    assert waiting.returncode == 0, err
    assert "paper/a: 0 of 2 trials done" in err


def test_stop_refuses_what_is_no_database(cli: Cli) -> None:
    """A database that is not there, or is none, is told in a line."""
    assert "no such database" in cli("stop", code=2).stderr
    assert "not a database that tinyablate knows" in cli("stop", "--db", "mysql://host/name", code=2).stderr


# ---- retry -----------------------------------------------------------------------------------------------------------


def test_retry_puts_failed_trials_back(cli: Cli) -> None:
    """Only they are tried again, and by the next run alone; status and show name cause and command until then."""
    cli.write()
    cli("run", "tiny", "--launcher", "inline", code=1, **RAISES)
    assert cli.sql("SELECT count(*) AS n FROM trials WHERE state = 'failed'") == [{"n": 3}]
    assert "tiny: exception 3; next: tinyablate retry tiny\nexception: its code" in cli("status", "tiny").stdout
    cli("run", "tiny", "--launcher", "inline", code=1, **NOOP)
    key = cli.sql("SELECT trial FROM trials WHERE state = 'failed'")[0]["trial"]
    assert "then: given up after 2 attempts" in cli("show", key).stdout
    told = cli("retry", "tiny").stderr
    assert "tiny: put back 3 failed trials (exception 3)\nexception: its code" in told
    assert told.endswith("next: tinyablate run tiny\n")
    assert "nothing to put back: no trial has failed; 6 done, 3 pending, 0 running" in cli("retry", "tiny").stderr
    assert "put back by `tinyablate retry`" in cli("show", key).stdout
    cli("run", "tiny", "--launcher", "inline", **NOOP)
    assert cli.sql("SELECT state, count(*) AS n FROM trials GROUP BY 1") == [{"state": "complete", "n": 9}]


def test_retry_of_diverged_trials_gives_their_result_up(cli: Cli) -> None:
    """It is asked for by name; the old result stays readable, and the next run's is the one that counts."""
    cli.write(TINY.replace("seeds = [0, 1, 2]", "seeds = [0, 2]"))
    cli("run", "tiny", "--launcher", "inline", **DIVERGES)
    told = cli("retry", "tiny").stderr
    assert "3 trials diverged: tinyablate retry tiny --state diverged" in told
    assert "put back 3 diverged trials" in cli("retry", "tiny", "--state", "diverged").stderr
    cli("run", "tiny", "--launcher", "inline", **NOOP)
    assert cli.sql("SELECT DISTINCT state FROM trials") == [{"state": "complete"}]
    assert cli.sql("SELECT count(*) AS n FROM attempts WHERE state = 'superseded'") == [{"n": 3}]


def test_retry_means_the_sweep_as_it_was_run(cli: Cli) -> None:
    """Options that make other trials of a sweep are a part of what is put back, and of the command that it proposes."""
    cli.write()
    changed = ["--set", "schedule.epochs=3", "--seeds", "2", "--db", "my results.db"]
    cli("run", "tiny", *changed, "--launcher", "inline", code=1, **RAISES)
    err = cli("retry", "tiny", "--db", "my results.db", code=2).stderr
    command = "tinyablate retry tiny --set schedule.epochs=3 --seeds 2 --db 'my results.db'\n"
    assert f"tiny: was run with this database, but not so; as it was run:\n{command}" in err
    told = cli("retry", "tiny", *changed).stderr
    command = "next: tinyablate run tiny --set schedule.epochs=3 --seeds 2 --db 'my results.db'\n"
    assert told.endswith(command)
    assert "put back 3 failed trials" in told


def test_retry_refuses_what_cannot_be_meant(cli: Cli) -> None:
    """An unknown sweep, a database that is not there, another state."""
    cli.write()
    assert "did you mean 'tiny'" in cli("retry", "tinny", code=2).stderr
    assert "no such database" in cli("retry", "tiny", code=2).stderr
    assert not (cli.folder / "results").exists()
    assert "'complete' is not one of 'failed', 'diverged'" in cli("retry", "tiny", "--state", "complete", code=2).stderr


def test_every_cause_has_a_cure() -> None:
    """Whatever a trial can fail by, a person is told what to do."""
    from tinyablate.cures import CURES, cure

    assert set(CURES) == set(retries.CAUSES) - {retries.STOPPED}
    assert cure(None) == "its message says what happened"
