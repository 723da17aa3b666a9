"""What goes into the store and comes out of it, all frozen. No SQL."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tinyablate.recipe import Recipe


@dataclass(frozen=True)
class NewTrial:
    """A trial as the plan knows it, to be registered."""

    key: str
    recipe: Recipe
    canonical: str
    seed: int
    fingerprint: str


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
