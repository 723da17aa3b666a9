"""What is measured on the validation set, against numpy and torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from tinyablate.recipe import Evaluate
from tinyablate.train import sampling
from tinyablate.train.data.images import Images, load
from tinyablate.train.data.resident import PackedImages
from tinyablate.train.evaluate import BATCH, EvalSet, Evaluation, Scores
from tinyablate.train.inputs import Inputs

CPU = torch.device("cpu")


def measured(logits: torch.Tensor, labels: torch.Tensor, size: int = BATCH) -> Scores:
    """Scores of given logits, in batches of `size`."""
    evaluation = Evaluation(lambda images: images)
    for start in range(0, len(labels), size):
        evaluation.add(logits[start : start + size], labels[start : start + size])
    return evaluation.scores()


@pytest.fixture
def logits() -> torch.Tensor:
    """Scores of 700 images and 12 classes."""
    return torch.randn(700, 12, generator=torch.Generator().manual_seed(0))


LABELS = torch.arange(700) % 12


def test_scores_are_those_of_numpy(logits: torch.Tensor) -> None:
    """Top-1, top-5 and the bits are ranks counted by hand, the loss is torch's cross-entropy."""
    ranks = (logits > logits[torch.arange(700), LABELS, None]).sum(dim=1).numpy()
    scores = measured(logits, LABELS)
    assert scores.top1 == pytest.approx(100 * (ranks == 0).mean())
    assert scores.top5 == pytest.approx(100 * (ranks < 5).mean())
    assert scores.loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, LABELS)), rel=1e-6)
    assert np.array_equal(np.unpackbits(np.frombuffer(scores.correct, np.uint8))[:700], ranks == 0)
    assert len(scores.correct) == 88


def test_how_images_are_batched_does_not_matter(logits: torch.Tensor) -> None:
    """Sums over unequal batches weigh every image the same."""
    assert measured(logits, LABELS, 300) == measured(logits, LABELS, 700)


def test_top5_of_three_classes_is_all_of_them() -> None:
    """With fewer than five classes every image counts."""
    scores = measured(torch.randn(10, 3, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 3)
    assert scores.top5 == 100
    assert scores.top1 < 100


def test_nan_is_reported_not_raised(logits: torch.Tensor) -> None:
    """A model whose scores are no numbers has a loss that is none."""
    logits[3] = torch.nan
    assert np.isnan(measured(logits, LABELS).loss)


def test_half_precision_scores_are_measured_in_float32(logits: torch.Tensor) -> None:
    """The loss of bfloat16 scores is that of their values in float32."""
    assert measured(logits.bfloat16(), LABELS) == measured(logits.bfloat16().float(), LABELS)


def test_batches_run_in_order_at_a_constant_size() -> None:
    """600 images come as 256, 256 and 88, each with its label."""
    images = np.random.default_rng(0).integers(0, 256, (600, 4, 4, 3), dtype=np.uint8)
    source = PackedImages(images, np.arange(600), CPU, "file")
    evaluated = EvalSet(Evaluate(), Images(source, source, 600, ""), Inputs(4, (0.0,) * 3, (1.0,) * 3, CPU))
    shown = list(evaluated.batches())
    assert [len(labels) for _, labels in shown] == [256, 256, 88]
    assert len(evaluated) == 3
    assert torch.equal(torch.cat([labels for _, labels in shown]), torch.arange(600))
    values = torch.cat([batch for batch, _ in shown]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(values, images / 255, rtol=1e-6)


def test_what_training_left_out_is_evaluated(small_data: Path) -> None:
    """`train[:90%]` and `train[90%:]` share no image and hold all; each class keeps its share."""
    data, inputs = load(small_data, CPU), Inputs(16, (0.0,) * 3, (1.0,) * 3, CPU)
    held_out = EvalSet(Evaluate(split="train[90%:]"), data, inputs)
    labels = torch.cat([labels for _, labels in held_out.batches()])
    assert labels.bincount().tolist() == [2] * 10
    trained = sampling.chosen(data.train.labels.numpy(), (0.0, 0.9))
    assert sorted([*trained, *held_out._ids]) == list(range(200))


def test_a_centre_crop_is_torchvisions(small_data: Path) -> None:
    """Short side to S / crop_pct, rounded down, then the middle: PIL's and torchvision's bytes."""
    data, inputs = load(small_data, CPU), Inputs(48, (0.0,) * 3, (1.0,) * 3, CPU, crop_pct=0.875)
    shown = torch.cat([images for images, _ in EvalSet(Evaluate(crop="center"), data, inputs).batches()])
    again = torch.cat(
        [images for images, _ in EvalSet(Evaluate(crop="center", crop_pct=0.875), data, inputs).batches()]
    )
    pictures = [v2.functional.to_pil_image(image) for image in data.val.take(np.arange(300)).permute(0, 3, 1, 2)]
    change = v2.Compose([v2.Resize(54, v2.InterpolationMode.BICUBIC), v2.CenterCrop(48), v2.PILToTensor()])
    expected = torch.stack([change(picture) for picture in pictures])
    assert torch.equal((shown * 255).round().to(torch.uint8), expected)
    assert torch.equal(shown, again)


def test_evaluation_leaves_no_graph(logits: torch.Tensor) -> None:
    """No gradient is recorded through what is measured."""
    layer = torch.nn.Linear(12, 12)
    seen = []

    def model(images: torch.Tensor) -> torch.Tensor:
        seen.append(layer(images))
        return seen[-1]

    Evaluation(model).add(logits, LABELS)
    assert not seen[0].requires_grad
