"""A small `shapes`, generated once, and a copy of its files that a test may damage."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from tinyablate.datasets import SHAPES, DataSet
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
