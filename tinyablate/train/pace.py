"""When a job saves between the ends of its epochs: at its driver's wish, or by the clock. It saves nothing itself."""

import time

from tinyablate.job import Due


def never() -> bool:
    """The wish of a driver that has none."""
    return False


class Pace:
    """Asked between two units of work; told of every save."""

    def __init__(self, wish: Due, minutes: float | None) -> None:
        """`wish` is the driver's; `minutes` of a monotonic clock may pass between saves, None: any number."""
        self._wish = wish
        self._seconds = float("inf") if minutes is None else 60 * minutes
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether to save now."""
        return self._wish() or time.monotonic() - self._saved >= self._seconds

    def saved(self) -> None:
        """All trials were saved just now."""
        self._saved = time.monotonic()
