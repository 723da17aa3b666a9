"""Files that are written whole or not at all, and left alone where they would not change."""

import contextlib
from pathlib import Path

from tinyablate import durable
from tinyablate.errors import UsageError


def put(path: Path, content: bytes) -> Path:
    """`content` written aside and renamed to `path`, unless just that stands there; `path`. Raises UsageError."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with durable.aside(path) as aside:
            aside.write_bytes(content)
            aside.replace(path)
    except OSError as error:
        raise UsageError(f"--out {path}: cannot be written: {error.strerror}") from error
    return path
