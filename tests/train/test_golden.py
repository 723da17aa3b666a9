"""Three updates of whole jobs against a plain PyTorch script: the weights in the checkpoint are the script's.

The script knows nothing of the package but the images that a job would show, and the model that it would begin with.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tinyablate.recipe import Recipe
from tinyablate.train import checkpoint
from tinyablate.train.batches import TrainBatches
from tinyablate.train.data.images import load
from tinyablate.train.inputs import Inputs
from tinyablate.train.model.build import build_model

Lab = Any
Change = Any

CPU = torch.device("cpu")
LR = {"adamw": 1e-3, "sgd": 0.1}
UPDATES, SIZE, CLASSES, SMOOTHING = 3, 66, 10, 0.1


@pytest.fixture(scope="module")
def recipe(changed: Change) -> Recipe:
    """test_vit in one epoch of three updates, mixed and smoothed, without warm-up.

    Adam's eps is large: some gradients of a ViT are zero but for rounding (those of the keys' biases), and with 1e-8
    Adam would make whole steps of them.
    """
    return changed(
        model__name="test_vit",
        schedule__epochs=1,
        schedule__warmup_epochs=0.0,
        batch__size=SIZE,
        loss__smoothing=SMOOTHING,
        optimizer__eps=1e-4,
    )


def images_and_targets(recipe: Recipe, data: Path) -> list[tuple[Tensor, Tensor]]:
    """What a job shows in its first epoch, and soft targets written out: smoothed, mixed with the batch reversed."""
    source = load(data, CPU)
    built = build_model(recipe.model, image_size=32, classes=CLASSES, seed=0, weights=None)
    batches = TrainBatches(recipe, source.train, Inputs(32, built.mean, built.std, CPU), classes=CLASSES, seed=0)
    shown = []
    for batch in batches.epoch(1):
        own = torch.zeros(SIZE, CLASSES)
        for row, label in enumerate(batch.labels.tolist()):
            own[row] = SMOOTHING / CLASSES
            own[row, label] = 1 - SMOOTHING + SMOOTHING / CLASSES
        lam = batch.mixing.lam
        shown.append((batch.images, lam * own + (1 - lam) * own.flip(0)))
    return shown


def script(
    model: nn.Module,
    shown: Sequence[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    parts: int = 1,
    divide: bool = True,
    rho: float = 0.0,
    after: Callable[[], None] = lambda: None,
) -> None:
    """What a researcher would write: cosine to 0, batches in `parts`, SAM where `rho` is not 0."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    peak = optimizer.param_groups[0]["lr"]
    model.train()

    def backward(images: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad()
        for image, target in zip(images.chunk(parts), targets.chunk(parts), strict=True):
            loss = -(target * torch.log_softmax(model(image), dim=1)).sum(dim=1).mean()
            (loss / parts if divide else loss).backward()

    for update, (images, targets) in enumerate(shown):
        optimizer.param_groups[0]["lr"] = peak * (1 + math.cos(math.pi * update / len(shown))) / 2
        backward(images, targets)
        if rho:
            norm = math.sqrt(sum(float((parameter.grad**2).sum()) for parameter in trained))
            before = [parameter.detach().clone() for parameter in trained]
            for parameter in trained:
                parameter.data += rho / norm * parameter.grad
            backward(images, targets)
            for parameter, value in zip(trained, before, strict=True):
                parameter.data.copy_(value)
        optimizer.step()
        after()


SAM = {"optimizer__perturbation": "sam", "optimizer__rho": 0.3}
UNDIVIDED = {"batch__accumulation": 3, "batch__divide_loss": False}

CASES: list[tuple[str, str, dict[str, Any], dict[str, Any], int | None]] = [
    ("all", "adamw", {}, {}, None),
    ("all", "adamw", {"ema__decay": 0.8}, {"parts": 3}, 22),
    ("all", "sgd", {"optimizer__nesterov": True}, {}, None),
    ("all", "sgd", UNDIVIDED, {"parts": 3, "divide": False}, None),
    ("all", "sgd", SAM, {"rho": 0.3, "parts": 3}, 22),
    ("head", "adamw", {}, {}, None),
    ("head", "adamw", SAM, {"rho": 0.3}, None),
    ("head", "sgd", {}, {"parts": 3}, 22),
    ("head", "sgd", {"optimizer__nesterov": True, "ema__decay": 0.8}, {}, None),
    ("head", "sgd", SAM | UNDIVIDED, {"rho": 0.3, "parts": 3, "divide": False}, None),
]
"""What is trained, by what, what else the recipe has, how the script is run, the job's micro-batch."""


@pytest.mark.parametrize(("trainable", "chosen", "leaves", "ways", "micro_batch"), CASES)
def test_three_updates_of_a_job_are_a_plain_scripts(
    lab: Lab, changed: Change, recipe: Recipe, small_data: Path,
    trainable: str, chosen: str, leaves: dict[str, Any], ways: dict[str, Any], micro_batch: int | None,
) -> None:  # fmt: skip
    """Trained weights, raw or averaged, agree to float32's rounding, and every one has moved by far more than that."""
    given = {"model__trainable": trainable, "optimizer__name": chosen, "optimizer__lr": LR[chosen], **leaves}
    wanted = changed(recipe, **given)
    task = lab.task("golden", wanted)
    assert lab.run(task, micro_batch=micro_batch).outcomes["golden"].state == "complete"
    (file,) = task.directory.glob("*.pt")
    saved = checkpoint.load(file)
    found = list((saved.observer if wanted.ema.decay else saved.learner["tensors"]).values())

    model = build_model(wanted.model, image_size=32, classes=CLASSES, seed=0, weights=None).module
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    first = [parameter.detach().clone() for parameter in trained]
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW(trained, lr=LR["adamw"], weight_decay=0.05, eps=1e-4)
        if chosen == "adamw"
        else torch.optim.SGD(trained, lr=LR["sgd"], momentum=0.9, nesterov=wanted.optimizer.nesterov, weight_decay=0.05)
    )
    averages = [parameter.detach().clone() for parameter in trained]

    def average() -> None:
        for mean, parameter in zip(averages, trained, strict=True):
            mean.copy_(0.8 * mean + 0.2 * parameter.detach())

    script(model, images_and_targets(wanted, small_data), optimizer, **ways, after=average)
    expected = averages if wanted.ema.decay else [parameter.detach() for parameter in trained]
    assert len(found) == len(expected) == (2 if trainable == "head" else len(list(model.parameters())))
    for ours, theirs, before in zip(found, expected, first, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)  # 2.4e-7 on an AMD EPYC, weights being of order 1
        assert float((theirs - before).abs().max()) > 1e-4
