"""Tables, blends and filters, against Pillow and timm on the same images and strengths, and against torchvision."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pictures import pictures
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from timm.data import auto_augment
from torch import Tensor
from torchvision.transforms.v2 import functional

from tinyablate.train.augment import color
from tinyablate.train.augment.color import Chosen
from tinyablate.train.augment.operations import Op, Step, apply

SIZES = [(1, 1), (1, 70), (33, 1), (2, 3), (3, 3), (5, 4), (17, 23), (64, 64), (70, 45)]
Pixels = np.ndarray


def changed(images: Pixels, op: Op, *values: float) -> Pixels:
    """Every image after one operation."""
    rows = np.zeros((len(images), 6))
    rows[:, : len(values)] = values
    step = Step(np.full(len(images), op, np.int8), rows)
    return apply(torch.from_numpy(images.copy()), step, (124, 116, 104)).numpy()


def by_pillow(images: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    """The same by a function of PIL images, one after the other."""
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images])


def by_torchvision(images: Pixels, change: Callable[[Tensor], Tensor]) -> Pixels:
    """The same by a function of torchvision on uint8 tensors."""
    return change(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()


def enhanced(kind: type[ImageEnhance._Enhance], factor: float) -> Callable[[Image.Image], Image.Image]:
    """One of PIL's enhancements."""
    return lambda image: kind(image).enhance(factor)


def same(op: Op, values: tuple[float, ...], change: Callable[[Image.Image], Image.Image]) -> None:
    """Asserts that an operation equals PIL's in every pixel of every size."""
    for height, width in SIZES:
        images = pictures(height, width)
        message = f"{op.name}{values} at {height} x {width}"
        np.testing.assert_array_equal(changed(images, op, *values), by_pillow(images, change), message)


@pytest.mark.parametrize(
    ("op", "change"),
    [
        (Op.AUTO_CONTRAST, ImageOps.autocontrast),
        (Op.EQUALIZE, ImageOps.equalize),
        (Op.INVERT, ImageOps.invert),
        (Op.GRAYSCALE, lambda image: image.convert("L").convert("RGB")),
    ],
)
def test_without_strength(op: Op, change: Callable[[Image.Image], Image.Image]) -> None:
    """Operations without a strength equal PIL's exactly, whatever the image holds."""
    same(op, (), change)


def test_auto_contrast_of_every_range() -> None:
    """Every level equals PIL's for each of the 32,896 pairs of darkest and brightest one, rounding quirks included."""
    low, high = np.nonzero(np.triu(np.ones((256, 256))))
    levels = np.clip(np.arange(256), low[:, None], high[:, None]).astype(np.uint8)
    channels = np.resize(levels, (-(-len(levels) // 3), 3, 256))  # which PIL stretches one by one; two stand twice
    images = np.ascontiguousarray(channels.transpose(0, 2, 1)[:, None])
    np.testing.assert_array_equal(changed(images, Op.AUTO_CONTRAST), by_pillow(images, ImageOps.autocontrast))


@pytest.mark.parametrize("bits", range(9))
def test_posterize(bits: int) -> None:
    """Every number of bits equals PIL's (which refuses 0 since version 13: all black, as it was before)."""
    black: Callable[[Image.Image], Image.Image] = lambda image: image.point(lambda level: 0)  # noqa: E731
    same(Op.POSTERIZE, (bits,), (lambda image: ImageOps.posterize(image, bits)) if bits else black)


@pytest.mark.parametrize("threshold", [0, 1, 26, 100.4, 128, 254, 255, 256])
def test_solarize(threshold: float) -> None:
    """Every threshold equals PIL's; 255 inverts what is saturated, 256 nothing."""
    same(Op.SOLARIZE, (threshold,), lambda image: ImageOps.solarize(image, threshold))  # type: ignore[arg-type]


@pytest.mark.parametrize("add", [0, 1, 43, 110, 128, 255, -20, -255])
def test_solarize_add(add: int) -> None:
    """Every summand equals timm's; below 0, which timm does not do, levels are cut at 0."""

    def expected(image: Image.Image) -> Image.Image:
        return image.point([max(min(level + add, 255), 0) if level < 128 else level for level in range(256)] * 3)

    same(Op.SOLARIZE_ADD, (add,), expected)
    if add >= 0:
        same(Op.SOLARIZE_ADD, (add,), lambda image: auto_augment.solarize_add(image, add))


@pytest.mark.parametrize("factor", [0, 0.001, 0.1, 0.3333, 0.55, 0.9, 1, 1.1, 1.45, 1.9, 7.3])
@pytest.mark.parametrize(
    ("op", "kind"),
    [
        (Op.BRIGHTNESS, ImageEnhance.Brightness),
        (Op.CONTRAST, ImageEnhance.Contrast),
        (Op.SATURATION, ImageEnhance.Color),
        (Op.SHARPNESS, ImageEnhance.Sharpness),
    ],
)
def test_enhancements(op: Op, kind: type[ImageEnhance._Enhance], factor: float) -> None:
    """Blends equal PIL's in every pixel, inside 0..1 and beyond."""
    same(op, (factor,), enhanced(kind, factor))


def test_factors_of_a_continuous_range() -> None:
    """A hundred factors as a policy draws them: tables of all levels and blends equal PIL's."""
    images = pictures(11, 13)
    for factor in np.random.default_rng(0).uniform(0.1, 1.9, 100):
        for op, kind in ((Op.BRIGHTNESS, ImageEnhance.Brightness), (Op.SATURATION, ImageEnhance.Color)):
            np.testing.assert_array_equal(changed(images, op, factor), by_pillow(images, enhanced(kind, factor)))


def test_fade() -> None:
    """Fading towards a level equals PIL's blend with an image of that level."""
    for factor, level in ((0.3, 0), (0.77, 128), (1.6, 255), (0, 55), (1, 55)):

        def blended(image: Image.Image, factor: float = factor, level: int = level) -> Image.Image:
            return Image.blend(Image.new("RGB", image.size, (level,) * 3), image, factor)

        same(Op.FADE, (factor, level), blended)


@pytest.mark.parametrize("radius", [0, 0.01, 0.1, 0.4, 0.8, 1, 1.3, 1.99, 2, 3.7, 12])
def test_blur(radius: float) -> None:
    """Three extended box filters along each axis equal PIL's GaussianBlur in every pixel, also wider than the image."""
    same(Op.BLUR, (radius,), lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def test_radii_of_a_continuous_range() -> None:
    """200 radii from 0.1 to 2, as 3-Augment draws them, in one batch: each image as PIL's with its own radius."""
    radii = np.random.default_rng(0).uniform(0.1, 2.0, 200)
    images = np.repeat(pictures(9, 12)[:1], 200, 0)
    values = np.zeros((200, 6))
    values[:, 0] = radii
    blurred = apply(torch.from_numpy(images.copy()), Step(np.full(200, Op.BLUR, np.int8), values), (0, 0, 0)).numpy()
    expected = [Image.fromarray(images[0]).filter(ImageFilter.GaussianBlur(radius)) for radius in radii.tolist()]
    np.testing.assert_array_equal(blurred, np.stack(expected))


@pytest.mark.parametrize(
    ("op", "values", "change", "most"),
    [
        (Op.AUTO_CONTRAST, (), functional.autocontrast, 1),
        (Op.EQUALIZE, (), functional.equalize, 0),
        (Op.SOLARIZE, (255,), lambda images: functional.solarize(images, 255.0), 0),
        (Op.SOLARIZE, (100.3,), lambda images: functional.solarize(images, 100.3), 0),
        (Op.INVERT, (), functional.invert, 0),
        (Op.POSTERIZE, (3,), lambda images: functional.posterize(images, 3), 0),
        (Op.BRIGHTNESS, (1.37,), lambda images: functional.adjust_brightness(images, 1.37), 0),
        (Op.CONTRAST, (0.37,), lambda images: functional.adjust_contrast(images, 0.37), 1),
        (Op.SATURATION, (1.37,), lambda images: functional.adjust_saturation(images, 1.37), 1),
        (Op.SHARPNESS, (1.37,), lambda images: functional.adjust_sharpness(images, 1.37), 0),
    ],
)
def test_torchvision(op: Op, values: tuple[float, ...], change: Callable[[Tensor], Tensor], most: int) -> None:
    """On uint8 tensors torchvision gives the same within a level, image by image; the first three act at magnitude 0.

    It stretches contrast in float32 and takes gray without rounding it, so that some levels are truncated otherwise.
    """
    for height, width in ((64, 64), (33, 48)):
        images = np.delete(pictures(height, width), 5, 0)  # white, of which torchvision's contrast makes 254
        expected = by_torchvision(images, change).astype(int)
        difference = np.abs(changed(images, op, *values) - expected)
        assert difference.max() <= most
        assert difference.mean() <= 0.45 * most  # measured: at most 0.404
        acts = (expected != images).any((1, 2, 3))
        np.testing.assert_array_equal((changed(images, op, *values) != images).any((1, 2, 3)), acts)


def test_a_gpu_s_passes() -> None:
    """What a GPU does for all images at once gives the same histograms and looks up the same levels."""
    images = torch.from_numpy(pictures(20, 31))
    chosen = Chosen.of(images.clone(), np.array([7, 0, 3]), np.full((3, 6), 0.4))
    np.testing.assert_array_equal(color._counted(chosen.take()), color._histograms(chosen))
    groups = [
        (chosen.part(0, 2), color.equalize(chosen.part(0, 2))),
        (chosen.part(2, 3), color.contrast(chosen.part(2, 3))),
    ]
    color._look_up_at_once(groups)
    other = Chosen.of(images.clone(), chosen.index, chosen.numbers)
    color.look_up([(other.part(0, 2), groups[0][1]), (other.part(2, 3), groups[1][1])])
    assert torch.equal(chosen.images, other.images)
    assert not torch.equal(chosen.images, images)
