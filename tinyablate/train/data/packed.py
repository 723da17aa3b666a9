"""Packed data sets: images decoded once into memory-mapped uint8 arrays, in a folder that is either whole or not there.

HOME/NAME/train.u8  val.u8                  uint8 [N, H, W, 3], nothing but pixels
HOME/NAME/train.labels.npy  val.labels.npy  int64 [N]
HOME/NAME/manifest.json                     written last
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

import tinyablate
from tinyablate.datasets import DataSet
from tinyablate.errors import DataError
from tinyablate.train.data import tiny_imagenet
from tinyablate.train.data.decode import Batch, Decoded, decode_all, default_workers
from tinyablate.train.data.source import Source, open_source

FORMAT = 1
"""Version of the files' form. A change that an older reader would misread raises it."""
MANIFEST = "manifest.json"
SPLITS = ("train", "val")
FILES = frozenset(f"{split}.{kind}" for split in SPLITS for kind in ("u8", "labels.npy"))
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BATCH = 256
"""Images per task of a worker: 3 MB at 64 pixels."""


@dataclass(frozen=True)
class PackedFile:
    """One file beside the manifest."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a packed data set says of itself."""

    format: int
    name: str
    fingerprint: str
    size: int
    """Height and width in pixels."""
    train: int
    """Number of training images."""
    val: int
    """Number of validation images."""
    classes: tuple[str, ...]
    """Class index -> WordNet id."""
    digest: str
    """sha256 over a line "path<TAB>label<TAB>sha256 of the source file" for every image, train before val, in order."""
    files: tuple[PackedFile, ...]
    tinyablate: str
    """Version of tinyablate that packed it."""
    pillow: str
    """Version of Pillow that decoded it."""

    @property
    def bytes(self) -> int:
        """Size of all files but the manifest."""
        return sum(file.bytes for file in self.files)


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


def folder_of(home: Path, name: str) -> Path:
    """Where the prepared data set `name` lies."""
    return home / name


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
    manifest = _load_manifest(folder)
    for file in manifest.files:
        if problem := _size_problem(folder, file):
            raise _unusable(folder, problem)
    return manifest


def verify(folder: Path) -> list[str]:
    """Every way in which the files differ from the manifest (sha256); empty if in none. Reads everything."""
    try:
        manifest = _load_manifest(folder)
    except DataError as error:
        return [str(error)]
    problems = []
    for file in manifest.files:
        problem = _size_problem(folder, file)
        if problem is None and _sha256(folder / file.name) != file.sha256:
            problem = f"{file.name}: its content has changed since it was packed (sha256 differs)"
        if problem is not None:
            problems.append(problem)
    return problems


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
    with workplace(home, data.name) as place:
        if not is_ready(folder_of(home, data.name), data):
            build(root, data, place, workers, progress)
    return folder_of(home, data.name)


@contextlib.contextmanager
def workplace(home: Path, name: str, waiting: Callable[[], None] | None = None) -> Iterator[Path]:
    """A hidden empty folder in `home` for the one process that may prepare `name` now; gone afterwards.

    Others wait (`waiting` is called first) and should look again whether the work is done. Since the lock dies with its
    holder, any such folder that is found belongs to a dead process and is removed. Raises DataError when `home` cannot
    be written or when a folder HOME/NAME is there that tinyablate did not make.
    """
    place = home / f".{name}.partial-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        try:
            home.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((home / f".{name}.lock").open("w"))
            _acquire(lock.fileno(), home, waiting)
            for leftover in home.glob(f".{name}.partial-*"):
                shutil.rmtree(leftover)
            place.mkdir()
        except OSError as error:
            raise DataError(f"{home}: cannot be written: {error}") from error
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        _refuse_foreign(folder_of(home, name))
        yield place


def _acquire(lock: int, home: Path, waiting: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is not None:
            waiting()
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise DataError(f"{home}: the file system has no locks ({error.strerror}): choose another folder") from error


def _refuse_foreign(folder: Path) -> None:
    """Replacing an outdated folder deletes it, so it must be one of ours."""
    if folder.exists() and not (folder.is_dir() and (FILES | {MANIFEST}).issuperset(os.listdir(folder))):
        raise DataError(
            f"{folder}: is in the way and was not made by tinyablate: move it elsewhere (--from takes it from there)"
        )


@contextlib.contextmanager
def room_for(needed: int, home: Path) -> Iterator[None]:
    """Raises DataError, saying how much is needed, when the disk of `home` has less than `needed` bytes or fills up."""
    free = shutil.disk_usage(home).free
    message = f"{home}: no room: {needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free"
    if free < needed:
        raise DataError(message)
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DataError(f"{message} ({error.strerror})") from error
        raise


def build(
    root: Path, data: DataSet, place: Path, workers: int | None, progress: Callable[[int, int], None] | None
) -> None:
    """Packs `root` inside the workplace `place` and moves the whole result to its final folder. Raises as `pack`."""
    folder = place / "packed"
    folder.mkdir()
    needed = (data.train + data.val) * data.size**2 * 3
    with open_source(root, data) as source, room_for(needed, place.parent):
        listing = tiny_imagenet.scan_source(source, data, str(root))
        samples = {"train": listing.train, "val": listing.val}
        decoded = _write_arrays(source, samples, data, folder, workers, progress)
        if problems := [problem for batch in decoded for problem in batch.problems]:
            raise tiny_imagenet.LayoutError(str(root), problems)
        digest = _digest(listing.train + listing.val, [digest for batch in decoded for digest in batch.digests])
        _write_manifest(listing, data, folder, digest)
        for path in (*folder.iterdir(), folder):
            _sync(path)
    _publish(folder, folder_of(place.parent, data.name))


def _write_arrays(
    source: Source,
    samples: dict[str, tuple[tiny_imagenet.Sample, ...]],
    data: DataSet,
    folder: Path,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> list[Decoded]:
    """Writes labels and images of both splits; what came of each batch, in the samples' order."""
    batches: list[Batch] = []
    for split in SPLITS:
        np.save(folder / f"{split}.labels.npy", np.array([label for _, label in samples[split]], np.int64))
        batches += _batches([path for path, _ in samples[split]], data.size, folder / f"{split}.u8")
    finished: list[Decoded] = []
    done = 0
    for decoded in decode_all(source, batches, workers or default_workers(data.train + data.val)):
        finished.append(decoded)
        done += len(decoded.digests)
        if progress is not None:
            progress(done, data.train + data.val)
    return finished


def _batches(paths: Sequence[str], size: int, target: Path) -> Iterator[Batch]:
    """The work on one split, whose file is made here in its full length: a full disk shows at once."""
    with target.open("wb") as file:
        length = len(paths) * size * size * 3
        if hasattr(os, "posix_fallocate"):  # macOS has none
            os.posix_fallocate(file.fileno(), 0, length)
        file.truncate(length)
    for first in range(0, len(paths), BATCH):
        yield Batch(tuple(paths[first : first + BATCH]), size, target, first)


def _digest(samples: Sequence[tiny_imagenet.Sample], sources: Sequence[str]) -> str:
    lines = (f"{path}\t{label}\t{source}\n" for (path, label), source in zip(samples, sources, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _write_manifest(listing: tiny_imagenet.Listing, data: DataSet, folder: Path, digest: str) -> None:
    manifest = Manifest(
        format=FORMAT,
        name=data.name,
        fingerprint=data.fingerprint,
        size=data.size,
        train=data.train,
        val=data.val,
        classes=listing.wnids,
        digest=digest,
        files=tuple(PackedFile(path.name, path.stat().st_size, _sha256(path)) for path in sorted(folder.iterdir())),
        tinyablate=tinyablate.__version__,
        pillow=PIL.__version__,
    )
    (folder / MANIFEST).write_text(json.dumps(dataclasses.asdict(manifest), indent=1) + "\n")


def _publish(made: Path, folder: Path) -> None:
    """Puts the whole folder in its place with one rename; an outdated one steps aside into the workplace first."""
    if folder.exists():
        folder.rename(made.parent / "outdated")
    made.rename(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unusable(folder: Path, problem: str) -> DataError:
    return DataError(f"{folder}: {problem}; run: tinyablate data prepare {folder.name}")


def _load_manifest(folder: Path) -> Manifest:
    try:
        raw = json.loads((folder / MANIFEST).read_bytes())
        if raw["format"] != FORMAT:
            raise _unusable(folder, f"packed in format {raw['format']}, this version reads {FORMAT}")
        return _parse(raw)
    except OSError as error:
        raise _unusable(folder, f"no prepared data set ({MANIFEST}: {error.strerror})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise _unusable(folder, f"{MANIFEST} is damaged ({error})") from error


def _parse(raw: dict[str, Any]) -> Manifest:
    """The manifest in `raw`. Raises ValueError, TypeError or KeyError if it is not one."""
    files = tuple(PackedFile(**file) for file in raw["files"])
    manifest = Manifest(**{**raw, "files": files, "classes": tuple(raw["classes"])})
    _check_types(manifest)
    for file in files:
        _check_types(file)
    if {file.name for file in files} != FILES:
        raise ValueError("its list of files is not complete")
    row = manifest.size**2 * 3
    if {"train.u8": manifest.train * row, "val.u8": manifest.val * row}.items() - {(f.name, f.bytes) for f in files}:
        raise ValueError("numbers and sizes disagree")
    return manifest


def _check_types(part: Manifest | PackedFile) -> None:
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.type in (int, str) and type(value) is not field.type:
            raise TypeError(f"{field.name} = {value!r}")


def _size_problem(folder: Path, file: PackedFile) -> str | None:
    try:
        size = (folder / file.name).stat().st_size
    except OSError as error:
        return f"{file.name}: {error.strerror}"
    return None if size == file.bytes else f"{file.name}: has {size:,} bytes, {file.bytes:,} expected"


def _read_labels(path: Path, count: int) -> NDArray[np.int64]:
    try:
        labels: NDArray[np.int64] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _unusable(path.parent, f"{path.name} is damaged ({error})") from error
    if labels.shape != (count,) or labels.dtype != np.int64:
        raise _unusable(path.parent, f"{path.name} holds {labels.dtype} {list(labels.shape)}, int64 [{count}] expected")
    return labels
