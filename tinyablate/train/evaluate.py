"""Measures on the validation set: top-1, top-5, cross-entropy and which images were right. Changes no weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tinyablate.datasets import parse_split
from tinyablate.recipe import Evaluate
from tinyablate.train import sampling
from tinyablate.train.augment import geometry
from tinyablate.train.augment.views import Views
from tinyablate.train.data.images import Images
from tinyablate.train.inputs import Inputs
from tinyablate.train.randomness import Ids
from tinyablate.train.transfer import send

BATCH = 256
"""Images per forward pass; fewer only in a job whose micro-batch is smaller. Another batch size may round otherwise."""


@dataclass(frozen=True)
class Scores:
    """What one evaluation measured."""

    loss: float
    """Mean cross-entropy, without smoothing."""
    top1: float
    """Percent."""
    top5: float
    """Percent; of as many classes as there are where there are fewer than five."""
    correct: bytes
    """A bit per image in the data set's order, most significant bit first: top-1 was right."""


class EvalSet:
    """The images that one evaluation setting shows, in the data set's order."""

    def __init__(self, setting: Evaluate, images: Images, inputs: Inputs, batch: int = BATCH) -> None:
        """`batch` images a pass. Raises RecipeError where the part of the training set that `split` names is empty."""
        split = parse_split(setting.split)
        self._source = images.val if split.base == "val" else images.train
        labels = self._source.labels.cpu().numpy()
        self._ids = sampling.chosen(labels, (float(split.low), float(split.high)), field="evaluate.split")
        self._setting, self._inputs, self._batch = setting, inputs, batch

    def __len__(self) -> int:
        """How many batches `batches` gives."""
        return -(-len(self._ids) // self._batch)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images float32 [n, 3, S, S] and labels int64 [n], n = `batch` but for the last."""
        starts = range(0, len(self._ids), self._batch)
        parts = [self._ids[start : start + self._batch] for start in starts]
        for ids, shown in zip(parts, self._source.show((ids, self._views(ids)) for ids in parts), strict=True):
            labels = self._source.labels[send(ids, self._source.device)]
            yield self._inputs(shown), labels

    def _views(self, ids: Ids) -> Views:
        heights, widths = self._source.sizes(ids)
        return geometry.evaluate_views(self._setting, heights, widths, self._inputs.size, self._inputs.crop_pct)


class Evaluation:
    """Sums up batch by batch; nothing is read from the device before `scores`."""

    def __init__(self, model: Callable[[Any], Tensor], precision: str = "fp32") -> None:
        """`model` gives the logits [n, K] of inputs (images or features), computed in `precision` (fp32, bf16)."""
        self._model, self._low = model, precision == "bf16"
        self._losses: list[Tensor] = []
        self._first: list[Tensor] = []
        self._fifth: list[Tensor] = []

    @torch.no_grad()  # not inference_mode: what a model caches here must stay usable in training
    def add(self, inputs: Any, labels: Tensor) -> None:
        """Measure one batch: the model's inputs, and labels int64 [n] on its device."""
        with torch.autocast(labels.device.type, torch.bfloat16, enabled=self._low):
            logits = self._model(inputs).float()
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        self._losses.append(functional.cross_entropy(logits, labels, reduction="none"))
        self._first.append(ranked[:, 0])
        self._fifth.append(ranked.any(dim=1))

    def scores(self) -> Scores:
        """The result over all batches so far."""
        right = torch.cat(self._first).cpu().numpy()
        return Scores(
            loss=float(torch.cat(self._losses).double().mean()),
            top1=100 * float(right.mean()),
            top5=100 * float(torch.cat(self._fifth).double().mean()),
            correct=np.packbits(right).tobytes(),
        )
