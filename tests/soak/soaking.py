"""What the sieges at full size share: options, a place to work in, PostgreSQL, the table of an undisturbed run, a row
of Markdown at the end. A broken promise ends the program with exit code 1 and leaves its folder to be looked at.

    make soak NAME=drivers
    PYTHONPATH=tests python tests/soak/drivers.py --kills 50 --cells 16 --seed 3
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from reliability.kills import finish
from reliability.siege import ROOT, Kept, Place, besieged, chance, undisturbed
from servers import PostgresServer

SLOW, NOOP = "analytic:slow", "analytic:noop"


@dataclass
class Field:
    """Where a siege takes place."""

    folder: Path
    options: argparse.Namespace
    kept: list[Kept] = field(default_factory=list)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _tables: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = chance(self.options.seed)

    @property
    def data(self) -> Path:
        """The data home."""
        return Path(os.environ.get("TINYABLATE_DATA", self.folder / "data"))

    def prepare(self) -> None:
        """The data set, if it is not there."""
        environment = {**os.environ, "TINYABLATE_DATA": str(self.data), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tinyablate.cli", "data", "prepare", "shapes"]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    @cached_property
    def server(self) -> PostgresServer:
        """A PostgreSQL server of our own, in a folder with a short path."""
        short = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="s", dir="/tmp")))
        short.chmod(0o711)  # where root runs this, another user runs the server
        return self.stack.enter_context(PostgresServer(short / "pg"))

    @contextlib.contextmanager
    def place(self, sweep: str, learner: str = "", back_end: str = "sqlite", **more: Any) -> Iterator[Place]:
        """A place with a new database; its folder is removed if all went well."""
        name = f"p{time.monotonic_ns()}"
        database = self.server.url(name) if back_end == "postgresql" else ""
        cache = self.folder / "cache"
        with besieged(self.folder / name, self.data, cache, sweep, learner=learner, database=database, **more) as place:
            yield place
        shutil.rmtree(self.folder / name)
        if database:
            self.server.drop(name)

    def table(self, place: Place, sweep: str) -> str:
        """The table of an undisturbed run of that sweep, computed once."""
        learner = NOOP if place.learner else ""
        if (sweep, learner) not in self._tables:
            self._tables[sweep, learner] = undisturbed(self.folder / f"u{len(self._tables)}", place, learner)
        return self._tables[sweep, learner]

    def check(self, place: Place, sweep: str, trials: int) -> Kept:
        """Finish what is left, check the promise, note what was kept."""
        self.kept.append(finish(place, trials, self.table(place, sweep)))
        return self.kept[-1]

    def row(self, name: str, done: str, promise: str, seconds: float) -> str:
        """The figures as a row."""
        sums = (sum(getattr(each, what) for each in self.kept) for what in ("trials", "attempts", "lost", "superseded"))
        trials, attempts, lost, superseded = sums
        what = f"{trials} trials, {attempts} attempts ({lost} lost with their driver, {superseded} superseded)"
        return f"| {name} | {self.options.seed} | {done} | {what} | {promise} | {seconds / 60:.1f} min |"


HEAD = "| siege | seed | what was done | what stood in the database | promise | time |\n|---|---|---|---|---|---|"

Siege = Callable[[Field], str]
"""Does it, and says what was done."""


def soak(name: str, siege: Siege, **defaults: Any) -> None:
    """Run a siege as a program: an option for each of the defaults, and --seed. Ends the process."""
    parser = argparse.ArgumentParser(description=name)
    for option, default in {"seed": 1, **defaults}.items():
        parser.add_argument(f"--{option}", type=type(default), default=default, help=f"[{default}]")
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    field = Field(folder, parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what runs is ended then too, and mounts are undone
    print(f"{name}: {vars(field.options)}, in {folder}", file=sys.stderr, flush=True)
    begun, done, promise = time.monotonic(), "", "kept"
    with field.stack:
        try:
            field.prepare()
            done = siege(field)
        except Exception as error:
            traceback.print_exc()
            promise = f"BROKEN: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    print(f"{HEAD}\n{field.row(name, done, promise, time.monotonic() - begun)}", flush=True)
    if promise != "kept":
        sys.exit(1)
    shutil.rmtree(folder)
