"""Sieges of what a run stands on: its workers, Ray, its code, its disk, its database's server, its time."""

import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from reliability.kills import attempts
from reliability.siege import ROOT, Place, Run, send, until
from servers import PostgresServer

LEASE = "2"
"""Seconds that a lease lasts in these sieges (TINYABLATE_LEASE_SECONDS)."""

ENDS = (signal.SIGKILL, signal.SIGTERM)


def kill_workers(place: Place, rng: random.Random, probability: float, every: float, *options: str) -> Counter[str]:
    """One run to its end; every `every` seconds each of its workers is killed, or told to end, with that probability.

    Returns how many by signal. Raises AssertionError unless the run ends well by itself.
    """
    sent: Counter[str] = Counter()
    run = place.start("run", "s", "--format", "csv", *options)
    while not run.over:
        run.wait(every)
        for pid in run.workers():
            if rng.random() < probability:
                number = rng.choice(ENDS)
                send([pid], number)
                sent[number.name] += 1
    run.end()
    return sent


def kill_head(place: Place, rng: random.Random, name: str) -> str:
    """SIGKILL to a process of Ray's head (`gcs_server` or `raylet`) of a run at work; what the run said at its end."""
    done = place.complete()
    run = place.start("run", "s", "--format", "csv")
    until(lambda: place.complete() > done, "a result")
    time.sleep(rng.uniform(0, 1))
    pids = run.programs(name)
    assert len(pids) == 1, f"{name}: {run.commands()}"
    send(pids)
    run.end(code=None)
    assert run.process.returncode in (0, 1), run.told  # 0: what was under way was the last
    return run.told


def stop_worker(place: Place, seconds: float) -> None:
    """A worker at work stands still for longer than a lease lasts, while a second driver looks for work; it goes on."""
    short = {"TINYABLATE_LEASE_SECONDS": LEASE}
    first = place.start("run", "s", "--slots", "1", **short)
    until(lambda: place.complete() >= 1 and first.workers(), "a worker at work")
    stopped = first.workers()
    send(stopped, signal.SIGSTOP)
    second = place.start("run", "s", "--launcher", "inline", **short)
    time.sleep(seconds)
    send(stopped, signal.SIGCONT)
    second.end()
    first.end()


def stop_driver(place: Place, *options: str) -> None:
    """All of a run stands still until a second driver has taken over what it had and finished it; then it goes on."""
    short = {"TINYABLATE_LEASE_SECONDS": LEASE}
    first = place.start("run", "s", *options, **short)
    until(lambda: place.complete() >= 1 and place.states().get("running"), "a trial under way")
    stopped = first.pids()
    send(stopped, signal.SIGSTOP)
    time.sleep(float(LEASE))
    place.run("run", "s", "--launcher", "inline", **short)
    send(stopped, signal.SIGCONT)
    first.end()


# ---- stops -----------------------------------------------------------------------------------------------------------

STOPS = ("interrupt", "twice", "terminate", "stop")
"""Ctrl-C, two of them, SIGTERM, and `tinyablate stop` of a detached run."""


def stop_run(place: Place, rng: random.Random, how: str, span: float) -> None:
    """Stop a run at a random moment after its first trial has begun; nothing of it is left, nothing runs."""
    before = attempts(place)
    run = place.start("run", "s", *["--detach"] * (how == "stop"))
    until(lambda: attempts(place) > before or (run.over and run.process.returncode), "a trial under way")
    time.sleep(rng.uniform(0, span))
    if how == "stop":
        run.end()
        place.run("stop", "s")
    else:
        run.signal(signal.SIGTERM if how == "terminate" else signal.SIGINT)
        if how == "twice":
            time.sleep(rng.uniform(0, 0.5))
            run.signal(signal.SIGINT)
        run.end(code=None)
        assert run.process.returncode == (130 if place.states().get("pending") else 0), run.told
    place.check_clean()
    place.acknowledge()
    assert not place.states().get("running"), place.states()


# ---- the code --------------------------------------------------------------------------------------------------------


def edit_code(place: Place) -> None:
    """The checkout that a run was started from breaks while it runs, and a worker that dies begins anew; it ends well.

    `place.code` is a copy of the package, which is mended afterwards.
    """
    run = place.start("run", "s", "--slots", "1")
    until(lambda: place.complete() >= 1, "a result")
    texts = {path: path.read_text() for path in place.code.rglob("*.py")}
    try:
        for path, text in texts.items():
            path.write_text(f"raise RuntimeError('edited while it ran')\n{text}")
        send(run.workers())
        run.end()
    finally:
        for path, text in texts.items():
            path.write_text(text)


def copy_of_code(folder: Path) -> Path:
    """The package and its workers, to be edited."""
    for name in ("tinyablate", "workers", "sweeps"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


# ---- the disk --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of that size mounted on `folder`. Raises PermissionError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room that is left in the folder's file system."""
    ballast = folder / "ballast"
    block = bytes(2**16)
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(block):
            pass
    return ballast


def fill_disk(place: Place, *options: str, after: float = 0.0) -> str:
    """The disk is full from `after` seconds after the first trial began; the run ends by itself, then there is room
    again. What it said."""
    run = place.start("run", "s", "--format", "csv", *options)
    until(lambda: attempts(place) or run.over, "a trial")
    run.wait(after)
    ballast = fill(place.file.parent)
    try:
        run.end(code=None, seconds=60)
    finally:
        ballast.unlink()
    assert run.process.returncode == (1 if place.states().get("pending") else 0), run.told
    return run.told


# ---- the database's server -------------------------------------------------------------------------------------------


def kill_server(place: Place, rng: random.Random, server: PostgresServer, times: int) -> tuple[int, float]:
    """One run to its end, during which the database's server is killed and comes back; how often it was, and how many
    seconds it was away."""
    killed, away = 0, 0.0
    run = place.start("run", "s")
    until(lambda: place.complete() >= 1 or run.over, "a result")
    for _ in range(times):
        run.wait(rng.uniform(0, 2))
        if run.over:
            break
        server.kill()
        gone = rng.uniform(0.5, 4)
        time.sleep(gone)
        server.start()
        killed, away = killed + 1, away + gone
    run.end()
    return killed, away


# ---- races -----------------------------------------------------------------------------------------------------------


def race(place: Place, rng: random.Random, *options: str) -> list[Run]:
    """Two drivers on a new database, started within the same second, to their ends."""
    runs = [place.start("run", "s", "--format", "csv", *options)]
    time.sleep(rng.choice([0.0, rng.uniform(0, 1)]))
    runs.append(place.start("run", "s", "--format", "csv", *options))
    for run in runs:
        run.end()
    return runs
