"""Files that are written whole or not at all, and left alone where they would not change."""

import contextlib
import os
from pathlib import Path


def put(path: Path, content: bytes) -> Path:
    """`content` written aside and renamed to `path`, unless just that stands there; `path`. Raises OSError."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return path
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return path
