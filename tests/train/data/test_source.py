"""Folder and archive: one behaviour, whatever the files lie in."""

import pickle
import shutil
import zipfile
from pathlib import Path

import pytest

from tinyablate.datasets import DataSet
from tinyablate.errors import DataError
from tinyablate.train.data.packed import open_packed, pack
from tinyablate.train.data.source import Archive, Folder, Source, open_source
from tinyablate.train.data.tiny_imagenet import LayoutError, scan


@pytest.fixture(params=["folder", "archive"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """Three files in two folders, one of them empty."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "one.txt").write_bytes(b"1")
    (tmp_path / "in" / "two.txt").write_bytes(b"")
    if request.param == "folder":
        return Folder(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(tmp_path / "in" / "a" / "one.txt", "in/a/one.txt")  # no entry for the folders themselves
        archive.write(tmp_path / "in" / "two.txt", "in/two.txt")
    return Archive(tmp_path / "in.zip", "in/")


def test_names_and_contents(source: Source) -> None:
    """Folders list what lies directly in them, files give their bytes."""
    assert sorted(source.names("")) == ["a", "two.txt"]
    assert source.names("a") == ["one.txt"]
    assert (source.read("a/one.txt"), source.read("two.txt")) == (b"1", b"")


def test_what_is_absent_is_an_oserror(source: Source) -> None:
    """Missing folders and files say so."""
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        source.names("b")
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        source.read("a/three.txt")


def test_a_source_can_be_sent_to_another_process(source: Source) -> None:
    """Pickling keeps the place, and an archive is opened anew."""
    assert pickle.loads(pickle.dumps(source)).read("a/one.txt") == b"1"


@pytest.mark.parametrize("top", ["", "shapes/"], ids=["bare", "with its folder"])
def test_an_archive_is_read_as_its_folder_is(
    top: str, pristine: Path, layout: Path, small: DataSet, tmp_path: Path
) -> None:
    """The listing, the digest and every problem are the same; two processes read one archive."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in pristine.rglob("*.*"):
            archive.write(path, f"{top}{path.relative_to(pristine)}")
    assert scan(tmp_path / "set.zip", small) == scan(pristine, small)
    from_zip = open_packed(pack(tmp_path / "set.zip", small, tmp_path / "one", workers=2)).manifest
    assert from_zip == open_packed(pack(layout, small, tmp_path / "two")).manifest
    (layout / "val/images/val_3.JPEG").unlink()
    shutil.rmtree(layout / "train/n90000004")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for path in layout.rglob("*.*"):
            archive.write(path, f"{top}{path.relative_to(layout)}")
    with pytest.raises(LayoutError) as of_folder:
        scan(layout, small)
    with pytest.raises(LayoutError) as of_archive:
        scan(tmp_path / "bad.zip", small)
    assert of_archive.value.problems == of_folder.value.problems
    assert len(of_folder.value.problems) == 4


def test_an_encrypted_member_is_an_oserror(tmp_path: Path) -> None:
    """What zipfile cannot read becomes an OSError with its reason."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("wnids.txt", "secret")
    content = bytearray((tmp_path / "set.zip").read_bytes())
    content[6] |= 1  # the flag of an encrypted member, in its own header
    content[content.rfind(b"PK\x01\x02") + 8] |= 1  # and in the directory
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(OSError, match="encrypted"):
        Archive(tmp_path / "set.zip").read("wnids.txt")


def test_what_holds_no_data_set_is_refused(tmp_path: Path, small: DataSet) -> None:
    """An archive without wnids.txt, a text file and a path that does not exist are one clear error each."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("readme", "")
    (tmp_path / "text").write_text("text")
    for name, message in {
        "set.zip": r"no wnids\.txt here nor in 'shapes'",
        "text": "no ZIP archive, or a damaged one: File is not a zip file",
        "nowhere": "cannot be read: No such file or directory",
    }.items():
        with pytest.raises(DataError, match=f"{name}: {message}"), open_source(tmp_path / name, small):
            pytest.fail("opened")
