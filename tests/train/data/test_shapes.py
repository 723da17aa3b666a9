"""The generated data set: the layout, determined images, labels that only the outline tells."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyablate.datasets import DataSet
from tinyablate.errors import DataError
from tinyablate.train.data import shapes
from tinyablate.train.data.tiny_imagenet import scan


def files(root: Path) -> dict[str, bytes]:
    """Every file below `root` with its content."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_generations_are_equal(pristine: Path, tmp_path: Path, small: DataSet) -> None:
    """Generating again gives the same files, byte for byte."""
    shapes.write(tmp_path / "again", small)
    assert files(tmp_path / "again") == files(pristine)


def test_an_image_depends_on_its_own_number_alone(pristine: Path, tmp_path: Path, small: DataSet) -> None:
    """A set with fewer images per class has the first ones of the larger set."""
    shapes.write(tmp_path / "fewer", dataclasses.replace(small, train_per_class=3))
    fewer = {name: content for name, content in files(tmp_path / "fewer").items() if name.startswith("train/")}
    images = {name: content for name, content in fewer.items() if name.endswith(".JPEG")}
    assert len(images) == 30
    assert images.items() <= files(pristine).items()


def test_another_fingerprint_gives_other_images(pristine: Path, tmp_path: Path, small: DataSet) -> None:
    """The images are a function of the fingerprint: a new version of the set shares none with the old one."""
    shapes.write(tmp_path / "other", dataclasses.replace(small, fingerprint="shapes-v0", train_per_class=1))
    other = {content for name, content in files(tmp_path / "other").items() if name.endswith(".JPEG")}
    assert not other & set(files(pristine).values())


def test_the_pixels_are_those_of_the_declared_fingerprint(small: DataSet) -> None:
    """Stored trials are keyed by `shapes-v1`: whoever changes a pixel must declare another fingerprint."""
    digest = hashlib.sha256()
    for index, (_, outline) in enumerate(shapes.OUTLINES):
        for k in range(5):
            digest.update(shapes.render(shapes.stream("shapes-v1", "train", index, k), outline, 64)[0].tobytes())
    assert small.fingerprint == "shapes-v1"
    assert digest.hexdigest() == "147dd144a7dc4333aa037b864acaf60c9ddb4934e363297fd28e600d4d8e8ba2"


def test_the_layout_is_that_of_tiny_imagenet(pristine: Path, small: DataSet) -> None:
    """All files are there: unsorted wnids.txt, more words than ids, boxes, annotations, 64-pixel JPEGs."""
    wnids = (pristine / "wnids.txt").read_text().split()
    words = dict(line.split("\t") for line in (pristine / "words.txt").read_text().splitlines())
    assert wnids != sorted(wnids)
    assert set(wnids) < set(words)
    assert words["n90000005"] == "star"
    assert (pristine / "test" / "images").is_dir()
    assert len((pristine / "train/n90000002/n90000002_boxes.txt").read_text().splitlines()) == small.train_per_class
    for path in pristine.rglob("*.JPEG"):
        with Image.open(path) as image:
            assert (image.format, image.size) == ("JPEG", (64, 64))


def test_some_images_are_grayscale(pristine: Path) -> None:
    """As in Tiny ImageNet, about 2 % of the files hold one channel."""
    modes = []
    for path in pristine.rglob("*.JPEG"):
        with Image.open(path) as image:
            modes.append(image.mode)
    assert set(modes) == {"RGB", "L"}
    assert modes.count("L") / len(modes) < 0.06


@pytest.mark.parametrize(("name", "outline"), shapes.OUTLINES, ids=[name for name, _ in shapes.OUTLINES])
def test_the_box_encloses_the_object(name: str, outline: shapes.Outline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two images of one stream differ only in their object, they differ inside the box and up to its edges."""
    monkeypatch.setattr(shapes, "FRAGMENTS", (0, 1))  # a fragment may hide the edge
    for k in range(8):
        image, box = shapes.render(shapes.stream(name, k), outline, 64)
        bare, _ = shapes.render(shapes.stream(name, k), lambda x, y: x * x + y * y - 0.008, 64)
        rows, columns = np.nonzero(np.abs(image.astype(int) - bare).sum(2) > 15)
        assert np.abs(np.array([columns.min(), rows.min(), columns.max(), rows.max()]) - astuple(box)).max() <= 2
        assert min(astuple(box)) >= 0
        assert max(astuple(box)) <= 63


def astuple(box: shapes.Box) -> np.ndarray:
    """The box as four numbers in the files' order."""
    return np.array(dataclasses.astuple(box))


def test_colour_does_not_tell_the_class(pristine: Path, small: DataSet) -> None:
    """A nearest-mean classifier on mean colour and brightness spread is near chance (10 %)."""
    listing = scan(pristine, small)

    def features(samples: tuple[tuple[str, int], ...]) -> tuple[np.ndarray, np.ndarray]:
        images = [np.asarray(Image.open(pristine / path).convert("RGB"), float) for path, _ in samples]
        return np.array([[*i.mean((0, 1)), i.std()] for i in images]), np.array([label for _, label in samples])

    train, labels = features(listing.train)
    val, truth = features(listing.val)
    means = np.array([train[labels == label].mean(0) for label in range(10)])
    guesses = ((val[:, None] - means) ** 2).sum(2).argmin(1)
    assert (guesses == truth).mean() < 0.3


def test_progress_counts_every_image(tmp_path: Path, small: DataSet) -> None:
    """Progress ends at all images."""
    seen: list[tuple[int, int]] = []
    few = dataclasses.replace(small, train_per_class=1, val_per_class=1)
    shapes.write(tmp_path / "few", few, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 20) for done in range(1, 21)]


def test_more_classes_than_outlines_are_refused(tmp_path: Path, small: DataSet) -> None:
    """There are ten outlines; an eleventh class cannot be made up."""
    with pytest.raises(DataError, match="11 classes wanted, there are 10 outlines"):
        shapes.write(tmp_path / "more", dataclasses.replace(small, classes=11))
