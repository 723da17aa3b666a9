"""A process that decodes image files and shows parts of them: `python -m tinyablate.train.data.decoder` is one.

`stream` starts it and gives it work; it needs numpy and PIL, never torch.

Decoding is PIL's, not torchvision's `decode_jpeg`. On one core of an AMD EPYC a photograph of 500 x 375 pixels (53 kB)
takes PIL 13 1.19 ms and torchvision 0.29 0.97 ms, with the same pixels for all three chroma subsamplings. But with
torch a process starts in 3.9 instead of 0.2 s and holds 700 instead of 28 MB, and PIL's pixels are those of the papers.
"""

import contextlib
import hashlib
import os
import pickle
import struct
import sys
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt

from tinyablate.train.augment import views as geometry
from tinyablate.train.augment.views import Views
from tinyablate.train.data.decode import pixels, reason
from tinyablate.train.data.shared import Mapped

PIECE = struct.Struct("<6q")
"""A piece of a batch: its number, first byte of its region, bytes of pixels, bytes of the order, first image, last + 1.

Pieces are read from one pipe by whichever process is free: the kernel hands out whole ones, as they are smaller than
PIPE_BUF and all of one size.
"""
ANSWER = struct.Struct("<q")
"""Number of the batch of which a piece is done; behind it what went wrong, if anything, as UTF-8."""
HEADER = 64
"""Bytes at the beginning of a region; the first is 1 when nobody waits for the batch any longer."""


UNCHANGED = "cannot be decoded, though it is as it was registered"
"""Begins the problem of a file that was damaged from the first: registering reads a JPEG's header and end only."""


@dataclass(frozen=True)
class Order:
    """What a batch shows; pickled into its region behind the pixels."""

    root: str
    paths: list[str]
    """[n] relative to `root`."""
    sha256: list[bytes]
    """[n] of the files when they were registered."""
    views: Views
    """[n]"""


def serve(pieces: int, answers: Connection, memory: Mapped) -> None:
    """Does pieces of work until the other end of the pipe `pieces` is closed: by the parent, or by its death."""
    known = -1
    while len(message := os.read(pieces, PIECE.size)) == PIECE.size:
        batch, first, pixel_bytes, order_bytes, start, stop = PIECE.unpack(message)
        region = memory.bytes(first, HEADER + pixel_bytes + order_bytes)
        if batch != known:  # a piece is a few images, and the order is the whole batch's
            order: Order = pickle.loads(region[HEADER + pixel_bytes :].data)
            known = batch
        side = order.views.size
        shown = region[HEADER : HEADER + pixel_bytes].reshape(-1, side, side, 3)
        problem = _show(order, shown, start, stop, region)
        answers.send_bytes(ANSWER.pack(batch) + problem.encode(errors="backslashreplace"))


def _show(order: Order, shown: npt.NDArray[np.uint8], start: int, stop: int, region: npt.NDArray[np.uint8]) -> str:
    """Fills the rows start..stop-1 of `shown` [n, S, S, 3]; what went wrong, or nothing."""
    held, image = "", np.empty((0, 0, 3), np.uint8)
    for number in range(start, stop):
        if region[0]:
            return ""
        path = order.paths[number]
        try:
            if path != held:  # repeated augmentation shows an image several times in a row
                image, held = _read(f"{order.root}/{path}", order.sha256[number]), path
            shown[number] = geometry.render_one(image, order.views, number)
        except Exception as error:  # PIL raises a dozen types for damaged input
            return f"{order.root}/{path}: {reason(error)}"
    return ""


def _read(path: str, sha256: bytes) -> npt.NDArray[np.uint8]:
    """The image in a file that must be as it was registered: hashing costs a twentieth of decoding (53 kB)."""
    if os.path.exists(path) and not os.path.isfile(path):  # to open a pipe would wait for its writer
        raise ValueError("is no regular file any more")
    with open(path, "rb", buffering=0) as file:
        content = file.read()
    if hashlib.sha256(content).digest() != sha256:
        raise ValueError("has changed since it was registered")
    try:
        return pixels(content)
    except Exception as error:
        raise ValueError(f"{UNCHANGED}: {reason(error)}") from error


def main() -> None:
    """Serve the parent. Arguments: descriptors of the pipe of pieces, of the pipe of answers, and of the memory."""
    pieces, answers, memory = map(int, sys.argv[1:])
    warnings.simplefilter("ignore")  # PIL's hints would come once per image
    with contextlib.suppress(BrokenPipeError):  # the parent was killed
        serve(pieces, Connection(answers, readable=False), Mapped(memory))


if __name__ == "__main__":
    main()
