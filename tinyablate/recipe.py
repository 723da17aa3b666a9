"""Recipe: every choice that can change a number, a tree of frozen dataclasses.

It knows no file, no database and no torch; what makes two recipes one is `identity`'s business.
"""

import dataclasses
import functools
import math
import operator
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from tinyablate.conflicts import conflicts
from tinyablate.errors import RecipeError

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
    split: str = "train"
    """What is trained on: `train`, or a part of it such as `train[:99%]`: that share of each class, the same images
    under every seed. (TensorFlow Datasets writes the same, but takes the first records of its files.)"""
    fraction: float = knob(1.0, above=0, most=1)
    """Share of each class's images in `split` that is used: the same ones under every seed, smaller shares nested. An
    epoch is a pass over them, so that half of the data makes half of the updates."""
    normalize: Literal["model", "imagenet", "half"] = "model"
    """Channel mean and sd: the model's own, ImageNet's (0.485, 0.456, 0.406)/(0.229, 0.224, 0.225), or 0.5/0.5."""


@dataclass(frozen=True)
class Augment(Section):
    """Random changes to one training image."""

    crop: Literal["resize", "rrc", "src", "pad", "center"] = "resize"
    """How a training image reaches the input size S: `resize` scales the whole image to S x S; `rrc` is Random Resized
    Crop (Szegedy et al. 2015); `src` is DeiT III's Simple Random Crop: short side to S, padding, random S x S crop;
    `pad` scales the whole image to S x S, then pads and crops at random; `center` is the evaluation's centre crop."""
    crop_scale: tuple[float, float] = knob((0.08, 1.0), above=0, most=1)
    """`rrc`: least and greatest share of the image's area."""
    crop_ratio: tuple[float, float] = knob((3 / 4, 4 / 3), least=1e-3, most=1e3)
    """`rrc`: least and greatest aspect ratio (width / height), drawn log-uniformly."""
    crop_padding: int = knob(4, least=0, most=1_000)
    """`src`, `pad`: pixels added on each side before the random crop."""
    crop_padding_mode: Literal["reflect", "constant"] = "reflect"
    """`src`, `pad`: what they hold: the image mirrored at its border pixel, or black."""
    crop_pct: float = knob(0.0, least=0, most=1)
    """`center`: S as a share of the size that the short side is scaled to; 0 is the model's own."""
    interpolation: Literal["bicubic", "bilinear", "random"] = "bicubic"
    """Resampling filter: PIL's bicubic (a = -0.5) or bilinear; `random` takes either with equal chance, per image."""
    antialias: bool = True
    """Stretch the filter when shrinking, as PIL does; TensorFlow's resize does not unless asked."""
    hflip: float = knob(0.0, least=0, most=1)
    """Probability of a horizontal flip."""
    policy: str = "none"
    """Random colour and geometry operations, by name: `tinyablate/policies.py` lists the dialects."""
    at: Literal["target", "native"] = "target"
    """Apply policy and colour jitter to images of the input size, as the papers do, or before they are cropped and
    scaled: `native` needs a packed data set, whose images have one size."""
    color_jitter: float = knob(0.0, least=0, most=1)
    """Brightness, contrast and saturation, each by a factor uniform in 1 +- this, in random order, after the policy.
    (timm drops it unless the policy's string holds `3a`.)"""
    repeats: int = knob(1, least=1, most=100)
    """Repeated augmentation (Hoffer et al. 2020): every image stands this often in a row, augmented anew; the epoch
    keeps its length, so it shows this much fewer different images."""
    erase_prob: float = knob(0.0, least=0, most=1)
    """Probability that a rectangle is erased (Zhong et al. 2017)."""
    erase_count: int = knob(1, least=1, most=100)
    """Most rectangles in one image: their number is uniform in 1..this, each with its share of the area (timm)."""
    erase_mode: Literal["pixel", "rand", "const"] = "pixel"
    """What fills it: normal noise per pixel, one normal colour, or zero (the mean colour)."""
    erase_area: tuple[float, float] = knob((0.02, 1 / 3), above=0, most=1)
    """Least and greatest erased share of the image's area (timm's default)."""
    erase_ratio: tuple[float, float] = knob((0.3, 1 / 0.3), least=1e-3, most=1e3)
    """Least and greatest aspect ratio of the rectangle, drawn log-uniformly (timm's default)."""
    erase_order: Literal["before-mix", "after-mix"] = "before-mix"
    """timm's loader erases before mixing; Huynh's code erases mixed images."""


@dataclass(frozen=True)
class Mix(Section):
    """Mixing two images of a batch and their labels: Mixup (Zhang et al. 2018), CutMix (Yun et al. 2019)."""

    mixup_alpha: float = knob(0.0, least=0, most=1e6)
    """Mixup's weight is drawn from Beta(alpha, alpha); 0 is off."""
    cutmix_alpha: float = knob(0.0, least=0, most=1e6)
    """CutMix's area is drawn from Beta(alpha, alpha); 0 is off."""
    prob: float = knob(1.0, least=0, most=1)
    """Probability that a batch is mixed at all."""
    switch_prob: float = knob(0.5, least=0, most=1)
    """With both on, the probability of CutMix. Where one is off, see `keep_rate`."""
    keep_rate: bool = False
    """With one of the two off: false gives every mixed batch to the other, as in timm; true leaves the other's share
    as it was (`switch_prob` CutMix, the rest Mixup), so that removing one changes nothing else."""
    mode: Literal["batch", "pair", "elem"] = "batch"
    """One draw for the whole batch, for each pair of images, or for each image; the partner is the batch reversed."""

    @property
    def switches(self) -> bool:
        """Whether a draw decides between the two: not where one is off and the other takes its batches."""
        return self.keep_rate or (self.mixup_alpha > 0 and self.cutmix_alpha > 0)

    @property
    def mixes(self) -> bool:
        """Whether Mixup can happen."""
        return self.prob > 0 and self.mixup_alpha > 0 and not (self.switches and self.switch_prob == 1)

    @property
    def cuts(self) -> bool:
        """Whether CutMix can happen."""
        return self.prob > 0 and self.cutmix_alpha > 0 and not (self.switches and self.switch_prob == 0)

    @property
    def on(self) -> bool:
        """Whether any batch can be mixed."""
        return self.mixes or self.cuts


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
    """Stochastic depth (Huang et al. 2016), passed as timm's `drop_path_rate`."""
    drop_path_rule: Literal["model", "linear", "constant"] = "model"
    """How the rate runs over depth: as timm's model has it (linear in most, constant in CaiT), from 0 in the first
    layer linearly to `drop_path` in the last, or `drop_path` everywhere (DeiT III)."""
    distilled_heads: Literal["mean", "both"] = "mean"
    """Models with a second, distilled classifier are trained on the mean of both heads' scores (timm, Huynh's code),
    or each head on the labels, the loss being the mean of the two. The mean of the scores is what is evaluated."""


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

    name: Literal["adamw", "sgd", "lamb"] = "adamw"
    """torch's AdamW or SGD, or timm's LAMB (You et al. 2020). (timm's name `sgd` means Nesterov; here it does not.)"""
    lr: float = knob(1e-3, above=0)
    """Peak learning rate, used as given: no scaling with the batch."""
    weight_decay: float = knob(0.05, least=0)
    """AdamW: decoupled, see `decay_times`. SGD and LAMB: added to the gradient, or to Adam's step."""
    momentum: float = knob(0.9, least=0, below=1)
    """SGD only."""
    nesterov: bool = False
    """SGD only: Nesterov's momentum."""
    betas: tuple[float, float] = knob((0.9, 0.999), least=0, below=1)
    """AdamW and LAMB."""
    eps: float = knob(1e-8, above=0)
    """AdamW and LAMB. (timm's LAMB has 1e-6 unless told otherwise.)"""
    decay: Literal["all", "kernels", "timm"] = "all"
    """What weight decay applies to: all parameters; the matrices of linear and convolutional layers (big_vision's
    kernels: no bias, norm, token or position embedding); or as timm does (no 1-D ones, none the model exempts)."""
    decay_times: Literal["lr", "schedule"] = "lr"
    """AdamW: what the decay is multiplied by at each update: the learning rate (torch, timm), or only the schedule's
    share of its peak (big_vision), so that a weight loses `weight_decay` of itself at the peak whatever `lr` is."""
    clip_norm: float = knob(0.0, least=0)
    """What the optimizer steps along (of a perturbation the second pass's) is scaled down to this Euclidean norm over
    all parameters where it is longer; 0 is off."""
    layer_decay: float = knob(1.0, above=0, most=1)
    """Layer-wise learning rate: this to the power of the number of layers above (BEiT, timm); the head has `lr`."""
    perturbation: Literal["none", "sam", "asam", "pugd"] = "none"
    """Two passes an update, the second where the gradient of the first leads: SAM (Foret et al. 2021), ASAM (Kwon et
    al. 2021), PUGD (Tseng et al. 2022). The optimizer `name` makes the step. The recorded loss is that of the first
    pass; BatchNorm's running statistics take in both, as in the authors' PyTorch code."""
    rho: float = knob(0.05, above=0)
    """SAM, ASAM: length of the perturbation. (The authors' defaults are 0.05 and 0.5; PUGD's length is 1.)"""
    asam_eta: float = knob(0.01, least=0)
    """ASAM: added to every weight's magnitude."""
    second_draw: bool = False
    """Draw drop-path anew in the second pass; false keeps the first's, so that both see one network."""


@dataclass(frozen=True)
class Schedule(Section):
    """Learning rate over time."""

    name: Literal["cosine", "constant"] = "cosine"
    """Cosine from `lr` to `min_lr` over the updates after the warm-up (Loshchilov & Hutter 2017); or constant."""
    epochs: int = knob(30, least=1, most=1_000_000)
    """Passes over the training set, warm-up included, cooldown not."""
    warmup_epochs: float = knob(0.0, least=0)
    """Linear warm-up from `warmup_lr` to `lr`; may be a fraction."""
    warmup_lr: float = knob(0.0, least=0)
    """Learning rate of the first update of the warm-up."""
    min_lr: float = knob(0.0, least=0)
    """Where the cosine ends."""
    cooldown_epochs: int = knob(0, least=0, most=1_000_000)
    """Further epochs at the rate where the schedule ended (timm's)."""
    per: Literal["update", "epoch"] = "update"
    """When the rate changes: at every update, or only where an epoch begins: the epoch e, counted from 0, then has the
    rate at e of `epochs` (torch's and timm's schedulers stepped once an epoch)."""

    @property
    def total_epochs(self) -> int:
        """Passes over the training set, cooldown included."""
        return self.epochs + self.cooldown_epochs


@dataclass(frozen=True)
class Batch(Section):
    """Images per update."""

    size: int = knob(128, least=1, most=1_000_000)
    """The last, incomplete batch of an epoch is dropped. Memory is no reason to change it: see `--micro-batch`."""
    accumulation: int = knob(1, least=1)
    """Parts that the published code computes the batch in; only `divide_loss = false` makes them matter."""
    divide_loss: bool = True
    """False for code that forgets to divide each part's mean loss by their number: the gradient is then
    `accumulation` times that of the batch's mean loss. (The recorded loss is the mean in either case.)"""


@dataclass(frozen=True)
class Ema(Section):
    """Exponential moving average of the weights (Polyak averaging), evaluated instead of the raw ones."""

    decay: float = knob(0.0, least=0, below=1)
    """ema = decay * ema + (1 - decay) * weights after every update; 0 is off."""
    warmup: bool = False
    """Decay min(`decay`, 1 - (1 + t)^(-2/3)) at update t, counted from 0: timm's ModelEmaV3 with `use_warmup`."""


@dataclass(frozen=True)
class Evaluate(Section):
    """How the validation set is shown to the model."""

    split: str = "val"
    """Images that are evaluated: `val`, or a part of the training set that `data.split` leaves out: `train[99%:]`."""
    crop: Literal["resize", "center"] = "resize"
    """`resize` scales the whole image to the input size S; `center` scales the short side to S / crop_pct, rounded
    down, and takes the middle S x S pixels."""
    crop_pct: float = knob(0.0, least=0, most=1)
    """`center` only; 0 is the model's own."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Resampling filter, antialiased."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of evaluation, whatever that of training."""


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
    """Arithmetic of training: float32, or bfloat16 autocast."""
    evaluate: Evaluate = field(default_factory=Evaluate)

    def __post_init__(self) -> None:
        problems = list(conflicts(self))
        if problems:
            raise RecipeError(problems)


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
