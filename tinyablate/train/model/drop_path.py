"""Stochastic depth whose draws are keyed by seed, step, layer's name and the sample's place in the batch.

timm draws them from the global generator in the order of the forward pass, so there they depend on the micro-batch and
on every other layer. This module replaces timm's layers in place; which there are timm decides, and their rates unless
a rule is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from timm.layers.drop import DropPath, calculate_drop_path_rates
from torch import nn

from tinyablate.train.randomness import stream_key, table_uniform
from tinyablate.train.transfer import send

MOST_CALLS = 8
"""How often a layer may act in a forward pass: once in Swin, twice in CaiT (attention and MLP share it), 6 in CoaT."""


class KeyedDropPath(nn.Module):
    """timm's DropPath with the draws made beforehand by `DropPathStreams`; the identity in eval mode."""

    scales: torch.Tensor | None

    def __init__(self, drop_prob: float, scale_by_keep: bool, layer_index: int) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.scale_by_keep = scale_by_keep
        self.layer_index = layer_index
        self.scales = None  # [calls in a forward pass, samples]
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` [batch, ...] with each sample times 0 or 1 / keep. Raises RuntimeError without a fitting draw."""
        if not self.training:
            return x
        if self.scales is None or self.calls >= len(self.scales):
            raise RuntimeError("drop-path in training mode without a draw for this forward pass")
        scale = self.scales[self.calls]
        if len(scale) != len(x):
            raise RuntimeError(f"drop-path was drawn for {len(scale)} samples and got {len(x)}")
        self.calls += 1
        return x * scale.to(x.dtype).view(-1, *(1,) * (x.ndim - 1))

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"drop_prob={self.drop_prob:0.3f}"


Rule = Literal["model", "linear", "constant"]
"""How the rate runs over depth: see `recipe.Model.drop_path_rule`."""


@dataclass(frozen=True)
class _Site:
    """A place in a model where paths are dropped."""

    name: str
    parent: nn.Module
    rate: float
    scale_by_keep: bool = True

    @property
    def attribute(self) -> str:
        """Its name in `parent`."""
        return self.name.rpartition(".")[2]


class DropPathStreams:
    """Replaces every active DropPath of `module` and draws for all of them at once.

    Before each forward pass in training mode: `draw` for a new update (the whole batch is selected), or `window` for
    the next micro-batch. Each serves one pass; a second one raises RuntimeError, so no draw is ever used twice.
    """

    def __init__(self, module: nn.Module, rule: Rule = "model", rate: float = 0.0) -> None:
        """`rule` "model" keeps the rates that `module` was made with; others spread `rate` over its blocks.

        "constant" gives it to every block; "linear" gives timm's `calculate_drop_path_rates`: 0 for the first block,
        `rate` for the last, equal steps between. Blocks count in the module's order; those that timm never drops
        (CaiT's two of class attention) do not count.
        """
        places = _active(module) if rule == "model" else _spread(module, rule, rate)
        for place in places:
            setattr(place.parent, place.attribute, nn.Identity())
        sites = [place for place in places if place.rate > 0]
        self.layers = [KeyedDropPath(site.rate, site.scale_by_keep, index) for index, site in enumerate(sites)]
        for site, layer in zip(sites, self.layers, strict=True):
            setattr(site.parent, site.attribute, layer.train(site.parent.training))
        names = [[stream_key(0, site.name, call) for call in range(MOST_CALLS)] for site in sites]
        self._names = np.array(names, dtype=np.uint64).reshape(len(sites), MOST_CALLS)
        drop = np.array([layer.drop_prob for layer in self.layers]).reshape(-1, 1, 1)
        scaled = np.array([layer.scale_by_keep for layer in self.layers], dtype=bool).reshape(-1, 1, 1)
        self._drop, self._kept = drop, np.where(scaled, 1 / (1 - drop), 1.0)
        self._calls = MOST_CALLS
        self._scales: torch.Tensor | None = None

    def draw(self, seed: int, step: int, batch: int, device: torch.device | str) -> None:
        """Draws update `step` for a batch of this many samples: one transfer to `device`, the whole batch selected."""
        if not self.layers:
            return
        self._learn_calls()
        names = self._names[:, : self._calls]
        uniform = table_uniform(stream_key(seed, "drop-path", step), names.ravel(), batch).reshape(*names.shape, batch)
        scales = np.where(uniform >= self._drop, self._kept, 0.0).astype(np.float32)
        self._scales = send(scales, torch.device(device))
        self.window(0, batch)

    def window(self, start: int, stop: int) -> None:
        """Selects samples `start` to `stop` of the batch: those of the next forward pass. Raises RuntimeError."""
        if not self.layers:
            return
        if self._scales is None:
            raise RuntimeError("drop-path: a window of a batch that was not drawn")
        self._learn_calls()
        for layer in self.layers:
            layer.scales = self._scales[layer.layer_index, : self._calls, start:stop]
            layer.calls = 0

    def _learn_calls(self) -> None:
        """After the first forward pass, no more draws than it used: values are keyed, so the number changes none."""
        self._calls = max(layer.calls for layer in self.layers) or self._calls


def _active(module: nn.Module) -> list[_Site]:
    """The places where `module` drops paths; rate 0 is the identity as it is."""
    return [
        _Site(name, module.get_submodule(name.rpartition(".")[0]), layer.drop_prob, layer.scale_by_keep)
        for name, layer in module.named_modules(remove_duplicate=False)
        if isinstance(layer, DropPath) and layer.drop_prob
    ]


def _spread(module: nn.Module, rule: Rule, rate: float) -> list[_Site]:
    """The places where `module` drops paths or would at another rate, with the rates of `rule`."""
    blocks = _blocks(module)
    rates: Sequence[Any] = calculate_drop_path_rates(rate, len(blocks)) if rule == "linear" else [rate] * len(blocks)
    return [_Site(name, parent, own) for (parent, names), own in zip(blocks, rates, strict=True) for name in names]


def _blocks(module: nn.Module) -> list[tuple[nn.Module, list[str]]]:
    """Every block with places to drop paths, in order, and the names of those places.

    Where its rate is 0 timm puts an Identity or None: those places are known by the class and attribute that other
    blocks have a DropPath at. They are the first of the network: a later block without one is not meant to have any.
    """
    active = _active(module)
    kinds = dict.fromkeys((type(site.parent), site.attribute) for site in active)
    dropping = {site.name for site in active}
    found: list[tuple[nn.Module, list[str]]] = []
    for name, parent in module.named_modules(remove_duplicate=False):
        places = [f"{name}.{a}".lstrip(".") for kind, a in kinds if type(parent) is kind and hasattr(parent, a)]
        own = [place for place in places if place in dropping]
        first = not any(dropping.intersection(names) for _, names in found)
        if own or (places and first):
            found.append((parent, own or places))
    return found
