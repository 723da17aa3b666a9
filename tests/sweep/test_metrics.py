"""The metrics that a sweep may name, also by epoch."""

import dataclasses

import pytest

from tinyablate.job import EpochResult
from tinyablate.store import schema
from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import KNOWN, is_known, lookup

FIVE = "seeds = [0]\n[baseline]\nmodel.name = 'test_vit'\nschedule.epochs = 4\nschedule.cooldown_epochs = 1\n"
ROWS = "[[rows]]\nlabel = 'A'\nset.schedule.epochs = 2\n[[rows]]\nlabel = 'B'\nset.loss.smoothing = 0.1\n"


def test_metrics_of_epochs_are_what_an_epoch_yields():
    """Every metric that is said to be there per epoch is a field of the epoch's result."""
    fields = {field.name for field in dataclasses.fields(EpochResult)}
    assert {metric.name for metric in KNOWN.values() if metric.source == "epochs"} <= fields


def test_other_metrics_are_columns_of_the_store():
    """Every fact and measurement has its column, named as the metric; a ratio needs that of its measurement alone."""
    kinds = ("facts", "measured")
    others = {metric.relative_to or metric.name for metric in KNOWN.values() if metric.source in kinds}
    assert others == set(schema.FACTS)


def test_every_metric_has_its_direction():
    """Percentages and speeds go up, losses, times and memory down; a count or a cost has no good end."""
    best = {end: {name for name, metric in KNOWN.items() if metric.better == end} for end in ("max", "min")}
    assert best["max"] == {"val_top1", "val_top5", "train_images_per_second", "inference_images_per_second"}
    assert best["min"] == {"val_loss", "train_loss", "epoch_seconds", "relative_epoch_time", "train_peak_memory"}
    assert {metric.source for metric in KNOWN.values() if metric.better is None} == {"facts", "spent"}


def test_what_is_compared_and_what_is_tested():
    """Chance moves what is trained and what is timed; seeds are replicates of the first alone. A ratio is neither."""
    assert {metric.source for metric in KNOWN.values() if metric.tested} == {"epochs"}
    assert {metric.source for metric in KNOWN.values() if metric.compared} == {"epochs", "measured"}
    assert not KNOWN["relative_epoch_time"].compared
    assert [metrics.tested(names) for names in (("macs", "device_hours", "val_loss"), ("relative_epoch_time",))] == [
        2,
        None,
    ]


def test_metric_of_an_epoch():
    """`val_top1@3` is top-1 after the third epoch, in all else the metric itself."""
    at = lookup("val_top1@3")
    assert (at.name, at.title, at.epoch) == ("val_top1@3", "top-1 @3", 3)
    assert dataclasses.replace(at, name="val_top1", title="top-1", epoch=None) == lookup("val_top1")


@pytest.mark.parametrize(
    "name", ["val_top1@", "val_top1@0", "val_top1@03", "val_top1@-1", "val_top1@²", "macs@3", "@3", "x", "", "a" * 99]
)
def test_what_is_no_metric(name):
    """An epoch counts from 1, in plain digits, and only what every epoch yields has one."""
    assert not is_known(name)
    with pytest.raises(KeyError):
        lookup(name)


def test_metric_of_an_epoch_in_a_file(loads):
    """Metrics of epochs, facts and measurements stand side by side; the kinds of trials follow from them."""
    sweep = loads("metrics = ['val_top1@5', 'val_top1', 'macs', 'relative_epoch_time']\n" + FIVE + ROWS, head="")
    assert sweep.metrics == ("val_top1@5", "val_top1", "macs", "relative_epoch_time")
    assert sweep.kinds == ("train", "measure")
    assert loads("metric = 'macs'\n" + FIVE + ROWS, head="").kinds == ("measure",)
    assert loads("metric = 'device_hours'\n" + FIVE + ROWS, head="").kinds == ("train",)


def test_mistaken_metric_of_an_epoch(refuses):
    """A wrong epoch, and a metric that has none, are refused with what is valid; a typing error with the nearest."""
    names = "['val_top1@0', 'macs@2', 'val_los@2']"
    found = refuses(f"metrics = {names}\n{FIVE}{ROWS}", head="")
    assert [problem.split(": ", 1)[1] for problem in found][:2] == [
        f"metrics = \"{name}\": METRIC@EPOCH is 'val_top1', 'val_top5', 'val_loss', 'train_loss' after an epoch "
        "counted from 1, such as val_top1@3"
        for name in ("val_top1@0", "macs@2")
    ]
    assert "metrics = \"val_los@2\": unknown metric; did you mean 'val_loss'?" in found[2]


def test_epoch_after_the_last(refuses, loads):
    """An epoch that no row reaches is refused with the row that trains longest; `--set` and `--smoke` may shorten."""
    text = f"metrics = ['val_top1@6']\n{FIVE}{ROWS}[smoke]\nschedule.epochs = 1\n"
    (problem,) = refuses(text, head="")
    assert problem.endswith("metrics = \"val_top1@6\": no row trains so long: row 'B' has the most epochs, 5")
    fitting = text.replace("@6", "@5")
    assert loads(fitting, head="", smoke=True).cells[0].recipe.schedule.epochs == 1
    assert loads(fitting, head="", overrides=["schedule.epochs=3"]).metrics == ("val_top1@5",)
