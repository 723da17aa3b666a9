"""Small file systems of a test's own, in memory: filled, or made read-only. Root is refused nothing by permissions."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MEBIBYTE = 2**20

NewDisk = Callable[[int], Path]


@pytest.fixture
def small_disk() -> Iterator[NewDisk]:
    """Mounts a file system of so many bytes, in memory, on a short path; skips where that is not allowed."""
    mounted = list[Path]()

    def mount(size: int) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="d", dir="/tmp"))
        words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tinyablate-test", str(folder)]
        try:
            done = subprocess.run(words, capture_output=True, text=True)
        except FileNotFoundError as error:
            pytest.skip(str(error))
        if done.returncode:
            folder.rmdir()
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill(folder: Path, leave: int) -> Path:
    """A file that takes all the room of a small file system but so many bytes, whatever is written beside it."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while (room := free(folder) - leave) > 0:
            file.write(bytes(min(room, 2**16)))
    return ballast


def free(folder: Path) -> int:
    """Bytes that are left there."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def make_read_only(folder: Path) -> None:
    """From now on nothing can be written there; whatever has a file open for writing keeps it from being so."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def make_writable(folder: Path) -> None:
    """As it was before."""
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
