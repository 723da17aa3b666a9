"""A small `shapes` and a small folder of photos, made once, and copies of their files that a test may damage."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyablate.datasets import SHAPES, DataSet
from tinyablate.prepare import prepare
from tinyablate.train.data import shapes as generator


@pytest.fixture(scope="session")
def small() -> DataSet:
    """The facts of a `shapes` of 120 + 50 images."""
    return dataclasses.replace(SHAPES, train_per_class=12, val_per_class=5)


@pytest.fixture(scope="session")
def pristine(small: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its files; not to be changed."""
    root = tmp_path_factory.mktemp("pristine") / "shapes"
    generator.write(root, small)
    return root


@pytest.fixture
def layout(pristine: Path, tmp_path: Path) -> Path:
    """A copy of its files to damage."""
    return Path(shutil.copytree(pristine, tmp_path / "layout"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data home that does not exist yet."""
    return tmp_path / "home"


def picture(seed: int, height: int, width: int) -> Image.Image:
    """A smooth colour image that no other seed gives."""
    coarse = np.random.RandomState(seed).randint(0, 256, (5, 5, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_photos(root: Path) -> Path:
    """An ImageNet-style folder of 3 classes, 8 + 2 images each, of many sizes, modes and formats; returns `root`."""
    for label, name in enumerate(("cat", "dog", "owl")):
        for split, count in (("train", 8), ("val", 2)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                seed = label * 100 + k + 50 * (split == "val")
                image = picture(seed, 24 + seed % 17, 28 + seed % 11)
                _save(image, folder / f"{name}_{k}", k)
    return root


def _save(image: Image.Image, path: Path, kind: int) -> None:
    """JPEG in RGB, gray, CMYK and progressive, PNG in 16 bits, with a palette and with transparency."""
    gray = np.asarray(image.convert("L"))
    jpegs = {0: image, 1: Image.fromarray(gray), 2: image.convert("CMYK"), 6: image}
    if kind in jpegs:
        jpegs[kind].save(path.with_suffix(".JPEG" if kind else ".jpg"), "JPEG", progressive=kind == 6)
        return
    pngs = {3: Image.fromarray(gray.astype(np.uint16) * 257), 4: image.convert("P"), 5: image.convert("RGBA")}
    pngs.get(kind, image).save(path.with_suffix(".png"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That folder; not to be changed."""
    return write_photos(tmp_path_factory.mktemp("photos") / "root")


@pytest.fixture
def root(photos: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(photos, tmp_path / "root"))


@pytest.fixture(scope="session")
def photos_home(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data home in which it is registered as `pets`; not to be changed."""
    home = tmp_path_factory.mktemp("photos-home")
    prepare("pets", home, photos)
    return home
