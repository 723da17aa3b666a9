"""The parameter groups of an optimizer: which parameters decay, and what share of the learning rate each has.

It builds no optimizer; that is `optim`'s.
"""

import fnmatch
from collections.abc import Callable, Iterable
from typing import Any

from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import nn
from torch.nn.modules.conv import _ConvNd

from tinyablate import recipe
from tinyablate.errors import RecipeError

Group = dict[str, Any]
"""A parameter group as torch's optimizers take it: `params`, `lr` (its peak), `lr_scale`, `weight_decay`."""


def parameter_groups(module: nn.Module, optimizer: recipe.Optimizer) -> list[Group]:
    """The trained parameters of `module`, grouped by weight decay and share of the learning rate (`lr_scale`).

    `optimizer.decay`: `all` spares none; `timm` spares one-dimensional parameters, biases and what
    `module.no_weight_decay()` names (patterns), as timm 1.0.31's `param_groups_weight_decay`; `kernels` spares all but
    the weights of linear and convolutional layers (big_vision's `wd_mults`, ".*/kernel$").
    `optimizer.layer_decay`: timm's shares, see `layer_scales`.
    `optimizer.decay_times`: torch's AdamW takes lr * weight_decay of a weight. big_vision adds the decay after the
    learning rate and its multipliers, in front of the schedule (`big_vision/optax.py`, `make`); dividing by the group's
    own peak rate does the same.

    Raises RecipeError where `layer_decay` would change nothing.
    """
    spared = _spared(module, optimizer.decay)
    scales = layer_scales(module, optimizer.layer_decay)
    members: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            members.setdefault((spared(name, parameter), scales.get(name, 1.0)), []).append(parameter)
    ordered = sorted(members.items(), key=lambda item: item[0])  # those that decay first, the lowest rates first
    return [_group(optimizer, parameters, exempt, scale) for (exempt, scale), parameters in ordered]


def layer_scales(module: nn.Module, layer_decay: float) -> dict[str, float]:
    """Each trained parameter's share of the learning rate by name: `layer_decay` ** (number of layers above it).

    Layers are those of timm's `param_groups_layer_decay` (BEiT's rule, Bao et al. 2022): the stem, each block, the head
    with all that belongs to no block; the head's share is 1. Empty where `layer_decay` is 1. Raises RecipeError where
    timm sees only one layer.
    """
    if layer_decay == 1:
        return {}
    shares = {
        id(parameter): float(group["lr_scale"])
        for group in param_groups_layer_decay(module, layer_decay=layer_decay)
        for parameter in group["params"]
    }
    if set(shares.values()) <= {1.0}:
        raise RecipeError(
            [("optimizer.layer_decay", layer_decay, "changes nothing: timm sees one layer in this model")]
        )
    return {name: shares[id(parameter)] for name, parameter in module.named_parameters() if id(parameter) in shares}


def _group(optimizer: recipe.Optimizer, parameters: list[nn.Parameter], exempt: bool, scale: float) -> Group:
    peak = optimizer.lr * scale
    decay = 0.0 if exempt else optimizer.weight_decay
    if optimizer.decay_times == "schedule":
        decay /= peak
    return {"params": parameters, "lr": peak, "lr_scale": scale, "weight_decay": decay}


def _spared(module: nn.Module, decay: str) -> Callable[[str, nn.Parameter], bool]:
    """Whether weight decay spares the parameter of this name."""
    if decay == "all":
        return lambda name, parameter: False
    if decay == "kernels":
        kernels = {
            f"{name}.weight" if name else "weight"
            for name, layer in module.named_modules()
            if isinstance(layer, (nn.Linear, _ConvNd))
        }
        return lambda name, parameter: name not in kernels
    listed: Callable[[], Iterable[str]] = getattr(module, "no_weight_decay", tuple)
    patterns = ["*.bias", *listed()]
    return lambda name, parameter: parameter.ndim <= 1 or any(fnmatch.fnmatch(name, p) for p in patterns)
