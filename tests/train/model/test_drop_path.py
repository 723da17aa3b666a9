"""Stochastic depth with keyed draws."""

import copy

import pytest
import timm
import torch
from timm.layers.drop import DropPath, calculate_drop_path_rates
from torch import nn

from tinyablate.train.model.drop_path import DropPathStreams, KeyedDropPath

BATCH = 6


def vit(depth: int = 4, rate: float = 0.5) -> nn.Module:
    """A tiny ViT in training mode; its weights are the same for every depth's shared layers."""
    torch.manual_seed(0)
    module = timm.create_model("test_vit", depth=depth, drop_path_rate=rate, img_size=32, num_classes=5)
    return module.train()


def images(count: int = BATCH) -> torch.Tensor:
    """Different images of 32 pixels."""
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def scales(streams: DropPathStreams) -> dict[int, torch.Tensor]:
    """Each layer's factors for its first call."""
    return {layer.layer_index: layer.scales[0].clone() for layer in streams.layers if layer.scales is not None}


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("test_vit", 10),
        ("test_resnet", 3),
        ("test_efficientnet", 4),
        ("test_convnext", 8),
        ("deit_tiny_distilled_patch16_224", 22),
        ("swin_tiny_patch4_window7_224", 22),
        ("cait_xxs24_224", 24),
    ],
)
def test_every_active_layer_is_replaced(name: str, layers: int) -> None:
    """No DropPath of timm's remains active in any family, and the rates are timm's."""
    with torch.device("meta"):
        module = timm.create_model(name, drop_path_rate=0.3)
    rates = [layer.drop_prob for layer in module.modules() if isinstance(layer, DropPath) and layer.drop_prob]
    streams = DropPathStreams(module)
    assert [layer.drop_prob for layer in streams.layers] == rates
    assert len(rates) == layers
    assert not [layer for layer in module.modules() if isinstance(layer, DropPath) and layer.drop_prob]
    assert [layer for layer in module.modules() if isinstance(layer, KeyedDropPath)] == streams.layers


def test_each_sample_is_dropped_or_scaled() -> None:
    """A layer multiplies each sample by 0 or 1 / keep at its rate, on average by 1, as timm's drop_path does."""
    for scale_by_keep, kept in ((True, 4 / 3), (False, 1.0)):
        holder = nn.Sequential(DropPath(0.25, scale_by_keep))
        streams = DropPathStreams(holder)
        streams.draw(0, 0, 20_000, "cpu")
        out = holder(torch.ones(20_000, 2, 3))
        assert (out == out[:, :1, :1]).all()
        assert out.unique().tolist() == pytest.approx([0.0, kept])
        assert (out[:, 0, 0] == 0).double().mean().item() == pytest.approx(0.25, abs=0.015)


def test_draws_are_keyed_by_seed_step_layer_and_place() -> None:
    """Draws repeat, and differ between seeds, steps, layers and samples."""
    streams = DropPathStreams(vit())
    seen = []
    for seed, step in ((0, 0), (0, 1), (1, 0), (0, 0)):
        streams.draw(seed, step, 64, "cpu")
        seen.append(scales(streams))
    assert all(torch.equal(seen[0][layer], seen[3][layer]) for layer in seen[0])
    last = len(streams.layers) - 1  # drops half of the samples
    assert len({tuple(draw[layer].tolist()) for draw in seen[:3] for layer in (last - 1, last)}) == 6


def test_a_layer_keeps_its_draws_when_others_are_added() -> None:
    """A deeper model drops the same samples in the layers that both have (rates equal, as in CaiT)."""
    small = nn.ModuleDict({"a": DropPath(0.5), "c": DropPath(0.5)})
    large = nn.ModuleDict({"a": DropPath(0.5), "b": DropPath(0.5), "c": DropPath(0.5)})
    drawn = []
    for module in (small, large):
        DropPathStreams(module).draw(0, 7, 32, "cpu")
        drawn.append(torch.stack([module[name](torch.ones(32)) for name in ("a", "c")]))
    assert torch.equal(drawn[0], drawn[1])


def test_a_sample_keeps_its_draws_in_a_larger_batch() -> None:
    """Place 3 of the batch draws the same whether the batch has 6 or 60 samples."""
    streams = DropPathStreams(vit())
    streams.draw(0, 0, 6, "cpu")
    few = scales(streams)
    streams.draw(0, 0, 60, "cpu")
    assert all(torch.equal(few[layer], many[:6]) for layer, many in scales(streams).items())


def test_micro_batches_give_the_gradient_of_the_batch() -> None:
    """Windows of uneven size over one draw sum to the whole batch's gradient, in float64 to 1e-12."""
    gradients = []
    for sizes in ((6,), (4, 2), (1, 1, 1, 1, 1, 1)):
        module = vit().double()
        streams = DropPathStreams(module)
        for step in range(2):
            module.zero_grad()
            streams.draw(0, step, BATCH, "cpu")
            start = 0
            for size in sizes:
                streams.window(start, start + size)
                (module(images().double()[start : start + size]) ** 2).sum().backward()
                start += size
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters()]))
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-12, atol=1e-12)


def test_a_layer_that_acts_twice_draws_twice() -> None:
    """CaiT's blocks use one layer for attention and MLP: each use has a draw of its own, in every step."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop_path = DropPath(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.drop_path(x), self.drop_path(x)])

    module = Twice().train()
    streams = DropPathStreams(module)
    passes = []
    for step in (0, 1, 0):
        streams.draw(0, step, 64, "cpu")
        passes.append(module(torch.ones(64)))
    assert torch.equal(passes[0], passes[2])  # also after the number of uses was learned
    assert len({tuple(use.tolist()) for draw in passes[:2] for use in draw}) == 4


def test_eval_mode_is_the_identity() -> None:
    """In eval mode nothing is dropped, drawn or not."""
    module = vit().eval()
    expected = copy.deepcopy(module)(images())
    streams = DropPathStreams(module)
    assert torch.equal(module(images()), expected)
    streams.draw(0, 0, BATCH, "cpu")
    assert torch.equal(module(images()), expected)


def test_a_pass_without_a_fitting_draw_is_refused() -> None:
    """Training without a draw, with one that was used, or with one for another number of samples raises."""
    module = vit()
    streams = DropPathStreams(module)
    with pytest.raises(RuntimeError, match="without a draw"):
        module(images())
    with pytest.raises(RuntimeError, match="was not drawn"):
        streams.window(0, 2)
    for step in (0, 1):
        streams.draw(0, step, BATCH, "cpu")
        module(images())
    with pytest.raises(RuntimeError, match="without a draw"):
        module(images())
    streams.draw(0, 2, BATCH, "cpu")
    with pytest.raises(RuntimeError, match="drawn for 6 samples and got 4"):
        module(images(4))
    streams.window(2, 6)
    assert module(images(4)).shape == (4, 5)


def test_a_model_without_drop_path_needs_no_draws() -> None:
    """With rate 0 there is nothing to replace, and drawing is free."""
    module = vit(rate=0.0)
    streams = DropPathStreams(module)
    streams.draw(0, 0, BATCH, "cpu")
    streams.window(0, 2)
    assert streams.layers == []
    assert module(images()).shape == (BATCH, 5)


def test_bfloat16_activations_stay_bfloat16() -> None:
    """The factors take the activations' type, as timm's do."""
    holder = nn.Sequential(DropPath(0.5))
    DropPathStreams(holder).draw(0, 0, 4, "cpu")
    assert holder(torch.ones(4, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def spread(name: str, rule: str, rate: float = 0.3) -> tuple[nn.Module, dict[str, float]]:
    """A model in training mode, and the rate at each of its places after `rule`, in order."""
    with torch.device("meta"):
        fewer = {"depth": 5} if name.startswith(("cait", "deit3")) else {}
        module = timm.create_model(name, drop_path_rate=rate, **fewer).train()
    DropPathStreams(module, rule, rate)
    layers = [(place, layer) for place, layer in module.named_modules() if isinstance(layer, KeyedDropPath)]
    return module, {place: layer.drop_prob for place, layer in layers}


@pytest.mark.parametrize(
    "name", ["test_vit", "deit3_small_patch16_224", "swin_tiny_patch4_window7_224", "test_convnext"]
)
def test_linear_is_what_timms_linear_models_have(name: str) -> None:
    """In ViT, DeiT III, Swin and ConvNeXt the rule `linear` changes no rate and no place."""
    assert spread(name, "linear")[1] == spread(name, "model")[1]


@pytest.mark.parametrize(
    ("name", "blocks", "first"),
    [
        ("test_vit", 6, "blocks.0.drop_path1"),
        ("swin_tiny_patch4_window7_224", 12, "layers.0.blocks.0.drop_path1"),
        ("test_resnet", 4, "layer1.0.drop_path"),
    ],
)
def test_constant_gives_every_block_the_rate(name: str, blocks: int, first: str) -> None:
    """The first block too, where timm has an Identity or None; the others keep their places."""
    module, rates = spread(name, "constant")
    assert set(rates.values()) == {0.3}
    assert next(iter(rates)) == first
    assert set(spread(name, "model")[1]) < set(rates)
    assert len({place.rpartition(".")[0] for place in rates}) == blocks
    assert not [layer for layer in module.modules() if isinstance(layer, DropPath)]


def test_cait_is_constant_unless_told_to_be_linear() -> None:
    """CaiT's blocks have one rate, from 0 to it where that is asked; its class attention never drops paths."""
    _, constant = spread("cait_xxs24_224", "constant")
    assert constant == spread("cait_xxs24_224", "model")[1] == {f"blocks.{i}.drop_path": 0.3 for i in range(5)}
    module, linear = spread("cait_xxs24_224", "linear")
    expected = calculate_drop_path_rates(0.3, 5)
    assert linear == {f"blocks.{i}.drop_path": expected[i] for i in range(1, 5)}
    assert isinstance(module.blocks[0].drop_path, nn.Identity)


def test_a_rule_keeps_the_draws_of_a_place() -> None:
    """Under another rule a place has the same draws: what it drops at the lower rate it drops at the higher one."""
    dropped = {}
    for rule in ("linear", "constant"):
        module = vit()
        streams = DropPathStreams(module, rule, 0.5)
        streams.draw(0, 3, 500, "cpu")
        names = {layer: name for name, layer in module.named_modules() if isinstance(layer, KeyedDropPath)}
        dropped[rule] = {names[layer]: layer.scales[0] == 0 for layer in streams.layers}
    last = "blocks.3.drop_path2"
    assert torch.equal(dropped["linear"][last], dropped["constant"][last])
    for place, lower in dropped["linear"].items():
        assert not (lower & ~dropped["constant"][place]).any()
    assert int(dropped["constant"]["blocks.0.drop_path1"].sum()) == pytest.approx(250, abs=56)  # 5 standard deviations
    assert not dropped["linear"].keys() & {"blocks.0.drop_path1", "blocks.0.drop_path2"}


def test_a_constant_model_trains_its_first_block_with_drops() -> None:
    """In a forward pass the rebuilt layers act: at rate 0.9 hardly any sample keeps all of its branches."""
    module = vit(rate=0.9)
    streams = DropPathStreams(module, "constant", 0.9)
    streams.draw(0, 0, BATCH, "cpu")
    module(images()).sum().backward()
    assert [layer.calls for layer in streams.layers] == [1] * 8
    assert module.blocks[0].drop_path1.training
