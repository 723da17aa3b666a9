"""Which process owns a lease or a temporary folder, and whether it still lives."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path


def started(pid: int) -> str:
    """When the process `pid` started, in clock ticks, or "" if there is none: tells it from a later one of its pid."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _started_elsewhere(pid)
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]  # a zombie is dead; field 22 of proc(5) is the start time


def _started_elsewhere(pid: int) -> str:
    """Without /proc (macOS) only existence can be told."""
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"


@cache
def own_machine() -> str:
    """This boot of this machine and our PID namespace, `BOOT.NAMESPACE`; "" without /proc (macOS).

    A name alone tells no host: virtual machines and containers of one image often share it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return f"{boot[:8]}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


@dataclass(frozen=True)
class Owner:
    """What a token names: a process, on a host, since when."""

    host: str
    pid: int
    """0 where the token names none."""
    start: str
    machine: str
    """As of `own_machine`; "" in older tokens, and where it is not known."""

    @classmethod
    def of(cls, token: str) -> "Owner":
        """Read a token; what is no token names no process."""
        host, pid, start, machine = [*token.split(":"), "", "", ""][:4]
        return cls(host, int(pid) if pid.isdecimal() else 0, start, machine)

    @property
    def is_near(self) -> bool:
        """Whether it can be told here if the process lives: one of our boot and our PID namespace."""
        return self.host == socket.gethostname() and self.machine in ("", own_machine())

    @property
    def rebooted(self) -> bool:
        """Whether it is of a host of our name and of another boot: of ours before, or of another machine."""
        boot = self.machine.partition(".")[0]
        return self.host == socket.gethostname() and boot not in ("", own_machine().partition(".")[0])


def own_token() -> str:
    """This process as `host:pid:start:machine`, the owner of its leases."""
    return f"{socket.gethostname()}:{os.getpid()}:{started(os.getpid())}:{own_machine()}"


def shown(token: str) -> str:
    """The process for a reader: `host:pid`."""
    return ":".join(token.split(":")[:2])


def is_dead(token: str) -> bool:
    """Whether the owner `token` ran here and is gone. Of what runs elsewhere nothing is known: False.

    What names no process of this host, such as a token that was tampered with, is of none that lives.
    """
    owner = Owner.of(token)
    return owner.is_near and not (owner.pid > 0 and owner.start and started(owner.pid) == owner.start)


def mentioning(text: str) -> list[int]:
    """Processes (not this one) that have `text` in their command line or environment; Linux only, else none.

    Ray's own write their names over both, so that of them the names of open files count too.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            words = command + b"\0" + (folder / "environ").read_bytes()
            if command.startswith(b"ray::"):
                words += b"\0".join(_open_files(folder / "fd"))
            if text.encode() in words and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def _open_files(handles: Path) -> Iterator[bytes]:
    for handle in handles.iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            yield os.fsencode(os.readlink(handle))


def kill_all(pids: list[int]) -> None:
    """SIGKILL to each that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def end_all(text: str) -> None:
    """End every process that has `text` in its command line or environment, those that they start meanwhile too."""
    for _ in range(100):
        pids = mentioning(text)
        if not pids:
            return
        kill_all(pids)
        time.sleep(0.01)


def programs(text: str, names: Collection[str]) -> dict[int, str]:
    """Of the processes that mention `text`, those whose program has one of these names: pid -> when it started."""
    found = {}
    for pid in mentioning(text):
        with contextlib.suppress(OSError):
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            if os.path.basename(program) in names:
                found[pid] = started(pid)
    return found
