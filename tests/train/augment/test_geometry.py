"""What is drawn, against timm and torchvision, and batches of images, against one image at a time and PIL."""

import math
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from timm.data import create_transform
from timm.data.transforms import RandomResizedCropAndInterpolation
from torchvision.transforms import v2

from tinyablate.errors import DataError, RecipeError
from tinyablate.recipe import Augment, Evaluate
from tinyablate.train.augment import geometry
from tinyablate.train.augment.views import Views, render_one
from tinyablate.train.randomness import Shown, image_uniform, stream_key

DRAWS = 100_000
LEVEL = 1e-3
"""Of every test of a distribution: a true difference of 0.014 in a distribution function is found in 95 % of cases."""

AUGMENTS = [
    Augment(hflip=0.5),
    Augment(crop="rrc", hflip=0.5, interpolation="random"),
    Augment(crop="src", hflip=0.5, crop_padding=6),
    Augment(crop="src", hflip=0.5, crop_padding_mode="constant"),
    Augment(crop="pad", hflip=0.5, interpolation="bilinear"),
    Augment(crop="pad", crop_padding_mode="constant"),
    Augment(crop="center", crop_pct=0.8),
    Augment(crop="rrc", antialias=False, hflip=0.5),
]


def name(augment: Augment) -> str:
    """For a test's name."""
    return f"{augment.crop}-{augment.interpolation}-{augment.crop_padding_mode}-{augment.antialias}"


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Half noise, which has every frequency, half smooth with hard edges at 0 and 255, where a cubic overshoots."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for index in range(0, count, 2):
        wave = np.sin(rows / (3 + index)) + np.cos(columns / (2 + index))
        images[index] = np.where(wave > 0.5, 255, np.where(wave < -0.5, 0, 127))[..., None]
    return images


def views_of(augment: Augment, count: int, height: int, width: int, size: int, seed: int = 0) -> Views:
    """What images of one height and width show in training."""
    shown = Shown(np.arange(count), seed, 0)
    return geometry.train_views(augment, shown, np.full(count, height), np.full(count, width), size, 1.0)


# The images' pixels


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(64, 64, 224), (64, 64, 32), (64, 64, 96), (64, 64, 63), (64, 64, 65), (64, 64, 7), (224, 224, 64), (50, 70, 48)],
)
def test_resize_equals_pils_bicubic(height: int, width: int, size: int) -> None:
    """Every byte is PIL's, enlarging and shrinking (sizes for which PIL 13, too, takes the columns first)."""
    images = pictures(6, height, width)
    theirs = np.stack([np.asarray(Image.fromarray(image).resize((size, size), Image.BICUBIC)) for image in images])
    ours = geometry.render(torch.from_numpy(images), views_of(Augment(), 6, height, width, size)).numpy()
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("augment", AUGMENTS, ids=name)
def test_a_batch_shows_what_one_image_shows(augment: Augment) -> None:
    """Batches have PIL's bytes, every one of them, in every crop, filter and size."""
    for height, width, size in ((64, 64, 64), (64, 64, 96), (64, 64, 40), (40, 70, 64), (90, 50, 33), (64, 64, 224)):
        images = pictures(12, height, width)
        views = views_of(augment, 12, height, width, size)
        ours = geometry.render(torch.from_numpy(images), views)
        theirs = np.stack([render_one(image, views, index) for index, image in enumerate(images)])
        assert ours.is_contiguous()
        assert np.array_equal(ours.numpy(), theirs), (height, width, size)


@pytest.mark.parametrize("augment", AUGMENTS, ids=name)
def test_the_form_for_a_gpu_shows_the_same(augment: Augment) -> None:
    """Batched products (here on the CPU) give the bytes of the CPU's own form."""
    for height, width, size in ((64, 64, 64), (40, 70, 64), (90, 50, 33), (64, 64, 200)):
        images, views = torch.from_numpy(pictures(12, height, width)), views_of(augment, 12, height, width, size)
        assert torch.equal(geometry._render_batch(images, views), geometry.render(images, views)), (height, width, size)


def test_the_table_of_sides_grows_and_starts_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches with ever new sides are right while the table grows and after it was full."""
    monkeypatch.setattr(geometry, "_TABLE_ROWS", 40)
    images = torch.from_numpy(pictures(8, 64, 64))
    for seed in range(6):
        views = views_of(Augment(crop="rrc", hflip=0.5), 8, 64, 64, 57, seed)
        assert torch.equal(geometry._render_batch(images, views), geometry.render(images, views))
        assert len(geometry._table(57, "constant", True, images.device)._codes) <= 40


@pytest.mark.parametrize("augment", AUGMENTS[:3], ids=name)
@pytest.mark.parametrize("size", [64, 96])
def test_an_image_has_the_same_bits_in_every_batch(augment: Augment, size: int) -> None:
    """Neither the batch's size nor the place in it changes a bit of an image."""
    images, views = torch.from_numpy(pictures(257, 64, 64)), views_of(augment, 257, 64, 64, size)
    whole = geometry.render(images, views)
    for count in (1, 3, 64):
        for first in (0, 193):
            part = slice(first, first + count)
            assert torch.equal(geometry.render(images[part], views.take(part)), whole[part])
    backwards = np.arange(257)[::-1].copy()
    assert torch.equal(geometry.render(images[backwards], views.take(backwards)), whole[backwards])


def test_resize_to_the_same_size_copies() -> None:
    """Images that already have the size keep every value, in memory of their own; flipped ones are mirrored."""
    images, views = torch.from_numpy(pictures(40, 64, 64)), views_of(Augment(hflip=0.5), 40, 64, 64, 64)
    shown = geometry.render(images, views)
    flip = torch.from_numpy(views.flip)
    assert 0 < flip.sum() < 40
    assert torch.equal(shown[~flip], images[~flip])
    assert torch.equal(shown[flip], images[flip].flip(2))
    shown.zero_()
    assert images.any()


def test_an_empty_batch_shows_nothing() -> None:
    """No images in, none out."""
    for size in (8, 16):
        images = torch.empty((0, 8, 8, 3), dtype=torch.uint8)
        assert geometry.render(images, views_of(Augment(), 0, 8, 8, size)).shape == (0, size, size, 3)


@given(
    st.sampled_from(["resize", "rrc", "src", "pad", "center"]),
    st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from(["reflect", "constant"]),
    st.tuples(st.sampled_from(["bicubic", "bilinear", "random"]), st.booleans(), st.integers(0, 12)),
    st.integers(0, 3),
)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_any_size_and_recipe(
    crop: str, sizes: tuple[int, int, int], mode: str, sampling: tuple[str, bool, int], place: int
) -> None:
    """Shape and type are kept, constant colours stay, equal streams give equal bits, neighbours have no influence."""
    height, width, size = sizes
    interpolation, antialias, padding = sampling
    augment = Augment(
        crop=crop,  # type: ignore[arg-type]
        crop_padding=min(padding, size - 1) if mode == "reflect" else padding,
        crop_padding_mode=mode,  # type: ignore[arg-type]
        crop_pct=0.9,
        interpolation=interpolation,  # type: ignore[arg-type]
        antialias=antialias,
        hflip=0.5,
    )
    views = views_of(augment, 4, height, width, size)
    images = pictures(4, height, width)
    images[place] = (10, 200, 255)
    shown = geometry.render(torch.from_numpy(images), views)
    assert shown.shape == (4, size, size, 3)
    assert shown.dtype == torch.uint8
    assert set(map(tuple, shown[place].reshape(-1, 3).tolist())) <= {(10, 200, 255), (0, 0, 0)}
    assert mode == "constant" or shown[place].any(dim=2).all()
    images[(place + 1) % 4] = 7
    again = geometry.render(torch.from_numpy(images), views_of(augment, 4, height, width, size))
    assert torch.equal(again[place], shown[place])


# What is drawn


def ours(augment: Augment, height: int, width: int, size: int = 64) -> np.ndarray:
    """Top, left, height and width of DRAWS boxes: [4, DRAWS]."""
    return np.stack(views_of(augment, DRAWS, height, width, size).boxes[:4])


def timms(augment: Augment, height: int, width: int) -> np.ndarray:
    """The same of timm's Random Resized Crop."""
    random.seed(0)
    image = Image.new("RGB", (width, height))
    draw = RandomResizedCropAndInterpolation.get_params
    return np.array([draw(image, augment.crop_scale, augment.crop_ratio) for _ in range(DRAWS)]).T


def facts(boxes: np.ndarray, height: int, width: int) -> Iterator[np.ndarray]:
    """Area, ratio, sides, and place within the room that is left, of boxes [4, n]."""
    top, left, tall, wide = boxes
    yield from (tall * wide, wide / tall, tall, wide, top, left)
    yield (top + 0.5) / (height - tall + 1)
    yield (left + 0.5) / (width - wide + 1)


@pytest.mark.parametrize(
    ("augment", "height", "width"),
    [
        (Augment(crop="rrc"), 64, 64),
        (Augment(crop="rrc", crop_scale=(0.3, 1.0), crop_ratio=(0.5, 1.5)), 300, 200),
        (Augment(crop="rrc", crop_scale=(0.8, 1.0)), 40, 100),
    ],
    ids=["usual", "wide", "with-central-crops"],
)
def test_boxes_are_distributed_as_timms(augment: Augment, height: int, width: int) -> None:
    """Area, ratio and place of 100,000 boxes each: two-sample Kolmogorov-Smirnov tests, together at LEVEL."""
    mine, theirs = (
        list(facts(boxes, height, width)) for boxes in (ours(augment, height, width), timms(augment, height, width))
    )
    for fact, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        assert stats.ks_2samp(a, b, method="asymp").pvalue > LEVEL / len(mine), fact


def test_box_area_and_place_are_independent() -> None:
    """Where a box lies says nothing of its shape: rank correlations of 100,000 below 0.013 (4 standard errors)."""
    area, ratio, _, _, _, _, row, column = facts(ours(Augment(crop="rrc"), 500, 500), 500, 500)
    for a, b in ((area, ratio), (area, row), (area, column), (ratio, row), (ratio, column), (row, column)):
        assert abs(stats.spearmanr(a, b).statistic) < 4 / math.sqrt(DRAWS)


def test_where_no_try_fits_the_box_is_central() -> None:
    """Images far beyond the allowed ratios show their middle, as in timm."""
    for height, width in ((1, 500), (500, 1), (20, 200), (200, 21)):
        augment = Augment(crop="rrc", crop_scale=(0.99, 1.0))
        views = views_of(augment, 50, height, width, 16)
        random.seed(0)
        image = Image.new("RGB", (width, height))
        theirs = RandomResizedCropAndInterpolation.get_params(image, augment.crop_scale, augment.crop_ratio)
        assert {tuple(box) for box in np.stack(views.boxes[:4], axis=1).tolist()} == {theirs}


@pytest.mark.parametrize(("crop", "height", "width", "tall", "wide"), [("src", 64, 64, 9, 9), ("pad", 30, 50, 9, 9),
                                                                      ("src", 64, 70, 9, 15)])  # fmt: skip
def test_windows_are_uniform(crop: str, height: int, width: int, tall: int, wide: int) -> None:
    """Every window has the same chance (chi-square over all pairs of row and column; 4 pixels of padding)."""
    views = views_of(Augment(crop=crop), DRAWS, height, width, 64)  # type: ignore[arg-type]
    counts = np.zeros((tall, wide))
    np.add.at(counts, (views.row + 4, views.column + 4), 1)
    assert stats.chisquare(counts.ravel()).pvalue > LEVEL


def test_filters_are_drawn_with_equal_chance_and_alone() -> None:
    """`random` takes each filter for half of the images and changes no other draw."""
    mixed = views_of(Augment(crop="rrc", interpolation="random", hflip=0.5), DRAWS, 64, 64, 64)
    plain = views_of(Augment(crop="rrc", hflip=0.5), DRAWS, 64, 64, 64)
    assert stats.binomtest(int(mixed.bilinear.sum()), DRAWS).pvalue > LEVEL
    assert not plain.bilinear.any()
    assert all(np.array_equal(a, b) for a, b in zip(mixed.boxes, plain.boxes, strict=True))
    assert np.array_equal(mixed.flip, plain.flip)


@pytest.mark.parametrize("crop", ["resize", "rrc", "src", "pad", "center"])
def test_flips_are_the_streams_first_draw(crop: str) -> None:
    """An image is flipped where draw 0 of "hflip" is below the rate, whatever else is on."""
    augment = Augment(crop=crop, hflip=0.3)  # type: ignore[arg-type]
    views = geometry.train_views(augment, Shown(np.arange(99), 5, 2), np.full(99, 64), np.full(99, 48), 32, 0.9)
    assert np.array_equal(views.flip, image_uniform(stream_key(5, "hflip", 2), np.arange(99)) < 0.3)


def test_an_images_draws_do_not_depend_on_the_others() -> None:
    """A part of a batch has the views that the whole batch gives it."""
    heights, widths = np.arange(20, 120), np.arange(120, 20, -1)
    for augment in AUGMENTS:
        whole = geometry.train_views(augment, Shown(np.arange(100), 0, 0), heights, widths, 48, 0.9)
        part = slice(37, 60)
        shown = Shown(np.arange(100)[part], 0, 0)
        alone = geometry.train_views(augment, shown, heights[part], widths[part], 48, 0.9)
        assert all(np.array_equal(a, b) for a, b in zip(whole.take(part).boxes, alone.boxes, strict=True))


def test_short_sides_are_scaled_as_torchvision_scales_them() -> None:
    """The long side is rounded down as Resize(S) does, over a range of shapes."""
    pairs = [(height, width) for height in range(5, 90, 7) for width in range(4, 90, 9)]
    heights, widths = (np.array(side) for side in zip(*pairs, strict=True))
    for size in (7, 33, 64):
        views = geometry.train_views(
            Augment(crop="src"), Shown(np.arange(len(pairs)), 0, 0), heights, widths, size, 1.0
        )
        theirs = [v2.functional.resize(Image.new("L", (w, h)), [size]).size[::-1] for h, w in pairs]
        assert list(zip(views.scaled_height.tolist(), views.scaled_width.tolist(), strict=True)) == theirs


@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_evaluations_centre_is_timms(crop_pct: float, interpolation: str) -> None:
    """The bytes are those of timm's evaluation transform; the recipe's crop_pct goes before the model's."""
    evaluate = Evaluate(crop="center", interpolation=interpolation)  # type: ignore[arg-type]
    for height, width, size in ((64, 64, 64), (64, 64, 48), (50, 75, 37), (75, 50, 96), (61, 60, 33)):
        timms = create_transform(
            (3, size, size), interpolation=interpolation, crop_pct=crop_pct, mean=(0.0,) * 3, std=(1.0,) * 3
        )
        sides = (np.array([height]), np.array([width]))
        for view in (
            geometry.evaluate_views(evaluate, *sides, size, crop_pct),
            geometry.evaluate_views(Evaluate("val", "center", crop_pct, evaluate.interpolation), *sides, size, 0.5),
        ):
            (image,) = pictures(1, height, width)
            theirs = timms(Image.fromarray(image)).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            assert np.array_equal(render_one(image, view, 0), theirs), (height, width, size)


def test_reflect_padding_needs_a_larger_image() -> None:
    """As much padding as the image has pixels is refused by its field; black padding may be of any size."""
    for crop in ("src", "pad"):
        with pytest.raises(RecipeError, match=r"augment\.crop_padding = 32: .* have 32 pixels"):
            views_of(Augment(crop=crop, crop_padding=32), 2, 64, 64, 32)  # type: ignore[arg-type]
        views_of(Augment(crop=crop, crop_padding=31), 2, 64, 64, 32)  # type: ignore[arg-type]
        views_of(Augment(crop=crop, crop_padding=99, crop_padding_mode="constant"), 2, 64, 64, 32)  # type: ignore[arg-type]


def test_an_image_without_pixels_is_refused() -> None:
    """An empty image is named by its size."""
    with pytest.raises(DataError, match="0 x 5"):
        geometry.evaluate_views(Evaluate(), np.array([3, 0]), np.array([4, 5]), 8, 1.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("augment", AUGMENTS, ids=name)
def test_a_gpu_shows_what_the_cpu_shows(augment: Augment) -> None:
    """The same bytes on both devices; the host never waits for the GPU."""
    for size in (64, 96, 224):
        images, views = torch.from_numpy(pictures(64, 64, 64)), views_of(augment, 64, 64, 64, size)
        there = images.cuda()
        geometry.render(there, views)
        torch.cuda.set_sync_debug_mode("error")
        try:
            shown = geometry.render(there, views)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(shown.cpu(), geometry.render(images, views))
