"""SAM, ASAM and PUGD against their formulas written out, over micro-batches, and at what is not finite."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from tinyablate.recipe import Optimizer
from tinyablate.train.perturb import Perturbation, perturbation_of

KINDS = ["sam", "asam", "pugd"]


def model(dtype: torch.dtype = torch.float64) -> nn.Module:
    """A small network, the same each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def data(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """12 samples with soft targets."""
    generator = torch.Generator().manual_seed(1)
    targets = torch.rand(12, 3, generator=generator, dtype=dtype)
    return torch.randn(12, 6, generator=generator, dtype=dtype), targets / targets.sum(dim=1, keepdim=True)


def loss(module: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The samples' summed cross-entropy as a share of the batch's mean."""
    return -(targets * torch.log_softmax(module(images), dim=1)).sum() / 12


def backward(module: nn.Module, sizes: Sequence[int] = (12,), factor: float = 1.0) -> None:
    """The gradient of the batch's mean loss, in passes of these sizes, added to what is there."""
    start = 0
    for size in sizes:
        images, targets = (part[start : start + size] for part in data(next(module.parameters()).dtype))
        (factor * loss(module, images, targets)).backward()
        start += size


def weights(module: nn.Module) -> Tensor:
    """All weights as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def gradient(module: nn.Module) -> Tensor:
    """All gradients as one vector."""
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters()])


def gradient_at(place: Tensor) -> Tensor:
    """The loss's gradient with all weights at `place`, by torch's functional interface."""
    module = model(place.dtype)
    sizes = [parameter.numel() for parameter in module.parameters()]
    named = {
        name: part.reshape(parameter.shape)
        for (name, parameter), part in zip(module.named_parameters(), place.split(sizes), strict=True)
    }

    def at(parameters: dict[str, Tensor]) -> Tensor:
        images, targets = data(place.dtype)
        scores = torch.func.functional_call(module, parameters, images)
        return -(targets * torch.log_softmax(scores, dim=1)).sum(dim=1).mean()

    return torch.cat([part.flatten() for part in torch.func.grad(at)(named).values()])


def recipe(kind: str) -> Optimizer:
    """A perturbation large enough to matter."""
    return Optimizer(perturbation=kind, rho=0.3, asam_eta=0.02)


def both_passes(kind: str, sizes: Sequence[int] = (12,), factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """The weights in the second pass, and what the optimizer is given."""
    module = model()
    perturbation = perturbation_of(recipe(kind), list(module.parameters()))
    assert perturbation is not None
    backward(module, sizes, factor)
    perturbation.ascend()
    perturbed = weights(module)
    backward(module, sizes, factor)
    perturbation.descend()
    return perturbed, gradient(module)


@pytest.mark.parametrize("kind", KINDS)
def test_both_passes_are_the_papers_equations(kind: str) -> None:
    """Perturbed weights and the step's direction equal the formulas on one vector of all weights, to 1e-12."""
    w = weights(model())
    g = gradient_at(w)
    if kind == "sam":
        e = 0.3 * g / g.norm()
    elif kind == "asam":
        scale = w.abs() + 0.02
        e = 0.3 * scale**2 * g / (scale * g).norm()
    else:
        e = w.abs() * g / (w.abs() * g).norm()
    second = gradient_at(w + e)
    direction = (g + second) / (g + second).norm() if kind == "pugd" else second
    perturbed, given = both_passes(kind)
    torch.testing.assert_close(perturbed, w + e, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(given, direction, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(second, g, rtol=1e-3, atol=0)  # the second pass tells something else


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_give_the_batchs_own(kind: str) -> None:
    """Gradients summed over uneven parts lead to the same place and direction, in float64 to 1e-12."""
    whole, parts = both_passes(kind), both_passes(kind, (5, 4, 2, 1))
    for ours, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_an_undivided_loss_moves_no_further(kind: str) -> None:
    """A gradient 4 times as long perturbs equally, and the step's is 4 times as long, but PUGD's still of length 1."""
    (perturbed, given), (expected, direction) = both_passes(kind, factor=4.0), both_passes(kind)
    torch.testing.assert_close(perturbed, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(given, direction if kind == "pugd" else 4 * direction, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bf16", [False, True])
def test_weights_come_back_bit_for_bit(kind: str, bf16: bool) -> None:
    """After the second pass the weights are the first's; under autocast they and the gradients stay float32."""
    module = model(torch.float32)
    before = weights(module)
    perturbation = Perturbation(recipe(kind), list(module.parameters()))
    for moved in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            backward(module)
        if not moved:
            perturbation.ascend()
            assert not torch.equal(weights(module), before)
            assert all(parameter.grad is None for parameter in module.parameters())
    perturbation.descend()
    assert torch.equal(weights(module), before)
    assert {parameter.grad.dtype for parameter in module.parameters()} == {torch.float32}


def test_sam_on_a_quadratic_is_known() -> None:
    """f(w) = 2 w1^2 + w2^2 / 2 at (3, 4): e = rho (12, 4) / sqrt(160), and the step goes along (4, 1) * (w + e)."""
    w = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    perturbation = Perturbation(Optimizer(perturbation="sam", rho=0.5), [w])
    for last in (False, True):
        (2 * w[0] ** 2 + w[1] ** 2 / 2).backward()
        perturbation.descend() if last else perturbation.ascend()
    assert w.grad.tolist() == pytest.approx([4 * (3 + 6 / 160**0.5), 4 + 2 / 160**0.5], rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_of_zero_moves_nothing(kind: str) -> None:
    """Where the norm is 0 the perturbation is 0, and no weight becomes nan."""
    w = nn.Parameter(torch.ones(3))
    perturbation = Perturbation(recipe(kind), [w])
    for last in (False, True):
        (w * 0).sum().backward()
        assert w.tolist() == [1, 1, 1]
        perturbation.descend() if last else perturbation.ascend()
    assert w.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_shows(kind: str, value: float) -> None:
    """A gradient that is not finite makes the second pass's weights nan; the weights themselves come back."""
    w, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    perturbation = Perturbation(recipe(kind), [w, other])
    w.grad, other.grad = torch.tensor([value, 1.0]), torch.ones(2)
    perturbation.ascend()
    assert w.isnan().any()
    (w.sum() + other.sum()).mul(1.0).square().backward()
    perturbation.descend()
    assert w.tolist() == other.tolist() == [1, 1]
    assert w.grad.isnan().any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_parameter_without_a_gradient_stays(kind: str) -> None:
    """What the loss does not reach is neither moved nor given a gradient."""
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    perturbation = Perturbation(recipe(kind), [used, unused])
    used.square().sum().backward()
    perturbation.ascend()
    assert unused.tolist() == [1, 1] != used.tolist()
    used.square().sum().backward()
    perturbation.descend()
    assert unused.grad is None


def test_no_perturbation_is_none() -> None:
    """A recipe without one has none."""
    assert perturbation_of(Optimizer(), []) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_waits_for_nothing(kind: str) -> None:
    """Both halves make no synchronising call, and give what the CPU gives, in float64 to 1e-10."""
    module = model().cuda()
    perturbation = Perturbation(recipe(kind), list(module.parameters()))
    images, targets = (part.cuda() for part in data())
    for last in (False, True):
        loss(module, images, targets).backward()
        torch.cuda.set_sync_debug_mode("error")
        try:
            perturbation.descend() if last else perturbation.ascend()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(gradient(module).cpu(), both_passes(kind)[1], rtol=1e-10, atol=1e-10)
