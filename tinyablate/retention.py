"""Which files of an attempt are kept and for how long: checkpoints until its trial ends, what was asked for for good.

It knows names, not contents, so that a driver may import it.
"""

import contextlib
import os
import re
from pathlib import Path

WEIGHTS = "weights.pt"
"""A trial's last weights, which stay in its attempt's directory."""

_CHECKPOINT = re.compile(r"epoch-.*\.pt|.*\.part")
"""Checkpoints, and what a killed process left of any file that it was writing aside."""


def checkpoints(directory: Path) -> list[Path]:
    """The files in an attempt's directory that go when its trial has ended, by name; none where it is gone."""
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [directory / name for name in names if _CHECKPOINT.fullmatch(name)]


def drop(directory: Path) -> None:
    """Remove an attempt's checkpoints, and its directory unless other files are in it. What cannot be removed stays."""
    for file in checkpoints(directory):
        with contextlib.suppress(OSError):
            file.unlink()
    with contextlib.suppress(OSError):  # it holds something, or another driver was faster
        directory.rmdir()
