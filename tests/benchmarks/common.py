"""What the benchmarks share: a clean folder for the command line, the machine in words, the final JSON line."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder with ./sweeps in it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "sweeps").mkdir()
        yield folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Environment of a command that must not touch the user's results."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "learners"), os.environ.get("PYTHONPATH", "")])
    data = os.environ.get("TINYABLATE_DATA", str(folder / "data"))
    return {**os.environ, "PYTHONPATH": path, "TINYABLATE_DATA": data, **more}


def tinyablate(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`tinyablate …` in `folder`; raises if it fails."""
    return subprocess.run(
        [sys.executable, "-m", "tinyablate.cli", *words],
        cwd=folder, env=environment(folder, **more), capture_output=True, text=True, check=True,
    )  # fmt: skip


def seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of `action`."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def machine() -> str:
    """Cores and versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "ray", "sqlalchemy"))
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {packages}"


def report(ratios: dict[str, float], figures: dict[str, float]) -> None:
    """A table for people, then the one JSON line."""
    print(machine())
    for name, value in {**figures, **{f"ratio: {name}": value for name, value in ratios.items()}}.items():
        print(f"  {name:<60} {value:>10.3f}")
    print(json.dumps({"ratios": ratios, "figures": figures}))
