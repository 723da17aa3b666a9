"""Sweeps and results to make tables of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import analytic
import pytest

from tinyablate.identity import CORE_VERSION, canonical
from tinyablate.job import Outcome
from tinyablate.plan import ask
from tinyablate.recipe import Data, Model, Recipe
from tinyablate.store.records import EnvironmentRecord, NewTrial, SweepRecord
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Cell, Column, Exclusion, Kind, Row, Sweep
from tinyablate.tables.layout import CellResult, Provenance

PROVENANCE = Provenance(
    commit="a1b2c3d4e5f6a7b8-dirty", train_digest="0123456789abcdef", device="cpu (Xeon)", torch="2.15.0",
    timm="1.0.31", core_version=1, data_digest="fedcba9876543210",
)  # fmt: skip


def _row(index: int, label: str, **given: object) -> Row:
    values: dict[str, object] = {"group": "", "reference": 0 if index else None, "seeds": (0, 1, 2), "null": False}
    return Row(index=index, label=label, **(values | given))  # type: ignore[arg-type]


@pytest.fixture
def row() -> Callable[..., Row]:
    """Makes a row: compared with row 0, three seeds."""
    return _row


@pytest.fixture
def sweep() -> Callable[..., Sweep]:
    """Makes a sweep from its rows and column labels; every combination is a cell unless it is in `without`."""

    def make(
        rows: Sequence[Row],
        columns: Sequence[str] = ("",),
        without: Sequence[tuple[int, int]] = (),
        published: Mapping[tuple[int, int], Mapping[str, Mapping[str, float]]] | None = None,
        **given: object,
    ) -> Sweep:
        recipe = Recipe(data=Data(name="shapes"), model=Model(name="test_resnet"))
        cells = tuple(
            Cell(row.index, at, recipe, canonical(recipe), (published or {}).get((row.index, at), {}))
            for row in rows
            for at in range(len(columns))
            if (row.index, at) not in without
        )
        excluded = tuple(Exclusion(rows[row].label, columns[column], "too long") for row, column in without)
        values: dict[str, object] = {
            "name": "t", "path": Path("t.toml"), "title": "A table", "question": "Does it help?", "source": "",
            "figures": (), "metrics": ("val_top1",), "select": "last", "margin": None, "smoke": False,
            "overrides": (), "text": "", "digest": "",
        }  # fmt: skip
        return Sweep(
            baseline=recipe, rows=tuple(rows), columns=tuple(Column(at, label) for at, label in enumerate(columns)),
            cells=cells, excluded=excluded, **(values | given),
        )  # type: ignore[arg-type]  # fmt: skip

    return make


@pytest.fixture
def done() -> Callable[..., list[CellResult]]:
    """Makes complete results: seed 0, 1, … with these values of val_top1."""

    def make(
        *values: float, first: int = 0, metric: str = "val_top1", provenance: Provenance = PROVENANCE
    ) -> list[CellResult]:
        return [
            CellResult(seed, "complete", {metric: value}, None, provenance)
            for seed, value in enumerate(values, start=first)
        ]

    return make


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store(tmp_path / "ablations.db") as opened:
        yield opened


@pytest.fixture
def fill() -> Callable[..., None]:
    """Stores outcomes of a sweep's trials: for (row, kind) one for each of its first seeds."""
    environment = EnvironmentRecord(
        **asdict(analytic.ENVIRONMENT), ray="-", tinyablate="0", core_version=CORE_VERSION, train_digest="t",
        git_commit="c",
    )  # fmt: skip

    def put(
        store: Store, sweep: Sweep, outcomes: Sequence[tuple[tuple[int, Kind], Sequence[Outcome]]], device: str = ""
    ) -> None:
        keys = ask(sweep, device).keys
        for (row, kind), found in outcomes:
            cell = next(cell for cell in sweep.cells if cell.row == row)
            for key, seed, outcome in zip(keys[row, 0, kind], sweep.rows[row].seeds, found, strict=False):
                on = device if kind == "measure" else None
                trial = NewTrial(key, cell.recipe, cell.canonical, seed, "shapes-v1", kind, on)
                store.register(SweepRecord(sweep.digest, "s", "S", "", False, ""), [trial], [])
                (claim,) = store.claim([key], "job")
                store.begin(claim, environment, 1, None)
                assert store.finish(claim, outcome)

    return put
