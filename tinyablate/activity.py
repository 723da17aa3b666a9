"""What happens on a results database, as records, and which sweep a person means by a word. No SQL: see `looking`."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tinyablate.errors import UsageError, listed, nearest
from tinyablate.store.records import DriverRecord
from tinyablate.terminal import one_line


class Way(Protocol):
    """How a sweep was run."""

    @property
    def name(self) -> str: ...
    @property
    def smoke(self) -> bool: ...
    @property
    def overrides(self) -> str: ...
    @property
    def given(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Version:
    """A sweep as it was run: its name and what changes it."""

    id: int
    name: str
    smoke: bool
    overrides: str
    """The `path=value` texts, a line each."""
    given: tuple[str, ...] = ()
    """The other options that made it another sweep than its file's, as words: `--seeds …`, `--null-rows …`."""
    run_at: float = 0.0
    """When it was run last, in Unix seconds."""


@dataclass(frozen=True)
class Running:
    """An attempt under way."""

    owner: str
    """Its driver's token."""
    job: str
    """Trials of one job are computed together."""
    trial: str
    place: str
    """Label of the row that it fills, with its column's and the sweep's name."""
    seed: int
    attempt: int
    epoch: int | None
    """Which is being trained, counted from 1; None: no epoch has begun."""
    epochs: int
    images_per_second: float | None
    heartbeat_at: float


@dataclass(frozen=True)
class Ended:
    """An attempt that ended without a result."""

    id: int
    trial: str
    place: str
    seed: int
    attempt: int
    cause: str
    ended_at: float
    given_up: bool
    """Whether the trial has failed by it; else it is tried again."""


@dataclass(frozen=True)
class Look:
    """All of it at one moment."""

    at: float
    """The store's clock, in Unix seconds."""
    versions: tuple[Version, ...]
    """The sweeps whose trials are counted."""
    drivers: tuple[DriverRecord, ...]
    """Live and not, newest first."""
    running: tuple[Running, ...]
    done: int
    """Trials with a result, …"""
    diverged: int
    """… of which so many diverged."""
    pending: int
    unfinished: frozenset[int]
    """Of the versions those with pending trials, …"""
    broken: frozenset[int]
    """… and those with failed ones, by id."""
    failed: Mapping[str, int]
    """Cause -> trials that failed by it."""
    retried: Mapping[str, int]
    """Cause -> attempts since the live drivers began, of trials that were tried again."""
    ended: tuple[Ended, ...]
    """Since the live drivers began, the latest first."""
    seconds_left: float | None
    """By the epochs that the live drivers have trained so far; None before there are any."""
    begun: frozenset[str]
    """Tokens of the drivers that have begun an attempt."""

    @property
    def live(self) -> tuple[DriverRecord, ...]:
        """The drivers that work."""
        return tuple(driver for driver in self.drivers if driver.live)

    @property
    def busy(self) -> bool:
        """Whether anything runs."""
        return bool(self.live or self.running)

    @property
    def total(self) -> int:
        """All trials that are counted."""
        return self.done + len(self.running) + self.pending + sum(self.failed.values())


# ---- names -----------------------------------------------------------------------------------------------------------


def named(sweep: str) -> str:
    """The name that a sweep argument means: of a file its sweep's, else itself."""
    from tinyablate.sweep.load import name_of

    return name_of(Path(sweep)) if sweep.endswith(".toml") else sweep.strip("/")


def means(asked: str | None, name: str) -> bool:
    """Whether `asked`, see `named`, is the sweep `name`, a folder that it is in, or every sweep (None)."""
    return asked is None or name == asked or name.startswith(f"{asked}/")


def runs(driver: DriverRecord, asked: str | None) -> bool:
    """Whether the driver computes something of what is asked for, be it as a part of a folder."""
    name = named(driver.name)
    return means(asked, name) or means(name, asked or "")


def unknown(sweep: str, names: Collection[str]) -> UsageError:
    """The error for a sweep that neither runs nor was run with this database."""
    names = {one_line(name) for name in names}
    known = f"; names: {listed(sorted(names))}" if names else "; no sweep was"
    return UsageError(f"{sweep}: was never run with this database{nearest(named(sweep), names)}{known}")


def options_of(way: Way) -> list[str]:
    """What a sweep was run with, as words of a command line: with them it is the same trials again."""
    sets = [word for each in way.overrides.split("\n") if each for word in ("--set", each)]
    return ["--smoke"] * way.smoke + sets + list(way.given)


def command(verb: str, way: Way, more: Sequence[str] = ()) -> str:
    """`tinyablate VERB SWEEP …` as it is typed, with what the sweep was run with, then `more`."""
    return shlex.join(["tinyablate", verb, way.name, *options_of(way), *more])
