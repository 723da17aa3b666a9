"""The signals that ask a run to end: kept while nobody can act on them, then handed to who can."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what `tinyablate stop`, a scheduler or `kill` sends."""

held: list[int] = []
"""Those that came meanwhile."""


def hold(number: int, frame: FrameType | None) -> None:
    """A handler that keeps the signal for the next one, as a mask would not: other threads take what one masks."""
    held.append(number)


class NotBegun(KeyboardInterrupt):
    """A signal while nothing is claimed yet."""


def not_begun(number: int, frame: FrameType | None) -> NoReturn:
    """The handler that raises it."""
    raise NotBegun


def on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """From now on signals go to `handler`, first those that were held."""
    for each in SIGNALS:
        signal.signal(each, handler)
    while held and handler is not hold:
        handler(held.pop(0), None)


def ignore_signals() -> None:
    """What follows takes a moment, and ends by itself."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
