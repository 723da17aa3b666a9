"""The signals that ask a run to end: kept while nobody can act on them, then handed to who can."""

import signal
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what `tinyablate stop`, a scheduler or `kill` sends."""

held: list[int] = []
"""Those that came meanwhile."""


def hold(number: int, frame: FrameType | None) -> None:
    """A handler that keeps the signal for the next one, as a mask would not: other threads take what one masks."""
    held.append(number)


def hold_one(number: int, frame: FrameType | None) -> None:
    """Keeps a first signal; at the second KeyboardInterrupt: who asks twice waits for no database that is locked."""
    held.append(number)
    _refuse_two()


def _refuse_two() -> None:
    if len(held) > 1:
        raise KeyboardInterrupt


def on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """From now on signals go to `handler`, first those that were held."""
    for each in SIGNALS:
        signal.signal(each, handler)
    if handler is hold_one:
        _refuse_two()
    while held and handler not in (hold, hold_one):
        handler(held.pop(0), None)


def ignore_signals() -> None:
    """What follows takes a moment, and ends by itself."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
