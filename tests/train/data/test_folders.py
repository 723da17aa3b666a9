"""Registered folders: ImageFolder's images and labels, every bad file named, nothing half-written, changes noticed."""

import dataclasses
import hashlib
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from tinyablate.datasets import IMAGENET_1K, DataSet, lookup
from tinyablate.errors import DataError
from tinyablate.prepare import prepare, prepare_set, require, require_whole, status, verify
from tinyablate.train.data import folders
from tinyablate.train.data.scan_folders import scan
from tinyablate.train.data.tiny_imagenet import LayoutError

OPEN = DataSet("pets", "", 0, layout="folders")
"""Facts of a folder of which nothing is known yet."""

Action = Callable[[Path], object]
"""Damages a copy of the photos."""


def listed(home: Path) -> set[str]:
    """What a data home shows, and any unfinished work."""
    return {path.name for path in home.iterdir() if not path.name.endswith(".lock")}


def test_images_and_labels_are_those_of_imagefolder(root: Path) -> None:
    """Classes, order, nested folders, odd names and files that are no images: as torchvision has it."""
    (root / "train/dog/images").mkdir()
    shutil.move(root / "train/dog/dog_0.jpg", root / "train/dog/images/AA.JpG")
    shutil.copy(root / "train/dog/dog_1.JPEG", root / "train/dog/zz.JPEG")
    shutil.copy(root / "train/dog/dog_1.JPEG", root / "train/dog/Ünï code.jpeg")
    (root / "train/dog/dog_boxes.txt").write_text("0 0 1 1")
    (root / "train/README.md").write_text("")
    (root / "train/dog/images/b.gif").write_bytes(b"GIF")
    (root / "train/dog/.DS_Store").write_bytes(b"")
    (root / "train/.cache").mkdir()
    listing = scan(root, OPEN)
    for samples, split in ((listing.train, "train"), (listing.val, "val")):
        theirs = ImageFolder(str(root / split)) if split == "val" else None
        if theirs is not None:
            assert list(listing.classes) == theirs.classes
            assert [(str(root / path), label) for path, label in samples] == theirs.samples
    shutil.rmtree(root / "train/.cache")  # a class to ImageFolder
    theirs = ImageFolder(str(root / "train"))
    assert [(str(root / path), label) for path, label in listing.train] == theirs.samples
    assert len(listing.train) == 26
    assert listing.ignored == ("train/README.md", "train/dog/dog_boxes.txt", "train/dog/images/b.gif")


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_the_validation_folder_has_three_names(name: str, root: Path) -> None:
    """`valid` and `validation` serve as `val` does; two of them at once are refused."""
    shutil.copytree(root / "val", root / name)
    with pytest.raises(DataError, match=f"has 'val', '{name}': one of them must be the validation set"):
        scan(root, OPEN)
    shutil.rmtree(root / "val")
    assert [path for path, _ in scan(root, OPEN).val][:1] == [f"{name}/cat/cat_0.jpg"]


def test_the_index_tells_each_file(photos: Path, photos_home: Path) -> None:
    """Paths, labels, sides as PIL reads them, sha256 and size; CMYK, 16-bit, gray and palette images are valid."""
    folder = require("pets", photos_home)
    manifest = folders.read_manifest(folder)
    listing = scan(photos, OPEN)
    modes = set()
    for split, samples in (("train", listing.train), ("val", listing.val)):
        files = folders.read_index(folder, manifest)[split]
        assert files.names() == [path for path, _ in samples]
        assert files.labels.tolist() == [label for _, label in samples]
        for k, (path, _) in enumerate(samples):
            content = (photos / path).read_bytes()
            with Image.open(photos / path) as image:
                modes.add(image.mode)
                assert (files.widths[k], files.heights[k]) == image.size
            assert files.sha256[k].tobytes() == hashlib.sha256(content).digest()
            assert files.bytes[k] == len(content)
    assert modes == {"RGB", "L", "CMYK", "I;16", "P", "RGBA"}


def test_the_fingerprint_is_that_of_bytes_names_and_labels(photos: Path, photos_home: Path) -> None:
    """A line per image, hashed; the digest of the manifest is the same."""
    digest = hashlib.sha256()
    listing = scan(photos, OPEN)
    for path, label in listing.train + listing.val:
        digest.update(f"{path}\t{label}\t{hashlib.sha256((photos / path).read_bytes()).hexdigest()}\n".encode())
    manifest = folders.read_manifest(require("pets", photos_home))
    assert manifest.digest == digest.hexdigest()
    assert lookup("pets", photos_home).fingerprint == f"sha256-{digest.hexdigest()}"


def test_a_registered_set_is_known_by_its_manifest(
    photos: Path, photos_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lookup and status know it, in its data home alone; names near it are suggested."""
    monkeypatch.setenv("TINYABLATE_DATA", str(photos_home))
    data = lookup("pets")
    assert (data.classes, data.train, data.val, data.size, data.layout) == (3, 24, 6, 0, "folders")
    assert not data.generated
    entry = status(photos_home)[-1]
    assert (entry.name, entry.title, entry.prepared) == ("pets", f"images in {photos}", True)
    with pytest.raises(DataError, match="valid: 'shapes', 'tiny-imagenet', 'imagenet-1k', 'pets'; did you mean 'pets'"):
        lookup("pet")
    monkeypatch.setenv("TINYABLATE_DATA", str(photos_home / "elsewhere"))
    with pytest.raises(DataError, match="not known"):
        lookup("pets")


# ---- bad input -------------------------------------------------------------------------------------------------------


def rewrite(path: str, change: Callable[[bytes], bytes]) -> Action:
    """Replace a file's content."""
    return lambda root: (root / path).write_bytes(change((root / path).read_bytes()))


def empty(path: str) -> Action:
    """Remove everything in a folder."""
    return lambda root: [file.unlink() for file in (root / path).iterdir()]


BAD: dict[str, tuple[Action, str]] = {
    "text": (rewrite("train/cat/cat_1.JPEG", lambda content: b"not found"), "train/cat/cat_1.JPEG: is no image"),
    "0 bytes": (rewrite("train/dog/dog_2.JPEG", lambda content: b""), "train/dog/dog_2.JPEG: is empty"),
    "last byte missing": (
        rewrite("val/cat/cat_1.JPEG", lambda content: content[:-1]),
        "val/cat/cat_1.JPEG: is truncated: it has no end-of-image marker",
    ),
    "half a PNG": (
        rewrite("train/owl/owl_4.png", lambda content: content[: len(content) // 2]),
        "train/owl/owl_4.png: ",
    ),
    "32-bit values": (
        lambda root: Image.new("I", (8, 8), 70_000).save(root / "train/owl/deep.tiff"),
        "train/owl/deep.tiff: holds 32-bit values; save it with 8 bits a channel",
    ),
    "pipe": (lambda root: os.mkfifo(root / "train/owl/owl_8.jpg"), "train/owl/owl_8.jpg: is no regular file"),
    "dangling link": (
        lambda root: (root / "train/owl/owl_9.jpg").symlink_to("nowhere"),
        "train/owl/owl_9.jpg: No such file or directory",
    ),
}
BAD_LAYOUT: dict[str, tuple[Action, str]] = {
    "empty class": (empty("train/owl"), "train/owl: holds no image (valid: names that end in .jpg, .jpeg, .png"),
    "class in train only": (
        lambda root: shutil.copytree(root / "train/cat", root / "train/yak"),
        "val/yak: missing, but there is train/yak",
    ),
    "class in val only": (
        lambda root: shutil.copytree(root / "val/cat", root / "val/ant"),
        "train/ant: missing, but there is val/ant",
    ),
    "links in a circle": (
        lambda root: [(root / f"train/dog/{name}").symlink_to(".") for name in ("again", "more")],
        "train/dog/again: is a link to a folder that it lies in",
    ),
    "images outside classes": (
        lambda root: shutil.copy(root / "val/cat/cat_0.jpg", root / "val/ILSVRC2012_val_1.JPEG"),
        "val: 1 images lie in no class: they must be in val/<class>/",
    ),
}


@pytest.mark.parametrize("cases", [BAD, BAD_LAYOUT], ids=["files", "layout"])
def test_every_problem_is_named_and_nothing_is_left(
    cases: dict[str, tuple[Action, str]], root: Path, home: Path
) -> None:
    """All bad files, or everything wrong with the folders, in one error; the data home stays empty."""
    for act, _ in cases.values():
        act(root)
    with pytest.raises(LayoutError) as caught:
        prepare("pets", home, root)
    assert len(caught.value.problems) == len(cases) + ("links in a circle" in cases)  # there are two
    for _, line in cases.values():
        assert any(problem.startswith(line) for problem in caught.value.problems), caught.value
    assert listed(home) == set()
    with pytest.raises(DataError, match="not known"):
        lookup("pets", home)


def test_a_folder_of_another_kind_is_one_error(root: Path, tmp_path: Path) -> None:
    """No folder, a file, no train, no val: what was found and what is wanted."""
    (tmp_path / "file.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"file\.zip: is no folder: images are read where they lie, so unpack it"):
        scan(tmp_path / "file.zip", OPEN)
    with pytest.raises(DataError, match="nowhere: does not exist"):
        scan(tmp_path / "nowhere", OPEN)
    (root / "val").rename(root / "test")
    with pytest.raises(
        DataError, match=r"must have train/<class>/ and val/<class>/ .* has the folders 'test', 'train'"
    ):
        scan(root, OPEN)
    with pytest.raises(DataError, match="it has no folders"):
        scan(root / "train" / "cat", OPEN)


def test_a_full_disk_leaves_nothing(photos: Path, home: Path) -> None:
    """When the index cannot grow, the error says how much is needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DataError, match=r"no room: 0\.0 MB are needed, .* \(File too large\)"):
            prepare("pets", home, photos)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert listed(home) == set()


@pytest.mark.parametrize(
    "name", ["My-Pets", "pets_2", "-pets", "pets-", "a--b", "../pets", "", "downloads", "péts", "p" * 101]
)
def test_impossible_names_are_refused(name: str, photos: Path, home: Path) -> None:
    """A name is lower-case letters, digits and single dashes, and no folder of the data home's own."""
    with pytest.raises(DataError, match="no name for a data set; valid: lower-case letters"):
        prepare(name, home, photos)
    assert not home.exists()


def test_a_new_name_needs_a_folder(home: Path) -> None:
    """Without --from an unknown name is a mistyped one; ImageNet-1k cannot be downloaded either."""
    for name, shown in (("shape", "shape"), ("My_Shape", "NAME")):
        with pytest.raises(DataError, match=f"data set '{name}': not known; .*did you mean 'shapes'") as caught:
            prepare(name, home)
        hint = f"\n  to register images of your own: tinyablate data prepare {shown} --from FOLDER"
        assert str(caught.value).endswith(hint)
    with pytest.raises(
        DataError, match=r"'imagenet-1k' is not prepared .* run: tinyablate data prepare imagenet-1k --from"
    ):
        prepare("imagenet-1k", home)


# ---- ImageNet-1k -----------------------------------------------------------------------------------------------------


def little_imagenet(photos: Path, **facts: int) -> DataSet:
    """ImageNet-1k's facts as if it were the photos, packed by tar."""
    sizes = {split: sum(path.stat().st_size for path in (photos / split).rglob("*.*")) for split in ("train", "val")}
    fits = {f"{split}_bytes": size + size // 150 for split, size in sizes.items()}
    return dataclasses.replace(IMAGENET_1K, **{"classes": 3, "train_images": 24, "val_images": 6, **fits, **facts})


def test_imagenet_keeps_its_declared_fingerprint(photos: Path, home: Path) -> None:
    """With the right numbers of classes, images and bytes the fingerprint is the declared one, never computed."""
    data = little_imagenet(photos)
    manifest = folders.read_manifest(prepare_set(data, home, photos))
    assert manifest.fingerprint == IMAGENET_1K.fingerprint
    assert prepare_set(data, home) == home / "imagenet-1k"


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"classes": 4}, "3 classes, 'imagenet-1k' has 4"),
        ({"train_images": 25}, "train: 24 images, 'imagenet-1k' has 25"),
        ({"val_images": 5}, "val: 6 images, 'imagenet-1k' has 5"),
        ({"val_bytes": 1_000_000}, "bytes of images, the official archive of 'imagenet-1k' has 1,000,000"),
    ],
)
def test_what_is_not_imagenet_is_refused(facts: dict[str, int], problem: str, photos: Path, home: Path) -> None:
    """Other counts, or other total sizes (scaled images), are not the data set that the fingerprint declares."""
    with pytest.raises(LayoutError) as caught:
        prepare_set(little_imagenet(photos, **facts), home, photos)
    assert [line for line in caught.value.problems if problem in line], caught.value
    assert listed(home) == set()


# ---- later -----------------------------------------------------------------------------------------------------------


def test_registering_again_does_nothing_unless_something_changed(root: Path, home: Path) -> None:
    """The same folder: nothing is read. Another image in it: another fingerprint."""
    folder = prepare("pets", home, root)
    before = (folder / "manifest.json").stat().st_mtime_ns
    prepare("pets", home, root, lambda *stage: pytest.fail("read again"))
    prepare("pets", home, progress=lambda *stage: pytest.fail("read again"))
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    first = lookup("pets", home)
    shutil.copy(root / "train/cat/cat_0.jpg", root / "train/cat/cat_8.jpg")
    prepare("pets", home, root)
    second = lookup("pets", home)
    assert (first.train, second.train) == (24, 25)
    assert first.fingerprint != second.fingerprint
    (root / "train/cat/cat_8.jpg").unlink()
    (root / "train/cat/cat_8.jpg").symlink_to("nowhere")
    with pytest.raises(LayoutError, match=r"train/cat/cat_8\.jpg: No such file"):
        prepare("pets", home, root)
    (root / "train/cat/cat_8.jpg").unlink()
    shutil.copy(root / "train/cat/cat_0.jpg", root / "train/cat/cat_8.jpg")
    prepare("pets", home, root)
    os.utime(root / "train/cat/cat_0.jpg")
    seen: list[str] = []
    prepare("pets", home, root, lambda stage, done, total: seen.append(stage))
    assert set(seen) == {"check"}
    assert lookup("pets", home).fingerprint == second.fingerprint
    assert listed(home) == {"pets"}


def test_what_was_taken_and_ignored_is_said(root: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts and the first files without an image's name, on stderr, each time; nothing without --from."""
    prepare("pets", home, root)
    assert capsys.readouterr().err == "pets: 3 classes, 24 train, 6 val images\n"
    (root / "val/owl/x.gif").write_bytes(b"GIF")
    prepare("pets", home, root)
    taken = "pets: 3 classes, 24 train, 6 val images; ignored "
    assert capsys.readouterr().err == f"{taken}1 file that is no image by name: val/owl/x.gif\n"
    for k in range(6):
        (root / f"train/cat/{k}.txt").write_text("")
    prepare("pets", home, root)
    shown = ", ".join(f"train/cat/{k}.txt" for k in range(5))
    assert capsys.readouterr().err == f"{taken}7 files that are no images by name: {shown}, … and 2 more\n"
    prepare("pets", home)
    assert capsys.readouterr().err == ""


def test_another_set_under_the_name_is_said(root: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Earlier results are under the old fingerprint; a changed time of change, or another place, is no other set."""
    prepare("pets", home, root)
    (root / "train/cat/cat_0.jpg").touch()
    prepare("pets", home, root)
    assert "differs" not in capsys.readouterr().err
    for change, numbers in (
        (lambda: (root / "train/cat/cat_0.jpg").unlink(), "24 -> 23 training images"),
        (lambda: (root / "val/cat/cat_0.jpg").unlink(), "6 -> 5 validation images"),
        (lambda: (root / "val/cat/cat_1.JPEG").rename(root / "val/cat/a.jpg"),
         "as many images, but other names or content"),
    ):  # fmt: skip
        change()
        prepare("pets", home, root)
        assert capsys.readouterr().err.splitlines()[1:] == [
            f"pets: differs from what was registered before ({numbers}): "
            "earlier results keep the old fingerprint and will not be found under this name"
        ]


def test_a_moved_folder_is_told_with_the_command(root: Path, home: Path, tmp_path: Path) -> None:
    """Its name and facts stay known; registered where it is now it has the fingerprint that it had."""
    prepare("pets", home, root)
    before = lookup("pets", home).fingerprint
    root.rename(tmp_path / "moved")
    message = f"data set 'pets': its images are gone from {root}; run: tinyablate data prepare pets --from FOLDER"
    for act in (lambda: require("pets", home), lambda: verify("pets", home)):
        with pytest.raises(DataError) as caught:
            act()
        assert str(caught.value) == message
    with pytest.raises(DataError, match="tinyablate data prepare pets --from FOLDER"):
        prepare("pets", home)
    assert status(home)[-1].problem == message
    prepare("pets", home, tmp_path / "moved")
    assert require_whole("pets", home) == home / "pets"
    assert lookup("pets", home).fingerprint == before


def test_verify_reads_every_image(root: Path, home: Path) -> None:
    """A changed byte and a missing image are found, both at once; a changed index first."""
    folder = prepare("pets", home, root)
    assert verify("pets", home) == []
    rewrite("train/cat/cat_0.jpg", lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])(root)
    (root / "val/owl/owl_0.jpg").unlink()
    index = bytearray((folder / "index.npz").read_bytes())
    place = index.find(b"\x93NUMPY") + 200  # in the middle of the first column, the paths
    index[place] ^= 1
    (folder / "index.npz").write_bytes(index)
    assert verify("pets", home) == ["index.npz: its content has changed since it was prepared (sha256 differs)"]
    (folder / "index.npz").write_bytes(bytes(index[:place]) + bytes([index[place] ^ 1]) + bytes(index[place + 1 :]))
    assert verify("pets", home) == [
        "train/cat/cat_0.jpg: its content has changed since it was registered",
        "val/owl/owl_0.jpg: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "index.npz").unlink(), "index.npz: No such file or directory"),
        (lambda f: (f / "index.npz").write_bytes(bytes((f / "index.npz").stat().st_size)), "index.npz is damaged"),
        (lambda f: os.truncate(f / "index.npz", 100), "index.npz: has 100 bytes"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json is damaged"),
    ],
)
def test_a_damaged_registration_is_refused_with_the_cure(damage: object, message: str, root: Path, home: Path) -> None:
    """Opening says what is wrong and which command repairs it, and that command does."""
    folder = prepare("pets", home, root)
    assert callable(damage)
    damage(folder)
    with pytest.raises(DataError) as caught:
        folders.read_index(folder, folders.read_manifest(folder))
    assert message in str(caught.value)
    assert str(caught.value).endswith("; run: tinyablate data prepare pets --from FOLDER")
    prepare("pets", home, root)
    assert verify("pets", home) == []


def test_paths_are_kept_as_bytes(root: Path, home: Path) -> None:
    """A file name that is no UTF-8 is a name all the same."""
    odd = os.fsencode(root / "train/cat") + b"/\xff\xfe.png"
    shutil.copy(root / "train/cat/cat_4.png", odd)
    folder = prepare("pets", home, root)
    files = folders.read_index(folder, folders.read_manifest(folder))["train"]
    assert os.fsencode(files.names()[8]) == b"train/cat/\xff\xfe.png"
    assert np.array_equal(files.sha256[8], files.sha256[4])
