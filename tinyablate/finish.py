"""How a run ends: what failed, what remains, the Parquet mirror, the table. Prints; decides the exit code."""

from collections.abc import Sequence

from tinyablate.errors import StoreError
from tinyablate.run import Dispatch
from tinyablate.store.parquet import mirror
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.collect import collect, printed
from tinyablate.tables.sequential import extensions, unreached
from tinyablate.terminal import say, show

INTERRUPTED = 130


def finish(dispatch: Dispatch, store: Store, stopped: bool) -> int:
    """Tell what this run came to, refresh the mirror, print the table to stdout; the exit code (0, 1 or 130)."""
    request, tally = dispatch.request, dispatch.tally
    refresh(store)
    for key, message in tally.failed.items():
        say(f"failed: trial {key[:12]}: {first_line(message)}; see: tinyablate show {key[:12]}")
    for note in tally.notes:
        say(note)
    if tally.superseded:
        say(f"{tally.superseded} results came after their lease was lost; they are kept as superseded")
    counts = dispatch.look().counts()
    if stopped:
        left = sum(counts.values()) - counts["done"]
        say(f"stopped: {counts['done']} of the trials of {request.name} done, {left} remain; run again to continue")
        return INTERRUPTED
    if counts["running"]:
        say(f"{counts['running']} trials are running in another `tinyablate run`; the table fills when they are done")
    for sweep in request.sweeps:
        for phrase in unreached(sweep, extensions(sweep, store)):
            say(f"{sweep.name}: not reached: {phrase}")
    show_tables(request.sweeps, store, request.format, request.machine)
    return 1 if tally.failed else 0


def refresh(store: Store) -> None:
    """Bring the Parquet mirror up to date; what hinders it is told, and costs no result."""
    try:
        mirror(store)
    except (OSError, StoreError) as error:
        say(f"the Parquet mirror could not be written: {error}")


def show_tables(sweeps: Sequence[Sweep], store: Store, format: str, machine: str) -> None:
    """Print the table of each sweep to stdout."""
    show(printed([collect(sweep, store, machine) for sweep in sweeps], format))


def first_line(message: str) -> str:
    """The first line of an error's message, cut to what fits a terminal."""
    line = message.strip().splitlines()[0] if message.strip() else "no message"
    return line if len(line) <= 200 else line[:197] + "..."
