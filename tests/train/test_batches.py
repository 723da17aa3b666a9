"""The input pipeline against PIL and torchvision, and what its keys promise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from tinyablate import policies
from tinyablate.errors import RecipeError
from tinyablate.recipe import Evaluate, Recipe
from tinyablate.train import randomness
from tinyablate.train.augment import erase, geometry, mix, operations, policy
from tinyablate.train.augment.views import Views
from tinyablate.train.batches import Batch, TrainBatches
from tinyablate.train.data.images import ImageSource, load
from tinyablate.train.data.resident import PackedImages
from tinyablate.train.inputs import Inputs, channel_statistics

Change = Any
CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OFF = {"augment__hflip": 0.0, "augment__erase_prob": 0.0, "mix__mixup_alpha": 0.0, "mix__cutmix_alpha": 0.0}


def batches(recipe: Recipe, folder: Path, size: int = 32, seed: int = 0) -> TrainBatches:
    """The training batches of a recipe on the small data set."""
    data = load(folder, CPU)
    return TrainBatches(recipe, data.train, Inputs(size, MEAN, STD, CPU), classes=data.classes, seed=seed)


def whole(source: ImageSource, ids: randomness.Ids, size: int) -> Views:
    """The images `ids`, whole, scaled to `size`."""
    return geometry.evaluate_views(Evaluate(), *source.sizes(ids), size, 1.0)


def epoch(recipe: Recipe, folder: Path, number: int = 1, **more: int) -> list[Batch]:
    """All batches of one epoch."""
    return list(batches(recipe, folder, **more).epoch(number))


def images(recipe: Recipe, folder: Path, **more: int) -> torch.Tensor:
    """All images of epoch 1, in the order of their numbers."""
    shown = torch.cat([batch.images for batch in epoch(recipe, folder, **more)])
    order = torch.from_numpy(randomness.epoch_order(more.get("seed", 0), 1, 200))
    return torch.empty_like(shown).index_copy_(0, order, shown)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_input_equals_pil_and_torchvision(small_data: Path, size: int) -> None:
    """An image without augmentation is PIL's bicubic resize to the byte, normalised as torchvision does it.

    In float32, rounded three times at values up to 2.7, of which one unit in the last place is 2.4e-7.
    """
    data = load(small_data, CPU)
    ids = np.array([5, 0, 299])
    transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    pictures = [Image.fromarray(np.asarray(data.val.take(ids)[i])) for i in range(3)]
    expected = torch.stack([transform(picture.resize((size, size), Image.Resampling.BICUBIC)) for picture in pictures])
    ours = Inputs(size, MEAN, STD, CPU)(next(data.val.show([(ids, whole(data.val, ids, size))])))
    assert ours.shape == (3, 3, size, size)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_labels_belong_to_their_images(small_data: Path, changed: Change) -> None:
    """Images and targets of a batch are those of the same numbers, in the epoch's order, every image once."""
    data = load(small_data, CPU)
    order = randomness.epoch_order(0, 1, 200)
    shown = epoch(changed(**OFF, loss__smoothing=0.0), small_data)
    labels = torch.cat([batch.targets(0.1) for batch in shown]).argmax(dim=1)
    assert torch.equal(labels, data.train.labels[torch.from_numpy(order)])
    views = whole(data.train, order[:40], 32)
    first = Inputs(32, MEAN, STD, CPU)(next(data.train.show([(order[:40], views)])))
    assert torch.equal(shown[0].images, first)


def test_the_last_incomplete_batch_is_dropped(small_data: Path, changed: Change) -> None:
    """200 images make three batches of 64."""
    shown = epoch(changed(batch__size=64), small_data)
    assert [len(batch.images) for batch in shown] == [64, 64, 64]


def test_more_images_a_batch_than_there_are_is_refused(small_data: Path, changed: Change) -> None:
    """The error names field, value and the number of images."""
    with pytest.raises(RecipeError) as caught:
        batches(changed(batch__size=256), small_data)
    assert caught.value.problems == (("batch.size", 256, "the training set has only 200 images"),)


def test_augmentation_of_an_image_does_not_depend_on_the_batch_size(small_data: Path, changed: Change) -> None:
    """Flip and erasing belong to the image: with other batches it looks the same."""
    recipe = changed(mix__mixup_alpha=0.0, mix__cutmix_alpha=0.0)
    small, large = (
        images(changed(recipe, batch__size=20), small_data),
        images(changed(recipe, batch__size=50), small_data),
    )
    assert torch.equal(small, large)


def test_flips_are_mirror_images_at_the_recipes_rate(small_data: Path, changed: Change) -> None:
    """Each image is either as stored or mirrored; the mirrored share is 0.5 within 4 standard errors of 200."""
    plain, flipped = (images(changed(**{**OFF, "augment__hflip": p}), small_data, size=64) for p in (0.0, 0.5))
    mirrored = [torch.equal(ours, stored.flip(2)) for ours, stored in zip(flipped, plain, strict=True)]
    same = [torch.equal(ours, stored) for ours, stored in zip(flipped, plain, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert sum(mirrored) / 200 == pytest.approx(0.5, abs=4 * (0.25 / 200) ** 0.5)


def test_leaving_out_one_technique_leaves_the_others_as_they_were(small_data: Path, changed: Change) -> None:
    """Without flips the erased rectangles and their noise stay; without erasing the flips stay."""
    unmixed = changed(mix__mixup_alpha=0.0, mix__cutmix_alpha=0.0, augment__erase_prob=1.0)
    both, plain = images(unmixed, small_data), images(changed(**OFF), small_data)
    no_flip = images(changed(unmixed, augment__hflip=0.0), small_data)
    no_erase = images(changed(unmixed, augment__erase_prob=0.0), small_data)
    erased, flipped = no_flip != plain, (no_erase != plain).flatten(1).any(1)
    assert 0.02 < erased.float().mean() < 0.34
    assert 60 < flipped.sum() < 140
    assert torch.equal(both, torch.where(erased, no_flip, no_erase))


def test_erasing_stands_before_or_after_mixing_as_the_recipe_says(small_data: Path, changed: Change) -> None:
    """Erased before mixing, rectangles are mixed too; after it, they stand whole in the mixed image."""
    ids = randomness.epoch_order(0, 1, 200)[:40]
    recipe = changed(augment__erase_prob=1.0)
    plain = epoch(changed(**{**OFF, "augment__hflip": 0.5}), small_data)[0].images
    shown = randomness.Shown(ids, seed=0, epoch=1)
    boxes = erase.draw_boxes(recipe.augment, 32, shown)
    mixing = mix.draw(recipe.mix, 32, 40, seed=0, epoch=1, step=0)
    assert mixing != mix.UNMIXED

    def erased(images: torch.Tensor) -> torch.Tensor:
        return erase.erase(images, boxes, "pixel", shown)

    before = epoch(recipe, small_data)[0].images
    after = epoch(changed(recipe, augment__erase_order="after-mix"), small_data)[0].images
    assert torch.equal(before, mix.mix_images(erased(plain.clone()), mixing))
    assert torch.equal(after, erased(mix.mix_images(plain.clone(), mixing)))


def test_targets_follow_mixing_and_smoothing(small_data: Path, changed: Change) -> None:
    """A batch's targets are its mixed, smoothed labels."""
    recipe = changed()
    batch = epoch(recipe, small_data)[0]
    labels = load(small_data, CPU).train.labels[torch.from_numpy(randomness.epoch_order(0, 1, 200)[:40])]
    mixing = mix.draw(recipe.mix, 32, 40, seed=0, epoch=1, step=0)
    assert torch.equal(batch.targets(0.1), mix.soft_targets(labels, 10, 0.1, mixing))


def test_epochs_and_seeds_differ(small_data: Path, changed: Change) -> None:
    """Order and augmentation change from epoch to epoch and from seed to seed, and come back for the same ones."""
    first, again = epoch(changed(), small_data), epoch(changed(), small_data)
    assert torch.equal(first[2].images, again[2].images)
    for other in (epoch(changed(), small_data, number=2), epoch(changed(), small_data, seed=1)):
        assert not torch.equal(first[2].images, other[2].images)


def test_images_lie_in_the_devices_memory_format(small_data: Path, changed: Change) -> None:
    """Batches come channels last, so that no convolution has to convert them."""
    for size in (32, 64):
        batch = epoch(changed(), small_data, size=size)[0]
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


ALONE = {"mix__mixup_alpha": 0.0, "mix__cutmix_alpha": 0.0}
DEIT = {
    **ALONE, "augment__crop": "rrc", "augment__hflip": 0.5, "augment__policy": "rand-m9-mstd0.5-inc1",
    "augment__color_jitter": 0.3, "augment__erase_prob": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("at", ["target", "native"])
@pytest.mark.parametrize("size", [32, 64, 80])
def test_every_transform_belongs_to_its_image(small_data: Path, changed: Change, at: str, size: int) -> None:
    """Crop, flip, policy, jitter and erasing of an image are the same bits in batches of any size."""
    recipe = changed(**DEIT, augment__at=at)
    small, large = (images(changed(recipe, batch__size=n), small_data, size=size) for n in (20, 200))
    assert torch.equal(small, large)


def test_the_steps_stand_in_the_documented_order(small_data: Path, changed: Change) -> None:
    """A batch is views, policy, jitter, normalisation, erasing, carried out one by one with the same streams."""
    recipe = changed(**DEIT)
    data, inputs = load(small_data, CPU), Inputs(48, MEAN, STD, CPU)
    ids = randomness.epoch_order(0, 1, 200)[:40]
    shown, augment = randomness.Shown(ids, 0, 1), recipe.augment
    views = geometry.train_views(augment, shown, *data.train.sizes(ids), 48, 1.0)
    expected = next(data.train.show([(ids, views)]))
    named = policies.parse(augment.policy)
    expected = policy.augment(expected, named, shown, interpolation="bicubic", mean=MEAN)
    for step in policy.jitter(0.3, shown):
        expected = operations.apply(expected, step, (0, 0, 0))
    expected = erase.erase(inputs(expected), erase.draw_boxes(augment, 48, shown), "pixel", shown)
    assert torch.equal(epoch(recipe, small_data, size=48)[0].images, expected)


@pytest.mark.parametrize(
    "left_out",
    [
        {"augment__policy": "none"},
        {"augment__color_jitter": 0.0},
        {"augment__hflip": 0.0},
        {"augment__crop": "resize"},
        {"augment__policy": "3a"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_left_out_leaves_the_erased_rectangles(small_data: Path, changed: Change, left_out: Change) -> None:
    """Rectangles and their noise are the same with any other transform on, off or replaced."""
    recipe = changed(**{**DEIT, "augment__erase_prob": 1.0, "augment__erase_mode": "pixel"})
    both, less = images(recipe, small_data), images(changed(recipe, **left_out), small_data)
    bare = images(changed(recipe, augment__erase_prob=0.0), small_data)
    erased = both != bare
    assert 0.02 < erased.float().mean() < 0.34
    assert torch.equal(both[erased], less[erased])


def test_native_resolution_is_before_the_crop(small_data: Path, changed: Change) -> None:
    """At the data set's own size, with whole images, both orders are one; at another size they are not."""
    plain = {**DEIT, "augment__crop": "resize", "augment__hflip": 0.0}
    native, target = (changed(**plain, augment__at=at) for at in ("native", "target"))
    assert torch.equal(images(native, small_data, size=64), images(target, small_data, size=64))
    assert not torch.equal(images(native, small_data, size=32), images(target, small_data, size=32))


def test_repeats_stand_in_a_row_and_differ(small_data: Path, changed: Change) -> None:
    """Three copies of each image follow one another, each changed in its own way; the epoch keeps its length."""
    once, thrice = changed(**DEIT, batch__size=50), changed(**DEIT, batch__size=50, augment__repeats=3)
    first, shown = epoch(once, small_data), epoch(thrice, small_data)
    assert len(first) == len(shown) == 4
    copies = torch.cat([batch.images for batch in shown])[:198].unflatten(0, (66, 3))
    labels = torch.cat([batch.targets(0.1) for batch in shown])[:198].argmax(1).unflatten(0, (66, 3))
    assert (labels == labels[:, :1]).all()
    assert torch.equal(copies[:50, 0], first[0].images)
    assert (copies[:, 0] != copies[:, 1]).flatten(1).any(1).all()


def test_a_part_of_the_training_set(small_data: Path, changed: Change) -> None:
    """A split and a fraction keep the share of every class, and an image in a part looks as it does in the whole."""
    part = changed(**ALONE, data__split="train[:80%]", data__fraction=0.5, batch__size=20)
    made = batches(part, small_data)
    labels = load(small_data, CPU).train.labels[torch.from_numpy(made.ids)]
    assert made.steps == 4
    assert labels.bincount().tolist() == [8] * 10
    shown = torch.cat([batch.images for batch in made.epoch(1)])
    whole_set = images(changed(**ALONE, batch__size=20), small_data)
    order = [number for number in randomness.epoch_order(0, 1, 200) if number in set(made.ids.tolist())]
    assert torch.equal(shown, whole_set[order])


def test_policies_at_native_size_need_images_of_one_size(small_data: Path, changed: Change) -> None:
    """Where a source cannot give whole images, the recipe is refused by name."""
    data = load(small_data, CPU)

    class Varying(PackedImages):
        native = False

    source = Varying(np.asarray(data.train.take(np.arange(200))), np.arange(200) // 20, CPU, "file")
    with pytest.raises(RecipeError) as caught:
        TrainBatches(changed(**DEIT, augment__at="native"), source, Inputs(32, MEAN, STD, CPU), classes=10, seed=0)
    assert caught.value.problems[0][:2] == ("augment.at", "native")


def test_channel_statistics_by_name() -> None:
    """`model` is the model's own mean and sd, the others are constants."""
    own = ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert channel_statistics("model", own) == own
    assert channel_statistics("imagenet", own) == (MEAN, STD)
    assert channel_statistics("half", own) == ((0.5,) * 3, (0.5,) * 3)


def test_a_data_set_is_opened_once(small_data: Path) -> None:
    """Jobs of one process share the open data."""
    assert load(small_data, CPU) is load(small_data, CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_batches(small_data: Path, changed: Change) -> None:
    """Every draw and every byte is the CPU's (this policy's warps take the nearest pixel); noise agrees to rounding."""
    data = load(small_data, torch.device("cuda"))
    inputs = Inputs(32, MEAN, STD, torch.device("cuda"))
    mixed = {"mix__mixup_alpha": 0.8, "mix__cutmix_alpha": 1.0}
    recipe = changed(**{**DEIT, **mixed, "augment__policy": "torchvision-randaugment"})
    theirs = list(TrainBatches(recipe, data.train, inputs, classes=10, seed=0).epoch(1))
    for ours, other in zip(epoch(recipe, small_data), theirs, strict=True):
        torch.testing.assert_close(ours.targets(0.1), other.targets(0.1).cpu())
        torch.testing.assert_close(ours.images, other.images.cpu(), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("more", [{}, DEIT, {**DEIT, "augment__at": "native"}, {"mix__mode": "elem"}], ids=str)
def test_the_host_never_waits_for_a_gpu(small_data: Path, changed: Change, more: Change) -> None:
    """Once warm, an epoch's batches are queued without one synchronisation, and are those of the CPU."""
    cuda = torch.device("cuda")
    recipe = changed(**{**more, "mix__mixup_alpha": 0.8, "mix__cutmix_alpha": 1.0})
    data = load(small_data, cuda)
    made = TrainBatches(recipe, data.train, Inputs(32, MEAN, STD, cuda), classes=10, seed=0)
    list(made.epoch(1))
    torch.cuda.set_sync_debug_mode("error")
    try:
        theirs = list(made.epoch(2))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for ours, other in zip(epoch(recipe, small_data, number=2), theirs, strict=True):
        assert ((ours.images - other.images.cpu()).abs() > 1.1 / 255 / min(STD)).float().mean() < 0.01
