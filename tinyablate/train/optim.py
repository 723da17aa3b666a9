"""The optimizer of a recipe, its learning rate in place, its gradient clipped. It makes no step and knows no schedule.

Nothing here makes the host wait for a GPU.
"""

from collections.abc import Sequence

from timm.optim.lamb import Lamb
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from tinyablate import recipe as recipes
from tinyablate.train.groups import parameter_groups


def build_optimizer(recipe: recipes.Optimizer, module: nn.Module, *, fused: bool) -> Optimizer:
    """torch's AdamW or SGD, or timm's LAMB, over the trained parameters of `module`, at the peak learning rate.

    `fused`: one kernel for all parameters; LAMB has none, it is computed tensor list by tensor list on CUDA. Its own
    clipping to norm 1 is off: that is `clip_norm`'s business. It counts its steps on the CPU. Parameters without weight
    decay step at the plain learning rate there, as in NVIDIA's FusedLAMB. Raises RecipeError (see `parameter_groups`).
    """
    groups = parameter_groups(module, recipe)
    if recipe.name == "adamw":
        return AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, fused=fused)
    if recipe.name == "sgd":
        return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=fused)
    lamb: Optimizer = Lamb(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, max_grad_norm=None)
    return lamb


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Let the next step be made at the learning rate `rate`, of which each group has its share `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def clip(parameters: Sequence[Tensor], clip_norm: float) -> None:
    """Scale the gradient over all `parameters` down to the Euclidean norm `clip_norm` where it is longer; 0 is off.

    torch's `clip_grad_norm_`: gradient * min(1, clip_norm / (norm + 1e-6)). A norm that is not finite leaves no finite
    gradient, or zeros beside nan, so that the loss shows it.
    """
    if clip_norm > 0:
        nn.utils.clip_grad_norm_(parameters, clip_norm)
