"""From a recipe's model section to a timm model, and every mistake in it to one clear error. It trains nothing."""

import contextlib
import dataclasses
import functools
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm import models as zoo
from timm.data.config import resolve_data_config, resolve_model_data_config
from timm.layers.drop import DropBlock2d, DropPath
from timm.layers.patch_dropout import PatchDropout, PatchDropoutWithIndices
from timm.layers.patch_embed import PatchEmbed
from torch import nn

from tinyablate import recipe
from tinyablate.errors import RecipeError, WeightsError, listed, nearest
from tinyablate.recipe import Value
from tinyablate.train.model.init import keyed_init
from tinyablate.train.model.split import splits

OWNED_ARGS = {
    "img_size": "the recipe has data.image_size for it",
    "drop_path_rate": "the recipe has model.drop_path for it",
    "pretrained": "the recipe has model.pretrained for it",
    "num_classes": "the data set says it",
    "in_chans": "images have 3 channels",
    "features_only": "a classifier is trained",
    "pretrained_cfg": "a tag in model.name chooses the weights",
    "pretrained_cfg_overlay": "a tag in model.name chooses the weights",
    "checkpoint_path": "--weights-dir says where weights are",
    "cache_dir": "--weights-dir says where weights are",
    "device": "it must not change the numbers",
    "dtype": "the recipe has precision for it",
}
"""Arguments of timm's `create_model` that do not belong into model.args, and why."""


@dataclass(frozen=True)
class Built:
    """A model ready for training, and what the loop must know of it."""

    module: nn.Module
    """Maps float32 images [batch, 3, image_size, image_size] to class scores [batch, classes]; in eval mode."""
    image_size: int
    """Height and width of the input in pixels."""
    mean: tuple[float, ...]
    """Channel means that the model's images are normalised with (of values in 0..1)."""
    std: tuple[float, ...]
    """Channel standard deviations, likewise."""
    crop_pct: float
    """Share of an image's side that the model's own evaluation takes."""
    batch_statistics: bool
    """Whether the samples of a batch influence one another in training (BatchNorm): no micro-batches then."""
    dropout: bool
    """Whether anything but drop-path draws from torch's global generator in training."""
    parameters: int
    trainable_parameters: int
    classifier: tuple[str, ...]
    """Names of the classifier's parameters, in the module's order."""
    classifiers: tuple[nn.Module, ...]
    """Its layers: one, or two in distilled models."""


def build_model(model: recipe.Model, *, image_size: int, classes: int, seed: int, weights: Path | None) -> Built:
    """The model on the CPU, its initial weights keyed by `seed` and parameter name.

    `image_size` 0 is the model's own. `weights` is the file of the pretrained weights, needed where `model.pretrained`;
    position embeddings are resized to the image size and a classifier for other classes keeps its initial weights, as
    timm does. Raises RecipeError, and WeightsError for weights that are absent, unreadable or another model's.
    """
    if model.pretrained and weights is None:
        raise WeightsError(f"model '{model.name}': model.pretrained is true and no file of weights was given")
    file = weights if model.pretrained else None
    module = keyed_init(
        seed,
        lambda: construct(model, image_size, classes),
        lambda: construct(model, image_size, classes) if file is None else _load(model, image_size, classes, file),
    )
    return describe(module, model, image_size)


def construct(model: recipe.Model, image_size: int, classes: int) -> nn.Module:
    """The timm model on the default device, its weights drawn from the global generator. Raises RecipeError."""
    check_name(model.name)
    _check_owned(model.args)
    size = None if image_size in (0, own_size(model.name)) else image_size
    try:
        return _create(model, size, classes)
    except TIMM_ERRORS as error:
        problem = _problem(error, model, size, classes)
        if problem is None:
            raise
        raise RecipeError([problem]) from error


def describe(module: nn.Module, model: recipe.Model, image_size: int) -> Built:
    """What there is to know of `construct`'s module; freezes what the recipe does not train. Raises RecipeError."""
    _check_patches(module, model, image_size)
    _check_drop_path(module, model)
    classifier = classifier_names(module)
    if model.distilled_heads == "both":
        _train_both_heads(module, model)
    if model.trainable == "head":
        if not classifier:
            raise RecipeError([("model.trainable", "head", f"model '{model.name}' has no classifier to train")])
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in classifier)
    trunk_trains = model.backbone_mode == "train"
    config = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    parameters = list(module.parameters())
    return Built(
        module=module.eval(),
        image_size=image_size or own_size(model.name),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop_pct=float(config["crop_pct"]),
        batch_statistics=trunk_trains and any(map(_has_batch_statistics, module.modules())),
        dropout=trunk_trains and any(map(_has_dropout, module.modules())),
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        classifier=classifier,
        classifiers=tuple(_classifiers(module)),
    )


def frozen_trunk(built: Built, model: recipe.Model, image_size: int, classes: int) -> bool:
    """Whether only classifiers are trained, on a trunk that stays as it is and can be passed without them.

    A trunk with batch statistics changes with every pass in training mode, so it is none.
    """
    if model.trainable != "head" or built.batch_statistics:
        return False
    return _cuts(json.dumps(dataclasses.asdict(model), sort_keys=True), image_size, classes)


@functools.lru_cache(maxsize=64)
def _cuts(model_json: str, image_size: int, classes: int) -> bool:
    """Whether the model can be cut in front of its classifiers, asked of one without memory for its weights."""
    model = recipe.Model(**json.loads(model_json))
    for device in ("meta", "cpu"):  # few models compute on values, which meta tensors do not have
        with contextlib.suppress(*TIMM_ERRORS), torch.device(device), torch.random.fork_rng(devices=[]):
            module = construct(model, image_size, classes).eval()
            size = image_size or own_size(model.name)
            return splits(module, _classifiers(module), torch.zeros(2, 3, size, size))
    return False


def apply_mode(module: nn.Module, model: recipe.Model, training: bool) -> None:
    """Sets train or eval mode as the recipe wants it: with backbone_mode = "eval" only the classifier ever trains."""
    module.train(training and model.backbone_mode == "train")
    if training:
        for layer in _classifiers(module):
            layer.train()


def classifier_names(module: nn.Module) -> tuple[str, ...]:
    """Names of the parameters of the classifier: of both for distilled models, none if it has none."""
    owned = {id(parameter) for layer in _classifiers(module) for parameter in layer.parameters()}
    return tuple(name for name, parameter in module.named_parameters() if id(parameter) in owned)


def own_size(name: str) -> int:
    """The image size that timm's model of this name was trained at. Raises RecipeError if that is not square."""
    config = zoo.get_pretrained_cfg(name)
    _, height, width = config.input_size if config else (3, 224, 224)
    if height != width:
        rule = f"model '{name}' has no square size of its own ({height} x {width}): name one"
        raise RecipeError([("data.image_size", 0, rule)])
    return int(height)


def input_config(name: str, image_size: int) -> tuple[int, tuple[float, ...], tuple[float, ...], float]:
    """Size in pixels (`image_size` unless 0), mean, sd and crop_pct of the model's input, without making the model.

    Raises RecipeError.
    """
    check_name(name)
    known = zoo.get_pretrained_cfg(name)
    config = resolve_data_config(pretrained_cfg=known.to_dict() if known else {})  # type: ignore[no-untyped-call]
    return image_size or own_size(name), tuple(config["mean"]), tuple(config["std"]), float(config["crop_pct"])


def check_name(name: str) -> None:
    """Raises RecipeError unless timm has the model and, if the name carries one, the tag of its weights."""
    architecture, tag = zoo.split_model_name_tag(name)
    known = timm.list_models()
    if architecture not in known:
        renamed = zoo.get_deprecated_models().get(architecture)
        hint = f"; timm renamed it to '{renamed}'" if renamed else nearest(architecture, known)
        raise RecipeError([("model.name", name, f"timm {timm.__version__} has no such model{hint}")])
    tags = [full.partition(".")[2] for full in zoo.get_arch_pretrained_cfgs(architecture)]
    if tag and tag not in tags:
        rule = f"timm {timm.__version__} has no such weights for it; valid tags: {listed(tags)}{nearest(tag, tags)}"
        raise RecipeError([("model.name", name, rule)])


TIMM_ERRORS = (TypeError, ValueError, AssertionError, RuntimeError, AttributeError, LookupError, ArithmeticError)
"""What timm's constructors raise on arguments that make no sense; it checks few of them itself."""


def _create(model: recipe.Model, size: int | None, classes: int, **source: Any) -> nn.Module:
    """timm's model; `size` is passed on unless it is None or the model takes images of any size."""
    kwargs: dict[str, Any] = {name: _plain(value) for name, value in model.args.items()}
    if model.drop_path > 0:
        kwargs["drop_path_rate"] = model.drop_path
    if size is not None:
        try:
            return timm.create_model(model.name, num_classes=classes, img_size=size, **kwargs, **source)
        except TypeError as error:
            if _unexpected(error) != "img_size":
                raise
    return timm.create_model(model.name, num_classes=classes, **kwargs, **source)


def _load(model: recipe.Model, image_size: int, classes: int, file: Path) -> nn.Module:
    """`construct` with the weights of `file`, read without unpickling anything but tensors."""
    size = None if image_size in (0, own_size(model.name)) else image_size
    source = {"file": str(file), "custom_load": False}  # custom_load describes timm's own source, not this file
    if not file.is_file():
        raise WeightsError(f"{file}: no such file; it was to hold the weights of model '{model.name}'")
    try:
        with _recorded_loads() as loads:
            module = _create(model, size, classes, pretrained=True, pretrained_cfg_overlay=source)
    except Exception as error:  # whatever an unreadable or foreign file leads to; the arguments were tried before
        raise WeightsError(f"{file}: not the weights of model '{model.name}': {error}") from error
    trunk = {name for name, _ in module.named_parameters()} - set(classifier_names(module))
    missing = sorted(trunk & {key for result in loads for key in result.missing_keys}) if loads else sorted(trunk)
    if missing and (not model.args or len(missing) == len(trunk)):  # arguments may add parameters of their own
        raise WeightsError(f"{file}: not the weights of model '{model.name}': it lacks {listed(missing, 4)}")
    return module


@contextmanager
def _recorded_loads() -> Iterator[list[Any]]:
    """The results of every `load_state_dict` within: timm drops them, and of another model's weights it only warns."""
    original = nn.Module.load_state_dict
    results: list[Any] = []

    def recording(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        results.append(original(self, *args, **kwargs))
        return results[-1]

    nn.Module.load_state_dict = recording  # type: ignore[method-assign]
    try:
        yield results
    finally:
        nn.Module.load_state_dict = original  # type: ignore[method-assign]


def _problem(error: Exception, model: recipe.Model, size: int | None, classes: int) -> tuple[str, object, str] | None:
    """Path, value and rule of the recipe's field that timm's error is about; None if it is about none."""
    name = _unexpected(error)
    if name == "drop_path_rate":
        return "model.drop_path", model.drop_path, f"model '{model.name}' has no stochastic depth"
    if name == "num_classes":
        return "model.name", model.name, "this model has no classifier"
    if name in model.args:
        hint = nearest(name, _parameters(error, model.name))
        return f"model.args.{name}", model.args[name], f"model '{model.name}' takes no such argument{hint}"
    reason = f"timm refuses it for model '{model.name}': {error or type(error).__name__}"
    if size is not None and _constructs(model, None, classes):
        return "data.image_size", size, reason
    if model.drop_path and _constructs(replace(model, drop_path=0.0), size, classes):
        return "model.drop_path", model.drop_path, reason
    for name, value in model.args.items():
        others = {other: model.args[other] for other in model.args if other != name}
        if _constructs(replace(model, args=others), size, classes):
            return f"model.args.{name}", value, reason
    return ("model.args", model.args, reason) if model.args else None


def _constructs(model: recipe.Model, size: int | None, classes: int) -> bool:
    """Whether timm builds the model (without memory for its weights)."""
    try:
        with torch.device("meta"):
            _create(model, size, classes)
    except TIMM_ERRORS:
        return False
    return True


def _unexpected(error: Exception) -> str:
    """The argument's name in Python's own message about an argument that a function does not take."""
    found = re.search(r"unexpected keyword argument(?:\(s\): \[| )'(\w+)'", str(error))  # the former is HRNet's own
    return found[1] if found else ""


def _parameters(error: Exception, name: str) -> list[str]:
    """The arguments of the class that the error speaks of, as far as they belong into model.args."""
    scope = vars(sys.modules[zoo.model_entrypoint(name).__module__])
    cls = scope.get(str(error).partition(".")[0])
    return [argument for argument in inspect.signature(cls).parameters if argument not in OWNED_ARGS] if cls else []


def _check_owned(args: Mapping[str, Value]) -> None:
    problems = [(f"model.args.{name}", args[name], why) for name, why in OWNED_ARGS.items() if name in args]
    if problems:
        raise RecipeError([(path, value, f"not here: {why}") for path, value, why in problems])


def _train_both_heads(module: nn.Module, model: recipe.Model) -> None:
    """In training mode each head's scores are given, in eval mode their mean."""
    if not hasattr(module, "set_distilled_training") or len(_classifiers(module)) != 2:
        rule = f"model '{model.name}' has one classifier; valid: 'mean'"
        raise RecipeError([("model.distilled_heads", "both", rule)])
    module.set_distilled_training(True)  # type: ignore[operator]


def _check_patches(module: nn.Module, model: recipe.Model, image_size: int) -> None:
    """What fills no whole patch would be cut off silently. (A model's own size is taken as it is, even 384 in 14s.)"""
    patches = getattr(module, "patch_embed", None)
    if not isinstance(patches, PatchEmbed) or patches.dynamic_img_pad or image_size in (0, own_size(model.name)):
        return
    if any(image_size % side for side in patches.patch_size):
        rule = f"must be a multiple of {patches.patch_size[0]}, the patch size of model '{model.name}'"
        raise RecipeError([("data.image_size", image_size, rule)])


def _check_drop_path(module: nn.Module, model: recipe.Model) -> None:
    """Some constructors swallow the rate."""
    if model.drop_path and not any(isinstance(layer, DropPath) and layer.drop_prob for layer in module.modules()):
        raise RecipeError([("model.drop_path", model.drop_path, f"changes nothing in model '{model.name}'")])


def _classifiers(module: nn.Module) -> list[nn.Module]:
    """The final layers: one, or two for distilled models."""
    found: Any = getattr(module, "get_classifier", tuple)()
    return [layer for layer in (found if isinstance(found, tuple) else (found,)) if isinstance(layer, nn.Module)]


def _has_batch_statistics(layer: nn.Module) -> bool:
    # EvoNorm-B0 is no BatchNorm, but keeps the same running variance.
    return isinstance(layer, nn.modules.batchnorm._BatchNorm) or getattr(layer, "running_var", None) is not None


def _has_dropout(layer: nn.Module) -> bool:
    """Dropout of any kind that timm knows; `drop_rate` is what models that call F.dropout name it."""
    rates = (
        layer.p if isinstance(layer, nn.modules.dropout._DropoutNd) else 0,
        layer.prob if isinstance(layer, (PatchDropout, PatchDropoutWithIndices)) else 0,
        layer.drop_prob if isinstance(layer, DropBlock2d) else 0,
        getattr(layer, "drop_rate", 0),
    )
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def _plain(value: Value) -> Any:
    """A recipe's value as timm takes it: lists are tuples at any depth."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
