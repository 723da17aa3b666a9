"""A place under siege: start real runs there, kill or stop what and when a test says, then check what is promised.

Promised: every trial of the sweep has exactly one accepted result, no result that was seen stored is ever another or
gone, the database is sound, the table is byte for byte that of an undisturbed run, and nothing of ours is left in
processes, in shared memory or in the temporary folder. Nothing here trusts the product's own tools for that.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from reliability.promise import broken

ROOT = Path(__file__).parents[2]
LEARNERS = ROOT / "tests" / "learners"
MARK = "SIEGE"
"""Environment variable by which the processes of a run are known."""

SHARED_MEMORY = Path("/dev/shm")

NOT_OURS = "torchinductor_*"
"""In the temporary folder: torch's own cache, one for all programs of a user, made when torch is imported."""

SHORT = """
title = "Short real trials"
metric = "val_top1"
select = "last"
seeds = [{seeds}]
[baseline]
data.name = "shapes"
data.image_size = 32
data.fraction = {fraction}
model.name = "{model}"
model.pretrained = false
schedule.epochs = {epochs}
batch.size = 50
[grid]
"optimizer.lr" = [1e-3, 2e-3, 4e-3, 8e-3]
"""


def short_sweep(cells: int, epochs: int = 2, fraction: float = 0.1, model: str = "test_resnet") -> str:
    """A sweep of `cells` trials, a multiple of 4, each of `fraction` of 4,000 images at 32 pixels an epoch."""
    assert cells % 4 == 0, f"{cells} cells: not a multiple of 4"
    seeds = ", ".join(str(seed) for seed in range(cells // 4))
    return SHORT.format(seeds=seeds, epochs=epochs, fraction=fraction, model=model)


# ---- processes -------------------------------------------------------------------------------------------------------


def of(*marks: str) -> list[int]:
    """Living processes that have one of these in command line, environment or the paths of open files, and all that
    these started. One place is not enough: a process that changes its title overwrites the others."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state == "Z":
                continue
            parents[int(folder.name)] = int(parent)
            told = _told_by(folder)
            if any(mark.encode() in told for mark in marks):
                found.add(int(folder.name))
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return sorted(found - {os.getpid()})


def _told_by(folder: Path) -> bytes:
    told = [(folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()]
    for handle in (folder / "fd").iterdir():
        with contextlib.suppress(OSError):  # just closed
            told.append(os.fsencode(os.readlink(handle)))
    return b"\0".join(told)


def command_of(pid: int) -> str:
    """Its command line, "" if it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
    return ""


def send(pids: Sequence[int], number: signal.Signals = signal.SIGKILL) -> None:
    """The signal to each that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def orphans_in_shared_memory(before: frozenset[str]) -> list[str]:
    """Files in shared memory that were not there before and that no process has open or mapped."""
    new = {name for name in os.listdir(SHARED_MEMORY) if name not in before}
    if not new:
        return []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            used = (folder / "maps").read_text()
            used += " ".join(os.readlink(handle) for handle in (folder / "fd").iterdir())
            new -= {name for name in new if f"{SHARED_MEMORY}/{name}" in used}
    return sorted(new)


def until(condition: Callable[[], object], what: str, seconds: float = 120.0, every: float = 0.05) -> None:
    """Wait until the condition holds; AssertionError with `what` if it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain: {what}"
        time.sleep(every)


@dataclass
class Run:
    """A `tinyablate` command under way, in a session of its own, its output in files that others may hold."""

    words: tuple[str, ...]
    process: "subprocess.Popen[bytes]"
    mark: str
    out: Path
    err: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def told(self) -> str:
        """What it has written to stderr so far."""
        return self.err.read_text(errors="replace")

    @property
    def over(self) -> bool:
        """Whether the process that was started has ended."""
        return self.process.poll() is not None

    def pids(self) -> list[int]:
        """Its living processes."""
        return of(self.mark)

    def workers(self) -> list[int]:
        """Those of Ray's that compute a job."""
        return [pid for pid in self.pids() if command_of(pid).startswith("ray::ResourceTrainable")]

    def programs(self, name: str) -> list[int]:
        """Those that run the program of that file name."""
        return [pid for pid in self.pids() if command_of(pid).split(" ")[0].endswith(f"/{name}")]

    def commands(self) -> list[str]:
        """Command lines of its living processes."""
        return [command_of(pid) for pid in self.pids()]

    def wait(self, seconds: float) -> None:
        """Let it run for so long, or until it ends."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """To the process that was started, which becomes the driver."""
        send([self.process.pid], number)

    def kill(self, how: str) -> None:
        """SIGKILL to the driver `alone`, to its process `group`, or to `all` that it has started, as a power cut."""
        if how == "all":
            send(self.pids())
        elif how == "group":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.signal(signal.SIGKILL)
        self.process.wait()

    def end(self, code: int | None = 0, seconds: float = 300.0) -> str:
        """Wait for its end, check the exit code (None: any), and give what it wrote to stdout."""
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} has not ended after {seconds:g} s\n{self.told}") from None
        assert code is None or found == code, f"{self}: exit {found}, not {code}\n{self.told}"
        assert "Traceback" not in self.told, f"{self}: a traceback\n{self.told}"
        return self.out.read_text()

    def __str__(self) -> str:
        return f"tinyablate {' '.join(self.words)}"


# ---- a place ---------------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """A folder with one sweep `s`, a database and a temporary folder that nobody else uses."""

    folder: Path
    data: Path
    """The data home, with `shapes` prepared."""
    cache: Path
    temporary: Path
    """TMPDIR: its path is short, for Ray's sockets."""
    learner: str = ""
    """`module:function` in place of training."""
    database: str = ""
    """A PostgreSQL URL; empty: a SQLite file in the folder."""
    code: Path = ROOT
    """Folder with the packages that are run."""
    shared_memory: frozenset[str] = field(default_factory=lambda: frozenset(os.listdir(SHARED_MEMORY)))
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Trial key -> the accepted attempt, as it was seen in the database."""
    runs: list[Run] = field(default_factory=list)

    def write(self, text: str) -> Path:
        """The sweep file."""
        path = self.folder / "sweeps" / "s.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    @property
    def file(self) -> Path:
        """The SQLite database."""
        return self.folder / "results" / "ablations.db"

    @cached_property
    def engine(self) -> sa.Engine:
        """A connection of our own to the database, opened anew for each question."""
        url = self.database.replace("postgresql://", "postgresql+psycopg://") or f"sqlite:///{self.file}"
        return sa.create_engine(url, poolclass=sa.NullPool)

    def environment(self, mark: str, more: dict[str, str]) -> dict[str, str]:
        """That of a command: only this place's data, cache, temporary folder and learner."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TINYABLATE_")}
        own = {
            "TINYABLATE_DATA": str(self.data), "TINYABLATE_CACHE": str(self.cache), "TMPDIR": str(self.temporary),
            "TINYABLATE_RESULTS": str(self.file.parent),
            "PYTHONPATH": os.pathsep.join([str(self.code), str(LEARNERS)]), MARK: mark,
        }  # fmt: skip
        given = {"TINYABLATE_LEARNER": self.learner, "TINYABLATE_DB": self.database}
        return {**kept, **own, **{name: value for name, value in given.items() if value}, **more}

    def start(self, *words: str, **more: str) -> Run:
        """`tinyablate WORDS`, running; `more` is added to its environment."""
        mark = uuid.uuid4().hex
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        out, err = logs / f"{len(self.runs)}.out", logs / f"{len(self.runs)}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tinyablate.cli", *words], cwd=self.folder, env=self.environment(mark, more),
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        self.runs.append(Run(words, process, mark, out, err))
        return self.runs[-1]

    def run(self, *words: str, code: int | None = 0, **more: str) -> str:
        """The same, to its end; its stdout."""
        return self.start(*words, **more).end(code)

    @property
    def printed(self) -> str:
        """The sweep's table as CSV."""
        return self.run("table", "s", "--format", "csv")

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The database's answer; nothing while it has no tables."""
        if not self.database and not self.file.exists():
            return []
        with self.engine.connect() as connection, contextlib.suppress(sa.exc.DatabaseError):
            return [tuple(row) for row in connection.execute(sa.text(query))]
        return []

    def states(self) -> dict[str, int]:
        """Number of trials by state."""
        return {state: count for state, count in self.ask("SELECT state, count(*) FROM stored_trials GROUP BY state")}

    def complete(self) -> int:
        """How many trials have their result."""
        return self.states().get("complete", 0)

    def wait_for_commit(self, seconds: float) -> bool:
        """Until something is written to the SQLite database; False if nothing is."""
        log = self.file.with_name(self.file.name + "-wal")

        def seen() -> tuple[int, int] | None:
            with contextlib.suppress(OSError):
                found = log.stat()
                return found.st_size, found.st_mtime_ns
            return None

        first, end = seen(), time.monotonic() + seconds
        while seen() == first and time.monotonic() < end:
            time.sleep(0.0005)
        return seen() != first

    def acknowledge(self) -> None:
        """Note the results that the database has now; one that was there before and is another or gone is a lie."""
        query = "SELECT key, accepted_attempt_id FROM stored_trials WHERE state IN ('complete', 'diverged')"
        now = {key: attempt for key, attempt in self.ask(query)}
        lost = {key: attempt for key, attempt in self.acknowledged.items() if now.get(key) != attempt}
        assert not lost, f"results that were acknowledged and are gone or replaced: {lost}"
        self.acknowledged = now

    def leftovers(self) -> list[str]:
        """What our runs have left behind: processes, files in the temporary folder, shared memory."""
        marks = [str(self.temporary), *(run.mark for run in self.runs)]
        left = [f"process {pid}: {command_of(pid)[:200]}" for pid in of(*marks)]
        left += [f"temporary: {path}" for path in sorted(self.temporary.iterdir()) if not path.match(NOT_OURS)]
        left += [f"shared memory: {name}" for name in orphans_in_shared_memory(self.shared_memory)]
        return left

    def check_clean(self, seconds: float = 10.0) -> None:
        """AssertionError if something of ours is left behind; what was told to end may take some seconds."""
        end = time.monotonic() + seconds
        while (left := self.leftovers()) and time.monotonic() < end:
            time.sleep(0.2)
        assert not left, "left behind:\n" + "\n".join(left)

    def check(self, trials: int, printed: str, table: str) -> "Kept":
        """AssertionError unless all that is promised holds now that the sweep is finished.

        `printed` is its table as CSV, `table` that of an undisturbed run.
        """
        self.acknowledge()
        assert self.states() == {"complete": trials}, f"not finished: {self.states()}"
        results = "SELECT count(*), count(DISTINCT trial_id) FROM attempts WHERE state IN ('complete', 'diverged')"
        assert self.ask(results) == [(trials, trials)], f"not one accepted result a trial: {self.ask(results)}"
        assert broken(self.engine) == []
        assert printed == table, f"another table than that of an undisturbed run:\n{printed}\n{table}"
        self.check_clean()
        assert not list(self.folder.glob("results/*.trials/*")), "checkpoints that no trial needs any more"
        by_state = {state: count for state, count in self.ask("SELECT state, count(*) FROM attempts GROUP BY state")}
        return Kept(trials, sum(by_state.values()), by_state.get("lost", 0), by_state.get("superseded", 0))

    def close(self) -> None:
        """End whatever still runs, and remove the temporary folder."""
        pids = of(str(self.temporary), *(run.mark for run in self.runs))
        send(pids)  # what stands still dies too
        for run in self.runs:
            run.process.wait()
        shutil.rmtree(self.temporary, ignore_errors=True)


@dataclass(frozen=True)
class Kept:
    """What stood in the database when the promise was found kept."""

    trials: int
    attempts: int
    lost: int
    superseded: int


@contextlib.contextmanager
def besieged(folder: Path, data: Path, cache: Path, sweep: str, **more: Any) -> Iterator[Place]:
    """A place in `folder`, which is made, with its sweep; afterwards nothing of it runs."""
    folder.mkdir(parents=True)
    place = Place(folder, data, cache, Path(tempfile.mkdtemp(prefix="s", dir="/tmp")), **more)
    try:
        place.write(sweep)
        yield place
    finally:
        place.close()


def undisturbed(folder: Path, place: Place, learner: str = "") -> str:
    """The table of the place's sweep, computed once without disturbance by the inline launcher in a folder of its own.

    A learner `noop` gives in milliseconds what others take their time for.
    """
    text = (place.folder / "sweeps" / "s.toml").read_text()
    with besieged(folder, place.data, place.cache, text, learner=learner or place.learner, code=place.code) as other:
        return other.run("run", "s", "--launcher", "inline", "--format", "csv")


def chance(seed: int) -> random.Random:
    """The generator of a siege: of its own, so that nothing else moves its draws."""
    return random.Random(seed)
