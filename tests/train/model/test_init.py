"""Initial weights keyed by seed and parameter name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
from scipy import stats
from torch import nn

from tinyablate.train.model.init import keyed_init
from tinyablate.train.randomness import stream_key

Weights = dict[str, torch.Tensor]


def initial(name: str, seed: int = 0, **kwargs: Any) -> Weights:
    """The state of timm's model as keyed_init makes it."""

    def construct() -> nn.Module:
        return timm.create_model(name, **kwargs)

    return keyed_init(seed, construct, construct).state_dict()


def differing(one: Weights, other: Weights) -> set[str]:
    """Tensors of both states that have one shape and different values."""
    both = {name for name in one if name in other and one[name].shape == other[name].shape}
    return {name for name in both if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_initial_weights_repeat(name: str) -> None:
    """One seed gives the same bits again, whatever state torch's generators are in; another seed gives others."""
    first = initial(name)
    torch.manual_seed(99)
    assert not differing(first, initial(name))
    changed = differing(first, initial(name, seed=1))
    assert {key for key in first if key.endswith("weight") and first[key].ndim > 1} <= changed


@pytest.mark.parametrize(
    ("name", "change", "shared"),
    [
        ("test_vit", {"depth": 9}, 80),
        ("test_vit", {"class_token": False, "global_pool": "avg"}, 70),
        ("test_vit", {"num_classes": 20}, 78),
        ("test_vit", {"init_values": 1e-5}, 80),
        ("test_resnet", {"num_classes": 20}, 90),
        ("test_resnet", {"layers": (1, 2, 1, 1)}, 90),
        ("test_efficientnet", {"num_classes": 20}, 86),
    ],
)
def test_a_change_elsewhere_leaves_the_other_initial_weights(name: str, change: dict[str, Any], shared: int) -> None:
    """Depth, class token, head or an added layer changes no parameter that both models have in one shape."""
    one, other = initial(name, num_classes=10), initial(name, **{"num_classes": 10, **change})
    assert len({key for key in one if key in other and one[key].shape == other[key].shape}) >= shared
    assert not differing(one, other)


def test_parameters_do_not_repeat_one_another() -> None:
    """Equal layers at different depth draw different values."""
    weights = initial("test_vit")
    blocks = [weights[f"blocks.{block}.mlp.fc1.weight"].flatten().numpy() for block in range(6)]
    assert abs(np.corrcoef(blocks)[np.triu_indices(6, 1)]).max() < 0.06


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_distributions_are_timms_own(name: str) -> None:
    """Every parameter of some size has the distribution that timm's own construction gives it."""
    keyed = initial(name)
    torch.manual_seed(1)
    own = timm.create_model(name).state_dict()
    assert list(keyed) == list(own)
    for key, tensor in own.items():
        ours, theirs = keyed[key].flatten().double().numpy(), tensor.flatten().double().numpy()
        if np.ptp(theirs) == 0:
            assert (ours == theirs).all(), key  # a constant: zeros, ones, running statistics
        elif len(theirs) > 100:
            assert stats.ks_2samp(ours, theirs).pvalue > 1e-5, key


def test_the_global_generator_is_left_alone() -> None:
    """What torch draws after keyed_init is what it would have drawn without."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    initial("test_vit")
    assert torch.equal(torch.rand(4), expected)


class Odd(nn.Module):
    """Initialises itself in the ways that in-place initialisers do not cover."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.noise = [torch.randn(3) for _ in range(before)]  # drawn, but no parameter
        self.scaled = nn.Parameter(torch.randn(4, 5) * 0.02)
        self.register_buffer("table", torch.cat([torch.rand(2, 3), torch.zeros(1, 3)]))
        self.tied = nn.Linear(5, 4, bias=False)
        self.tied.weight = self.scaled
        with torch.no_grad():
            self.part = nn.Parameter(torch.zeros(6, 2))
            self.part[2:4].uniform_()


def test_values_are_followed_through_computations_and_views() -> None:
    """Weights computed from draws, drawn into a slice, tied or kept as buffers are keyed by name like the others."""
    small, large = (keyed_init(0, lambda n=n: Odd(n), lambda n=n: Odd(n)) for n in (0, 3))
    assert not differing(small.state_dict(), large.state_dict())
    torch.manual_seed(stream_key(0, "init/scaled", 0))
    assert torch.equal(small.scaled, torch.randn(4, 5) * 0.02)
    torch.manual_seed(stream_key(0, "init/part", 0))
    assert torch.equal(small.part[2:4], torch.rand(2, 2))
    assert not torch.equal(large.noise[0], large.noise[1])


@pytest.mark.parametrize(
    "performed",
    [lambda: nn.Linear(3, 5), lambda: nn.Identity(), lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(3, 4))],
)
def test_a_construction_unlike_its_rehearsal_is_refused(performed: Callable[[], nn.Module]) -> None:
    """If the second construction draws in other shapes, less or more than the first, no weights are handed out."""
    with pytest.raises(RuntimeError, match="drew"):
        keyed_init(0, lambda: nn.Linear(3, 4), performed)
