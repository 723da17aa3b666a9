"""Packed data sets: true to their files, whole or not there, opened fast, refused when damaged."""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

import tinyablate
from tinyablate.datasets import DataSet
from tinyablate.errors import DataError
from tinyablate.train.data import packed, place, shapes
from tinyablate.train.data.tiny_imagenet import LayoutError, scan

SCRIPT = """
import dataclasses, sys
from pathlib import Path
from tinyablate.datasets import SHAPES
from tinyablate.train.data import packed, place

root, home = Path(sys.argv[1]), Path(sys.argv[2])
small = dataclasses.replace(SHAPES, train_per_class=12, val_per_class=5)
"""


def start(code: str, *arguments: Path) -> subprocess.Popen[str]:
    """Run Python code that knows `root`, `home` and `small` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT + code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(tinyablate.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def visible(home: Path) -> set[str]:
    """What a user sees in a data home, and any unfinished work."""
    return {path.name for path in home.iterdir() if path.name != ".shapes.lock"}


@pytest.fixture(scope="session")
def ready(pristine: Path, small: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small `shapes`, packed; not to be changed."""
    return packed.pack(pristine, small, tmp_path_factory.mktemp("ready"))


@pytest.fixture
def folder(ready: Path, home: Path) -> Path:
    """A copy of it in `home`, to damage."""
    return Path(shutil.copytree(ready, home / "shapes"))


def test_arrays_hold_the_files_pixels_and_labels(ready: Path, pristine: Path, small: DataSet) -> None:
    """Every row is what PIL decodes from its file as RGB, with its label; grayscale ones included."""
    data = packed.open_packed(ready)
    listing = scan(pristine, small)
    gray = 0
    for images, labels, samples in (
        (data.train, data.train_labels, listing.train),
        (data.val, data.val_labels, listing.val),
    ):
        assert images.shape == (len(samples), 64, 64, 3)
        assert (images.dtype.name, labels.dtype.name) == ("uint8", "int64")
        assert labels.tolist() == [label for _, label in samples]
        for row, (path, _) in zip(images, samples, strict=True):
            with Image.open(pristine / path) as image:
                gray += image.mode == "L"
                assert np.array_equal(row, np.asarray(image.convert("RGB")))
    assert gray > 0


def test_val_labels_are_those_of_the_annotations(ready: Path, pristine: Path) -> None:
    """Validation image k is val_k.JPEG, its label the place of its wnid among the sorted ones."""
    lines = (pristine / "val" / "val_annotations.txt").read_text().splitlines()
    told = {int(line.split("\t")[0][4:-5]): line.split("\t")[1] for line in lines}
    data = packed.open_packed(ready)
    assert [data.manifest.classes[label] for label in data.val_labels] == [told[k] for k in range(50)]


def test_the_manifest_tells_what_was_packed(ready: Path, pristine: Path, small: DataSet) -> None:
    """Counts, classes, versions, sha256 of the packed files, and a digest of names, labels and source bytes."""
    manifest = packed.open_packed(ready).manifest
    listing = scan(pristine, small)
    sources = hashlib.sha256()
    for path, label in listing.train + listing.val:
        source = hashlib.sha256((pristine / path).read_bytes()).hexdigest()
        sources.update(f"{path}\t{label}\t{source}\n".encode())
    assert manifest == packed.Manifest(
        format=1,
        name="shapes",
        fingerprint="shapes-v1",
        size=64,
        train=120,
        val=50,
        classes=listing.wnids,
        digest=sources.hexdigest(),
        files=tuple(
            place.StoredFile(
                name, (ready / name).stat().st_size, hashlib.sha256((ready / name).read_bytes()).hexdigest()
            )
            for name in ("train.labels.npy", "train.u8", "val.labels.npy", "val.u8")
        ),
        tinyablate=tinyablate.__version__,
        pillow=PIL.__version__,
    )


def test_the_digest_is_that_of_the_sources(ready: Path, small: DataSet, tmp_path: Path, layout: Path) -> None:
    """Generating and packing again gives the same digest; a changed label gives another."""
    digest = packed.open_packed(ready).manifest.digest
    shapes.write(tmp_path / "again", small)
    again = packed.pack(tmp_path / "again", small, tmp_path / "one", workers=2)
    assert packed.open_packed(again).manifest == packed.open_packed(ready).manifest
    annotations = layout / "val" / "val_annotations.txt"
    lines = [line.split("\t") for line in annotations.read_text().splitlines()]
    other = next(line for line in lines if line[1] != lines[0][1])
    lines[0][1], other[1] = other[1], lines[0][1]
    annotations.write_text("\n".join("\t".join(line) for line in lines))
    assert packed.open_packed(packed.pack(layout, small, tmp_path / "two")).manifest.digest != digest


def test_an_open_data_set_cannot_be_changed(ready: Path) -> None:
    """Arrays are read-only maps."""
    with pytest.raises(ValueError, match="read-only"):
        packed.open_packed(ready).train[0] = 0


def test_progress_counts_to_all_images(pristine: Path, small: DataSet, home: Path) -> None:
    """Progress ends at all images."""
    seen: list[tuple[int, int]] = []
    packed.pack(pristine, small, home, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(120, 170), (170, 170)]


def test_packing_again_returns_at_once(folder: Path, home: Path, small: DataSet, tmp_path: Path) -> None:
    """What is packed is left alone, even if its source is gone."""
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert packed.pack(tmp_path / "gone", small, home) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == before


def test_every_damaged_image_is_named_and_nothing_is_left(layout: Path, small: DataSet, home: Path) -> None:
    """Empty, truncated, no image, wrong size: all of them in one error, and the data home stays empty."""
    images = layout / "train" / "n90000004" / "images"
    good = (images / "n90000004_0.JPEG").read_bytes()
    (images / "n90000004_0.JPEG").write_bytes(good[: len(good) // 2])
    (images / "n90000004_3.JPEG").write_bytes(b"")
    (layout / "val/images/val_7.JPEG").write_text("not found")
    Image.new("RGB", (32, 64)).save(layout / "val/images/val_30.JPEG")
    with pytest.raises(LayoutError) as caught:
        packed.pack(layout, small, home)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        "train/n90000004/images/n90000004_0.JPEG",
        "train/n90000004/images/n90000004_3.JPEG",
        "val/images/val_7.JPEG",
        "val/images/val_30.JPEG",
    ]
    for reason in ("truncated", "is empty", "is no image", "is 32x64 pixels, 64x64 expected"):
        assert reason in str(caught.value)
    assert visible(home) == set()


def test_a_killed_packing_is_never_taken_for_whole(pristine: Path, small: DataSet, home: Path) -> None:
    """After SIGKILL in the middle there is no data set; the next packing removes the remains and makes it whole."""
    process = start(
        """
import multiprocessing

def stop_here(done, total):
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    sys.stdin.read()

packed.pack(root, small, home, 2, stop_here)
""",
        pristine,
        home,
    )
    assert process.stdout is not None
    workers = [int(pid) for pid in process.stdout.readline().split()]
    leftover = home / f".shapes.partial-{process.pid}"
    assert (leftover / "packed" / "train.u8").stat().st_size == 120 * 64 * 64 * 3
    process.kill()
    process.communicate()
    assert visible(home) == {leftover.name}
    with pytest.raises(DataError, match="tinyablate data prepare shapes"):
        packed.open_packed(home / "shapes")
    folder = packed.pack(pristine, small, home)
    assert visible(home) == {"shapes"}
    assert packed.verify(folder) == []
    assert len(workers) == 2
    assert all(gone(pid) for pid in workers)


def gone(pid: int) -> bool:
    """Whether the process ends within ten seconds (as a zombie if nobody reaps it)."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


def test_ctrl_c_leaves_nothing(pristine: Path, home: Path) -> None:
    """SIGINT in the middle removes what was begun."""
    process = start(
        """
def stop_here(done, total):
    print("here", flush=True)
    sys.stdin.read()

packed.pack(root, small, home, 1, stop_here)
""",
        pristine,
        home,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert visible(home) == set()


def test_packings_that_race_end_with_one_whole_result(pristine: Path, home: Path) -> None:
    """Three processes prepare the same set at once: all succeed, one result stands."""
    processes = [start("print(packed.pack(root, small, home, 1))", pristine, home) for _ in range(3)]
    ends = [process.communicate() for process in processes]
    assert ends == [(f"{home / 'shapes'}\n", "")] * 3
    assert visible(home) == {"shapes"}
    assert packed.verify(home / "shapes") == []


def test_a_second_process_waits_and_is_told(pristine: Path, home: Path) -> None:
    """While another process holds the workplace, `waiting` is called; then the workplace is free."""
    holder = start(
        'with place.workplace(home, "shapes", packed.FILES): print("held", flush=True); sys.stdin.readline()',
        pristine,
        home,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    told: list[str] = []

    def waiting() -> None:
        told.append("waiting")
        print(file=holder.stdin, flush=True)

    with place.workplace(home, "shapes", packed.FILES, waiting) as mine:
        assert told == ["waiting"]
        assert visible(home) == {mine.name}
    holder.communicate()
    assert visible(home) == set()


def test_a_disk_that_fills_up_is_one_error(pristine: Path, home: Path) -> None:
    """When the system refuses to let a file grow, the error says how much is needed, and nothing is left."""
    process = start(
        """
import resource
from tinyablate.errors import DataError
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    packed.pack(root, small, home)
except DataError as error:
    print(error)
""",
        pristine,
        home,
    )
    out, err = process.communicate()
    assert err == ""
    assert "no room: 2.1 MB are needed" in out
    assert visible(home) == set()


def test_too_little_room_is_seen_before_the_work(tmp_path: Path) -> None:
    """More than the disk has free is refused at once."""
    with (
        pytest.raises(DataError, match=r"no room: 1,000,000,000,000\.0 MB are needed"),
        place.room_for(10**18, tmp_path),
    ):
        pytest.fail("started")


def test_a_home_that_cannot_be_written_is_one_error(tmp_path: Path, pristine: Path, small: DataSet) -> None:
    """A file where the data home should be is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file/home: cannot be written"):
        packed.pack(pristine, small, tmp_path / "file" / "home")


def test_a_foreign_folder_is_not_overwritten(pristine: Path, small: DataSet, home: Path) -> None:
    """A folder of that name with anything else in it is left alone."""
    (home / "shapes").mkdir(parents=True)
    (home / "shapes" / "thesis.tex").write_text("")
    with pytest.raises(DataError, match="was not made by tinyablate"):
        packed.pack(pristine, small, home)
    assert visible(home) == {"shapes"}
    assert (home / "shapes" / "thesis.tex").exists()


def test_an_outdated_folder_is_replaced(folder: Path, home: Path, pristine: Path, small: DataSet) -> None:
    """A set that was packed under another fingerprint, or that is damaged, is packed anew."""
    newer = dataclasses.replace(small, fingerprint="shapes-v2")
    assert not packed.is_ready(folder, newer)
    packed.pack(pristine, newer, home)
    assert packed.open_packed(folder).manifest.fingerprint == "shapes-v2"
    (folder / "val.u8").unlink()
    packed.pack(pristine, newer, home)
    assert packed.verify(folder) == []
    assert visible(home) == {"shapes"}


def change(folder: Path, **fields: object) -> None:
    """Replace fields of the manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def truncate(path: Path, size: int) -> None:
    """Cut a file."""
    os.truncate(path, size)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: shutil.rmtree(f), "no prepared data set (manifest.json: No such file or directory)"),
        (lambda f: (f / "manifest.json").unlink(), "no prepared data set"),
        (lambda f: truncate(f / "manifest.json", 100), "manifest.json is damaged"),
        (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (lambda f: (f / "manifest.json").write_bytes(b"\xff"), "manifest.json is damaged"),
        (lambda f: change(f, train="120"), "manifest.json is damaged (train = '120')"),
        (lambda f: change(f, colour=1), "manifest.json is damaged"),
        (lambda f: change(f, files=[]), "its list of files is not complete"),
        (lambda f: change(f, size=32), "numbers and sizes disagree"),
        (lambda f: change(f, format=2), "prepared in format 2, this version reads 1"),
        (lambda f: truncate(f / "train.u8", 1000), "train.u8: has 1,000 bytes, 1,474,560 expected"),
        (lambda f: (f / "val.u8").unlink(), "val.u8: No such file or directory"),
        (lambda f: (f / "val.labels.npy").write_bytes(bytes(528)), "val.labels.npy is damaged"),
        (
            lambda f: np.save(f / "val.labels.npy", np.zeros(50)),
            "val.labels.npy holds float64 [50], int64 [50] expected",
        ),
    ],
)
def test_a_damaged_folder_is_refused_with_the_cure(folder: Path, damage: object, message: str) -> None:
    """Opening says what is wrong and which command repairs it."""
    assert callable(damage)
    damage(folder)
    with pytest.raises(DataError) as caught:
        packed.open_packed(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert message in str(caught.value)
    assert str(caught.value).endswith("; run: tinyablate data prepare shapes")


def test_verify_reads_every_byte(folder: Path) -> None:
    """A flipped bit, a cut file and a missing one are found, all at once; a whole folder has no problem."""
    assert packed.verify(folder) == []
    content = bytearray((folder / "train.u8").read_bytes())
    content[777_777] ^= 1
    (folder / "train.u8").write_bytes(content)
    truncate(folder / "val.u8", 5)
    (folder / "val.labels.npy").unlink()
    assert packed.verify(folder) == [
        "train.u8: its content has changed since it was prepared (sha256 differs)",
        "val.labels.npy: No such file or directory",
        "val.u8: has 5 bytes, 614,400 expected",
    ]
    (folder / "manifest.json").unlink()
    assert "no prepared data set" in packed.verify(folder)[0]
