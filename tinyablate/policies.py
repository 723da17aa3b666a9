"""The names of augmentation policies: what `augment.policy` may be, read into numbers. No torch, no pixels.

| name                                 | policy                                                                      |
|--------------------------------------|-----------------------------------------------------------------------------|
| `none`                               | nothing                                                                     |
| `rand-m9-mstd0.5-inc1`               | timm's RandAugment, every option of its string                              |
| `original`, `originalr`, `v0`, `v0r` | timm's AutoAugment for ImageNet, with `-mstd0.5`                            |
| `3a`                                 | DeiT III's 3-Augment; `3a-gray-solarize-blur` names what it chooses from    |
| `torchvision-randaugment-n2-m9`      | torchvision's RandAugment, also `-bins31`                                   |
| `torchvision-autoaugment`            | torchvision's AutoAugment, ImageNet policy                                  |
| `bigvision-randaugment-n2-m10`       | big_vision's RandAugment                                                    |

What a policy chooses from, and how strongly it acts, is in `train/augment/policy.py` and `strengths.py`.
"""

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tinyablate.errors import listed, nearest

TOP_LEVEL = 10
"""timm's `_LEVEL_DENOM`: the level that most strengths are a share of, and the bound where `mmax` sets no other."""

_UNIFORM_FROM = 100.0
"""timm's RandAugment draws levels uniformly from [0, m) where `mstd` is above this."""


@dataclass(frozen=True)
class NoPolicy:
    """Images stay as they are."""

    @property
    def name(self) -> str:
        """The canonical name, as in every policy."""
        return "none"


@dataclass(frozen=True)
class TimmRand:
    """timm 1.0.31, `rand_augment_transform`: each layer draws an operation and applies it with probability `prob`."""

    magnitude: int = TOP_LEVEL
    """`m`: the level, or its mean."""
    layers: int = 2
    """`n`."""
    std: float = 0.0
    """`mstd`: standard deviation of the level; infinite: uniform from 0 to `magnitude`."""
    bound: int = TOP_LEVEL
    """`mmax`: levels are cut off at 0 and here."""
    increasing: bool = False
    """`inc`: operations that get stronger with the level, in both directions."""
    prob: float = 0.5
    """`p`."""
    choice: str = ""
    """`t`: another set of operations; `3aw` and `weights` draw by weight and without replacement."""

    @property
    def name(self) -> str:
        """Only what is not timm's default; `mstd101` is the uniform level."""
        std = self.std if math.isfinite(self.std) else _UNIFORM_FROM + 1
        given = {"m": self.magnitude, "n": self.layers, "mstd": std, "mmax": self.bound, "inc": int(self.increasing)}
        return _written("rand", {**given, "p": self.prob}, _RAND_OPTIONS) + (f"-t{self.choice}" if self.choice else "")


@dataclass(frozen=True)
class TimmAuto:
    """timm 1.0.31, `auto_augment_transform`: one of 25 pairs of operations, each with a probability and a level."""

    table: str
    """`original`: the paper's (Cubuk et al. 2019); `v0`: EfficientNet's; with `r`, posterising grows with the level."""
    std: float = 0.0
    """`mstd`: standard deviation of the level."""

    @property
    def name(self) -> str:
        """The table, and `mstd` where levels vary."""
        return _written(self.table, {"mstd": self.std}, _AUTO_OPTIONS)


@dataclass(frozen=True)
class ThreeAugment:
    """DeiT III (Touvron et al. 2022): one of grayscale, solarising from 128, and a blur of radius U(0.1, 2)."""

    operations: tuple[str, ...] = ("gray", "solarize", "blur")

    @property
    def name(self) -> str:
        """`3a`, or with the operations that are left."""
        return "-".join(["3a", *(self.operations if len(self.operations) < len(_THREE) else ())])


@dataclass(frozen=True)
class TorchvisionRand:
    """torchvision 0.29.2, `v2.RandAugment`: every layer applies one of 14 operations."""

    layers: int = 2
    magnitude: int = 9
    """Index into `bins` levels from none to all."""
    bins: int = 31

    @property
    def name(self) -> str:
        """Only what is not torchvision's default."""
        given = {"n": self.layers, "m": self.magnitude, "bins": self.bins}
        return _written("torchvision-randaugment", given, _TORCHVISION_OPTIONS)


@dataclass(frozen=True)
class TorchvisionAuto:
    """torchvision 0.29.2, `v2.AutoAugment` with its ImageNet policy, which is the paper's."""

    @property
    def name(self) -> str:
        """It has no options."""
        return "torchvision-autoaugment"


@dataclass(frozen=True)
class BigVisionRand:
    """big_vision 538b8a8, `distort_image_with_randaugment`: every layer applies one of 16 operations."""

    layers: int = 2
    magnitude: int = TOP_LEVEL

    @property
    def name(self) -> str:
        """Only what is not the configuration of the plain ViT baseline."""
        return _written("bigvision-randaugment", {"n": self.layers, "m": self.magnitude}, _BIGVISION_OPTIONS)


Policy = NoPolicy | TimmRand | TimmAuto | ThreeAugment | TorchvisionRand | TorchvisionAuto | BigVisionRand


def canonical(text: str) -> str:
    """One spelling for one policy: options in one order, defaults and what has no effect dropped. Raises ValueError."""
    return parse(text).name


@functools.lru_cache(maxsize=4096)  # a grid of 10,000 recipes names few policies, and every recipe asks
def parse(text: str) -> Policy:
    """The policy that `text` names; equal policies are equal objects. Raises ValueError with the rule it breaks."""
    head = max((name for name in _READERS if text == name or text.startswith(f"{name}-")), key=len, default=None)
    if head is None:
        raise ValueError(_unknown(text))
    return _READERS[head](head, text[len(head) + 1 :].split("-") if text != head else [])


def _unknown(text: str) -> str:
    """What to say of a name that is no policy's."""
    head = text.split("-")[0]
    for name, what in _NOT_YET.items():
        if text == name or text.startswith(f"{name}-"):
            return f"{what} does not work yet; valid: {listed(_READERS)}"
    found = nearest(text.lower(), _READERS) or nearest(head.lower(), _READERS)
    return f"no such policy; valid: {listed(_READERS)}{found}"


def _none(head: str, parts: Sequence[str]) -> Policy:
    _numbers(head, parts, {})
    return NoPolicy()


def _timm_rand(head: str, parts: Sequence[str]) -> Policy:
    sets = [part for part in parts if part.startswith("t")]
    given = _numbers(head, [part for part in parts if not part.startswith("t")], _RAND_OPTIONS)
    choice = _operation_set(sets)
    if given["p"] == 0:
        raise ValueError("'p0' never applies an operation; write 'none'")
    magnitude, bound, std = _levels(int(given["m"]), int(given["mmax"]), given["mstd"])
    increasing = bool(given["inc"]) and not choice  # the named sets are the same with and without it
    layers, most = int(given["n"]), _OPERATION_SETS.get(choice, math.inf)
    if layers > most:
        rule = f"must be at most {most}, not {layers}: 't{choice}' draws from {most} operations without replacement"
        raise ValueError(f"option 'n' {rule}")
    return TimmRand(magnitude, layers, std, bound, increasing, given["p"], choice)


def _operation_set(parts: Sequence[str]) -> str:
    """The set of operations named by option `t`, which timm takes for its default set where it does not know it."""
    if len(parts) > 1:
        raise ValueError("option 't' is given twice")
    valid = [f"t{name}" for name in _OPERATION_SETS]
    if parts and parts[0] not in valid:
        raise ValueError(f"no set of operations {parts[0]!r}; valid: {listed(valid)}{nearest(parts[0], valid)}")
    return parts[0][1:] if parts else ""


def _levels(magnitude: int, bound: int, std: float) -> tuple[int, int, float]:
    """(m, mmax, mstd) of timm, brought to one form where others give the same levels."""
    uniform = std > _UNIFORM_FROM
    if std == 0 or (magnitude == 0 and uniform):
        magnitude = min(magnitude, bound)
        return magnitude, max(magnitude, TOP_LEVEL), 0.0
    if uniform and magnitude <= bound:
        bound = max(magnitude, TOP_LEVEL)  # the bound is never reached
    return magnitude, bound, math.inf if uniform else std


def _timm_auto(head: str, parts: Sequence[str]) -> Policy:
    return TimmAuto(head, _numbers(head, parts, _AUTO_OPTIONS)["mstd"])


def _three(head: str, parts: Sequence[str]) -> Policy:
    for part in parts:
        if part not in _THREE:
            raise ValueError(f"'{head}' has no operation {part!r}; valid: {listed(_THREE)}{nearest(part, _THREE)}")
    _once(parts, "operation")
    return ThreeAugment(tuple(name for name in _THREE if name in parts or not parts))


def _torchvision_rand(head: str, parts: Sequence[str]) -> Policy:
    given = _numbers(head, parts, _TORCHVISION_OPTIONS)
    layers, magnitude, bins = (int(given[name]) for name in ("n", "m", "bins"))
    if magnitude >= bins:
        raise ValueError(f"option 'm' must be from 0 to {bins - 1} where there are {bins} bins, not {magnitude}")
    return TorchvisionRand(layers, magnitude, bins if magnitude else 31)  # level 0 is the same in any number of bins


def _torchvision_auto(head: str, parts: Sequence[str]) -> Policy:
    _numbers(head, parts, {})
    return TorchvisionAuto()


def _bigvision(head: str, parts: Sequence[str]) -> Policy:
    given = _numbers(head, parts, _BIGVISION_OPTIONS)
    return BigVisionRand(int(given["n"]), int(given["m"]))


_PART = re.compile(r"([A-Za-z_]*?)((?:[^A-Za-z_].*|nan|inf)?)", re.DOTALL)
_ZERO_FIRST = re.compile(r"0\d")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")


@dataclass(frozen=True)
class _Option:
    """A number that may follow a policy's name."""

    default: float
    least: float
    most: float
    whole: bool = True


def _numbers(head: str, parts: Sequence[str], options: Mapping[str, _Option]) -> dict[str, float]:
    """Every option's value, given or default. Raises ValueError for the first part that is wrong."""
    read = [_number(head, part, options) for part in parts]
    _once([name for name, _ in read], "option")
    return {name: option.default for name, option in options.items()} | dict(read)


def _number(head: str, part: str, options: Mapping[str, _Option]) -> tuple[str, float]:
    """The option and the value that `part` ("m9") gives it."""
    name, digits = _PART.fullmatch(part).groups()  # type: ignore[union-attr]  # it matches any text
    if name not in options:
        valid = [*options, "t"] if options is _RAND_OPTIONS else [*options]
        has = f"it has {listed(valid)}" if valid else "it has none"
        hint = "; timm's weighted choice is 'tweights'" if name == "w" else nearest(name.lower(), valid)
        raise ValueError(f"'{head}' has no option {part[:20]!r}; {has}{hint}")
    option, value = options[name], float(digits) if _NUMBER.fullmatch(digits) else math.inf
    if math.isinf(value):
        raise ValueError(f"option '{name}' needs a finite number without a sign, such as '{name}1', not {part[:20]!r}")
    if not option.whole and _ZERO_FIRST.match(digits):  # mstd05 means 0.5 to most who write it
        raise ValueError(f"option '{name}' is {digits[:20]!r}: write {name}0.{digits[1:20]} or {name}{digits[1:20]}")
    if option.whole and not value.is_integer():
        raise ValueError(f"option '{name}' must be a whole number, not {digits}")
    if not option.least <= value <= option.most:
        raise ValueError(f"option '{name}' must be from {option.least:g} to {option.most:g}, not {digits[:20]}")
    return name, value


def _once(names: Iterable[str], what: str) -> None:
    """Raise ValueError if a name stands twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} '{name}' is given twice")
        seen.add(name)


def _written(head: str, values: Mapping[str, float], options: Mapping[str, _Option]) -> str:
    """The name with every option that is not at its default, in the order of `options`."""
    parts = [f"{name}{_digits(values[name])}" for name, option in options.items() if values[name] != option.default]
    return "-".join([head, *parts])


def _digits(value: float) -> str:
    """The shortest digits that give `value` back, without an exponent: its dash would end the option."""
    return str(int(value)) if float(value).is_integer() else format(Decimal(repr(value)), "f")


_LAYERS = _Option(2, 1, 16)
"""More than 16 operations on one image is a slip of the pen."""
_TF_RANGE = 30
"""Highest level of RandAugment's paper (Cubuk et al. 2020)."""

_RAND_OPTIONS = {
    "m": _Option(TOP_LEVEL, 0, _TF_RANGE),
    "n": _LAYERS,
    "mstd": _Option(0, 0, math.inf, whole=False),
    "mmax": _Option(TOP_LEVEL, 1, _TF_RANGE),
    "inc": _Option(0, 0, 1),
    "p": _Option(0.5, 0, 1, whole=False),
}
_OPERATION_SETS = {"3a": math.inf, "3aw": 14, "weights": 15}
"""timm's named sets and the most layers that they can fill."""
_AUTO_OPTIONS = {"mstd": _Option(0, 0, 100, whole=False)}
_TORCHVISION_OPTIONS = {"n": _LAYERS, "m": _Option(9, 0, 999), "bins": _Option(31, 2, 1000)}
_BIGVISION_OPTIONS = {"n": _LAYERS, "m": _Option(TOP_LEVEL, 0, TOP_LEVEL)}
"""Above 10, big_vision's numbers of bits and thresholds no longer fit their 8 bits."""
_THREE = ("gray", "solarize", "blur")

_READERS = {
    "none": _none,
    "rand": _timm_rand,
    "original": _timm_auto,
    "originalr": _timm_auto,
    "v0": _timm_auto,
    "v0r": _timm_auto,
    "3a": _three,
    "torchvision-randaugment": _torchvision_rand,
    "torchvision-autoaugment": _torchvision_auto,
    "bigvision-randaugment": _bigvision,
}
_NOT_YET = {
    "augmix": "timm's AugMix",
    "torchvision-augmix": "torchvision's AugMix",
    "torchvision-trivialaugment": "torchvision's TrivialAugment",
}
