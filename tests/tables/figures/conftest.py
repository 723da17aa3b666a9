"""Tables to draw, of sweeps as a user writes them and of values given by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from drawings import HEAD, Values

from tinyablate.sweep.figure import default_cost, default_metric
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Figure, Sweep
from tinyablate.tables.figures.drawn import View
from tinyablate.tables.layout import CellResult, build


@pytest.fixture
def load_text(tmp_path: Path) -> Callable[..., Sweep]:
    """Loads HEAD with this behind it, changed as asked."""

    def loads(body: str, head: str = HEAD, name: str = "drawn") -> Sweep:
        path = tmp_path / f"{name}.toml"
        path.write_text(head + body)
        return load(path)

    return loads


@pytest.fixture
def view(load_text) -> Callable[..., View]:
    """The table of a sweep with these values, as a figure of this kind looks at it."""

    def make(body: str, values: Values, kind: str, head: str = HEAD, **given: object) -> View:
        sweep = load_text(body, head)
        metric = str(given.pop("metric", default_metric(kind, sweep.metrics)))
        cost = str(given.pop("cost", default_cost(metric, sweep.metrics))) if kind == "cost" else ""
        names = (metric, cost) if cost else (metric,)
        own = sweep if set(names) <= set(sweep.metrics) else replace(sweep, metrics=names)
        results = {place: _results(own, place, found) for place, found in values.items()}
        return View(own, Figure(kind, metric, {}, cost, **given), build(own, results))

    return make


def _results(sweep: Sweep, place: tuple[int, int], values: Sequence[float | None]) -> list[CellResult]:
    """Of each seed its value of every metric; MACs are a G for each row before."""
    found = []
    for seed, value in zip(sweep.rows[place[0]].seeds, values, strict=False):
        known = {} if value is None else {name: value for name in sweep.metrics}
        known |= {"macs": 1.0 + place[0]} if value is not None and "macs" in sweep.metrics else {}
        found.append(CellResult(seed, "diverged" if value is None else "complete", known))
    return found
