"""What has been written is on the disk, also after a power cut."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file, or a folder and with it the renames in it, is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
