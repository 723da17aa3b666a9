"""Footnotes that say what facts and measurements are, and how they were made."""

from collections.abc import Iterator

from tinyablate.sweep import metrics
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.schema import Note
from tinyablate.tables.words import capital

FACTS = {
    "parameters": "parameters: of the model as it is trained, its new classifier included",
    "trainable_parameters": "trainable parameters: those that the optimizer changes",
    "macs": "MACs: multiply-adds of one forward pass of one image, in matrix products and convolutions",
    "layers": "layers: blocks over all stages, those of class attention included",
    "width": "width: channels of a token in the first stage",
    "checkpoint_bytes": "checkpoint: the model's weights and buffers, without the optimizer's state",
}
"""What is counted (`train.model.size`)."""

MEASURED = {
    "epoch_seconds": "epoch: its training images at the rate of training, validation not included",
    "relative_epoch_time": "",
    "train_images_per_second": "training: updates, the input pipeline included",
    "inference_images_per_second": "inference: passes as in evaluation, of images that lie on the device",
    "train_peak_memory": "peak memory: the most that tensors held at once while training, on a GPU",
}
"""What is timed (`train.measure`)."""


def about_metrics(sweep: Sweep, measured_on: str) -> Iterator[Note]:
    """What each fact counts; on which device and how speed was measured; what ratios are taken over."""
    known = [metrics.lookup(name) for name in sweep.metrics]
    if facts := [FACTS[metric.name] for metric in known if metric.source == "facts"]:
        yield Note(f"{capital('; '.join(facts))}.")
    if timed := [MEASURED[metric.name] for metric in known if metric.source == "measured"]:
        device = measured_on or "the device of the run"
        alone = f"Measured on {device}, nothing else of its run beside it"
        how = f"{alone}: the median of up to three windows, {_setting(sweep)}"
        yield Note(f"{'; '.join([how, *filter(None, timed)])}.")
    if any(metric.source == "spent" for metric in known):
        yield Note(
            "Device-hours: wall time of every attempt at a trial, failed and interrupted ones included; that of trials "
            "computed together is divided equally among them."
        )
    for metric in known:
        if metric.relative_to:
            base = metrics.lookup(metric.relative_to)
            yield Note(
                f"{capital(metric.title)} ({metric.unit}): {base.title} ({base.unit}) of the row over that of the row "
                f"it is compared with, seed by seed [95 % t interval of the mean]{_alone(sweep)}."
            )


def _alone(sweep: Sweep) -> str:
    """What stands for the ratio where rows have no seed in common."""
    pairs = ((row, sweep.rows[row.reference]) for row in sweep.rows if row.reference is not None)
    if all(set(row.seeds) & set(other.seeds) for row, other in pairs):
        return ""
    return "; a row without a seed in common over the other's mean, without an interval"


def _setting(sweep: Sweep) -> str:
    """Every batch size and precision of its recipes."""
    sizes = sorted({cell.recipe.batch.size for cell in sweep.cells})
    train = sorted({cell.recipe.precision for cell in sweep.cells})
    inference = sorted({cell.recipe.evaluate.precision for cell in sweep.cells})
    apart = "" if train == inference else f" in training, {', '.join(inference)} in inference"
    return f"batches of {', '.join(map(str, sizes))} images, {', '.join(train)}{apart}"
