"""Where a data set's files are read from: a folder, or a ZIP archive in place; it does not know what they mean."""

import contextlib
import errno
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tinyablate.datasets import DataSet
from tinyablate.errors import DataError

BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, UnicodeDecodeError)
"""What zipfile raises for damage; RuntimeError is an encrypted member or an unknown compression."""


class Source(Protocol):
    """Files by their path relative to the folder of wnids.txt, with forward slashes. Can be sent to other processes."""

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, in no order. Raises OSError."""

    def read(self, path: str) -> bytes:
        """The content of a file. Raises OSError, also where it is damaged."""


class Folder:
    """Files in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self, folder: str) -> list[str]:
        """As Source."""
        return os.listdir(self.root / folder)

    def read(self, path: str) -> bytes:
        """As Source."""
        # Neither pathlib nor a buffer: 6 of the 14 us that a small file takes.
        with open(f"{self.root}/{path}", "rb", buffering=0) as file:
            return file.read()

    def state(self, path: str) -> tuple[int, int]:
        """Size in bytes of a file, and time of its last change in ns. Raises OSError; ValueError if it is none."""
        found = os.stat(f"{self.root}/{path}")
        if not stat.S_ISREG(found.st_mode):  # to open a pipe would wait for its writer
            raise ValueError("is no regular file")
        return found.st_size, found.st_mtime_ns


class Archive:
    """Files in a ZIP archive. Nothing is unpacked: 110,000 small files cost minutes, and none can land elsewhere."""

    def __init__(self, path: Path, top: str = "") -> None:
        self.path = path
        self.top = top  # the folder inside that paths are relative to, with a slash at its end
        self._zip = zipfile.ZipFile(path)
        self.folders: dict[str, set[str]] = {}
        for name in self._zip.namelist():
            self._enter(name)

    def _enter(self, name: str) -> None:
        """Makes a file or folder known to all folders above it: few of these have an entry of their own."""
        while name:
            above, _, last = name.rstrip("/").rpartition("/")
            known = self.folders.setdefault(above, set())
            if last in known:
                return
            known.add(last)
            name = above

    def __reduce__(self) -> tuple[type["Archive"], tuple[Path, str]]:
        return Archive, (self.path, self.top)  # each process opens the file itself

    def names(self, folder: str) -> list[str]:
        """As Source."""
        try:
            return list(self.folders[f"{self.top}{folder}".rstrip("/")])
        except KeyError as error:
            raise _absent(folder) from error

    def read(self, path: str) -> bytes:
        """As Source."""
        try:
            return self._zip.read(self.top + path)
        except KeyError as error:
            raise _absent(path) from error
        except BROKEN_ZIP as error:
            raise OSError(str(error)) from error

    def close(self) -> None:
        """Closes the archive."""
        self._zip.close()


def _absent(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


@contextlib.contextmanager
def open_source(root: Path, data: DataSet) -> Iterator[Source]:
    """The files of `data` in `root`: its folder, the folder around that, or a ZIP archive of either.

    Raises DataError when `root` is none of these.
    """
    tops = ("", f"{data.folder}/")
    if root.is_dir():
        if found := [top for top in tops if (root / top / "wnids.txt").is_file()]:
            yield Folder(root / found[0])
            return
    else:
        with contextlib.closing(_open_archive(root, data)) as archive:
            if found := [top for top in tops if "wnids.txt" in archive.folders.get(top.rstrip("/"), ())]:
                archive.top = found[0]
                yield archive
                return
    raise DataError(f"{root}: no wnids.txt here nor in '{data.folder}': this is not '{data.name}'")


def _open_archive(path: Path, data: DataSet) -> Archive:
    try:
        return Archive(path)
    except BROKEN_ZIP as error:
        size = path.stat().st_size
        hint = f"; it has {size:,} bytes, the official archive {data.bytes:,}" if data.bytes not in (0, size) else ""
        raise DataError(f"{path}: no ZIP archive, or a damaged one: {error}{hint}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
