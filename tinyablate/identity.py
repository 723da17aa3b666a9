"""The recipe's identity: what makes two recipes one variant, and a variant under a seed one trial.

A field's default never changes without a new CORE_VERSION, and a new field's default is the old behaviour, so that a
later field re-keys no stored trial (see `canonical`).
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from tinyablate import policies
from tinyablate.datasets import canonical_split
from tinyablate.errors import RecipeError
from tinyablate.recipe import (
    Batch,
    Ema,
    Evaluate,
    Loss,
    Optimizer,
    Recipe,
    Schedule,
    Value,
    build,
    field_specs,
    flatten,
)

CORE_VERSION = 2
"""Version of the numbers that `train/` computes. A change that alters any result raises it; older results are stale.

2: images are resized in PIL's own fixed-point weights, so that no pixel is rounded otherwise (1 in 1,000 at 96 px was).
"""


def normal(value: Value) -> Any:
    """`value` as identity sees it: 1 and 1.0 are one value, tuples are lists. Raises RecipeError on nan, infinity."""
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [normal(item) for item in value]
    if not math.isfinite(value):
        raise RecipeError([("", value, "must be a finite number")])
    return int(value) if float(value).is_integer() else value


SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "data.split": canonical_split,
    "evaluate.split": canonical_split,
    "augment.policy": policies.canonical,
}
"""Fields whose text is a small language, in which one thing can be said in several ways."""


def spelled(path: str, value: Value) -> Value:
    """The value of the field at `path` in its one spelling. Raises ValueError with the rule that the text breaks."""
    return SPELLINGS[path](value) if path in SPELLINGS and isinstance(value, str) else value


@functools.cache
def _normal_defaults() -> dict[str, Any]:
    return {path: normal(spec.default) for path, spec in field_specs().items()}


def trunk(recipe: Recipe) -> Recipe:
    """The recipe without what only observes (ema, evaluate): equal trunks under one seed are one training run."""
    return dataclasses.replace(recipe, ema=Ema(), evaluate=Evaluate())


def heads(recipe: Recipe) -> Recipe:
    """The recipe without what concerns only a classifier on a frozen trunk: equal ones share the trunk's passes.

    Left out are observers, optimizer, schedule, smoothing and the division of the loss (design: jobs, heads).
    """
    return dataclasses.replace(
        trunk(recipe),
        optimizer=Optimizer(),
        schedule=Schedule(),
        loss=Loss(),
        batch=Batch(size=recipe.batch.size),
    )


def inert(recipe: Recipe) -> set[str]:
    """Paths of the fields that cannot change a number as the others stand, such as SGD's momentum under AdamW."""
    off: set[str] = set()
    off |= _inert_mix(recipe)
    off |= _inert_augment(recipe)
    if recipe.evaluate.crop != "center":
        off.add("evaluate.crop_pct")
    off |= _inert_optimizer(recipe.optimizer)
    if recipe.model.backbone_mode == "eval":  # nothing is drawn that could be drawn anew
        off.add("optimizer.second_draw")
    if recipe.schedule.warmup_epochs == 0:
        off.add("schedule.warmup_lr")
    if recipe.schedule.name == "constant":
        off.add("schedule.min_lr")
        if recipe.schedule.warmup_epochs == 0:
            off.add("schedule.per")
    if recipe.batch.divide_loss or recipe.batch.accumulation == 1:
        off |= {"batch.accumulation", "batch.divide_loss"}
    if recipe.model.drop_path == 0:
        off.add("model.drop_path_rule")
    if recipe.ema.decay == 0:
        off.add("ema.warmup")
    return off


def _inert_optimizer(optimizer: Optimizer) -> set[str]:
    """Fields of `optimizer` that cannot change a number as the others stand."""
    off = {"sgd": {"betas", "eps"}}.get(optimizer.name, {"momentum", "nesterov"})
    if optimizer.weight_decay == 0:
        off |= {"decay", "decay_times"}
    if optimizer.perturbation == "none":
        off |= {"rho", "asam_eta", "second_draw"}
    elif optimizer.perturbation != "asam":
        off |= {"asam_eta"} | ({"rho"} if optimizer.perturbation == "pugd" else set())
    return {f"optimizer.{name}" for name in off}


def _inert_mix(recipe: Recipe) -> set[str]:
    """Fields of `mix` that cannot change a number as the others stand."""
    mix = recipe.mix
    if not mix.on:
        return {f"mix.{field.name}" for field in dataclasses.fields(mix)}
    if mix.mixup_alpha and mix.cutmix_alpha:
        return {"mix.keep_rate"}
    return set() if mix.keep_rate else {"mix.switch_prob"}


def _inert_augment(recipe: Recipe) -> set[str]:
    """Fields of `augment` that cannot change a number as the others stand."""
    augment = recipe.augment
    off: set[str] = set()
    if augment.erase_prob == 0:
        off |= {f"augment.erase_{name}" for name in ("mode", "area", "ratio", "order", "count")}
    elif not recipe.mix.on:
        off.add("augment.erase_order")
    if augment.crop != "rrc":
        off |= {"augment.crop_scale", "augment.crop_ratio"}
    if augment.crop not in ("src", "pad"):
        off |= {"augment.crop_padding", "augment.crop_padding_mode"}
    elif augment.crop_padding == 0:
        off.add("augment.crop_padding_mode")
    if augment.crop != "center":
        off.add("augment.crop_pct")
    if policies.canonical(augment.policy) == "none" and augment.color_jitter == 0:
        off.add("augment.at")
    return off


def canonical(recipe: Recipe) -> str:
    """The recipe as the JSON text that identity is computed from.

    Fields equal to their default are left out, and so are those that cannot change a number (`inert`): what computes
    the same numbers is one trial. Numbers are normal (`normal`), keys sorted.
    """
    defaults, specs = _normal_defaults(), field_specs()
    changed = {path: raw for path, raw in flatten(recipe).items() if raw != specs[path].default}  # cheap: most are not
    live = changed.keys() - inert(recipe)
    values = {path: normal(spelled(path, raw)) for path, raw in changed.items() if path in live}
    kept = {path: value for path, value in values.items() if value != defaults[path]}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def from_canonical(text: str) -> Recipe:
    """The Recipe that `canonical` wrote as `text`."""
    return build({path: _frozen(value) for path, value in json.loads(text).items()})


def _frozen(value: Any) -> Value:
    """JSON's lists as the tuples that recipes hold, at any depth."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if isinstance(value, dict) else value


def trial_key(canonical_recipe: str, seed: int, fingerprint: str, measured_on: str = "") -> str:
    """A trial's identity: 32 hexadecimal digits of sha256 over canonical recipe, seed and data fingerprint.

    A trial that measures speed (kind `measure`) has the device's name `measured_on` in it too.
    """
    measured = f'"measured_on":{json.dumps(measured_on)},' if measured_on else ""
    text = f'{{"data":"{fingerprint}",{measured}"recipe":{canonical_recipe},"seed":{seed}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def variant_key(canonical_recipe: str) -> str:
    """A variant's identity: 32 hexadecimal digits of sha256 over its canonical recipe."""
    return hashlib.sha256(canonical_recipe.encode()).hexdigest()[:32]


def differences(recipe: Recipe, baseline: Recipe) -> dict[str, tuple[Value, Value]]:
    """Path -> (baseline's value, recipe's value) for every leaf in which they differ."""
    mine, theirs = flatten(recipe), flatten(baseline)
    return {path: (theirs[path], mine[path]) for path in mine if normal(mine[path]) != normal(theirs[path])}
