"""Decodes image files into rows of a packed file, in this process or in several; it knows no classes and no layout."""

import hashlib
import io
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tinyablate.errors import WorkError
from tinyablate.train.data.source import Source

END_OF_IMAGE = b"\xff\xd9"
START_OF_SCAN = b"\xff\xda"
IMAGES_PER_WORKER = 4000
"""Fewer are not worth a further process, which takes about 0.5 s to start."""


@dataclass(frozen=True)
class Batch:
    """Images that one process decodes in one go."""

    paths: tuple[str, ...]
    size: int
    """Height and width that every image must have."""
    target: Path
    """File of uint8 rows [size, size, 3], already as long as it will be."""
    first: int
    """Row of the batch's first image."""


@dataclass(frozen=True)
class Decoded:
    """What came of a batch."""

    digests: tuple[str, ...]
    """sha256 of each source file."""
    problems: tuple[str, ...]
    """A line for each image that cannot be used; its row is left black."""


def pixels(content: bytes, size: int) -> NDArray[np.uint8]:
    """The image in a file's `content` as RGB [size, size, 3], whatever its mode.

    16-bit gray keeps its upper 8 bits, transparency is dropped. Raises ValueError or whatever PIL raises for damage.
    """
    if not content:
        raise ValueError("is empty")
    with Image.open(io.BytesIO(content)) as image:
        if image.size != (size, size):
            raise ValueError(f"is {image.width}x{image.height} pixels, {size}x{size} expected")
        image.load()
        if image.format == "JPEG" and END_OF_IMAGE not in content[content.rfind(START_OF_SCAN) :]:
            raise ValueError("is truncated: it has no end-of-image marker")  # PIL does not look for it
        return np.asarray(_rgb(image))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # PIL would clip 16 bits at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image).clip(0, 0xFFFF) >> 8).astype(np.uint8))
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def decode(source: Source, batch: Batch) -> Decoded:
    """Decodes a batch into its rows of the target file."""
    rows = np.zeros((len(batch.paths), batch.size, batch.size, 3), np.uint8)
    digests, problems = [], []
    with warnings.catch_warnings(action="ignore"):  # an image is fine or named; hints of PIL would drown the names
        for row, path in zip(rows, batch.paths, strict=True):
            content = b""
            try:
                content = source.read(path)
                row[:] = pixels(content, batch.size)
            except Exception as error:  # PIL raises a dozen types for damaged input
                problems.append(f"{path}: {_reason(error)}")
            digests.append(hashlib.sha256(content).hexdigest())
    with batch.target.open("r+b", buffering=0) as file:
        file.seek(batch.first * rows[0].nbytes)
        file.write(rows.data)
    return Decoded(tuple(digests), tuple(problems))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "is no image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def decode_all(source: Source, batches: Sequence[Batch], workers: int) -> Iterator[Decoded]:
    """Decodes the batches with `workers` processes (1: in this one); results come in the batches' order.

    Raises WorkError when a process dies.
    """
    if workers == 1:
        yield from (decode(source, batch) for batch in batches)
        return
    # spawn: a fork of a process that runs threads (torch, rich) may hang, and would inherit the lock on the data home.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare_worker, (source,))
    try:
        # Not pool.map: when a worker dies, it cancels futures that the pool's own thread is failing, and both trip.
        for future in [pool.submit(_decode_here, batch) for batch in batches]:
            yield future.result()
    except BrokenProcessPool as error:
        raise WorkError("a process that decoded images died; was it killed for want of memory?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def default_workers(images: int) -> int:
    """Processes that decode this many images soonest."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cpus, images // IMAGES_PER_WORKER))


_source: Source
"""What this worker process reads from; opened once when it starts."""


def _decode_here(batch: Batch) -> Decoded:
    return decode(_source, batch)


def _prepare_worker(source: Source) -> None:
    """Ctrl-C is the parent's to handle; and a worker whose parent was killed would wait for work for ever."""
    global _source
    _source = source
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
