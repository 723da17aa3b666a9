"""What has been written is on the disk, also after a power cut, and a file is either whole or not there."""

import contextlib
import math
import os
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from tinyablate import faults
from tinyablate.processes import own_token, started

LOOK_SECONDS = 60.0
"""A folder is looked through for what dead processes left at most so often."""

ABANDONED_SECONDS = 24 * 3600
"""A file that was written aside and untouched for so long is nobody's, wherever its process ran."""

_ASIDE = re.compile(r"(?P<pid>\d+)-(?P<start>\w*)-(?P<place>[0-9a-f]{8})(-journal|-wal|-shm)?")
"""How the names of files written aside end: process, when it started, a digest of its machine; SQLite adds its own."""


def sync(path: Path) -> None:
    """Wait until a file, or a folder and with it the renames in it, is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        faults.point(f"fsync-before:{path}")
        os.fsync(handle)
        faults.point(f"fsync-after:{path}")
    finally:
        os.close(handle)


def put(aside: Path, target: Path) -> None:
    """Give a file that was written aside, in the same folder, its name, durably. Raises OSError."""
    sync(aside)
    faults.point(f"rename-before:{target}")
    aside.replace(target)
    faults.point(f"rename-after:{target}")
    sync(target.parent)


@contextlib.contextmanager
def aside(target: Path) -> Iterator[Path]:
    """A hidden name in the folder of `target`, of this process's own: what is written there is renamed by the caller,
    or gone when the context ends. What processes that are gone left of the same target is removed first."""
    pid, start, place = _self()
    stem = f".{target.name.encode()[:200].decode(errors='ignore')}."  # names hold 255 bytes on most file systems
    for left in _left(target.parent, stem):
        if _is_abandoned(left, left.name.removeprefix(stem)):
            with contextlib.suppress(OSError):
                left.unlink()
    path = target.with_name(f"{stem}{pid}-{start}-{place}")
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):  # on a file system that has become read-only, say
            path.unlink(missing_ok=True)


def write(target: Path, content: bytes) -> None:
    """Write a file aside and give it its name, durably. Raises OSError."""
    with aside(target) as path:
        path.write_bytes(content)
        put(path, target)


def _self() -> tuple[int, str, str]:
    """This process: its id, when it started, and a digest of the machine on which both mean it."""
    host, pid, start, *machine = own_token().split(":")
    return int(pid), start, f"{zlib.crc32(':'.join([host, *machine]).encode()):08x}"


_hidden: dict[Path, tuple[float, list[str]]] = {}
"""Folder -> when it was looked through, and what had a hidden name: a report writes thousands of files into one."""


def _left(folder: Path, stem: str) -> list[Path]:
    looked, names = _hidden.get(folder, (-math.inf, []))
    if time.monotonic() - looked > LOOK_SECONDS:
        with contextlib.suppress(OSError):  # whoever writes there is told
            names = [name for name in os.listdir(folder) if name.startswith(".")]
        _hidden[folder] = time.monotonic(), names
    return [folder / name for name in names if name.startswith(stem)]


def _is_abandoned(path: Path, end: str) -> bool:
    """Whether a file was written aside by a process of this machine that is gone, or by any so long ago."""
    named = _ASIDE.fullmatch(end)
    if named is None:
        return False
    if named["place"] == _self()[2]:
        return started(int(named["pid"])) != named["start"]
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    return False
