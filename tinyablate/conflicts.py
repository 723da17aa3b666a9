"""Combinations of recipe fields that make no sense together, each value being valid alone. It builds no recipe."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tinyablate import policies
from tinyablate.datasets import parse_split

if TYPE_CHECKING:
    from tinyablate.recipe import Recipe

LEAST_ALPHA = 1e-6
"""Below it Beta(alpha, alpha) is 0 or 1 to the last bit, and soon not a number."""


def conflicts(recipe: "Recipe") -> Iterator[tuple[str, object, str]]:
    """(dotted path, value, rule) of everything in `recipe` that contradicts the rest of it."""
    if not recipe.model.name:
        yield "model.name", "", "missing: name a timm model"
    for name in ("mixup_alpha", "cutmix_alpha"):
        if 0 < getattr(recipe.mix, name) < LEAST_ALPHA:
            yield f"mix.{name}", getattr(recipe.mix, name), f"must be 0 (off) or at least {LEAST_ALPHA:g}"
    if recipe.augment.crop == "pad" and recipe.augment.crop_padding == 0:
        yield "augment.crop_padding", 0, "nothing is left to crop: that is augment.crop = 'resize'"
    if recipe.mix.on and recipe.batch.size % 2:
        yield "batch.size", recipe.batch.size, "Mixup and CutMix pair the images of a batch: it must be even"
    yield from _optimizer_conflicts(recipe)
    if recipe.batch.size % recipe.batch.accumulation:
        rule = f"must divide batch.size = {recipe.batch.size} into equal parts"
        yield "batch.accumulation", recipe.batch.accumulation, rule
    if recipe.ema.warmup and recipe.ema.decay == 0:
        yield "ema.warmup", True, "needs ema.decay above 0"
    model = recipe.model
    if model.distilled_heads == "both" and (model.trainable, model.backbone_mode) == ("all", "eval"):
        yield "model.distilled_heads", "both", "needs model.backbone_mode = 'train': timm's heads are apart only there"
    if model.drop_path_rule != "model" and model.drop_path == 0:
        yield "model.drop_path_rule", model.drop_path_rule, "needs model.drop_path above 0"
    if recipe.schedule.warmup_epochs > recipe.schedule.epochs:
        yield "schedule.warmup_epochs", recipe.schedule.warmup_epochs, "is longer than schedule.epochs"
    if recipe.schedule.per == "epoch" and recipe.schedule.warmup_epochs > 0 and recipe.schedule.warmup_lr == 0:
        yield "schedule.warmup_lr", 0.0, "must be above 0 with schedule.per = 'epoch': it is the first epoch's rate"
    if recipe.schedule.warmup_lr > recipe.optimizer.lr:
        yield "schedule.warmup_lr", recipe.schedule.warmup_lr, "is above optimizer.lr"
    if recipe.schedule.min_lr > recipe.optimizer.lr:
        yield "schedule.min_lr", recipe.schedule.min_lr, "is above optimizer.lr"
    yield from _data_conflicts(recipe)
    for path in ("augment.erase_area", "augment.erase_ratio", "augment.crop_scale", "augment.crop_ratio"):
        low, high = getattr(recipe.augment, path.split(".")[1])
        if low > high:
            yield path, (low, high), "the first value must not exceed the second"


def _optimizer_conflicts(recipe: "Recipe") -> Iterator[tuple[str, object, str]]:
    """What the optimizer cannot do, or would silently ignore."""
    optimizer = recipe.optimizer
    if optimizer.nesterov and optimizer.name != "sgd":
        yield "optimizer.nesterov", True, "needs optimizer.name = 'sgd'"
    if optimizer.nesterov and optimizer.momentum == 0:
        yield "optimizer.nesterov", True, "needs optimizer.momentum above 0"
    if optimizer.decay_times == "schedule" and optimizer.name != "adamw":
        yield "optimizer.decay_times", "schedule", "needs optimizer.name = 'adamw', whose decay is decoupled"
    if optimizer.perturbation != "none" and optimizer.name == "lamb":
        rule = "LAMB scales each layer's step itself; valid with optimizer.name = 'adamw' or 'sgd'"
        yield "optimizer.perturbation", optimizer.perturbation, rule
    if optimizer.layer_decay < 1 and recipe.model.trainable == "head":
        yield "optimizer.layer_decay", optimizer.layer_decay, "needs model.trainable = 'all': one layer is trained"


def _data_conflicts(recipe: "Recipe") -> Iterator[tuple[str, object, str]]:
    """What is wrong with the images that are trained on and evaluated, and with the policy's name."""
    parts = {}
    for path, text in (("data.split", recipe.data.split), ("evaluate.split", recipe.evaluate.split)):
        try:
            parts[path] = parse_split(text)
        except ValueError as error:
            yield path, text, str(error)
    try:
        policies.parse(recipe.augment.policy)
    except ValueError as error:
        yield "augment.policy", recipe.augment.policy, str(error)
    if len(parts) < 2:
        return
    if parts["data.split"].base != "train":
        yield "data.split", recipe.data.split, "training takes 'train' or a part of it, such as 'train[:99%]'"
    elif parts["data.split"].overlaps(parts["evaluate.split"]):
        rule = f"overlaps data.split = {recipe.data.split!r}: images that are trained on cannot be held out"
        yield "evaluate.split", recipe.evaluate.split, rule
