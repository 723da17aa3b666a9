"""Memory that several processes share without a name: nothing is left of it when they end, however they end."""

import mmap
import os
import tempfile

import numpy as np
import numpy.typing as npt

from tinyablate.errors import WorkError

PAGE = 4096
"""Regions begin at multiples of this."""


class Arena:
    """Memory that grows as needed; regions of it are taken and given back. Made by one process, read by others."""

    def __init__(self) -> None:
        self.file = _nameless_file()
        """To be inherited by the other processes, which map it as `Mapped`."""
        self._mapped = Mapped(self.file)
        self._taken: dict[int, int] = {}  # first byte -> bytes
        self._size = 0

    def take(self, count: int) -> int:
        """The first byte of a region of `count` bytes that nobody else has. Raises WorkError without memory."""
        first = 0
        for start, length in sorted(self._taken.items()):
            if start - first >= count:
                break
            first = start + -(-length // PAGE) * PAGE
        if first + count > self._size:
            self._grow(first + count)
        self._taken[first] = count
        return first

    def _grow(self, size: int) -> None:
        try:
            if hasattr(os, "posix_fallocate"):  # else a page that cannot be had would kill whoever touches it
                os.posix_fallocate(self.file, self._size, size - self._size)
            os.ftruncate(self.file, size)
        except OSError as error:
            raise WorkError(f"no memory for {size / 1e6:,.0f} MB of decoded images: {error.strerror}") from error
        self._size = size

    def give_back(self, first: int) -> None:
        """Ends the region that begins at byte `first`."""
        del self._taken[first]

    def bytes(self, first: int, count: int) -> npt.NDArray[np.uint8]:
        """`count` bytes from byte `first` on, to read and write: uint8 [count]."""
        return self._mapped.bytes(first, count)

    def close(self) -> None:
        """Closes the file; the memory goes with the last map of it."""
        os.close(self.file)


class Mapped:
    """This process's map of an arena's file; it follows the file's growth."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._map: mmap.mmap | None = None

    def bytes(self, first: int, count: int) -> npt.NDArray[np.uint8]:
        """As `Arena.bytes`."""
        if self._map is None or len(self._map) < first + count:
            self._map = mmap.mmap(self._file, 0)
        return np.frombuffer(self._map, np.uint8, count, first)


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tinyablate")
    with tempfile.TemporaryFile() as file:  # macOS
        return os.dup(file.fileno())
