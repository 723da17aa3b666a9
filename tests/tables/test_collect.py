"""From the store to the table: which trial's number stands in which cell, in which unit, measured on which device."""

from collections.abc import Callable
from pathlib import Path

import analytic
import pytest

from tinyablate import machine
from tinyablate.job import Outcome
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.collect import collect, printed

TEXT = """
title = "Speed"
seeds = [0, 1]
metrics = ["val_top1@1", "val_top1", "macs", "epoch_seconds", "relative_epoch_time"]
[baseline]
data.name = "shapes"
model.name = "test_vit"
model.pretrained = false
schedule.epochs = 3
[[rows]]
label = "AdamW"
[[rows]]
label = "SAM"
set.optimizer.perturbation = "sam"
published.paper = { relative_epoch_time = 1.85 }
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """Loads TEXT, changed as asked."""

    def make(old: str = "", new: str = "", **options: object) -> Sweep:
        path = tmp_path / "speed.toml"
        path.write_text(TEXT.replace(old, new))
        return load(path, **options)

    return make


def trained(sweep: Sweep, row: int, *metrics: tuple[str, float]) -> Outcome:
    """Three epochs of the row's recipe."""
    recipe = next(cell.recipe for cell in sweep.cells if cell.row == row)
    return Outcome("complete", tuple(analytic.result(recipe, 0, epoch) for epoch in (1, 2, 3)), metrics)


def measured(seconds: float, *more: tuple[str, float]) -> Outcome:
    """A measurement of this many seconds an epoch."""
    return Outcome("complete", (), (("epoch_seconds", seconds), *more))


def shown(sweep: Sweep, store: Store, row: int, device: str = "") -> dict[str, object]:
    """Metric -> (mean, state) of a row."""
    table = collect(sweep, store, device)
    cells = zip(table.columns, table.rows[row].cells, strict=True)
    return {column.metric.name: (cell.mean, cell.state) for column, cell in cells}


def test_each_metric_from_its_trial(sweep, store, fill):
    """Epochs come from the training, times from the measurement, facts from either; all in the unit of the heading."""
    asked = sweep()
    fill(store, asked, [
        ((0, "train"), [trained(asked, 0)] * 2),
        ((1, "train"), [trained(asked, 1, ("macs", 5.5e9))] * 2),
        ((0, "measure"), [measured(100.0, ("macs", 5.25e9))] * 2),
        ((1, "measure"), [measured(180.0), measured(190.0)]),
    ], "H200")  # fmt: skip
    top1 = [analytic.score(asked.cells[0].recipe, 0, epoch) for epoch in (1, 3)]
    assert shown(asked, store, 0) == {
        "val_top1@1": (pytest.approx(top1[0]), "complete"),
        "val_top1": (pytest.approx(top1[1]), "complete"),
        "macs": (pytest.approx(5.25), "complete"),
        "epoch_seconds": (100.0, "complete"),
        "relative_epoch_time": (1.0, "complete"),
    }
    assert shown(asked, store, 1)["relative_epoch_time"] == (pytest.approx(1.85), "complete")
    assert shown(asked, store, 1)["macs"] == (pytest.approx(5.5), "complete")
    assert "| 1.85 ± 0.07 [1.21, 2.49] (2) |" in printed([collect(asked, store)], "markdown")


def test_kinds_have_their_own_state(sweep, store, fill):
    """A measured column is complete while the training has not begun, and the other way round."""
    asked = sweep()
    fill(store, asked, [((0, "measure"), [measured(100.0)] * 2), ((1, "train"), [trained(asked, 1)] * 2)], "H200")
    assert shown(asked, store, 0)["val_top1"] == (None, "missing")
    assert shown(asked, store, 0)["epoch_seconds"] == (100.0, "complete")
    assert shown(asked, store, 1)["val_top1@1"][1] == "complete"
    assert shown(asked, store, 1)["relative_epoch_time"] == (None, "missing")


def test_a_diverged_training_still_tells_facts(sweep, store, fill):
    """What is known of a model does not depend on how its training ended; nothing else is shown of it."""
    asked = sweep()
    diverged = Outcome("diverged", trained(asked, 0).epochs[:1], (("macs", 5.25e9),), diverged_epoch=2)
    fill(store, asked, [((0, "train"), [diverged] * 2)], "H200")
    assert shown(asked, store, 0)["macs"] == (pytest.approx(5.25), "complete")
    assert shown(asked, store, 0)["val_top1@1"] == (None, "diverged")


def test_epoch_that_was_not_reached(sweep, store, fill):
    """A schedule that the command line shortened leaves the later epochs empty, and a footnote says why."""
    asked = sweep("val_top1@1", "val_top1@3", overrides=["schedule.epochs=2"])
    two = Outcome("complete", trained(asked, 0).epochs[:2], ())
    fill(store, asked, [((0, "train"), [two] * 2)], "H200")
    table = collect(asked, store)
    assert (table.rows[0].cells[0].mean, table.rows[0].cells[0].marks) == (None, ("2 not measured",))
    assert [note for note in table.footnotes if note.startswith("Not measured: ")]


def test_device_of_the_measurements(sweep, store, fill):
    """Shown are those of the named device, else this machine's, else the latest; a footnote names the device."""
    asked = sweep()
    fill(store, asked, [((0, "measure"), [measured(200.0)] * 2)], "H100")
    fill(store, asked, [((0, "measure"), [measured(100.0)] * 2)], "H200")
    assert shown(asked, store, 0)["epoch_seconds"][0] == 100.0
    assert shown(asked, store, 0, "H100")["epoch_seconds"][0] == 200.0
    assert shown(asked, store, 0, "A100")["epoch_seconds"] == (None, "missing")
    here = machine.device_name("auto")
    fill(store, asked, [((1, "measure"), [measured(5.0)] * 2)], here)
    assert shown(asked, store, 0)["epoch_seconds"] == (None, "missing")
    assert [note for note in collect(asked, store).footnotes if f"Measured on {here}, " in note]


def test_other_sweeps_measurements_do_not_choose_the_device(sweep, store, fill):
    """A device on which only other recipes were measured is not the one whose numbers are shown."""
    asked = sweep()
    fill(store, asked, [((0, "measure"), [measured(200.0)] * 2)], "H100")
    fill(store, sweep("test_vit", "test_resnet"), [((0, "measure"), [measured(100.0)] * 2)], "H200")
    assert shown(asked, store, 0)["epoch_seconds"][0] == 200.0
