"""Registered folders: train/<class>/<image> and val/<class>/<image>, checked and listed once; the images stay there.

HOME/NAME/index.npz      of each split (`train_…`, `val_…`), a row per image, as `Files` describes
HOME/NAME/manifest.json  written last, as `place` says; it holds the folder's path

Image numbers are those of torchvision's ImageFolder: by class, then by path.
"""

import dataclasses
import hashlib
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

import tinyablate
from tinyablate.datasets import MANIFEST, DataSet
from tinyablate.errors import DataError
from tinyablate.train.data import scan_folders
from tinyablate.train.data.decode import height_and_width, reason
from tinyablate.train.data.place import (
    INDEX,
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
)
from tinyablate.train.data.pool import in_order, workers_for
from tinyablate.train.data.scan_folders import Listing
from tinyablate.train.data.source import Folder
from tinyablate.train.data.tiny_imagenet import LayoutError

FORMAT = 1
"""Version of the files' form. A change that an older reader would misread raises it."""
FILES = frozenset({INDEX})
BATCH = 64
"""Images per task of a worker: 7 MB of photographs."""
IMAGES_PER_WORKER = 2000
"""Fewer are not worth a further process."""
BYTES_PER_IMAGE = 200
"""Of the index, generously."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Manifest(BaseManifest):
    """What a registered folder says of itself; the images are not among its files."""

    layout: str
    """`folders`, by which it is known."""
    root: str
    """Absolute path of the folder that holds the images."""


@dataclass(frozen=True, eq=False)
class Files:
    """The image files of one split, N of them."""

    paths: NDArray[np.uint8]
    """Paths relative to the root as the file system's bytes, each with a NUL behind it."""
    labels: NDArray[np.int64]
    """[N]"""
    heights: NDArray[np.int32]
    """[N] in pixels, as the next."""
    widths: NDArray[np.int32]
    sha256: NDArray[np.uint8]
    """[N, 32] of each file."""
    bytes: NDArray[np.int64]
    """[N] size of each file."""
    changed: NDArray[np.int64]
    """[N] time of its last change in ns."""

    def __len__(self) -> int:
        return len(self.labels)

    def names(self) -> list[str]:
        """All paths."""
        return [os.fsdecode(path) for path in self.paths.tobytes().split(b"\0")[:-1]]


@dataclass(frozen=True)
class Found:
    """What reading one image file told."""

    sha256: bytes
    height: int
    width: int
    bytes: int
    changed: int
    problem: str = ""


# ---- registering -----------------------------------------------------------------------------------------------------


def examine(source: Folder, paths: tuple[str, ...]) -> list[Found]:
    """Reads each file once: is it an image, and whole?"""
    with warnings.catch_warnings(action="ignore"):  # an image is fine or named
        return [_examine(source, path) for path in paths]


def _examine(source: Folder, path: str) -> Found:
    try:
        size, changed = source.state(path)  # before the content: a change in between is seen as one
        content = source.read(path)
        height, width = height_and_width(content)
    except Exception as error:  # PIL raises a dozen types for damaged input
        return Found(b"", 0, 0, 0, 0, f"{path}: {reason(error)}")
    return Found(hashlib.sha256(content).digest(), height, width, size, changed)


def build(root: Path, data: DataSet, place: Path, workers: int | None, progress: Progress | None) -> None:
    """Registers the folder `root` inside the workplace `place` and moves the result to its final folder.

    `data` may leave counts and fingerprint open (0 and empty). Raises LayoutError naming everything that is wrong.
    """
    listing = scan_folders.scan(root, data)
    images = len(listing.train) + len(listing.val)
    with room_for(images * BYTES_PER_IMAGE, place.parent):
        found = _examine_all(root, listing, workers or workers_for(images, IMAGES_PER_WORKER), progress)
        splits = {"train": found[: len(listing.train)], "val": found[len(listing.train) :]}
        problems = [one.problem for one in found if one.problem] or list(_size_problems(splits, data))
        if problems:
            raise LayoutError(str(root), problems)
        folder = place / "registered"
        folder.mkdir()
        _write_index(folder / INDEX, listing, splits)
        manifest = _manifest(root, data, listing, found, folder)
        publish(folder, dataclasses.asdict(manifest), folder_of(place.parent, data.name))


def _examine_all(root: Path, listing: Listing, workers: int, progress: Progress | None) -> list[Found]:
    paths = [path for path, _ in listing.train + listing.val]
    tasks = [tuple(paths[first : first + BATCH]) for first in range(0, len(paths), BATCH)]
    found: list[Found] = []
    for batch in in_order(examine, Folder(root), tasks, workers):
        found += batch
        if progress is not None:
            progress(len(found), len(paths))
    return found


def _size_problems(splits: dict[str, list[Found]], data: DataSet) -> Iterator[str]:
    """The declared fingerprint is that of the original files: files of another total size are not these.

    Archives are tar files: headers and padding add 0.6 % (512 + 256 bytes to 110 kB).
    """
    for split, archive in (("train", data.train_bytes), ("val", data.val_bytes)):
        total = sum(one.bytes for one in splits[split])
        if archive and not 0.98 * archive <= total <= archive:
            yield (
                f"{split}: {total:,} bytes of images, the official archive of '{data.name}' has {archive:,}: these are "
                f"other files (scaled, perhaps); register them under a name of your own"
            )


def _write_index(path: Path, listing: Listing, splits: dict[str, list[Found]]) -> None:
    arrays: dict[str, Any] = {}
    for split, samples in (("train", listing.train), ("val", listing.val)):
        found = splits[split]
        names = b"".join(os.fsencode(name) + b"\0" for name, _ in samples)
        digests = b"".join(one.sha256 for one in found)
        files = Files(
            paths=np.frombuffer(names, np.uint8),
            labels=np.array([label for _, label in samples], np.int64),
            heights=np.array([one.height for one in found], np.int32),
            widths=np.array([one.width for one in found], np.int32),
            sha256=np.frombuffer(digests, np.uint8).reshape(-1, 32),
            bytes=np.array([one.bytes for one in found], np.int64),
            changed=np.array([one.changed for one in found], np.int64),
        )
        arrays |= {f"{split}_{field.name}": getattr(files, field.name) for field in dataclasses.fields(files)}
    np.savez(path, **arrays)


def _manifest(root: Path, data: DataSet, listing: Listing, found: Sequence[Found], folder: Path) -> Manifest:
    digest = hashlib.sha256()
    for (path, label), one in zip(listing.train + listing.val, found, strict=True):
        digest.update(os.fsencode(path) + f"\t{label}\t{one.sha256.hex()}\n".encode())
    index = folder / INDEX
    return Manifest(
        format=FORMAT,
        layout="folders",
        name=data.name,
        fingerprint=data.fingerprint or f"sha256-{digest.hexdigest()}",
        root=str(root.absolute()),
        train=len(listing.train),
        val=len(listing.val),
        classes=listing.classes,
        digest=digest.hexdigest(),
        files=(StoredFile(INDEX, index.stat().st_size, sha256(index)),),
        tinyablate=tinyablate.__version__,
        pillow=PIL.__version__,
    )


# ---- what is registered ----------------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a registered folder whose index has its size. Raises DataError with the command that cures."""
    manifest = load_manifest(folder, Manifest, FORMAT, FILES)
    check_sizes(folder, manifest)
    return manifest


def read_index(folder: Path, manifest: Manifest) -> dict[str, Files]:
    """The image files of `train` and `val`. Raises DataError."""
    try:
        with np.load(folder / INDEX, allow_pickle=False) as arrays:
            splits = {split: _files(arrays, split) for split in SPLITS}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise unusable(folder, f"{INDEX} is damaged ({error})") from error
    if [len(splits[split]) for split in SPLITS] != [manifest.train, manifest.val]:
        raise unusable(folder, f"{INDEX} and {MANIFEST} differ in their numbers of images")
    return splits


def _files(arrays: Any, split: str) -> Files:
    files = Files(**{field.name: arrays[f"{split}_{field.name}"] for field in dataclasses.fields(Files)})
    if np.count_nonzero(files.paths == 0) != len(files) or files.sha256.shape != (len(files), 32):
        raise ValueError("its columns differ in length")
    return files


def root_of(manifest: Manifest) -> Path:
    """The folder that holds the images. Raises DataError with the next command when it has gone."""
    root = Path(manifest.root)
    if not (root / "train").is_dir():
        raise DataError(
            f"data set '{manifest.name}': its images are gone from {root}; "
            f"run: tinyablate data prepare {manifest.name} --from FOLDER"
        )
    return root


def difference(manifest: Manifest, data: DataSet) -> str | None:
    """How the registered folder differs from the data set that this version knows under that name, or None."""
    if data.fingerprint in ("", manifest.fingerprint):
        return None
    return f"fingerprint: {manifest.fingerprint}, {data.fingerprint} expected"


def is_ready(folder: Path, data: DataSet) -> bool:
    """Whether `folder` registers `data`, and its images are where they were."""
    try:
        manifest = read_manifest(folder)
        root_of(manifest)
    except DataError:
        return False
    return difference(manifest, data) is None


def is_current(folder: Path, root: Path, data: DataSet) -> bool:
    """Whether `folder` registers exactly the images in `root`, by their names, sizes and times of change."""
    try:
        manifest = read_manifest(folder)
        splits = read_index(folder, manifest)
        listing = scan_folders.scan(root, data)
    except DataError:
        return False
    if difference(manifest, data) or (manifest.root, manifest.classes) != (str(root.absolute()), listing.classes):
        return False
    source = Folder(root)
    return _same(splits["train"], listing.train, source) and _same(splits["val"], listing.val, source)


def _same(files: Files, samples: Sequence[scan_folders.Sample], source: Folder) -> bool:
    names = [name for name, _ in samples]
    if files.names() != names or files.labels.tolist() != [label for _, label in samples]:
        return False
    states = zip(files.bytes.tolist(), files.changed.tolist(), strict=True)
    try:
        return all(source.state(name) == state for name, state in zip(names, states, strict=True))
    except (OSError, ValueError):  # gone since it was listed, or a link to nothing: preparing anew will name it
        return False


def verify(folder: Path, progress: Progress | None = None) -> list[str]:
    """Every image and file that differs from what was registered (sha256); empty if none. Reads everything."""
    try:
        manifest = read_manifest(folder)
        root = root_of(manifest)
        if problems := file_problems(folder, manifest):
            return problems  # and what the images should be is not known
        splits = read_index(folder, manifest)
    except DataError as error:
        return [str(error)]
    names = [name for split in SPLITS for name in splits[split].names()]
    expected = np.concatenate([splits[split].sha256 for split in SPLITS])
    tasks = [
        (tuple(names[first : first + BATCH]), expected[first : first + BATCH].tobytes())
        for first in range(0, len(names), BATCH)
    ]
    done = 0
    for task, found in zip(tasks, in_order(_changed, Folder(root), tasks, workers_for(len(names), 2000)), strict=True):
        problems += found
        done += len(task[0])
        if progress is not None:
            progress(done, len(names))
    return problems


def _changed(source: Folder, task: tuple[tuple[str, ...], bytes]) -> list[str]:
    """A line for each file whose sha256 is not the one expected."""
    paths, expected = task
    problems = []
    for place, path in enumerate(paths):
        try:
            same = hashlib.sha256(source.read(path)).digest() == expected[32 * place : 32 * place + 32]
        except OSError as error:
            problems.append(f"{path}: {reason(error)}")
        else:
            problems += [] if same else [f"{path}: its content has changed since it was registered"]
    return problems
