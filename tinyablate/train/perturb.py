"""Perturbations: an update's second gradient is taken where the first one leads. They make no step.

w are the weights, g the gradient of the loss there, |w| the weights' magnitudes, ||.|| the Euclidean norm over all
trained parameters together, products and magnitudes element by element.

- SAM (Foret et al. 2021, equation 2 with p = 2): e = rho * g / ||g||. The optimizer steps along g' = gradient(w + e).
- ASAM (Kwon et al. 2021, algorithm 1, the element-wise operator): T = |w| + eta, e = rho * T^2 g / ||T g||; steps along
  g'. T applies to every parameter, as in the paper; the authors' code (SamsungLabs/ASAM) leaves T = 1 for parameters
  without "weight" in their name, such as biases.
- PUGD (Tseng et al. 2022, arXiv:2110.00199): e = |w| g / || |w| g ||, steps along (g + g') / ||g + g'||; both have
  length 1. Taken from the authors' code (hanktseng131415go/PUGD, pugd.py), where the second gradient is added to the
  first, which nothing clears; weight decay and momentum are the optimizer's and come after.

A norm of 0 makes a perturbation of 0: `TINY` is added to every divisor. What is not finite in a gradient makes its
weight nan, so that the loss shows it. All of it is computed in the weights' own type, and the host never waits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tinyablate import recipe

TINY = 1e-16
"""Added to norms that are divided by. (The authors' codes have nothing for SAM, 1e-16 for ASAM, 1e-12 for PUGD.)"""


class Perturbation:
    """The two halves of SAM, ASAM or PUGD: `ascend` after the first gradient, `descend` after the second."""

    def __init__(self, optimizer: recipe.Optimizer, parameters: Sequence[Tensor]) -> None:
        """`parameters` are those that are trained; one without a gradient stays where it is."""
        if optimizer.perturbation == "none":
            raise ValueError("the recipe has no perturbation")
        self._kind, self._rho, self._eta = optimizer.perturbation, optimizer.rho, optimizer.asam_eta
        self._parameters = list(parameters)
        self._moved: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._first: list[Tensor] = []

    @torch.no_grad()
    def ascend(self) -> None:
        """Move the weights to w + e by the gradients that they have, and clear those for the second pass."""
        self._moved = [parameter for parameter in self._parameters if parameter.grad is not None]
        gradients = _gradients(self._moved)
        self._kept = [parameter.clone() for parameter in self._moved]
        self._first = gradients if self._kind == "pugd" else []
        torch._foreach_add_(self._moved, self._perturbation(gradients))
        for parameter in self._moved:
            parameter.grad = None

    @torch.no_grad()
    def descend(self) -> None:
        """Put the weights back, bit for bit, and leave in `.grad` what the optimizer is to step along."""
        torch._foreach_copy_(self._moved, self._kept)
        if self._kind == "pugd":
            gradients = _gradients(self._moved)
            torch._foreach_add_(gradients, self._first)
            _scale(gradients, 1 / (_norm(gradients) + TINY))
        self._moved, self._kept, self._first = [], [], []

    def _perturbation(self, gradients: list[Tensor]) -> list[Tensor]:
        """e, from g and the weights as they stand; SAM's overwrites g, which is not needed again."""
        if self._kind == "sam":
            return _scale(gradients, self._rho / (_norm(gradients) + TINY))
        magnitudes = torch._foreach_abs(self._moved)
        if self._kind == "asam":
            torch._foreach_add_(magnitudes, self._eta)
        direction = list(torch._foreach_mul(magnitudes, gradients))
        norm = _norm(direction)
        if self._kind == "pugd":
            return _scale(direction, 1 / (norm + TINY))
        torch._foreach_mul_(direction, magnitudes)
        return _scale(direction, self._rho / (norm + TINY))


def perturbation_of(optimizer: recipe.Optimizer, parameters: Sequence[Tensor]) -> Perturbation | None:
    """The recipe's perturbation of these trained parameters, or None where an update has one pass."""
    return None if optimizer.perturbation == "none" else Perturbation(optimizer, parameters)


def _gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _norm(tensors: list[Tensor]) -> Tensor:
    """The Euclidean norm over all of them, a scalar on their device."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm


def _scale(tensors: list[Tensor], factor: Tensor) -> list[Tensor]:
    """`tensors`, multiplied in place."""
    torch._foreach_mul_(tensors, factor)
    return tensors
