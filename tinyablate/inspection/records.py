"""What a diff is made of. It computes nothing."""

from dataclasses import dataclass
from typing import Literal

from tinyablate.recipe import Value

Rule = Literal["last", "best"]
"""Which epoch's numbers and images are compared."""

Scalar = Value | None


@dataclass(frozen=True)
class Side:
    """One of the two."""

    label: str
    """A trial's key, or a row's label."""
    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    where: tuple[str, ...]
    """`sweep: row` for each cell that the trial fills; of a row, its sweep."""


@dataclass(frozen=True)
class Differing:
    """Something that both have and that differs."""

    name: str
    a: Scalar
    b: Scalar
    change: float | None = None
    """b - a, of numbers of an outcome."""


@dataclass(frozen=True)
class SeedPair:
    """One seed of both rows under the rule, the number that is compared."""

    seed: int
    a: float
    b: float


@dataclass(frozen=True)
class MetricDifference:
    """One metric of two rows over seeds, B - A. What is not defined is None."""

    name: str
    """As a column of the view `trials`: `last_val_top1`."""
    mean_a: float
    mean_b: float
    n_a: int
    n_b: int
    paired: bool
    """By seed; else the difference of two independent sets of seeds (Welch)."""
    pairs: int
    value: float
    low: float | None
    """Ends of the 95 % t interval."""
    high: float | None
    correlation: float | None
    """Pearson's r over the seeds that both have."""


@dataclass(frozen=True)
class OfTwoCheckpoints:
    """The same images under the weights of two trials (McNemar)."""

    images: int
    both: int
    only_a: int
    only_b: int
    neither: int
    p: float
    """Exact and two-sided."""


@dataclass(frozen=True)
class OfTwoRows:
    """The same images under two rows, over the seeds that both have."""

    images: int
    seeds: tuple[int, ...]
    more_a: int
    """Images that more of A's seeds get right than of B's."""
    more_b: int
    same: int
    seed_sd: float | None
    """Standard deviations, in percentage points, of what seed, image and their interaction add to the difference."""
    image_sd: float | None
    interaction_sd: float | None


@dataclass(frozen=True)
class Diff:
    """Only what differs between A and B."""

    a: Side
    b: Side
    rule: Rule
    trial: tuple[Differing, ...]
    recipe: tuple[Differing, ...]
    environment: tuple[Differing, ...]
    outcome: tuple[Differing, ...]
    """Of two trials."""
    metrics: tuple[MetricDifference, ...]
    """Of two rows."""
    pairs: tuple[SeedPair, ...]
    """Of two rows: val_top1 under the rule, by seed."""
    images: OfTwoCheckpoints | OfTwoRows | None
    no_images: str
    """Why `images` is None; empty where it is not."""
