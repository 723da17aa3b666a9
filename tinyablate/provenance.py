"""Which code computes: digest, commit and versions, recorded with every attempt. It decides nothing."""

import contextlib
import functools
import hashlib
import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tinyablate import __version__
from tinyablate.identity import CORE_VERSION


@functools.cache
def train_digest() -> str:
    """Digest of the source that numbers come from (`train/`, recipe, job), 16 hexadecimal digits.

    Results of different digests are never mixed silently.
    """
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*(package / "train").rglob("*.py"), package / "recipe.py", package / "job.py"]):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def git_commit() -> str:
    """Commit of the checkout that tinyablate runs from, with "+changes" where it differs; "" outside a checkout."""
    folder = Path(os.environ.get("TINYABLATE_SOURCE", Path(__file__).parent.parent))
    if not (folder / ".git").exists():
        return ""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", "tinyablate", "workers")
        return commit + ("+changes" if changed else "")
    return ""


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def code_environment() -> dict[str, Any]:
    """The part of an attempt's environment that the driver knows; the worker adds the rest."""
    try:
        ray = version("ray")
    except PackageNotFoundError:
        ray = ""
    return {
        "ray": ray,
        "tinyablate": __version__,
        "core_version": CORE_VERSION,
        "train_digest": train_digest(),
        "git_commit": git_commit(),
    }
