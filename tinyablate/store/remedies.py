"""What to do about a SQLite file that cannot be written, or is damaged. It looks around it, and changes nothing."""

import contextlib
import itertools
import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path

HEADER = b"SQLite format 3\0"

MOST_COPIES = 3

_KEPT_ASIDE = ("-wal", "-journal")
"""Files of SQLite's beside a database, without which it is not what was committed."""


def may_write(place: Path) -> bool:
    """Whether a file, or a folder, can be changed by us: as its permissions and its file system allow."""
    return os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def hindrance(path: Path) -> str:
    """Why nothing can be written to the database at `path`, there or not; "" where nothing is known to hinder it.

    Its folder counts too: SQLite writes through a file that it makes beside the database.
    """
    for place in (path, path.parent):
        if place.exists() and not may_write(place):
            read_only = os.statvfs(place).f_flag & os.ST_RDONLY
            return "its file system is read-only" if read_only else f"{place} may not be written by this user"
    return ""


def unwritable(path: Path, hindrance: str) -> str:
    """That the database cannot be written, and where to go on instead."""
    if not path.exists() or not path.stat().st_size:
        return f"{path}: cannot be made: {hindrance}; choose another place: --db PATH"
    if not Path(f"{path}-shm").exists() and (told := unread(path)):
        return told
    return (
        f"{path}: cannot be written: {hindrance}; it can be read, and copied to where it can be written: "
        f"{_command('backup', 'COPY.db', path)}; then name the copy: --db COPY.db"
    )


def unread(path: Path) -> str:
    """That results stand beside the file which SQLite cannot take in where it may not write; "" if there are none."""
    for end in _KEPT_ASIDE:
        beside = Path(f"{path}{end}")
        if beside.exists() and beside.stat().st_size:
            return (
                f"{path}: its latest results are still in {beside}, which can be read only in a folder that may be "
                f"written; copy both: {shlex.join(['cp', str(path), str(beside), 'FOLDER'])}; then --db "
                f"FOLDER/{path.name}"
            )
    return ""


def damaged(path: Path, said: str) -> str:
    """That the file is damaged, as SQLite says, and what can be done."""
    kept = list(itertools.islice(_copies(path), MOST_COPIES))
    beside = f"beside it lies {', '.join(each.name for each in kept)}"
    which = "which" if len(kept) == 1 else "one of which"
    copy = f"{beside}, {which} may be a copy of it: {_command('status', '', kept[0])}; " if kept else ""
    rescue = f"{shlex.join(['sqlite3', str(path), '.recover'])} | sqlite3 SAVED.db"
    return (
        f"{path}: is damaged ({said}); {copy}what is broken: {_command('doctor', '', path)}; what can be read is saved "
        f"by: {rescue}"
    )


def was_migrated(path: Path) -> bool:
    """Whether a migration left its copy beside the file, which thus was a database of ours, whatever it is now."""
    with contextlib.suppress(OSError):
        return any(_version_kept(path, each) for each in path.parent.iterdir())
    return False


def _copies(path: Path) -> Iterator[Path]:
    """Databases of ours in the folder, the latest first; then copies that migrations left, which may be older."""
    with contextlib.suppress(OSError):
        files = [each for each in path.parent.iterdir() if each.is_file() and not each.samefile(path)]
        for each in sorted(files, key=lambda file: (-_version_kept(path, file), file.stat().st_mtime), reverse=True):
            if is_database(each) and _is_ours(each):
                yield each


def _version_kept(path: Path, file: Path) -> int:
    """Of a copy that a migration left of `path`, its schema version; 0 of another file."""
    found = re.fullmatch(rf"{re.escape(path.name)}\.version-(\d+)\.bak", file.name)
    return int(found[1]) if found else 0


def is_database(path: Path) -> bool:
    """Whether the file begins as SQLite's do."""
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


def _is_ours(path: Path) -> bool:
    """Whether it can be opened and has our tables; asked without touching it."""
    with contextlib.suppress(sqlite3.Error):
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        with contextlib.closing(connection):
            wanted = "SELECT count(*) FROM sqlite_master WHERE name IN ('schema_version', 'variants')"
            return bool(connection.execute(wanted).fetchone() == (2,))
    return False


def _command(name: str, what: str, path: Path) -> str:
    return shlex.join(["tinyablate", name, *([what] if what else []), "--db", str(path)])
