"""A store in a temporary folder, and trials to put into it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import analytic
import pytest

from tinyablate.identity import CORE_VERSION, canonical, trial_key
from tinyablate.job import Outcome
from tinyablate.recipe import Recipe, build
from tinyablate.store.records import CellOf, EnvironmentRecord, NewTrial, SweepRecord
from tinyablate.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store(tmp_path / "ablations.db") as opened:
        yield opened


def recipe(**changes: object) -> Recipe:
    """A small recipe with these changes (double underscore for the dot)."""
    leaves = {"model.name": "test_vit", "schedule.epochs": 3}
    return build(leaves | {path.replace("__", "."): value for path, value in changes.items()})


def new_trial(seed: int = 0, **changes: object) -> NewTrial:
    """A trial of that recipe."""
    made = recipe(**changes)
    text = canonical(made)
    return NewTrial(trial_key(text, seed, "shapes-v1"), made, text, seed, "shapes-v1")


@pytest.fixture(name="new_trial")
def new_trial_fixture() -> Callable[..., NewTrial]:
    """Makes a trial of the small recipe with changes."""
    return new_trial


@pytest.fixture
def environment() -> EnvironmentRecord:
    """A place to compute in."""
    return EnvironmentRecord(
        host="machine.example", device="cpu", driver="", python="3.11", torch="2.15", torchvision="0.29", timm="1.0.31",
        ray="2.60", tinyablate="0.1.0", core_version=CORE_VERSION, train_digest="abc", git_commit="c0ffee",
        data_digest="d", weights_digest="", threads=1, compiled=False, memory_format="x",
    )  # fmt: skip


@pytest.fixture
def trials(store: Store) -> list[NewTrial]:
    """Four registered trials: two recipes under two seeds."""
    made = [new_trial(seed, optimizer__lr=lr) for lr in (1e-3, 1e-2) for seed in (0, 1)]
    sweep = SweepRecord("digest", "demo/x", "A title", "text", False, "")
    cells = [CellOf(index // 2, 0, f"row {index // 2}", "", trial.key) for index, trial in enumerate(made)]
    store.register(sweep, made, cells)
    return made


@pytest.fixture
def outcome_of() -> object:
    """The analytic outcome of a trial."""

    def outcome(trial: NewTrial) -> Outcome:
        epochs = tuple(analytic.result(trial.recipe, trial.seed, e) for e in (1, 2, 3))
        return Outcome("complete", epochs, (("parameters", 5.0), ("trainable_parameters", 4.0), ("extra", 1.5)))

    return outcome
