"""Asking runs to stop, through their database and, on this machine, by a signal. It ends no process by force."""

import os
import shlex
import signal
import time
from collections.abc import Collection, Sequence

from tinyablate.activity import Look, means, named
from tinyablate.errors import TinyablateError, UsageError
from tinyablate.processes import Owner, is_dead, shown
from tinyablate.store.records import DriverRecord
from tinyablate.store.store import Store
from tinyablate.terminal import duration, one_line, say
from tinyablate.watch import Eyes, what_remains

LOOK_SECONDS = 0.25
SECOND_SECONDS = 1.0
"""After the first signal the second one, which ends a run at once, comes so much later."""
PATIENCE = 30.0
"""Longer than this a run takes to stop only where its workers are within a long step."""


def stop(
    database: str, sweep: str | None = None, *, now: bool = False, wait: bool = True, more: Sequence[str] = ()
) -> None:
    """Stop the runs on this database, of the sweep if one is named, and wait until they have left.

    They save what they compute, and a later `run` continues it; with `now` they do not. `more` are options of the
    commands that are proposed. Raises UsageError, StoreError; WorkError where a run could not be asked.
    """
    with Eyes(database, sweep) as eyes:
        drivers = _wanted(eyes.look(), sweep, more)
        if not drivers:
            say(f"no run{f' of {sweep}' if sweep else ''} is under way on this database")
            return
        _ask(database, drivers, now)
        if not wait:
            say(f"asked to stop; {shlex.join(['tinyablate', 'watch', *more])} shows when they have")
            return
        seen = _waited(eyes, {each.owner for each in drivers}, now)
    for line in what_remains(seen, (), more):
        say(one_line(line))


def _wanted(seen: Look, sweep: str | None, more: Sequence[str]) -> list[DriverRecord]:
    """The live drivers of the sweep. Raises UsageError where it runs only as a part of a folder."""
    asked = None if sweep is None else named(sweep)
    drivers = [each for each in seen.live if means(asked, named(each.name))]
    if seen.live and not drivers:
        folder = seen.live[0].name
        stop_it = shlex.join(["tinyablate", "stop", folder, *more])
        raise UsageError(one_line(f"{sweep}: runs as a part of {folder}; to stop all of that: {stop_it}"))
    return drivers


# ---- asking ----------------------------------------------------------------------------------------------------------


def is_here(owner: str) -> bool:
    """Whether the process with this token is one of this machine, and alive."""
    return Owner.of(owner).is_near and not is_dead(owner)


def _ask(database: str, drivers: Sequence[DriverRecord], now: bool) -> None:
    here = [each for each in drivers if is_here(each.owner)]
    # First the signal: after what is asked for through the database it would count as the second, which ends at once.
    reached = {each.owner for each in here if _signal(each.owner)}
    try:
        with Store(database) as store:
            store.ask_to_stop([each.owner for each in drivers])
    except TinyablateError:  # no room on the disk, no right to write: a signal needs neither
        if len(reached) < len(drivers):
            raise
    for each in drivers:
        where = "" if each.owner in reached else _elsewhere(each, now)
        say(one_line(f"asked {shown(each.owner)} to stop: {each.name}{where}"))
    if now and reached:
        time.sleep(SECOND_SECONDS)
        for owner in reached:
            _signal(owner)


def _signal(owner: str) -> bool:
    """Send the signal for a clean stop; a second one ends a run at once. False where the process is not ours."""
    if is_dead(owner):  # by its start time too, so that no later process of that number is meant
        return True
    try:
        os.kill(Owner.of(owner).pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


def _elsewhere(driver: DriverRecord, now: bool) -> str:
    owner = Owner.of(driver.owner)
    if owner.is_near:
        return " (another user's: it looks within seconds)"
    return f" (on {owner.host}: it looks within seconds{'; --now works only there' if now else ''})"


# ---- waiting ---------------------------------------------------------------------------------------------------------


def _waited(eyes: Eyes, owners: Collection[str], now: bool) -> Look:
    """What is seen when all of them have left."""
    until = time.monotonic() + PATIENCE
    told = False
    while True:
        seen = eyes.look_again()  # None: the database is away, and so are those who would leave it
        left = _left(seen, owners) if seen is not None else owners
        if seen is not None and not left:
            return seen
        if not told and time.monotonic() > until:
            told = True
            hint = "" if now else "; --now ends them at once, Ctrl-C only this waiting"
            say(one_line(f"at work still after {duration(PATIENCE)}: {', '.join(sorted(map(shown, left)))}{hint}"))
        time.sleep(LOOK_SECONDS)


def _left(seen: Look, owners: Collection[str]) -> list[str]:
    """The drivers that have not left: of this machine those whose process is there."""
    here = [each for each in seen.drivers if each.owner in owners]
    return [each.owner for each in here if each.live or is_here(each.owner)]
