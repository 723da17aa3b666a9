"""Which images are trained on and in which order, against timm's repeated augmentation and by property."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.data.distributed_sampler import RepeatAugSampler

from tinyablate.errors import RecipeError
from tinyablate.train import randomness
from tinyablate.train.randomness import Shown
from tinyablate.train.sampling import chosen, epoch_batches

property_test = settings(deadline=None, derandomize=True, max_examples=150)
shares = st.floats(0, 1)
label_sets = st.lists(st.integers(0, 4), max_size=80).map(lambda labels: np.array(labels, np.int64))


def epoch(ids: Any, batch: int, repeats: int = 1, seed: int = 0, number: int = 1) -> list[Shown]:
    """The batches of one epoch."""
    return list(epoch_batches(np.asarray(ids), batch, repeats, seed=seed, epoch=number))


def sequence(batches: list[Shown]) -> list[int]:
    """The numbers of their images, one after the other."""
    return [int(number) for shown in batches for number in shown.ids]


# --- the order of an epoch


def test_without_repeats_an_epoch_is_its_order() -> None:
    """The batches are `epoch_order` cut into pieces, without a number of copies, the last incomplete one dropped."""
    batches = epoch(np.arange(107), 10, seed=3, number=2)
    assert [len(shown) for shown in batches] == [10] * 10
    assert sequence(batches) == randomness.epoch_order(3, 2, 107)[:100].tolist()
    assert {(shown.seed, shown.epoch, shown.repeats is None) for shown in batches} == {(3, 2, True)}


def test_a_part_of_the_set_keeps_its_order() -> None:
    """With fewer images, those that remain follow one another as before, under their own numbers."""
    ids = np.array([3, 4, 10, 55, 56, 99])
    everyone = [number for number in sequence(epoch(np.arange(107), 107)) if number in ids]
    assert sequence(epoch(ids, 3)) == everyone


def test_copies_of_an_image_stand_in_a_row() -> None:
    """With 3 repeats: each image of the order 3 times, numbered 0, 1, 2, until the epoch has its length."""
    batches = epoch(np.arange(50), 8, repeats=3)
    order = randomness.epoch_order(0, 1, 50)
    assert sequence(batches) == np.repeat(order, 3)[:48].tolist()
    copies = [int(copy) for shown in batches if shown.repeats is not None for copy in shown.repeats]
    assert copies == [0, 1, 2] * 16


@property_test
@given(st.integers(1, 90), st.integers(1, 40), st.integers(1, 7))
def test_repeats_keep_the_length_of_an_epoch(images: int, batch: int, repeats: int) -> None:
    """As many batches of the same size as without; every image as often as told, but for the last one."""
    batches = epoch(np.arange(images), batch, repeats)
    assert [len(shown) for shown in batches] == [len(shown) for shown in epoch(np.arange(images), batch)]
    counts = list(Counter(sequence(batches)).values())
    assert all(count == repeats for count in counts[:-1])
    assert all(count <= repeats for count in counts)
    pairs = [pair for shown in batches for pair in zip(shown.ids, _copies(shown), strict=True)]
    assert len(set(pairs)) == len(pairs)


def _copies(shown: Shown) -> Any:
    return [0] * len(shown) if shown.repeats is None else shown.repeats.tolist()


@pytest.mark.parametrize(("images", "batch", "repeats"), [(1024, 64, 3), (1000, 256, 3), (768, 128, 2), (200, 50, 4)])
def test_an_epoch_has_the_structure_of_timms(images: int, batch: int, repeats: int) -> None:
    """Where timm's cut to a multiple of 256 is a multiple of the batch too, lengths and runs of equal images are its
    own: one device, incomplete batches dropped."""
    sampler = RepeatAugSampler(range(images), num_replicas=1, rank=0, num_repeats=repeats)
    theirs = list(sampler)[: len(sampler) // batch * batch]
    ours = sequence(epoch(np.arange(images), batch, repeats))
    runs = [[len(list(run)) for _, run in itertools.groupby(numbers)] for numbers in (ours, theirs)]
    assert runs[0] == runs[1]
    assert sorted(Counter(ours).values()) == sorted(Counter(theirs).values())


def test_timm_drops_more_where_the_batch_does_not_divide_256() -> None:
    """1,000 images in batches of 100: timm shows 768 before the loader drops the rest, ours 1,000."""
    sampler = RepeatAugSampler(range(1000), num_replicas=1, rank=0, num_repeats=3)
    assert (len(sampler), len(sequence(epoch(np.arange(1000), 100, 3)))) == (768, 1000)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    """The order changes with both, and with repeats so do the images that are shown."""
    first = sequence(epoch(np.arange(300), 30, 3))
    for other in (epoch(np.arange(300), 30, 3, seed=1), epoch(np.arange(300), 30, 3, number=2)):
        assert first != sequence(other)
        assert 10 < len(set(first) & set(sequence(other))) < 60  # 33 expected of 100 each


def test_more_images_a_batch_than_there_are_make_no_batch() -> None:
    """An incomplete batch is no batch, and nor is one of an empty set."""
    assert epoch(np.arange(5), 6) == []
    assert epoch(np.arange(0), 6, 3) == []


# --- the part of the set


def test_the_whole_is_everything() -> None:
    """The full split and fraction 1 are all images in their order."""
    labels = np.array([2, 0, 1, 1, 0, 2, 2])
    assert chosen(labels, (0.0, 1.0), 1.0).tolist() == list(range(7))


def test_a_split_takes_its_share_of_every_class() -> None:
    """Of 500 images of each class, train[99%:] holds 5; a tenth of the other 495 is 50, as halves round to even."""
    labels = np.repeat(np.arange(20), 500)
    assert np.bincount(labels[chosen(labels, (0.99, 1.0))]).tolist() == [5] * 20
    assert np.bincount(labels[chosen(labels, (0.0, 0.99), 0.1)]).tolist() == [50] * 20  # 49.5
    assert np.bincount(labels[chosen(labels, (0.1, 0.4), 0.001)]).tolist() == [1] * 20


def test_a_split_is_not_the_first_images() -> None:
    """Ranks are drawn: the first half of a class has images from all over the set, 250 of 1,000 in each quarter."""
    found = chosen(np.zeros(2000, np.int64), (0.0, 0.5))
    assert np.histogram(found, 4, (0, 2000))[0] == pytest.approx(250, abs=60)  # 4.4 standard errors


def test_the_chosen_images_never_change() -> None:
    """Pinned: what a stored trial was trained on."""
    labels = np.arange(60) % 3
    assert chosen(labels, (0.0, 0.2)).tolist() == [4, 6, 14, 19, 20, 21, 37, 45, 47, 53, 55, 57]
    assert chosen(labels, (0.75, 1.0), 0.5).tolist() == [1, 15, 16, 17, 23, 42]


@property_test
@given(label_sets, st.lists(st.sampled_from([0.2, 0.3, 0.5, 0.7, 0.99]) | shares, max_size=2).map(sorted))
def test_splits_that_meet_share_no_image_and_leave_none_out(labels: Any, cuts: list[float]) -> None:
    """Complementary splits partition every class, in sizes that add up; an empty one is refused."""
    bounds = [0.0, *cuts, 1.0]
    counts = np.bincount(labels, minlength=5)
    found: list[int] = []
    for low, high in itertools.pairwise(bounds):
        sizes = np.rint(high * counts) - np.rint(low * counts)
        if (sizes[counts > 0] > 0).all():
            ids = chosen(labels, (low, high))
            assert np.bincount(labels[ids], minlength=5).tolist() == sizes.tolist()
            assert (np.diff(ids) > 0).all()
            found += ids.tolist()
        else:
            with pytest.raises(RecipeError):
                chosen(labels, (low, high))
            return
    assert sorted(found) == list(range(len(labels)))


@property_test
@given(label_sets, st.floats(0.01, 1), st.floats(0.01, 1))
def test_smaller_fractions_are_parts_of_larger_ones(labels: Any, one: float, other: float) -> None:
    """Nested, and every class keeps its rounded share, at least one image."""
    small, large = (chosen(labels, (0.0, 1.0), fraction) for fraction in sorted((one, other)))
    assert set(small) <= set(large)
    counts = np.bincount(labels, minlength=5)
    expected = np.where(counts > 0, np.maximum(np.rint(min(one, other) * counts), 1), 0)
    assert np.bincount(labels[small], minlength=5).tolist() == expected.tolist()


@property_test
@given(label_sets, st.integers(1, 4))
def test_a_class_is_chosen_from_without_regard_to_the_others(labels: Any, other: int) -> None:
    """Which images of a class are taken depends on no other class's labels."""
    merged = np.where(labels > 0, other, 0)  # class 0 stays, the rest becomes one class
    ours, theirs = (found[labels[found] == 0] for found in (chosen(labels, (0, 1), 0.4), chosen(merged, (0, 1), 0.4)))
    assert ours.tolist() == theirs.tolist()


def test_a_class_without_an_image_is_refused() -> None:
    """The error names field, split, class and its number of images."""
    labels = np.array([0] * 100 + [3] * 2 + [7])
    with pytest.raises(RecipeError) as caught:
        chosen(labels, (0.9, 1.0), field="evaluate.split")
    rule = "holds no image of 2 of the 3 classes, such as class number 3, which has 2 images: name a wider part"
    assert caught.value.problems == (("evaluate.split", "train[90%:100%]", rule),)
    with pytest.raises(RecipeError, match=r"^data\.split = 'train\[0%:40%\]'.* which has 1 image: name a wider part$"):
        chosen(labels, (0.0, 0.4))
