"""`tinyablate run` through real Ray with a learner that computes nothing: claims, causes, stops, kills, leftovers."""

import contextlib
import dataclasses
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import TINY, Cli

NOOP = {"TINYABLATE_LEARNER": "analytic:noop"}
SLOW = {"TINYABLATE_LEARNER": "analytic:slow"}
FATES = {"TINYABLATE_LEARNER": "analytic:fates"}
ORIGIN = {"TINYABLATE_LEARNER": "analytic:origin"}


def workspaces(cli: Cli) -> set[Path]:
    """The temporary folders of runs."""
    return set(cli.temporary.glob(f"tinyablate-{os.getuid()}-*"))


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that mention the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in line:
            found.append(line.decode().replace("\0", " "))
    return found


def segments() -> set[str]:
    """Names in shared memory, but for those of PostgreSQL's servers."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("PostgreSQL.")}


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Until the condition holds; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def states(cli: Cli) -> dict[str, int]:
    """Number of trials by state, or nothing while there are none."""
    path = cli.folder / "results" / "ablations.db"
    if path.exists():
        with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
            return dict(connection.execute("SELECT state, count(*) FROM trials GROUP BY 1"))
    return {}


def signed_on(cli: Cli) -> int:
    """Number of drivers that the database ever had."""
    path = cli.folder / "results" / "ablations.db"
    if path.exists():
        with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
            return int(connection.execute("SELECT count(*) FROM drivers").fetchone()[0])
    return 0


def begun(cli: Cli) -> int:
    """Jobs that have begun to compute."""
    path = cli.folder / "results" / "ablations.db"
    if path.exists():
        with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
            jobs = "SELECT count(DISTINCT job) FROM attempts WHERE environment_id IS NOT NULL"
            return int(connection.execute(jobs).fetchone()[0])
    return 0


@dataclass
class Computed:
    """What a run by Ray did."""

    cli: Cli
    done: subprocess.CompletedProcess[str]
    left: set[Path]
    """New temporary folders of runs."""


@pytest.fixture(scope="module")
def computed(new_cli: Callable[[str], Cli]) -> Computed:
    """The small sweep computed by Ray, nothing disturbed; started in the checkout, with the results elsewhere."""
    cli = new_cli("computed")
    path, database = cli.write(), cli.folder / "results" / "ablations.db"
    before = workspaces(cli)
    in_checkout = dataclasses.replace(cli, folder=Path(__file__).parents[1])
    done = in_checkout("run", str(path), "--db", str(database), "--format", "csv", **ORIGIN)
    return Computed(cli, done, workspaces(cli) - before)


def test_run_then_nothing_to_do(computed: Computed) -> None:
    """A run fills every cell and leaves nothing behind; the second does nothing, says so, and prints the same table."""
    cli = computed.cli
    assert states(cli) == {"complete": 9}
    expected = {
        "sweep": "tiny", "trials": 9, "new": 0, "running": 0, "done": 9, "failed": 0, "stale": 0, "jobs": 0,
        "learners": 0, "reused": 0,
    }  # fmt: skip
    assert {key: value for key, value in cli.json("plan", "tiny").items() if key in expected} == expected
    assert computed.left == set()
    again = cli("run", "tiny", "--format", "csv", TINYABLATE_LEARNER="no.such:learner", RAY_ADDRESS="none")
    assert "nothing to do" in again.stderr
    assert again.stdout == computed.done.stdout
    assert cli.sql("SELECT count(*) AS n FROM attempts") == [{"n": 9}]
    assert not list((cli.folder / "results" / "ablations.db.trials").iterdir())
    assert (cli.folder / "results" / "parquet" / "trials.parquet").exists()


def test_workers_run_the_code_that_the_driver_started_with(computed: Computed) -> None:
    """Workers import the snapshot, also with the checkout as current folder: editing it changes nothing in flight.

    And they import nothing that only drivers need, which would cost each of them time and memory.
    """
    ((host, useless),) = (each.values() for each in computed.cli.sql("SELECT host, driver FROM environments"))
    assert host.endswith("/code/tinyablate/__init__.py")
    assert useless == ""


def test_both_launchers_give_the_same_table(cli: Cli, computed: Computed) -> None:
    """The inline launcher computes what Ray does, and both print what `table` does."""
    cli.write()
    rows = cli("run", "tiny", "--launcher", "inline", "--format", "csv", **NOOP).stdout
    assert rows.count("\n") >= 3
    assert rows == cli("table", "tiny", "--format", "csv").stdout
    assert rows == computed.done.stdout == computed.cli("table", "tiny", "--format", "csv").stdout


def test_observers_share_one_training(cli: Cli) -> None:
    """The EMA row's trials were computed in the jobs of the default's."""
    cli.write()
    cli("run", "tiny", "--launcher", "inline", **NOOP)
    jobs = cli.sql("SELECT count(DISTINCT job) AS jobs, count(*) AS attempts FROM attempts")
    assert jobs == [{"jobs": 6, "attempts": 9}]


def test_extending_a_sweep_runs_the_difference(cli: Cli) -> None:
    """More seeds and another row: only what is missing is computed, under the same keys."""
    cli.write()
    cli("run", "tiny", "--launcher", "inline", **NOOP)
    cli.write(TINY.replace("[0, 1, 2]", "[0, 1, 2, 3]") + '[[rows]]\nlabel = "SGD"\nset.optimizer.name = "sgd"\n')
    plan = cli.json("plan", "tiny")
    assert (plan["trials"], plan["new"], plan["done"]) == (16, 7, 9)
    cli("run", "tiny", "--launcher", "inline", **NOOP)
    assert cli.sql("SELECT count(*) AS n, count(DISTINCT trial_id) AS t FROM attempts") == [{"n": 16, "t": 16}]


ALONE = TINY.partition('[[rows]]\nlabel = "No decay"')[0]
"""A sweep of one row."""


def test_each_cause_takes_its_own_path(cli: Cli) -> None:
    """Exception, SIGKILL, crash, SIGTERM, hang, divergence: what is lost is tried again in the same run, what fails
    twice or diverges is not; the sweep goes on, `show` tells cause, place, and last words; the next run leaves it."""
    text = ALONE.replace("[0, 1, 2]", "[6, 0, 1, 2, 3, 4, 5, 7]").replace("schedule.epochs = 2", "schedule.epochs = 4")
    cli.write(text)
    done = cli("run", "tiny", "--hang-minutes", "0.2", code=1, **FATES)
    assert states(cli) == {"complete": 6, "diverged": 1, "failed": 1}
    assert "failed: trial" in done.stderr
    assert "1 failed: tinyablate retry tiny puts them back" in done.stderr
    assert "raylet" not in done.stdout + done.stderr
    told = "6 attempts ended early and had another after them: exception 2, worker lost 2, "
    assert told in done.stderr
    tried = cli.sql(
        "SELECT t.seed, a.number, a.state, a.cause, a.message, a.traceback, a.from_epoch, a.from_step "
        "FROM attempts a JOIN stored_trials t ON t.id = a.trial_id ORDER BY 1, 2"
    )
    paths = {seed: [(each["state"], each["cause"]) for each in tried if each["seed"] == seed] for seed in range(8)}
    again = {1: "exception", 3: "worker lost", 4: "worker lost", 5: "preempted", 6: "hung"}
    assert {seed: paths[seed] for seed in again} == {
        seed: [("failed", cause), ("complete", None)] for seed, cause in again.items()
    }
    assert paths[2] == [("failed", "exception")] * 2
    assert (paths[0], paths[7]) == ([("complete", None)], [("diverged", None)])
    assert all(each["from_epoch"] == 2 for each in tried if each["number"] == 2)  # nothing of epoch 1 is lost
    first = {each["seed"]: each for each in tried if each["number"] == 1}
    host = socket.gethostname()
    assert re.search(rf"^the worker process was killed, .* \(process \d+ on {host}\)$", first[3]["message"])
    assert "the last words of a worker" in first[3]["traceback"]
    assert first[4]["message"].startswith("the worker process crashed: Segmentation fault (process ")
    assert "no time slice ended for 12s" in first[6]["message"]
    assert "analytic.py" in first[6]["traceback"]  # where it hung
    (trial,) = cli.sql("SELECT trial AS key FROM trials WHERE seed = 2")
    shown = cli("show", trial["key"][:10]).stdout
    assert "ValueError: this seed is unlucky" in shown
    assert "Traceback" in shown
    cells = cli.json("table", "tiny")["rows"][0]["cells"]
    assert (cells[0]["n"], cells[0]["n_planned"]) == (6, 8)
    left = cli("run", "tiny", "--launcher", "inline", code=1, **NOOP)  # what failed is not taken up again
    assert "nothing to do: 7 of 8 trials are done" in left.stderr
    assert "1 failed: tinyablate retry tiny" in left.stderr
    cli("retry", "tiny")
    cli("run", "tiny", "--launcher", "inline", **NOOP)
    assert states(cli) == {"complete": 7, "diverged": 1}


def test_ctrl_c_saves_and_run_continues(cli: Cli) -> None:
    """SIGINT: every worker saves at its next update and ends; exit 130 with what remains; run goes on from there."""
    cli.write(TINY.replace("[0, 1, 2]", "[0]"))
    before = workspaces(cli)
    process = cli.start("run", "tiny", TINYABLATE_STEPS="2000", **SLOW)  # 100 s an epoch
    wait_for(lambda: begun(cli) == 2)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopping: what is under way (2 jobs) is saved at its next update; again: at once" in err
    assert "stopped: 0 of the trials of tiny done, 3 remain; run again to continue" in err
    assert out == ""
    assert workspaces(cli) == before
    assert states(cli) == {"pending": 3}
    ended = cli.sql("SELECT DISTINCT state, cause FROM attempts")
    assert ended == [{"state": "interrupted", "cause": "stopped"}]
    saved = {int(re.split("[-.]", path.name)[2]) for path in cli.folder.glob("results/*.trials/*/epoch-1-*.pt")}
    cli("run", "tiny", "--launcher", "inline", TINYABLATE_STEPS="2000", TINYABLATE_STEP_SECONDS="0", **SLOW)
    assert states(cli) == {"complete": 3}
    resumed = cli.sql("SELECT DISTINCT from_epoch AS e, from_step AS s FROM attempts WHERE number = 2")
    assert {each["s"] for each in resumed if each["e"] == 1} == saved != set()


def test_a_detached_run_lives_without_its_terminal(cli: Cli) -> None:
    """--detach returns at once; the driver goes on in a session of its own, takes no SIGHUP, writes a log, and SIGTERM
    stops it as Ctrl-C does."""
    cli.write(ALONE.replace("schedule.epochs = 2", "schedule.epochs = 50"))
    before = workspaces(cli)
    started = cli("run", "tiny", "--slots", "1", "--detach", **SLOW)
    found = re.search(r"as process (\d+); log: (\S+)", started.stderr)
    assert found, started.stderr
    assert "tinyablate watch tiny; to end it: tinyablate stop tiny" in started.stderr
    pid, log = int(found[1]), Path(found[2])
    assert log.parent == cli.folder / "results" / "logs"
    wait_for(lambda: any(cli.folder.glob("results/*.trials/*-1-*/epoch-1-4.pt")))
    assert os.getsid(pid) == pid
    assert cli.sql("SELECT name, log, ended_at FROM drivers") == [{"name": "tiny", "log": str(log), "ended_at": None}]
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: workspaces(cli) == before)
    assert "remain; run again to continue" in log.read_text()
    assert states(cli) == {"pending": 3}
    assert cli.sql("SELECT count(*) AS n FROM drivers WHERE ended_at IS NOT NULL") == [{"n": 1}]


def test_a_killed_driver_loses_nothing(cli: Cli, new_cli: Callable[[str], Cli]) -> None:
    """SIGKILL in the middle: its workers end by themselves; run again: one result per trial, the table of an unbroken
    run, no leftovers, also none in shared memory."""
    text = TINY.replace("schedule.epochs = 2", "schedule.epochs = 6").replace("[0, 1, 2]", "[0, 1]")
    cli.write(text)
    before, shared = workspaces(cli), segments()
    process = cli.start("run", "tiny", **SLOW)
    wait_for(lambda: states(cli).get("complete", 0) >= 2)
    (left,) = workspaces(cli) - before
    workers = [int(file.read_text().split(":")[1]) for file in (left / "workers").iterdir()]
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 10)
    done = cli("run", "tiny", "--format", "csv", **SLOW)
    assert "killed run" in done.stderr
    assert not left.exists()
    assert processes_of(left) == []
    assert segments() <= shared
    assert states(cli) == {"complete": 6}
    accepted = "SELECT count(*) AS n, count(DISTINCT trial_id) AS t FROM attempts WHERE state = 'complete'"
    assert cli.sql(accepted) == [{"n": 6, "t": 6}]
    other = new_cli("unbroken")
    other.write(text)
    assert other("run", "tiny", "--launcher", "inline", "--format", "csv", **NOOP).stdout == done.stdout


def test_two_runs_share_the_work(cli: Cli) -> None:
    """Two drivers on one database, of Ray and in one process, compute every trial once between them."""
    cli.write(TINY.replace("[0, 1, 2]", "[0, 1, 2, 3, 4, 5]").replace("schedule.epochs = 2", "schedule.epochs = 3"))
    ray = cli.start("run", "tiny", "--slots", "1", **SLOW)
    wait_for(lambda: "running" in states(cli))
    inline = cli.start("run", "tiny", "--launcher", "inline", "--device", "cpu", **SLOW)
    for process in (inline, ray):
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert states(cli) == {"complete": 18}
    assert cli.sql("SELECT count(*) AS n FROM attempts") == [{"n": 18}]
    assert len(cli.sql("SELECT DISTINCT owner FROM attempts")) == 2


@pytest.mark.parametrize(
    ("number", "delay"), [(signal.SIGINT, 0.0), (signal.SIGINT, 1.0), (signal.SIGINT, 2.5), (signal.SIGTERM, 0.1)]
)
def test_a_signal_before_the_first_trial_is_a_clean_stop(cli: Cli, number: signal.Signals, delay: float) -> None:
    """Whatever is starting (exec, imports, Ray): exit 130, no traceback, and nothing is left behind or running."""
    cli.write()
    before = workspaces(cli)
    process = cli.start("run", "tiny", **SLOW)
    assert process.stderr is not None
    while "trials to run" not in (line := process.stderr.readline()):
        assert line, "it ended before it began"
    time.sleep(delay)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    wait_for(lambda: workspaces(cli) == before, 10)
    assert states(cli).get("running", 0) == 0
    assert cli.sql("SELECT count(*) AS n FROM drivers WHERE ended_at IS NULL") == [{"n": 0}]


@pytest.mark.parametrize("seconds", [0.0, 5.0])  # before the driver has opened the database, and after
def test_a_signal_waits_for_no_locked_database(cli: Cli, seconds: float) -> None:
    """While another process holds the database, Ctrl-C ends a run that starts at once, by 130."""
    cli.write()
    before = workspaces(cli)
    process = cli.start("run", "tiny", **SLOW)
    wait_for(lambda: signed_on(cli))
    with contextlib.closing(sqlite3.connect(cli.folder / "results" / "ablations.db")) as holder:
        holder.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        since = time.monotonic()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - since < 30, "a lock is waited for 30 s and more"
    assert "Traceback" not in err
    assert workspaces(cli) == before


def test_two_signals_in_a_row(cli: Cli) -> None:
    """An impatient second Ctrl-C still exits 130 without a traceback, and run continues afterwards."""
    cli.write(TINY.replace("schedule.epochs = 2", "schedule.epochs = 30"))
    before = workspaces(cli)
    process = cli.start("run", "tiny", "--slots", "1", **SLOW)
    wait_for(lambda: any(cli.folder.glob("results/*.trials/*-1-*/epoch-1-4.pt")))
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert workspaces(cli) == before
    assert set(states(cli)) == {"pending"}


@pytest.mark.parametrize("launcher", ["ray", "inline"])
def test_a_gpu_that_is_not_there_is_refused(cli: Cli, launcher: str) -> None:
    """--device cuda on a machine without a GPU is an error, not a wait."""
    cli.write()
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    assert "no GPU" in cli("run", "tiny", "--device", "cuda", "--launcher", launcher, code=2, **NOOP, **hidden).stderr


def test_a_dead_ray_ends_the_run(cli: Cli) -> None:
    """SIGKILL of Ray's control service: the run says so and exits 1, its trials are given back, nothing is left."""
    cli.write(TINY.replace("schedule.epochs = 2", "schedule.epochs = 30"))
    before = workspaces(cli)
    process = cli.start("run", "tiny", **SLOW)
    wait_for(lambda: any(cli.folder.glob("results/*.trials/*-1-*/epoch-1-4.pt")))
    (root,) = workspaces(cli) - before
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        words = line.read_bytes()
        if words.partition(b"\0")[0].endswith(b"/gcs_server") and str(root).encode() in words:
            os.kill(int(line.parent.name), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "Ray's own process died" in err
    assert "run again to continue" in err
    assert set(states(cli)) == {"pending"}
    assert "failed" not in {each["state"] for each in cli.sql("SELECT state FROM attempts")}
    assert {each["cause"] for each in cli.sql("SELECT cause FROM attempts")} == {"node lost"}
    assert workspaces(cli) == before
    assert processes_of(root) == []


def test_a_write_lock_that_does_not_end(cli: Cli) -> None:
    """Another program that holds the database's write lock for too long: one message, exit 1, nothing lost."""
    cli.write()
    cli("run", "tiny", "--seeds", "7", "--launcher", "inline", **NOOP)
    database = cli.folder / "results" / "ablations.db"
    lock = sqlite3.connect(database, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    done = cli("run", "tiny", "--launcher", "inline", code=1, TINYABLATE_BUSY_SECONDS="1", **NOOP)
    assert "database is locked; run again to continue" in done.stderr
    lock.execute("ROLLBACK")
    lock.close()
    cli("run", "tiny", "--launcher", "inline", **NOOP)
    assert states(cli) == {"complete": 12}


def test_a_run_outlives_its_reader(cli: Cli) -> None:
    """A closed stdout or a pipe that nobody reads costs no work and no traceback."""
    cli.write()
    command = f"{sys.executable} -m tinyablate.cli run tiny --launcher inline --device cpu"
    for number, redirection in enumerate([">&-", "2>&-", "| true"]):
        shell = f"{command} --seeds {number} {redirection}"
        done = subprocess.run(["bash", "-c", shell], cwd=cli.folder, env=cli.env(NOOP), capture_output=True, text=True)
        assert "Traceback" not in done.stderr, shell
    assert states(cli) == {"complete": 9}
