"""What is trained inside a job: a model, its optimizer, learning rate and loss, one update at a time.

It knows neither data nor evaluation, and nothing that watches it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tinyablate.errors import RecipeError
from tinyablate.recipe import Recipe
from tinyablate.train import device as devices
from tinyablate.train.batches import Batch
from tinyablate.train.loss import soft_cross_entropy
from tinyablate.train.model.build import Built, apply_mode
from tinyablate.train.model.drop_path import DropPathStreams
from tinyablate.train.optim import build_optimizer, learning_rate
from tinyablate.train.randomness import stream_key


class Learner:
    """A model under training. Its updates are numbered from 0 over the whole training."""

    def __init__(
        self,
        recipe: Recipe,
        built: Built,
        *,
        seed: int,
        device: torch.device,
        steps: int,
        micro_batch: int | None = None,
    ) -> None:
        """`steps` updates an epoch, `micro_batch` images a pass (None: the batch). Raises RecipeError on a bad one."""
        self.micro_batch = _checked_micro_batch(micro_batch, recipe, built)
        self.module: nn.Module = built.module.to(device)
        self.module.to(memory_format=devices.memory_format(device.type))
        self.optimizer = build_optimizer(recipe.optimizer, self.module, fused=devices.fused_optimizer(device.type))
        self.drop_path = DropPathStreams(self.module)
        self._recipe, self._seed, self._device, self._steps = recipe, seed, device, steps

    def begin_epoch(self) -> None:
        """Put the model into the mode it is trained in, as the recipe's `backbone_mode` has it."""
        apply_mode(self.module, self._recipe.model, training=True)

    def rate(self, number: int) -> float:
        """Learning rate of the update `number`."""
        return learning_rate(self._recipe, number, self._steps)

    def update(self, batch: Batch, number: int) -> Tensor:
        """One step of the optimizer. Returns the batch's mean loss, a scalar on the device: reading it may wait."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.backward(batch, number)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(number)
        self.optimizer.step()
        return loss

    def backward(self, batch: Batch, number: int) -> Tensor:
        """Add the gradient of the batch's mean loss, in passes of `micro_batch` images; returns that loss.

        Drop-path is drawn for the whole batch and dropout seeded by the update's number, so both are the update's own.
        """
        size = len(batch.images)
        torch.manual_seed(stream_key(self._seed, "dropout", number))
        self.drop_path.draw(self._seed, number, size, self._device)
        total = torch.zeros((), dtype=batch.targets.dtype, device=self._device)
        for start in range(0, size, self.micro_batch):
            window = slice(start, min(start + self.micro_batch, size))
            self.drop_path.window(window.start, window.stop)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._recipe.precision == "bf16"):
                logits = self.module(batch.images[window])
            loss = soft_cross_entropy(logits, batch.targets[window]).sum() / size
            loss.backward()  # type: ignore[no-untyped-call]
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


def _checked_micro_batch(micro_batch: int | None, recipe: Recipe, built: Built) -> int:
    """Images per pass. Raises RecipeError where passes cannot add up to the batch's own gradient."""
    size = recipe.batch.size
    if micro_batch is None or micro_batch == size:
        return size
    rule = None
    if not 1 <= micro_batch <= size:
        rule = f"must be from 1 to batch.size, {size}"
    elif built.batch_statistics:
        rule = f"'{recipe.model.name}' computes batch statistics (BatchNorm): leave it at batch.size, {size}"
    elif built.dropout:
        rule = f"'{recipe.model.name}' has active dropout, drawn pass by pass: leave it at batch.size, {size}"
    if rule is not None:
        raise RecipeError([("--micro-batch", micro_batch, rule)])
    return micro_batch
