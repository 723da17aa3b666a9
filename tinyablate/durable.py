"""What has been written is on the disk, also after a power cut, and a file is either whole or not there."""

import os
from pathlib import Path

from tinyablate import faults


def sync(path: Path) -> None:
    """Wait until a file, or a folder and with it the renames in it, is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        faults.point(f"fsync-before:{path}")
        os.fsync(handle)
        faults.point(f"fsync-after:{path}")
    finally:
        os.close(handle)


def put(aside: Path, target: Path) -> None:
    """Give a file that was written aside, in the same folder, its name, durably. Raises OSError."""
    sync(aside)
    faults.point(f"rename-before:{target}")
    aside.replace(target)
    faults.point(f"rename-after:{target}")
    sync(target.parent)
