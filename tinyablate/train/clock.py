"""Time spent computing: a clock that stands still while a job's generator is suspended, and a recent rate."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator

from tinyablate.job import Event

_WINDOW = 20
"""Updates that the recent rate is taken over."""


class Clock:
    """Seconds of computing since it was made: however long its driver lets a job wait, that time is not counted."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._before = 0.0
        self._lap = 0.0
        self._laps: deque[tuple[float, int]] = deque(maxlen=_WINDOW)

    @property
    def seconds(self) -> float:
        """Seconds so far; to be read while computing."""
        return self._before + time.perf_counter() - self._since

    def excluding_pauses(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events; the clock stands while the consumer holds one."""
        for event in events:
            self._before = self.seconds
            yield event
            self._since = time.perf_counter()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """What is done within is not counted; nothing may be yielded to the job's driver there."""
        self._before = self.seconds
        try:
            yield
        finally:
            self._since = time.perf_counter()

    def lap(self, images: int = 0) -> float:
        """Images per second over the last laps.

        The lap that ends here began at the last call and took in `images`; 0 is no lap and only begins one.
        """
        now = self.seconds
        if images:
            self._laps.append((now - self._lap, images))
        self._lap = now
        elapsed = sum(seconds for seconds, _ in self._laps)
        return sum(count for _, count in self._laps) / elapsed if elapsed > 0 else 0.0
