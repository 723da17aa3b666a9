"""What only watches a learner: its weights as they are or an average of them, and one trial's results.

Nothing here may change what is trained.
"""

from typing import Literal

from torch import Tensor, nn

from tinyablate.job import EpochResult, TrialTask
from tinyablate.recipe import Evaluate
from tinyablate.train.average import Average
from tinyablate.train.learner import Learner, copy_tensors


class Observer:
    """One trial of the job: evaluates the learner's raw weights, or their average where its recipe has `ema.decay`."""

    def __init__(self, task: TrialTask, learner: Learner) -> None:
        self.task = task
        self.results: list[EpochResult] = []
        self._average = Average(learner.module, task.recipe.ema) if task.recipe.ema.decay > 0 else None
        self.module = learner.module if self._average is None else self._average.module
        """What it evaluates: the learner's own, or its average."""

    @property
    def setting(self) -> Evaluate:
        """How it wants images to be shown."""
        return self.task.recipe.evaluate

    @property
    def kind(self) -> Literal["raw", "ema"]:
        """`raw` or `ema`."""
        return "raw" if self._average is None else "ema"

    def follow(self, update: int) -> None:
        """To be called after every update, with its number."""
        if self._average is not None:
            self._average.follow(update)

    def model(self) -> nn.Module:
        """What this observer evaluates, in evaluation mode until the learner's mode is set again."""
        # Through training mode: some timm models (LeViT) keep a cache of their weights until they are trained again.
        return self.module.train().eval()

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside the learner's state."""
        return {} if self._average is None else self._average.tensors

    def restore(self, state: dict[str, Tensor], results: list[EpochResult]) -> None:
        """Continue from what a checkpoint kept."""
        if self._average is not None:
            copy_tensors(state, self._average.tensors)
        self.results = list(results)
