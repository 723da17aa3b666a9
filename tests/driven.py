"""Drivers without training: rows of the database as a run makes them, and a process that behaves as its driver does."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from inspection.conftest import environment, new_trial

from tinyablate.processes import own_token, started
from tinyablate.store.location import Location
from tinyablate.store.records import CellOf, Claim, NewTrial, SweepRecord
from tinyablate.store.store import Store

ELSEWHERE = "elsewhere.example:17:4711"
"""A driver of another machine: whether its process lives, nobody here can tell."""

LABEL = "A <b>row</b> | 无"


def sweep(store: Store, name: str, trials: list[NewTrial], smoke: bool = False, overrides: str = "") -> None:
    """Register a sweep of one row with these trials."""
    digest = f"{name} {smoke} {overrides} {len(trials)}"
    cells = [CellOf(0, 0, LABEL, "", trial.key) for trial in trials]
    store.register(SweepRecord(digest, name, "t", "", smoke, overrides), trials, cells)


def begun(store: Store, trial: NewTrial) -> Claim:
    """An attempt under way, of the store's driver."""
    (claim,) = store.claim([trial.key], f"job of {trial.key[:8]}")
    store.begin(claim, environment(), 1, None)
    return claim


def trials(count: int) -> list[NewTrial]:
    """Trials of one recipe under so many seeds."""
    return [new_trial(seed) for seed in range(count)]


def token(pid: int) -> str:
    """The process `pid` of this machine as the owner of leases."""
    host, _, _, machine = own_token().split(":")
    return f"{host}:{pid}:{started(pid)}:{machine}"


DRIVER = """
import os, signal, sys, time
from tinyablate.store.store import Store

signals = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: signals.append(time.monotonic()))
with Store(os.environ["DRIVEN"]) as store:
    store.enter(sys.argv[1], None)
    print("entered", flush=True)
    wanted = int(sys.argv[2])
    while len(signals) < wanted and not store.beat_driver():
        time.sleep(0.05)
    time.sleep(float(sys.argv[3]))
    store.leave()
print(len(signals), flush=True)
"""


def driver(where: str | Path, name: str, signals: int = 1, lasts: float = 0.0) -> subprocess.Popen[str]:
    """A process that is a driver of the database until it gets so many signals, or is asked to stop, and leaves after
    so many seconds more; its last line is the number of signals."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DRIVER), name, str(signals), str(lasts)],
        env={**os.environ, "DRIVEN": Location.of(where).text, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "entered\n"
    return process
