"""Words for the person at the terminal."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterable


def say(line: str) -> None:
    """A line on stderr: never on stdout, which is for results."""
    print(tame(line), file=sys.stderr, flush=True)


def tame(text: str) -> str:
    """`text` without codes that move a cursor: they become spaces."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def one_line(text: str) -> str:
    """`text` on one line: what ends a line, or moves a cursor, becomes a space. For whatever is somebody else's text:
    a name, a label, a host."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def on_lines(texts: Iterable[str]) -> str:
    """Each of them on a line of its own."""
    return "\n".join(map(one_line, texts))


def duration(seconds: float) -> str:
    """`1h02m`, `3m05s` or `12s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def show(text: str) -> None:
    """A result on stdout. A reader that has seen enough (head, less) is no error: what follows goes nowhere.

    Raises OSError where stdout takes nothing: it is closed, or a file on a full disk.
    """
    try:
        if isinstance(sys.stdout, _Nowhere):
            raise OSError(errno.EBADF, "it is closed", "stdout")
        print(text, flush=True)
    except BrokenPipeError:
        _give_up_stdout()
    except OSError:
        _give_up_stdout()  # what it could not write it would try again when the process ends
        raise


def _give_up_stdout() -> None:
    with contextlib.suppress(OSError):  # a stream without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Nowhere(io.TextIOWrapper):
    """Stands for a stream that was closed when the process began."""


def repair_streams() -> None:
    """Give a process that was started with stdout or stderr closed something to write to, and their numbers to no other
    file; a result that belongs on stdout is still refused by `show`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, _Nowhere(open(os.devnull, "wb")))  # noqa: SIM115
