"""Packed data sets: images decoded once into memory-mapped uint8 arrays, in a folder that is either whole or not there.

HOME/NAME/train.u8  val.u8                  uint8 [N, H, W, 3], nothing but pixels
HOME/NAME/train.labels.npy  val.labels.npy  int64 [N]
HOME/NAME/manifest.json                     written last, as `place` says
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

import tinyablate
from tinyablate.datasets import DataSet
from tinyablate.errors import DataError
from tinyablate.train.data import tiny_imagenet
from tinyablate.train.data.decode import Batch, decode
from tinyablate.train.data.place import (
    SPLITS,
    BaseManifest,
    StoredFile,
    check_sizes,
    file_problems,
    folder_of,
    load_manifest,
    publish,
    room_for,
    sha256,
    unusable,
    workplace,
)
from tinyablate.train.data.pool import in_order, workers_for
from tinyablate.train.data.source import Source, open_source

FORMAT = 1
"""Version of the files' form. A change that an older reader would misread raises it."""
FILES = frozenset(f"{split}.{kind}" for split in SPLITS for kind in ("u8", "labels.npy"))
BATCH = 256
"""Images per task of a worker: 3 MB at 64 pixels."""
IMAGES_PER_WORKER = 4000
"""Fewer are not worth a further process."""


@dataclass(frozen=True)
class Manifest(BaseManifest):
    """What a packed data set says of itself. Raises ValueError where its files cannot hold so many images."""

    size: int
    """Height and width in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        row, sizes = self.size**2 * 3, {file.name: file.bytes for file in self.files}
        if (sizes["train.u8"], sizes["val.u8"]) != (self.train * row, self.val * row):
            raise ValueError("numbers and sizes disagree")


@dataclass(frozen=True, eq=False)
class Packed:
    """An open data set; images are read-only maps of the files."""

    train: NDArray[np.uint8]
    """[N, H, W, 3], RGB."""
    train_labels: NDArray[np.int64]
    """[N]"""
    val: NDArray[np.uint8]
    val_labels: NDArray[np.int64]
    manifest: Manifest


def open_packed(folder: Path) -> Packed:
    """Opens a prepared data set in milliseconds: sizes are checked, contents are not (see `verify`).

    Raises DataError, with the command that cures it, when the folder is absent, damaged or of another format.
    """
    manifest = read_manifest(folder)
    labels, images = {}, {}
    for split, count in (("train", manifest.train), ("val", manifest.val)):
        labels[split] = _read_labels(folder / f"{split}.labels.npy", count)
        shape = (count, manifest.size, manifest.size, 3)
        images[split] = np.memmap(folder / f"{split}.u8", np.uint8, "r", shape=shape)
    return Packed(images["train"], labels["train"], images["val"], labels["val"], manifest)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared data set whose files all have their sizes. Raises DataError as `open_packed` does."""
    manifest = load_manifest(folder, Manifest, FORMAT, FILES)
    check_sizes(folder, manifest)
    return manifest


def verify(folder: Path) -> list[str]:
    """Every way in which the files differ from the manifest (sha256); empty if in none. Reads everything."""
    try:
        manifest = load_manifest(folder, Manifest, FORMAT, FILES)
    except DataError as error:
        return [str(error)]
    return file_problems(folder, manifest)


def is_ready(folder: Path, data: DataSet) -> bool:
    """Whether `folder` holds a whole packed form of exactly `data`."""
    try:
        manifest = read_manifest(folder)
    except DataError:
        return False
    return difference(manifest, data) is None


def difference(manifest: Manifest, data: DataSet) -> str | None:
    """How the packed data set differs from the one that this version knows under that name, or None."""
    pairs = {
        "fingerprint": (manifest.fingerprint, data.fingerprint),
        "classes": (len(manifest.classes), data.classes),
        "training images": (manifest.train, data.train),
        "validation images": (manifest.val, data.val),
        "pixels": (manifest.size, data.size),
    }
    found = [f"{what}: {mine}, {theirs} expected" for what, (mine, theirs) in pairs.items() if mine != theirs]
    return "; ".join(found) or None


def pack(
    root: Path,
    data: DataSet,
    home: Path,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Packs the `tiny-imagenet-200` layout in `root` (folder or ZIP) into HOME/NAME and returns that; at once if done.

    `workers` is the number of decoding processes (default: one per 4,000 images, at most one per core). `progress` gets
    (images done, images in all). Raises DataError naming every problem of the layout or every damaged image, or how
    much room is missing; then nothing is left behind.
    """
    with workplace(home, data.name, FILES) as place:
        if not is_ready(folder_of(home, data.name), data):
            build(root, data, place, workers, progress)
    return folder_of(home, data.name)


def build(
    root: Path, data: DataSet, place: Path, workers: int | None, progress: Callable[[int, int], None] | None
) -> None:
    """Packs `root` inside the workplace `place` and moves the whole result to its final folder. Raises as `pack`."""
    folder = place / "packed"
    folder.mkdir()
    needed = (data.train + data.val) * data.size**2 * 3
    with open_source(root, data) as source, room_for(needed, place.parent):
        listing = tiny_imagenet.scan_source(source, data, str(root))
        written = _write_arrays(source, listing, data, folder, workers, progress)
        if written.problems:
            raise tiny_imagenet.LayoutError(str(root), written.problems)
        manifest = _manifest(listing, data, folder, written)
        publish(folder, dataclasses.asdict(manifest), folder_of(place.parent, data.name))


@dataclass
class _Written:
    """What came of writing the arrays."""

    sources: list[str] = dataclasses.field(default_factory=list)
    """sha256 of each image's file, train before val."""
    problems: list[str] = dataclasses.field(default_factory=list)
    packed: dict[str, str] = dataclasses.field(default_factory=dict)
    """Name -> sha256 of each packed file."""


def _write_arrays(
    source: Source,
    listing: tiny_imagenet.Listing,
    data: DataSet,
    folder: Path,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> _Written:
    """Writes labels and images of both splits."""
    batches: list[Batch] = []
    for split, samples in (("train", listing.train), ("val", listing.val)):
        np.save(folder / f"{split}.labels.npy", np.array([label for _, label in samples], np.int64))
        batches += _batches([path for path, _ in samples], data.size, folder / f"{split}.u8")
    written = _Written()
    images = data.train + data.val
    # The packed files are hashed while the workers decode what follows: hashed at the end, 1.4 GB cost a second more.
    hashes = {folder / f"{split}.u8": hashlib.sha256() for split in SPLITS}
    done = in_order(decode, source, batches, workers or workers_for(images, IMAGES_PER_WORKER))
    for batch, decoded in zip(batches, done, strict=True):
        written.sources += decoded.digests
        written.problems += decoded.problems
        hashes[batch.target].update(_rows(batch).data)
        if progress is not None:
            progress(len(written.sources), images)
    written.packed = {path.name: hashed.hexdigest() for path, hashed in hashes.items()}
    return written


def _batches(paths: Sequence[str], size: int, target: Path) -> Iterator[Batch]:
    """The work on one split, whose file is made here in its full length: a full disk shows at once."""
    with target.open("wb") as file:
        length = len(paths) * size * size * 3
        if hasattr(os, "posix_fallocate"):  # macOS has none
            os.posix_fallocate(file.fileno(), 0, length)
        file.truncate(length)
    for first in range(0, len(paths), BATCH):
        yield Batch(tuple(paths[first : first + BATCH]), size, target, first)


def _rows(batch: Batch) -> NDArray[np.uint8]:
    """What a batch's part of its target file holds, as a map of it."""
    row = batch.size**2 * 3
    return np.memmap(batch.target, np.uint8, "r", batch.first * row, (len(batch.paths) * row,))


def _digest(samples: Sequence[tiny_imagenet.Sample], sources: Sequence[str]) -> str:
    lines = (f"{path}\t{label}\t{source}\n" for (path, label), source in zip(samples, sources, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _manifest(listing: tiny_imagenet.Listing, data: DataSet, folder: Path, written: _Written) -> Manifest:
    files = (
        StoredFile(path.name, path.stat().st_size, written.packed.get(path.name) or sha256(path))
        for path in sorted(folder.iterdir())
    )
    return Manifest(
        format=FORMAT,
        name=data.name,
        fingerprint=data.fingerprint,
        size=data.size,
        train=data.train,
        val=data.val,
        classes=listing.wnids,
        digest=_digest(listing.train + listing.val, written.sources),
        files=tuple(files),
        tinyablate=tinyablate.__version__,
        pillow=PIL.__version__,
    )


def _read_labels(path: Path, count: int) -> NDArray[np.int64]:
    try:
        labels: NDArray[np.int64] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise unusable(path.parent, f"{path.name} is damaged ({error})") from error
    if labels.shape != (count,) or labels.dtype != np.int64:
        raise unusable(path.parent, f"{path.name} holds {labels.dtype} {list(labels.shape)}, int64 [{count}] expected")
    return labels
