"""Brings data sets onto this machine: generates or downloads them and has them packed, or registers a user's folder.

It trains nothing. It says on stderr what it took of a user's folder. Inside the data home, NAME/ is a prepared data
set, downloads/ holds archives and what there is of unfinished ones, and hidden names (.NAME.lock, .NAME.partial-PID)
belong to a preparation that is under way; NAME.problems.txt is the full list of what was wrong with a source.
"""

import functools
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tinyablate.datasets import KNOWN, VALID_NAME, DataSet, is_new_name, lookup, registered
from tinyablate.errors import DataError
from tinyablate.terminal import say
from tinyablate.train.data import folders, packed, place, scan_folders, shapes
from tinyablate.train.data.tiny_imagenet import MOST_SHOWN, LayoutError

Progress = Callable[[str, int, int], None]
"""Gets stage, units done, units in all. Stages: wait (0, 0: another process prepares the same data set), download
(bytes; 0 in all if the server does not say), generate, decode, check (images), verify (0, 0: files are read whole)."""

TIMEOUT = 30
"""Seconds without a byte after which a download counts as broken."""
IGNORED_SHOWN = 5
"""Files without an image's name that are named."""
BLOCK = 4096
"""Bytes that even a smaller file takes on most file systems."""


@dataclass(frozen=True)
class Status:
    """What there is of a data set in a data home."""

    name: str
    title: str
    prepared: bool
    folder: Path
    train: int
    """Number of training images."""
    val: int
    """Number of validation images."""
    bytes: int
    """In the data home; 0 if not prepared."""
    digest: str
    """Of the source files, names and labels; empty if not prepared."""
    problem: str
    """Why a folder that is there cannot be used; else empty."""


# ---- preparing -------------------------------------------------------------------------------------------------------


def prepare(name: str, home: Path, source: Path | None = None, progress: Progress | None = None) -> Path:
    """Prepares a data set in `home` and returns its folder; at once if that is done already.

    `source` is an archive or an unpacked folder to use instead of downloading; a name that is not known yet is given to
    the folder `source`, whose images stay there. Raises DataError when the name is unknown or impossible, when there is
    no network, no room, or anything wrong with the source; then no part is left but that of a download, which the next
    call continues.
    """
    if source is not None and is_new_name(name, home):
        return prepare_set(DataSet(name, "", 0, layout="folders"), home, source, progress)
    try:
        data = lookup(name, home)
    except DataError as error:
        new = name if VALID_NAME.fullmatch(name) else "NAME"
        raise DataError(
            f"{error}\n  to register images of your own: tinyablate data prepare {new} --from FOLDER"
        ) from None
    return prepare_set(data, home, source, progress)


def prepare_set(data: DataSet, home: Path, source: Path | None = None, progress: Progress | None = None) -> Path:
    """`prepare` for a DataSet, known or not. What is there but damaged is prepared anew."""
    report = progress or _silent
    if data.generated and source is not None:
        if _is_ready(data, home, None, report):
            return place.folder_of(home, data.name)
        raise DataError(f"data set '{data.name}' is generated: there is nothing to take from {source}")
    if data.name not in KNOWN and data.layout == "folders" and source is not None:
        data = DataSet(data.name, "", 0, layout="folders")  # whatever is there now
    before = registered(home).get(data.name)
    if not _is_ready(data, home, source, report):
        _prepare(data, home, source, report)
    if data.layout == "folders" and source is not None:
        _say_what_was_taken(folders.read_manifest(place.folder_of(home, data.name)), source, data, before)
    return place.folder_of(home, data.name)


def _say_what_was_taken(now: folders.Manifest, source: Path, data: DataSet, before: DataSet | None) -> None:
    """What is registered, which files of `source` are not, and whether it is other than what was `before`."""
    ignored = scan_folders.scan(source, data).ignored
    text = f"{now.name}: {len(now.classes):,} classes, {now.train:,} train, {now.val:,} val images"
    if ignored:
        what = "1 file that is no image" if len(ignored) == 1 else f"{len(ignored):,} files that are no images"
        more = f", … and {len(ignored) - IGNORED_SHOWN:,} more" if len(ignored) > IGNORED_SHOWN else ""
        text += f"; ignored {what} by name: {', '.join(ignored[:IGNORED_SHOWN])}{more}"
    say(text)
    if before is not None and before.fingerprint != now.fingerprint:
        pairs = ((before.train, now.train, "training"), (before.val, now.val, "validation"))
        changes = [f"{old:,} -> {new:,} {split} images" for old, new, split in pairs if old != new]
        say(
            f"{now.name}: differs from what was registered before "
            f"({', '.join(changes) or 'as many images, but other names or content'}): "
            "earlier results keep the old fingerprint and will not be found under this name"
        )


def _is_ready(data: DataSet, home: Path, source: Path | None, report: Progress) -> bool:
    """Whether the data set is prepared (from this folder) and whole."""
    folder = place.folder_of(home, data.name)
    if data.layout == "folders" and source is not None:
        ready = folders.is_current(folder, source, data)
    elif data.layout == "folders":
        ready = folders.is_ready(folder, data)
    else:
        ready = packed.is_ready(folder, data)
    return ready and not _file_problems(data, folder, report)


def _file_problems(data: DataSet, folder: Path, report: Progress) -> list[str]:
    """How the files in the data home differ from what was prepared; at once if they are as last found whole."""
    manifest = _read_manifest(data, folder)
    if place.is_unchanged(folder, manifest):
        return []
    report("verify", 0, 0)
    return place.file_problems(folder, manifest)


def _read_manifest(data: DataSet, folder: Path) -> packed.Manifest | folders.Manifest:
    return folders.read_manifest(folder) if data.layout == "folders" else packed.read_manifest(folder)


def _prepare(data: DataSet, home: Path, source: Path | None, report: Progress) -> None:
    if data.layout == "folders" and source is None:
        raise DataError(f"data set '{data.name}' is not prepared in {home}; {command(data)}")
    full_list = home / f"{data.name}.problems.txt"
    files = folders.FILES if data.layout == "folders" else packed.FILES
    try:
        with place.workplace(home, data.name, files, waiting=lambda: report("wait", 0, 0)) as workplace:
            if _is_ready(data, home, source, report):
                return
            if data.layout == "folders":
                assert source is not None
                folders.build(source, data, workplace, None, functools.partial(report, "check"))
            else:
                root = _source(data, home, source, workplace / "source", report)
                packed.build(root, data, workplace, None, functools.partial(report, "decode"))
    except LayoutError as error:
        raise _with_full_list(error, full_list) from error
    full_list.unlink(missing_ok=True)


def command(data: DataSet) -> str:
    """What to run to prepare a data set."""
    source = " --from FOLDER" if data.layout == "folders" else "" if data.generated else " [--from ZIP]"
    return f"run: tinyablate data prepare {data.name}{source}"


# ---- what is there ---------------------------------------------------------------------------------------------------


def require(name: str, home: Path) -> Path:
    """The folder of a prepared data set. Raises DataError with the command that prepares it."""
    return require_set(lookup(name, home), home)


def require_set(data: DataSet, home: Path) -> Path:
    """`require` for a DataSet, known or not."""
    folder = place.folder_of(home, data.name)
    if not folder.exists():
        raise DataError(f"data set '{data.name}' is not prepared in {home}; {command(data)}")
    if data.layout == "folders":
        manifest = folders.read_manifest(folder)
        difference = folders.difference(manifest, data)
        folders.root_of(manifest)
    else:
        difference = packed.difference(packed.read_manifest(folder), data)
    if difference:
        raise DataError(f"{folder}: not the '{data.name}' of this version ({difference}); {command(data)}")
    return folder


def require_whole(name: str, home: Path, progress: Progress | None = None) -> Path:
    """`require`, and its files hold what was prepared: they are read whole once, and again whenever one has changed.

    Files of a registered folder are compared when they are read for training, each time.
    """
    data = lookup(name, home)
    folder = require_set(data, home)
    if problems := _file_problems(data, folder, progress or _silent):
        raise place.unusable(folder, "; ".join(problems))
    return folder


def verify(name: str, home: Path, progress: Progress | None = None) -> list[str]:
    """Every way in which a prepared data set differs from what was prepared; reads everything. Raises DataError."""
    data = lookup(name, home)
    folder = require_set(data, home)
    if data.layout == "folders":
        return folders.verify(folder, functools.partial(progress or _silent, "check"))
    (progress or _silent)("verify", 0, 0)
    return packed.verify(folder)


def status(home: Path) -> list[Status]:
    """What there is of every data set, built in or registered."""
    return [_status(data, home) for data in (KNOWN | registered(home)).values()]


def _status(data: DataSet, home: Path) -> Status:
    folder = place.folder_of(home, data.name)
    absent = Status(data.name, data.title, False, folder, data.train, data.val, 0, "", "")
    if not folder.exists():
        return absent
    try:
        manifest = _read_manifest(data, require_set(data, home))
    except DataError as error:
        return Status(data.name, data.title, False, folder, data.train, data.val, 0, "", str(error))
    return Status(data.name, data.title, True, folder, data.train, data.val, manifest.bytes, manifest.digest, "")


# ---- where it comes from ---------------------------------------------------------------------------------------------


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def _with_full_list(error: LayoutError, path: Path) -> DataError:
    """The error as it is, or, where its message does not show every problem, naming a file that does."""
    if len(error.problems) <= MOST_SHOWN:
        return error
    path.write_text("".join(f"{problem}\n" for problem in error.problems), encoding="utf-8", errors="backslashreplace")
    return DataError(f"{error}\nall {len(error.problems)} are listed in {path}")


def _source(data: DataSet, home: Path, source: Path | None, target: Path, report: Progress) -> Path:
    """A folder or archive in the `tiny-imagenet-200` layout: `source`, a download, or generated in `target`."""
    if data.generated:
        with place.room_for((data.train + data.val) * BLOCK, home):
            shapes.write(target, data, functools.partial(report, "generate"))
        return target
    if source is None:
        return download(data, home, report)
    if not source.is_dir():
        _check_md5(source, data)
    return source


def _check_md5(archive: Path, data: DataSet) -> None:
    """An archive of the official size must be the official one; others are judged by what they hold."""
    try:
        if archive.stat().st_size == data.bytes and (md5 := _md5(archive)) != data.md5:
            raise DataError(f"{archive}: damaged or altered: its md5 is {md5}, that of {data.url} is {data.md5}")
    except OSError as error:
        raise DataError(f"{archive}: cannot be read: {error.strerror}") from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def download(data: DataSet, home: Path, report: Progress) -> Path:
    """The official archive in HOME/downloads, downloaded or continued unless it is there, with its md5 checked.

    Raises DataError saying what to do without a network; what arrived stays for the next try.
    """
    import pooch  # here, because few need it and it takes its time

    pooch.get_logger().setLevel("WARNING")
    name = PurePosixPath(data.url).name
    folder = home / "downloads"
    fetch = _Resuming(folder / f"{name}.part", data, report)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with place.room_for(data.bytes, folder):
            path = pooch.retrieve(data.url, f"md5:{data.md5}", name, folder, downloader=fetch)
    except ValueError as error:  # pooch has deleted what it got
        raise DataError(f"{data.url}: {error}") from error
    return Path(path)


class _Resuming:
    """A downloader for pooch that appends to a file of its own, so that the next call continues where one broke off."""

    def __init__(self, part: Path, data: DataSet, report: Progress) -> None:
        self.part = part
        self.data = data
        self.report = report

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        while (before := self._size()) < self.data.bytes:
            try:
                self._fetch(url, before)
            except (OSError, http.client.HTTPException) as error:
                if getattr(error, "errno", None) in place.NO_ROOM:
                    raise
                if self._size() <= before:  # a try that brought something is worth another
                    raise self._failure(url, error) from error
            else:
                break
        os.replace(self.part, output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _fetch(self, url: str, start: int) -> None:
        """Appends the rest of the file from byte `start`, or starts over if the server does not continue there."""
        request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            continues = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            done = start if continues else 0
            length = int(response.headers.get("Content-Length", 0))
            total = done + length if length else 0
            with self.part.open("ab" if continues else "wb") as file:
                while chunk := response.read(1 << 18):
                    file.write(chunk)
                    done += len(chunk)
                    self.report("download", done, total)
        if done < total:
            raise ConnectionError(f"the connection was closed after {done:,} of {total:,} bytes")

    def _failure(self, url: str, error: Exception) -> DataError:
        if isinstance(error, urllib.error.HTTPError) and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self.part.unlink()  # the server's file is shorter: only starting over can help
        reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        kept = f"\n  {self._size():,} bytes are kept in {self.part}: the same command continues there"
        return DataError(
            f"cannot download {url}: {reason}{kept if self._size() else ''}\n"
            "  without a network: fetch that URL elsewhere and run: "
            f"tinyablate data prepare {self.data.name} --from ZIP"
        )
