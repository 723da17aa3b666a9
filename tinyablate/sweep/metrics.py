"""The metrics that a sweep may name; it computes none of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Source = Literal["epochs", "facts", "measured", "spent"]


@dataclass(frozen=True)
class Metric:
    """One number that a trial yields, and how a table shows it."""

    name: str
    title: str
    """Heading of its column."""
    unit: str
    """`%`, `G`, `MiB`, `s`, `h`, `/s`, `x`, or empty."""
    better: Literal["max", "min"] | None
    """Which end is good; None where neither is, as with a count."""
    digits: int
    """Digits after the decimal point in a table."""
    source: Source
    """`epochs`: a value per epoch of a training. `facts`: known of the model, by trials of either kind. `measured`: by
    trials of kind `measure`, which have the device to themselves. `spent`: what a trial's attempts took."""
    scale: float = 1.0
    """What the store's number is multiplied by to be in `unit`. Published numbers are in `unit`."""
    epoch: int | None = None
    """Of `epochs` metrics: this epoch's value (`val_top1@3`) instead of the one that `select` chooses."""
    relative_to: str = ""
    """The metric that this one is the ratio of: the row's value over that of the row it is compared with."""

    @property
    def heading(self) -> str:
        """The title with the unit: `top-1 (%)`."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def compared(self) -> bool:
        """Whether chance moves its differences between rows, so that they have intervals of several kinds.

        Facts of a model are no matter of chance, and a ratio is a comparison by itself.
        """
        return self.source in ("epochs", "measured") and not self.relative_to

    @property
    def tested(self) -> bool:
        """Whether its differences get a p and a verdict: only where seeds are the replicates, as in trainings."""
        return self.source == "epochs"

    @property
    def cross_fits(self) -> bool:
        """Whether it has a value where the epoch is cross-fitted; what no rule chooses has the same under each."""
        return self.source != "epochs" or self.epoch is not None or self.name == "val_top1"


KNOWN = {
    metric.name: metric
    for metric in (
        Metric("val_top1", "top-1", "%", "max", 2, "epochs"),
        Metric("val_top5", "top-5", "%", "max", 2, "epochs"),
        Metric("val_loss", "validation loss", "", "min", 4, "epochs"),
        Metric("train_loss", "training loss", "", "min", 4, "epochs"),
        Metric("parameters", "parameters", "", None, 0, "facts"),
        Metric("trainable_parameters", "trainable parameters", "", None, 0, "facts"),
        Metric("macs", "MACs", "G", None, 2, "facts", 1e-9),
        Metric("layers", "layers", "", None, 0, "facts"),
        Metric("width", "width", "", None, 0, "facts"),
        Metric("checkpoint_bytes", "checkpoint", "MiB", None, 1, "facts", 1 / 2**20),
        Metric("epoch_seconds", "epoch", "s", "min", 1, "measured"),
        Metric("relative_epoch_time", "epoch time", "x", "min", 2, "measured", relative_to="epoch_seconds"),
        Metric("train_images_per_second", "training", "/s", "max", 1, "measured"),
        Metric("inference_images_per_second", "inference", "/s", "max", 1, "measured"),
        Metric("train_peak_memory", "peak memory", "MiB", "min", 0, "measured", 1 / 2**20),
        Metric("device_hours", "device-hours", "h", None, 2, "spent"),
    )
}
"""Every metric of this version by name."""


def lookup(name: str) -> Metric:
    """The metric called `name`; `val_top1@3` is `val_top1` after epoch 3. Raises KeyError."""
    base, at, digits = name.partition("@")
    metric = KNOWN[base]
    if not at:
        return metric
    epoch = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else 0
    if metric.source != "epochs" or epoch < 1 or digits != str(epoch):
        raise KeyError(name)
    return replace(metric, name=name, title=f"{metric.title} @{epoch}", epoch=epoch)


def is_known(name: str) -> bool:
    """Whether `lookup` finds it."""
    try:
        lookup(name)
    except KeyError:
        return False
    return True


def tested(names: Sequence[str]) -> int | None:
    """Index of the first metric whose differences between rows get a p; None if there is none."""
    return next((at for at, name in enumerate(names) if lookup(name).tested), None)
