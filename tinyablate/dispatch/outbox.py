"""What is to be written to a database that may be away for a while: kept in order, written when it is back."""

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator

from tinyablate.errors import AwayError
from tinyablate.terminal import duration, say

RETRY_SECONDS = 1.0

SHARE = 5
"""Between two attempts to reach the database passes so many times what the last took: workers are served meanwhile."""

Write = Callable[[], None]
"""Changes the database, and may be done again whole after an AwayError, wherever that came from."""


class Outbox:
    """Writes, done at once while the database is there, and kept while it is not."""

    def __init__(self) -> None:
        self._kept: deque[Write] = deque()
        self._away_since: float | None = None
        self._next_try = 0.0
        self._back_since = -math.inf

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def away(self) -> bool:
        """Whether the database could not be reached when it was last tried."""
        return self._away_since is not None

    @property
    def back_for(self) -> float:
        """Seconds since the database came back; infinite where it never was away."""
        return time.monotonic() - self._back_since

    @contextlib.contextmanager
    def reach(self) -> Iterator[None]:
        """For whatever speaks to the database: what its AwayError means is noted here, and passes on.

        While the database is away, AwayError is raised at once until it is time for another attempt.
        """
        began = time.monotonic()
        if began < self._next_try:
            raise AwayError("the database is away")
        try:
            yield
        except AwayError as error:
            self._note_away(error, began)
            raise
        self._note_back()

    def do(self, write: Write) -> None:
        """Do it after all that is kept: now, or when the database is back."""
        self._kept.append(write)
        self.flush()

    def flush(self) -> bool:
        """Write what is kept, if the database is there; whether nothing is left. A write that breaks is given up."""
        while self._kept:
            try:
                with self.reach():
                    self._kept[0]()
            except AwayError:
                return False
            except Exception:
                self._kept.popleft()
                raise
            self._kept.popleft()
        return True

    def _note_away(self, error: AwayError, began: float) -> None:
        now = time.monotonic()
        self._next_try = now + max(RETRY_SECONDS, SHARE * (now - began))
        if self._away_since is None:
            self._away_since = began
            say(f"{error}; what is under way goes on, its results are kept until the database is back")

    def _note_back(self) -> None:
        if self._away_since is not None:
            say(f"the database is back after {duration(time.monotonic() - self._away_since)}")
            self._away_since, self._next_try, self._back_since = None, 0.0, time.monotonic()
