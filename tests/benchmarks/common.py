"""What the benchmarks share: a clean folder for the command line, small data sets, jobs, the final JSON line."""

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tinyablate.datasets import DataSet
from tinyablate.identity import canonical, trial_key
from tinyablate.job import Job, TrialTask
from tinyablate.recipe import Recipe

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


def lines(words: list[str], folder: Path, **more: str) -> Iterator[tuple[float, str]]:
    """Each line that a program prints and the time it came at; left early, it ends with all that it started."""
    env = {**os.environ, **more}
    with subprocess.Popen(
        words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as program:
        assert program.stdout is not None
        try:
            for line in program.stdout:
                yield time.perf_counter(), line
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


def seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of `action`."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def tree(root: Path, data: DataSet) -> Path:
    """A data set in Tiny ImageNet's layout, at `root`/`data.folder`: copies of 1,000 generated images."""
    from tinyablate.train.data import shapes

    few = root / "few"
    if not few.exists():
        shapes.write(few, ORIGINALS, None)
    contents = [path.read_bytes() for path in sorted(few.rglob("*.JPEG"))]
    files = root / data.folder
    wnids = [f"n{number:08d}" for number in range(data.classes)]
    number = 0
    for wnid in wnids:
        folder = files / "train" / wnid / "images"
        folder.mkdir(parents=True)
        for k in range(data.train_per_class):
            (folder / f"{wnid}_{k}.JPEG").write_bytes(contents[number % len(contents)])
            number += 1
    (files / "val" / "images").mkdir(parents=True)
    lines = []
    for k in range(data.val):
        (files / "val" / "images" / f"val_{k}.JPEG").write_bytes(contents[k % len(contents)])
        lines.append(f"val_{k}.JPEG\t{wnids[k % data.classes]}\t0\t0\t63\t63\n")
    (files / "val" / "val_annotations.txt").write_text("".join(lines))
    (files / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
    (files / "words.txt").write_text("".join(f"{wnid}\tthing\n" for wnid in wnids))
    return files


ORIGINALS = DataSet(
    name="bench", title="shapes", classes=10, train_per_class=100, val_per_class=1, size=64, fingerprint="bench",
    folder="bench",
)  # fmt: skip


def packed_set(root: Path, train_per_class: int, val_per_class: int = 2) -> tuple[Path, Path]:
    """200 classes of 64-pixel images: JPEGs in Tiny ImageNet's layout, and the prepared data set made of them."""
    from tinyablate.train.data import packed

    name = f"small-{train_per_class}"
    data = DataSet(
        name=name, title="", classes=200, train_per_class=train_per_class, val_per_class=val_per_class, size=64,
        fingerprint=name, folder=name,
    )  # fmt: skip
    files = tree(root, data)
    return files, packed.pack(files, data, root / "home")


def job(recipes: Iterable[Recipe], data: Path, root: Path, *, seed: int = 0, **more: Any) -> Job:
    """A job of a trial for each of `recipes`, each with a new directory under `root`."""
    tasks = []
    for recipe in recipes:
        directory = Path(tempfile.mkdtemp(prefix="attempt-", dir=root))
        tasks.append(TrialTask(trial_key(canonical(recipe), seed, "bench"), recipe, seed, directory))
    return Job(id="bench", tasks=tuple(tasks), data=data, **more)


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
