"""Sweeps and results to make tables of."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tinyablate.identity import canonical
from tinyablate.recipe import Data, Model, Recipe
from tinyablate.sweep.schema import Cell, Column, Exclusion, Row, Sweep
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
            "metrics": ("val_top1",), "select": "last", "margin": None, "smoke": False, "overrides": (), "text": "",
            "digest": "",
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
