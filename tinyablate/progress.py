"""Live progress of a run on stderr: a small panel on a terminal, plain lines elsewhere. It only reads a Dispatch."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from tinyablate.dispatch.dispatch import Dispatch
from tinyablate.dispatch.flights import Flight
from tinyablate.job import TrialTask
from tinyablate.plan import PlannedTrial
from tinyablate.tables.words import counted
from tinyablate.terminal import duration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

REDRAW_SECONDS = 0.25
LINE_SECONDS = 10.0
"""Without a terminal a line is printed this often, sooner (but at most once a second) when a trial has ended."""

MOST_KEYS = 3
"""Trials of a job that are shown by their keys."""


class Board:
    """`with Board(dispatch) as board:` then `board.tick()` as often as convenient."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._live: Live | None = None
        self._shown_at = self._ended_at = 0.0
        self._ended = 0
        self._total = dispatch.left

    def __enter__(self) -> "Board":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
        self._line()

    def tick(self) -> None:
        """Show the present state if it is time."""
        now = time.monotonic()
        if self._live is not None:
            if now - self._shown_at >= REDRAW_SECONDS:
                self._shown_at = now
                self._live.update(self._panel(now), refresh=True)
        else:
            self._tick_line(now)

    def _tick_line(self, now: float) -> None:
        if self._ended != self._ends():
            self._ended, self._ended_at = self._ends(), now
        news = self._ended_at > self._shown_at and now - self._ended_at >= 0.5  # by then the next trial has started
        if now - self._shown_at >= (1.0 if news else LINE_SECONDS):
            self._shown_at = now
            self._line()

    def _ends(self) -> int:
        tally = self._dispatch.tally
        return tally.finished + len(tally.failed) + tally.superseded

    def _summary(self, now: float) -> str:
        dispatch, tally = self._dispatch, self._dispatch.tally
        running = sum(len(flight.claims) for flight in dispatch.flights.values())
        parts = [f"{tally.finished} of {max(self._total, self._ends() + dispatch.left)} trials done"]
        parts += [f"{tally.diverged} diverged"] if tally.diverged else []
        parts += [f"{len(tally.failed)} failed"] if tally.failed else []
        parts += [f"{tally.again.total()} tried again"] if tally.again else []
        parts += [f"{running} running", f"{dispatch.left - running} left"]
        parts += [f"{counted(dispatch.unwritten, 'event')} unwritten"] if dispatch.unwritten else []
        parts += ["stopping"] if dispatch.stopping else []
        speed = sum(flight.progress.images_per_second for flight in dispatch.flights.values() if flight.progress)
        parts += [f"{speed:,.0f} images/s"] if speed else []
        remaining = seconds_left(dispatch, now)
        parts += [f"{duration(remaining)} to go"] if remaining is not None and dispatch.left else []
        return " · ".join([*parts, f"{duration(now - dispatch.started_at)} so far"])

    def _line(self) -> None:
        print(self._summary(time.monotonic()), file=sys.stderr, flush=True)

    def _panel(self, now: float) -> "RenderableType":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        for flight in self._dispatch.flights.values():
            grid.add_row(*(Text(part) for part in describe(flight, self._dispatch.request.name)))
        return Group(grid, Text(self._summary(now), style="bold"))


def describe(flight: Flight, sweep: str) -> tuple[str, ...]:
    """A running job in words: its trials, where it stands, its speed."""
    tasks = flight.job.tasks
    keys = " + ".join(task.key[:8] for task in tasks[:MOST_KEYS])
    keys += f" + {len(tasks) - MOST_KEYS} more" if len(tasks) > MOST_KEYS else ""
    at = flight.progress
    if at is None:
        return (sweep, keys, "starting", "")
    return (
        sweep,
        keys,
        f"epoch {at.epoch}/{at.epochs}, update {at.step}/{at.steps}",
        f"{at.images_per_second:,.0f} images/s",
    )


def seconds_left(dispatch: Dispatch, now: float) -> float | None:
    """Estimated from the epochs trained so far per second; None before there is anything to go by."""
    elapsed = now - dispatch.started_at
    trains = [job for job in dispatch.waiting if job.kind == "train"]
    only_measures = not trains and all(flight.job.kind == "measure" for flight in dispatch.flights.values())
    if dispatch.tally.epochs < 1 or elapsed <= 0 or only_measures:
        return None
    queued = sum(_epochs(job.trials) for job in trains)
    flying = 0.0
    for flight in dispatch.flights.values():
        at = flight.progress
        epochs = _epochs(flight.job.tasks) if flight.job.kind == "train" else 0
        flying += epochs - (at.epoch - 1 + at.step / at.steps if at else flight.from_epoch - 1)
    return max(0.0, queued + flying) / (dispatch.tally.epochs / elapsed)


def _epochs(trials: Sequence[PlannedTrial] | Sequence[TrialTask]) -> int:
    """Epochs of a job of these trials."""
    return max(trial.recipe.schedule.total_epochs for trial in trials)
