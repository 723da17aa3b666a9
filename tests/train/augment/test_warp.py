"""Affine warps, against Pillow on the same images and coefficients, and the ways to warp, against each other."""

import numpy as np
import pytest
import torch
from pictures import pictures
from PIL import Image
from timm.data import auto_augment
from torchvision.transforms.v2 import functional

from tinyablate.train.augment import warp
from tinyablate.train.augment.operations import Op, Step, apply
from tinyablate.train.augment.warp import Filter, Way

SIZES = [(1, 1), (1, 7), (70, 1), (2, 2), (5, 3), (17, 70), (33, 48), (64, 64)]
FILL = (124, 116, 104)
KINDS = {Op.WARP_NEAREST: Filter.NEAREST, Op.WARP_BILINEAR: Filter.BILINEAR, Op.WARP_BICUBIC: Filter.BICUBIC}
PILLOWS = {
    Op.WARP_NEAREST: Image.Resampling.NEAREST,
    Op.WARP_BILINEAR: Image.Resampling.BILINEAR,
    Op.WARP_BICUBIC: Image.Resampling.BICUBIC,
}
Pixels = np.ndarray


def coefficients(height: int, width: int) -> Pixels:
    """The maps of timm's and torchvision's operations over the whole range of strengths, and some of no operation."""
    strengths = np.array([-0.99, -0.3, -0.21, -1e-3, 0, 0.1, 0.123, 0.3])
    none = np.zeros(len(strengths))
    degrees = np.array([-135, -30, -12.7, -1e-3, 0, 5, 30, 45, 90, 180, 270, 360])
    whole = np.array([-3.0, 1, 2, 200])
    return np.concatenate(
        [
            warp.shear_x(strengths),
            warp.shear_y(strengths),
            warp.translate(strengths * width, none),
            warp.translate(none, strengths * height),
            warp.translate(whole, none[:4]),
            warp.translate(whole[::-1] + 0.5, whole),
            warp.rotate(degrees, height, width),
            np.array([[0.7, 0.2, 3.3, -0.3, 1.4, -2], [2, 0, 0, 0, 0.5, 1], [-1, 0.1, width, 0, 1, 0.5]]),
        ]
    )


def warped(images: Pixels, op: Op, maps: Pixels) -> Pixels:
    """Every image after the warp of its own row of coefficients."""
    step = Step(np.full(len(images), op, np.int8), maps)
    return apply(torch.from_numpy(images.copy()), step, FILL).numpy()


def pairs(height: int, width: int) -> tuple[Pixels, Pixels]:
    """Every picture with every map: images [n, H, W, 3] and coefficients [n, 6]."""
    images, maps = pictures(height, width)[:6], coefficients(height, width)
    return np.repeat(images, len(maps), 0), np.tile(maps, (len(images), 1))


def by_pillow(images: Pixels, op: Op, maps: Pixels) -> Pixels:
    """The same by PIL, one after the other."""
    affine, filters = Image.Transform.AFFINE, PILLOWS[op]
    size = images.shape[2], images.shape[1]
    return np.stack(
        [
            np.asarray(Image.fromarray(image).transform(size, affine, tuple(row), filters, fillcolor=FILL))
            for image, row in zip(images, maps.tolist(), strict=True)
        ]
    )


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("op", list(KINDS))
def test_equals_pillow(op: Op, height: int, width: int) -> None:
    """NEAREST is exact; the others are within a level, border line included, and 0.03 on average.

    Measured over many strengths at 224: 0.0012 along one axis, 0.002 along both; more where whole numbers come out on
    paper, of which PIL's truncation leaves one less where its sum ends in .999.
    """
    images, maps = pairs(height, width)
    difference = np.abs(warped(images, op, maps).astype(int) - by_pillow(images, op, maps))
    assert difference.max() <= (0 if op is Op.WARP_NEAREST else 1)
    assert difference.mean() <= 0.03


def test_how_often_a_level_is_missed() -> None:
    """At 224 on noise: in under 0.1 % of the values along one axis, 0.3 % along both; never by more than one."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 224, 224, 3), dtype=np.uint8)
    none, some = np.zeros(1), np.array([0.213])
    maps = np.concatenate([warp.shear_x(some), warp.shear_y(some), warp.translate(224 * some, none)])
    maps = np.concatenate([maps, warp.rotate(np.array([-23.0, 8.5, 30.0]), 224, 224)])
    for op in (Op.WARP_BILINEAR, Op.WARP_BICUBIC):
        difference = np.abs(warped(noise, op, maps).astype(int) - by_pillow(noise, op, maps))
        assert difference.max() == 1
        assert difference[:3].mean() < 0.001
        assert difference[3:].mean() < 0.003


def test_a_constant_image_stays_constant() -> None:
    """What is not fill keeps its level exactly: weights that sum to a little less than 1 take nothing from 255."""
    images = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None, None], 3, 3) * np.ones((1, 16, 16, 1), np.uint8)
    generator = np.random.default_rng(0)
    for op in KINDS:
        for maps in (
            warp.rotate(generator.uniform(-180, 180, 256), 16, 16),
            warp.shear_x(generator.uniform(-1, 1, 256)),
            warp.shear_y(generator.uniform(-1, 1, 256)),
        ):
            result = warped(images, op, maps)
            assert ((result == images) | (result == FILL).all(-1, keepdims=True)).all()


@pytest.mark.parametrize("filters", list(Filter))
def test_every_way_gives_the_same(filters: Filter) -> None:
    """A slide equals the general sampling within a level in 0.5 % of the values, NEAREST exactly."""
    images, coefficient_rows = pairs(33, 21)
    maps = warp.pixel_maps(coefficient_rows, np.full(len(images), filters))
    ways = warp.ways(maps, 33, 21, cuda=False)
    for way in (Way.SLIDE_X, Way.SLIDE_Y):
        chosen = ways == way
        assert chosen.any()
        rows, taken = torch.from_numpy(maps[chosen]), torch.from_numpy(images[chosen])
        slid = warp.warp(taken.clone(), rows, way, int(filters), FILL).numpy()
        sampled = warp._sample(taken.clone(), rows, int(filters), FILL).numpy()
        difference = np.abs(slid.astype(int) - sampled)
        assert difference.max() <= (0 if filters is Filter.NEAREST else 1)
        assert difference.mean() < 0.005


def test_a_gpu_s_way_gives_the_same() -> None:
    """All filters in one batch, all taps at once, as on a GPU: the very bits of one filter after the other."""
    images, coefficient_rows = pairs(20, 31)
    taps = np.resize(np.array(list(Filter)), len(images))
    maps = warp.pixel_maps(coefficient_rows, taps)
    assert (warp.ways(maps, 20, 31, cuda=True) == Way.SAMPLE).all()
    together = warp._sample(torch.from_numpy(images.copy()), torch.from_numpy(maps), 4, FILL)
    for filters in Filter:
        chosen = taps == filters
        alone = warp._sample(torch.from_numpy(images[chosen]), torch.from_numpy(maps[chosen]), int(filters), FILL)
        assert torch.equal(together[torch.from_numpy(chosen)], alone)


def test_all_taps_at_once() -> None:
    """The pass of few kernels sums the same integers as the pass in place."""
    generator = torch.Generator().manual_seed(0)
    packed = torch.randint(0, 1 << 24, (500,), generator=generator, dtype=torch.int32)
    index = torch.randint(0, 400, (300,), generator=generator, dtype=torch.int32)
    across, down = torch.rand(2, 4, 300, generator=generator)
    arguments = packed, index, 20, across, down * 2**20
    assert torch.equal(warp._sums_at_once(*arguments), warp._sums_in_place(*arguments))


def test_coefficients_are_those_of_timm() -> None:
    """Shears, translations and rotations of timm's functions on PIL images, exactly under NEAREST, square or not."""
    for height, width in ((64, 64), (40, 63)):
        image = pictures(height, width)[0]
        picture, options = Image.fromarray(image), {"resample": Image.Resampling.NEAREST, "fillcolor": FILL}
        for value in (-0.3, -0.07, 0.18, 0.3):
            one = np.array([value])
            cases = [
                (warp.shear_x(one), auto_augment.shear_x(picture, value, **options)),
                (warp.shear_y(one), auto_augment.shear_y(picture, value, **options)),
                (warp.translate(one * width, 0 * one), auto_augment.translate_x_rel(picture, value, **options)),
                (warp.translate(0 * one, one * height), auto_augment.translate_y_rel(picture, value, **options)),
                (warp.rotate(one * 100, height, width), auto_augment.rotate(picture, value * 100, **options)),
            ]
            for maps, expected in cases:
                np.testing.assert_array_equal(warped(image[None], Op.WARP_NEAREST, maps)[0], np.asarray(expected))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270, 360, -90, 450])
@pytest.mark.parametrize("op", list(KINDS))
def test_quarter_turns(op: Op, degrees: int) -> None:
    """A multiple of 90 degrees moves whole pixels, as PIL's shortcuts do, under every filter."""
    for height, width in ((8, 8), (7, 7), (8, 12), (7, 12)):
        image = pictures(height, width)[0]
        result = warped(image[None], op, warp.rotate(np.array([degrees]), height, width))[0]
        expected = Image.fromarray(image).rotate(degrees, PILLOWS[op], fillcolor=FILL)
        np.testing.assert_array_equal(result, np.asarray(expected), f"{height} x {width}")


def test_torchvision_s_rotation() -> None:
    """NEAREST on uint8 tensors: all but 0.1 % of the pixels, whose float32 coordinates fall beyond a pixel's edge."""
    images = pictures(64, 64)[:6]
    for degrees in (-30.0, -12.7, 5.0, 28.3):
        maps = np.repeat(warp.rotate(np.array([degrees]), 64, 64), len(images), 0)
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
        expected = functional.rotate(tensor, degrees, fill=list(FILL)).permute(0, 2, 3, 1).numpy()
        assert (warped(images, Op.WARP_NEAREST, maps) != expected).any(-1).mean() < 0.001
