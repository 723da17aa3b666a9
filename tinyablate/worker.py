"""A worker's side of a job: drive the learner in time slices, turn what breaks into an event. No store, no ray."""

import importlib
import time
import traceback
from collections.abc import Generator

from tinyablate import retries
from tinyablate.errors import NO_ROOM, DataError, DiskFullError, RecipeError, WeightsError
from tinyablate.job import Checkpointed, Due, Event, Failed, Finished, Job, Learner, Progress

TRAIN = "tinyablate.train.loop:run_job"
"""The learner of all real training: a generator of events, as `module:function`."""

MEASURE = "tinyablate.train.measure:measure_job"
"""What takes the place of TRAIN in a job of kind `measure`."""

_CAUSES = {
    RecipeError: retries.RECIPE,
    WeightsError: retries.WEIGHTS,
    DataError: retries.DATA,
    DiskFullError: retries.DISK_FULL,
}

_STOPPED = {
    retries.STOPPED: "the run was stopped",
    retries.PREEMPTED: "the worker was asked to end (SIGTERM), and saved its state",
    retries.DISK_FULL: "the run stopped because a disk was full",
}


def _events(job: Job, learner: str, due: Due) -> Generator[Event, None, None]:
    """Events of the learner `module:function`, imported when the first is asked for: a bad import is a failure too."""
    module, _, function = learner.partition(":")
    run: Learner = getattr(importlib.import_module(module), function)
    yield from run(job, due)


class JobRunner:
    """One job under way. `slice` computes for a while and returns what happened; `done` says that nothing is left."""

    def __init__(self, job: Job, learner: str) -> None:
        wanted = MEASURE if job.kind == "measure" and learner == TRAIN else learner
        self._events = _events(job, wanted, lambda: self._stopped is not None)
        self._open = len(job.tasks)
        self._unsaved = False
        self._stopped: str | None = None
        self.done = False

    def stop(self, cause: str = retries.STOPPED) -> None:
        """End the job at its next checkpoint, which the learner is asked for; its last event is Failed by `cause`.

        May be called by a signal handler in the midst of a slice. Of several causes the first stays.
        """
        self._stopped = self._stopped or cause

    def slice(self, seconds: float) -> list[Event]:
        """Events of about the next `seconds`; a slice ends between two units of work, so the last may run over."""
        until = time.monotonic() + seconds
        happened: list[Event] = []
        try:
            while self._goes_on:
                event = next(self._events, None)
                if event is None:
                    self._open = 0
                    break
                happened.append(event)
                self._note(event)
                if isinstance(event, Finished) or time.monotonic() >= until:  # a result is not kept waiting
                    break
        except Exception as error:
            self._open = 0
            happened.append(Failed(_cause(error), f"{type(error).__name__}: {error}", traceback.format_exc()))
        if not self._goes_on and not self.done:
            if self._open and self._stopped:
                happened.append(Failed(self._stopped, _STOPPED.get(self._stopped, self._stopped), ""))
            self.close()
        return happened

    @property
    def _goes_on(self) -> bool:
        """Whether a trial has no end yet, and no stop was asked for that may happen here."""
        return self._open > 0 and (self._stopped is None or self._unsaved)

    def _note(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._unsaved = True
        elif isinstance(event, Checkpointed):
            self._unsaved = False
        elif isinstance(event, Finished) or (isinstance(event, Failed) and event.key):
            self._open -= 1

    def close(self) -> None:
        """Stop the learner where it stands; its checkpoints remain."""
        self.done = True
        self._events.close()


def _cause(error: Exception) -> str:
    if type(error).__name__ == "OutOfMemoryError":  # torch's, named without importing torch
        return retries.OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return retries.DISK_FULL
    return next((cause for kind, cause in _CAUSES.items() if isinstance(error, kind)), retries.EXCEPTION)
