"""The metrics that a sweep may name."""

import dataclasses

from tinyablate.job import EpochResult
from tinyablate.sweep.metrics import KNOWN, LATER


def test_metrics_of_epochs_are_what_an_epoch_yields():
    """Every metric that is said to be there per epoch is a field of the epoch's result."""
    fields = {field.name for field in dataclasses.fields(EpochResult)}
    assert {metric.name for metric in KNOWN.values() if metric.source == "epochs"} <= fields
    assert not set(LATER) & KNOWN.keys()


def test_percentages_go_up_and_losses_down():
    """The direction of each metric is the one a reader expects; a count has none."""
    assert {name: metric.better for name, metric in KNOWN.items()} == {
        "val_top1": "max",
        "val_top5": "max",
        "val_loss": "min",
        "train_loss": "min",
        "parameters": None,
        "trainable_parameters": None,
    }
    assert {metric.unit for metric in KNOWN.values() if metric.better == "max"} == {"%"}
