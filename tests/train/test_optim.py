"""Which optimizer a recipe's is, against plain steps of torch and timm; rates, clipping."""

import copy

import pytest
import timm
import torch
from timm.optim import Lamb
from torch import nn

from tinyablate.recipe import Optimizer
from tinyablate.train.optim import build_optimizer, clip, set_rate


def model() -> nn.Module:
    """Two layers with a norm between, the same each time, in float64."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)).double()


def backward(module: nn.Module, number: int) -> None:
    """The gradient of update `number` on noise."""
    images = torch.randn(6, 4, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
    module.zero_grad()
    module(images).pow(2).sum().backward()


def test_sgd_is_nesterov_only_where_the_recipe_says_so() -> None:
    """The name `sgd` does not mean Nesterov, as it does in timm."""
    for nesterov in (False, True):
        optimizer = build_optimizer(Optimizer(name="sgd", nesterov=nesterov), nn.Linear(2, 2), fused=False)
        assert type(optimizer) is torch.optim.SGD
        assert optimizer.param_groups[0]["nesterov"] is nesterov
        assert optimizer.param_groups[0]["momentum"] == 0.9


def test_lamb_is_its_formula() -> None:
    """Three steps are those of You et al. 2020 with Adam's bias correction: the layer's norm over its step's norm."""
    ours, plain = model(), model()
    recipe = Optimizer(name="lamb", lr=0.02, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-6, decay="timm")
    optimizer = build_optimizer(recipe, ours, fused=True)
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in plain.named_parameters()}
    for step in range(1, 4):
        backward(ours, step)
        set_rate(optimizer, 0.02)
        optimizer.step()
        backward(plain, step)
        for name, p in plain.named_parameters():
            first, second = moments[name]
            first.mul_(0.9).add_(p.grad, alpha=0.1)
            second.mul_(0.98).add_(p.grad**2, alpha=0.02)
            update = first / (1 - 0.9**step) / ((second / (1 - 0.98**step)).sqrt() + 1e-6)
            if p.ndim > 1:
                update = update + 0.1 * p.detach()
                update = update * p.detach().norm() / update.norm()
            p.data.sub_(0.02 * update)
    for mine, expected in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-12)  # sums are taken in another order


def test_lamb_leaves_clipping_to_the_recipe() -> None:
    """timm's LAMB would scale gradients to norm 1; here a gradient a thousand times as long makes its own step."""
    steps = []
    for norm in (None, 1.0):
        module = model()
        optimizer = (
            build_optimizer(Optimizer(name="lamb", eps=1e-2), module, fused=True)
            if norm is None
            else Lamb(module.parameters(), lr=1e-3, eps=1e-2, weight_decay=0.05, max_grad_norm=norm)
        )
        backward(module, 1)
        optimizer.step()
        steps.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert not torch.allclose(*steps, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb"])
def test_an_optimizer_goes_on_from_its_state(name: str) -> None:
    """Moments, step counts and shares of the rate come back from the state: the next steps are bit-equal."""
    first, second = timm.create_model("test_vit", img_size=32), timm.create_model("test_vit", img_size=32)
    recipe = Optimizer(name=name, layer_decay=0.8, decay="kernels", lr=1e-2)
    theirs, ours = (build_optimizer(recipe, module, fused=True) for module in (first, second))

    def step(module: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
        for index, parameter in enumerate(module.parameters()):
            generator = torch.Generator().manual_seed(1000 * number + index)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        set_rate(optimizer, 1e-2 / number)
        optimizer.step()

    for number in (1, 2):
        step(first, theirs, number)
    second.load_state_dict(first.state_dict())
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for number in (3, 4):
        step(first, theirs, number)
        step(second, ours, number)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_rate_of_a_group_is_its_share() -> None:
    """Setting the rate keeps what layer-wise decay made of it."""
    optimizer = build_optimizer(Optimizer(lr=1.0, layer_decay=0.5), timm.create_model("test_vit"), fused=False)
    set_rate(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2 * g["lr_scale"] for g in optimizer.param_groups]
    assert optimizer.param_groups[-1]["lr"] == 0.2
    assert optimizer.param_groups[0]["lr"] < 0.2


def test_clipping_shortens_long_gradients_only() -> None:
    """The norm over all parameters becomes the limit where it was longer; 0 is off; a nan makes all of it nan."""
    module = model()
    backward(module, 0)
    gradients = torch.cat([p.grad.flatten() for p in module.parameters()])
    norm = float(gradients.norm())
    for limit, expected in ((0.0, norm), (2 * norm, norm), (norm / 10, norm / 10)):
        backward(module, 0)
        clip(list(module.parameters()), limit)
        clipped = torch.cat([p.grad.flatten() for p in module.parameters()])
        assert float(clipped.norm()) == pytest.approx(expected, rel=1e-5)  # torch adds 1e-6 to the norm
        torch.testing.assert_close(clipped / expected, gradients / norm, rtol=1e-5, atol=0)
    next(module.parameters()).grad[0, 0] = torch.nan
    clip(list(module.parameters()), 1.0)
    assert all(p.grad.isnan().all() for p in module.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb"])
def test_a_step_on_a_gpu_waits_for_nothing(name: str) -> None:
    """Rate, clipping and step make no synchronising call, and end where the CPU's do."""
    ends = []
    for device in ("cpu", "cuda"):
        module = model().to(device)
        optimizer = build_optimizer(Optimizer(name=name, clip_norm=0.5), module, fused=True)
        for number in range(3):
            backward_on = torch.randn(6, 4, generator=torch.Generator().manual_seed(number)).double().to(device)
            module.zero_grad()
            module(backward_on).pow(2).sum().backward()
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("error")
            try:
                clip(list(module.parameters()), 0.5)
                set_rate(optimizer, 1e-3)
                optimizer.step()
            finally:
                if device == "cuda":
                    torch.cuda.set_sync_debug_mode("default")
        ends.append([p.detach().cpu() for p in module.parameters()])
    for cpu, gpu in zip(*ends, strict=True):
        torch.testing.assert_close(gpu, cpu, rtol=1e-10, atol=1e-12)
