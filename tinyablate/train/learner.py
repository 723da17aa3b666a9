"""What is trained inside a job: parameters, their optimizer, learning rate and loss, one update at a time.

It knows neither data nor evaluation, nothing that watches it, and not whether its inputs are images or features.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tinyablate.recipe import Recipe
from tinyablate.train import device as devices
from tinyablate.train.backbone import Passes
from tinyablate.train.loss import training_loss
from tinyablate.train.optim import build_optimizer, clip, set_rate
from tinyablate.train.perturb import perturbation_of
from tinyablate.train.schedule import learning_rate


class Learner:
    """A model, or a head of one, under training. Its updates are numbered from 0 over the whole training."""

    def __init__(self, recipe: Recipe, module: nn.Module, *, device: torch.device, steps: int) -> None:
        """`module` gives scores [n, K] of what `Passes` has for it; `steps` is the number of updates an epoch."""
        self.module = module.to(device)
        self.parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        self.optimizer = build_optimizer(recipe.optimizer, self.module, fused=devices.fused_optimizer(device.type))
        self._perturbation = perturbation_of(recipe.optimizer, self.parameters)
        self._undivided = 1 if recipe.batch.divide_loss else recipe.batch.accumulation
        self.recipe, self._device, self._steps = recipe, device, steps

    @property
    def epochs(self) -> int:
        """Epochs that it is trained for."""
        return self.recipe.schedule.total_epochs

    def rate(self, number: int) -> float:
        """Learning rate of the update `number`."""
        return learning_rate(self.recipe, number, self._steps)

    def update(self, passes: Passes, number: int) -> Tensor:
        """One step of the optimizer. Returns the batch's mean loss, a scalar on the device: reading it may wait."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.backward(passes)
        if self._perturbation is not None:
            self._perturbation.ascend()
            self.backward(passes, int(self.recipe.optimizer.second_draw))
            self._perturbation.descend()
        clip(self.parameters, self.recipe.optimizer.clip_norm)
        set_rate(self.optimizer, self.rate(number))
        self.optimizer.step()
        return loss

    def backward(self, passes: Passes, draw: int = 0) -> Tensor:
        """Add the gradient of the batch's mean loss, times what code that divides too little makes of it.

        Returns that mean loss.
        """
        targets = passes.batch.targets(self.recipe.loss.smoothing)
        total = torch.zeros((), dtype=targets.dtype, device=self._device)
        for inputs, window in passes.parts(draw):
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
                scores = self.module(inputs)
            loss = training_loss(scores, targets[window]).sum() / len(targets)
            (loss if self._undivided == 1 else loss * self._undivided).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def state(self) -> dict[str, Any]:
        """All that a later process needs to continue, as tensors, numbers, lists and dicts."""
        return {"tensors": changing_tensors(self.module), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Become the learner whose `state` this was. Raises KeyError or RuntimeError if it was another model's."""
        copy_tensors(state["tensors"], changing_tensors(self.module))
        self.optimizer.load_state_dict(state["optimizer"])


def changing_tensors(module: nn.Module) -> dict[str, Tensor]:
    """What training changes, by name and shared with `module`: trained parameters and the buffers of its state."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in module.state_dict().items() if name not in frozen}


def copy_tensors(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Overwrite every tensor of `target` with the one of that name in `source`."""
    for name, tensor in target.items():
        tensor.copy_(source[name])
