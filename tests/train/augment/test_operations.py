"""A step of operations: which images it changes, and that nothing else about the batch matters."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tinyablate.train.augment import color, warp
from tinyablate.train.augment.operations import VALUES, Op, Step, apply

FILL = (124, 116, 104)
STEADY = settings(deadline=None, derandomize=True, max_examples=25)


def batch(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Noise of different ranges: uint8 [n, H, W, 3]."""
    generator = np.random.default_rng(seed)
    top = generator.integers(1, 257, (n, 1, 1, 3))
    return torch.from_numpy(generator.integers(0, top, (n, height, width, 3)).astype(np.uint8))


def random_step(n: int, height: int, width: int, seed: int = 0) -> Step:
    """Every operation in turn, at a random strength."""
    generator = np.random.default_rng(seed)
    op, values = np.resize(np.array(list(Op), np.int8), n), np.zeros((n, VALUES))
    generator.shuffle(op)
    uniform = generator.random(n)
    for i in range(n):
        values[i] = _values(Op(op[i]), uniform[i], height, width)
    return Step(op, values)


def _values(op: Op, u: float, height: int, width: int) -> np.ndarray:
    """An operation's row, of strength `u` in [0, 1)."""
    one = np.array([u])
    if op in (Op.WARP_NEAREST, Op.WARP_BILINEAR, Op.WARP_BICUBIC):
        shears = warp.shear_x(one - 0.5), warp.shear_y(one - 0.5), warp.translate(one * width, 0 * one)
        maps = [*shears, warp.translate(0 * one, one * height), warp.rotate(360 * one, height, width)]
        return maps[int(u * 1000) % len(maps)][0]
    first = {
        Op.POSTERIZE: [int(u * 9)],
        Op.SOLARIZE: [u * 256],
        Op.SOLARIZE_ADD: [int(u * 128)],
        Op.BLUR: [2 * u],
        Op.FADE: [2 * u, int(u * 255)],
        Op.CUTOUT: [int(u * height), height, 0, int(u * width) + 1],
    }
    used = first.get(op, [2 * u] if Op.BRIGHTNESS <= op <= Op.SHARPNESS else [])
    return np.pad(np.array(used, float), (0, VALUES - len(used)))


def take(step: Step, index: np.ndarray) -> Step:
    """The step of those images."""
    return Step(step.op[index], step.values[index])


@STEADY
@given(n=st.integers(1, 40), height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 1000))
def test_shape_and_dtype(n: int, height: int, width: int, seed: int) -> None:
    """Any batch of any size comes back as uint8 of its shape, and what gets no operation bit-equal."""
    images, step = batch(n, height, width, seed), random_step(n, height, width, seed)
    result = apply(images.clone(), step, FILL)
    assert (result.shape, result.dtype) == (images.shape, torch.uint8)
    same = torch.from_numpy(step.op == Op.IDENTITY)
    assert torch.equal(result[same], images[same])


@STEADY
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 1000))
def test_an_image_depends_on_nothing_else(height: int, width: int, seed: int) -> None:
    """Alone, in another order, or with other images in the batch, an image gets the same bits; twice, too."""
    n = 2 * len(Op)
    images, step = batch(n, height, width, seed), random_step(n, height, width, seed)
    expected = apply(images.clone(), step, FILL)
    assert torch.equal(apply(images.clone(), step, FILL), expected)
    generator = np.random.default_rng(seed)
    for size in (1, 3, n):
        index = generator.permutation(n)[:size]
        part = apply(images[torch.from_numpy(index)], take(step, index), FILL)
        assert torch.equal(part, expected[torch.from_numpy(index)])


@pytest.mark.parametrize("size", [1, 64, 5000])
def test_tiles(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many pixels are worked on at a time changes no bit."""
    images, step = batch(90, 40, 50), random_step(90, 40, 50)
    expected = apply(images.clone(), step, FILL)
    monkeypatch.setitem(color._TILE, "cpu", size)
    monkeypatch.setattr(color, "_CHUNK", size + 2)
    assert torch.equal(apply(images.clone(), step, FILL), expected)


@pytest.mark.parametrize(("n", "height", "width"), [(2 * len(Op), 224, 200), (10 * len(Op), 120, 110)])
def test_large_images(n: int, height: int, width: int) -> None:
    """Where an image is a tile of its own, or warps of several filters are taken apart, each is the same as alone."""
    images, step = batch(n, height, width), random_step(n, height, width)
    expected = apply(images.clone(), step, FILL)
    for i in range(n):
        assert torch.equal(apply(images[i : i + 1].clone(), take(step, np.array([i])), FILL)[0], expected[i])


def test_every_operation_changes_an_image() -> None:
    """None but IDENTITY is left out."""
    n = 3 * len(Op)
    images, step = batch(n, 16, 16, seed=1), random_step(n, 16, 16, seed=1)
    changed = (apply(images.clone(), step, FILL) != images).flatten(1).any(1).numpy()
    assert {Op(op) for op in step.op[changed]} == set(Op) - {Op.IDENTITY}


def test_images_that_are_not_contiguous() -> None:
    """A view of other memory order gives the same, and is not written to."""
    images, step = batch(36, 9, 11), random_step(36, 9, 11)
    view = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    before = view.clone()
    assert torch.equal(apply(view, step, FILL), apply(images, step, FILL))
    assert torch.equal(view, before)


def test_cutout() -> None:
    """The rectangle gets the fill colour, ends excluded and cut at the border; an empty one changes nothing."""
    images = batch(3, 8, 9)
    values = np.zeros((3, VALUES))
    values[:, :4] = [[2, 5, 3, 4], [6, 100, 0, 100], [4, 4, 0, 9]]
    result = apply(images.clone(), Step(np.full(3, Op.CUTOUT, np.int8), values), FILL)
    expected = images.clone()
    expected[0, 2:5, 3:4] = expected[1, 6:] = torch.tensor(FILL, dtype=torch.uint8)
    assert torch.equal(result, expected)


def test_empty_batch() -> None:
    """No image, nothing to do."""
    step = Step(np.zeros(0, np.int8), np.zeros((0, VALUES)))
    assert len(step) == 0
    assert apply(torch.zeros(0, 4, 4, 3, dtype=torch.uint8), step, FILL).shape == (0, 4, 4, 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e9])
@pytest.mark.parametrize("op", list(Op))
def test_bad_values(op: Op, value: float) -> None:
    """NaN, infinity and what is out of range are refused for every operation, with its name and the place."""
    values = np.zeros((3, VALUES))
    values[1, 0] = value
    with pytest.raises(ValueError, match=rf"{op.name}: value 0 of image 1 must be between .* not {value}"):
        Step(np.full(3, op, np.int8), values)


@pytest.mark.parametrize(
    ("op", "column", "value"),
    [(Op.POSTERIZE, 0, 9), (Op.SOLARIZE, 0, 257), (Op.FADE, 1, 256), (Op.BLUR, 0, -0.1), (Op.INVERT, 0, 1)],
)
def test_out_of_range(op: Op, column: int, value: float) -> None:
    """Each operation has its own bounds; a column that it does not use holds 0."""
    values = np.zeros((1, VALUES))
    values[0, column] = value
    with pytest.raises(ValueError, match=f"{op.name}: value {column} of image 0"):
        Step(np.array([op], np.int8), values)


def test_bad_shapes() -> None:
    """Shapes, numbers of operations, dtype and colour that do not fit are refused, each with what was seen."""
    with pytest.raises(ValueError, match=r"not \(2,\), \(3, 6\)"):
        Step(np.zeros(2, np.int8), np.zeros((3, VALUES)))
    with pytest.raises(ValueError, match=r"are 0\.\.17, not 0\.\.18"):
        Step(np.array([0, 18], np.int8), np.zeros((2, VALUES)))
    step = Step(np.zeros(2, np.int8), np.zeros((2, VALUES)))
    with pytest.raises(ValueError, match=r"step of 2 .* \(3, 4, 4, 3\)"):
        apply(torch.zeros(3, 4, 4, 3, dtype=torch.uint8), step, FILL)
    with pytest.raises(ValueError, match=r"not torch\.float32"):
        apply(torch.zeros(2, 4, 4, 3), step, FILL)
    with pytest.raises(ValueError, match="fill must be"):
        apply(torch.zeros(2, 4, 4, 3, dtype=torch.uint8), step, (0, 0, 256))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("size", [33, 64, 200])
def test_gpu(size: int) -> None:
    """A GPU gives the same bits, warps but for one level in 0.2 % of the values, and is never waited for."""
    n = 20 * len(Op)
    images, step = batch(n, size, size + 7), random_step(n, size, size + 7)
    expected = apply(images.clone(), step, FILL)
    copy = images.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = apply(copy, step, FILL)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    difference = (result.cpu().int() - expected.int()).abs()
    exact = torch.from_numpy(step.op <= Op.WARP_NEAREST)
    assert not difference[exact].any()
    assert difference.max() <= 1
    assert difference[~exact].float().mean() < 0.002
