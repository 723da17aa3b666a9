"""How large a model is: parameters, multiply-adds, layers, width, bytes of a checkpoint. It builds none."""

import copy
import json

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tinyablate import recipe
from tinyablate.train.model.build import Built

_MACS: dict[tuple[object, ...], float | None] = {}
"""What this process has counted, by what decides it: every trial reports it, and counting a ViT-L takes 0.6 s."""


def facts_of(built: Built, model: recipe.Model) -> dict[str, float]:
    """The metrics of source `facts` (`sweep.metrics`) by name, in raw units: counts and bytes.

    `built` is the whole model that `model` describes; nothing of it is changed, nor any generator of random numbers.
    What a model has not (layers that are blocks, one width, operations that can be counted) is left out.
    """
    found = {
        "parameters": built.parameters,
        "trainable_parameters": built.trainable_parameters,
        "macs": _known_macs(built, model),
        "layers": layers(built.module),
        "width": width(built.module),
        "checkpoint_bytes": checkpoint_bytes(built.module),
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def layers(module: nn.Module) -> int | None:
    """How many blocks the model has over all its stages; None for one that is not made of what timm calls `blocks`.

    Blocks of class attention count as blocks of self-attention do: CaiT-S/36 has 36 + 2 = 38, where its name and Huynh
    (2022, table 3) count 36. Swin-L has 2 + 2 + 18 + 2 = 24, where that table counts its third stage only.
    """
    named = ("blocks", "blocks_token_only")
    lists = (each for name, each in module.named_modules() if name.rpartition(".")[2] in named)
    counted = sum(_blocks(each) for each in lists if isinstance(each, (nn.Sequential, nn.ModuleList)))
    return counted or None


def _blocks(blocks: nn.Sequential | nn.ModuleList) -> int:
    """Its blocks; EfficientNet's `blocks` are stages of blocks."""
    return sum(len(each) if isinstance(each, (nn.Sequential, nn.ModuleList)) else 1 for each in blocks)


def width(module: nn.Module) -> int | None:
    """Channels of a token in the first stage (Swin-L 192, CaiT-S 384); None for a model without patch embedding."""
    found = getattr(module, "embed_dim", None)  # of timm's other models (MaxViT) it is the last stage's
    return found if isinstance(found, int) and hasattr(module, "patch_embed") else None


def checkpoint_bytes(module: nn.Module) -> int:
    """Bytes of the tensors in the model's state_dict, each once: what a file of its weights holds."""
    tensors = {id(tensor): tensor for tensor in module.state_dict(keep_vars=True).values()}
    return sum(tensor.nbytes for tensor in tensors.values())


def macs(module: nn.Module, image_size: int) -> float | None:
    """Multiply-adds of one image [3, S, S] passed in evaluation mode; None if the model cannot be counted.

    As torch counts them: products of matrices, attention's two among them, and convolutions; nothing else. A copy
    without values is passed, or, for a model whose pass reads values, a copy with them.
    """
    for without_values in (True, False):
        try:
            return _counted(_copy(module, without_values), image_size)
        except Exception:  # timm has 1,300 models: what one cannot do is no reason to lose its trial
            continue
    return None


def _known_macs(built: Built, model: recipe.Model) -> float | None:
    scores = tuple(built.module.get_parameter(name).shape for name in built.classifier)
    key = (model.name, json.dumps(model.args, sort_keys=True), built.image_size, scores)
    if key not in _MACS:
        _MACS[key] = macs(built.module, built.image_size)
    return _MACS[key]


def _copy(module: nn.Module, without_values: bool) -> nn.Module:
    """A copy in evaluation mode, its parameters and buffers on the meta device if it is to be `without_values`."""
    known: dict[int, Tensor] = {}
    if without_values:
        known = {id(old): nn.Parameter(old.to("meta"), requires_grad=False) for old in module.parameters()}
        known |= {id(old): old.to("meta") for old in module.buffers()}
    # Trainable parameters would be hooked by FlopCounterMode (torch 2.15), which breaks on CaiT's without a gradient.
    return copy.deepcopy(module, known).requires_grad_(False).eval()


def _counted(module: nn.Module, image_size: int) -> float:
    """Half the operations that torch counts, each multiply-add being two. Raises what the model raises."""
    device = next(module.parameters()).device
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    counter = FlopCounterMode(display=False)
    # In plain matrix products: not every torch counts the CPU's fused attention.
    with torch.random.fork_rng(devices=[]), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        module(image)
    return counter.get_total_flops() / 2
