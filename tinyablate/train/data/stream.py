"""Images of a registered folder, decoded anew whenever they are shown, by processes that live as long as this one.

It draws nothing and knows no pixels: what is shown of an image is the caller's to say, showing it `decoder`'s work.
"""

import atexit
import collections
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import tinyablate
from tinyablate.errors import DataError, UsageError, WorkError
from tinyablate.train.augment.views import Views
from tinyablate.train.data import folders
from tinyablate.train.data.decoder import ANSWER, HEADER, PIECE, UNCHANGED, Order
from tinyablate.train.data.images import Ids, Images, Sides
from tinyablate.train.data.pool import cores
from tinyablate.train.data.shared import Arena

AHEAD = 2
"""Batches that are decoded while the caller works on another. Each costs n * S * S * 3 bytes."""
LARGEST_PIECE = 16
"""Images per piece of work: 0.1 s of photographs."""
MOST_PIECES = 256
"""Per batch: all pieces of all batches under way fit into the 64 kB of a pipe, so that nobody waits to write."""
MOST_DECODERS = 16
VARIABLE = "TINYABLATE_DECODERS"


def decoders_for(device: torch.device) -> int:
    """How many processes decode for one trial: $TINYABLATE_DECODERS, else one on a CPU, where every core has a trial.

    Beside a GPU its share of the machine's cores, at most 16. Raises UsageError.
    """
    if text := os.environ.get(VARIABLE):
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 1024):
            raise UsageError(f"{VARIABLE}={text}: must be a whole number from 1 to 1024")
        return int(text)
    if device.type == "cpu":
        return 1
    return max(1, min(MOST_DECODERS, cores() // max(1, _gpus())))


def _gpus() -> int:
    """GPUs of this machine: a worker of Ray sees one of them only."""
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return torch.cuda.device_count()


@dataclass
class _Ticket:
    """A batch that is being decoded."""

    number: int
    first: int
    """First byte of its region."""
    shape: tuple[int, int, int, int]
    pieces: int
    """Not done yet."""
    problem: str = ""
    wanted: bool = True


class Decoders:
    """Processes that decode, and the memory they write to. Used from one thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.owner = os.getpid()
        self._arena = Arena()
        self._pieces, self._work = os.pipe()
        self._tickets: dict[int, _Ticket] = {}
        self._number = 0
        self._closed = False
        self.processes: list[subprocess.Popen[bytes]] = []
        self._answers: dict[Connection, subprocess.Popen[bytes]] = {}
        os.set_blocking(self._work, False)
        try:
            for _ in range(count):
                self._start()
        except BaseException:
            self.close()
            raise
        finally:
            os.close(self._pieces)

    def _start(self) -> None:
        """Not multiprocessing's spawn: that would import this process's main module again, and torch with it."""
        answers, theirs = os.pipe()
        package = str(Path(tinyablate.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
        inherited = (self._pieces, theirs, self._arena.file)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tinyablate.train.data.decoder", *map(str, inherited)],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=inherited,
            process_group=0,  # Ctrl-C is the parent's to handle, also while they start
        )
        os.close(theirs)
        self.processes.append(process)
        self._answers[Connection(answers, writable=False)] = process

    @property
    def alive(self) -> bool:
        """Whether every process runs, and for this one."""
        return (
            not self._closed and self.owner == os.getpid() and all(process.poll() is None for process in self.processes)
        )

    def submit(self, order: Order) -> _Ticket:
        """Have a batch decoded. Raises WorkError."""
        self._receive(0)
        count, side = len(order.paths), order.views.size
        text = pickle.dumps(order)
        pixels = count * side * side * 3
        self._number += 1
        size = _piece_size(count, self.count)
        first = self._arena.take(HEADER + pixels + len(text))
        ticket = _Ticket(self._number, first, (count, side, side, 3), -(-count // size))
        region = self._arena.bytes(first, HEADER + pixels + len(text))
        region[:HEADER] = 0
        region[HEADER + pixels :] = np.frombuffer(text, np.uint8)
        self._tickets[ticket.number] = ticket
        for start in range(0, count, size):
            stop = min(start + size, count)
            self._send(PIECE.pack(ticket.number, first, pixels, len(text), start, stop))
        return ticket

    def _send(self, piece: bytes) -> None:
        """Puts a piece into the pipe; while that is full, the processes have answers to give."""
        while True:
            try:
                os.write(self._work, piece)
                return
            except BlockingIOError:
                self._receive(None)
            except BrokenPipeError:  # the last process died just now; its end says so
                self._receive(None)

    def result(self, ticket: _Ticket) -> npt.NDArray[np.uint8]:
        """The decoded batch [n, S, S, 3], until it is discarded; ticket.problem names a file. Raises WorkError."""
        while ticket.pieces:
            self._receive(None)
        pixels = self._arena.bytes(ticket.first + HEADER, int(np.prod(ticket.shape)))
        return pixels.reshape(ticket.shape)

    def discard(self, ticket: _Ticket) -> None:
        """Nobody wants the batch any longer; its memory is free once no process writes to it."""
        ticket.wanted = False
        self._arena.bytes(ticket.first, 1)[0] = 1
        self._free(ticket)

    def _free(self, ticket: _Ticket) -> None:
        if not ticket.pieces and not ticket.wanted:
            del self._tickets[ticket.number]
            self._arena.give_back(ticket.first)

    def _receive(self, timeout: float | None) -> None:
        """Takes in what the processes say, if need be by waiting. Raises WorkError when one of them has died."""
        for ready in wait(list(self._answers), timeout):
            assert isinstance(ready, Connection)
            try:
                message = ready.recv_bytes()
            except (EOFError, OSError):
                raise self._death(self._answers[ready]) from None
            ticket = self._tickets[ANSWER.unpack_from(message)[0]]
            ticket.pieces -= 1
            ticket.problem = ticket.problem or message[ANSWER.size :].decode()
            self._free(ticket)

    def _death(self, process: subprocess.Popen[bytes]) -> WorkError:
        code = process.wait()
        self.close()
        why = "was it killed for want of memory?" if code < 0 else "its own message stands above or in the worker's log"
        return WorkError(f"a process that decodes images died (exit code {code}); {why}")

    def close(self) -> None:
        """Ends the processes and closes everything; again, does nothing."""
        if self._closed or self.owner != os.getpid():
            return
        self._closed = True
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        for connection in self._answers:
            connection.close()
        os.close(self._work)
        self._arena.close()


def _piece_size(count: int, decoders: int) -> int:
    """Images per piece: four pieces for each process, so that none waits long for the last one."""
    wanted = min(LARGEST_PIECE, count // (4 * decoders))
    return max(1, wanted, -(-count // MOST_PIECES))


_running: Decoders | None = None
"""The processes of this one: they stay from epoch to epoch and from job to job."""


def decoders(count: int) -> Decoders:
    """`count` processes that decode, started unless they run already."""
    global _running
    if _running is None or _running.count != count or not _running.alive:
        stop_decoders()
        _running = Decoders(count)
    return _running


def stop_decoders() -> None:
    """Ends the processes that decode, if there are any."""
    global _running
    if _running is not None:
        _running.close()
    _running = None


atexit.register(stop_decoders)


class StreamedImages:
    """Images of any size in files. An ImageSource."""

    native = False

    def __init__(self, name: str, root: Path, files: folders.Files, device: torch.device) -> None:
        self.device = device
        self.labels = torch.from_numpy(files.labels).to(device)
        self._name, self._root, self._files = name, root, files
        ends = np.flatnonzero(files.paths == 0)
        self._ends = ends
        self._starts = np.concatenate([[0], ends[:-1] + 1])

    def __len__(self) -> int:
        return len(self._files)

    def sizes(self, ids: Ids) -> tuple[Sides, Sides]:
        """As ImageSource."""
        return self._files.heights[ids].astype(np.int64), self._files.widths[ids].astype(np.int64)

    def take(self, ids: Ids) -> Tensor:
        """Raises TypeError: these images are of any size."""
        raise TypeError(f"the images of '{self._name}' differ in size: they can be shown, not taken")

    def show(self, requests: Iterable[tuple[Ids, Views]]) -> Iterator[Tensor]:
        """As ImageSource."""
        pool = decoders(decoders_for(self.device))
        waiting: collections.deque[_Ticket] = collections.deque()
        try:
            for ids, views in requests:
                waiting.append(pool.submit(self._order(ids, views)))
                if len(waiting) > AHEAD:
                    yield self._received(pool, waiting)
            while waiting:
                yield self._received(pool, waiting)
        finally:
            for ticket in waiting:
                pool.discard(ticket)

    def _received(self, pool: Decoders, waiting: "collections.deque[_Ticket]") -> Tensor:
        """The oldest batch, copied out of the shared memory."""
        shared = torch.from_numpy(pool.result(waiting[0]))
        if problem := waiting[0].problem:
            command = (
                f"data prepare {self._name} --from {self._root}"
                if UNCHANGED in problem
                else f"data verify {self._name}"
            )
            todo = "replace or remove it, then run" if UNCHANGED in problem else "see"
            raise DataError(f"{problem}; {todo}: tinyablate {command}")
        copy = torch.empty(shared.shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda").copy_(shared)
        pool.discard(waiting.popleft())
        return copy.to(self.device, non_blocking=True)

    def _order(self, ids: Ids, views: Views) -> Order:
        names = [self._files.paths[self._starts[i] : self._ends[i]].tobytes() for i in ids]
        digests = [self._files.sha256[i].tobytes() for i in ids]
        return Order(str(self._root), [os.fsdecode(name) for name in names], digests, views)


def open_images(folder: Path, device: torch.device) -> Images:
    """The registered data set in `folder`. Raises DataError."""
    manifest = folders.read_manifest(folder)
    root = folders.root_of(manifest)
    splits = folders.read_index(folder, manifest)
    train, val = (StreamedImages(manifest.name, root, splits[split], device) for split in ("train", "val"))
    return Images(train, val, len(manifest.classes), manifest.digest)
