"""The one reader of the `tiny-imagenet-200` layout: which files there are and their labels; it opens no image.

wnids.txt                            the classes' ids in no order; a class's index is its place among them sorted
train/<wnid>/images/<wnid>_<k>.JPEG  k = 0, 1, …
val/images/val_<k>.JPEG              k = 0, 1, …, of all classes
val/val_annotations.txt              val_0.JPEG<TAB>n03444034<TAB>0<TAB>32<TAB>44<TAB>62
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyablate.datasets import DataSet
from tinyablate.errors import DataError
from tinyablate.train.data.source import Source, open_source

Sample = tuple[str, int]
"""Path relative to the folder of wnids.txt, with forward slashes, and class index."""

DESKTOP_FILES = frozenset({"Thumbs.db", "desktop.ini"})
"""Left behind by file managers, like every name that starts with a dot; they do no harm."""

MOST_SHOWN = 20
"""Problems that an error's message spells out."""


class LayoutError(DataError):
    """A data set's files are not what they should be: every problem found, the message shows the first ones."""

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(subject, self.problems)  # as they came, so that the error survives pickling

    def __str__(self) -> str:
        return "\n".join((f"{self.subject}: {_counted(len(self.problems), 'problem')}", *_shown(self.problems)))


@dataclass(frozen=True)
class Listing:
    """Every image of a data set that was found whole; a sample's place in its tuple is its image id."""

    wnids: tuple[str, ...]
    """Class index -> WordNet id, sorted."""
    train: tuple[Sample, ...]
    """By class, then by number."""
    val: tuple[Sample, ...]
    """By number."""


def scan(root: Path, data: DataSet) -> Listing:
    """Lists the images of `data` in `root`: its folder, the folder around that, or a ZIP archive of either.

    Raises LayoutError naming everything that is missing, superfluous, malformed or miscounted.
    """
    with open_source(root, data) as source:
        return scan_source(source, data, str(root))


def scan_source(source: Source, data: DataSet, subject: str) -> Listing:
    """`scan` of what is open already; errors begin with `subject`."""
    problems: list[str] = []
    wnids = _read_wnids(source, data, problems)
    train = _scan_train(source, wnids, data, problems)
    val = _scan_val(source, wnids, data, problems)
    if problems:
        raise LayoutError(subject, problems)
    return Listing(wnids, train, val)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _shown(problems: Sequence[str]) -> Iterable[str]:
    yield from (f"  {problem}" for problem in problems[:MOST_SHOWN])
    if len(problems) > MOST_SHOWN:
        yield f"  and {len(problems) - MOST_SHOWN} more"


def _lines(source: Source, path: str, problems: list[str]) -> list[str]:
    """The lines of a text file; a file that cannot be read is a problem and has no lines."""
    try:
        return source.read(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read: {error}")
    return []


def _by_number(names: Collection[str]) -> list[str]:
    """`x_2` before `x_10`."""
    return sorted(
        names, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    )


def _check_folder(
    source: Source, label: str, expected: Collection[str], problems: list[str], optional: str = ""
) -> set[str]:
    """What lies in the folder; names what is missing and what does not belong there."""
    try:
        found = {name for name in source.names(label) if not name.startswith(".") and name not in DESKTOP_FILES}
    except OSError as error:
        problems.append(f"{label}: cannot be read: {error.strerror}")
        return set()
    if not found:
        problems.append(f"{label}: empty")
        return found
    problems += (f"{label}/{name}: missing" for name in _by_number(set(expected) - found))
    problems += (f"{label}/{name}: does not belong there" for name in _by_number(found - set(expected) - {optional}))
    return found


def _read_wnids(source: Source, data: DataSet, problems: list[str]) -> tuple[str, ...]:
    seen: set[str] = set()
    for number, line in enumerate(_lines(source, "wnids.txt", problems), 1):
        wnid = line.strip()
        if wnid in seen:
            problems.append(f"wnids.txt:{number}: '{wnid}' for the second time")
        elif re.fullmatch(r"n\d{8}", wnid):
            seen.add(wnid)
        elif wnid:
            problems.append(f"wnids.txt:{number}: '{wnid}' is no WordNet id")
    if len(seen) != data.classes:
        problems.append(f"wnids.txt: {_counted(len(seen), 'id')}, '{data.name}' has {data.classes}")
    return tuple(sorted(seen))


def _scan_train(source: Source, wnids: Sequence[str], data: DataSet, problems: list[str]) -> tuple[Sample, ...]:
    folders = _check_folder(source, "train", wnids, problems)
    samples: list[Sample] = []
    for index, wnid in enumerate(wnids):
        label, expected = f"train/{wnid}/images", [f"{wnid}_{k}.JPEG" for k in range(data.train_per_class)]
        samples += ((f"{label}/{name}", index) for name in expected)
        if wnid in folders and "images" in _check_folder(
            source, f"train/{wnid}", ["images"], problems, optional=f"{wnid}_boxes.txt"
        ):
            _check_folder(source, label, expected, problems)
    return tuple(samples)


def _scan_val(source: Source, wnids: Sequence[str], data: DataSet, problems: list[str]) -> tuple[Sample, ...]:
    inside = _check_folder(source, "val", ["images", "val_annotations.txt"], problems)
    expected = [f"val_{k}.JPEG" for k in range(data.val)]
    found = _check_folder(source, "val/images", expected, problems) if "images" in inside else set()
    if "val_annotations.txt" not in inside:
        return ()
    labels = _read_annotations(source, wnids, found, problems)
    problems += (
        f"val/val_annotations.txt: no line for {name}" for name in expected if name in found and name not in labels
    )
    counts = Counter(labels.values())
    problems += (
        f"val/val_annotations.txt: {_counted(counts[wnid], 'image')} of {wnid}, '{data.name}' has {data.val_per_class}"
        for wnid in wnids
        if found and counts[wnid] != data.val_per_class
    )
    index = {wnid: place for place, wnid in enumerate(wnids)}
    return tuple((f"val/images/{name}", index[labels[name]]) for name in expected if name in labels)


def _read_annotations(
    source: Source, wnids: Collection[str], images: Collection[str], problems: list[str]
) -> dict[str, str]:
    """File name -> wnid. A line that is wrong in any way is a problem and tells nothing."""
    labels: dict[str, str] = {}
    known = frozenset(wnids)
    for number, line in enumerate(_lines(source, "val/val_annotations.txt", problems), 1):
        name, *rest = line.split("\t")
        if not line.strip():
            continue
        if len(rest) != 5:
            problem = f"{_counted(len(rest) + 1, 'column')} where 6 belong, separated by tabs"
        elif name in labels:
            problem = f"{name} for the second time"
        elif rest[0] not in known:
            problem = f"'{rest[0]}' is not in wnids.txt"
        elif images and name not in images:
            problem = f"there is no file val/images/{name}"
        else:
            labels[name] = rest[0]
            continue
        problems.append(f"val/val_annotations.txt:{number}: {problem}")
    return labels
