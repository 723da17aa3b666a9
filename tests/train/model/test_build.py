"""timm models from a recipe: weights, sizes, what is trained, and an error for every mistake."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from tinyablate.errors import RecipeError, WeightsError
from tinyablate.recipe import Model
from tinyablate.train.model.build import Built, apply_mode, build_model


def model(name: str, **fields: Any) -> Model:
    """A model section without pretrained weights."""
    return Model(**{"name": name, "pretrained": False, **fields})


def build(section: Model, image_size: int = 0, classes: int = 10, weights: Path | None = None) -> Built:
    """build_model with seed 0."""
    return build_model(section, image_size=image_size, classes=classes, seed=0, weights=weights)


def problem(section: Model, image_size: int = 0) -> tuple[str, object, str]:
    """The one problem that building this model raises."""
    with pytest.raises(RecipeError) as caught:
        build(section, image_size)
    (only,) = caught.value.problems
    return only


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Files with 1,000-class weights of timm models at their own size, under each suffix that is read."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(7)
    files = {suffix: folder / f"test_vit{suffix}" for suffix in (".safetensors", ".pth", ".bin", ".pt")}
    state = timm.create_model("test_vit").state_dict()
    save_file(state, files[".safetensors"])
    for suffix in (".pth", ".bin", ".pt"):
        torch.save(state, files[suffix])
    files["resnet"] = folder / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), files["resnet"])
    return files


def test_what_the_loop_needs_to_know() -> None:
    """The model's own size and statistics, its counts, its classifier, and whether it has batch statistics."""
    vit, resnet = build(model("test_vit"), classes=7), build(model("test_resnet"), classes=7)
    assert (vit.image_size, vit.mean, vit.std) == (160, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (vit.batch_statistics, resnet.batch_statistics) == (False, True)
    assert vit.classifier == ("head.weight", "head.bias")
    assert resnet.classifier == ("fc.weight", "fc.bias")
    for built in (vit, resnet):
        assert built.parameters == sum(p.numel() for p in built.module.parameters()) == built.trainable_parameters
        assert not built.module.training
        assert not built.dropout
        assert built.module(torch.zeros(2, 3, 160, 160)).shape == (2, 7)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_another_image_size(name: str) -> None:
    """Models of fixed size are built for the size that the recipe names, others take it as it comes."""
    built = build(model(name), image_size=64)
    assert built.image_size == 64
    with torch.no_grad():
        assert built.module(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


def test_arguments_reach_timm() -> None:
    """model.args go to timm's constructor, lists as tuples at any depth, and drop-path as its drop_path_rate."""
    vit = build(model("test_vit", args={"depth": 2, "class_token": False, "global_pool": "avg"}, drop_path=0.2))
    assert len(vit.module.blocks) == 2
    assert vit.module.cls_token is None
    assert vit.module.blocks[1].drop_path1.drop_prob == pytest.approx(0.2)
    resnet = build(model("test_resnet", args={"layers": [1, 1, 1, 1], "block_args": {"attn_layer": "se"}}))
    assert len(resnet.module.layer2) == 1


@pytest.mark.parametrize(
    ("args", "expected"),
    [({"drop_rate": 0.1}, True), ({"proj_drop_rate": 0.1}, True), ({"patch_drop_rate": 0.1}, True), ({}, False)],
)
def test_active_dropout_is_seen(args: dict[str, Any], expected: bool) -> None:
    """Dropout of classifier, projections or patches is found; drop-path is none."""
    assert build(model("test_vit", args=args, drop_path=0.1)).dropout is expected
    assert build(model("test_resnet", args={"drop_rate": 0.1})).dropout


def test_head_only_training_freezes_the_trunk() -> None:
    """With trainable = "head" exactly the classifier's parameters get gradients; a distilled model has two."""
    vit = build(model("test_vit", trainable="head"))
    assert vit.trainable_parameters == 64 * 10 + 10
    vit.module(torch.zeros(2, 3, 160, 160)).sum().backward()
    assert {name for name, p in vit.module.named_parameters() if p.grad is not None} == set(vit.classifier)
    distilled = build(model("deit_tiny_distilled_patch16_224", trainable="head", args={"depth": 1}))
    assert distilled.classifier == ("head.weight", "head.bias", "head_dist.weight", "head_dist.bias")
    assert distilled.trainable_parameters == 2 * (192 * 10 + 10)


def test_modes() -> None:
    """Training mode follows backbone_mode: with "eval" only the classifier trains, and batch statistics hold still."""
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for mode, drifts in (("train", True), ("eval", False)):
        section = model("test_resnet", backbone_mode=mode)
        built = build(section)
        assert built.batch_statistics is drifts
        before = built.module.bn1.running_mean.clone()
        apply_mode(built.module, section, training=True)
        assert built.module.fc.training
        assert built.module.layer1.training is drifts
        built.module(images)
        assert torch.equal(built.module.bn1.running_mean, before) is not drifts
        apply_mode(built.module, section, training=False)
        assert not any(layer.training for layer in built.module.modules())


def test_weights_are_keyed_by_seed_and_name() -> None:
    """Two builds are equal, another seed is not, and a deeper model shares what both have."""
    one, again = build(model("test_vit")), build(model("test_vit"))
    deeper = build(model("test_vit", args={"depth": 8}))
    other = build_model(model("test_vit"), image_size=0, classes=10, seed=1, weights=None)
    for name, value in one.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name])
        assert torch.equal(value, deeper.module.state_dict()[name])
    assert not torch.equal(one.module.head.weight, other.module.head.weight)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin", ".pt"])
def test_pretrained_weights_load_under_a_new_head(suffix: str, pretrained: Mapping[str, Path]) -> None:
    """The trunk has the file's weights, the head of another number of classes its keyed initial ones."""
    source = timm.models.load_state_dict(pretrained[".pth"])
    built = build(model("test_vit", pretrained=True), weights=pretrained[suffix])
    for name, value in built.module.state_dict().items():
        if name not in built.classifier:
            assert torch.equal(value, source[name]), name
    fresh = build(model("test_vit", args={"depth": 2}))
    assert torch.equal(built.module.head.weight, fresh.module.head.weight)
    same_classes = build(model("test_vit", pretrained=True), classes=1000, weights=pretrained[suffix])
    assert torch.equal(same_classes.module.head.weight, source["head.weight"])


def test_pretrained_weights_at_another_size(pretrained: Mapping[str, Path]) -> None:
    """Position embeddings are resized as timm resizes them, everything else is the file's."""
    source = timm.models.load_state_dict(pretrained[".pth"])
    built = build(model("test_vit", pretrained=True), image_size=64, weights=pretrained[".safetensors"])
    expected = timm.layers.resample_abs_pos_embed(source["pos_embed"], (4, 4), num_prefix_tokens=1)
    assert torch.equal(built.module.pos_embed, expected)
    assert torch.equal(built.module.blocks[3].mlp.fc1.weight, source["blocks.3.mlp.fc1.weight"])


def test_pretrained_without_a_file_is_refused() -> None:
    """Random weights never pass for pretrained ones."""
    with pytest.raises(WeightsError, match="no file"):
        build(model("test_vit", pretrained=True))


def test_a_file_that_is_given_but_not_wanted_is_not_read(tmp_path: Path) -> None:
    """With pretrained = false the weights file plays no part."""
    built = build(model("test_vit"), weights=tmp_path / "absent.pth")
    assert torch.equal(built.module.head.weight, build(model("test_vit")).module.head.weight)


def test_another_models_weights_are_refused(pretrained: Mapping[str, Path]) -> None:
    """timm would load none of them and only log a warning; here it is an error that names what is missing."""
    with pytest.raises(
        WeightsError, match=r"test_resnet\.safetensors: not the weights of model 'test_vit': it lacks 'blocks"
    ):
        build(model("test_vit", pretrained=True), weights=pretrained["resnet"])
    with pytest.raises(WeightsError, match="not the weights of model"):
        build(model("test_vit", pretrained=True, args={"depth": 8}), weights=pretrained["resnet"])
    with pytest.raises(WeightsError, match="size mismatch"):
        build(model("test_vit", pretrained=True, args={"mlp_ratio": 2.0}), weights=pretrained[".pth"])


def test_arguments_may_add_parameters_to_pretrained_weights(pretrained: Mapping[str, Path]) -> None:
    """A block more than the file has keeps its keyed initial weights; the rest is loaded."""
    built = build(model("test_vit", pretrained=True, args={"depth": 7}), weights=pretrained[".pth"])
    fresh = build(model("test_vit", args={"depth": 7}))
    last, first = "blocks.6.mlp.fc1.weight", "blocks.0.mlp.fc1.weight"
    assert torch.equal(built.module.get_parameter(last), fresh.module.get_parameter(last))
    assert not torch.equal(built.module.get_parameter(first), fresh.module.get_parameter(first))


def test_damaged_and_dangerous_files_are_refused(tmp_path: Path) -> None:
    """A missing file, a torn one, and a pickle that would run code each give a WeightsError that names the file."""
    torn, code = tmp_path / "torn.safetensors", tmp_path / "code.pth"
    torn.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    torch.save({"state_dict": print}, code)
    for file, reason in ((torn, "header"), (code, "weights_only"), (tmp_path / "absent.pth", "no such file")):
        with pytest.raises(WeightsError, match=f"{file.name}.*{reason}"):
            build(model("test_vit", pretrained=True), weights=file)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("test_vti", "no such model; did you mean 'test_vit'?"),
        ("vit_tiny_patch16_224_in21k", "timm renamed it to 'vit_tiny_patch16_224.augreg_in21k'"),
        ("test_vit.r160", "valid tags: 'r160_in1k'; did you mean 'r160_in1k'?"),
        ("hf-hub:timm/test_vit.r160_in1k", "no such model"),
    ],
)
def test_an_unknown_model_is_named(name: str, hint: str) -> None:
    """A name or tag that timm does not have is refused with the nearest match."""
    path, value, rule = problem(model(name))
    assert (path, value) == ("model.name", name)
    assert hint in rule


@pytest.mark.parametrize(
    ("section", "size", "path", "hint"),
    [
        (model("test_vit", args={"dpeth": 2}), 0, "model.args.dpeth", "did you mean 'depth'?"),
        (model("test_resnet", args={"depth": 2}), 64, "model.args.depth", "takes no such argument"),
        (model("test_vit", args={"depth": "two", "mlp_ratio": 2.0}), 64, "model.args.depth", "timm refuses it"),
        (model("test_vit", args={"img_size": 64}), 0, "model.args.img_size", "data.image_size"),
        (model("test_vit", args={"drop_path_rate": 0.1}), 0, "model.args.drop_path_rate", "model.drop_path"),
        (model("test_vit", args={"num_classes": 5}), 0, "model.args.num_classes", "the data set says it"),
        (model("test_vit"), 100, "data.image_size", "must be a multiple of 16"),
        (
            model("swin_tiny_patch4_window7_224", args={"depths": (1, 1, 1, 1)}),
            50,
            "data.image_size",
            "must be a multiple of 4",
        ),
        (model("xcit_nano_12_p16_224"), 33, "data.image_size", "timm refuses it"),
        (model("vgg11", drop_path=0.1), 0, "model.drop_path", "has no stochastic depth"),
        (model("hrnet_w18_small", drop_path=0.1), 64, "model.drop_path", "has no stochastic depth"),
        (model("test_vit", args={"depth": 1}, drop_path=0.1), 0, "model.drop_path", "changes nothing"),
        (
            model("qwen3_vit_88m_enc", trainable="head", args={"depth": 1}),
            0,
            "model.trainable",
            "no classifier to train",
        ),
        (model("vit_base_patch16_sapiens2"), 0, "data.image_size", "no square size of its own"),
    ],
)
def test_what_a_model_cannot_do_is_refused_by_field(section: Model, size: int, path: str, hint: str) -> None:
    """The error names the recipe's field and says what is wrong with its value."""
    found, _, rule = problem(section, size)
    assert found == path
    assert hint in rule
