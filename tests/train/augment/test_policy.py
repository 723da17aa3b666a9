"""Policies: choices in distribution against timm's and torchvision's own, and what a draw depends on.

Distributions are compared at fixed seeds, each at the level ALPHA. POWER says what they show.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import EVERY, FILTERS, NOTHING, Seen, draw, read, shown, timm_draws, torchvision_draws
from scipy import stats
from timm.data import auto_augment as timm_policies
from timm.data import create_transform
from torchvision.transforms import ColorJitter, v2

from tinyablate import policies
from tinyablate.train.augment import policy
from tinyablate.train.augment.operations import Op, Step
from tinyablate.train.augment.strengths import Canvas, Layer
from tinyablate.train.randomness import Shown

ALPHA = 1e-3
POWER = [(49_000, 0.2, 3_200, 0.1), (7_400, 0.6, 400, 0.25)]
"""Of the largest samples and of the smallest: operations that each side draws; excess of the frequency of one among 15
that is seen with a power of 99 %; strengths of the operation of median frequency; distance (Kolmogorov) of their
distributions that is seen so. Rare operations of policies with weights need more."""


def same_frequencies(ours: Sequence[object], theirs: Sequence[object]) -> None:
    """Two samples of categories, by chi-square; a category that only one of them has must be rare."""
    mine, others = Counter(ours), Counter(theirs)
    keys = sorted(mine | others, key=str)
    table = np.array([[mine[key] for key in keys], [others[key] for key in keys]])
    assert stats.chi2_contingency(table).pvalue > ALPHA, dict(zip(keys, table.T.tolist(), strict=True))


def same_strengths(ours: Sequence[Seen], theirs: Sequence[Seen]) -> None:
    """The strengths of each operation, with their signs, by Kolmogorov and Smirnov; Bonferroni over the operations."""
    names = sorted({name for name, _, _ in theirs})
    for name in names:
        mine, others = (
            np.round([strength for other, strength, _ in sample if other == name], 9) for sample in (ours, theirs)
        )
        assert stats.ks_2samp(mine, others, method="asymp").pvalue > ALPHA / len(names), name


def compare(ours: tuple[Step, ...], theirs: list[list[Seen]]) -> None:
    """Our steps against a library's record of as many images: operations, pairs, order, strengths, filters."""
    layers = [read(step) for step in ours]
    mine = [[seen for seen in image if seen != NOTHING] for image in zip(*layers, strict=True)]
    theirs = [[seen for seen in image if seen != NOTHING] for image in theirs]
    same_frequencies([len(image) for image in mine], [len(image) for image in theirs])
    flat, others = list(itertools.chain(*mine)), list(itertools.chain(*theirs))
    counts = sorted(Counter(name for name, _, _ in others).values())
    assert len(others) > POWER[-1][0]
    assert counts[len(counts) // 2] > POWER[-1][2]
    same_frequencies([name for name, _, _ in flat], [name for name, _, _ in others])
    same_strengths(flat, others)
    if any(kind for _, _, kind in flat):
        same_frequencies([kind for _, _, kind in flat if kind], [kind for _, _, kind in others if kind])
    pairs, other_pairs = ([(image[0][0], image[1][0]) for image in all_ if len(image) > 1] for all_ in (mine, theirs))
    if other_pairs:
        common = {pair for pair, count in Counter(other_pairs).items() if count >= 20}
        mixed = ([pair if pair in common else "rare" for pair in sample] for sample in (pairs, other_pairs))
        same_frequencies(*mixed)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("rand-m9-mstd0.5-inc1", 50_000),
        ("rand-m8-n3-mstd101-p0.8", 8_000),
        ("rand-m12-n1-mstd3", 15_000),
        ("rand-m9-n3-mstd2-tweights", 10_000),
        ("rand-m5-n4-mstd2-t3aw-p1", 5_000),
        ("rand-m7-mstd1-t3a", 10_000),
        ("original-mstd0.5", 50_000),
        ("originalr-mstd2", 20_000),
        ("v0-mstd1", 20_000),
        ("v0r-mstd0.5", 20_000),
        ("3a", 20_000),
    ],
)
def test_draws_follow_timms(text: str, count: int) -> None:
    """Which operations, in which order, how strong and with which filter: as timm's own classes draw them."""
    compare(draw(text, shown(count)), timm_draws(text, count))


@pytest.mark.parametrize(
    ("text", "transform", "count"),
    [
        ("torchvision-randaugment-n2-m9", lambda: v2.RandAugment(2, 9), 30_000),
        ("torchvision-randaugment-n3-m4-bins10", lambda: v2.RandAugment(3, 4, 10), 5_000),
        ("torchvision-autoaugment", v2.AutoAugment, 30_000),
    ],
)
def test_draws_follow_torchvisions(text: str, transform: Callable[[], Any], count: int) -> None:
    """Which operations, in which order and with which sign and strength: as torchvision's own classes draw them."""
    compare(draw(text, shown(count)), torchvision_draws(transform(), count))


def test_rand_augment_draws_each_operation_alike() -> None:
    """10^6 draws against 13 to 16 equal shares: one that comes up 6 % too often is seen with over 99 % power."""
    torchvisions = ("torchvision-randaugment", 13, 13 / 14)  # it draws IDENTITY among the others
    for text, names, prob in (("rand-m9-mstd0.5-inc1", 15, 0.5), ("bigvision-randaugment", 16, 1.0), torchvisions):
        steps = draw(text, shown(500_000), "bicubic")
        for step in steps:
            warped = np.isin(step.op, [int(op) for op in FILTERS])
            assert stats.binomtest(int(warped.sum()), len(step), prob * 5 / names).pvalue > ALPHA
            counts = Counter(step.op[~warped].tolist())
            rest = counts.pop(int(Op.IDENTITY), 0)
            assert len(counts) == names - 5
            assert rest == 0 or stats.binomtest(rest, len(step), 1 - prob).pvalue > ALPHA
            assert stats.chisquare(list(counts.values())).pvalue > ALPHA


@pytest.mark.parametrize(("count", "often", "strengths", "apart"), POWER)
def test_the_comparisons_have_their_power(count: int, often: float, strengths: int, apart: float) -> None:
    """Over 99 % of chi-square's, computed, and of Kolmogorov's and Smirnov's, in 300 pairs of samples."""
    shares = np.full(15, 1 / 15)
    wrong = shares * np.where(np.arange(15) == 0, 1 + often, 1)
    wrong /= wrong.sum()
    middle = (shares + wrong) / 2
    effect = count * float((((shares - wrong) / 2) ** 2 / middle).sum()) * 2
    assert stats.ncx2.sf(stats.chi2.isf(ALPHA, 14), 14, effect) > 0.99
    generator = np.random.RandomState(0)
    pairs = ((generator.rand(strengths), generator.rand(strengths) * (1 - apart)) for _ in range(300))
    missed = sum(stats.ks_2samp(mine, others, method="asymp").pvalue > ALPHA / 15 for mine, others in pairs)
    assert missed / 300 < 0.01


def test_canonical_names_are_timms_for_the_same_policy() -> None:
    """timm reads our canonical name as it reads the name that was given: operations, probabilities, levels."""

    def meaning(text: str) -> object:
        transform = timm_policies.rand_augment_transform(text)
        weights = transform.choice_weights
        ops = [(op.name, op.prob, op.magnitude_std, min(op.magnitude, op.magnitude_max or 10)) for op in transform.ops]
        return ops, transform.num_layers, None if weights is None else weights.tolist()

    for text in (
        *("rand-m9-mstd0.5-inc1", "rand-n3-p0.7", "rand-m15-mmax20", "rand-m15", "rand-m9-inc1-tweights", "rand-t3aw"),
        *("rand-m9-mstd200-mmax15", "rand-t3a-m7", "rand-m5-mmax3-n1"),
    ):
        assert meaning(policies.canonical(text)) == meaning(text)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
def test_filter_and_fill_are_those_of_timms_create_transform(interpolation: str) -> None:
    """timm's warps use the loader's filter, or either at random, and fill with the rounded mean colour."""
    mean = (0.485, 0.456, 0.406)
    transform = create_transform(
        64, is_training=True, auto_augment="rand-m9", interpolation=interpolation, mean=mean, color_jitter=None
    )
    ops = next(part for part in transform.transforms if isinstance(part, timm_policies.RandAugment)).ops
    own = ops[0].kwargs["resample"]
    filters = {kind.name.lower() for kind in (own if isinstance(own, tuple) else (own,))}
    steps = draw("rand-m9", shown(2000), interpolation)
    assert {kind for step in steps for _, _, kind in read(step) if kind} == filters
    assert policy.fill_color(policies.parse("rand-m9"), mean) == ops[0].kwargs["fillcolor"]


def test_fill_colors_of_the_other_dialects() -> None:
    """torchvision fills with black, big_vision with gray, timm's other policies with the mean colour."""
    mean = (0.5, 0.25, 1.0)
    expected = {"torchvision-randaugment": (0, 0, 0), "torchvision-autoaugment": (0, 0, 0)}
    expected |= {"bigvision-randaugment": (128, 128, 128), "original": (128, 64, 255), "v0r": (128, 64, 255)}
    for text, color in expected.items():
        assert policy.fill_color(policies.parse(text), mean) == color


@pytest.mark.parametrize("text", ["torchvision-randaugment", "torchvision-autoaugment", "bigvision-randaugment"])
def test_the_other_dialects_take_the_nearest_pixel(text: str) -> None:
    """Whatever the recipe's interpolation."""
    for interpolation in ("bicubic", "random"):
        kinds = {kind for step in draw(text, shown(500), interpolation) for _, _, kind in read(step)}
        assert kinds == {"", "nearest"}


def test_jitter_follows_torchvisions() -> None:
    """Factors and order against 20,000 draws of ColorJitter without hue, and two by two independent."""
    torch.manual_seed(0)
    limits = ColorJitter(0.3, 0.3, 0.3)
    orders, factors = [], []
    for _ in range(20_000):
        order, *drawn, _hue = ColorJitter.get_params(limits.brightness, limits.contrast, limits.saturation, None)
        orders.append(tuple(number for number in order.tolist() if number < 3))
        factors.append(drawn)
    steps = policy.jitter(0.3, shown(20_000))
    kinds = {Op.BRIGHTNESS: 0, Op.CONTRAST: 1, Op.SATURATION: 2}
    mine = [tuple(kinds[Op(op)] for op in ops) for ops in zip(*(step.op.tolist() for step in steps), strict=True)]
    same_frequencies(mine, orders)
    assert all(not step.values[:, 1:].any() for step in steps)
    by_kind = np.zeros((20_000, 3))
    for step in steps:
        for op, column in kinds.items():
            by_kind[step.op == op, column] = step.values[step.op == op, 0]
    for column in range(3):
        assert stats.ks_2samp(by_kind[:, column], np.array(factors)[:, column]).pvalue > ALPHA / 3
    assert np.abs(np.corrcoef(by_kind.T) - np.eye(3)).max() < 0.03  # 4 standard errors


def test_jitter_factors_do_not_go_below_zero() -> None:
    """With strength 1 the range is [0, 2]; torchvision cuts it there too."""
    factors = np.concatenate([step.values[:, 0] for step in policy.jitter(1.0, shown(3000))])
    assert 0 <= factors.min() < 0.01
    assert 1.99 < factors.max() < 2


def rows(steps: tuple[Step, ...], index: np.ndarray | slice = slice(None)) -> list[np.ndarray]:
    """Everything that the steps hold for some images."""
    return [array[index] for step in steps for array in (step.op, step.values)]


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    """Whether two steps' rows are equal in every bit."""
    return len(first) == len(second) and all(map(np.array_equal, first, second))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.sampled_from(EVERY),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 3)), min_size=1, max_size=40, unique=True),
    st.integers(0, 2**31),
    st.integers(0, 500),
    st.data(),
)
def test_a_draw_belongs_to_its_image(
    text: str, images: list[tuple[int, int]], seed: int, epoch: int, data: st.DataObject
) -> None:
    """Seed, epoch, image and repeat decide: neither the other images of the batch nor the order matter."""
    ids, repeats = (np.array(column, np.int64) for column in zip(*images, strict=True))
    whole = Shown(ids, seed, epoch, repeats)
    part = np.array(data.draw(st.permutations(range(len(images))))[: data.draw(st.integers(1, len(images)))])
    assert same(rows(draw(text, whole), part), rows(draw(text, whole.take(part))))
    assert same(rows(policy.jitter(0.4, whole), part), rows(policy.jitter(0.4, whole.take(part))))


@pytest.mark.parametrize("text", [*EVERY, "jitter"])
def test_every_key_of_a_draw_matters(text: str) -> None:
    """Another seed, epoch or repeat is another draw for most images."""
    ids = np.arange(200, dtype=np.int64)
    variants = [Shown(ids, 0, 1), Shown(ids, 1, 1), Shown(ids, 0, 2), Shown(ids, 0, 1, np.ones_like(ids))]
    drawn = [rows(policy.jitter(0.3, images) if text == "jitter" else draw(text, images)) for images in variants]
    for first, second in itertools.combinations(drawn, 2):
        assert not same(first, second)


@pytest.mark.parametrize(
    "text", ["rand-m9-mstd0.5-inc1", "rand-m9-tweights", "torchvision-randaugment", "bigvision-randaugment"]
)
def test_further_layers_leave_the_first_as_they_are(text: str) -> None:
    """The draws of a layer do not depend on how many there are, and no two layers share them."""
    one, two, four = (draw(f"{text}-n{layers}", shown(300)) for layers in (1, 2, 4))
    assert (len(one), len(two), len(four)) == (1, 2, 4)
    assert same(rows(four[:2]), rows(two))
    assert same(rows(two[:1]), rows(one))
    for first, second in itertools.combinations(four, 2):
        assert not np.array_equal(first.op, second.op)


def test_one_option_changes_one_thing() -> None:
    """Noise of the level, its probability and the filter leave the choice of the operation and of its sign alone."""
    images = shown(2000)
    plain = draw("rand-m9-p1", images, "bicubic")
    noisy, rare, filtered = (
        draw(text, images, kind)
        for text, kind in (("rand-m9-p1-mstd0.5", "bicubic"), ("rand-m9", "bicubic"), ("rand-m9-p1", "random"))
    )
    for step, other in zip(plain, noisy, strict=True):
        assert np.array_equal(step.op, other.op)
        moved = np.isin(step.op, [int(op) for op in FILTERS])
        assert np.array_equal(np.sign(step.values[moved]), np.sign(other.values[moved]))
    for step, other in zip(plain, rare, strict=True):
        applied = other.op != Op.IDENTITY
        assert np.array_equal(step.op[applied], other.op[applied])
        assert np.array_equal(step.values[applied], other.values[applied])
    for step, other in zip(plain, filtered, strict=True):
        assert np.array_equal(step.values, other.values)
        assert np.array_equal(step.op == Op.WARP_BICUBIC, np.isin(other.op, [Op.WARP_BILINEAR, Op.WARP_BICUBIC]))


@pytest.mark.parametrize("left_out", ["gray", "solarize", "blur"])
def test_leaving_one_operation_out_of_three_moves_only_its_images(left_out: str) -> None:
    """Images that had drawn another operation keep it, with its strength; the others get one of the two left."""
    ops = {"gray": Op.GRAYSCALE, "solarize": Op.SOLARIZE, "blur": Op.BLUR}
    (whole,) = draw("3a", shown(3000))
    (less,) = draw("-".join(["3a", *(name for name in ops if name != left_out)]), shown(3000))
    kept = whole.op != ops[left_out]
    assert np.array_equal(whole.op[kept], less.op[kept])
    assert np.array_equal(whole.values[kept], less.values[kept])
    moved = Counter(less.op[~kept].tolist())
    assert set(moved) == {int(op) for name, op in ops.items() if name != left_out}
    assert stats.chisquare(list(moved.values())).pvalue > ALPHA


def test_no_draw_feeds_two_choices() -> None:
    """Operation, sign, level, filter and application of both layers are independent: correlations of 50,000 images."""
    images = shown(50_000)
    layers = [Layer(images, number, Canvas(1, 1)) for number in range(2)]
    drawn = [layer.uniform(which) for layer in layers for which in range(8)]
    drawn += [images.uniform("policy race", number) for number in range(3)]
    drawn += [images.uniform("jitter", number) for number in range(4)]
    correlations = np.corrcoef(np.stack(drawn)) - np.eye(len(drawn))
    assert np.abs(correlations).max() < 0.022  # 5 standard errors


def test_no_policy_draws_nothing() -> None:
    """`none` has no steps and hands the images back."""
    images = torch.zeros(3, 4, 5, 3, dtype=torch.uint8)
    none = policies.parse("none")
    assert policy.draw(none, shown(3), 4, 5, interpolation="bicubic") == ()
    assert policy.augment(images, none, shown(3), interpolation="bicubic", mean=(0.5, 0.5, 0.5)) is images


@pytest.mark.parametrize("text", EVERY)
def test_an_empty_batch_is_drawn(text: str) -> None:
    """No images: steps of length 0."""
    assert all(len(step) == 0 for step in draw(text, shown(0)))
