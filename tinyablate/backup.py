"""A copy of a results database, made while runs go on. It neither opens it for writing nor migrates it."""

from pathlib import Path

from tinyablate.errors import UsageError
from tinyablate.store.asking.mistakes import no_database
from tinyablate.store.backends import open_backend
from tinyablate.store.location import Location


def back_up(database: str, file: Path, *, replace: bool = False) -> int:
    """Copy all that is committed to `file`, which with `replace` may be an earlier backup; its bytes.

    A database of an older schema is copied as it is. Raises UsageError, StoreError (of PostgreSQL with the command that
    does it), DiskFullError.
    """
    location = Location.of(database)
    if location.path and not location.exists():
        raise no_database(location)
    if location.path and file.exists() and not replace:
        raise UsageError(f"{file}: is there already; with --force it is replaced, if it is an earlier backup")
    backend = open_backend(location, read_only=True)
    try:
        if location.path:
            backend.version()  # whether it is one of ours
        backend.backup(file)
    finally:
        backend.close()
    return file.stat().st_size
