"""Facts of timm's models for those who must not import torch or timm: asked once of a subprocess, then kept on disk.

It knows what to ask and where answers lie; how they are found out is `tinyablate.train.model.facts`' business.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyablate import datasets
from tinyablate.errors import RecipeError, WorkError, listed, nearest
from tinyablate.recipe import Model, Recipe

PROGRAM = "tinyablate.train.model.facts"

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What a model's facts depend on."""

    name: str
    args: str
    """`model.args` as JSON with sorted keys."""
    image_size: int
    """0 is the model's own."""
    drop_path: float
    drop_path_rule: str
    trainable: str
    backbone_mode: str
    distilled_heads: str
    classes: int

    @classmethod
    def of(cls, recipe: Recipe, classes: int | None = None) -> "Request":
        """The request for this recipe's model on a data set of this many classes; None: its own data set's."""
        model: Model = recipe.model
        return cls(
            name=model.name,
            args=json.dumps(model.args, sort_keys=True),
            image_size=recipe.data.image_size,
            drop_path=model.drop_path,
            drop_path_rule=model.drop_path_rule,
            trainable=model.trainable,
            backbone_mode=model.backbone_mode,
            distilled_heads=model.distilled_heads,
            classes=datasets.lookup(recipe.data.name).classes if classes is None else classes,
        )


@dataclass(frozen=True)
class ModelFacts:
    """What plan, run and table need to know of a model."""

    image_size: int
    """Height and width of the input in pixels, resolved."""
    batch_statistics: bool
    """Whether the samples of a batch influence one another in training (BatchNorm): no micro-batches then."""
    dropout: bool
    """Whether it has dropout that acts in training (drop-path aside)."""
    parameters: int
    trainable_parameters: int
    tagged_name: str
    """timm's name with the tag of its pretrained weights: `vit_tiny_patch16_224.augreg_in21k_ft_in1k`."""
    hub_id: str | None
    """Repository of these weights on the Hugging Face hub, if they are there."""
    url: str | None
    """Another place that timm names for them."""
    splits: bool = False
    """Whether only classifiers are trained, on a trunk that can be passed once for several of them."""
    heads: int = 1
    """Classifiers: 2 in distilled models, 0 in a model without."""
    layers: int | None = None
    """Blocks over all stages, None where there are none (`train.model.size.layers`)."""
    width: int | None = None
    """Channels of a token in the first stage, None where there are no tokens."""


Answer = ModelFacts | RecipeError


def facts_of(facts: Mapping[Request, ModelFacts]) -> Callable[[Recipe], ModelFacts | None]:
    """Looks up what is known of a recipe's model."""
    return lambda recipe: facts.get(Request.of(recipe))


def splits_of(facts: Mapping[Request, ModelFacts]) -> Callable[[Recipe], bool]:
    """Looks up whether a recipe's trunk can be passed once for several classifiers; what is not known cannot."""
    find = facts_of(facts)

    def splits(recipe: Recipe) -> bool:
        found = find(recipe)
        return found is not None and found.splits

    return splits


def facts_for(requests: Iterable[Request], notify: Notify | None = None) -> dict[Request, Answer]:
    """The facts of each request, or the error that says why there is no such model.

    One subprocess answers everything that is not in the cache. `notify` gets a line before that, which takes
    seconds. Raises WorkError if the subprocess breaks.
    """
    folder = cache_folder()
    answers = {request: _kept_answer(folder, request) for request in requests}
    missing = [request for request, answer in answers.items() if answer is None]
    if missing:
        answers |= _found_out(folder, missing, notify)
    return {request: answer for request, answer in answers.items() if answer is not None}


def cache_folder() -> Path:
    """Where tinyablate keeps what it can find out again: TINYABLATE_CACHE, else the user's cache folder."""
    if named := os.environ.get("TINYABLATE_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "tinyablate"


def _found_out(folder: Path, requests: Sequence[Request], notify: Notify | None) -> dict[Request, Answer | None]:
    """The answers to what is not in the cache, which they are put into."""
    index = _read(_file(folder, "models"))
    unknown = {request: error for request in requests if index and (error := _unknown(index, request.name))}
    rest = [request for request in requests if request not in unknown]
    if not rest:
        return {**unknown}
    if notify:
        what = f"timm {_timm_version()}'s models" if index is None else f"what models are: {_names(rest)}"
        notify(f"reading {what}, once ...")
    output = _ask({"index": index is None, "requests": [_question(request) for request in rest]})
    if index is None:
        _write(_file(folder, "models"), output["index"])
    for request, answer in zip(rest, output["answers"], strict=True):
        _write(_answer_file(folder, request), answer)
    return {**unknown, **{request: _answer(raw) for request, raw in zip(rest, output["answers"], strict=True)}}


def _names(requests: Sequence[Request]) -> str:
    return listed(dict.fromkeys(request.name for request in requests), 3)


def _unknown(index: Mapping[str, Any], name: str) -> RecipeError | None:
    """The error about a name that is not in the index; the same as `tinyablate.train.model.build.check_name` raises."""
    architecture, _, tag = name.partition(".")
    known = index["models"]
    if architecture not in known:
        renamed = index["renamed"].get(architecture)
        hint = f"; timm renamed it to '{renamed}'" if renamed else nearest(architecture, known)
        return RecipeError([("model.name", name, f"timm {_timm_version()} has no such model{hint}")])
    if tag and tag not in known[architecture]:
        tags = known[architecture]
        rule = f"timm {_timm_version()} has no such weights for it; valid tags: {listed(tags)}{nearest(tag, tags)}"
        return RecipeError([("model.name", name, rule)])
    return None


def _question(request: Request) -> dict[str, Any]:
    return dataclasses.asdict(request) | {"args": json.loads(request.args)}


def _ask(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the program answers. It runs this very package, wherever that lies, and needs no GPU."""
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-P", "-m", PROGRAM],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
    )
    if done.returncode:
        raise WorkError(f"`python -m {PROGRAM}` failed ({done.returncode}):\n{done.stderr[-2000:].strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _answer(raw: Mapping[str, Any]) -> Answer:
    """The answer in the program's words as an object. Raises KeyError or TypeError for anything else."""
    if "problems" in raw:
        return RecipeError([(path, value, rule) for path, value, rule in raw["problems"]])
    return ModelFacts(**raw["facts"])


def _kept_answer(folder: Path, request: Request) -> Answer | None:
    raw = _read(_answer_file(folder, request))
    try:
        return None if raw is None else _answer(raw)
    except (KeyError, TypeError, ValueError):
        return None  # damaged: asked again, and overwritten


def _answer_file(folder: Path, request: Request) -> Path:
    text = json.dumps(dataclasses.asdict(request), sort_keys=True)
    return _file(folder, hashlib.sha256(text.encode()).hexdigest()[:32])


def _file(folder: Path, what: str) -> Path:
    return folder / f"timm-{_timm_version()}-{_format_version()}-{what}.json"


@functools.cache
def _timm_version() -> str:
    return importlib.metadata.version("timm")


@functools.cache
def _format_version() -> str:
    """Digest of the code that the answers come from: changed code finds no old answers, and nobody has to count."""
    here = Path(__file__).resolve()
    program = here.parent / "train" / "model"
    parts = ("facts.py", "build.py", "drop_path.py", "split.py", "size.py")
    sources = (here, *(program / part for part in parts))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]


def _read(path: Path) -> dict[str, Any] | None:
    """The object in a cache file; None if the file is absent or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Writes aside and renames, so that no reader sees half a file. A cache that cannot be written is done without."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as part:
            json.dump(content, part)
        Path(part.name).replace(path)
    except OSError:
        pass
