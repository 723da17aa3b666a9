"""Putting trials that failed or diverged back, so that the next run tries them anew. It runs nothing."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tinyablate.activity import command
from tinyablate.cures import cure
from tinyablate.errors import UsageError
from tinyablate.looking import causes_of, failures, ways
from tinyablate.plan import ask, unique
from tinyablate.store.query import measured_devices
from tinyablate.store.store import Store, open_existing
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.sequential import extended
from tinyablate.tables.words import counted
from tinyablate.terminal import one_line

Ended = Literal["failed", "diverged"]

MOST_WAYS = 5


@dataclass(frozen=True)
class PutBack:
    """What came of it."""

    put_back: int
    causes: tuple[tuple[str, int], ...]
    """Of those that were put back: cause -> trials, the most frequent first."""
    left: int
    """Trials of the other state, failed or diverged, that stay as they are."""
    done: int
    """Trials that have their result."""
    pending: int
    running: int
    others: tuple[str, ...] = ()
    """Commands that put back what failed of the sweeps as they were run otherwise."""


def put_back(database: str, name: str, sweeps: Sequence[Sweep], state: Ended, more: Sequence[str] = ()) -> PutBack:
    """Make the sweeps' trials of this state pending, measurements on whichever device; a diverged one's result is kept
    as superseded.

    `name` is what the user calls the sweeps, `more` are options of commands that are proposed. Raises UsageError where
    no trial of them was ever registered, StoreError.
    """
    with open_existing(database) as store:
        devices = measured_devices(store) or [""]
        keys = unique([ask(extended(sweep, store), device) for sweep in sweeps for device in devices])
        states = store.states(keys)
        if not states:
            raise UsageError(_never(store, name, state, more))
        # A running trial whose driver is gone waits to be taken over.
        counts = Counter(
            "pending" if each.state == "running" and not each.live else each.state for each in states.values()
        )
        causes = causes_of(store, [key for key, each in states.items() if each.state == state])
        moved = store.put_back(keys, [state])
        others = [version for version, _ in failures(store, name)] if state == "failed" else []
    return PutBack(
        put_back=sum(moved.values()),
        causes=tuple(causes.items()),
        left=counts["diverged" if state == "failed" else "failed"],
        done=counts["complete"] + counts["diverged"] - moved.get("diverged", 0),
        pending=counts["pending"],
        running=counts["running"],
        others=tuple(command("retry", version, more) for version in others[:MOST_WAYS]),
    )


def _never(store: Store, name: str, state: Ended, more: Sequence[str]) -> str:
    """That the sweeps were never run as they are asked for, and the commands for how they were."""
    found = ways(store, name)
    if not found:
        return f"{name}: was never run with this database, so nothing of it has {state}"
    others = ["--state", state] if state != "failed" else []
    commands = [one_line(command("retry", version, [*others, *more])) for version in found[:MOST_WAYS]]
    return "\n".join([f"{name}: was run with this database, but not so; as it was run:", *commands])


def told(found: PutBack, name: str, state: Ended, words: Sequence[str]) -> list[str]:
    """What came of it, in lines; `words` are the arguments of the commands that are proposed."""
    other = "diverged" if state == "failed" else "failed"
    if not found.put_back:
        lines = [
            f"{name}: nothing to put back: no trial has {state}; {found.done} done, {found.pending} pending, "
            f"{found.running} running"
        ]
        if found.left:
            lines.append(f"{counted(found.left, 'trial')} {other}: {_command('retry', [*words, '--state', other])}")
        return [*lines, *(f"others failed: {each}" for each in found.others)]
    causes = ", ".join(f"{cause} {count}" for cause, count in found.causes)
    lines = [f"{name}: put back {counted(found.put_back, f'{state} trial')}" + (f" ({causes})" if causes else "")]
    lines += [f"{cause}: {cure(cause)}" for cause, _ in found.causes]
    return [*lines, f"next: {_command('run', words)}"]


def _command(verb: str, words: Sequence[str]) -> str:
    return shlex.join(["tinyablate", verb, *words])
