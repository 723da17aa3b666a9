"""Random Erasing against timm's, in distribution, and what its keys promise."""

import random

import numpy as np
import pytest
import torch
from scipy import stats
from timm.data.random_erasing import RandomErasing

from tinyablate.recipe import Augment
from tinyablate.train.augment import erase

ALWAYS = Augment(erase_prob=1.0)
SIZE = 64


def boxes(augment: Augment = ALWAYS, count: int = 3000, epoch: int = 1, size: int = SIZE) -> erase.Boxes:
    """The rectangles of images 0..count-1."""
    return erase.draw_boxes(augment, size, seed=0, epoch=epoch, image_ids=np.arange(count))


def erased(images: torch.Tensor, mode: str, ids: np.ndarray, augment: Augment = ALWAYS) -> torch.Tensor:
    """`images` with the rectangles of `ids` filled."""
    found = erase.draw_boxes(augment, images.shape[-1], seed=0, epoch=1, image_ids=ids)
    return erase.erase(images.clone(), found, mode, seed=0, epoch=1, image_ids=ids)


def timm_boxes(count: int) -> np.ndarray:
    """Top, bottom, left, right [count, 4] of the rectangles that timm erases."""
    random.seed(0)
    eraser = RandomErasing(1.0, mode="const", device="cpu")
    found = []
    for _ in range(count):
        hole = (eraser(torch.ones(1, SIZE, SIZE)) == 0)[0].numpy()
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        found.append((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    return np.array(found)


def test_rectangles_follow_timms_distribution() -> None:
    """Area, ratio, top, left of 3,000 each: a Kolmogorov distance of 0.08 has 98 % power to be seen at p = 0.001."""
    ours, (top, bottom, left, right) = boxes(), timm_boxes(3000).T
    height, width = ours.bottom - ours.top, ours.right - ours.left
    pairs = {
        "area": (height * width, (bottom - top) * (right - left)),
        "ratio": (height / width, (bottom - top) / (right - left)),
        "top": (ours.top, top),
        "left": (ours.left, left),
    }
    for name, (mine, timms) in pairs.items():
        assert stats.ks_2samp(mine, timms).pvalue > 0.001, name


def test_rectangles_are_smaller_than_the_image_and_inside_it() -> None:
    """No rectangle is empty, spans the image or leaves it."""
    found = boxes(Augment(erase_prob=1.0, erase_area=(0.001, 0.9)), size=16)
    for low, high in ((found.top, found.bottom), (found.left, found.right)):
        assert low.min() >= 0
        assert high.max() <= 16
        assert (high > low).all()
        assert (high - low).max() < 16


def test_an_image_that_no_try_fits_stays_whole() -> None:
    """Rectangles of the whole area never fit strictly, so nothing is erased."""
    assert len(boxes(Augment(erase_prob=1.0, erase_area=(1.0, 1.0), erase_ratio=(1.0, 1.0)), count=50).index) == 0


def test_probability_holds() -> None:
    """The share of erased images is the recipe's, within 4 standard errors of 3,000."""
    share = len(boxes(Augment(erase_prob=0.25)).index) / 3000
    assert share == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 3000) ** 0.5)


def test_raising_the_probability_keeps_the_rectangles_that_were_there() -> None:
    """Arms that erase more images share the rectangles of those that both erase."""
    few, many = boxes(Augment(erase_prob=0.25)), boxes()
    at = {index: place for place, index in enumerate(many.index)}
    places = [at[index] for index in few.index]
    assert np.array_equal(few.top, many.top[places])
    assert np.array_equal(few.right, many.right[places])


def test_rectangle_and_noise_belong_to_the_image() -> None:
    """An image is erased the same way wherever it stands in whichever batch, and otherwise in another epoch."""
    images = torch.zeros(6, 3, SIZE, SIZE)
    whole = erased(images, "pixel", np.array([4, 9, 2, 7, 1, 3]))
    part = erased(images[:2], "pixel", np.array([7, 2]))
    assert torch.equal(part[0], whole[3])
    assert torch.equal(part[1], whole[2])
    assert not np.array_equal(boxes(epoch=1).top, boxes(epoch=2).top)


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
def test_only_the_rectangle_changes(mode: str) -> None:
    """Outside its rectangle an image keeps every value, inside none."""
    images = torch.full((4, 3, SIZE, SIZE), 7.0)
    changed = (erased(images, mode, np.arange(4)) != 7).all(dim=1).numpy()
    found = boxes(count=4)
    for index in range(4):
        inside = np.zeros((SIZE, SIZE), bool)
        inside[found.top[index] : found.bottom[index], found.left[index] : found.right[index]] = True
        assert np.array_equal(changed[index], inside)


@pytest.mark.parametrize("mode", ["pixel", "rand"])
def test_noise_is_standard_normal(mode: str) -> None:
    """Erased values (300 images) pass a Kolmogorov test against N(0, 1)."""
    images = erased(torch.full((300, 3, 16, 16), torch.inf), mode, np.arange(300))
    values = [image[:, image[0].isfinite()] for image in images]
    drawn = torch.cat([v.flatten() if mode == "pixel" else v[:, 0] for v in values])
    assert stats.kstest(drawn.numpy(), "norm").pvalue > 0.001


def test_rand_fills_each_channel_with_one_value() -> None:
    """`rand` is one colour per rectangle, its channels drawn apart."""
    image = erased(torch.full((1, 3, SIZE, SIZE), torch.inf), "rand", np.array([5]))[0]
    colours = [channel[channel.isfinite()].unique() for channel in image]
    assert [len(colour) for colour in colours] == [1, 1, 1]
    assert len(torch.cat(colours).unique()) == 3


def test_const_fills_with_zero() -> None:
    """`const` is zero, the mean colour of normalised images."""
    image = erased(torch.ones(1, 3, SIZE, SIZE), "const", np.array([5]))
    assert set(image.unique().tolist()) == {0.0, 1.0}


def test_memory_format_does_not_change_what_is_erased() -> None:
    """Images that lie channels last get the same values as contiguous ones."""
    images = torch.randn(4, 3, SIZE, SIZE)
    last = erased(images.contiguous(memory_format=torch.channels_last), "pixel", np.arange(4))
    assert torch.equal(last, erased(images, "pixel", np.arange(4)))
