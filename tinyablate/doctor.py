"""`tinyablate doctor`: is this machine fit to run sweeps? Looks, reports, repairs nothing."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tinyablate import __version__
from tinyablate.datasets import default_home, lookup
from tinyablate.errors import TinyablateError

PACKAGES = ("torch", "torchvision", "timm", "ray", "sqlalchemy", "pydantic", "pandas", "pyarrow", "numpy", "scipy")
LOW_DISK_BYTES = 5 * 2**30

Finding = tuple[bool, str]
"""(fine, what was found)"""


def examine(database: str) -> tuple[str, bool]:
    """Every finding as text, and whether all are fine."""
    findings = [*_packages(), *_database(database), *_data(), *_disk(database), *_leftovers()]
    lines = [("ok       " if fine else "PROBLEM  ") + text for fine, text in findings]
    return "\n".join(lines), all(fine for fine, _ in findings)


def _packages() -> Iterator[Finding]:
    yield True, f"tinyablate {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores"
    for name in PACKAGES:
        try:
            yield True, f"{name} {version(name)}"
        except PackageNotFoundError:
            yield False, f"{name} is not installed: pip install tinyablate"
    try:
        gpus = Path("/proc/driver/nvidia/gpus")
        yield (
            True,
            f"{len(list(gpus.iterdir()))} NVIDIA GPUs" if gpus.exists() else "no NVIDIA GPU: trials run on the CPU",
        )
    except OSError as error:
        yield False, f"NVIDIA driver: {error}"


def _database(text: str) -> Iterator[Finding]:
    from tinyablate.store import health, remedies
    from tinyablate.store.location import Location
    from tinyablate.store.store import open_existing

    try:
        location = Location.of(text)
        if hindrance := remedies.hindrance(location.path) if location.path else "":
            yield False, f"database {location.shown}: nothing can be stored: {hindrance}"
        if not location.exists():
            empty = "is empty: " if location.is_empty else ""
            yield True, f"database {location.shown}: {empty}none yet"
            return
        with open_existing(location) as store:
            checked = store.backend.check()
            yield from checked
            if all(fine for fine, _ in checked):
                yield from ((fine, f"database {location.shown}: {said}") for fine, said in health.findings(store))
    except TinyablateError as error:
        yield False, f"database: {error}"


def _data() -> Iterator[Finding]:
    from tinyablate.prepare import command, status

    for entry in status(default_home()):
        data = lookup(entry.name)
        how = "made when it is needed" if data.generated else command(data).removeprefix("run: ")
        yield (
            True,
            f"data set {entry.name}: " + (f"prepared in {entry.folder}" if entry.prepared else f"not here: {how}"),
        )


def _disk(database: str) -> Iterator[Finding]:
    from tinyablate.store.location import Location

    try:
        folder = Location.of(database).home
    except TinyablateError:
        return  # said already
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield free >= LOW_DISK_BYTES, f"{free / 2**30:.1f} GiB free at {folder}"


def _leftovers() -> Iterator[Finding]:
    from tinyablate.launch import is_abandoned, workspaces

    for root, owner in workspaces():
        if is_abandoned(root, owner):
            yield False, f"{root}: left by a killed run; the next `tinyablate run` removes it"
