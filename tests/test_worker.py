"""A worker's side of a job: slices, stops, what breaks."""

import dataclasses
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import analytic
import pytest

from tinyablate import worker
from tinyablate.errors import DataError, DiskFullError, RecipeError, WeightsError
from tinyablate.job import Checkpointed, Due, Event, Failed, Finished, Job, Progress, Started, TrialTask
from tinyablate.recipe import build
from tinyablate.worker import JobRunner

LONG = 3600.0


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The learners of these tests wait for nothing."""
    monkeypatch.setattr(analytic, "STEP_SECONDS", 0.0)


def job(folder: Path, trials: int = 1, epochs: int = 2) -> Job:
    """A job of so many trials, each with its directory."""
    tasks = []
    for number in range(trials):
        (folder / str(number)).mkdir()
        recipe = build({"data.name": "shapes", "model.name": "m", "schedule.epochs": epochs})
        tasks.append(TrialTask(f"key {number}", recipe, 0, folder / str(number)))
    return Job("job", tuple(tasks), folder)


def test_a_slice_ends_with_its_time_or_a_result(tmp_path: Path) -> None:
    """A slice of no time is one event; one without end goes to a result, which is not kept waiting; then it is done."""
    runner = JobRunner(job(tmp_path, trials=2), "analytic:slow")
    assert [type(event) for event in runner.slice(0)] == [Started]
    assert [type(event) for event in runner.slice(0)] == [Progress]
    assert isinstance(runner.slice(LONG)[-1], Finished)
    assert not runner.done
    assert [type(event) for event in runner.slice(LONG)] == [Finished]
    assert runner.done


def test_a_stop_ends_with_a_checkpoint(tmp_path: Path) -> None:
    """After an update the learner saves first; the last event is Failed by the cause, the first that was given."""
    runner = JobRunner(job(tmp_path), "analytic:slow")
    for _ in range(3):
        runner.slice(0)
    runner.stop("preempted")
    runner.stop("stopped")
    *before, last = runner.slice(LONG)
    assert before == [Checkpointed(1, 2)] or before == [Progress(1, 2, 3, 4, 100.0), Checkpointed(1, 3)]
    assert isinstance(last, Failed)
    assert last.cause == "preempted"
    assert runner.done
    assert runner.slice(LONG) == []
    assert len(list((tmp_path / "0").iterdir())) == 1


@pytest.mark.parametrize("slices", [0, 1])
def test_a_stop_with_nothing_to_save_is_at_once(tmp_path: Path, slices: int) -> None:
    """Before the first update there is nothing that is not saved: not even the learner's start is waited for."""
    runner = JobRunner(job(tmp_path), "analytic:slow")
    for _ in range(slices):
        runner.slice(0)
    runner.stop()
    assert [(type(event), getattr(event, "cause", "")) for event in runner.slice(LONG)] == [(Failed, "stopped")]
    assert runner.done


def test_a_stop_within_a_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for in the midst of a slice, as by a signal, it takes effect in the same slice."""
    runner = JobRunner(job(tmp_path), "analytic:slow")
    waits = iter([lambda: None, runner.stop])
    monkeypatch.setattr(analytic.time, "sleep", lambda seconds: next(waits)())
    *_, saved, last = runner.slice(LONG)
    assert (saved, isinstance(last, Failed)) == (Checkpointed(1, 2), True)


def test_a_result_that_is_there_is_not_lost_by_a_stop(tmp_path: Path) -> None:
    """A trial that has finished stays so; the stop concerns the rest."""
    runner = JobRunner(job(tmp_path, trials=2, epochs=1), "analytic:slow")
    events = runner.slice(LONG)
    runner.stop()
    events += runner.slice(LONG)
    assert [event.key for event in events if isinstance(event, Finished | Failed)] == ["key 0", ""]


ERRORS = {
    "recipe": RecipeError([("model.name", "m", "unknown")]),
    "weights": WeightsError("none"),
    "data": DataError("damaged"),
    "out-of-memory": analytic.OutOfMemoryError("too much"),
    "exception": ValueError("unlucky"),
}
NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL = [DiskFullError("full"), *(OSError(number, os.strerror(number), "a.pt") for number in NUMBERS)]


@pytest.mark.parametrize(("cause", "error"), [*ERRORS.items(), *(("disk full", each) for each in FULL)])
def test_what_breaks_is_told_by_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str, error: Exception
) -> None:
    """The event has the cause, the error's kind and text, and the traceback."""

    def breaks(job: Job, due: Due) -> Iterator[Event]:
        yield Started(1, analytic.ENVIRONMENT)
        raise error

    monkeypatch.setattr(analytic, "breaks", breaks, raising=False)
    runner = JobRunner(job(tmp_path), "analytic:breaks")
    *_, last = runner.slice(LONG)
    assert isinstance(last, Failed)
    assert (last.cause, last.key) == (cause, "")
    assert last.message == f"{type(error).__name__}: {error}"
    assert "in breaks" in last.traceback
    assert runner.done


def test_a_learner_that_is_not_there_is_a_failure_too(tmp_path: Path) -> None:
    """A bad import ends the job with its traceback, not the worker."""
    runner = JobRunner(job(tmp_path), "no.such:learner")
    (event,) = runner.slice(LONG)
    assert isinstance(event, Failed)
    assert event.cause == "exception"
    assert "ModuleNotFoundError" in event.message


def test_a_job_that_ends_without_an_outcome_says_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done, and the driver finds trials without an end."""
    monkeypatch.setattr(analytic, "empty", lambda job, due: iter(()), raising=False)
    runner = JobRunner(job(tmp_path), "analytic:empty")
    assert runner.slice(LONG) == []
    assert runner.done


def test_a_measurement_has_a_learner_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of kind `measure` is not trained; a learner that is named stands for both."""
    monkeypatch.setattr(worker, "TRAIN", "analytic:cramped")
    monkeypatch.setattr(worker, "MEASURE", "analytic:noop")
    measured = dataclasses.replace(job(tmp_path), kind="measure")
    assert isinstance(JobRunner(measured, "analytic:cramped").slice(LONG)[-1], Finished)
    (event,) = JobRunner(measured, "no.such:learner").slice(LONG)
    assert isinstance(event, Failed)
