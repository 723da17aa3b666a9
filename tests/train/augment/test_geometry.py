"""Flip and resize against PIL and numpy."""

import numpy as np
import pytest
import torch
from PIL import Image

from tinyablate.train.augment import geometry


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Half noise, which has every frequency, half smooth with hard edges at 0 and 255, where a cubic overshoots."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for index in range(0, count, 2):
        wave = np.sin(rows / (3 + index)) + np.cos(columns / (2 + index))
        images[index] = np.where(wave > 0.5, 255, np.where(wave < -0.5, 0, 127))[..., None]
    return images


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(64, 64, 224), (64, 64, 32), (64, 64, 96), (64, 64, 63), (64, 64, 65), (64, 64, 7), (224, 224, 64), (50, 70, 48)],
)
def test_resize_equals_pils_bicubic(height: int, width: int, size: int) -> None:
    """Every pixel is within one level of PIL's, and nearly all are the same, enlarging and shrinking."""
    images = pictures(6, height, width)
    expected = np.stack(
        [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in images]
    )
    ours = geometry.resize(torch.from_numpy(images), size).numpy()
    difference = np.abs(ours - expected.astype(np.float32))
    assert difference.max() <= 1
    assert difference.mean() < 0.005


def test_resized_values_are_whole_and_in_range() -> None:
    """A resized image holds what a uint8 image could hold, overshoot cut."""
    resized = geometry.resize(torch.from_numpy(pictures(4, 64, 64)), 96)
    assert resized.dtype == torch.float32
    assert torch.equal(resized, resized.round())
    assert resized.min() == 0
    assert resized.max() == 255


def test_resize_to_the_same_size_is_the_identity() -> None:
    """Images that already have the size keep every value."""
    images = torch.from_numpy(pictures(4, 64, 64))
    assert torch.equal(geometry.resize(images, 64), images.float())


def test_resize_does_not_depend_on_the_batch() -> None:
    """An image is resized to the same bits alone and in a batch."""
    images = torch.from_numpy(pictures(8, 64, 64))
    assert torch.equal(geometry.resize(images, 96)[3:4], geometry.resize(images[3:4], 96))


def test_weights_of_every_output_pixel_sum_to_one() -> None:
    """The filter keeps a constant image constant, also at the borders."""
    for source, target in ((64, 224), (64, 32), (5, 3), (1, 9)):
        matrix = geometry.bicubic_matrix(source, target)
        assert matrix.shape == (target, source)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)


def test_flip_mirrors_the_chosen_images_only() -> None:
    """Chosen images run right to left, the others are untouched."""
    images = pictures(5, 8, 8).transpose(0, 3, 1, 2)
    chosen = np.array([True, False, True, False, False])
    flipped = geometry.flip(torch.from_numpy(images.copy()), chosen).numpy()
    assert np.array_equal(flipped[chosen], images[chosen][:, :, :, ::-1])
    assert np.array_equal(flipped[~chosen], images[~chosen])


def test_flip_of_none_is_the_identity() -> None:
    """A batch without a chosen image stays as it is."""
    images = pictures(3, 8, 8)
    assert np.array_equal(geometry.flip(torch.from_numpy(images.copy()), np.zeros(3, bool)).numpy(), images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_resize_on_a_gpu_is_within_one_level_of_the_cpu() -> None:
    """Rounding may differ by device, by one level at most."""
    images = torch.from_numpy(pictures(6, 64, 64))
    difference = (geometry.resize(images.cuda(), 224).cpu() - geometry.resize(images, 224)).abs()
    assert difference.max() <= 1
    assert difference.mean() < 0.005
