"""From recipes and outcomes to rows of the tables. Pure: no connection, no time."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from tinyablate.job import EpochResult, Outcome
from tinyablate.recipe import Recipe, flatten
from tinyablate.store import schema


def recipe_columns(recipe: Recipe) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return json.dumps(value) if isinstance(value, (tuple, dict)) else value

    return {schema.column_name(path): plain(value) for path, value in flatten(recipe).items()}


def finite(value: float | None) -> float | None:
    """SQL has no nan: a loss that is not finite is NULL (the outcome's state says diverged)."""
    return value if value is not None and math.isfinite(value) else None


def _fact(name: str, value: float) -> float | None:
    """The value as its column holds it: counts and bytes are whole numbers."""
    known = finite(value)
    return round(known) if known is not None and schema.FACTS[name] is sa.Integer else known


_MEASURED = ("val_top1", "val_top5", "val_loss", "train_loss")


def best_epoch(epochs: Sequence[EpochResult]) -> EpochResult:
    """The epoch with the highest top-1; of several, the earliest."""
    return max(epochs, key=lambda epoch: (epoch.val_top1, -epoch.epoch))


def outcome_columns(outcome: Outcome) -> dict[str, Any]:
    """The row of `outcomes`: numbers under every rule of selection, whatever a table will select."""
    from tinyablate.store.cross_fit import cross_fitted  # numpy

    values: dict[str, Any] = {
        "state": outcome.state,
        "epochs": len(outcome.epochs),
        "diverged_epoch": outcome.diverged_epoch,
        **{name: _fact(name, value) for name, value in outcome.metrics if name in schema.FACTS},
    }
    if outcome.epochs:
        best, last = best_epoch(outcome.epochs), outcome.epochs[-1]
        values |= {"observer": last.observer, "best_epoch": best.epoch}
        values |= {f"best_{name}": finite(getattr(best, name)) for name in _MEASURED}
        values |= {f"last_{name}": finite(getattr(last, name)) for name in _MEASURED}
        bits, top1 = zip(*((epoch.correct, epoch.val_top1) for epoch in outcome.epochs), strict=True)
        values["cross_fitted_val_top1"] = cross_fitted(bits, top1)
    return values


def result_rows(outcome: Outcome) -> list[tuple[sa.Table, list[dict[str, Any]]]]:
    numbers = ("lr", "train_loss", "val_loss", "val_top1", "val_top5", "seconds", "images_per_second")
    at = [{"observer": epoch.observer, "epoch": epoch.epoch} for epoch in outcome.epochs]
    observer = outcome.epochs[-1].observer if outcome.epochs else "raw"
    return [
        (schema.epochs, [
            {**place, **{name: finite(getattr(epoch, name)) for name in numbers}}
            for place, epoch in zip(at, outcome.epochs, strict=True)
        ]),
        (schema.correctness, [
            {**place, "bits": epoch.correct} for place, epoch in zip(at, outcome.epochs, strict=True) if epoch.correct
        ]),
        (schema.metrics, [
            {"observer": observer, "epoch": len(outcome.epochs), "name": name, "value": finite(value)}
            for name, value in outcome.metrics
        ]),
        (schema.artefacts, [asdict(file) for file in outcome.files]),
    ]  # fmt: skip
