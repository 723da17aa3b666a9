"""Soft-target cross-entropy against torch's and timm's."""

import torch
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

from tinyablate.train.augment.mix import MixingBatch, soft_targets
from tinyablate.train.loss import soft_cross_entropy

LOGITS = torch.randn(12, 7, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 7


def test_hard_targets_give_cross_entropy() -> None:
    """With one-hot targets it is torch's cross-entropy of each image."""
    ours = soft_cross_entropy(LOGITS, soft_targets(LABELS, 7, 0.0))
    torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(LOGITS, LABELS, reduction="none"))


def test_smoothed_targets_give_timms_label_smoothing() -> None:
    """Smoothing in the targets is timm's LabelSmoothingCrossEntropy."""
    ours = soft_cross_entropy(LOGITS, soft_targets(LABELS, 7, 0.1)).mean()
    torch.testing.assert_close(ours, LabelSmoothingCrossEntropy(0.1)(LOGITS, LABELS))


def test_mixed_targets_give_timms_soft_target_loss() -> None:
    """With mixed targets it is timm's SoftTargetCrossEntropy."""
    targets = soft_targets(LABELS, 7, 0.1, MixingBatch(0.3))
    torch.testing.assert_close(soft_cross_entropy(LOGITS, targets).mean(), SoftTargetCrossEntropy()(LOGITS, targets))


def test_half_precision_logits_are_taken_in_float32() -> None:
    """bfloat16 logits are widened before the logarithm, float64 ones stay float64."""
    targets = soft_targets(LABELS, 7, 0.1)
    half = LOGITS.bfloat16()
    assert torch.equal(soft_cross_entropy(half, targets), soft_cross_entropy(half.float(), targets))
    assert soft_cross_entropy(LOGITS.double(), targets.double()).dtype == torch.float64
