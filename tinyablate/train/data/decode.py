"""Image files to RGB pixels, as PIL decodes them; it knows no classes and no layout. numpy and PIL only.

Decoding is PIL's, not torchvision's `decode_jpeg`: see `decoder` for the reason.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tinyablate.train.data.source import Source

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
"""Those of torchvision's ImageFolder. PIL knows more, but for some of them it starts other programs."""
NARROW = ("PNG", "PPM")
"""Formats with 16 bits a channel at most: where PIL reads one of them in mode I, the upper 16 of its 32 bits are 0."""
START_OF_IMAGE = b"\xff\xd8"
END_OF_IMAGE = b"\xff\xd9"
START_OF_SCAN = b"\xff\xda"
WRITE = 1 << 17
"""Bytes per write. Of 1.4 GB in pieces of 3 MB the kernel made 2.3 s of work, as it looked for huge pages; so, 0.3 s
(Linux 6.18, ext4)."""


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


def pixels(content: bytes, size: int = 0) -> NDArray[np.uint8]:
    """The image in a file's `content` as RGB [H, W, 3], whatever its mode.

    16-bit gray keeps its upper 8 bits, transparency is dropped. Raises ValueError, also for 32-bit values, whose range
    nobody knows, and where height or width is not `size` (0: any), or whatever PIL raises for damage.
    """
    with _opened(content) as image:
        if size and image.size != (size, size):
            raise ValueError(f"is {image.width}x{image.height} pixels, {size}x{size} expected")
        image.load()
        _check_end(content)
        whole = _rgb(image)
        # What np.asarray does by way of a dictionary: 4 of 90 us at 64 x 64 pixels.
        return np.frombuffer(whole.tobytes(), np.uint8).reshape(whole.height, whole.width, 3)


def height_and_width(content: bytes) -> tuple[int, int]:
    """Height and width of the image in a file's `content`, which is whole. Raises as `pixels`.

    A JPEG is whole if it has its end, and is not decoded: of the 7 ms of a photograph, 0.1 ms are left.
    """
    with _opened(content) as image:
        if content.startswith(START_OF_IMAGE):
            _check_end(content)
        else:
            image.load()
        return image.height, image.width


def _opened(content: bytes) -> Image.Image:
    if not content:
        raise ValueError("is empty")
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.mode == "F" or (image.mode == "I" and image.format not in NARROW):
        raise ValueError("holds 32-bit values; save it with 8 bits a channel")
    return image


def _check_end(content: bytes) -> None:
    """Refuses a JPEG that was cut in its image data, where PIL may find enough to fill all rows."""
    if content.endswith(END_OF_IMAGE) or not content.startswith(START_OF_IMAGE):
        return
    if END_OF_IMAGE not in content[content.rfind(START_OF_SCAN) :]:  # some tools pad files
        raise ValueError("is truncated: it has no end-of-image marker")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or image.mode == "I":  # 16 bits, which PIL would clip at 255 instead of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def decode(source: Source, batch: Batch) -> Decoded:
    """Decodes a batch into its rows of the target file."""
    rows = np.empty((len(batch.paths), batch.size, batch.size, 3), np.uint8)
    digests, problems = [], []
    with warnings.catch_warnings(action="ignore"):  # an image is fine or named; hints of PIL would drown the names
        for row, path in zip(rows, batch.paths, strict=True):
            content = b""
            try:
                content = source.read(path)
                row[:] = pixels(content, batch.size)
            except Exception as error:  # PIL raises a dozen types for damaged input
                problems.append(f"{path}: {reason(error)}")
                row[:] = 0
            digests.append(hashlib.sha256(content).hexdigest())
    with open(batch.target, "r+b", buffering=0) as file:
        file.seek(batch.first * rows[0].nbytes)
        _write_all(file, rows.data.cast("B"))
    return Decoded(tuple(digests), tuple(problems))


def _write_all(file: io.FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data[:WRITE]) :]


def reason(error: Exception) -> str:
    """What is wrong with an image, in words."""
    if isinstance(error, UnidentifiedImageError):
        return "is no image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
