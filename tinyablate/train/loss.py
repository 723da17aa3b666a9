"""The training loss: cross-entropy with soft targets, one value per image."""

import torch
from torch import Tensor
from torch.nn import functional


def training_loss(scores: Tensor | tuple[Tensor, ...], targets: Tensor) -> Tensor:
    """The loss of each image: [n] from scores and targets [n, K].

    Of a distilled model that is trained on both its heads (`model.distilled_heads`) the mean of their losses, as in
    DeiT's fine-tuning on labels alone (Touvron et al. 2021, section 4, both terms on the true label).
    """
    if isinstance(scores, Tensor):
        return soft_cross_entropy(scores, targets)
    return torch.stack([soft_cross_entropy(each, targets) for each in scores]).mean(dim=0)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-sum_k targets * log softmax(logits) for each image: [n] from logits and targets [n, K].

    Computed in float32 at least, whatever autocast made of the logits. Not averaged: the caller divides the sum by the
    batch, so that micro-batches add up to the batch's own gradient.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return -(targets * functional.log_softmax(logits, dim=-1)).sum(dim=-1)
