"""Decoding: every mode becomes RGB, every damaged file is named, processes change nothing."""

import io
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from tinyablate.datasets import DataSet
from tinyablate.errors import WorkError
from tinyablate.train.data.decode import Batch, decode, height_and_width, pixels
from tinyablate.train.data.pool import in_order
from tinyablate.train.data.source import Folder
from tinyablate.train.data.tiny_imagenet import scan

RAMP = np.linspace(0, 255, 64).astype(np.uint8) * np.ones((64, 1), np.uint8)
COLOUR = np.stack([RAMP, RAMP.T, 255 - RAMP], 2)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def jpeg(image: Image.Image) -> bytes:
    """The image as a JPEG file that is close to it."""
    return encoded(image, "JPEG", quality=98, subsampling=0)


MODES: dict[str, Callable[[], bytes]] = {
    "JPEG RGB": lambda: jpeg(Image.fromarray(COLOUR)),
    "JPEG CMYK": lambda: jpeg(Image.fromarray(COLOUR).convert("CMYK")),
    "PNG RGB": lambda: encoded(Image.fromarray(COLOUR), "PNG"),
    "PNG RGBA": lambda: encoded(Image.fromarray(np.dstack([COLOUR, RAMP])), "PNG"),
}
GRAY_MODES: dict[str, Callable[[], bytes]] = {
    "JPEG L": lambda: jpeg(Image.fromarray(RAMP)),
    "PNG LA": lambda: encoded(Image.fromarray(np.dstack([RAMP, RAMP])), "PNG"),
    "PNG 16 bit": lambda: encoded(Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG"),
    "PNG palette with transparency": lambda: encoded(
        Image.fromarray(RAMP).convert("P"), "PNG", transparency=bytes(range(256))
    ),
    "TIFF 16 bit": lambda: encoded(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"),
    "PGM 16 bit": lambda: encoded(Image.fromarray(RAMP.astype(np.int32) * 257), "PPM"),
}


@pytest.mark.parametrize("mode", MODES)
def test_colour_modes_become_rgb(mode: str) -> None:
    """CMYK is converted, transparency dropped."""
    result = pixels(MODES[mode](), 64)
    assert (result.dtype.name, result.shape) == ("uint8", (64, 64, 3))
    assert np.abs(result.astype(int) - COLOUR).max() <= 12


@pytest.mark.parametrize("mode", GRAY_MODES)
def test_gray_modes_become_rgb(mode: str) -> None:
    """One channel becomes three equal ones, 16 bits are scaled (PIL alone would clip them at 255)."""
    result = pixels(GRAY_MODES[mode](), 64)
    assert result.shape == (64, 64, 3)
    assert np.ptp(result, axis=2).max() == 0
    assert np.abs(result[..., 0].astype(int) - RAMP).max() <= 4


WIDE = {
    "integers": lambda: encoded(Image.fromarray(RAMP.astype(np.int32) * 65_793), "TIFF"),
    "floats": lambda: encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
    "PFM": lambda: b"Pf 4 4 -1.0\n" + bytes(64),
}


@pytest.mark.parametrize("kind", WIDE)
def test_values_of_32_bits_are_refused(kind: str) -> None:
    """What their black and white are nobody knows: neither clipping nor scaling is right."""
    for read in (pixels, height_and_width):
        with pytest.raises(ValueError, match=r"^holds 32-bit values; save it with 8 bits a channel$"):
            read(WIDE[kind]())


def test_a_jpeg_cut_anywhere_is_refused() -> None:
    """No cut goes unnoticed, not even that of the last byte."""
    source = jpeg(Image.fromarray(COLOUR))
    cuts = [*range(1, len(source), 97), len(source) - 2, len(source) - 1]
    assert len(cuts) > 20
    for cut in cuts:
        for read in (lambda content: pixels(content, 64), height_and_width):
            with pytest.raises((OSError, SyntaxError, ValueError)):
                read(source[:cut])
    assert height_and_width(source) == (64, 64)
    assert pixels(source, 64).shape == (64, 64, 3)


def test_bytes_after_the_end_do_no_harm() -> None:
    """Some tools pad JPEG files; the image is whole."""
    source = jpeg(Image.fromarray(COLOUR))
    assert np.array_equal(pixels(source + b"\0" * 16, 64), pixels(source, 64))
    assert height_and_width(source + b"\0" * 16) == (64, 64)


@pytest.mark.parametrize("format", ["PNG", "PPM", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_read_whole(format: str) -> None:
    """Every format of ImageFolder's has its sides and its pixels, and is refused when its last quarter is missing."""
    content = encoded(
        Image.fromarray(COLOUR[:, :40].copy()), format, **({"lossless": True} if format == "WEBP" else {})
    )
    assert height_and_width(content) == (64, 40)
    assert np.array_equal(pixels(content), COLOUR[:, :40])
    with pytest.raises((OSError, SyntaxError, ValueError)):
        height_and_width(content[: len(content) * 3 // 4])


def test_a_program_is_no_image() -> None:
    """PostScript named .JPEG is text: PIL would hand it to Ghostscript."""
    with pytest.raises(UnidentifiedImageError):
        pixels(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is no image"),
        (jpeg(Image.fromarray(COLOUR))[:1500], "image file is truncated"),
        (jpeg(Image.fromarray(COLOUR[:, :32].copy())), "is 32x64 pixels, 64x64 expected"),
        (encoded(Image.fromarray(COLOUR), "PNG")[:100], "truncated"),
    ],
    ids=["empty", "text", "truncated", "size", "png"],
)
def test_damage_is_named_and_the_rest_decoded(content: bytes, reason: str, tmp_path: Path) -> None:
    """A batch with a damaged image yields one line for it and pixels for the others."""
    (tmp_path / "good.JPEG").write_bytes(jpeg(Image.fromarray(COLOUR)))
    (tmp_path / "bad.JPEG").write_bytes(content)
    target = tmp_path / "rows"
    target.write_bytes(bytes(3 * 64 * 64 * 3))
    decoded = decode(Folder(tmp_path), Batch(("bad.JPEG", "absent.JPEG", "good.JPEG"), 64, target, 0))
    rows = np.fromfile(target, np.uint8).reshape(3, 64, 64, 3)
    assert len(decoded.problems) == 2
    assert decoded.problems[0].startswith("bad.JPEG: ")
    assert reason in decoded.problems[0]
    assert decoded.problems[1] == "absent.JPEG: No such file or directory"
    assert not rows[:2].any()
    assert np.array_equal(rows[2], pixels((tmp_path / "good.JPEG").read_bytes(), 64))


def batches_of(pristine: Path, small: DataSet, target: Path, size: int) -> list[Batch]:
    """The training images in batches of `size`."""
    paths = tuple(path for path, _ in scan(pristine, small).train)
    target.write_bytes(bytes(len(paths) * 64 * 64 * 3))
    return [Batch(paths[k : k + size], 64, target, k) for k in range(0, len(paths), size)]


def test_processes_change_nothing(pristine: Path, small: DataSet, tmp_path: Path) -> None:
    """Two processes give the rows and digests that one gives."""
    one = list(in_order(decode, Folder(pristine), batches_of(pristine, small, tmp_path / "one", 7), 1))
    two = list(in_order(decode, Folder(pristine), batches_of(pristine, small, tmp_path / "two", 7), 2))
    assert one == two
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_killed_process_is_an_error(pristine: Path, small: DataSet, tmp_path: Path) -> None:
    """A worker that the kernel kills ends the preparation instead of hanging it."""
    work = in_order(decode, Folder(pristine), batches_of(pristine, small, tmp_path / "rows", 1) * 20, 2)
    next(work)
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(WorkError, match="a process that read images died"):
        list(work)
