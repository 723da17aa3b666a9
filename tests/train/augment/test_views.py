"""One image's view against PIL and torchvision, and the weights that every rendering shares."""

import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from tinyablate.recipe import Augment, Evaluate
from tinyablate.train.augment import geometry, views
from tinyablate.train.augment.views import OUTSIDE, Views, filter_taps, positions, render_one
from tinyablate.train.randomness import Shown

SOURCES = [(64, 64), (50, 70), (97, 41), (1, 1), (1, 30), (30, 1), (7, 5)]
"""Heights and widths."""


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise on a wave with hard edges, where a cubic overshoots: uint8 [H, W, 3]."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    wave = 120 + 200 * np.sign(np.sin(rows / 3) + np.cos(columns / 4))[..., None]
    return np.clip(wave + random.normal(0, 60, (height, width, 3)), 0, 255).astype(np.uint8)


def one(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Heights and widths of a batch of one image."""
    return np.array([height]), np.array([width])


def scaled(image: Image.Image, sizes: list[int], mode: InterpolationMode) -> Image.Image:
    """torchvision's resize of a PIL image, columns first: in one call, PIL 13 begins with the rows of some images."""
    width, height = F.resize(image, sizes, mode).size
    return F.resize(F.resize(image, [image.height, width], mode), [height, width], mode)


def expected(image: np.ndarray, augment: Augment, view: Views) -> np.ndarray:
    """The view of one image as torchvision crops, scales, pads and flips a PIL image."""
    mode = InterpolationMode.BILINEAR if view.bilinear[0] else InterpolationMode.BICUBIC
    top, left, height, width, _, _, row, column = (int(part[0]) for part in view.boxes)
    pil, square, pad = F.to_pil_image(image), [view.size, view.size], augment.crop_padding
    if augment.crop == "rrc":
        shown = scaled(F.crop(pil, top, left, height, width), square, mode)
    elif augment.crop == "center":
        shown = F.center_crop(scaled(pil, [int(view.size / augment.crop_pct)], mode), square)
    elif augment.crop == "resize":
        shown = scaled(pil, square, mode)
    else:
        whole = scaled(pil, [view.size] if augment.crop == "src" else square, mode)
        padded = F.pad(whole, [pad] * 4, fill=0, padding_mode=augment.crop_padding_mode)
        shown = F.crop(padded, row + pad, column + pad, view.size, view.size)
    return np.asarray(F.horizontal_flip(shown) if view.flip[0] else shown)


def filter_matrix(source: int, target: int, *, bilinear: bool = False, antialias: bool = True) -> np.ndarray:
    """`filter_taps` of all outputs as a matrix [target, source]."""
    taps = filter_taps(source, target, np.arange(target), bilinear=bilinear, antialias=antialias)
    matrix = np.zeros((target, source + taps.weights.shape[1]))
    np.put_along_axis(matrix, taps.first[:, None] + np.arange(taps.weights.shape[1]), taps.weights, axis=1)
    return matrix[:, :source]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    "augment",
    [
        Augment(crop="resize"),
        Augment(crop="rrc"),
        Augment(crop="src"),
        Augment(crop="src", crop_padding=0),
        Augment(crop="src", crop_padding_mode="constant", crop_padding=20),
        Augment(crop="pad", crop_padding=9),
        Augment(crop="pad", crop_padding_mode="constant"),
        Augment(crop="center", crop_pct=0.875),
        Augment(crop="center", crop_pct=1.0),
    ],
    ids=lambda augment: f"{augment.crop}-{augment.crop_padding_mode}-{augment.crop_padding}-{augment.crop_pct}",
)
def test_one_view_is_pils_to_the_bit(augment: Augment, interpolation: str) -> None:
    """Every crop, filter and padding gives torchvision's bytes, larger, smaller and equal, flipped and not."""
    augment = Augment(**{**vars(augment), "interpolation": interpolation, "hflip": 0.5})
    for number, (height, width) in enumerate(SOURCES):
        image = picture(height, width, number)
        for size in (16, 50, 64, 100):
            for epoch in range(3):
                shown = Shown(np.array([number]), seed=size, epoch=epoch)
                view = geometry.train_views(augment, shown, *one(height, width), size, 1.0)
                ours = render_one(image, view, 0)
                assert ours.shape == (size, size, 3)
                assert ours.flags.c_contiguous
                assert np.array_equal(ours, expected(image, augment, view)), (height, width, size, view)


def test_own_arithmetic_is_pils_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the scaled image would be too large for PIL, the window has the same bytes."""
    monkeypatch.setattr(views, "_MOST_PIXELS", 0)
    for augment in (Augment(), Augment(crop="rrc", interpolation="bilinear"), Augment(crop="src", hflip=1.0)):
        for height, width in SOURCES:
            view = geometry.train_views(augment, Shown(np.array([3]), 1, 0), *one(height, width), 48, 1.0)
            image = picture(height, width)
            assert np.array_equal(render_one(image, view, 0), expected(image, augment, view)), (height, width)


@pytest.mark.parametrize("upright", [False, True])
def test_an_image_of_one_row_needs_no_memory_of_its_scaled_size(upright: bool) -> None:
    """1 x 20,000 pixels at 384 would be scaled to 384 x 7,680,000; only the window is computed."""
    image = picture(1, 20_000)
    sides = one(20_000, 1) if upright else one(1, 20_000)
    view = geometry.evaluate_views(Evaluate(crop="center"), *sides, 384, 1.0)
    assert max(view.scaled_width[0], view.scaled_height[0]) == 7_680_000
    tracemalloc.start()
    shown = render_one(image.swapaxes(0, 1) if upright else image, view, 0)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    shown = shown.swapaxes(0, 1) if upright else shown
    assert np.array_equal(shown[0], shown[383])
    around = image[0, 9_998:10_002].astype(float)  # the window's middle lies between two of these four pixels
    middle = np.clip(np.array([-1, 9, 9, -1]) / 16 @ around, 0, 255)
    assert np.abs(shown[0, 192] - middle).max() < 2


@pytest.mark.parametrize("crop", ["resize", "rrc"])
def test_bilinear_without_antialias_is_torchs(crop: str) -> None:
    """Not antialiased bilinear is within one level of torch's `interpolate` (we round between the passes)."""
    augment = Augment(crop=crop, interpolation="bilinear", antialias=False)  # type: ignore[arg-type]
    for height, width in SOURCES:
        for size in (16, 64, 100):
            view = geometry.train_views(augment, Shown(np.array([5]), size, 0), *one(height, width), size, 1.0)
            image = picture(height, width)
            top, left, tall, wide = (int(part[0]) for part in view.boxes[:4])
            box = torch.tensor(image[top : top + tall, left : left + wide]).permute(2, 0, 1)[None].double()
            theirs = torch.nn.functional.interpolate(box, (size, size), mode="bilinear", antialias=False)
            difference = np.abs(render_one(image, view, 0) - theirs[0].permute(1, 2, 0).numpy())
            assert difference.max() <= 1.001, (height, width, size)
            assert difference.mean() < 0.4  # 0.25 is what rounding alone costs


def test_without_antialias_the_cubic_spans_four_pixels() -> None:
    """Halved, a pixel is (-1, 9, 9, -1) / 16 of the four around its centre; enlarging knows no difference."""
    matrix = filter_matrix(16, 8, antialias=False)
    np.testing.assert_allclose(matrix[3, 5:9], np.array([-1, 9, 9, -1]) / 16)
    assert np.count_nonzero(matrix[3]) == 4
    assert np.array_equal(filter_matrix(16, 40, antialias=False), filter_matrix(16, 40))


@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize("antialias", [False, True])
def test_weights_of_every_output_pixel_sum_to_one(bilinear: bool, antialias: bool) -> None:
    """The filter keeps a constant image constant, also at the borders."""
    for source, target in ((64, 224), (64, 32), (5, 3), (1, 9), (9, 1), (500, 224)):
        matrix = filter_matrix(source, target, bilinear=bilinear, antialias=antialias)
        assert matrix.shape == (target, source)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)


def test_equal_sizes_are_the_identity() -> None:
    """A side that keeps its length has one weight of exactly 1 per pixel."""
    for bilinear in (False, True):
        assert np.array_equal(filter_matrix(11, 11, bilinear=bilinear), np.eye(11))


@given(st.integers(1, 20), st.integers(-40, 40), st.integers(1, 40))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_positions_continue_the_image_as_numpy_pads(scaled: int, start: int, size: int) -> None:
    """Reflected positions are those of `np.pad`, however far; constant ones are marked outside."""
    places, margin = np.arange(scaled), 80
    window = slice(start + margin, start + margin + size)
    reflected = np.pad(places, margin, mode="reflect")[window]
    assert np.array_equal(positions(start, size, scaled, "reflect"), reflected)
    black = np.pad(places, margin, constant_values=OUTSIDE)[window]
    assert np.array_equal(positions(start, size, scaled, "constant"), black)


def test_views_taken_and_sent_show_the_same() -> None:
    """A batch's views may be cut into parts and sent to other processes."""
    sizes = np.array([40, 50, 60, 70])
    whole = geometry.train_views(Augment(crop="rrc", hflip=0.5), Shown(np.arange(4), 0, 0), sizes, sizes, 32, 1.0)
    sent = pickle.loads(pickle.dumps(whole.take(np.array([2, 3]))))
    assert len(sent) == 2
    for name, all_ in vars(whole).items():
        assert np.array_equal(getattr(sent, name), all_[2:] if isinstance(all_, np.ndarray) else all_), name
    assert np.array_equal(render_one(picture(60, 60), sent, 0), render_one(picture(60, 60), whole, 2))


def test_views_need_no_torch() -> None:
    """Processes that decode files start without torch."""
    code = "import sys, tinyablate.train.augment.views; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
