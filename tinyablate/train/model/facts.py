"""The program that tells what timm's models are, for those who must not import torch: JSON in, JSON out.

    python -m tinyablate.train.model.facts   <<< '{"index": true, "requests": []}'

Its only client is `tinyablate.model_facts`, which says what the parts mean and keeps the answers. It loads no weights.
"""

import itertools
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import timm
import torch
from timm import models as zoo
from timm.layers.drop import DropPath
from torch import nn

from tinyablate import recipe
from tinyablate.errors import RecipeError
from tinyablate.train.model import size
from tinyablate.train.model.build import TIMM_ERRORS, Built, check_name, construct, describe, frozen_trunk
from tinyablate.train.model.drop_path import DropPathStreams, KeyedDropPath

Answer = dict[str, Any]


class Question(TypedDict):
    """What one answer depends on: the model's part of a recipe and the data set's number of classes."""

    name: str
    args: dict[str, Any]
    image_size: int
    drop_path: float
    drop_path_rule: Any
    trainable: Any
    backbone_mode: Any
    distilled_heads: Any
    classes: int


def main() -> None:
    """Reads one request from stdin and writes one answer to stdout, whatever else imports print."""
    answer_to, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")  # timm's remarks on its own models are nothing the user can act on
    request = json.load(sys.stdin)
    answers = [answer(question) for question in request["requests"]]
    json.dump({"index": index() if request["index"] else None, "answers": answers}, answer_to)


def index() -> Answer:
    """Every architecture with the tags of its weights, the default first, and timm's renamed models."""
    return {
        "models": {name: _tags(name) for name in timm.list_models()},
        "renamed": {old: new for old, new in zoo.get_deprecated_models().items() if new},
    }


def answer(question: Question) -> Answer:
    """{"facts": ...}, or {"problems": [[path, value, rule], ...]} where a RecipeError says why there are none."""
    try:
        return {"facts": facts(question)}
    except RecipeError as error:
        return {"problems": error.problems}


def facts(question: Question) -> Answer:
    """The fields of `model_facts.ModelFacts` by name. Raises RecipeError."""
    model = recipe.Model(
        name=question["name"],
        args=question["args"],
        trainable=question["trainable"],
        backbone_mode=question["backbone_mode"],
        drop_path=question["drop_path"],
        drop_path_rule=question["drop_path_rule"],
        distilled_heads=question["distilled_heads"],
    )
    check_name(model.name)
    built = _examined(model, question)
    source = _source(model.name)
    return {
        "image_size": built.image_size,
        "batch_statistics": built.batch_statistics,
        "dropout": built.dropout,
        "parameters": built.parameters,
        "trainable_parameters": built.trainable_parameters,
        "tagged_name": f"{source.architecture}.{source.tag}" if source.tag else source.architecture,
        "hub_id": source.hf_hub_id or None,
        "url": source.url or None,
        "splits": frozen_trunk(built, model, question["image_size"], question["classes"]),
        "heads": len(built.classifiers),
        "layers": size.layers(built.module),
        "width": size.width(built.module),
    }


def _source(name: str) -> zoo.PretrainedCfg:
    """Where timm has the weights of this name from; an architecture that it has none for has an empty one."""
    return zoo.get_pretrained_cfg(name) or zoo.PretrainedCfg(architecture=name)


def _tags(architecture: str) -> list[str]:
    default = _source(architecture).tag or ""
    tags = [name.partition(".")[2] for name in zoo.get_arch_pretrained_cfgs(architecture)]
    return sorted(tags, key=lambda tag: tag != default)


def _examined(model: recipe.Model, question: Question) -> Built:
    """The model without memory for its weights; if timm breaks on that, on the CPU, whose verdict stands.

    A constructor or forward pass that reads values cannot do so on the meta device. (In 1.0.31 none of 1,371 does.)
    """
    try:
        with torch.device("meta"):
            return _examine(model, question)
    except (RecipeError, *TIMM_ERRORS) as error:
        if isinstance(error, RecipeError) and error.__cause__ is None:
            raise  # our own finding, not timm's error
    return _examine(model, question)


def _examine(model: recipe.Model, question: Question) -> Built:
    built = describe(construct(model, question["image_size"], question["classes"]), model, question["image_size"])
    images = torch.zeros(2, 3, built.image_size, built.image_size)
    with torch.no_grad():
        _check_scores(built.module, images, model, question)
        if model.drop_path:
            _check_drop_path(built.module, images, model)
    return built


def _check_scores(module: nn.Module, images: torch.Tensor, model: recipe.Model, question: Mapping[str, Any]) -> None:
    """Raises RecipeError unless the model turns images of this size into one score per class."""
    try:
        scores = module(images)
    except TIMM_ERRORS as error:
        size = question["image_size"]
        path, value = ("data.image_size", size) if size else ("model.name", model.name)
        rule = f"model '{model.name}' cannot take these images: {error or type(error).__name__}"
        raise RecipeError([(path, value, rule)]) from error
    if not isinstance(scores, torch.Tensor) or scores.shape != (len(images), question["classes"]):
        raise RecipeError([("model.name", model.name, "this model gives no class scores")])


def _check_drop_path(module: nn.Module, images: torch.Tensor, model: recipe.Model) -> None:
    """Raises RecipeError for a model that drops paths of parts of an image: there is no draw for those."""
    own = _rates(module)
    streams = DropPathStreams(module, model.drop_path_rule, model.drop_path)
    if model.drop_path_rule != "model" and not _even([own.get(name, set()) for name in _rates(module)]):
        rule = f"the depth of what drops paths in model '{model.name}' is not known; valid: 'model', as timm has it"
        raise RecipeError([("model.drop_path_rule", model.drop_path_rule, rule)])
    streams.draw(0, 0, len(images), images.device)
    module.train()
    try:
        module(images)
    except RuntimeError as error:
        raise RecipeError(
            [("model.drop_path", model.drop_path, f"not possible in model '{model.name}': {error}")]
        ) from error
    finally:
        module.eval()


def _rates(module: nn.Module) -> dict[str, set[float]]:
    """The modules that drop paths, in order, and each one's rates."""
    found: dict[str, set[float]] = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        if isinstance(layer, (DropPath, KeyedDropPath)) and layer.drop_prob:
            found.setdefault(name.rpartition(".")[0], set()).add(layer.drop_prob)
    return found


def _even(rates: Sequence[set[float]]) -> bool:
    """Whether timm gives each of these one rate, and all the same or growing in equal steps.

    Then they are the blocks of one sequence. Modules of several to a block (LeViT, MaxViT) or of branches have not.
    """
    if any(len(own) > 1 for own in rates):
        return False
    values = [next(iter(own), 0.0) for own in rates]
    steps = [after - before for before, after in itertools.pairwise(values)]
    return max(steps, default=0.0) - min(steps, default=0.0) < 1e-6


if __name__ == "__main__":
    main()
