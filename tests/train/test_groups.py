"""Weight decay and layer-wise learning rates against timm's groups, and big_vision's decay written out."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from tinyablate.errors import RecipeError
from tinyablate.recipe import Optimizer
from tinyablate.train.groups import layer_scales, parameter_groups
from tinyablate.train.model.build import classifier_names
from tinyablate.train.optim import build_optimizer, set_rate


def meta(name: str) -> nn.Module:
    """timm's model of 5 classes without memory for its weights."""
    with torch.device("meta"):
        return timm.create_model(name, num_classes=5, **({"depth": 5} if name.startswith("cait") else {}))


def settings(module: nn.Module, optimizer: Optimizer) -> dict[str, tuple[float, float]]:
    """Weight decay and share of the learning rate of every trained parameter."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = parameter_groups(module, optimizer)
    return {names[id(p)]: (group["weight_decay"], group["lr_scale"]) for group in groups for p in group["params"]}


def test_decay_all_is_one_group_of_what_is_trained() -> None:
    """`all` decays every trained parameter and leaves frozen ones out."""
    module = meta("test_vit")
    module.patch_embed.proj.weight.requires_grad_(False)
    (group,) = parameter_groups(module, Optimizer(weight_decay=0.1, lr=0.01))
    assert (group["weight_decay"], group["lr"], group["lr_scale"]) == (0.1, 0.01, 1.0)
    assert len(list(module.parameters())) == len(group["params"]) + 1


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "swin_tiny_patch4_window7_224"])
def test_decay_timm_is_timms_grouping(name: str) -> None:
    """`timm` puts each parameter into the group that timm's own function puts it into, exempt names included."""
    module = meta(name)
    exempt = getattr(module, "no_weight_decay", tuple)()
    theirs = {
        group["weight_decay"]: {id(p) for p in group["params"]}
        for group in param_groups_weight_decay(module, 0.1, no_weight_decay_list=exempt)
    }
    groups = parameter_groups(module, Optimizer(decay="timm", weight_decay=0.1))
    assert {group["weight_decay"]: {id(p) for p in group["params"]} for group in groups} == theirs


@pytest.mark.parametrize(
    ("name", "spared"),
    [
        ("test_vit", ["pos_embed", "cls_token", "norm.weight", "head.bias"]),
        ("test_vit3", ["blocks.0.ls1.gamma", "attn_pool.latent"]),
        ("swin_tiny_patch4_window7_224", ["layers.0.blocks.0.attn.relative_position_bias_table"]),
    ],
)
def test_decay_kernels_is_what_big_vision_calls_kernels(name: str, spared: list[str]) -> None:
    """`kernels` decays the weights of linear and convolutional layers, and nothing else of two dimensions or more."""
    module = meta(name)
    found = settings(module, Optimizer(decay="kernels", weight_decay=0.1))
    assert {found[part] for part in spared} == {(0.0, 1.0)}
    kernels = {name for name, (decay, _) in found.items() if decay == 0.1}
    assert {module.get_parameter(name).ndim for name in kernels} == {2, 4}
    matrices = {name for name, parameter in module.named_parameters() if parameter.ndim > 1}
    assert matrices - kernels == {
        name for name in matrices if name.endswith(("pos_embed", "_token", "latent", "_table"))
    }


def test_decay_kernels_of_a_lone_layer() -> None:
    """A module that is a layer itself has a kernel too."""
    found = settings(nn.Linear(3, 2), Optimizer(decay="kernels", weight_decay=0.1))
    assert found == {"weight": (0.1, 1.0), "bias": (0.0, 1.0)}


@pytest.mark.parametrize(
    "name",
    ["test_vit", "test_resnet", "cait_xxs24_224", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224"],
)
def test_layer_decay_is_timms(name: str) -> None:
    """Every parameter has the decay and the share of the rate that timm's function gives; the head has all of it."""
    module = meta(name)
    exempt = getattr(module, "no_weight_decay", tuple)()
    theirs = {
        id(p): (group["weight_decay"], group["lr_scale"])
        for group in param_groups_layer_decay(module, 0.1, exempt, layer_decay=0.7)
        for p in group["params"]
    }
    found = settings(module, Optimizer(decay="timm", weight_decay=0.1, layer_decay=0.7))
    assert found == {name: theirs[id(p)] for name, p in module.named_parameters()}
    assert {found[name][1] for name in classifier_names(module)} == {1.0}


def test_layer_decay_counts_the_layers_above() -> None:
    """ViT: the stem is depth + 1 layers below the head, block i depth - i, the last norm beside the last block."""
    scales = layer_scales(meta("test_vit"), 0.5)
    depth = 1 + max(int(name.split(".")[1]) for name in scales if name.startswith("blocks."))
    assert scales["pos_embed"] == scales["patch_embed.proj.weight"] == 0.5 ** (depth + 1)
    assert [scales[f"blocks.{i}.mlp.fc1.weight"] for i in range(depth)] == [0.5 ** (depth - i) for i in range(depth)]
    assert (scales["norm.weight"], scales["head.weight"]) == (0.5, 1.0)


def test_layer_decay_of_one_layer_is_refused() -> None:
    """Where timm knows no layers the field would be ignored."""
    with pytest.raises(RecipeError, match=r"optimizer\.layer_decay = 0\.5: changes nothing"):
        parameter_groups(nn.Linear(3, 2), Optimizer(layer_decay=0.5))


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize("lr", [1e-3, 1e-1])
def test_decay_times_the_schedule_does_not_depend_on_the_rate(lr: float, layer_decay: float) -> None:
    """Without a gradient a weight loses schedule * weight_decay of itself at an update, in every layer, at any lr."""
    module = timm.create_model("test_vit", num_classes=5).double()
    before = {name: value.clone() for name, value in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    recipe = Optimizer(lr=lr, weight_decay=0.1, decay_times="schedule", layer_decay=layer_decay)
    optimizer = build_optimizer(recipe, module, fused=False)
    for schedule in (0.0, 0.5, 1.0):
        set_rate(optimizer, schedule * lr)
        optimizer.step()
    for name, value in module.named_parameters():
        torch.testing.assert_close(value, before[name] * 0.95 * 0.9, rtol=1e-12, atol=0)
