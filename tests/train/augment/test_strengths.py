"""Strengths against the libraries' own at every level, and pixels against their functions with the drawn strengths."""

import random

import numpy as np
import PIL.Image
import pytest
import torch
from recorded import EVERY, HEIGHT, WIDTH, Seen, draw, read, read_warp, shown, torchvision_words
from scipy import stats
from timm.data import auto_augment as timm_policies
from torchvision.transforms import v2

from tinyablate import policies
from tinyablate.train.augment import operations, policy, strengths
from tinyablate.train.augment.strengths import Canvas, Layer

ALPHA = 1e-3


def values(table: strengths.Table, name: str, levels: np.ndarray, canvas: Canvas) -> np.ndarray:
    """What the table gives `levels` [k] of the operation: [k, 6], as a step holds it."""
    layer = Layer(shown(len(levels)), 0, canvas)
    step = policy._step(layer, [name], np.zeros(len(levels), np.int64), levels, table)
    return step.values


@pytest.mark.parametrize("name", sorted(strengths.TIMM))
def test_strengths_are_timms_at_every_level(name: str) -> None:
    """At levels 0 to 30 (beyond 10 through mmax) the strength is exactly one that timm's level function gives.

    Both signs come up. Rotations agree in degrees to 1e-12; bits are cut to 0..8, outside of which nothing changes.
    """
    levels = np.repeat(np.arange(0, 30.05, 0.1), 8)
    rows = values(strengths.TIMM, name, levels, Canvas(HEIGHT, WIDTH, "bicubic"))
    function, signs = timm_policies.LEVEL_TO_ARG[name], set()
    if function is None:
        assert not rows.any()
        return
    random.seed(0)
    for level, row in zip(levels, rows, strict=True):
        allowed = {float(function(level, {})[0]) for _ in range(2 if level else 1) for _ in range(20)}
        if name.startswith("Posterize"):
            allowed = {min(max(bits, 0.0), 8.0) for bits in allowed}
        if name.startswith(("Rotate", "Shear", "Translate")):
            found, strength = read_warp(row)
            assert found == name.removesuffix("Rel") or level == 0
            side = {"TranslateXRel": WIDTH, "TranslateYRel": HEIGHT}.get(name, 1)
            near = min(abs(strength - side * value) for value in allowed)
            assert near <= (1e-12 if name == "Rotate" else 0.0)
            signs.add(np.sign(strength))
        else:
            assert (1.0 - row[0] if name == "Desaturate" else row[0]) in allowed
    assert signs in (set(), {-1.0, 0.0, 1.0})


@pytest.mark.parametrize("bins", [31, 10, 5, 2])
@pytest.mark.parametrize("name", sorted(v2.RandAugment._AUGMENTATION_SPACE))
def test_strengths_are_torchvisions_at_every_magnitude(name: str, bins: int) -> None:
    """For every index into the bins: exactly the strength that torchvision's space gives, with both signs.

    Its threshold of solarising is read from what its function does to a ramp of all pixel values.
    """
    space, signed = v2.RandAugment._AUGMENTATION_SPACE[name]
    magnitudes = space(bins, HEIGHT, WIDTH)
    operation = strengths.torchvision(bins)[name][0]
    for index in range(bins):
        rows = values(strengths.torchvision(bins), name, np.full(40, float(index)), Canvas(HEIGHT, WIDTH))
        if magnitudes is None:
            assert not rows.any()
            continue
        signs = (1, -1) if signed else (1,)
        expected = {torchvision_words(name, sign * float(magnitudes[index]))[1] for sign in signs}
        found = {read_warp(row)[1] if operation is None else float(row[0]) for row in rows}
        if name == "Rotate":
            assert sorted(found) == pytest.approx(sorted(expected), abs=1e-12)
        else:
            assert found == expected


def test_strengths_of_big_vision_at_its_level() -> None:
    """Level 10, the plain ViT baseline's: the values that big_vision's formulas give, worked out by hand."""
    canvas, levels = Canvas(224, 224), np.full(64, 10.0)
    expected = {
        "Posterize": [4],
        "Solarize": [0],  # 256 in 8 bits: all pixels are inverted
        "SolarizeAdd": [110],
        "Color": [1.9],
        "Brightness": [1.9],
        "Sharpness": [1.9],
        "Contrast": [1.9, 196],  # 224 * 224 / 256
    }
    for name, row in expected.items():
        found = values(strengths.BIG_VISION, name, levels, canvas)
        assert np.allclose(found[:, : len(row)], row, rtol=0, atol=1e-12), name
    warps = {"Rotate": 30.0, "ShearX": 0.3, "ShearY": 0.3, "TranslateX": 100.0, "TranslateY": 100.0}
    for name, most in warps.items():
        words = [read_warp(row) for row in values(strengths.BIG_VISION, name, levels, canvas)]
        assert {name for name, _ in words} == {name}
        assert sorted({round(strength, 9) for _, strength in words}) == [-most, most]
    assert values(strengths.BIG_VISION, "Contrast", levels, Canvas(384, 384))[0, 1] == 255
    assert values(strengths.BIG_VISION, "Contrast", levels, Canvas(64, 64))[0, 1] == 16
    assert values(strengths.BIG_VISION, "Solarize", levels - 5, canvas)[0, 0] == 128


@pytest.mark.parametrize("name", ["Rotate", "ShearX", "ShearY"])
def test_big_visions_warps_round_as_tensorflow_does(name: str) -> None:
    """The input pixel of an output pixel is TensorFlow's: its matrix on whole numbers, rounded to the nearest.

    Its matrices are worked out here from the definition of `transform` and `rotate` (about the middle of the grid of
    pixel numbers). Ties, where rounding may go either way, are left out.
    """
    rows = values(strengths.BIG_VISION, name, np.full(8, 7.0), Canvas(HEIGHT, WIDTH))
    y, x = (grid.astype(float) for grid in np.mgrid[:HEIGHT, :WIDTH])
    for a, b, c, d, e, f in rows:
        _, strength = read_warp(np.array([a, b, c, d, e, f]))
        turn = np.radians(strength)
        x_in, y_in = {
            "ShearX": (x + strength * y, y),
            "ShearY": (x, y + strength * x),
            "Rotate": (
                np.cos(turn) * (x - (WIDTH - 1) / 2) - np.sin(turn) * (y - (HEIGHT - 1) / 2) + (WIDTH - 1) / 2,
                np.sin(turn) * (x - (WIDTH - 1) / 2) + np.cos(turn) * (y - (HEIGHT - 1) / 2) + (HEIGHT - 1) / 2,
            ),
        }[name]
        for ours, theirs in (
            (a * (x + 0.5) + b * (y + 0.5) + c, x_in),
            (d * (x + 0.5) + e * (y + 0.5) + f, y_in),
        ):
            clear = np.abs(theirs - np.floor(theirs) - 0.5) > 1e-6
            assert np.array_equal(np.floor(ours)[clear], np.round(theirs)[clear])


def test_big_visions_cutout_is_a_square_cut_off_at_the_border() -> None:
    """Its centre is uniform over the image, which may cut the square of 80 pixels; chi-square over 8 x 8 cells."""
    top, bottom, left, right = values(strengths.BIG_VISION, "Cutout", np.full(20_000, 10.0), Canvas(224, 160)).T[:4]
    for low, high, size in ((top, bottom, 224), (left, right, 160)):
        assert low.min() == 0
        assert high.max() == size
        assert (high - low).max() == 80
        assert (high - low).min() == 40
    inside = np.stack([np.where(top > 0, top + 40, bottom - 40), np.where(left > 0, left + 40, right - 40)])
    cells = (inside[0] // 28).astype(int) * 8 + (inside[1] // 20).astype(int)
    assert stats.chisquare(np.bincount(cells, minlength=64)).pvalue > ALPHA


def pictures(count: int, height: int = HEIGHT, width: int = WIDTH, low: int = 0, high: int = 256) -> torch.Tensor:
    """Smooth random pictures with some noise, uint8 [count, height, width, 3], values low..high-1."""
    generator = np.random.RandomState(7)
    coarse = generator.randint(low, high, (count, 6, 6, 3), dtype=np.uint8)
    smooth = [
        np.asarray(PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BILINEAR))
        for image in coarse
    ]
    noise = generator.randint(-20, 21, (count, height, width, 3))
    return torch.from_numpy(np.clip(np.stack(smooth) + noise, low, high - 1).astype(np.uint8))


def differences(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Absolute differences in levels, int16 [H, W, 3]."""
    return (ours.to(torch.int16) - theirs.to(torch.int16)).abs()


def timm_result(image: torch.Tensor, seen: Seen, fill: tuple[int, int, int]) -> torch.Tensor:
    """timm's own function of that name and strength applied to one image."""
    name, strength, kind = seen
    names = {"Blur": "GaussianBlur", "Identity": None, "Still": None}
    name = names.get(name, name)
    picture = PIL.Image.fromarray(image.numpy())
    if name is None:
        return image
    if name == "Posterize" and strength == 0:
        return torch.zeros_like(image)  # which Pillow 13 refuses to do; timm passes 0 on all the same
    if name.startswith("Translate"):
        strength /= WIDTH if name == "TranslateX" else HEIGHT
        name += "Rel"
    arguments = () if name in ("AutoContrast", "Equalize", "Invert") else (strength,)
    if name in ("Posterize", "Solarize", "SolarizeAdd"):
        arguments = (int(strength),)
    options = {"fillcolor": fill}
    if kind:
        options["resample"] = PIL.Image.Resampling[kind.upper()]
    return torch.from_numpy(np.array(timm_policies.NAME_TO_OP[name](picture, *arguments, **options)))


@pytest.mark.parametrize(
    "text", ["rand-m9-n1-mstd0.5-inc1-p1", "rand-m15-n1-mmax20-p1-mstd101", "rand-n1-m5-t3aw-p1", "3a"]
)
def test_pixels_are_timms(text: str) -> None:
    """200 images through one layer, each against timm's function with the drawn strength: at most 1 level apart.

    On average under 0.05 levels (measured: 0.01 for warps, 0.005 for AutoContrast, 0 for all else).
    """
    images, mean = pictures(200), (0.485, 0.456, 0.406)
    named = policies.parse(text)
    (step,) = policy.draw(named, shown(200), HEIGHT, WIDTH, interpolation="random")
    ours = policy.augment(images.clone(), named, shown(200), interpolation="random", mean=mean)
    fill = policy.fill_color(named, mean)
    for before, after, seen in zip(images, ours, read(step), strict=True):
        apart = differences(after, timm_result(before, seen, fill)).float()
        assert float(apart.max()) <= 1, seen
        assert float(apart.mean()) < 0.05, seen


def torchvision_result(image: torch.Tensor, seen: Seen) -> torch.Tensor:
    """torchvision's own function of that name and strength, on a tensor, applied to one image [H, W, 3]."""
    name, strength, _ = seen
    magnitude = strength
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        magnitude = strength - 1.0
    elif name.startswith("Translate"):
        magnitude = -strength
    elif name == "Solarize":
        magnitude = min(strength, 255.0) / 255.0
    own = v2.RandAugment()
    result = own._apply_image_or_video_transform(
        image.permute(2, 0, 1), "Identity" if name == "Still" else name, magnitude, "nearest", own._fill
    )
    return result.permute(1, 2, 0)


@pytest.mark.parametrize("text", ["torchvision-randaugment-n1-m9", "torchvision-randaugment-n1-m30"])
def test_pixels_are_torchvisions(text: str) -> None:
    """200 images through one layer, each against torchvision's function on a tensor with the drawn strength.

    It takes the mean gray for contrast and the gray for saturation as fractions, so blends are up to 1 level apart. It
    computes a warp's coordinates in float32: up to 0.1 % of the pixels may be another one's (measured: none).
    """
    images = pictures(200)
    (step,) = draw(text, shown(200))
    ours = policy.augment(images.clone(), policies.parse(text), shown(200), interpolation="bicubic", mean=(0, 0, 0))
    for before, after, seen in zip(images, ours, read(step), strict=True):
        apart = differences(after, torchvision_result(before, seen))
        assert float((apart > 1).float().mean()) <= (0.001 if seen[2] else 0.0), seen


@pytest.mark.parametrize(
    ("low", "high", "acting"), [(20, 230, 2), (20, 256, 3)], ids=["no saturated pixel", "saturated pixels"]
)
def test_magnitude_zero_of_torchvision_still_changes_images(low: int, high: int, acting: int) -> None:
    """AutoContrast and Equalize act, and Solarize inverts 255; image by image we change what torchvision changes.

    Given the same input every operation agrees within 1 level. The share of 1,000 images that change is
    1 - (1 - acting / 14)^2 within four standard errors: 26.5 % where two operations act, 38.3 % where three do.
    """
    generator = torch.Generator().manual_seed(0)
    before = torch.randint(low, high, (1000, 32, 32, 3), generator=generator, dtype=torch.uint8)
    named = policies.parse("torchvision-randaugment-m0")
    ours, theirs = before, before
    for step in policy.draw(named, shown(1000), 32, 32, interpolation="bicubic"):
        after = operations.apply(ours.clone(), step, (0, 0, 0))
        agreed = torch.stack([torchvision_result(image, seen) for image, seen in zip(ours, read(step), strict=True)])
        assert int(differences(after, agreed).max()) <= 1
        theirs = torch.stack([torchvision_result(image, seen) for image, seen in zip(theirs, read(step), strict=True)])
        ours = after
    changed = (ours != before).flatten(1).any(1)
    assert torch.equal(changed, (theirs != before).flatten(1).any(1))
    share = 1 - (1 - acting / 14) ** 2
    assert abs(float(changed.float().mean()) - share) < 4 * (share * (1 - share) / 1000) ** 0.5


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
        ),
    ]
)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where the images are."""
    return torch.device(request.param)


def test_a_batch_in_parts_is_the_batch(device: torch.device) -> None:
    """Pixels of an image do not depend on the other images, on any device."""
    images, mean = pictures(60).to(device), (0.5, 0.5, 0.5)
    for text in EVERY:
        named = policies.parse(text)
        whole = policy.augment(images.clone(), named, shown(60), interpolation="random", mean=mean)
        for index in (np.arange(0, 60, 7), np.array([59]), np.arange(60)[::-1].copy()):
            places = torch.from_numpy(index).to(device)
            some = shown(60).take(index)
            part = policy.augment(images[places], named, some, interpolation="random", mean=mean)
            assert torch.equal(part, whole[places]), text
