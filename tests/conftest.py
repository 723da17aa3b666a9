"""What all tests share: the command line as a user calls it, in a folder of its own, with `shapes` prepared once."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from disks import small_disk  # noqa: F401
from forks import SECONDS, Forks
from servers import PostgresServer

LEARNERS = Path(__file__).parent / "learners"

TINY = """
title = "A small sweep"
metric = "val_top1"
select = "last"
seeds = [0, 1, 2]
[baseline]
data.name = "shapes"
data.image_size = 32
model.name = "test_resnet"
model.pretrained = false
schedule.epochs = 2
batch.size = 50
[[rows]]
label = "Default"
[[rows]]
label = "No decay"
set.optimizer.weight_decay = 0.0
[[rows]]
label = "EMA"
set.ema.decay = 0.9
"""


@dataclass
class Cli:
    """`tinyablate …` in `folder`, as a process of its own."""

    folder: Path
    data: Path
    cache: Path
    temporary: Path
    """TMPDIR: short, for Ray's sockets, and its own, so that other runs here are neither seen nor touched."""
    forks: Forks

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command and return it running, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "tinyablate.cli", *words],
            cwd=self.folder,
            env=self.env(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def env(self, more: Mapping[str, str]) -> dict[str, str]:
        """The command's environment: only this test's data, cache and database."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TINYABLATE_")}
        path = os.pathsep.join([str(LEARNERS), str(Path(__file__).parents[1]), kept.get("PYTHONPATH", "")])
        own = {"TINYABLATE_DATA": str(self.data), "TINYABLATE_CACHE": str(self.cache), "TMPDIR": str(self.temporary)}
        return {**kept, **own, "PYTHONPATH": path, **more}

    def __call__(self, *words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        if all(name.startswith("TINYABLATE_") for name in environment):
            found, out, err = self.forks.run(words, self.folder, self.env(environment))
        else:
            found, out, err = self._afresh(words, environment)
        assert found == code, f"exit {found}\nstdout:\n{out}\nstderr:\n{err}"
        assert "Traceback" not in err or code == 1, err
        return subprocess.CompletedProcess(words, found, out, err)

    def _afresh(self, words: tuple[str, ...], environment: Mapping[str, str]) -> tuple[int, str, str]:
        """As `Forks.run`, with libraries that are imported under this environment."""
        process = self.start(*words, **environment)
        try:
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
        return process.returncode, out, err

    def json(self, *words: str) -> Any:
        """Run a command with --format json and read what it prints."""
        return json.loads(self(*words, "--format", "json").stdout)

    def sql(self, query: str) -> list[dict[str, Any]]:
        """The answer to `tinyablate query`."""
        answer: list[dict[str, Any]] = self.json("query", query)
        return answer

    def write(self, text: str = TINY, name: str = "tiny") -> Path:
        """A sweep file in ./sweeps."""
        path = self.folder / "sweeps" / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def pytest_configure() -> None:
    """Ctrl-C means something to what the tests start: a shell has it ignored in what it runs in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the whole test run, with all its processes: prepared data, timm's facts."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def temporary() -> Iterator[Path]:
    """A temporary folder with a short path."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(temporary: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server of these tests' own, one in each of their processes; `url(name)` makes a database in it."""
    temporary.chmod(0o711)  # where the tests are root's, another user runs the server
    with PostgresServer(temporary / "pg") as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a new database on that server, with a password in which every character is a trap."""
    name = f"t{secrets.token_hex(6)}"
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """What runs the commands of these tests."""
    with contextlib.closing(Forks()) as opened:
        yield opened


@pytest.fixture(scope="session")
def shapes(shared: Path, temporary: Path, forks: Forks) -> Path:
    """The data home with `shapes` in it, generated and packed once: whoever comes second waits and finds it."""
    cli = Cli(shared, shared / "data", shared / "cache", temporary, forks)
    cli("data", "prepare", "shapes")
    return shared / "data"


@pytest.fixture(scope="session")
def new_cli(
    tmp_path_factory: pytest.TempPathFactory, shapes: Path, shared: Path, temporary: Path, forks: Forks
) -> Callable[[str], Cli]:
    """A command line in a new folder of about that name."""

    def make(name: str) -> Cli:
        return Cli(tmp_path_factory.mktemp(name), shapes, shared / "cache", temporary, forks)

    return make


@pytest.fixture
def cli(new_cli: Callable[[str], Cli]) -> Cli:
    """The command line in an empty folder."""
    return new_cli("work")
