"""The reader of the layout: right labels in a stable order, and every problem named."""

import pickle
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tinyablate.datasets import DataSet
from tinyablate.errors import DataError
from tinyablate.train.data.tiny_imagenet import LayoutError, scan

DISC, SQUARE, RING, BARS = "n90000001", "n90000002", "n90000006", "n90000010"

Action = Callable[[Path], None]
"""Damages a copy of the layout."""


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Replace a file's lines."""
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))


def test_class_index_is_the_place_among_the_sorted_wnids(pristine: Path, small: DataSet) -> None:
    """wnids.txt is not sorted, class indices are."""
    in_file = (pristine / "wnids.txt").read_text().split()
    listing = scan(pristine, small)
    assert in_file != sorted(in_file)
    assert listing.wnids == tuple(sorted(in_file))
    assert all(path.split("/")[1] == listing.wnids[label] for path, label in listing.train)


def test_samples_are_ordered_by_class_and_number(pristine: Path, small: DataSet) -> None:
    """Image 2 comes before image 10, in every class and in the validation set."""
    listing = scan(pristine, small)
    assert [path for path, _ in listing.train[:12]] == [f"train/{DISC}/images/{DISC}_{k}.JPEG" for k in range(12)]
    assert [label for _, label in listing.train] == [label for label in range(10) for _ in range(12)]
    assert [path for path, _ in listing.val] == [f"val/images/val_{k}.JPEG" for k in range(50)]


def test_val_labels_come_from_the_annotations(layout: Path, small: DataSet) -> None:
    """The lines of val_annotations.txt may stand in any order and end in CR LF."""
    edit(layout / "val" / "val_annotations.txt", lambda lines: [f"{line}\r" for line in reversed(lines)])
    lines = (layout / "val" / "val_annotations.txt").read_text().splitlines()
    told = {name: wnid for name, wnid, *_ in (line.split("\t") for line in lines if line)}
    listing = scan(layout, small)
    assert {path.split("/")[-1]: listing.wnids[label] for path, label in listing.val} == told
    assert [label for _, label in listing.val] != sorted(label for _, label in listing.val)


def test_the_containing_folder_does_too(layout: Path, small: DataSet) -> None:
    """The root may be the folder that an archive was unpacked into."""
    assert scan(layout.rename(layout.parent / "shapes").parent, small) == scan(layout.parent / "shapes", small)


def test_what_is_optional_may_be_absent_and_desktop_files_present(layout: Path, small: DataSet) -> None:
    """words.txt, test/ and the boxes are not needed; .DS_Store, ._x and Thumbs.db do no harm."""
    (layout / "words.txt").unlink()
    shutil.rmtree(layout / "test")
    (layout / "train" / DISC / f"{DISC}_boxes.txt").unlink()
    for place in ("train", "val", f"train/{DISC}", f"train/{DISC}/images", "val/images"):
        for name in (".DS_Store", "Thumbs.db", "._val_0.JPEG"):
            (layout / place / name).write_bytes(b"\0")
    assert len(scan(layout, small).train) == 120


def test_a_folder_without_wnids_is_refused(tmp_path: Path, small: DataSet) -> None:
    """A wrong folder is one clear error, not a thousand missing files."""
    with pytest.raises(DataError, match=r"no wnids\.txt here nor in 'shapes': this is not 'shapes'"):
        scan(tmp_path, small)


def remove(path: str) -> Action:
    """Remove a file or folder."""
    return lambda root: shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


def add(path: str, content: bytes = b"x") -> Action:
    """Write a file."""

    def act(root: Path) -> None:
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(content)

    return act


def add_wnid(line: str) -> Action:
    """Append a line to wnids.txt."""
    return lambda root: edit(root / "wnids.txt", lambda lines: [*lines, line])


def annotation(place: int, line: str) -> Action:
    """Replace one line of val_annotations.txt."""
    return lambda root: edit(root / "val/val_annotations.txt", lambda old: [*old[:place], line, *old[place + 1 :]])


DAMAGE: dict[str, tuple[list[Action], list[str]]] = {
    "train image missing": (
        [remove(f"train/{DISC}/images/{DISC}_11.JPEG")],
        [f"train/{DISC}/images/{DISC}_11.JPEG: missing"],
    ),
    "train image too many": (
        [add(f"train/{SQUARE}/images/{SQUARE}_12.JPEG")],
        [f"train/{SQUARE}/images/{SQUARE}_12.JPEG: does not belong there"],
    ),
    "val image too many": ([add("val/images/val_50.JPEG")], ["val/images/val_50.JPEG: does not belong there"]),
    "wnid without a folder": ([remove(f"train/{BARS}")], [f"train/{BARS}: missing"]),
    "folder that is no wnid": ([add("train/n12345678/x")], ["train/n12345678: does not belong there"]),
    "folder without images": ([remove(f"train/{RING}/images")], [f"train/{RING}/images: missing"]),
    "line of five columns": (
        [annotation(2, "val_2.JPEG\tn90000001\t0\t0\t9")],
        ["val/val_annotations.txt:3: 5 columns where 6 belong, separated by tabs"],
    ),
    "line without tabs": (
        [annotation(3, "val_3.JPEG n90000001 0 0 9 9")],
        ["val/val_annotations.txt:4: 1 column where 6 belong, separated by tabs"],
    ),
    "line of an unknown wnid": (
        [annotation(4, "val_4.JPEG\tn00000007\t0\t0\t9\t9")],
        [
            "val/val_annotations.txt:5: 'n00000007' is not in wnids.txt",
            "val/val_annotations.txt: no line for val_4.JPEG",
        ],
    ),
    "line for an absent file": (
        [annotation(5, "val_77.JPEG\tn90000001\t0\t0\t9\t9")],
        ["val/val_annotations.txt:6: there is no file val/images/val_77.JPEG"],
    ),
    "line for the second time": (
        [annotation(6, "val_0.JPEG\tn90000001\t0\t0\t9\t9")],
        ["val/val_annotations.txt:7: val_0.JPEG for the second time"],
    ),
    "wnid for the second time": ([add_wnid(DISC)], [f"wnids.txt:11: '{DISC}' for the second time"]),
    "wnid that is none": ([add_wnid("../val")], ["wnids.txt:11: '../val' is no WordNet id"]),
    "a wnid too many": ([add_wnid("n87654321")], ["wnids.txt: 11 ids, 'shapes' has 10"]),
    "re-foldered val": (
        [add(f"val/{DISC}/val_0.JPEG"), remove("val/images")],
        ["val/images: missing", f"val/{DISC}: does not belong there"],
    ),
    "empty val": ([remove("val/images"), lambda root: (root / "val/images").mkdir()], ["val/images: empty"]),
    "no annotations": ([remove("val/val_annotations.txt")], ["val/val_annotations.txt: missing"]),
    "binary annotations": (
        [add("val/val_annotations.txt", b"\xff\xfe\x00")],
        ["val/val_annotations.txt: cannot be read"],
    ),
    "no train": ([remove("train")], ["train: cannot be read: No such file or directory"]),
    "no val": ([remove("val")], ["val: cannot be read: No such file or directory"]),
    "train is a file": ([remove("train"), add("train")], ["train: cannot be read: Not a directory"]),
}
TOGETHER = [case for case in DAMAGE if not case.startswith(("no ", "re-", "empty", "binary", "train is"))]


@pytest.mark.parametrize("case", DAMAGE)
def test_each_problem_is_named(case: str, layout: Path, small: DataSet) -> None:
    """Whatever is missing, superfluous or malformed is a line of its own."""
    actions, expected = DAMAGE[case]
    for act in actions:
        act(layout)
    with pytest.raises(LayoutError) as caught:
        scan(layout, small)
    for line in expected:
        assert any(problem.startswith(line) for problem in caught.value.problems), caught.value


def test_all_problems_are_named_at_once(layout: Path, small: DataSet) -> None:
    """One run shows everything that is wrong."""
    for case in TOGETHER:
        for act in DAMAGE[case][0]:
            act(layout)
    with pytest.raises(LayoutError) as caught:
        scan(layout, small)

    def without_numbers(lines: Iterable[str]) -> set[str]:  # lines moved when earlier ones were added
        return {re.sub(r"txt:\d+", "txt", line) for line in lines}

    assert len(TOGETHER) == 14
    wanted = without_numbers(line for case in TOGETHER for line in DAMAGE[case][1])
    assert wanted - without_numbers(caught.value.problems) == set()


def test_wrong_counts_are_named(layout: Path, small: DataSet) -> None:
    """A relabelled validation image leaves one class with too few and one with too many."""
    path = layout / "val" / "val_annotations.txt"
    lines = path.read_text().splitlines()
    old = lines[0].split("\t")[1]
    new = DISC if old != DISC else SQUARE
    edit(path, lambda lines: [lines[0].replace(old, new), *lines[1:]])
    with pytest.raises(LayoutError) as caught:
        scan(layout, small)
    assert set(caught.value.problems) == {
        f"val/val_annotations.txt: 4 images of {old}, 'shapes' has 5",
        f"val/val_annotations.txt: 6 images of {new}, 'shapes' has 5",
    }


def test_many_problems_are_counted_not_printed(layout: Path, small: DataSet) -> None:
    """The message shows twenty problems and says how many more there are; the error holds all."""
    for image in (layout / "val" / "images").iterdir():
        image.rename(image.with_suffix(".jpg"))
    with pytest.raises(LayoutError) as caught:
        scan(layout, small)
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[0] == f"{layout}: {len(caught.value.problems)} problems"
    assert lines[1:3] == ["  val/images/val_0.JPEG: missing", "  val/images/val_1.JPEG: missing"]
    assert lines[-1] == f"  and {len(caught.value.problems) - 20} more"
    assert len(caught.value.problems) >= 100


def test_the_error_survives_pickling() -> None:
    """A layout error may cross processes."""
    error = LayoutError("here", ["a: missing"])
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "here: 1 problem\n  a: missing"
