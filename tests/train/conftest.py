"""A small real data set and jobs on it, for the tests of the fine-tuning core."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tinyablate.datasets import DataSet
from tinyablate.job import EpochDone, Event, Finished, Job, Outcome, Progress, Started, TrialTask
from tinyablate.recipe import (
    Augment,
    Batch,
    Data,
    Ema,
    Loss,
    Mix,
    Model,
    Optimizer,
    Recipe,
    Schedule,
    Value,
    build,
    flatten,
)
from tinyablate.train import device as devices
from tinyablate.train.data import packed, shapes
from tinyablate.train.loop import run_job

SMALL = DataSet(
    name="small",
    title="A few shapes",
    classes=10,
    train_per_class=20,
    val_per_class=30,
    size=64,
    fingerprint="small-v1",
    folder="small",
)

EVERYTHING = Recipe(
    data=Data(name="small", image_size=32),
    augment=Augment(hflip=0.5, erase_prob=0.5),
    mix=Mix(mixup_alpha=0.8, cutmix_alpha=1.0),
    model=Model(name="test_resnet", pretrained=False),
    loss=Loss(smoothing=0.1),
    optimizer=Optimizer(name="adamw", lr=3e-3),
    schedule=Schedule(epochs=3, warmup_epochs=0.5),
    batch=Batch(size=40),
    ema=Ema(),
)
"""Every technique of the first release, five updates an epoch."""


def change(recipe: Recipe = EVERYTHING, **leaves: Value) -> Recipe:
    """The recipe with leaves replaced; `__` stands for the dot in a leaf's path."""
    return build({**flatten(recipe), **{path.replace("__", "."): value for path, value in leaves.items()}})


@dataclass
class Ran:
    """A job's events, sorted by kind."""

    events: list[Event]
    outcomes: dict[str, Outcome] = field(init=False)

    def __post_init__(self) -> None:
        self.outcomes = {event.key: event.outcome for event in self.events if isinstance(event, Finished)}

    @property
    def started(self) -> Started:
        """The first event."""
        (found,) = (event for event in self.events if isinstance(event, Started))
        return found

    @property
    def progress(self) -> list[Progress]:
        """Every unit of work."""
        return [event for event in self.events if isinstance(event, Progress)]

    @property
    def epochs(self) -> list[EpochDone]:
        """Every epoch of every trial."""
        return [event for event in self.events if isinstance(event, EpochDone)]


@dataclass
class Lab:
    """Makes jobs on the small data set, each attempt in a directory of its own, and runs them."""

    folder: Path
    data: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def task(self, key: str, recipe: Recipe = EVERYTHING, earlier: tuple[Path, ...] = (), seed: int = 0) -> TrialTask:
        """A new attempt at a trial."""
        directory = self.folder / f"attempt-{next(self.numbers)}"
        directory.mkdir()
        return TrialTask(key, recipe, seed, directory, earlier)

    def job(self, *tasks: TrialTask, micro_batch: int | None = None, core: str = "core", device: str = "cpu") -> Job:
        """A job of these trials."""
        return Job("job", tasks, self.data, device=device, micro_batch=micro_batch, core=core)

    def run(self, *tasks: TrialTask, micro_batch: int | None = None, core: str = "core", device: str = "cpu") -> Ran:
        """All events of the job of these trials."""
        return Ran(list(run_job(self.job(*tasks, micro_batch=micro_batch, core=core, device=device))))

    def outcome(self, recipe: Recipe, seed: int = 0, device: str = "cpu") -> Outcome:
        """What a lone trial comes to."""
        return self.run(self.task("trial", recipe, seed=seed), device=device).outcomes["trial"]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute as a worker does: two threads on a busy machine wait for each other."""
    devices.settle("cpu")


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the packed small data set: 200 training and 300 validation images of 64 pixels, decoded from JPEG."""
    home = tmp_path_factory.mktemp("small")
    shapes.write(home / "small-jpeg", SMALL)
    return packed.pack(home / "small-jpeg", SMALL, home / "data")


@pytest.fixture
def lab(tmp_path: Path, small_data: Path) -> Lab:
    """Jobs on the small data set."""
    return Lab(tmp_path, small_data)


@pytest.fixture(scope="session")
def changed() -> Callable[..., Recipe]:
    """`change`: EVERYTHING, or the recipe given first, with leaves replaced."""
    return change
