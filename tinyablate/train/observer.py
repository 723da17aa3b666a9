"""What only watches a learner: its weights as they are or an average of them, and one trial's results.

Nothing here may change what is trained.
"""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from tinyablate.job import EpochResult, TrialTask
from tinyablate.recipe import Evaluate
from tinyablate.train.learner import Learner, changing_tensors, copy_tensors


class Average:
    """Exponential moving average of the tensors that training changes, in a copy of the model; integers are copied.

    After every update: average = decay * average + (1 - decay) * current (Polyak & Juditsky 1992, Tarvainen & Valpola
    2017).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        frozen = {id(parameter): parameter for parameter in module.parameters() if not parameter.requires_grad}
        self.module = copy.deepcopy(module, frozen)  # frozen parameters are shared, not copied
        self.tensors, current = changing_tensors(self.module), changing_tensors(module)
        floating = [name for name, tensor in current.items() if tensor.is_floating_point()]
        self._average, self._current = [self.tensors[n] for n in floating], [current[n] for n in floating]
        self._copied = [(self.tensors[n], current[n]) for n in current.keys() - set(floating)]
        self._decay = decay

    def follow(self) -> None:
        """Take in the model's tensors as they are after an update."""
        # lerp: what never changes (a constant buffer) stays bit-equal, as decay * x + (1 - decay) * x would not.
        torch._foreach_lerp_(self._average, self._current, 1 - self._decay)
        for average, current in self._copied:
            average.copy_(current)


class Observer:
    """One trial of the job: evaluates the learner's raw weights, or their average where its recipe has `ema.decay`."""

    def __init__(self, task: TrialTask, learner: Learner) -> None:
        self.task = task
        self.results: list[EpochResult] = []
        decay = task.recipe.ema.decay
        self._average = Average(learner.module, decay) if decay > 0 else None
        self._module = learner.module if self._average is None else self._average.module

    @property
    def setting(self) -> Evaluate:
        """How it wants images to be shown."""
        return self.task.recipe.evaluate

    @property
    def kind(self) -> Literal["raw", "ema"]:
        """`raw` or `ema`."""
        return "raw" if self._average is None else "ema"

    def follow(self) -> None:
        """To be called after every update."""
        if self._average is not None:
            self._average.follow()

    def model(self) -> nn.Module:
        """What this observer evaluates, in evaluation mode until the learner's mode is set again."""
        # Through training mode: some timm models (LeViT) keep a cache of their weights until they are trained again.
        return self._module.train().eval()

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside the learner's state."""
        return {} if self._average is None else self._average.tensors

    def restore(self, state: dict[str, Tensor], results: list[EpochResult]) -> None:
        """Continue from what a checkpoint kept."""
        if self._average is not None:
            copy_tensors(state, self._average.tensors)
        self.results = list(results)
