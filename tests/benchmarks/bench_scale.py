"""Ten thousand cells: one driver on SQLite, three on one PostgreSQL, Ray Tune alone; time and driver's memory a cell.

All trials are no-ops. Ours includes claim, result, epochs and correctness bits committed; Tune alone runs (a) a class
Trainable with reused actors and everything optional switched off, as ours is set, and (b) a function trainable with
Tune's defaults, as users write it. Times are wall time from the first trial to the last, Ray's start and end excluded.
Memory is the growth of the driver's resident set between two moments of dispatching, over the trials done between them.

    python tests/benchmarks/bench_scale.py [--cells 10000] [--drivers 3] [--defaults 30] [--only sqlite]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from common import ROOT, environment, report, scratch, seconds, tinyablate

SWEEP = """
title = "No-op trials"
metric = "val_top1"
seeds = [0]
[baseline]
data.name = "shapes"
model.name = "test_vit"
model.pretrained = false
schedule.epochs = 1
[grid]
"optimizer.lr" = [{lrs}]
"optimizer.weight_decay" = [{decays}]
"""

PEER = """
import json, os, sys, time
n, form, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
if form == "class":
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "1000000000"}
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
import ray
from ray import tune

class Noop(tune.Trainable):
    def step(self):
        return {"score": 1.0, "done": True}
    def reset_config(self, config):
        return True

def noop(config):
    tune.report({"score": 1.0})

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

class Watch(tune.Callback):
    done, first = 0, (0, 0)
    def on_trial_complete(self, *_, **__):
        Watch.done += 1
        if Watch.done == n // 10:
            Watch.first = Watch.done, resident()

ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", _temp_dir=folder)
space = {"x": tune.grid_search(list(range(n)))}
start = time.perf_counter()
tune.run(Noop if form == "class" else noop, config=space, reuse_actors=form == "class", verbose=0,
         storage_path=folder + "/tune", callbacks=[Watch()])
took = time.perf_counter() - start
print(json.dumps([took / n, (resident() - Watch.first[1]) / (n - Watch.first[0])]))
"""

START_SHARE = 0.1
"""Share of the trials after which memory is first looked at: caches and imports are loaded then, on all sides."""


@dataclass
class Looked:
    """How many trials were done, and how large each driver's resident set was, at moments of a run."""

    done: list[int] = field(default_factory=list)
    resident: list[list[int]] = field(default_factory=list)

    def growth(self, trials: int) -> float:
        """Bytes a trial by which all drivers together have grown while trials were computed."""
        during = [i for i, done in enumerate(self.done) if START_SHARE * trials <= done < trials]
        first, last = during[0], during[-1]
        return (sum(self.resident[last]) - sum(self.resident[first])) / (self.done[last] - self.done[first])


def resident(pid: int) -> int:
    """Bytes of memory that a process occupies; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@contextmanager
def looking(engine: sa.Engine, pids: list[int]) -> Iterator[Looked]:
    """Look at drivers and database every second."""
    looked, stop = Looked(), threading.Event()

    def watch() -> None:
        while not stop.wait(1.0):
            try:
                with engine.connect() as connection:
                    query = "SELECT count(*) FROM stored_trials WHERE state = 'complete'"
                    done = connection.execute(sa.text(query)).scalar_one()
            except sa.exc.SQLAlchemyError:
                continue  # no tables yet
            looked.done.append(done)
            looked.resident.append([resident(pid) for pid in pids])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield looked
    finally:
        stop.set()
        thread.join()


def write_sweep(folder: Path, cells: int) -> None:
    """A grid of `cells` trials."""
    side = 100 if cells % 100 == 0 else 1
    lrs = ", ".join(f"{1e-5 * (index + 1):.6g}" for index in range(cells // side))
    decays = ", ".join(f"{1e-4 * (index + 1):.6g}" for index in range(side))
    (folder / "sweeps" / "noop.toml").write_text(SWEEP.format(lrs=lrs, decays=decays))


@dataclass(frozen=True)
class Scaled:
    """What the drivers needed."""

    seconds: float
    """A trial, by the wall."""
    bytes: float
    """A trial, by which all drivers together grew."""
    busiest: float
    """Share of the trials that the busiest driver computed."""


def ours(folder: Path, cells: int, drivers: int, database: str, engine: sa.Engine) -> Scaled:
    """Run `drivers` at once on one sweep of `cells` trials; AssertionError if one is lost, or computed twice."""
    more = {"TINYABLATE_LEARNER": "analytic:noop", "TINYABLATE_RESULTS": str(folder / "results")}
    command = [sys.executable, "-m", "tinyablate.cli", "run", "noop", "--format", "csv", "--db", database]
    with (folder / "log").open("wb") as log:
        running = [
            subprocess.Popen(command, cwd=folder, env=environment(folder, **more), stdout=log, stderr=log)
            for _ in range(drivers)
        ]
        with looking(engine, [each.pid for each in running]) as looked:
            codes = [each.wait() for each in running]
    assert codes == [0] * drivers, (folder / "log").read_text()[-3000:]
    with engine.connect() as connection:
        results = "SELECT count(*), count(DISTINCT trial_id), min(started_at), max(ended_at) FROM attempts"
        attempts, trials, begin, end = connection.execute(sa.text(results)).one()
        accepted = "SELECT count(*) FROM stored_trials WHERE state = 'complete' AND accepted_attempt_id IS NOT NULL"
        complete = connection.execute(sa.text(accepted)).scalar_one()
        shares = connection.execute(sa.text("SELECT count(*) FROM attempts GROUP BY owner")).scalars().all()
    assert (attempts, trials, complete) == (cells, cells, cells), f"{attempts=} {trials=} {complete=}, not {cells}"
    return Scaled((end - begin) / cells, looked.growth(cells), max(shares) / cells)


def on_sqlite(cells: int) -> tuple[Scaled, float]:
    """One driver; and the seconds of `plan` before anything is stored."""
    with scratch() as folder:
        write_sweep(folder, cells)
        planned = seconds(lambda: tinyablate(folder, "plan", "noop"), repeats=3)
        path = folder / "ablations.db"
        engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
        return ours(folder, cells, 1, str(path), engine), planned


def on_postgresql(cells: int, drivers: int) -> Scaled:
    """Several drivers, on a server of our own."""
    sys.path.append(str(ROOT / "tests"))
    from servers import PostgresServer

    with scratch() as folder, tempfile.TemporaryDirectory(prefix="b", dir="/tmp") as short:
        os.chmod(short, 0o711)  # where root runs this, another user runs the server
        with PostgresServer(Path(short) / "pg") as server:
            url = server.url("scale")
            write_sweep(folder, cells)
            engine = sa.create_engine(url.replace("postgresql", "postgresql+psycopg", 1), poolclass=sa.NullPool)
            return ours(folder, cells, drivers, url, engine)


def tune_alone(trials: int, form: str) -> tuple[float, float]:
    """Seconds and bytes a no-op trial of Ray Tune."""
    with tempfile.TemporaryDirectory(prefix="b-", dir="/tmp") as folder:
        program = Path(folder) / "peer.py"
        program.write_text(PEER)
        command = [sys.executable, str(program), str(trials), form, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
        took, grown = json.loads(done.stdout.splitlines()[-1])
        return float(took), float(grown)


def main() -> None:
    """Measure, print the figures, and fail if a driver keeps 64 KB a cell or more."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cells", type=int, default=10_000, help="of one driver [10000]")
    parser.add_argument("--drivers", type=int, default=3, help="on PostgreSQL [3]")
    parser.add_argument("--defaults", type=int, default=30, help="trials of Tune with its defaults, a second each [30]")
    parser.add_argument("--only", choices=["sqlite", "postgresql", "tune"], help="one part")
    wanted = parser.parse_args()
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {"cells": wanted.cells}
    begun = time.perf_counter()
    if wanted.only in (None, "sqlite"):
        one, planned = on_sqlite(wanted.cells)
        figures |= {"plan_s": planned, "sqlite_1_driver_ms": 1e3 * one.seconds, "sqlite_1_driver_kb": one.bytes / 1e3}
    if wanted.only in (None, "tune"):
        took, grown = tune_alone(wanted.cells, "class")
        slow, _ = tune_alone(wanted.defaults, "function")
        figures |= {"tune_class_ms": 1e3 * took, "tune_class_kb": grown / 1e3, "tune_defaults_ms": 1e3 * slow}
    if wanted.only is None:
        ratios |= {"ours_over_tune_class": one.seconds / took, "tune_defaults_over_ours": slow / one.seconds}
        ratios |= {"our_memory_over_tune_class": one.bytes / grown}
    if wanted.only in (None, "postgresql"):
        many = on_postgresql(wanted.cells * wanted.drivers, wanted.drivers)
        name = f"postgresql_{wanted.drivers}_drivers"
        figures |= {f"{name}_ms": 1e3 * many.seconds, f"{name}_kb": many.bytes / 1e3, f"{name}_busiest": many.busiest}
    report(ratios, {**figures, "benchmark_s": time.perf_counter() - begun})
    kept = [value for name, value in figures.items() if name.endswith("_kb") and not name.startswith("tune")]
    assert all(value < 64 for value in kept), f"a driver keeps 64 KB a cell or more: {kept}"


if __name__ == "__main__":
    main()
