"""How long a claim holds, and which trials may be claimed. Pure but for asking whether a process of this host lives."""

import os
from collections.abc import Callable
from typing import Any

from tinyablate.identity import CORE_VERSION
from tinyablate.processes import is_dead

LEASE_SECONDS = float(os.environ.get("TINYABLATE_LEASE_SECONDS", "60"))
"""A driver that has not renewed its lease for so long has lost it, wherever it runs. Settable for tests."""


def expired(owner: str | None, until: float | None, now: float, dead: Callable[[str], bool] | None = None) -> bool:
    """Whether a lease of `owner` until `until` is over: its time, or the driver's life; `dead` instead of `is_dead`."""
    return until is None or until < now or (owner is not None and (dead or is_dead)(owner))


def claimable(trial: Any, now: float, core_version: int = CORE_VERSION) -> bool:
    """Whether this row of `trials` may be claimed: it waits, was left behind, or is of another core."""
    if trial.state == "pending":
        return True
    if trial.state == "running":
        return expired(trial.owner, trial.lease_until, now)
    return trial.state != "failed" and bool(trial.core_version != core_version)
