"""Statistics over images, from bits: was each classified right. They speak of checkpoints, not of methods."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class McNemar:
    """Two checkpoints on the same images."""

    only_a: int
    """Images that only the first classifies right."""
    only_b: int
    p: float
    """Exact and two-sided; 1 where they never differ."""


def mcnemar(a: Bits, b: Bits) -> McNemar:
    """Whether two checkpoints differ in accuracy, from the images on which exactly one of them is right.

    `a`, `b`: shape (images,), in one order. Under the null hypothesis the images that tell them apart fall to either
    side like coins, so p is the binomial's. It says nothing about the methods that trained them: another seed gives
    another checkpoint. Source: McNemar, Psychometrika 12 (1947); exact: Agresti, "Categorical Data Analysis" (2nd
    ed., 2002), 10.1.
    """
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a == only_b:
        return McNemar(only_a, only_b, 1.0)
    from scipy.special import bdtr

    return McNemar(only_a, only_b, min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))))


@dataclass(frozen=True)
class Components:
    """Where the spread of an accuracy comes from: standard deviations in percentage points."""

    seed: float
    """Of a trial's true accuracy, over infinitely many images, from seed to seed."""
    image: float
    """Of an image's chance to be classified right, from image to image."""
    interaction: float
    """Of what is left: that a seed gets this image right and another one wrong."""
    seed_of_mean: float
    """What each contributes to the mean over these seeds and images: seed / sqrt(seeds)."""
    image_of_mean: float
    interaction_of_mean: float


def components(correct: ArrayLike) -> Components:
    """Variance components of `correct` (seeds, images), True where right: two-way random effects, method of moments.

    With mean squares MS over seeds S and images I: interaction^2 = MS_rest, seed^2 = (MS_seed - MS_rest) / I, image^2 =
    (MS_image - MS_rest) / S; negative ones are 0. Each image is judged once a seed, so interaction and error are
    one. All nan below two seeds or two images. Source: Searle, Casella & McCulloch, "Variance Components" (1992),
    chapter 4; Shrout & Fleiss, Psychological Bulletin 86 (1979), for the same table of raters and targets.
    """
    x = np.asarray(correct, dtype=np.float64)
    seeds, images = x.shape
    if min(seeds, images) < 2:
        return Components(*[float("nan")] * 6)
    grand, by_seed, by_image = x.mean(), x.mean(axis=1), x.mean(axis=0)
    of_seed = images * float(((by_seed - grand) ** 2).sum()) / (seeds - 1)
    of_image = seeds * float(((by_image - grand) ** 2).sum()) / (images - 1)
    rest = float(((x - by_seed[:, None] - by_image + grand) ** 2).sum()) / ((seeds - 1) * (images - 1))
    variances = np.maximum([(of_seed - rest) / images, (of_image - rest) / seeds, rest], 0.0)
    seed, image, interaction = (float(sd) for sd in 100 * np.sqrt(variances))
    mean = 100 * np.sqrt(variances / [seeds, images, seeds * images])
    return Components(seed, image, interaction, *(float(sd) for sd in mean))
