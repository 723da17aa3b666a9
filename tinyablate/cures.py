"""What a person can do about a trial that failed, by the cause (see `retries`). Pure; it acts on nothing."""

from collections.abc import Mapping

from tinyablate import retries

CURES: Mapping[str, str] = {
    retries.OUT_OF_MEMORY: "the device's memory was too small; free it of other programs, or run with fewer trials at "
    "a time (--trials-per-gpu, --slots) or smaller parts of the batch (--micro-batch)",
    retries.WORKER_LOST: "something ends its workers: look for the memory killer in the system log, and run with fewer "
    "--slots; a larger --max-lost tries more often",
    retries.NODE_LOST: "the machine went away; a larger --max-lost tries more often",
    retries.PREEMPTED: "a scheduler took its place; --checkpoint-minutes loses less each time, and a larger --max-lost "
    "tries more often",
    retries.DRIVER_GONE: "its driver was killed; a larger --max-lost tries more often",
    retries.HUNG: "no part of it ended in time; if it only is slow, run with more --hang-minutes",
    retries.EXCEPTION: "its code, or a file that it needs, is at fault: the traceback says where",
    retries.NOT_FINITE: "its loss stopped being finite: a smaller learning rate, a longer warm-up or clipping may "
    "help, each of which makes another trial",
    retries.RECIPE: "what its recipe asks for cannot be computed: change the sweep file, which makes another trial",
    retries.WEIGHTS: "its pretrained weights could not be read: --weights-dir, or TINYABLATE_WEIGHTS",
    retries.DATA: "its data set could not be read: tinyablate data verify",
    retries.DISK_FULL: "no room was left: free some, or put the database on a larger disk",
}
"""Cause -> the cure, before the trial is put back by `tinyablate retry`."""


def cure(cause: str | None) -> str:
    """What to do, in words; without a known cause, where to look."""
    return CURES.get(cause or "", "its message says what happened")
