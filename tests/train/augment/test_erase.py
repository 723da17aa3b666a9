"""Random Erasing against timm's, in distribution, and what its keys promise."""

import random
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from timm.data.random_erasing import RandomErasing

from tinyablate.recipe import Augment
from tinyablate.train import randomness
from tinyablate.train.augment import erase
from tinyablate.train.randomness import Shown

ALWAYS = Augment(erase_prob=1.0)
SIZE = 64
MANY = 100_000
"""Draws of each side. Two samples of it whose distributions lie 0.015 apart (Kolmogorov) are told apart at p = 0.001
with a power of 99 %: the critical distance is 0.0087, the standard error of the distance at most 0.0023."""
PINNED_ONE = [[17, 38, 2, 58], [30, 62, 1, 33], [19, 58, 11, 26]]
PINNED_THREE = [
    [0, 0, 17, 38, 2, 58],
    [1, 0, 43, 61, 1, 19],
    [2, 0, 19, 58, 11, 26],
    [1, 1, 7, 19, 24, 36],
    [1, 2, 56, 62, 55, 60],
]
PINNED_NOISE = [-0.5685411095619202, 0.8482891321182251, 1.8002747297286987]
PINNED_COLOR = [0.571755051612854, -1.9313011169433594, 2.295253038406372]
property_test = settings(deadline=None, derandomize=True, max_examples=60)


def shown(ids: Any, epoch: int = 1, repeats: Any = None) -> Shown:
    """Images of seed 0."""
    return Shown(np.asarray(ids), 0, epoch, None if repeats is None else np.asarray(repeats))


def boxes(augment: Augment = ALWAYS, count: int = 3000, epoch: int = 1, size: int = SIZE) -> erase.Boxes:
    """The rectangles of images 0..count-1."""
    return erase.draw_boxes(augment, size, shown(np.arange(count), epoch))


def erased(images: torch.Tensor, mode: str, ids: Any, augment: Augment = ALWAYS) -> torch.Tensor:
    """`images` with the rectangles of `ids` filled."""
    found = erase.draw_boxes(augment, images.shape[-1], shown(ids))
    return erase.erase(images.clone(), found, mode, shown(ids))


class Record:
    """Takes the place of an image in timm's eraser and notes the rectangles that are assigned to."""

    def __init__(self) -> None:
        self.found: list[tuple[int, ...]] = []
        self.image = 0

    def __setitem__(self, where: tuple[slice, slice, slice], values: torch.Tensor) -> None:
        _, rows, columns = where
        self.found.append((self.image, rows.start, rows.stop, columns.start, columns.stop))


def timm_boxes(augment: Augment, count: int, size: int = SIZE) -> erase.Boxes:
    """The rectangles that timm erases from `count` images."""
    random.seed(0)  # timm draws from the global generator
    least, most = augment.erase_area
    low, high = augment.erase_ratio
    eraser = RandomErasing(augment.erase_prob, least, most, low, high, max_count=augment.erase_count, device="cpu")
    record = Record()
    for record.image in range(count):
        eraser._erase(record, 3, size, size, torch.float32)
    index, top, bottom, left, right = np.array(record.found).T
    return erase.Boxes(index, np.zeros_like(index), top, bottom, left, right)


def shape_and_place(found: erase.Boxes) -> dict[str, Any]:
    """What is compared between two sets of rectangles."""
    height, width = found.bottom - found.top, found.right - found.left
    return {"area": height * width, "ratio": height / width, "top": found.top, "left": found.left}


@pytest.mark.parametrize(
    "augment",
    [
        ALWAYS,
        Augment(erase_prob=0.25, erase_area=(0.3, 0.9), erase_ratio=(0.5, 3.0)),
        Augment(erase_prob=0.5, erase_count=3),
    ],
)
def test_rectangles_follow_timms_distribution(augment: Augment) -> None:
    """Area, ratio and place, how many images are erased and how often, over 100,000 images (power: see MANY)."""
    ours, timms = boxes(augment, MANY), timm_boxes(augment, MANY)
    for (name, mine), other in zip(shape_and_place(ours).items(), shape_and_place(timms).values(), strict=True):
        assert stats.ks_2samp(mine, other).pvalue > 0.001, name
    table = [np.bincount(np.bincount(side.index, minlength=MANY), minlength=4) for side in (ours, timms)]
    table = np.array(table)[:, np.any(table, axis=0)]  # images by their number of rectangles
    assert table.shape[1] == 1 or stats.chi2_contingency(table).pvalue > 0.001
    assert table.shape[1] == augment.erase_count + (augment.erase_prob < 1)


def test_the_erased_share_of_an_image_follows_timms() -> None:
    """Several rectangles may overlap: the share that they cover together, 20,000 images (0.033 apart: power 99 %)."""
    augment = Augment(erase_prob=1.0, erase_count=4)
    ours, timms = (draw(augment, 20_000, size=32).shares(20_000, 32) for draw in (boxes, timm_boxes))
    assert stats.ks_2samp(ours, timms).pvalue > 0.001
    assert ours.mean() == pytest.approx(timms.mean(), rel=0.02)


def test_the_rectangles_of_an_image_are_drawn_apart() -> None:
    """Places of the first, second and third rectangle are uncorrelated, and so are areas of images that have three:
    within 4 standard errors of some 33,000 images."""
    found = boxes(Augment(erase_prob=1.0, erase_count=3), MANY)
    three = np.flatnonzero(np.bincount(found.index) == 3)
    for values in (found.top, found.left, (found.bottom - found.top) / (found.right - found.left)):
        columns = [values[(found.number == number) & np.isin(found.index, three)] for number in range(3)]
        assert abs(np.corrcoef(columns)[np.triu_indices(3, 1)]).max() < 4 / len(three) ** 0.5


def test_draws_never_change() -> None:
    """Pinned rectangles and noise: stored trials stay comparable only as long as these hold."""
    one, three = boxes(count=3), boxes(Augment(erase_prob=1.0, erase_count=3), count=3)
    assert np.stack([one.top, one.bottom, one.left, one.right]).T.tolist() == PINNED_ONE
    assert np.stack([three.index, three.number, three.top, three.bottom, three.left, three.right]).T.tolist() == (
        PINNED_THREE
    )
    image = erased(torch.zeros(1, 3, SIZE, SIZE), "pixel", [7])[0]
    row, column = (int(values[0]) for values in image[0].nonzero(as_tuple=True))
    assert image[:, row, column].tolist() == pytest.approx(PINNED_NOISE, rel=1e-5)
    color = erased(torch.zeros(1, 3, SIZE, SIZE), "rand", [7])[0][:, row, column]
    assert color.tolist() == pytest.approx(PINNED_COLOR, rel=1e-5)


augments = st.builds(
    Augment,
    erase_prob=st.sampled_from([0.3, 1.0]),
    erase_count=st.integers(1, 5),
    erase_area=st.tuples(st.floats(0.001, 1.0), st.floats(0.001, 1.0)).map(lambda pair: tuple(sorted(pair))),
    erase_ratio=st.tuples(st.floats(0.05, 20.0), st.floats(0.05, 20.0)).map(lambda pair: tuple(sorted(pair))),
)


@property_test
@given(augments, st.integers(1, 40))
def test_rectangles_are_smaller_than_the_image_and_inside_it(augment: Augment, size: int) -> None:
    """No rectangle is empty, spans the image or leaves it; an image has each of its numbers once, in order."""
    found = boxes(augment, 40, size=size)
    for low, high in ((found.top, found.bottom), (found.left, found.right)):
        assert (low >= 0).all()
        assert (high <= size).all()
        assert (high > low).all()
        assert (high - low < size).all()
    assert (np.diff(found.number) >= 0).all()
    assert len(set(zip(found.index.tolist(), found.number.tolist(), strict=True))) == len(found)
    assert found.number.max(initial=0) < augment.erase_count


@property_test
@given(augments, st.integers(2, 33), st.integers(1, 4), st.booleans(), st.sampled_from(["pixel", "rand", "const"]))
def test_erasing_is_what_it_is_defined_as(augment: Augment, size: int, channels: int, last: bool, mode: str) -> None:
    """For any size, number of channels and memory format, bit for bit: the rectangles, one after the other, filled
    from the noise that belongs to the image and its place, or in one colour each; all else as it was."""
    images = torch.randn(5, channels, size, size, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last) if last else images
    there = shown([4, 9, 4, 2, 7], repeats=[0, 0, 1, 0, 2])
    found = erase.draw_boxes(augment, size, there)
    noise = there.noise("erase-fill", (size, size, channels), torch.device("cpu")).permute(0, 3, 1, 2)
    expected = images.clone()
    for k, index in enumerate(found.index.tolist()):
        where = index, slice(None), slice(found.top[k], found.bottom[k]), slice(found.left[k], found.right[k])
        stream = f"erase-fill-{found.number[k]}" if found.number[k] else "erase-fill"
        color = there.noise(stream, (channels,), torch.device("cpu"))[index][:, None, None]
        expected[where] = {"pixel": noise[where], "rand": color, "const": torch.zeros(())}[mode]
    ours = erase.erase(images, found, mode, there)
    assert ours is images
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("places", [100, 10_000])
def test_the_passes_of_a_large_image_do_not_show(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise has the same bits whether a pass takes a part of a row, some rows or several rectangles."""
    images, augment = torch.zeros(3, 3, 97, 97), Augment(erase_prob=1.0, erase_area=(0.5, 0.9))
    whole = erased(images, "pixel", [1, 2, 3], augment)
    monkeypatch.setattr(randomness, "_FILL", places)
    assert torch.equal(erased(images, "pixel", [1, 2, 3], augment), whole)


@property_test
@given(augments, st.sampled_from(["pixel", "rand", "const"]), st.permutations(range(8)))
def test_an_image_is_erased_the_same_way_in_any_batch(augment: Augment, mode: str, order: list[int]) -> None:
    """Rectangles and noise depend neither on the other images nor on the place or the size of the batch."""
    images = torch.randn(8, 3, 17, 17, generator=torch.Generator().manual_seed(0))
    ids, repeats = np.array([5, 6, 5, 0, 99, 3, 7, 3]), np.array([0, 0, 1, 0, 0, 1, 0, 0])
    there, part = shown(ids, repeats=repeats), np.array(order[:3])
    whole = erase.erase(images.clone(), erase.draw_boxes(augment, 17, there), mode, there)
    few = shown(ids[part], repeats=repeats[part])
    assert torch.equal(erase.erase(images[part], erase.draw_boxes(augment, 17, few), mode, few), whole[part])


def test_epochs_and_copies_of_an_image_differ() -> None:
    """The same image is erased elsewhere in another epoch and in its other copies."""
    ids = np.arange(50)
    first = boxes(count=50)
    for other in (boxes(count=50, epoch=2), erase.draw_boxes(ALWAYS, SIZE, shown(ids, repeats=np.ones(50, int)))):
        assert (first.top != other.top).mean() > 0.5


def test_an_image_that_no_try_fits_stays_whole() -> None:
    """Rectangles of the whole area never fit strictly, so nothing is erased."""
    never = Augment(erase_prob=1.0, erase_area=(1.0, 1.0), erase_ratio=(1.0, 1.0))
    assert len(boxes(never, count=50)) == 0
    images = torch.randn(5, 3, 8, 8)
    assert torch.equal(erased(images, "pixel", np.arange(5), never), images)


def test_raising_the_probability_keeps_the_rectangles_that_were_there() -> None:
    """Arms that erase more images share the rectangles of those that both erase."""
    few, many = boxes(Augment(erase_prob=0.25)), boxes()
    at = {index: place for place, index in enumerate(many.index)}
    places = [at[index] for index in few.index]
    assert np.array_equal(few.top, many.top[places])
    assert np.array_equal(few.right, many.right[places])


def test_more_rectangles_leave_images_with_one_as_they_were() -> None:
    """Where `erase_count` is 3 and an image's number is 1, its rectangle is that of `erase_count` 1."""
    one, three = boxes(), boxes(Augment(erase_prob=1.0, erase_count=3))
    single = np.flatnonzero(np.bincount(three.index) == 1)
    assert len(single) > 900
    for side in ("top", "bottom", "left", "right"):
        mine, other = (
            getattr(found, side)[(found.number == 0) & np.isin(found.index, single)] for found in (one, three)
        )
        assert np.array_equal(mine, other)


@pytest.mark.parametrize("mode", ["pixel", "rand"])
def test_noise_is_standard_normal(mode: str) -> None:
    """Erased values (300 images) pass a Kolmogorov test against N(0, 1); 0.11 of it is seen with a power of 99 % in
    the 900 colours, 0.01 in the 40,000 pixels."""
    images = erased(torch.full((300, 3, 16, 16), torch.inf), mode, np.arange(300))
    values = [image[:, image[0].isfinite()] for image in images]
    drawn = torch.cat([v.flatten() if mode == "pixel" else v[:, 0] for v in values])
    assert stats.kstest(drawn.numpy(), "norm").pvalue > 0.001


def test_shares_are_the_erased_pixels() -> None:
    """A preview's figure: the share of each image that its rectangles cover."""
    augment = Augment(erase_prob=0.6, erase_count=3)
    found = boxes(augment, 20, size=16)
    images = erased(torch.full((20, 3, 16, 16), torch.inf), "const", np.arange(20), augment)
    assert {0, 1, 2, 3} == set(np.bincount(found.index, minlength=20))
    assert found.shares(20, 16).tolist() == pytest.approx((images[:, 0] == 0).float().mean(dim=(1, 2)).tolist())


def test_shares_need_one_canvas() -> None:
    """A thousand images of 384 pixels cost less memory than eight of them hold pixels, and none at all is no error."""
    found = boxes(Augment(erase_prob=1.0, erase_count=3), 1000, size=384)
    tracemalloc.start()
    found.shares(1000, 384)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * 384**2
    assert boxes(Augment(erase_prob=0.0), 3).shares(3, SIZE).tolist() == [0, 0, 0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
def test_a_gpu_erases_the_same(mode: str) -> None:
    """The rectangles are the CPU's, the noise agrees to rounding."""
    augment, there = Augment(erase_prob=0.7, erase_count=3), shown(np.arange(32))
    images = torch.randn(32, 3, 65, 65).contiguous(memory_format=torch.channels_last)
    found = erase.draw_boxes(augment, 65, there)
    other = erase.erase(images.cuda(), found, mode, there).cpu()
    torch.testing.assert_close(other, erase.erase(images, found, mode, there), rtol=1e-5, atol=2e-6)
