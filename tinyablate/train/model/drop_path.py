"""Stochastic depth whose draws are keyed by seed, step, layer's name and the sample's place in the batch.

timm draws them from the global generator in the order of the forward pass, so there they depend on the micro-batch and
on every other layer. This module replaces timm's layers in place; which layers exist, and their rates, timm decides.
"""

import numpy as np
import torch
from timm.layers.drop import DropPath
from torch import nn

from tinyablate.train.randomness import stream_key, table_uniform

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


class DropPathStreams:
    """Replaces every active DropPath of `module` and draws for all of them at once.

    Before each forward pass in training mode: `draw` for a new update (the whole batch is selected), or `window` for
    the next micro-batch. Each serves one pass; a second one raises RuntimeError, so no draw is ever used twice.
    """

    def __init__(self, module: nn.Module) -> None:
        found = [
            (name, layer)
            for name, layer in module.named_modules(remove_duplicate=False)
            if isinstance(layer, DropPath) and layer.drop_prob  # rate 0 is the identity as it is
        ]
        self.layers = [KeyedDropPath(old.drop_prob, old.scale_by_keep, index) for index, (_, old) in enumerate(found)]
        for (name, old), layer in zip(found, self.layers, strict=True):
            parent, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(parent), attribute, layer.train(old.training))
        names = [[stream_key(0, name, call) for call in range(MOST_CALLS)] for name, _ in found]
        self._names = np.array(names, dtype=np.uint64).reshape(len(found), MOST_CALLS)
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
        self._scales = torch.from_numpy(scales).to(device)
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
