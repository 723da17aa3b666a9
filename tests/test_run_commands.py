"""What the command line makes of `run`'s options about what may go wrong, of --detach, and of an early Ctrl-C."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY, Cli

INLINE = ["--launcher", "inline"]
SLOW = {"TINYABLATE_LEARNER": "analytic:slow", "TINYABLATE_STEP_SECONDS": "0.1"}


def test_options_reach_the_job(cli: Cli) -> None:
    """What was asked for stands in the job that a learner gets."""
    cli.write(TINY.replace("seeds = [0, 1, 2]", "seeds = [0]"))
    (cli.folder / "telling.py").write_text(
        "def job(job, due):\n    raise ValueError(f'{job.checkpoint_minutes} {job.keep_weights}')\n    yield\n"
    )
    learner = {"TINYABLATE_LEARNER": "telling:job"}
    err = cli("run", "tiny", *INLINE, "--checkpoint-minutes", "2.5", "--keep-weights", code=1, **learner).stderr
    assert "ValueError: 2.5 True" in err
    cli("retry", "tiny")
    assert "ValueError: None False" in cli("run", "tiny", *INLINE, code=1, **learner).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--checkpoint-minutes", "0"], "--checkpoint-minutes"),
        (["--checkpoint-minutes", "nan"], "is no number of minutes"),
        (["--hang-minutes", "-1"], "--hang-minutes"),
        (["--hang-minutes", "0.01"], "0.01 is less than 0.05 minutes: a worker that is well is silent for as long"),
        (["--hang-minutes", "soon"], "'soon' is not a valid number of minutes"),
        (["--max-lost", "0"], "--max-lost"),
        (["--detach", *INLINE], "--detach: goes with --launcher ray"),
    ],
)
def test_impossible_options_are_refused(cli: Cli, words: list[str], told: str) -> None:
    """With the option's name and what is valid, before anything is done."""
    cli.write()
    assert told in cli("run", "tiny", *words, code=2).stderr
    assert not (cli.folder / "results").exists()


def test_a_table_that_cannot_be_printed_is_no_success(cli: Cli) -> None:
    """Where stdout is closed, or full: exit code 1, in a word, with the command for the table, which is stored."""
    cli.write()
    cli("run", "tiny", *INLINE, "--db", "my.db", TINYABLATE_LEARNER="analytic:noop")
    for words, where, told in [
        ("run", "&-", "stdout: it is closed; the results are stored: tinyablate table tiny --db my.db\n"),
        ("run", "/dev/full", "stdout: No space left on device; the results are stored: tinyablate table tiny --db"),
        ("table", "&-", "error: [Errno 9] it is closed: 'stdout'\n"),
    ]:
        line = f"{sys.executable} -m tinyablate.cli {words} tiny --db my.db >{where}"
        done = subprocess.run(line, shell=True, cwd=cli.folder, env=cli.env({}), capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert told in done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr


def test_help_says_where_a_password_belongs(cli: Cli) -> None:
    """--db names both kinds of databases, and how a password stays out of the list of processes."""
    text = " ".join(cli("watch", "--help").stdout.split())
    assert "postgresql://USER@HOST:PORT/NAME" in text
    assert "PGPASSWORD or ~/.pgpass" in text


def test_proposed_commands_hold_no_password(cli: Cli, postgres_url: str) -> None:
    """What is to be typed next names the database, without what the user wrote there as its password."""
    cli.write(TINY.replace("seeds = [0, 1, 2]", "seeds = [2]"))
    environment = {"TINYABLATE_LEARNER": "analytic:raises", "TINYABLATE_STEP_SECONDS": "0.001"}
    done = cli("run", "tiny", *INLINE, "--db", postgres_url, code=1, **environment)
    told = done.stdout + done.stderr
    key = cli("query", "SELECT max(trial) FROM trials", "--db", postgres_url, "--format", "csv").stdout.split()[1]
    for words in (["show", key, "--why"], ["status"], ["retry", "tiny"], ["watch"], ["stop"]):
        done = cli(*words, "--db", postgres_url)
        told += done.stdout + done.stderr
    assert re.search(r"tinyablate run tiny --db postgresql://tester@127\.0\.0\.1:\d+/\w+\n", told)
    assert re.search(r"then `tinyablate retry tiny --db postgresql://tester@127\.0\.0\.1:\d+/\w+`", told)
    assert "p%40ss" not in told
    assert "p@ss" not in told


def test_a_detached_run_is_watched_to_its_end(cli: Cli) -> None:
    """The command returns while the run goes on, which can be watched from its first moment on; its log has the table,
    and nothing of it is left behind."""
    cli.write(TINY.replace("seeds = [0, 1, 2]", "seeds = [0]"))
    err = cli("run", "tiny", "--detach", "--db", "here.db", **SLOW).stderr
    assert "tinyablate watch tiny --db here.db; to end it: tinyablate stop tiny --db here.db" in err
    (log,) = (cli.folder / "logs").iterdir()
    assert str(log) in err
    assert str(log) in cli("status", "--db", "here.db").stdout
    seen = cli("watch", "--db", "here.db").stdout
    assert re.search(r"driver \S+: tiny, for ", seen)
    assert seen.endswith("tiny: 3 of 3 trials done · 0 running · 0 pending\n")
    assert re.search(r"^No decay +72\.\d+", log.read_text(), re.M)
    deadline = time.monotonic() + 30
    while list(cli.temporary.glob("tinyablate-*")) and time.monotonic() < deadline:
        time.sleep(0.05)  # the driver has left the database, and removes its folder
    assert not list(cli.temporary.glob("tinyablate-*"))


def test_ctrl_c_while_the_command_line_is_imported(cli: Cli, tmp_path: Path) -> None:
    """It ends the process at once with 130, in a word and without a traceback; so does a scheduler's SIGTERM."""
    for number in ("SIGINT", "SIGTERM"):
        (tmp_path / "click.py").write_text(
            f"import os, signal, time\nos.kill(os.getpid(), signal.{number})\ntime.sleep(30)\n"
        )
        path = os.pathsep.join([str(tmp_path), cli.env({})["PYTHONPATH"]])
        command = [sys.executable, "-m", "tinyablate.cli", "--help"]
        done = subprocess.run(command, env=cli.env({"PYTHONPATH": path}), capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_importing_the_command_line_leaves_signals_alone() -> None:
    """Only while it is imported are they its own."""
    code = (
        "import signal\nbefore = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]\n"
        "import tinyablate.cli\nassert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before\n"
        "import threading, importlib\nthread = threading.Thread(target=importlib.reload, args=[tinyablate.cli])\n"
        "thread.start()\nthread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
