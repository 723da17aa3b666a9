"""The optimizer of a recipe and its learning rate at every update."""

import fnmatch
import math
from collections.abc import Callable, Iterable

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from tinyablate import recipe as recipes


def build_optimizer(recipe: recipes.Optimizer, module: nn.Module, *, fused: bool) -> Optimizer:
    """torch's AdamW or SGD over the parameters of `module` that require a gradient, at the peak learning rate."""
    groups = parameter_groups(module, recipe.decay, recipe.weight_decay)
    if recipe.name == "adamw":
        return AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, fused=fused)
    return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=fused)


def parameter_groups(module: nn.Module, decay: str, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters by their weight decay.

    `all`: one group. `timm`: no decay for one-dimensional parameters, biases and what `module.no_weight_decay()` names
    (patterns, as in timm).
    """
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    if decay == "all":
        return [{"params": [parameter for _, parameter in trained], "weight_decay": weight_decay}]
    listed: Callable[[], Iterable[str]] = getattr(module, "no_weight_decay", tuple)
    exempt = ["*.bias", *listed()]
    split: tuple[list[nn.Parameter], list[nn.Parameter]] = [], []
    for name, parameter in trained:
        spared = parameter.ndim <= 1 or any(fnmatch.fnmatch(name, pattern) for pattern in exempt)
        split[spared].append(parameter)
    return [
        {"params": parameters, "weight_decay": amount}
        for parameters, amount in zip(split, (weight_decay, 0.0), strict=True)
        if parameters
    ]


def learning_rate(recipe: recipes.Recipe, update: int, steps: int) -> float:
    """Learning rate of the update number `update` (from 0) in a training of `steps` updates an epoch.

    Linear from `warmup_lr` to `lr` over round(warmup_epochs * steps) updates; then constant, or half a cosine to
    `min_lr` over those that remain: torch's CosineAnnealingLR (Loshchilov & Hutter 2017, without restarts).
    """
    schedule, peak = recipe.schedule, recipe.optimizer.lr
    warmup = round(schedule.warmup_epochs * steps)
    if update < warmup:
        return schedule.warmup_lr + (peak - schedule.warmup_lr) * update / warmup
    if schedule.name == "constant":
        return peak
    done = (update - warmup) / (schedule.epochs * steps - warmup)
    return schedule.min_lr + (peak - schedule.min_lr) * (1 + math.cos(math.pi * done)) / 2
