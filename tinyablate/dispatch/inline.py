"""The launcher that computes everything in this process, one job after another: for debugging. It starts nothing."""

import time
from collections.abc import Callable

from tinyablate.dispatch.dispatch import SLICE_SECONDS, Dispatch
from tinyablate.job import Job
from tinyablate.worker import JobRunner

IDLE_SECONDS = 0.1


def run_inline(dispatch: Dispatch, tick: Callable[[], None]) -> None:
    """Compute all there is; when the dispatch stops, what is under way is saved first. `tick` is called all along."""
    while not dispatch.over:
        job = dispatch.next_job()
        if job is not None:
            _compute(dispatch, job, tick)
        elif not dispatch.over:
            time.sleep(IDLE_SECONDS)
        dispatch.beat()
        tick()


def _compute(dispatch: Dispatch, job: Job, tick: Callable[[], None]) -> None:
    runner = JobRunner(job, dispatch.request.learner)
    try:
        while not runner.done:
            if dispatch.stopping:
                runner.stop(dispatch.stopping)
            for event in runner.slice(SLICE_SECONDS):
                dispatch.receive(job.id, event)
            dispatch.heard(job.id)
            dispatch.beat()
            tick()
    finally:
        runner.close()
    dispatch.ended(job.id)
