"""The metrics that a sweep may name; it computes none of them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One number that a trial yields, and how a table shows it."""

    name: str
    title: str
    """Heading of its column."""
    unit: str
    """`%`, or empty."""
    better: Literal["max", "min"] | None
    """Which end is good; None where neither is, as with a count."""
    digits: int
    """Digits after the decimal point in a table."""
    source: Literal["epochs", "metrics"]
    """Table of the store that holds it: one value per epoch, or one per trial."""


KNOWN = {
    metric.name: metric
    for metric in (
        Metric("val_top1", "top-1", "%", "max", 2, "epochs"),
        Metric("val_top5", "top-5", "%", "max", 2, "epochs"),
        Metric("val_loss", "validation loss", "", "min", 4, "epochs"),
        Metric("train_loss", "training loss", "", "min", 4, "epochs"),
        Metric("parameters", "parameters", "", None, 0, "metrics"),
        Metric("trainable_parameters", "trainable parameters", "", None, 0, "metrics"),
    )
}
"""Every metric of this version by name."""

LATER = ("macs",)
"""Metrics that the design names and this version does not measure: refused by name."""
