"""What becomes of a trial whose attempt did not end with a result, by the cause. Pure; it acts on nothing.

| cause | what it is | then |
|---|---|---|
| out-of-memory | the device's memory | smaller micro-batches, or fewer trials together, where allowed; else failed |
| worker lost, node lost, preempted, driver gone | the place went away | again, without limit unless one is set |
| hung | no time slice ended for too long | the worker is killed; again, like a lost one |
| exception | the code, or a file that could not be written | again once, then failed |
| not finite | the loss stopped being finite, and the sweep allows retries of that | again, as often as the sweep says |
| recipe, weights, data | what was asked for cannot be computed | failed |
| disk full | no room for a checkpoint or a result | given back; the run stops |
| stopped | the user stopped the run | given back |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

OUT_OF_MEMORY = "out-of-memory"
WORKER_LOST = "worker lost"
NODE_LOST = "node lost"
PREEMPTED = "preempted"
DRIVER_GONE = "driver gone"
HUNG = "hung"
EXCEPTION = "exception"
NOT_FINITE = "not finite"
RECIPE, WEIGHTS, DATA = "recipe", "weights", "data"
DISK_FULL = "disk full"
STOPPED = "stopped"

LOST = (WORKER_LOST, NODE_LOST, PREEMPTED, DRIVER_GONE, HUNG)
"""The place went away, not the trial's fault."""

CAUSES = (OUT_OF_MEMORY, *LOST, EXCEPTION, NOT_FINITE, RECIPE, WEIGHTS, DATA, DISK_FULL, STOPPED)

EXCEPTION_RETRIES = 1

PATIENT_LOSSES = 3
"""From so many losses of one trial on, the next attempt waits: what kills its workers may be the trial itself."""
LONGEST_WAIT = 300.0

Then = Literal["again", "fail", "stop"]


@dataclass(frozen=True)
class Limits:
    """How often a trial is tried again."""

    lost: int | None = None
    """After so many lost attempts the trial has failed; None: never."""
    not_finite: int = 0
    """Retries of a trial whose loss stopped being finite."""


def then(cause: str, before: Sequence[str], limits: Limits) -> Then:
    """What follows an attempt that ended by `cause`, after attempts that ended by the causes `before`."""
    if cause in (DISK_FULL, STOPPED):
        return "stop"
    if cause in LOST:
        lost = 1 + sum(each in LOST for each in before)
        return "again" if limits.lost is None or lost < limits.lost else "fail"
    allowed = {EXCEPTION: EXCEPTION_RETRIES, NOT_FINITE: limits.not_finite}.get(cause, 0)
    return "again" if sum(each == cause for each in before) < allowed else "fail"


def wait(cause: str, before: Sequence[str]) -> float:
    """Seconds until the next attempt may begin: none at first, doubling from the third loss on."""
    lost = (cause in LOST) + sum(each in LOST for each in before)
    return 0.0 if lost < PATIENT_LOSSES else float(min(LONGEST_WAIT, 2.0 ** (lost - PATIENT_LOSSES)))
