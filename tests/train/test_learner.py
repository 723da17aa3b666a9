"""Updates against a plain PyTorch script, gradients over micro-batches, keyed dropout, restoring."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from tinyablate.errors import RecipeError
from tinyablate.recipe import Recipe
from tinyablate.train.backbone import WholeModel
from tinyablate.train.batches import TrainBatches
from tinyablate.train.data.images import load
from tinyablate.train.inputs import Inputs
from tinyablate.train.learner import Learner
from tinyablate.train.model.build import build_model
from tinyablate.train.work import checked_micro_batch

Change = Any
CPU = torch.device("cpu")
STEPS = 10


@pytest.fixture(scope="module")
def recipe(changed: Change) -> Recipe:
    """test_vit at 32 pixels in batches of 16."""
    return changed(model__name="test_vit", batch__size=16, schedule__warmup_epochs=0.0)


@dataclass
class Given:
    """A batch with soft targets of its own, instead of labels that are smoothed and mixed."""

    images: torch.Tensor
    soft: torch.Tensor

    def targets(self, smoothing: float) -> torch.Tensor:
        """The soft targets as they are."""
        return self.soft


@dataclass
class Trained:
    """A learner on all of its model, updated batch by batch."""

    learner: Learner
    backbone: WholeModel

    @property
    def module(self) -> torch.nn.Module:
        """The model."""
        return self.learner.module

    def update(self, made: Any, number: int) -> torch.Tensor:
        """One update with this batch."""
        return self.learner.update(self.backbone.passes(made, number), number)

    def backward(self, made: Any, number: int) -> torch.Tensor:
        """The gradient of this batch."""
        return self.learner.backward(self.backbone.passes(made, number))


def learner(recipe: Recipe, micro_batch: int | None = None, double: bool = False) -> Trained:
    """A learner of 10 classes with seed 0, in training mode."""
    built = build_model(recipe.model, image_size=32, classes=10, seed=0, weights=None)
    if double:
        built.module.double()
    made = Learner(recipe, built.module, device=CPU, steps=STEPS)
    micro = checked_micro_batch(micro_batch, recipe, built)
    backbone = WholeModel(recipe, built.module, seed=0, device=CPU, micro_batch=micro)
    backbone.begin_epoch([])
    return Trained(made, backbone)


def batch(number: int = 0, size: int = 16, double: bool = False) -> Given:
    """A batch of noise with soft targets."""
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(size, 3, 32, 32, generator=generator, dtype=torch.float64 if double else torch.float32)
    targets = torch.rand(size, 10, generator=generator, dtype=images.dtype)
    return Given(images, targets / targets.sum(dim=1, keepdim=True))


def gradients(made: Trained) -> list[torch.Tensor]:
    """Every trained parameter's gradient."""
    return [parameter.grad for parameter in made.module.parameters() if parameter.grad is not None]


def plain_pytorch(model: torch.nn.Module, optimizer: torch.optim.Optimizer, lr: float, updates: int) -> None:
    """What a researcher would write: cosine from `lr` to 0 over 3 epochs of 10 updates, mean soft cross-entropy."""
    model.train()
    for update in range(updates):
        data = batch(update, double=True)
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * update / 30)) / 2
        optimizer.zero_grad()
        loss = -(data.soft * torch.log_softmax(model(data.images), dim=1)).sum(dim=1).mean()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["adamw", "adamw-timm", "sgd", "nesterov"])
def test_three_updates_equal_a_plain_pytorch_script(recipe: Recipe, changed: Change, name: str) -> None:
    """From equal weights, three updates in float64 end where a script written with torch alone ends, to 1e-12."""
    lr = 1e-3 if name.startswith("adamw") else 0.1
    decay = "timm" if name == "adamw-timm" else "all"
    chosen = {"optimizer__name": "adamw" if name.startswith("adamw") else "sgd", "optimizer__decay": decay}
    ours = learner(changed(recipe, **chosen, optimizer__lr=lr, optimizer__nesterov=name == "nesterov"), double=True)

    model = timm.create_model("test_vit", num_classes=10, img_size=32).double()
    model.load_state_dict(ours.module.state_dict())
    if name == "adamw":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    elif name == "adamw-timm":
        matrices = [p for n, p in model.named_parameters() if p.ndim > 1 and n not in model.no_weight_decay()]
        others = [p for n, p in model.named_parameters() if p.ndim <= 1 or n in model.no_weight_decay()]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=lr)
    else:
        nesterov = name == "nesterov"
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=nesterov, weight_decay=0.05)

    before = copy.deepcopy(model.state_dict())
    plain_pytorch(model, optimizer, lr, updates=3)
    for update in range(3):
        ours.update(batch(update, double=True), update)
    expected = model.state_dict()
    for key, value in ours.module.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-12, atol=1e-12)
        assert not torch.equal(value, before[key])


@pytest.mark.parametrize("micro_batch", [16, 8, 5, 1])
def test_micro_batches_add_up_to_the_batchs_gradient(
    recipe: Recipe, changed: Change, small_data: Path, micro_batch: int
) -> None:
    """With mixing, erasing and drop-path, gradient and loss in float64 are those of the whole batch, to 1e-12."""
    recipe = changed(recipe, model__drop_path=0.3, augment__erase_prob=1.0)
    data = load(small_data, CPU)
    batches = TrainBatches(recipe, data.train, Inputs(32, (0.5,) * 3, (0.5,) * 3, CPU), classes=10, seed=0)
    made = next(batches.epoch(1))
    made = Given(made.images.double(), made.targets(0.1).double())
    whole, parts = learner(recipe, double=True), learner(recipe, micro_batch, double=True)
    loss, summed = whole.backward(made, 7), parts.backward(made, 7)
    torch.testing.assert_close(summed, loss, rtol=1e-12, atol=1e-12)
    for ours, expected in zip(gradients(parts), gradients(whole), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_drop_path_is_drawn_anew_at_every_update(recipe: Recipe, changed: Change) -> None:
    """The same update drops the same branches again, another update others, and none equals the model without."""
    dropping = learner(changed(recipe, model__drop_path=0.5))
    losses = [float(dropping.backward(batch(), number)) for number in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert float(learner(recipe).backward(batch(), 0)) not in losses


def test_dropout_is_keyed_by_the_update(recipe: Recipe, changed: Change) -> None:
    """Dropout inside a model does not depend on what else drew from torch's generator."""
    made = learner(changed(recipe, model__args={"drop_rate": 0.5}))
    first = float(made.backward(batch(), 0))
    torch.rand(17)
    assert float(made.backward(batch(), 0)) == first
    assert float(made.backward(batch(), 1)) != first


@pytest.mark.parametrize(
    ("leaves", "micro_batch", "said"),
    [
        ({"model__name": "test_resnet"}, 8, "batch statistics"),
        ({"model__args": {"drop_rate": 0.1}}, 8, "dropout"),
        ({}, 0, "from 1 to batch.size, 16"),
        ({}, 17, "from 1 to batch.size, 16"),
    ],
)
def test_a_micro_batch_that_would_change_the_numbers_is_refused(
    recipe: Recipe, changed: Change, leaves: dict[str, Any], micro_batch: int, said: str
) -> None:
    """BatchNorm, dropout and impossible sizes are named, with the option; the whole batch is always allowed."""
    with pytest.raises(RecipeError, match=said) as caught:
        learner(changed(recipe, **leaves), micro_batch)
    assert caught.value.problems[0][:2] == ("--micro-batch", micro_batch)
    assert learner(changed(recipe, **leaves), 16).backbone.micro_batch == 16


def test_only_the_head_moves_where_only_it_is_trained(recipe: Recipe, changed: Change) -> None:
    """With `trainable = "head"` every other parameter keeps its bits, and has no optimizer state."""
    made = learner(changed(recipe, model__trainable="head"))
    before = copy.deepcopy(made.module.state_dict())
    made.update(batch(), 0)
    moved = {name for name, value in made.module.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"}
    assert set(made.learner.state()["tensors"]) == moved
    assert len(made.learner.state()["optimizer"]["state"]) == 2


def test_bfloat16_trains_close_to_float32(recipe: Recipe, changed: Change) -> None:
    """Autocast changes the loss a little, the weights stay float32."""
    half, full = learner(changed(recipe, precision="bf16")), learner(recipe)
    ours, expected = half.update(batch(), 0), full.update(batch(), 0)
    assert ours.dtype == torch.float32
    assert 0 < abs(float(ours - expected)) < 0.05
    assert {parameter.dtype for parameter in half.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("model", ["test_vit", "test_resnet"])
def test_a_restored_learner_goes_on_as_the_first(recipe: Recipe, changed: Change, name: str, model: str) -> None:
    """Weights, buffers and moments are taken over: the next updates are bit-equal."""
    recipe = changed(recipe, optimizer__name=name, model__name=model)
    first, second = learner(recipe), learner(recipe)
    for update in range(2):
        first.update(batch(update), update)
    second.learner.restore(copy.deepcopy(first.learner.state()))
    for update in range(2, 5):
        assert torch.equal(first.update(batch(update), update), second.update(batch(update), update))
    ours, theirs = first.module.state_dict(), second.module.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_learning_rate_is_set_at_every_update(recipe: Recipe) -> None:
    """The optimizer steps with the schedule's rate of that update."""
    made = learner(recipe)
    made.update(batch(), 12)
    (group,) = made.learner.optimizer.param_groups
    assert group["lr"] == made.learner.rate(12) == pytest.approx(3e-3 * (1 + math.cos(0.4 * math.pi)) / 2)


def test_code_that_does_not_divide_the_loss_has_a_gradient_as_many_times_as_large(
    recipe: Recipe, changed: Change
) -> None:
    """Of a batch in four undivided parts it is four times that of the mean loss; the loss that is told is the mean."""
    undivided = changed(recipe, batch__accumulation=4, batch__divide_loss=False)
    ours, plain = learner(undivided, double=True), learner(recipe, double=True)
    assert torch.equal(ours.backward(batch(double=True), 0), plain.backward(batch(double=True), 0))
    for one, other in zip(gradients(ours), gradients(plain), strict=True):
        torch.testing.assert_close(one, 4 * other, rtol=1e-12, atol=1e-14)


def test_a_second_pass_sees_the_same_network_unless_it_is_drawn_anew(recipe: Recipe, changed: Change) -> None:
    """Drop-path and dropout of an update's two passes are equal, or of their own draw, which is keyed too."""
    leaves = {"model__drop_path": 0.5, "model__args": {"proj_drop_rate": 0.2}, "optimizer__perturbation": "sam"}
    made = learner(changed(recipe, **leaves))
    passes = made.backbone.passes(batch(), 3)
    losses = [float(made.learner.backward(passes, draw).detach()) for draw in (0, 0, 1, 1)]
    assert losses[0] == losses[1] != losses[2] == losses[3]


def test_both_heads_of_a_distilled_model_can_be_trained_on_the_labels(changed: Change) -> None:
    """`both` minimises the mean of the heads' losses, `mean` the loss of their mean score; by Jensen it is smaller."""
    small = {"depth": 1, "embed_dim": 24, "num_heads": 2}
    recipe = changed(model__name="deit_tiny_distilled_patch16_224", model__args=small, batch__size=16)
    both = learner(changed(recipe, model__distilled_heads="both"))
    one = learner(recipe)
    made = batch()
    first, second = both.module(made.images)
    losses = [-(made.soft * torch.log_softmax(scores, dim=1)).sum(dim=1).mean() for scores in (first, second)]
    torch.testing.assert_close(both.backward(made, 0), (losses[0] + losses[1]) / 2)
    assert float(one.backward(made, 0)) < float(both.backward(made, 0))
    torch.testing.assert_close(both.module.eval()(made.images), (first + second) / 2)
