"""The recipe's identity: canonical form, keys, bounds; and that nothing stored is ever re-keyed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyablate.errors import RecipeError
from tinyablate.identity import canonical, differences, from_canonical, trial_key, variant_key
from tinyablate.recipe import Recipe, build, field_specs, flatten


def test_keys_never_change() -> None:
    """Keys computed by the first release: if this fails, every stored trial would be orphaned."""
    recipe = build({"data.name": "shapes", "model.name": "test_resnet", "mix.mixup_alpha": 0.8, "batch.size": 64})
    text = '{"batch.size":64,"data.name":"shapes","mix.mixup_alpha":0.8,"model.name":"test_resnet"}'
    assert canonical(recipe) == text
    assert trial_key(text, 3, "shapes-v1") == "fa62397385895b01112d1325ee6cde9f"
    assert variant_key(text) == "9602a45443f379d1a1ccdd967c1a630b"


def test_defaults_are_left_out() -> None:
    """A field set to its default is the same recipe as one that is not set: later fields re-key nothing."""
    specs = {path: spec.default for path, spec in field_specs().items()}
    assert canonical(build(specs | {"model.name": "x"})) == canonical(build({"model.name": "x"}))


def test_one_and_one_point_zero_are_one_value() -> None:
    """1 and 1.0 are one value, in fields and in model arguments."""
    assert canonical(build({"model.name": "x", "mix.mixup_alpha": 1})) == canonical(
        build({"model.name": "x", "mix.mixup_alpha": 1.0})
    )
    args = [build({"model.name": "x", "model.args": {"depth": value}}) for value in (2, 2.0)]
    assert canonical(args[0]) == canonical(args[1])


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        ("augment.policy", "rand-m9-mstd0.5-inc1", "rand-inc1-m9.0-mstd0.50"),
        ("augment.policy", "torchvision-randaugment-n2-m9", "torchvision-randaugment-m9-n2-bins31"),
        ("data.split", "train", "train[0%:100%]"),
        ("data.split", "train[:99%]", "train[0%:99.0%]"),
    ],
)
def test_one_thing_said_in_two_ways_is_one_value(path: str, one: str, other: str) -> None:
    """Fields that are small languages are identified by what they mean."""
    assert canonical(build({"model.name": "x", path: one})) == canonical(build({"model.name": "x", path: other}))


def test_true_is_not_one() -> None:
    """A switch and a number are different values."""
    args = [build({"model.name": "x", "model.args": {"qkv": value}}) for value in (True, 1)]
    assert canonical(args[0]) != canonical(args[1])


@given(
    st.floats(1e-6, 1.0), st.just(0.0) | st.floats(1e-6, 10), st.integers(1, 500), st.booleans(), st.floats(0, 0.999)
)
def test_canonical_gives_the_recipe_back(lr: float, alpha: float, epochs: int, pretrained: bool, beta: float) -> None:
    """canonical and from_canonical are inverse, and equal recipes have equal keys."""
    recipe = build(
        {
            "model.name": "x",
            "optimizer.lr": lr,
            "mix.mixup_alpha": alpha,
            "schedule.epochs": epochs,
            "model.pretrained": pretrained,
            "optimizer.betas": (beta, 0.999),
            "mix.cutmix_alpha": 1.0,
            "model.args": {"stem": {"widths": (8, (16, beta))}},
        }
    )
    again = from_canonical(canonical(recipe))
    assert again == recipe
    assert canonical(again) == canonical(recipe)


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("optimizer.lr", -1.0, "above 0"),
        ("optimizer.lr", math.nan, "finite"),
        ("schedule.epochs", 0, "at least 1"),
        ("loss.smoothing", 1.0, "below 1"),
        ("augment.erase_area", (0.5, 2.0), "at most 1"),
        ("augment.crop_scale", (0.08, 1.5), "at most 1"),
        ("augment.crop_scale", (math.nan, 1.0), "finite"),
        ("augment.color_jitter", math.nan, "finite"),
        ("augment.crop_pct", 1.1, "at most 1"),
        ("data.fraction", 0.0, "above 0"),
        ("optimizer.betas", (0.9, math.inf), "finite"),
    ],
)
def test_out_of_bounds_is_refused(path: str, value: object, rule: str) -> None:
    """A value out of its field's bounds names the path, the value and the rule."""
    with pytest.raises(RecipeError, match=rule) as error:
        build({"model.name": "x", path: value})  # type: ignore[dict-item]
    assert error.value.problems[0][0] == path


def test_nan_in_model_arguments_has_no_key() -> None:
    """nan equals nothing, so it cannot be identified: refused, inside model.args too."""
    with pytest.raises(RecipeError, match="finite"):
        build({"model.name": "x", "model.args": {"a": math.nan}})


def test_all_problems_at_once() -> None:
    """Every section's problems are reported together."""
    with pytest.raises(RecipeError) as error:
        build({"model.name": "x", "optimizer.lr": 0.0, "batch.size": 0, "ema.decay": 1.0})
    assert {path for path, _, _ in error.value.problems} == {"optimizer.lr", "batch.size", "ema.decay"}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"mix.mixup_alpha": 1.0, "batch.size": 5}, "batch.size"),
        ({"optimizer.nesterov": True}, "optimizer.nesterov"),
        ({"optimizer.name": "sgd", "optimizer.nesterov": True, "optimizer.momentum": 0.0}, "optimizer.nesterov"),
        ({"schedule.epochs": 2, "schedule.warmup_epochs": 3.0}, "schedule.warmup_epochs"),
        ({"schedule.min_lr": 1.0}, "schedule.min_lr"),
        ({"schedule.warmup_lr": 1.0}, "schedule.warmup_lr"),
        ({"augment.erase_ratio": (3.0, 0.3)}, "augment.erase_ratio"),
        ({"model.name": ""}, "model.name"),
        ({"augment.crop_scale": (1.0, 0.08)}, "augment.crop_scale"),
        ({"augment.crop": "pad", "augment.crop_padding": 0}, "augment.crop_padding"),
        ({"mix.cutmix_alpha": 5e-324}, "mix.cutmix_alpha"),
        ({"augment.policy": "rand-m9-x"}, "augment.policy"),
        ({"data.split": "val"}, "data.split"),
        ({"data.split": "train[99%"}, "data.split"),
        ({"evaluate.split": "test"}, "evaluate.split"),
        ({"evaluate.split": "train"}, "evaluate.split"),
        ({"data.split": "train[:90%]", "evaluate.split": "train[80%:]"}, "evaluate.split"),
        ({"optimizer.name": "lamb", "optimizer.perturbation": "sam"}, "optimizer.perturbation"),
        ({"optimizer.name": "sgd", "optimizer.decay_times": "schedule"}, "optimizer.decay_times"),
        ({"optimizer.layer_decay": 0.7, "model.trainable": "head"}, "optimizer.layer_decay"),
        ({"batch.size": 128, "batch.accumulation": 3}, "batch.accumulation"),
        ({"batch.size": 128, "batch.accumulation": 256}, "batch.accumulation"),
        ({"ema.warmup": True}, "ema.warmup"),
        ({"schedule.per": "epoch", "schedule.warmup_epochs": 2.0}, "schedule.warmup_lr"),
        ({"model.drop_path_rule": "constant"}, "model.drop_path_rule"),
        ({"model.distilled_heads": "both", "model.backbone_mode": "eval"}, "model.distilled_heads"),
    ],
)
def test_impossible_combinations_are_refused(changes: dict[str, object], path: str) -> None:
    """Values that are valid alone but not together name the field to change."""
    with pytest.raises(RecipeError) as error:
        build({"model.name": "x"} | changes)  # type: ignore[arg-type]
    assert [problem[0] for problem in error.value.problems] == [path]


def test_flatten_and_differences() -> None:
    """flatten names every field; differences names exactly those that differ."""
    one, two = build({"model.name": "x"}), build({"model.name": "x", "optimizer.lr": 0.5})
    assert list(flatten(one)) == list(field_specs())
    assert differences(two, one) == {"optimizer.lr": (1e-3, 0.5)}


def test_every_field_has_an_explanation() -> None:
    """Each field is followed by a docstring in the source: a reader learns unit and meaning in place."""
    import ast
    import inspect

    from tinyablate import recipe

    tree = ast.parse(inspect.getsource(recipe))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.bases and getattr(node.bases[0], "id", "") == "Section":
            body = [item for item in node.body if not isinstance(item, ast.FunctionDef)]
            for item, after in zip(body, [*body[1:], None], strict=True):
                if isinstance(item, ast.AnnAssign):
                    assert isinstance(after, ast.Expr), f"{node.name}.{item.target.id} has no explanation"  # type: ignore[union-attr]


def test_recipes_are_frozen() -> None:
    """A recipe cannot be changed after it was checked."""
    with pytest.raises(AttributeError):
        build({"model.name": "x"}).batch.size = 3  # type: ignore[misc]
    assert isinstance(build({"model.name": "x"}), Recipe)


@pytest.mark.parametrize(
    ("base", "idle", "live"),
    [
        ({}, {"optimizer.momentum": 0.5}, {"optimizer.name": "sgd"}),
        (
            {"optimizer.name": "sgd"},
            {"optimizer.betas": (0.5, 0.9), "optimizer.eps": 1e-3},
            {"optimizer.name": "adamw"},
        ),
        ({"mix.mixup_alpha": 1.0}, {"mix.switch_prob": 0.3}, {"mix.cutmix_alpha": 1.0}),
        ({}, {"mix.prob": 0.5}, {"mix.mixup_alpha": 1.0}),
        ({"mix.prob": 0.0}, {"mix.mixup_alpha": 1.0}, {"mix.prob": 1.0}),
        ({}, {"augment.erase_mode": "const"}, {"augment.erase_prob": 0.5}),
        ({"augment.erase_prob": 0.5}, {"augment.erase_order": "after-mix"}, {"mix.mixup_alpha": 1.0}),
        ({}, {"schedule.warmup_lr": 1e-4}, {"schedule.warmup_epochs": 1.0}),
        ({"schedule.name": "constant"}, {"schedule.min_lr": 1e-4}, {"schedule.name": "cosine"}),
        ({"optimizer.weight_decay": 0.0}, {"optimizer.decay": "timm"}, {"optimizer.weight_decay": 0.1}),
        ({"mix.mixup_alpha": 1.0, "mix.cutmix_alpha": 1.0}, {"mix.keep_rate": True}, {"mix.cutmix_alpha": 0.0}),
        ({"mix.mixup_alpha": 1.0}, {"mix.switch_prob": 0.3}, {"mix.keep_rate": True}),
        ({}, {"mix.mode": "elem"}, {"mix.mixup_alpha": 1.0}),
        ({"mix.keep_rate": True, "mix.switch_prob": 0.0}, {"mix.cutmix_alpha": 1.0}, {"mix.switch_prob": 0.5}),
        ({}, {"augment.erase_count": 3}, {"augment.erase_prob": 0.5}),
        ({}, {"augment.crop_scale": (0.5, 1.0), "augment.crop_ratio": (1.0, 1.0)}, {"augment.crop": "rrc"}),
        ({}, {"augment.crop_padding": 8, "augment.crop_padding_mode": "constant"}, {"augment.crop": "src"}),
        (
            {"augment.crop": "src", "augment.crop_padding": 0},
            {"augment.crop_padding_mode": "constant"},
            {"augment.crop_padding": 4},
        ),
        ({}, {"augment.crop_pct": 0.9}, {"augment.crop": "center"}),
        ({}, {"augment.at": "native"}, {"augment.policy": "3a"}),
        ({}, {"augment.at": "native"}, {"augment.color_jitter": 0.3}),
        ({}, {"evaluate.crop_pct": 0.9}, {"evaluate.crop": "center"}),
        ({}, {"optimizer.rho": 0.5, "optimizer.second_draw": True}, {"optimizer.perturbation": "sam"}),
        ({"optimizer.perturbation": "sam"}, {"optimizer.asam_eta": 0.1}, {"optimizer.perturbation": "asam"}),
        ({"optimizer.perturbation": "pugd"}, {"optimizer.rho": 0.5}, {"optimizer.perturbation": "sam"}),
        (
            {"optimizer.perturbation": "sam", "model.backbone_mode": "eval"},
            {"optimizer.second_draw": True},
            {"model.backbone_mode": "train"},
        ),
        ({"optimizer.name": "lamb"}, {"optimizer.momentum": 0.5}, {"optimizer.name": "sgd"}),
        ({}, {"batch.accumulation": 4}, {"batch.divide_loss": False}),
        ({"batch.divide_loss": False}, {"batch.divide_loss": True}, {"batch.accumulation": 4}),
        (
            {"schedule.name": "constant"},
            {"schedule.per": "epoch"},
            {"schedule.warmup_epochs": 2.0, "schedule.warmup_lr": 1e-5},
        ),
        ({"optimizer.weight_decay": 0.0}, {"optimizer.decay_times": "schedule"}, {"optimizer.weight_decay": 0.1}),
    ],
)
def test_what_cannot_change_a_number_has_no_part_in_identity(
    base: dict[str, object], idle: dict[str, object], live: dict[str, object]
) -> None:
    """An idle field leaves the key as it is; with the field that wakes it, it makes another trial."""
    common = {"model.name": "x"} | base
    assert canonical(build(common | idle)) == canonical(build(common))  # type: ignore[arg-type]
    assert canonical(build(common | idle | live)) != canonical(build(common | live))  # type: ignore[arg-type]
