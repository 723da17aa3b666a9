"""What runs on a database, drawn anew until nothing does: a panel on a terminal, lines elsewhere. It only reads.

It knows runs by their database alone, so it may begin and end at any time, on any machine that reaches the database.
"""

import os
import shlex
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

import sqlalchemy as sa

from tinyablate.activity import Ended, Look, Running, command
from tinyablate.errors import WorkError
from tinyablate.listing import columns_text
from tinyablate.looking import look
from tinyablate.processes import shown
from tinyablate.store.reading import ReadOnly
from tinyablate.store.records import DriverRecord
from tinyablate.terminal import duration, on_lines, one_line, say

LOOK_SECONDS = 1.0
"""Between two looks, or longer where a look takes its time: a tenth of it is spent looking at most."""
LINE_SECONDS = 10.0
"""Without a terminal a line comes this often, sooner when the counts have changed."""
MOST_NEWS = 5
"""So many of the latest attempts without a result stand in the panel."""
MOST_COMMANDS = 3
START_SECONDS = 120.0
"""So long after its start a driver that has begun nothing is taken to be starting: Ray and its workers take a while."""

# ---- texts -----------------------------------------------------------------------------------------------------------


def summary(seen: Look) -> str:
    """How far the trials that count have come, in a line."""
    names = ", ".join(dict.fromkeys(version.name for version in seen.versions))
    parts = [f"{names}: {seen.done} of {seen.total} trials done" if names else "no trial is known yet"]
    parts += [f"{seen.diverged} diverged"] if seen.diverged else []
    parts += [f"{sum(seen.failed.values())} failed"] if seen.failed else []
    parts += [f"{len(seen.running)} running", f"{seen.pending} pending"]
    speed = sum({each.job: each.images_per_second or 0 for each in seen.running}.values())
    parts += [f"{speed:,.0f} images/s"] if speed else []
    left = seen.seconds_left if seen.busy and (seen.running or seen.pending) else None
    parts += [f"{duration(left)} to go"] if left is not None else []
    return " · ".join(parts)


def causes(seen: Look) -> list[str]:
    """By which causes trials failed, and were tried again."""
    return [
        f"{head}: " + ", ".join(f"{cause} {count}" for cause, count in counts.items())
        for head, counts in (("failed by", seen.failed), ("tried again after", seen.retried))
        if counts
    ]


def whole(seen: Look) -> list[str]:
    """Everything, a line each: counts, causes, drivers, attempts under way."""
    lines = [summary(seen), *causes(seen)]
    for driver in seen.live:
        lines += ["", _driver(driver, seen.at), *_attempts(seen, [driver.owner])]
    known = [driver.owner for driver in seen.live]
    others = list(dict.fromkeys(each.owner for each in seen.running if each.owner not in known))
    if others:  # a lease on another machine holds for some seconds after its driver has died
        lines += ["", f"not heard of lately: {', '.join(map(shown, others))}", *_attempts(seen, others)]
    return lines


def _driver(driver: DriverRecord, at: float) -> str:
    asked = ", asked to stop" if driver.stop_asked else ""
    return f"driver {shown(driver.owner)}: {driver.name}, for {_ago(driver.started_at, at)}, " + (
        f"last heard of {_ago(driver.heartbeat_at, at)} ago{asked}"
    )


def _ago(then: float, at: float) -> str:
    return duration(max(0.0, at - then))


def _attempts(seen: Look, owners: Collection[str]) -> list[str]:
    rows = [_cells(each, seen.at) for each in seen.running if each.owner in owners]
    if not rows:
        return [f"  {_idle(seen, owners)}"]
    head = ("row", "seed", "attempt", "epoch", "images/s", "heard of", "trial")
    return [f"  {line}" for line in columns_text(head, rows).splitlines()]


def _idle(seen: Look, owners: Collection[str]) -> str:
    """Why these drivers compute nothing."""
    since = max(each.started_at for each in seen.drivers if each.owner in owners)
    if seen.begun.isdisjoint(owners) and seen.at - since < START_SECONDS:
        return "the driver is starting: it has begun no attempt yet"
    return "no attempt is under way"


def _cells(running: Running, at: float) -> tuple[str, ...]:
    epoch = f"{running.epoch or '-'} of {running.epochs}"
    speed = f"{running.images_per_second:,.0f}" if running.images_per_second else "-"
    heard = f"{_ago(running.heartbeat_at, at)} ago"
    return (
        running.place, str(running.seed), str(running.attempt), epoch, speed, heard, running.trial[:12],
    )  # fmt: skip


def news(ended: Ended, more: Sequence[str]) -> str:
    """An attempt that ended without a result."""
    then = "given up" if ended.given_up else "to be tried again"
    see = shlex.join(["tinyablate", "show", ended.trial[:12], *more])
    return f"{ended.place}, seed {ended.seed}: {ended.cause} in attempt {ended.attempt}, {then}; see: {see}"


def what_remains(seen: Look, known: Collection[str], more: Sequence[str]) -> list[str]:
    """How it stands when nothing runs any more: drivers of `known` that were killed, and the commands that go on."""
    lost = [each for each in seen.drivers if not each.live and each.ended_at is None]
    gone = [shown(each.owner) for each in lost if each.owner in known]
    lines = [summary(seen), *causes(seen)]
    lines += [f"driver {owner} is gone without a word; what it computed is free again" for owner in gone]
    for verb, ids in (("retry", seen.broken), ("run", seen.unfinished)):
        # Versions that an edited file made are continued by one command, which computes the file as it is now.
        commands = dict.fromkeys(command(verb, each, more) for each in seen.versions if each.id in ids)
        lines += [f"next: {each}" for each in list(commands)[:MOST_COMMANDS]]
    return lines


# ---- drawing ---------------------------------------------------------------------------------------------------------


class Screen(Protocol):
    """Where what is seen is drawn."""

    def draw(self, seen: Look) -> None: ...
    def note(self, *lines: str) -> None: ...


class _Lines:
    """Everything once, then a line when there is something to tell."""

    def __init__(self, out: TextIO, more: Sequence[str]) -> None:
        self._out, self._more = out, more
        self._told: set[int] | None = None
        self._said = ""
        self._said_at = 0.0

    def draw(self, seen: Look) -> None:
        now = time.monotonic()
        if self._told is None:
            self._told = {each.id for each in seen.ended}
            self._said, self._said_at = _counts(seen), now
            self.note(*whole(seen))
        for each in reversed(seen.ended):
            if each.id not in self._told:
                self._told.add(each.id)
                self.note(news(each, self._more))
        if self._said != _counts(seen) or now - self._said_at >= LINE_SECONDS:
            self._said, self._said_at = _counts(seen), now
            self.note(summary(seen))

    def note(self, *lines: str) -> None:
        print(on_lines(lines), file=self._out, flush=True)


def _counts(seen: Look) -> str:
    return f"{seen.done} {len(seen.running)} {seen.pending} {seen.failed}"


class _Panel:
    """All of it, drawn over what was there before."""

    def __init__(self, out: TextIO, more: Sequence[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self.live = Live(console=Console(file=out), auto_refresh=False, transient=True)
        self._seen: Look | None = None
        self._more = more

    def draw(self, seen: Look) -> None:
        self._seen = seen
        self._show([])

    def note(self, *lines: str) -> None:
        self._show(["", *lines])

    def _show(self, more: list[str]) -> None:
        from rich.text import Text

        lines = whole(self._seen) if self._seen else []
        latest = self._seen.ended[:MOST_NEWS] if self._seen else ()
        lines += ["", *(news(each, self._more) for each in latest)] if latest else []
        text = on_lines([*lines, *more])
        self.live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)


@contextmanager
def _screen(out: TextIO, more: Sequence[str]) -> Iterator[Screen]:
    if not out.isatty():
        yield _Lines(out, more)
        return
    panel = _Panel(out, more)
    with panel.live:
        yield panel


# ---- watching --------------------------------------------------------------------------------------------------------


class Eyes:
    """Looks at a database that may be away for a while; raises StoreError where it is not there at first."""

    def __init__(self, database: str, sweep: str | None) -> None:
        self._store, self._sweep = ReadOnly(database), sweep
        self.known: set[str] = set()
        """Drivers that were live at an earlier look."""
        self.took = 0.0
        """Seconds that the last look took."""

    def look(self) -> Look:
        """What happens now. Raises UsageError, and what a database raises that is away."""
        began = time.monotonic()
        seen = look(self._store, self._sweep, self.known)
        self.took = time.monotonic() - began
        self.known.update(each.owner for each in seen.live)
        return seen

    def look_again(self) -> Look | None:
        """None while the database is away."""
        try:
            return self.look()
        except (WorkError, sa.exc.SQLAlchemyError, OSError):
            return None

    def __enter__(self) -> "Eyes":
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()


def watch(database: str, sweep: str | None = None, more: Sequence[str] = (), out: TextIO | None = None) -> int:
    """Show on `out` (stdout) what runs on the database, of the sweep if one is named, until nothing does.

    `more` are options of the commands that are proposed at the end. Returns 0 when every trial has its result, else 1.
    Raises UsageError, StoreError; KeyboardInterrupt passes, and touches no run.
    """
    with Eyes(database, sweep) as eyes:
        try:
            return _watch(eyes, more, out or sys.stdout)
        except BrokenPipeError:  # whoever reads has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


def _watch(eyes: Eyes, more: Sequence[str], out: TextIO) -> int:
    seen = eyes.look()
    if not seen.busy:
        say(one_line("nothing runs on this database" + (f"; {summary(seen)}" if seen.versions else "")))
        return 0
    with _screen(out, more) as screen:
        screen.draw(seen)
        while seen.busy:
            time.sleep(max(LOOK_SECONDS, 9 * eyes.took))
            seen = eyes.look_again() or _waited(eyes, screen)
            if seen.busy:
                screen.draw(seen)
    print(on_lines(what_remains(seen, eyes.known, more)), file=out, flush=True)
    return 0 if seen.done == seen.total else 1


def _waited(eyes: Eyes, screen: Screen) -> Look:
    """What is seen when the database is back."""
    screen.note("the database cannot be reached at present; waiting for it")
    while (seen := eyes.look_again()) is None:
        time.sleep(LOOK_SECONDS)
    screen.note("the database is back")
    return seen
