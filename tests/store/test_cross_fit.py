"""Cross-fitted selection: chosen on one half of the images, scored on the other."""

import numpy as np
import pytest

from tinyablate.store.cross_fit import cross_fitted, unpacked


def packed(correct: np.ndarray) -> tuple[list[bytes], list[float]]:
    """Bits and percentages as an outcome has them."""
    return [np.packbits(row).tobytes() for row in correct], [100 * float(row.mean()) for row in correct]


def plainly(correct: np.ndarray) -> float:
    """The definition: each half's best epoch (of equals the earliest) scored on the other half."""
    even, odd = correct[:, ::2].sum(axis=1), correct[:, 1::2].sum(axis=1)
    return 100 * float(odd[even.argmax()] + even[odd.argmax()]) / correct.shape[1]


def test_a_worked_example() -> None:
    """Even images are best at epoch 2, odd ones at epoch 1: each half is scored where the other is best."""
    correct = np.array([[0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0], [1, 1, 0, 0, 0, 0]], bool)
    # even images (0, 2, 4): 0, 3, 1 right; odd images (1, 3, 5): 3, 0, 1 right
    assert cross_fitted(*packed(correct)) == 0.0  # odd at epoch 2: none; even at epoch 1: none
    correct = np.array([[1, 1, 0, 1], [1, 1, 1, 0]], bool)
    assert cross_fitted(*packed(correct)) == 100 * (1 + 1) / 4  # odd at epoch 2: one; even at epoch 1: one


def test_of_equal_epochs_the_earliest_counts() -> None:
    """Both halves are tied over the epochs, and the first is taken."""
    correct = np.array([[1, 0, 0, 1], [0, 1, 1, 0]], bool)
    assert cross_fitted(*packed(correct)) == 50.0
    correct = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 1]], bool)
    assert cross_fitted(*packed(correct)) == 50.0


@pytest.mark.parametrize("images", [2, 7, 8, 9, 1000, 4999])
def test_bits_count_as_images_do(images: int) -> None:
    """It is what the definition gives on the unpacked bits, for any number of images: none that fill a byte count."""
    random = np.random.default_rng(images)
    for rate in (0.02, 0.5, 0.98):
        correct = random.random((5, images)) < rate
        assert np.array_equal(unpacked(*packed(correct))[:, :images], correct)
        assert cross_fitted(*packed(correct)) == pytest.approx(plainly(correct), rel=1e-12)


@pytest.mark.parametrize("top1", [float("nan"), float("inf"), 5e-324, -1.0, 0.0])
def test_a_percentage_that_fits_no_bits_ends_nothing(top1: float) -> None:
    """A result with such a number is stored like any: all bits but those of the last byte count."""
    assert unpacked([b"\xf0\x0f"], [top1]).shape[1] in range(9, 17)
    assert cross_fitted([b"\xf0\x0f"], [top1]) is not None


def test_without_bits_there_is_no_score() -> None:
    """No epochs, an epoch without bits, or epochs of different sizes."""
    assert cross_fitted([], []) is None
    assert cross_fitted([b"\xf0", b""], [50.0, 50.0]) is None
    assert cross_fitted([b"\xf0", b"\xf0\xf0"], [50.0, 50.0]) is None
    assert cross_fitted([b"\x80"], [100.0]) is None, "one image has no two halves"


def test_it_flatters_less_than_the_best_epoch() -> None:
    """Of epochs that differ by chance alone the best is too good by about a standard error; cross-fitted it is not."""
    random = np.random.default_rng(0)
    truth, images, epochs = 0.7, 400, 20
    best, fitted = [], []
    for _ in range(400):
        correct = random.random((epochs, images)) < truth
        best.append(100 * correct.mean(axis=1).max())
        fitted.append(cross_fitted(*packed(correct)))
    error = 100 * (truth * (1 - truth) / images) ** 0.5  # 2.3 points
    assert np.mean(best) - 70 > error
    assert abs(np.mean(fitted) - 70) < 4 * error / 400**0.5  # four standard errors of the mean of 400
