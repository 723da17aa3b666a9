"""Recipe: every choice that can change a number, a tree of frozen dataclasses, and its identity.

It knows no file, no database and no torch. A field's default never changes without a new CORE_VERSION, and a new
field's default is the old behaviour, so that a later field re-keys no stored trial (see `canonical`).
"""

import dataclasses
import functools
import hashlib
import json
import math
import operator
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from tinyablate.errors import RecipeError

CORE_VERSION = 1
"""Version of the numbers that `train/` computes. A change that alters any result raises it; older results are stale."""

Value = bool | int | float | str | tuple["Value", ...] | dict[str, "Value"]
"""What a recipe field may hold."""

T = TypeVar("T")


def knob(default: T, *, above: float | None = None, least: float | None = None, below: float | None = None,
         most: float | None = None) -> T:  # fmt: skip
    """A numeric field with its open (`above`, `below`) or closed (`least`, `most`) bounds."""
    bounds = {"above": above, "least": least, "below": below, "most": most}
    return field(default=default, metadata={name: bound for name, bound in bounds.items() if bound is not None})


class Section:
    """Base of the recipe's sections: refuses a value out of its field's bounds when it is built."""

    def __post_init__(self) -> None:
        name = type(self).__name__.lower()
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        problems = [
            (f"{name}.{key}", value, rule)
            for key, value in values.items()
            if (rule := broken_bound(f"{name}.{key}", value)) is not None
        ]
        if problems:
            raise RecipeError(problems)


@dataclass(frozen=True)
class Data(Section):
    """What the model sees."""

    name: str = "tiny-imagenet"
    """A data set that tinyablate knows (`tinyablate data list`)."""
    image_size: int = knob(0, least=0, most=10_000)
    """Height and width of the model's input in pixels; 0 is the model's own size."""
    normalize: Literal["model", "imagenet", "half"] = "model"
    """Channel mean and sd: the model's own, ImageNet's (0.485, 0.456, 0.406)/(0.229, 0.224, 0.225), or 0.5/0.5."""


@dataclass(frozen=True)
class Augment(Section):
    """Random changes to one training image."""

    crop: Literal["resize"] = "resize"
    """How a training image reaches the input size: `resize` scales the whole image."""
    interpolation: Literal["bicubic"] = "bicubic"
    """Resampling filter: PIL's antialiased bicubic, a = -0.5."""
    hflip: float = knob(0.0, least=0, most=1)
    """Probability of a horizontal flip."""
    erase_prob: float = knob(0.0, least=0, most=1)
    """Probability that one rectangle is erased (Zhong et al. 2017)."""
    erase_mode: Literal["pixel", "rand", "const"] = "pixel"
    """What fills it: normal noise per pixel, one normal colour, or zero (the mean colour)."""
    erase_area: tuple[float, float] = knob((0.02, 1 / 3), above=0, most=1)
    """Least and greatest erased share of the image's area (timm's default)."""
    erase_ratio: tuple[float, float] = knob((0.3, 1 / 0.3), above=0)
    """Least and greatest aspect ratio of the rectangle, drawn log-uniformly (timm's default)."""
    erase_order: Literal["before-mix", "after-mix"] = "before-mix"
    """timm's loader erases before mixing; Huynh's code erases mixed images."""


@dataclass(frozen=True)
class Mix(Section):
    """Mixing two images of a batch and their labels: Mixup (Zhang et al. 2018), CutMix (Yun et al. 2019)."""

    mixup_alpha: float = knob(0.0, least=0)
    """Mixup's weight is drawn from Beta(alpha, alpha); 0 is off."""
    cutmix_alpha: float = knob(0.0, least=0)
    """CutMix's area is drawn from Beta(alpha, alpha); 0 is off."""
    prob: float = knob(1.0, least=0, most=1)
    """Probability that a batch is mixed at all."""
    switch_prob: float = knob(0.5, least=0, most=1)
    """With both on, the probability of CutMix. Where one is off, the other takes every mixed batch, as in timm."""
    mode: Literal["batch"] = "batch"
    """One draw for the whole batch, partner = the batch in reverse order."""

    @property
    def on(self) -> bool:
        """Whether any batch can be mixed."""
        return self.prob > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)


@dataclass(frozen=True)
class Model(Section):
    """A timm model."""

    name: str = ""
    """timm's name, with or without the tag of its weights: `vit_tiny_patch16_224.augreg_in21k`."""
    args: dict[str, Value] = field(default_factory=dict)
    """Further arguments of timm's `create_model`."""
    pretrained: bool = True
    """Start from timm's pretrained weights rather than from random ones."""
    trainable: Literal["all", "head"] = "all"
    """Which parameters are trained: all, or only the classifier (two of them for distilled models)."""
    backbone_mode: Literal["train", "eval"] = "train"
    """`eval` switches drop-path, dropout and batch statistics off while training, as Huynh's code does for DeiT."""
    drop_path: float = knob(0.0, least=0, below=1)
    """Stochastic depth, passed as timm's `drop_path_rate` (linear over depth in most models, constant in CaiT)."""


@dataclass(frozen=True)
class Loss(Section):
    """What is minimised."""

    name: Literal["ce"] = "ce"
    """Cross-entropy with soft targets."""
    smoothing: float = knob(0.0, least=0, below=1)
    """Label smoothing (Szegedy et al. 2016): this much mass is spread evenly over all classes."""


@dataclass(frozen=True)
class Optimizer(Section):
    """How parameters move."""

    name: Literal["adamw", "sgd"] = "adamw"
    """torch's AdamW or SGD. (timm's name `sgd` means Nesterov; here it does not.)"""
    lr: float = knob(1e-3, above=0)
    """Peak learning rate, used as given: no scaling with the batch."""
    weight_decay: float = knob(0.05, least=0)
    """AdamW: decoupled, multiplied by the learning rate. SGD: added to the gradient."""
    momentum: float = knob(0.9, least=0, below=1)
    """SGD only."""
    nesterov: bool = False
    """SGD only: Nesterov's momentum."""
    betas: tuple[float, float] = knob((0.9, 0.999), least=0, below=1)
    """AdamW only."""
    eps: float = knob(1e-8, above=0)
    """AdamW only."""
    decay: Literal["all", "timm"] = "all"
    """What weight decay applies to: all parameters, or as timm does (no 1-D ones, none the model exempts)."""


@dataclass(frozen=True)
class Schedule(Section):
    """Learning rate over time, set at every update."""

    name: Literal["cosine", "constant"] = "cosine"
    """Cosine from `lr` to `min_lr` over the updates after the warm-up (Loshchilov & Hutter 2017); or constant."""
    epochs: int = knob(30, least=1, most=1_000_000)
    """Passes over the training set."""
    warmup_epochs: float = knob(0.0, least=0)
    """Linear warm-up from `warmup_lr` to `lr`; may be a fraction."""
    warmup_lr: float = knob(0.0, least=0)
    """Learning rate of the first update of the warm-up."""
    min_lr: float = knob(0.0, least=0)
    """Where the cosine ends."""


@dataclass(frozen=True)
class Batch(Section):
    """Images per update."""

    size: int = knob(128, least=1, most=1_000_000)
    """The last, incomplete batch of an epoch is dropped. Memory is no reason to change it: see `--micro-batch`."""


@dataclass(frozen=True)
class Ema(Section):
    """Exponential moving average of the weights (Polyak averaging), evaluated instead of the raw ones."""

    decay: float = knob(0.0, least=0, below=1)
    """ema = decay * ema + (1 - decay) * weights after every update; 0 is off."""


@dataclass(frozen=True)
class Evaluate(Section):
    """How the validation set is shown to the model."""

    crop: Literal["resize"] = "resize"
    """`resize` scales the whole image to the input size."""


@dataclass(frozen=True)
class Recipe:
    """The complete training configuration of a variant; with a seed and the data set's fingerprint, a trial."""

    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    mix: Mix = field(default_factory=Mix)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    batch: Batch = field(default_factory=Batch)
    ema: Ema = field(default_factory=Ema)
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of training: float32, or bfloat16 autocast. Evaluation is always in float32."""
    evaluate: Evaluate = field(default_factory=Evaluate)

    def __post_init__(self) -> None:
        problems = list(_conflicts(self))
        if problems:
            raise RecipeError(problems)


def _conflicts(recipe: Recipe) -> Iterator[tuple[str, object, str]]:
    """Combinations of single valid values that make no sense together."""
    if not recipe.model.name:
        yield "model.name", "", "missing: name a timm model"
    if recipe.mix.on and recipe.batch.size % 2:
        yield "batch.size", recipe.batch.size, "Mixup and CutMix pair the images of a batch: it must be even"
    if recipe.optimizer.nesterov and recipe.optimizer.name != "sgd":
        yield "optimizer.nesterov", True, "needs optimizer.name = 'sgd'"
    if recipe.optimizer.nesterov and recipe.optimizer.momentum == 0:
        yield "optimizer.nesterov", True, "needs optimizer.momentum above 0"
    if recipe.schedule.warmup_epochs > recipe.schedule.epochs:
        yield "schedule.warmup_epochs", recipe.schedule.warmup_epochs, "is longer than schedule.epochs"
    if recipe.schedule.warmup_lr > recipe.optimizer.lr:
        yield "schedule.warmup_lr", recipe.schedule.warmup_lr, "is above optimizer.lr"
    if recipe.schedule.min_lr > recipe.optimizer.lr:
        yield "schedule.min_lr", recipe.schedule.min_lr, "is above optimizer.lr"
    for path in ("augment.erase_area", "augment.erase_ratio"):
        low, high = getattr(recipe.augment, path.split(".")[1])
        if low > high:
            yield path, (low, high), "the first value must not exceed the second"


@dataclass(frozen=True)
class FieldSpec:
    """One leaf of the recipe: its dotted path, type and bounds."""

    path: str
    type: Any
    default: Any
    bounds: Mapping[str, float]


@functools.cache
def field_specs() -> dict[str, FieldSpec]:
    """Every leaf of Recipe by dotted path, in declaration order."""
    specs: dict[str, FieldSpec] = {}
    for outer in dataclasses.fields(Recipe):
        section = _hints()[outer.name]
        if dataclasses.is_dataclass(section):
            hints = typing.get_type_hints(section)
            for leaf in dataclasses.fields(section):
                specs[f"{outer.name}.{leaf.name}"] = _spec(f"{outer.name}.{leaf.name}", hints[leaf.name], leaf)
        else:
            specs[outer.name] = _spec(outer.name, section, outer)
    return specs


def _spec(path: str, annotation: Any, leaf: "dataclasses.Field[Any]") -> FieldSpec:
    made = leaf.default_factory
    default = leaf.default if made is dataclasses.MISSING else made()
    return FieldSpec(path, annotation, default, leaf.metadata)


def broken_bound(path: str, value: object) -> str | None:
    """The rule that `value` breaks in the field at `path`, or None. Sequences go item by item; nan is refused."""
    if isinstance(value, (tuple, list)):
        return next((rule for item in value if (rule := broken_bound(path, item)) is not None), None)
    if isinstance(value, dict):
        return next((rule for item in value.values() if (rule := broken_bound(path, item)) is not None), None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not math.isfinite(value):
        return "must be a finite number"
    bounds = field_specs()[path].bounds
    holds = (
        ("above" not in bounds or value > bounds["above"])
        and ("least" not in bounds or value >= bounds["least"])
        and ("below" not in bounds or value < bounds["below"])
        and ("most" not in bounds or value <= bounds["most"])
    )
    if holds:
        return None
    words = {"above": "above", "least": "at least", "below": "below", "most": "at most"}
    return "must be " + " and ".join(f"{words[name]} {bounds[name]:g}" for name in words if name in bounds)


def flatten(recipe: Recipe) -> dict[str, Value]:
    """Every leaf of `recipe` by dotted path."""
    return dict(zip(field_specs(), _leaves_of()(recipe), strict=True))


@functools.cache
def _leaves_of() -> Callable[[Recipe], tuple[Value, ...]]:
    """Reads every leaf in one call: a grid flattens 10,000 recipes."""
    return operator.attrgetter(*field_specs())


def build(flat: Mapping[str, Value]) -> Recipe:
    """The Recipe with these leaves (dotted paths), every other one at its default. Raises RecipeError."""
    sections: dict[str, dict[str, Value]] = {}
    top: dict[str, Any] = {}
    for path, value in flat.items():
        section, _, leaf = path.rpartition(".")
        if section:
            sections.setdefault(section, {})[leaf] = value
        else:
            top[leaf] = value
    hints = _hints()
    problems: list[tuple[str, object, str]] = []
    for name, leaves in sections.items():
        try:
            top[name] = hints[name](**leaves)
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(problems)
    return Recipe(**top)


@functools.cache  # get_type_hints costs 100 µs, and a grid builds 10,000 recipes
def _hints() -> dict[str, Any]:
    return typing.get_type_hints(Recipe)


def normal(value: Value) -> Any:
    """`value` as identity sees it: 1 and 1.0 are one value, tuples are lists. Raises RecipeError on nan, infinity."""
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [normal(item) for item in value]
    if not math.isfinite(value):
        raise RecipeError([("", value, "must be a finite number")])
    return int(value) if float(value).is_integer() else value


@functools.cache
def _normal_defaults() -> dict[str, Any]:
    return {path: normal(spec.default) for path, spec in field_specs().items()}


def trunk(recipe: Recipe) -> Recipe:
    """The recipe without what only observes (ema, evaluate): equal trunks under one seed are one training run."""
    return dataclasses.replace(recipe, ema=Ema(), evaluate=Evaluate())


def inert(recipe: Recipe) -> set[str]:
    """Paths of the fields that cannot change a number as the others stand, such as SGD's momentum under AdamW."""
    off: set[str] = set()
    if not recipe.mix.on:
        off |= {"mix.mixup_alpha", "mix.cutmix_alpha", "mix.prob", "mix.switch_prob", "mix.mode"}
    elif not (recipe.mix.mixup_alpha and recipe.mix.cutmix_alpha):
        off.add("mix.switch_prob")
    if recipe.augment.erase_prob == 0:
        off |= {"augment.erase_mode", "augment.erase_area", "augment.erase_ratio", "augment.erase_order"}
    elif not recipe.mix.on:
        off.add("augment.erase_order")
    if recipe.optimizer.name == "adamw":
        off |= {"optimizer.momentum", "optimizer.nesterov"}
    else:
        off |= {"optimizer.betas", "optimizer.eps"}
    if recipe.optimizer.weight_decay == 0:
        off.add("optimizer.decay")
    if recipe.schedule.warmup_epochs == 0:
        off.add("schedule.warmup_lr")
    if recipe.schedule.name == "constant":
        off.add("schedule.min_lr")
    return off


def canonical(recipe: Recipe) -> str:
    """The recipe as the JSON text that identity is computed from.

    Fields equal to their default are left out, and so are those that cannot change a number (`inert`): what computes
    the same numbers is one trial. Numbers are normal (`normal`), keys sorted.
    """
    defaults, specs = _normal_defaults(), field_specs()
    changed = {path: raw for path, raw in flatten(recipe).items() if raw != specs[path].default}  # cheap: most are not
    live = changed.keys() - inert(recipe)
    kept = {path: value for path, raw in changed.items() if path in live and (value := normal(raw)) != defaults[path]}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def from_canonical(text: str) -> Recipe:
    """The Recipe that `canonical` wrote as `text`."""
    return build({path: _frozen(value) for path, value in json.loads(text).items()})


def _frozen(value: Any) -> Value:
    """JSON's lists as the tuples that recipes hold, at any depth."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if isinstance(value, dict) else value


def trial_key(canonical_recipe: str, seed: int, fingerprint: str) -> str:
    """A trial's identity: 32 hexadecimal digits of sha256 over canonical recipe, seed and data fingerprint."""
    text = f'{{"data":"{fingerprint}","recipe":{canonical_recipe},"seed":{seed}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def variant_key(canonical_recipe: str) -> str:
    """A variant's identity: 32 hexadecimal digits of sha256 over its canonical recipe."""
    return hashlib.sha256(canonical_recipe.encode()).hexdigest()[:32]


def differences(recipe: Recipe, baseline: Recipe) -> dict[str, tuple[Value, Value]]:
    """Path -> (baseline's value, recipe's value) for every leaf in which they differ."""
    mine, theirs = flatten(recipe), flatten(baseline)
    return {path: (theirs[path], mine[path]) for path in mine if normal(mine[path]) != normal(theirs[path])}
