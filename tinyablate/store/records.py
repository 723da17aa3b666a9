"""What goes into the store and comes out of it, all frozen. No SQL."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tinyablate.recipe import Recipe


@dataclass(frozen=True)
class NewTrial:
    """A trial as the plan knows it, to be registered."""

    key: str
    recipe: Recipe
    canonical: str
    seed: int
    fingerprint: str
    kind: Literal["train", "measure"] = "train"
    measured_on: str | None = None
    """Name of the device that a measurement is made on; None for a training."""


@dataclass(frozen=True)
class CellOf:
    """Which trial fills which cell of a sweep's table."""

    row: int
    column: int
    row_label: str
    column_label: str
    trial: str


@dataclass(frozen=True)
class SweepRecord:
    """A sweep file as it stood when it was run."""

    digest: str
    name: str
    title: str
    text: str
    smoke: bool
    overrides: str


class StoredState(NamedTuple):
    """What the plan needs to know of a stored trial. `live` is False for a running trial whose driver is gone."""

    state: str
    core_version: int | None
    live: bool


class MemoryKey(NamedTuple):
    """What the memory of a forward and backward pass depends on, besides the number of its images."""

    model: str
    """Its name, with its arguments as JSON where it has any."""
    image_size: int
    """As in the recipe: 0 is the model's own size."""
    trainable: str
    precision: str
    device: str
    """Name of the device, as environments record it."""

    @classmethod
    def of(cls, recipe: Recipe, device: str) -> "MemoryKey":
        """That of `recipe` on this device."""
        args = f" {json.dumps(recipe.model.args, sort_keys=True)}" if recipe.model.args else ""
        name = f"{recipe.model.name}{args}"
        return cls(name, recipe.data.image_size, recipe.model.trainable, recipe.precision, device)


@dataclass(frozen=True)
class EstimateRecord:
    """What a run was expected to cost when it began."""

    seconds: float
    """Wall time."""
    device: str
    devices: int
    """How many of them; on CPUs, of cores."""
    trials_each: int
    """Trials at a time on one."""
    device_hours: float
    """Hours of one such device; on CPUs, of one core."""
    disk_bytes: int
    jobs: int
    from_history: int
    """How many of the jobs are estimated from earlier trials; …"""
    from_calibration: int
    """… and how many from a measurement of a few steps. The rest could not be estimated, and is not in the sums."""


@dataclass(frozen=True)
class ProtocolRecord:
    """By which rules a sweep is judged, as settled before its results are seen."""

    metric: str
    select: str
    margin: float | None
    family: str
    test: str
    seeds_rule: str
    digest: str
    """Hash of them all."""


@dataclass(frozen=True)
class ExtensionRecord:
    """Seeds that a row got beyond those it had, by the sweep's rule."""

    row_label: str
    column_label: str
    from_n: int
    to_n: int
    first_n: int
    """Seeds of the first stage, from which the rule reckons."""
    sd: float | None
    """Of the first stage's differences."""
    half_width: float | None
    """That the rule aims at."""


@dataclass(frozen=True)
class Claim:
    """The right to compute one trial, until the lease ends."""

    trial_id: int
    key: str
    attempt_id: int
    fence: int
    directory: Path
    earlier: tuple[Path, ...]
    """Directories of earlier attempts, newest first."""
    causes: tuple[str, ...] = ()
    """Why earlier attempts ended that count against limits of retries (see `retries`), the oldest first."""


@dataclass(frozen=True)
class DriverRecord:
    """A `tinyablate run` that works, or worked, on this database."""

    owner: str
    """Its token, see `processes.own_token`: `host:pid:start:machine`."""
    name: str
    """What it runs: the name of a sweep, or of a folder of sweeps."""
    started_at: float
    heartbeat_at: float
    ended_at: float | None
    log: str | None
    """File of its output, on its host, where it was detached from its terminal."""
    stop_asked: bool
    live: bool
    """False when it has ended, is gone, or was not heard of for longer than a lease lasts."""


@dataclass(frozen=True)
class EnvironmentRecord:
    """Everything that is recorded of where and with what an attempt ran (see `schema.environments`)."""

    host: str
    device: str
    driver: str
    python: str
    torch: str
    torchvision: str
    timm: str
    ray: str
    tinyablate: str
    core_version: int
    train_digest: str
    git_commit: str
    data_digest: str
    weights_digest: str
    threads: int
    compiled: bool
    memory_format: str
