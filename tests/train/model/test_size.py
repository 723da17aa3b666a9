"""How large models are, against numbers worked out by hand and those of the papers."""

import copy
import time

import pytest
import timm
import torch
from torch import nn

from tinyablate.recipe import Model
from tinyablate.train.model import size
from tinyablate.train.model.build import Built, construct, describe

VIT = Model(name="test_vit", pretrained=False)


def built(model: Model = VIT, image_size: int = 64, classes: int = 10) -> Built:
    """The model on the CPU."""
    return describe(construct(model, image_size, classes), model, image_size)


def vit_macs(tokens: int, dim: int, hidden: int, depth: int) -> int:
    """Multiply-adds of a transformer's blocks: query, key and value; scores and their use; projection; MLP."""
    return depth * (tokens * dim * 3 * dim + 2 * tokens * tokens * dim + tokens * dim * dim + 2 * tokens * dim * hidden)


def test_a_transformer_counts_its_attention() -> None:
    """`test_vit` at 64 pixels: 16 patches and a class token of width 64 through six blocks, every product by hand."""
    vit = built()
    patches = 16 * (16 * 16 * 3) * 64
    hidden = vit.module.blocks[0].mlp.fc1.out_features
    assert size.facts_of(vit, VIT) == {
        "parameters": 301_514,
        "trainable_parameters": 301_514,
        "macs": patches + vit_macs(17, 64, hidden, 6) + 64 * 10,
        "layers": 6,
        "width": 64,
        "checkpoint_bytes": 4 * 301_514,
    }


def test_a_model_without_blocks_has_no_layers_and_no_width() -> None:
    """`test_resnet` is counted, running statistics belong to its checkpoint, and what it has not is left out."""
    model = Model(name="test_resnet", pretrained=False, trainable="head")
    resnet = built(model)
    facts = size.facts_of(resnet, model)
    assert facts.keys() == {"parameters", "trainable_parameters", "macs", "checkpoint_bytes"}
    assert facts["trainable_parameters"] == 970
    norms = [layer for layer in resnet.module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert facts["checkpoint_bytes"] == 4 * facts["parameters"] + sum(8 * n.num_features + 8 for n in norms)


HUYNH = {
    "deit_base_distilled_patch16_384": (55.59, 86_399_632, 12, 768, 330),
    "swin_large_patch4_window12_384": (103.92, 195_505_916, 24, 192, 746),
    "cait_s36_384": (47.91, 68_058_632, 38, 384, 260),
}
"""GMACs, parameters, blocks, width, MiB of a checkpoint with 200 classes; Huynh prints 55.5, 103.9, 48.0 GMACs.

MiB of Swin-L: its 13 MiB of relative position indices are buffers that timm leaves out of the state_dict.
"""


@pytest.mark.parametrize("name", HUYNH)
def test_the_models_of_the_paper(name: str) -> None:
    """Models of Huynh (2022) at 384 pixels, without memory for their weights; CaiT has 2 blocks of class attention."""
    model = Model(name=name, pretrained=False, trainable="head")
    with torch.device("meta"):
        facts = size.facts_of(built(model, 384, 200), model)
    gmacs, parameters, layers, width, mib = HUYNH[name]
    assert round(facts["macs"] / 1e9, 2) == gmacs
    assert (facts["parameters"], facts["layers"], facts["width"]) == (parameters, layers, width)
    assert round(facts["checkpoint_bytes"] / 2**20) == mib


def test_stages_of_stages_and_tables_of_widths() -> None:
    """EfficientNet's blocks lie in stages; MaxViT names the width of its last stage only, which is not the first's."""
    with torch.device("meta"):
        efficient, maxvit = timm.create_model("test_efficientnet"), timm.create_model("test_maxvit")
    assert size.layers(efficient) == sum(len(stage) for stage in efficient.blocks)
    assert size.layers(maxvit) == sum(len(stage.blocks) for stage in maxvit.stages)
    assert size.width(efficient) is size.width(maxvit) is None


def test_counting_changes_nothing() -> None:
    """Weights, statistics, mode, gradients wanted, hooks and the random generator are as they were."""
    module = built(Model(name="test_resnet", pretrained=False)).module.train()
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    assert size.macs(module, 64)
    assert module.training
    assert all(p.requires_grad and p.device.type == "cpu" for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


class ReadsValues(nn.Module):
    """A model whose pass depends on a value, which a copy without values cannot tell."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores."""
        if float(self.layer.weight.abs().sum()) < 0:
            raise ValueError("not possible")
        query = images.flatten(2)
        return self.layer(nn.functional.scaled_dot_product_attention(query, query, query).flatten(1))


def test_a_model_that_reads_values_is_counted_with_them() -> None:
    """Attention is counted on the CPU as well; what cannot be counted at all has no macs and is no error."""
    module = ReadsValues()
    assert size.macs(module, 8) == 2 * 3 * 3 * 64 + 192 * 5
    assert size.macs(module, 9) is None
    with torch.device("meta"):
        assert size.macs(ReadsValues(), 8) is None


def test_shared_weights_lie_in_a_checkpoint_once() -> None:
    """A layer under two names is one layer on disk."""
    layer = nn.Linear(4, 4)
    assert size.checkpoint_bytes(nn.Sequential(layer, nn.ReLU(), layer)) == 4 * (16 + 4)


def test_every_trial_may_report_it() -> None:
    """A process counts an architecture once: every later trial of it takes milliseconds."""
    size.facts_of(built(), VIT)
    again = built()
    start = time.process_time()
    size.facts_of(again, VIT)
    assert time.process_time() - start < 0.05
    assert size.facts_of(built(image_size=32), VIT)["macs"] < size.facts_of(again, VIT)["macs"]
