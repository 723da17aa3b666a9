"""Averages of weights, and that watching changes nothing."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tinyablate.job import TrialTask
from tinyablate.recipe import Recipe
from tinyablate.train.backbone import WholeModel
from tinyablate.train.learner import Learner
from tinyablate.train.model.build import build_model
from tinyablate.train.observer import Observer

Change = Any
CPU = torch.device("cpu")


@dataclass
class Noise:
    """A batch of noise with targets of noise."""

    images: torch.Tensor
    soft: torch.Tensor

    def targets(self, smoothing: float) -> torch.Tensor:
        """The noise as it is."""
        return self.soft


def learner(recipe: Recipe) -> Learner:
    """A learner of 10 classes in training mode."""
    built = build_model(recipe.model, image_size=32, classes=10, seed=0, weights=None)
    built.module.train()
    return Learner(recipe, built.module, device=CPU, steps=5)


def update(made: Learner, number: int) -> None:
    """Train with noise."""
    whole = WholeModel(made.recipe, made.module, seed=0, device=CPU, micro_batch=40)
    made.update(whole.passes(batch(number), number), number)


def batch(number: int) -> Any:
    """A batch of noise."""
    generator = torch.Generator().manual_seed(number)
    return Noise(torch.randn(40, 3, 32, 32, generator=generator), torch.rand(40, 10, generator=generator))


def observer(recipe: Recipe, watched: Learner) -> Observer:
    """An observer of `watched`."""
    return Observer(TrialTask("key", recipe, 0, Path()), watched)


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the module's tensors."""
    return copy.deepcopy(module.state_dict())


def test_an_average_follows_the_formula(changed: Change) -> None:
    """Each update takes floating tensors to decay * average + (1 - decay) * current and copies counters."""
    recipe = changed(ema__decay=0.7)
    watched = learner(recipe)
    watching = observer(recipe, watched)
    expected = {name: value.double() for name, value in state(watched.module).items()}
    for number in range(4):
        update(watched, number)
        watching.follow(number)
        for name, value in state(watched.module).items():
            expected[name] = 0.7 * expected[name] + 0.3 * value.double() if value.is_floating_point() else value
    averaged = watching.model().state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(averaged[name].double(), value.double(), rtol=1e-5, atol=1e-6)
    counters = [name for name in averaged if name.endswith("num_batches_tracked")]
    assert counters
    assert all(averaged[name] == 4 for name in counters)


def test_watching_changes_nothing_that_is_trained(changed: Change) -> None:
    """With and without an observer, followed and evaluated after each update, the learner's tensors are bit-equal."""
    recipe = changed(ema__decay=0.9)
    watched, alone = learner(recipe), learner(recipe)
    watching = observer(recipe, watched)
    for number in range(3):
        for made in (watched, alone):
            made.module.train()
            update(made, number)
        watching.follow(0)
        with torch.no_grad():
            watching.model()(batch(9).images)
            observer(changed(), watched).model()(batch(9).images)
    ours, theirs = state(watched.module), state(alone.module)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_raw_weights_are_the_learners_own(changed: Change) -> None:
    """Without a decay the observer evaluates the learner's module itself, in evaluation mode, and saves nothing."""
    watched = learner(changed())
    watching = observer(changed(), watched)
    assert watching.kind == "raw"
    assert watching.model() is watched.module
    assert not watched.module.training
    assert watching.state() == {}


def test_frozen_parameters_are_shared(changed: Change) -> None:
    """Where only the head is trained, an average holds no second trunk."""
    recipe = changed(model__name="test_vit", model__trainable="head", ema__decay=0.9)
    watched = learner(recipe)
    watching = observer(recipe, watched)
    assert watching.kind == "ema"
    assert set(watching.state()) == {"head.weight", "head.bias"}
    averaged = dict(watching.model().named_parameters())
    for name, parameter in watched.module.named_parameters():
        assert (averaged[name] is parameter) is not name.startswith("head.")


def test_what_does_not_change_keeps_its_bits(changed: Change) -> None:
    """An average of tensors that stand still stays bit-equal to them, for any decay."""
    watched = learner(changed())
    for decay in (0.1, 0.5, 0.98, 0.9999):
        watching = observer(changed(ema__decay=decay), watched)
        for _ in range(10):
            watching.follow(0)
        averaged = watching.state()
        assert all(torch.equal(averaged[name], value) for name, value in state(watched.module).items())


def test_a_model_that_caches_its_weights_is_evaluated_anew(changed: Change) -> None:
    """LeViT keeps its attention biases in evaluation mode; a later evaluation must not see the earlier ones."""
    recipe = changed(model__name="levit_128s", model__args={"stem_type": "s8"}, ema__decay=0.5, data__image_size=224)
    built = build_model(recipe.model, image_size=0, classes=10, seed=0, weights=None)
    watched = Learner(recipe, built.module, device=CPU, steps=5)
    watching = observer(recipe, watched)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first = watching.model()(image)
        for name, parameter in watched.module.named_parameters():
            if name.endswith("attention_biases"):
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        watching.follow(0)
        assert not torch.equal(watching.model()(image), first)


def test_a_restored_average_goes_on_as_the_first(changed: Change) -> None:
    """State and results are taken over."""
    recipe = changed(ema__decay=0.9)
    watched = learner(recipe)
    first, second = observer(recipe, watched), observer(recipe, watched)
    update(watched, 0)
    first.follow(0)
    second.restore(copy.deepcopy(first.state()), [])
    for name, value in first.state().items():
        assert torch.equal(second.state()[name], value)
    assert second.results == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_average_on_a_gpu_follows_the_formula(changed: Change) -> None:
    """One step of the average on CUDA."""
    recipe = changed(ema__decay=0.7)
    built = build_model(recipe.model, image_size=32, classes=10, seed=0, weights=None)
    watched = Learner(recipe, built.module, device=torch.device("cuda"), steps=5)
    watching, before = observer(recipe, watched), state(watched.module)
    with torch.no_grad():
        for parameter in watched.module.parameters():
            parameter.add_(1)
    watching.follow(0)
    for name, _ in watched.module.named_parameters():
        torch.testing.assert_close(watching.state()[name], before[name] + 0.3)
