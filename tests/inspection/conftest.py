"""A store with two rows under three seeds whose every image is known, and what else a database holds."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import analytic
import numpy as np
import pytest

from tinyablate.identity import CORE_VERSION, canonical, trial_key
from tinyablate.job import EpochResult, Outcome
from tinyablate.recipe import build
from tinyablate.store.records import CellOf, EnvironmentRecord, NewTrial, SweepRecord
from tinyablate.store.store import Store

BITS: Mapping[tuple[str, int], Sequence[str]] = {
    ("Default", 0): ("111100000000", "111111111000"),
    ("Default", 1): ("111100000000", "111111110000"),
    ("Default", 2): ("111111111111", "111111111100"),
    ("No <b>decay</b> | 无", 0): ("111100000000", "111111000111"),
    ("No <b>decay</b> | 无", 1): ("111100000000", "111110000000"),
    ("No <b>decay</b> | 无", 2): ("111100000000", "111111110000"),
}
"""(row, seed) -> for each epoch whether each of 12 images was classified rightly: the last byte is half filled."""

OTHER = "No <b>decay</b> | 无"


def new_trial(seed: int, **changes: object) -> NewTrial:
    """A trial of a small recipe with these changes (double underscore for the dot)."""
    leaves = {"model.name": "test_vit", "schedule.epochs": 2, "data.name": "shapes"}
    recipe = build(leaves | {path.replace("__", "."): value for path, value in changes.items()})
    text = canonical(recipe)
    return NewTrial(trial_key(text, seed, "shapes-v1"), recipe, text, seed, "shapes-v1")


def outcome(epochs: Sequence[str], parameters: float = 100.0) -> Outcome:
    """A complete outcome with these bits."""
    results = []
    for at, text in enumerate(epochs, start=1):
        bits = np.array(list(text)) == "1"
        top1 = 100 * float(bits.mean())
        packed = np.packbits(bits).tobytes()
        results.append(EpochResult("raw", at, 1e-3, 2.0 / at, 1.0 / at, top1, 100.0, packed, None, None))
    return Outcome("complete", tuple(results), (("parameters", parameters),))


def environment(**changes: object) -> EnvironmentRecord:
    """Where the trials ran, with these changes."""
    known = asdict(analytic.ENVIRONMENT)
    code = {"ray": "-", "tinyablate": "0", "core_version": CORE_VERSION, "train_digest": "t", "git_commit": "c"}
    return EnvironmentRecord(**(known | code | changes))  # type: ignore[arg-type]


def finish(store: Store, trial: NewTrial, result: Outcome, **changes: object) -> None:
    """Compute the trial."""
    (claim,) = store.claim([trial.key], f"job {trial.key[:6]}")
    store.begin(claim, environment(**changes), 1, None)
    assert store.finish(claim, result)


@pytest.fixture(scope="session")
def rows() -> Mapping[tuple[str, int], NewTrial]:
    """The trials of the sweep `small` by row and seed."""
    default = {("Default", seed): new_trial(seed) for seed in (0, 1, 2)}
    other = {(OTHER, seed): new_trial(seed, optimizer__weight_decay=0.0, ema__decay=0.9) for seed in (0, 1, 2)}
    return default | other


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, rows: Mapping[tuple[str, int], NewTrial]) -> Path:
    """The database: `small` with two complete rows; `wide` with two columns, of which nothing has run; `small` again
    with --smoke and with --set. Row `Failed` of `wide` has a trial that failed."""
    path = tmp_path_factory.mktemp("inspection") / "ablations.db"
    with Store(path) as store:
        cells = [CellOf(0 if row == "Default" else 1, 0, row, "", trial.key) for (row, _), trial in rows.items()]
        store.register(
            SweepRecord("d1", "small", "A small <i>sweep</i>", "text", False, ""), list(rows.values()), cells
        )
        for (row, seed), trial in rows.items():
            changed = {"device": "cpu (other)"} if row != "Default" and seed == 2 else {}
            finish(store, trial, outcome(BITS[row, seed], 100.0 if row == "Default" else 90.0), **changed)
        _wide(store, rows["Default", 0])
        once = new_trial(0, schedule__epochs=1)
        for digest, smoke, overrides in (("d3", True, ""), ("d4", False, "schedule.epochs=1")):
            cell = CellOf(0, 0, "Default", "", once.key)
            store.register(SweepRecord(digest, "small", "A small sweep", "text", smoke, overrides), [once], [cell])
    return path


def _wide(store: Store, known: NewTrial) -> None:
    """The sweep with two columns."""
    half, failed = new_trial(0, data__fraction=0.5), new_trial(7, data__fraction=0.25)
    cells = [
        CellOf(0, 0, "Default", "all", known.key),
        CellOf(0, 1, "Default", "half", half.key),
        CellOf(1, 0, "Failed", "all", failed.key),
    ]
    store.register(SweepRecord("d2", "wide", "A wide sweep", "text", False, ""), [half, failed], cells)
    (claim,) = store.claim([failed.key], "job")
    store.begin(claim, environment(), 1, None)
    traceback = "\n".join(["Traceback (most recent call last):", *(f"  line {n}" for n in range(40)), "ValueError: no"])
    store.fail(claim, "exception", "ValueError: no", traceback)


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy of that database."""
    with Store(shutil.copy(filled, tmp_path)) as opened:
        yield opened
