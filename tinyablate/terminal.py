"""Words for the person at the terminal."""

import os
import sys


def say(line: str) -> None:
    """A line on stderr: never on stdout, which is for results."""
    print(tame(line), file=sys.stderr, flush=True)


def tame(text: str) -> str:
    """`text` without codes that move a cursor: they become spaces."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def duration(seconds: float) -> str:
    """`1h02m`, `3m05s` or `12s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def show(text: str) -> None:
    """A result on stdout. A reader that has seen enough (head, less) is no error: what follows goes nowhere."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def repair_streams() -> None:
    """Give a process that was started with stdout or stderr closed something to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
