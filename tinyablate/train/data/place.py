"""The data home on disk: who may prepare a data set, whether there is room, when it is published, if it is unchanged.

HOME/NAME/manifest.json   written last: a folder with it is whole; it names every other file with size and sha256
HOME/NAME/verified.json   the state in which those files were last found to match; anybody may delete it

What the files mean is the business of `packed` and `folders`.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tinyablate.datasets import MANIFEST
from tinyablate.durable import sync
from tinyablate.errors import DataError

STAMP = "verified.json"
INDEX = "index.npz"
"""File that registered folders have, packed data sets have not."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SPLITS = ("train", "val")


@dataclass(frozen=True)
class StoredFile:
    """One file beside the manifest."""

    name: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True)
class BaseManifest:
    """What a prepared data set says of itself. Raises TypeError for a number or a text that is none."""

    format: int
    name: str
    fingerprint: str
    train: int
    """Number of training images."""
    val: int
    """Number of validation images."""
    classes: tuple[str, ...]
    """Class index -> name of its folder (in Tiny ImageNet a WordNet id), sorted."""
    digest: str
    """sha256 over a line "path<TAB>label<TAB>sha256 of the source file" for every image, train before val, in order."""
    files: tuple[StoredFile, ...]
    """Every file beside the manifest."""
    tinyablate: str
    """Version of tinyablate that prepared it."""
    pillow: str
    """Version of Pillow that read its images."""

    def __post_init__(self) -> None:
        check_types(self)

    @property
    def bytes(self) -> int:
        """Size of all files but the manifest."""
        return sum(file.bytes for file in self.files)


AnyManifest = TypeVar("AnyManifest", bound=BaseManifest)


def folder_of(home: Path, name: str) -> Path:
    """Where the prepared data set `name` lies."""
    return home / name


# ---- preparing -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def workplace(home: Path, name: str, files: Iterable[str], waiting: Callable[[], None] | None = None) -> Iterator[Path]:
    """A hidden empty folder in `home` for the one process that may prepare `name` now; gone afterwards.

    Others wait (`waiting` is called first) and should look again whether the work is done. Since the lock dies with its
    holder, any such folder that is found belongs to a dead process and is removed. Raises DataError when `home` cannot
    be written or when a folder HOME/NAME is there that tinyablate did not make: one that holds anything but `files`.
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
        _refuse_foreign(folder_of(home, name), files)
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


def _refuse_foreign(folder: Path, files: Iterable[str]) -> None:
    """Replacing an outdated folder deletes it, so it must be one of ours."""
    if folder.exists() and not (folder.is_dir() and {*files, MANIFEST, STAMP}.issuperset(os.listdir(folder))):
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


def publish(made: Path, manifest: dict[str, Any], folder: Path) -> None:
    """Writes `manifest` into the new folder `made`, and puts the whole in its place `folder` with one rename.

    All files are on the disk before. An outdated folder steps aside into the workplace, the folder around `made`.
    """
    for path in made.iterdir():
        sync(path)
    states = {path.name: _state(path) for path in made.iterdir()}
    (made / STAMP).write_text(json.dumps(states) + "\n")
    (made / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    for path in (made / STAMP, made / MANIFEST, made):
        sync(path)
    if folder.exists():
        folder.rename(made.parent / "outdated")
    made.rename(folder)
    sync(folder.parent)


# ---- what is there ---------------------------------------------------------------------------------------------------


def unusable(folder: Path, problem: str) -> DataError:
    """The error for a prepared data set that cannot be used, with the command that cures it."""
    source = " --from FOLDER" if layout_of(folder) == "folders" else ""
    return DataError(f"{folder}: {problem}; run: tinyablate data prepare {folder.name}{source}")


def layout_of(folder: Path) -> str:
    """The layout of a prepared data set, as `datasets.DataSet` has it, also where its manifest is damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        return str(json.loads((folder / MANIFEST).read_bytes()).get("layout", "tiny-imagenet"))
    return "folders" if (folder / INDEX).exists() else "tiny-imagenet"


def load_manifest(folder: Path, kind: type[AnyManifest], version: int, files: frozenset[str]) -> AnyManifest:
    """The manifest of this kind and format, which lists `files`. Raises DataError with the command that cures."""
    try:
        raw = json.loads((folder / MANIFEST).read_bytes())
        if raw["format"] != version:
            raise unusable(folder, f"prepared in format {raw['format']}, this version reads {version}")
        listed = tuple(StoredFile(**file) for file in raw["files"])
        if {file.name for file in listed} != files:
            raise ValueError("its list of files is not complete")
        return kind(**{**raw, "files": listed, "classes": tuple(raw["classes"])})
    except OSError as error:
        raise unusable(folder, f"no prepared data set ({MANIFEST}: {error.strerror})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise unusable(folder, f"{MANIFEST} is damaged ({error})") from error


def check_types(part: StoredFile | BaseManifest) -> None:
    """Raises TypeError when a number or a text of `part` is none."""
    for field in dataclasses.fields(part):
        if field.type in (int, str) and type(value := getattr(part, field.name)) is not field.type:
            raise TypeError(f"{field.name} = {value!r}")


def size_problem(folder: Path, file: StoredFile) -> str | None:
    """What is wrong with a file's size, or None."""
    try:
        size = (folder / file.name).stat().st_size
    except OSError as error:
        return f"{file.name}: {error.strerror}"
    return None if size == file.bytes else f"{file.name}: has {size:,} bytes, {file.bytes:,} expected"


def check_sizes(folder: Path, manifest: BaseManifest) -> None:
    """Raises DataError when a file of the manifest is missing or has another size."""
    for file in manifest.files:
        if problem := size_problem(folder, file):
            raise unusable(folder, problem)


def file_problems(folder: Path, manifest: BaseManifest) -> list[str]:
    """Every way in which the files differ from the manifest (sha256); reads them whole. None: the stamp is renewed."""
    states = _states(folder, manifest)
    problems = []
    for file in manifest.files:
        problem = size_problem(folder, file)
        if problem is None and sha256(folder / file.name) != file.sha256:
            problem = f"{file.name}: its content has changed since it was prepared (sha256 differs)"
        if problem is not None:
            problems.append(problem)
    if not problems:
        _write_stamp(folder, states)
    return problems


def is_unchanged(folder: Path, manifest: BaseManifest) -> bool:
    """Whether the files are as they were when they last matched the manifest: size, times of change, inode.

    In milliseconds; it would not notice a disk that returns other bytes than were written, as `file_problems` does.
    """
    try:
        stamp = json.loads((folder / STAMP).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(stamp == _states(folder, manifest))


def _states(folder: Path, manifest: BaseManifest) -> dict[str, list[int]]:
    """The state of each file that is there."""
    states = {}
    for file in manifest.files:
        with contextlib.suppress(OSError):
            states[file.name] = _state(folder / file.name)
    return states


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _write_stamp(folder: Path, states: dict[str, list[int]]) -> None:
    """A home that cannot be written goes without, and is checked every time; so is one whose stamp is torn."""
    with contextlib.suppress(OSError):
        (folder / STAMP).write_text(json.dumps(states) + "\n")


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
