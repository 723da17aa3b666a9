"""Averages of weights against timm's and the formula."""

import copy

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

from tinyablate.recipe import Ema
from tinyablate.train.average import Average, decay_at


def model() -> nn.Module:
    """Weights, a norm's statistics and its counter."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))


def change(module: nn.Module, number: int) -> None:
    """Something that training does to all of it."""
    generator = torch.Generator().manual_seed(number)
    for tensor in module.state_dict().values():
        tensor.add_(torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else 1)


@pytest.mark.parametrize("decay", [0.3, 0.9999])
def test_warmup_is_timms(decay: float) -> None:
    """Update for update, bit for bit, the average is ModelEmaV3's with `use_warmup`, fed as timm's script feeds it."""
    module = model()
    ours, theirs = Average(module, Ema(decay=decay, warmup=True)), ModelEmaV3(module, decay=decay, use_warmup=True)
    for update in range(8):
        change(module, update)
        ours.follow(update)
        theirs.update(module, step=update + 1)
        expected = theirs.module.state_dict()
        for name, value in ours.module.state_dict().items():
            assert torch.equal(value, expected[name])
        if update == 0:
            assert all(torch.equal(value, module.state_dict()[name]) for name, value in ours.tensors.items())


def test_warmup_ends_at_the_decay() -> None:
    """The decay rises from 0 to the recipe's and stays; without warm-up it is the recipe's from the start."""
    ema = Ema(decay=0.9, warmup=True)
    decays = [decay_at(ema, update) for update in range(100)]
    assert decays[:3] == pytest.approx([0, 1 - 2 ** (-2 / 3), 1 - 3 ** (-2 / 3)], rel=1e-12)
    assert decays == sorted(decays)
    assert decays[30] < 0.9 == decays[31] == decays[-1]  # (1 + t)^(-2/3) < 0.1 from t = 31 on
    assert [decay_at(Ema(decay=0.9), update) for update in (0, 1, 99)] == [0.9] * 3


def test_without_warmup_it_is_the_plain_average() -> None:
    """Every update takes floating tensors to decay * average + (1 - decay) * current and copies counters."""
    module = model()
    average = Average(module, Ema(decay=0.7))
    expected = copy.deepcopy({name: value.double() for name, value in module.state_dict().items()})
    for update in range(4):
        change(module, update)
        average.follow(update)
        for name, value in module.state_dict().items():
            current = value.double()
            expected[name] = 0.7 * expected[name] + 0.3 * current if value.is_floating_point() else current
    for name, value in average.tensors.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-6, atol=1e-6)  # of float32
    assert average.module[1].num_batches_tracked == 4


def test_what_does_not_change_keeps_its_bits() -> None:
    """An average of tensors that stand still stays bit-equal to them, for any decay."""
    module = model()
    for decay in (0.1, 0.5, 0.98, 0.9999):
        for warmup in (False, True):
            average = Average(module, Ema(decay=decay, warmup=warmup))
            for update in range(5):
                average.follow(update)
            assert all(torch.equal(average.tensors[name], value) for name, value in module.state_dict().items())
