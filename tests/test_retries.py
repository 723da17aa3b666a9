"""What becomes of a trial whose attempt did not end with a result, by its cause."""

import pytest

from tinyablate import retries
from tinyablate.cures import CURES
from tinyablate.retries import CAUSES, LOST, Limits, then, wait

FREE = Limits()


@pytest.mark.parametrize("cause", LOST)
def test_what_is_lost_is_tried_without_limit(cause: str) -> None:
    """However often the place went away before, it is tried again, unless the user set a limit: then no more often."""
    assert then(cause, (), FREE) == then(cause, LOST * 100, FREE) == "again"
    limited = Limits(lost=3)
    assert [then(cause, ("hung",) * before, limited) for before in range(4)] == ["again", "again", "fail", "fail"]
    assert then(cause, ("exception", "stopped", "out-of-memory"), Limits(lost=2)) == "again"


def test_an_exception_is_tried_once_more() -> None:
    """Only exceptions count against it."""
    assert then("exception", (), FREE) == "again"
    assert then("exception", ("worker lost", "stopped", "not finite"), FREE) == "again"
    assert then("exception", ("exception",), FREE) == "fail"


def test_a_divergence_is_tried_as_often_as_the_sweep_says() -> None:
    """By default never."""
    assert then("not finite", (), FREE) == "fail"
    assert [then("not finite", ("not finite",) * n, Limits(not_finite=2)) for n in range(3)] == [
        "again",
        "again",
        "fail",
    ]


@pytest.mark.parametrize("cause", ["recipe", "weights", "data", "out-of-memory"])
def test_what_would_break_again_has_failed(cause: str) -> None:
    """At once. (Memory that runs out is first tried otherwise, where that is allowed, which is not decided here.)"""
    assert then(cause, (), FREE) == "fail"


@pytest.mark.parametrize("cause", ["disk full", "stopped"])
def test_a_stop_is_no_failure(cause: str) -> None:
    """The trial is given back, whatever happened before."""
    assert then(cause, ("exception", "disk full"), FREE) == "stop"


def test_every_cause_has_its_path_and_its_cure() -> None:
    """No cause is unknown to what decides on it, and every one that a trial can fail by has a cure."""
    assert {cause: then(cause, (), FREE) for cause in CAUSES}.keys() == set(CAUSES)
    assert set(CURES) >= set(CAUSES) - {retries.STOPPED}


def test_losses_wait_from_the_third_on() -> None:
    """No wait at first; then 1 s, doubling to five minutes. What is not lost never waits."""
    waits = [wait("hung", ("worker lost",) * before) for before in range(12)]
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert wait("worker lost", ("exception", "worker lost", "stopped", "preempted")) == 1
    assert wait("exception", ()) == 0
