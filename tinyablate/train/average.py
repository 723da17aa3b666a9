"""The exponential moving average of what training changes. It watches; nothing here changes what is trained."""

import copy
import math

import torch
from torch import nn

from tinyablate import recipe
from tinyablate.train.learner import changing_tensors


class Average:
    """Exponential moving average of the tensors that training changes, in a copy of the model; integers are copied.

    After every update: average = decay * average + (1 - decay) * current (Polyak & Juditsky 1992, Tarvainen & Valpola
    2017), from the initial weights.
    """

    def __init__(self, module: nn.Module, ema: recipe.Ema) -> None:
        """Begins as a copy of `module`; frozen parameters are shared with it."""
        frozen = {id(parameter): parameter for parameter in module.parameters() if not parameter.requires_grad}
        self.module = copy.deepcopy(module, frozen)
        self.tensors, current = changing_tensors(self.module), changing_tensors(module)
        floating = [name for name, tensor in current.items() if tensor.is_floating_point()]
        self._average, self._current = [self.tensors[n] for n in floating], [current[n] for n in floating]
        self._copied = [(self.tensors[n], current[n]) for n in current.keys() - set(floating)]
        self._ema = ema

    def follow(self, update: int) -> None:
        """Take in the model's tensors as they are after the update number `update`, counted from 0."""
        # lerp: what never changes (a constant buffer) stays bit-equal, as decay * x + (1 - decay) * x would not.
        torch._foreach_lerp_(self._average, self._current, 1 - decay_at(self._ema, update))
        for average, current in self._copied:
            average.copy_(current)


def decay_at(ema: recipe.Ema, update: int) -> float:
    """The decay after the update number `update`, counted from 0.

    With `warmup` min(decay, 1 - (1 + update)^(-2/3)): 0 after the first update, which the average so takes over whole,
    then 0.37, 0.52, ... That is timm 1.0.31's ModelEmaV3 with `use_warmup` and its defaults, whose steps count from 1.
    """
    if not ema.warmup:
        return ema.decay
    return min(ema.decay, 1 - math.pow(1 + update, -2 / 3))
