"""Measures on the validation set: top-1, top-5, cross-entropy and which images were right. Changes no weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tinyablate.train.batches import Inputs, Split

BATCH = 256
"""Images per forward pass. A constant: another batch size may round differently."""


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


def batch_count(split: Split) -> int:
    """How many batches `val_batches` gives."""
    return -(-len(split) // BATCH)


def val_batches(split: Split, inputs: Inputs) -> Iterator[tuple[Tensor, Tensor]]:
    """Images float32 [n, 3, S, S] and labels int64 [n], n = BATCH but for the last, in the data set's order."""
    for start in range(0, len(split), BATCH):
        ids = np.arange(start, min(start + BATCH, len(split)), dtype=np.int64)
        yield inputs(split.take(ids)), split.labels[start : start + BATCH]


class Evaluation:
    """Sums up batch by batch; nothing is read from the device before `scores`."""

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        """`model` gives the logits [n, K] of images [n, 3, S, S] and is in evaluation mode."""
        self._model = model
        self._losses: list[Tensor] = []
        self._first: list[Tensor] = []
        self._fifth: list[Tensor] = []

    @torch.no_grad()  # not inference_mode: what a model caches here must stay usable in training
    def add(self, images: Tensor, labels: Tensor) -> None:
        """Measure one batch."""
        logits = self._model(images).float()
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
