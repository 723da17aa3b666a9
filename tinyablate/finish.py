"""How a run ends: what failed, what remains, the Parquet mirror, the table. Prints; decides the exit code."""

import contextlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence

from tinyablate import retries
from tinyablate.describe import size_text
from tinyablate.dispatch.dispatch import Dispatch
from tinyablate.dispatch.flights import Tally
from tinyablate.errors import AwayError, DiskFullError, StoreError, WorkError
from tinyablate.estimates import cost_of, devices_of
from tinyablate.run import RunRequest
from tinyablate.store.parquet import mirror
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.collect import collect, printed
from tinyablate.tables.sequential import extensions, unreached
from tinyablate.tables.words import counted
from tinyablate.terminal import say, show

INTERRUPTED = 130


@contextlib.contextmanager
def registered(request: RunRequest, store: Store) -> Iterator[None]:
    """While this process is a driver of the database, that is known there."""
    store.enter(request.name, request.log)
    try:
        yield
    finally:
        with contextlib.suppress(WorkError):  # that it is gone shows without this too
            store.leave()


def finish(dispatch: Dispatch, store: Store, *, at_once: bool = False) -> int:
    """Tell what this run came to, refresh the mirror, print the table to stdout; the exit code (0, 1 or 130).

    With `at_once` the mirror is left as it is. Raises WorkError where Ray died, DiskFullError where there was no room,
    AwayError.
    """
    request = dispatch.request
    tell(dispatch.tally)
    if dispatch.unwritten:
        say(
            f"stopped while the database is away: {counted(dispatch.unwritten, 'event')} could not be written; the "
            f"checkpoints are kept in {store.trials_folder}: run again when it is back, to go on from there"
        )
        return INTERRUPTED
    if not at_once:
        refresh(store)
    counts = dispatch.look().counts()
    if dispatch.stopping:
        return _stopped(dispatch, store, counts)
    if counts["running"]:
        say(f"{counts['running']} trials are running in another `tinyablate run`; the table fills when they are done")
    if left := counts["new"] + counts["stale"]:
        say(f"{counted(left, 'trial')} given back by other runs remain: run again to continue")
    for sweep in request.sweeps:
        for phrase in unreached(sweep, extensions(sweep, store)):
            say(f"{sweep.name}: not reached: {phrase}")
    show_tables(request.sweeps, store, request.format, request.machine)
    return max(failed_before(request, counts["failed"]), int(left > 0))


def tell(tally: Tally) -> None:
    """What a run's attempts came to, but for those that are in the table."""
    for key, message in tally.failed.items():
        say(f"failed: trial {key[:12]}: {first_line(message)}; see: tinyablate show {key[:12]}")
    if tally.again:
        causes = ", ".join(f"{cause} {count}" for cause, count in tally.again.most_common())
        say(f"{counted(tally.again.total(), 'attempt')} ended early and had another after them: {causes}")
    for note in tally.notes:
        say(note)
    if tally.superseded:
        say(f"{tally.superseded} results came after their lease was lost; they are kept as superseded")


def _stopped(dispatch: Dispatch, store: Store, counts: Mapping[str, int]) -> int:
    """What remains of a run that did not come to its end."""
    name, left = dispatch.request.name, sum(counts.values()) - counts["done"] - counts["failed"]
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    state = f"{counts['done']} of the trials of {name} done{failed}, {left} remain"
    if dispatch.stopping == retries.DISK_FULL:
        raise DiskFullError(f"no room is left on a disk; {state}\n{_room(dispatch, store)}")
    if dispatch.stopping == retries.NODE_LOST:
        raise WorkError(f"{dispatch.trouble}; {state}; nothing that was reported done is lost: run again to continue")
    say(f"stopped: {state}; run again to continue")
    return INTERRUPTED


def _room(dispatch: Dispatch, store: Store) -> str:
    """Where there was no room, how much is free, how much is needed, what to do."""
    request = dispatch.request
    devices = devices_of(request.device, request.slots, request.trials_per_gpu)
    needed = cost_of(dispatch.look(), store, devices, request.facts).disk_bytes
    return (
        f"{first_line(dispatch.trouble)}\n{store.home}: {size_text(shutil.disk_usage(store.home).free)} free; what "
        f"remains needs about {size_text(needed)} there, for checkpoints and results\n"
        f"free some, then: tinyablate run {shlex.join(request.words)}"
    )


def failed_before(request: RunRequest, failed: int) -> int:
    """Tell how many trials have failed and how they are tried again; 1, or 0 if there are none."""
    if not failed:
        return 0
    say(f"{failed} failed: tinyablate retry {shlex.join(request.words)} puts them back")
    return 1


def refresh(store: Store) -> None:
    """Bring the Parquet mirror up to date; what hinders it is told, and costs no result."""
    try:
        mirror(store)
    except (OSError, StoreError, AwayError, DiskFullError) as error:
        say(f"the Parquet mirror could not be written: {error}")


def show_tables(sweeps: Sequence[Sweep], store: Store, format: str, machine: str) -> None:
    """Print the table of each sweep to stdout."""
    show(printed([collect(sweep, store, machine) for sweep in sweeps], format))


def first_line(message: str) -> str:
    """The first line of an error's message, cut to what fits a terminal."""
    line = message.strip().splitlines()[0] if message.strip() else "no message"
    return line if len(line) <= 200 else line[:197] + "..."
