"""A worker's side of a job: drive the learner in time slices, turn what breaks into an event. No store, no ray."""

import importlib
import time
import traceback
from collections.abc import Callable, Generator, Iterator

from tinyablate.errors import DataError, RecipeError, WeightsError
from tinyablate.job import Event, Failed, Finished, Job

Learner = Callable[[Job], Iterator[Event]]

TRAIN = "tinyablate.train.loop:run_job"
"""The learner of all real training: a generator of events, as `module:function`."""

MEASURE = "tinyablate.train.measure:measure_job"
"""What takes the place of TRAIN in a job of kind `measure`."""

_CAUSES = {RecipeError: "recipe", WeightsError: "weights", DataError: "data"}


def _events(job: Job, learner: str) -> Generator[Event, None, None]:
    """Events of the learner `module:function`, imported when the first is asked for: a bad import is a failure too."""
    module, _, function = learner.partition(":")
    run: Learner = getattr(importlib.import_module(module), function)
    yield from run(job)


class JobRunner:
    """One job under way. `slice` computes for a while and returns what happened; `done` says that nothing is left."""

    def __init__(self, job: Job, learner: str) -> None:
        self._events = _events(job, MEASURE if job.kind == "measure" and learner == TRAIN else learner)
        self._open = len(job.tasks)
        self.done = False

    def slice(self, seconds: float) -> list[Event]:
        """Events of about the next `seconds`; a slice ends between two units of work, so the last may run over."""
        until = time.monotonic() + seconds
        happened: list[Event] = []
        try:
            for event in self._events:
                happened.append(event)
                self._open -= isinstance(event, Finished) or (isinstance(event, Failed) and bool(event.key))
                if not self._open:
                    break
                if time.monotonic() >= until or isinstance(event, Finished):  # a result is not kept waiting
                    return happened
            self.close()
        except Exception as error:
            self.done = True
            happened.append(Failed(_cause(error), f"{type(error).__name__}: {error}", traceback.format_exc()))
        return happened

    def close(self) -> None:
        """Stop the learner where it stands; its checkpoints remain."""
        self.done = True
        self._events.close()


def _cause(error: Exception) -> str:
    if type(error).__name__ == "OutOfMemoryError":  # torch's, named without importing torch
        return "out-of-memory"
    return next((cause for kind, cause in _CAUSES.items() if isinstance(error, kind)), "exception")
