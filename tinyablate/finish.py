"""How a run ends: what failed, what remains, the Parquet mirror, the table. Prints; decides the exit code."""

import contextlib
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tinyablate import retries
from tinyablate.describe import size_text
from tinyablate.dispatch.dispatch import Dispatch
from tinyablate.dispatch.flights import Tally
from tinyablate.errors import AwayError, DiskFullError, StoreError, TinyablateError, WorkError
from tinyablate.estimates import cost_of, devices_of
from tinyablate.model_facts import splits_of
from tinyablate.plan import ask, make_plan
from tinyablate.preflight import check_models
from tinyablate.run import RunRequest
from tinyablate.store.location import Location
from tinyablate.store.parquet import mirror
from tinyablate.store.store import Store
from tinyablate.tables.collect import collect, printed
from tinyablate.tables.sequential import extensions, unreached
from tinyablate.tables.words import counted
from tinyablate.terminal import one_line, say, show

INTERRUPTED = 130

BRIEF_SECONDS = 5.0
"""Longer nobody who has asked a run to stop at once waits for its database."""


@contextlib.contextmanager
def registered(request: RunRequest, store: Store) -> Iterator[None]:
    """While this process is a driver of the database, that is known there."""
    store.enter(request.name, request.log)
    try:
        yield
    finally:
        sign_off(request.database)


def sign_off(database: str) -> None:
    """Note that this process, which is registered, is no driver any more; if that takes too long it is found dead."""
    briefly(partial(_leave, database))


def briefly(act: Callable[[], object]) -> None:
    """Do what is of use but not needed, if it takes a moment: the database may be locked, or away."""

    def quietly() -> None:
        with contextlib.suppress(TinyablateError):
            act()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(BRIEF_SECONDS)


def _leave(database: str) -> None:
    if Location.of(database).exists():
        with Store(database) as store:
            store.leave()


def finish(dispatch: Dispatch, store: Store, *, at_once: bool = False) -> int:
    """Tell what this run came to, refresh the mirror, print the table to stdout; the exit code (0, 1 or 130).

    With `at_once` the mirror is left as it is. Raises WorkError where Ray died, DiskFullError where there was no room,
    AwayError.
    """
    request = dispatch.request
    tell(dispatch.tally, request.more)
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
        are, they = ("is", "it is") if counts["running"] == 1 else ("are", "they are")
        running = f"{counted(counts['running'], 'trial')} {are} running in another `tinyablate run`"
        say(f"{running}; the table fills when {they} done")
    if left := counts["new"] + counts["stale"]:
        say(f"{counted(left, 'trial')} given back by other runs remain: run again to continue")
    for sweep in request.sweeps:
        for phrase in unreached(sweep, extensions(sweep, store)):
            say(one_line(f"{sweep.name}: not reached: {phrase}"))
    show_tables(request, store)
    return max(failed_before(request, counts["failed"]), int(left > 0))


def tell(tally: Tally, more: Sequence[str]) -> None:
    """What a run's attempts came to, but for those that are in the table; `more` are options of the commands."""
    for key, message in tally.failed.items():
        see = shlex.join(["tinyablate", "show", key[:12], *more])
        say(f"failed: trial {key[:12]}: {first_line(message)}; see: {see}")
    if tally.again:
        causes = ", ".join(f"{cause} {count}" for cause, count in tally.again.most_common())
        say(f"{counted(tally.again.total(), 'attempt')} ended early and had another after them: {causes}")
    for note in tally.notes:
        say(note)
    if tally.superseded:
        say(f"{counted(tally.superseded, 'result')} came after a lease was lost, and are kept as superseded")


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
    return _room_told(dispatch.trouble, store.home, f"what remains needs about {size_text(needed)}", request)


def _room_told(trouble: str, home: Path, needed: str, request: RunRequest) -> str:
    return (
        f"{first_line(trouble)}\n{home}: {size_text(shutil.disk_usage(home).free)} free; {needed} there, for "
        f"checkpoints and results\nfree some, then: tinyablate run {shlex.join(request.words)}"
    )


@contextlib.contextmanager
def full_disk_told(request: RunRequest) -> Iterator[None]:
    """For what a run does before its first job: a DiskFullError tells as it does later how much is free and needed."""
    try:
        yield
    except DiskFullError as error:
        home, needed = Location.of(request.database).home, "the sweep needs some"
        with contextlib.suppress(TinyablateError, OSError):  # a model that is not known yet has to be written down
            needed = f"the sweep needs about {size_text(_needed(request))}"
        raise DiskFullError(_room_told(str(error), home, needed, request)) from error


def _needed(request: RunRequest) -> int:
    """Bytes for all of the request's trials: a database in which nothing can be written is not asked what it has."""
    facts = request.facts or check_models(request.sweeps, request.micro_batch, bool(request.cache_features))
    asked = [ask(sweep, request.machine) for sweep in request.sweeps]
    plan = make_plan(asked, {}, splits=splits_of(facts), share=request.share)
    devices = devices_of(request.device, request.slots, request.trials_per_gpu)
    return cost_of(plan, None, devices, facts, request.keep_weights).disk_bytes


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


def show_tables(request: RunRequest, store: Store) -> None:
    """Print the table of each sweep to stdout. Raises WorkError where that takes nothing."""
    text = printed([collect(sweep, store, request.machine) for sweep in request.sweeps], request.format)
    try:
        show(text)
    except OSError as error:
        again = shlex.join(["tinyablate", "table", *request.words])
        why = f"the table cannot be written to stdout: {error.strerror}"
        raise WorkError(f"{why}; the results are stored: {again}") from error


def first_line(message: str) -> str:
    """The first line of an error's message, cut to what fits a terminal."""
    line = message.strip().splitlines()[0] if message.strip() else "no message"
    return line if len(line) <= 200 else line[:197] + "..."
