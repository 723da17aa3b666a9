"""Packed images: the same ones wherever they lie, rendered as geometry does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tinyablate.datasets import DataSet
from tinyablate.train.augment import geometry
from tinyablate.train.augment.views import Views
from tinyablate.train.data import images, packed, resident
from tinyablate.train.data.resident import PackedImages

CPU = torch.device("cpu")
IDS = np.array([7, 0, 119, 7, 64])


@pytest.fixture(scope="module")
def folder(pristine: Path, small: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small `shapes`, packed."""
    return packed.pack(pristine, small, tmp_path_factory.mktemp("resident"))


def crops(n: int) -> Views:
    """A different box of each image, scaled to 24 x 24 pixels, half of them flipped."""
    places = np.arange(n, dtype=np.int64)
    full = np.full(n, 24, np.int64)
    return Views(
        top=places, left=2 * places, height=40 + places, width=30 + places, scaled_height=full, scaled_width=full,
        row=0 * places, column=0 * places, flip=places % 2 == 0, bilinear=places % 3 == 0, size=24,
    )  # fmt: skip


def test_images_are_those_of_the_file(folder: Path) -> None:
    """Taken by number, labelled, all of one size, on a CPU straight from the memory map; what is taken is a copy."""
    data, opened = images.load(folder, CPU), packed.open_packed(folder)
    source = data.train
    assert isinstance(source, PackedImages)
    assert (source.where, source.native, len(source), len(data.val)) == ("file", True, 120, 50)
    assert (data.classes, data.digest) == (10, opened.manifest.digest)
    taken = source.take(IDS)
    assert np.array_equal(taken.numpy(), opened.train[IDS])
    assert np.array_equal(source.labels.numpy(), opened.train_labels)
    heights, widths = source.sizes(IDS)
    assert heights.tolist() == widths.tolist() == [64] * 5
    taken[:] = 0
    assert np.array_equal(source.take(IDS).numpy(), opened.train[IDS])


def test_a_data_set_stays_open(folder: Path) -> None:
    """The next job gets the same object."""
    assert images.load(folder, CPU) is images.load(folder, CPU)


def test_views_are_rendered_batch_by_batch(folder: Path) -> None:
    """Each request's answer is what geometry renders of its images, and requests are asked for one at a time."""
    source = images.load(folder, CPU).train
    wanted = [(IDS, crops(5)), (IDS[:2], crops(2))]
    pulled = []
    for shown, (ids, views) in zip(source.show(pulled.append(r) or r for r in wanted), wanted, strict=True):
        assert (shown.dtype, tuple(shown.shape)) == (torch.uint8, (len(ids), 24, 24, 3))
        assert torch.equal(shown, geometry.render(source.take(ids), views))
        assert pulled[-1][0] is ids


def test_held_in_memory_they_are_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied to the device, also in several chunks."""
    opened = packed.open_packed(folder)
    monkeypatch.setattr(resident, "CHUNK", 64 * 64 * 3 * 50)
    held = PackedImages(opened.train, opened.train_labels, CPU, "device")
    assert torch.equal(held.take(IDS), images.load(folder, CPU).train.take(IDS))
    assert torch.equal(held.take(np.arange(120)), torch.from_numpy(np.array(opened.train)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("where", ["device", "host"])
def test_a_gpu_gives_the_same(where: resident.Where, folder: Path) -> None:
    """Resident in its memory or gathered through pinned memory."""
    cuda = torch.device("cuda")
    opened = packed.open_packed(folder)
    assert resident.choose(opened, cuda) == "device"
    there = PackedImages(opened.train, opened.train_labels, cuda, where)
    here = images.load(folder, CPU).train
    assert torch.equal(there.take(IDS).cpu(), here.take(IDS))
    assert there.labels.device.type == "cuda"
    for theirs, mine in zip(there.show([(IDS, crops(5))]), here.show([(IDS, crops(5))]), strict=True):
        assert torch.equal(theirs.cpu(), mine)
