"""The one reader of the ImageNet-style layout: which images there are and their labels; it opens no image.

train/<class>/<image>  a class's index is the place of its folder's name among all of them sorted
val/<class>/<image>    the same classes; the folder may be called `valid` or `validation` too, as timm's loader has it

Images may lie in folders inside a class's, as Tiny ImageNet's do. As torchvision's ImageFolder does, it takes the files
with the name of an image and leaves all others out.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tinyablate.datasets import DataSet
from tinyablate.errors import DataError, listed
from tinyablate.train.data.tiny_imagenet import LayoutError

IMAGE_NAMES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's IMG_EXTENSIONS (0.29), in either case."""
VAL_NAMES = ("val", "valid", "validation")

Sample = tuple[str, int]
"""Path relative to the root, with forward slashes, and class index."""


@dataclass(frozen=True)
class Listing:
    """Every image of a folder; a sample's place in its tuple is its image id."""

    classes: tuple[str, ...]
    """Class index -> name of its folder, sorted."""
    train: tuple[Sample, ...]
    """By class, then by path."""
    val: tuple[Sample, ...]
    ignored: tuple[str, ...]
    """Paths of the files in train and val that have no image's name; hidden ones (.DS_Store) are not worth a word."""


def scan(root: Path, data: DataSet) -> Listing:
    """Lists the images in `root`; where `data` knows how many classes and images there are, they must be as many.

    Raises DataError when `root` has not this layout at all, LayoutError naming everything else that is wrong.
    """
    val = _val_folder(root, data)
    problems: list[str] = []
    ignored: list[str] = []
    classes = {split: _class_folders(root, split, problems, ignored) for split in ("train", val)}
    for split, other in (("train", val), (val, "train")):
        missing = sorted(classes[other] - classes[split])
        problems += (f"{split}/{name}: missing, but there is {other}/{name}" for name in missing)
    names = tuple(sorted(classes["train"] & classes[val]))
    train, held_out = (tuple(_samples(root, split, names, problems, ignored)) for split in ("train", val))
    problems += _wrong_counts(data, len(names), {"train": len(train), val: len(held_out)}, bool(problems))
    if problems:
        raise LayoutError(str(root), problems)
    return Listing(names, train, held_out, tuple(ignored))


def _val_folder(root: Path, data: DataSet) -> str:
    """Which of its names the folder of validation images has."""
    if not root.is_dir():
        problem = "is no folder: images are read where they lie, so unpack it" if root.exists() else "does not exist"
        raise DataError(f"{root}: {problem}")
    found = [name for name in VAL_NAMES if (root / name).is_dir()]
    if (root / "train").is_dir() and len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise DataError(f"{root}: has {listed(found)}: one of them must be the validation set")
    here = sorted(name for name in os.listdir(root) if (root / name).is_dir() and not name.startswith("."))
    raise DataError(
        f"{root}: '{data.name}' must have train/<class>/ and val/<class>/ with images in them; "
        f"it has {'the folders ' + listed(here) if here else 'no folders'}"
    )


def _class_folders(root: Path, split: str, problems: list[str], ignored: list[str]) -> set[str]:
    """Names of the classes in a split. Images beside the classes have none, which is a problem."""
    classes, stray = set(), 0
    try:
        with os.scandir(root / split) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    classes.add(entry.name)
                elif not _is_image(entry.name):
                    ignored.append(f"{split}/{entry.name}")
                stray += _is_image(entry.name)
    except OSError as error:
        problems.append(f"{split}: cannot be read: {error.strerror}")
    if stray:
        problems.append(f"{split}: {stray:,} images lie in no class: they must be in {split}/<class>/")
    elif not classes:
        problems.append(f"{split}: has no class folders")
    return classes


def _samples(
    root: Path, split: str, classes: Collection[str], problems: list[str], ignored: list[str]
) -> Iterator[Sample]:
    """The images of a split, by class and path."""
    for label, name in enumerate(classes):
        outer = frozenset((found.st_dev, found.st_ino) for found in map(os.stat, (root, root / split)))
        files = sorted(_files_below(root, f"{split}/{name}", problems, outer), key=_folder_and_name)
        paths = [path for path in files if _is_image(path)]
        if len(paths) < len(files):
            ignored += (path for path in files if not _is_image(path))
        if not paths:
            problems.append(f"{split}/{name}: holds no image (valid: names that end in {', '.join(IMAGE_NAMES)})")
        yield from ((path, label) for path in paths)


def _files_below(
    root: Path, folder: str, problems: list[str], above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[str]:
    """Paths of the files in a folder and in those inside it, without hidden ones; a link to a folder above is named."""
    try:
        found = os.stat(root / folder)
        here = (found.st_dev, found.st_ino)
        if here in above:
            problems.append(f"{folder}: is a link to a folder that it lies in")
            return
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.name.startswith("."):
                    continue
                if not _is_image(path) and entry.is_dir():
                    yield from _files_below(root, path, problems, above | {here})
                else:
                    yield path
    except OSError as error:
        problems.append(f"{folder}: cannot be read: {error.strerror}")


def _folder_and_name(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


def _is_image(path: str) -> bool:
    """By the name alone, which is not a hidden file's."""
    return path.lower().endswith(IMAGE_NAMES)


def _wrong_counts(data: DataSet, classes: int, images: dict[str, int], known: bool) -> Iterator[str]:
    """Where the numbers are not those that `data` declares; silent about what other problems explain already."""
    if known or not data.classes:
        return
    if classes != data.classes:
        yield f"{classes:,} classes, '{data.name}' has {data.classes:,}"
    for (split, found), expected in zip(images.items(), (data.train, data.val), strict=True):
        if found != expected:
            yield f"{split}: {found:,} images, '{data.name}' has {expected:,}"
