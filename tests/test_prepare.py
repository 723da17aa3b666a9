"""Preparing data sets: generated, from a folder, an archive, a real server that breaks off, resumes or lies."""

import dataclasses
import hashlib
import http.server
import re
import shutil
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli
from PIL import Image

from tinyablate.datasets import SHAPES, TINY_IMAGENET, DataSet, default_home
from tinyablate.errors import DataError
from tinyablate.prepare import (
    download,
    prepare,
    prepare_set,
    require,
    require_set,
    require_whole,
    status,
    verify,
)
from tinyablate.train.data import packed, place
from tinyablate.train.data.scan_folders import IMAGE_NAMES
from tinyablate.train.data.shapes import write

FEW = dataclasses.replace(SHAPES, train_per_class=3, val_per_class=2)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a tiny data set's layout in `shapes` and the same as `set.zip`; not to be changed."""
    folder = tmp_path_factory.mktemp("sources")
    write(folder / "shapes", FEW)
    (folder / "shapes/test/images/test_0.JPEG").write_bytes(b"unlabelled")
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for path in sorted((folder / "shapes").rglob("*")):
            archive.write(path, path.relative_to(folder))
    return folder


@pytest.fixture(scope="session")
def official(sources: Path) -> DataSet:
    """The facts of that data set as one whose archive lies at an address where nobody answers."""
    content = (sources / "set.zip").read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    return dataclasses.replace(FEW, name="few", url="http://127.0.0.1:9/set.zip", md5=md5, bytes=len(content))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data home that does not exist yet."""
    return tmp_path / "home"


def unfinished(home: Path) -> list[str]:
    """Remains of preparations in a data home."""
    return [path.name for path in home.iterdir() if ".partial-" in path.name]


# ---- where things lie ------------------------------------------------------------------------------------------------


def test_the_data_home_is_told_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$TINYABLATE_DATA, else results/data in the current folder, as an absolute path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYABLATE_DATA", "elsewhere")
    assert default_home() == tmp_path / "elsewhere"
    monkeypatch.setenv("TINYABLATE_DATA", "")
    assert default_home() == tmp_path / "results" / "data"


def test_what_is_not_prepared_is_refused_with_the_command(home: Path) -> None:
    """The error names the home and what to run; an unknown name gets its nearest match."""
    with pytest.raises(DataError) as caught:
        require("tiny-imagenet", home)
    assert str(caught.value) == (
        f"data set 'tiny-imagenet' is not prepared in {home}; run: tinyablate data prepare tiny-imagenet [--from ZIP]"
    )
    with pytest.raises(DataError, match=r"run: tinyablate data prepare shapes$"):
        require("shapes", home)
    with pytest.raises(DataError, match="did you mean 'shapes'"):
        require("shape", home)


def test_what_was_packed_for_another_version_is_refused(home: Path) -> None:
    """A folder with another fingerprint or other counts is not the data set that is asked for."""
    folder = prepare_set(FEW, home)
    assert require_set(FEW, home) == folder
    with pytest.raises(DataError, match="fingerprint: shapes-v1, shapes-v2 expected"):
        require_set(dataclasses.replace(FEW, fingerprint="shapes-v2"), home)
    with pytest.raises(DataError, match="training images: 30, 4000 expected"):
        require("shapes", home)


def test_status_lists_every_known_set(home: Path, shapes: Path) -> None:
    """Prepared or not, with counts, size, digest, and what is wrong with a folder that is there."""
    (home / "tiny-imagenet").mkdir(parents=True)
    (home / "shapes").symlink_to(shapes / "shapes")
    folder = prepare("shapes", home)
    one, other, large = status(home)
    manifest = packed.open_packed(folder).manifest
    assert (one.name, one.prepared, one.folder, one.train, one.val) == ("shapes", True, folder, 4000, 1000)
    assert (one.bytes, one.digest, one.problem) == (manifest.bytes, manifest.digest, "")
    assert one.bytes > 5000 * 64 * 64 * 3
    assert (other.name, other.title, other.prepared) == ("tiny-imagenet", TINY_IMAGENET.title, False)
    assert (other.train, other.val, other.bytes) == (100_000, 10_000, 0)
    assert "no prepared data set" in other.problem
    assert (large.name, large.prepared, large.train, large.val) == ("imagenet-1k", False, 1_281_167, 50_000)
    assert status(home / "empty")[0].problem == ""


# ---- generated, folder, archive --------------------------------------------------------------------------------------


def test_a_generated_set_is_made_and_packed_once(home: Path, tmp_path: Path) -> None:
    """Stages are reported; a second call does nothing; sources are not kept; --from makes no sense."""
    stages: list[tuple[str, int, int]] = []
    folder = prepare_set(FEW, home, progress=lambda *stage: stages.append(stage))
    assert stages == [("generate", done, 50) for done in range(1, 51)] + [("decode", 30, 50), ("decode", 50, 50)]
    assert packed.verify(folder) == []
    assert {path.name for path in home.iterdir()} == {"shapes", ".shapes.lock"}
    assert prepare_set(FEW, home, progress=lambda *stage: pytest.fail("worked again")) == folder
    with pytest.raises(DataError, match="is generated"):
        prepare_set(FEW, tmp_path / "other", source=tmp_path)


@pytest.mark.parametrize("place", ["shapes", "", "set.zip"], ids=["folder", "parent", "archive"])
def test_folder_and_archive_give_the_same(place: str, sources: Path, home: Path, official: DataSet) -> None:
    """An unpacked folder, the folder around it and the archive hold the same images; none is changed."""
    before = sorted(path.name for path in sources.rglob("*"))
    folder = prepare_set(official, home, sources / place)
    generated = packed.open_packed(prepare_set(FEW, home)).manifest
    assert packed.open_packed(folder).manifest.digest == generated.digest
    assert sorted(path.name for path in sources.rglob("*")) == before
    assert unfinished(home) == []


def test_a_zip_packed_by_others_is_judged_by_its_content(
    sources: Path, home: Path, tmp_path: Path, official: DataSet
) -> None:
    """An archive of another size, without the top folder and with macOS leftovers, is fine if its layout is."""
    with zipfile.ZipFile(tmp_path / "other.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._wnids.txt", b"\0")
        for path in (sources / "shapes").rglob("*.*"):
            archive.write(path, path.relative_to(sources / "shapes"))
    assert packed.verify(prepare_set(official, home, tmp_path / "other.zip")) == []


def test_an_altered_archive_is_refused_with_both_md5s(
    sources: Path, home: Path, tmp_path: Path, official: DataSet
) -> None:
    """An archive of the official size with one changed byte is not unpacked."""
    content = bytearray((sources / "set.zip").read_bytes())
    content[1000] ^= 1
    (tmp_path / "altered.zip").write_bytes(content)
    with pytest.raises(DataError, match="damaged or altered") as caught:
        prepare_set(official, home, tmp_path / "altered.zip")
    assert official.md5 in str(caught.value)
    assert hashlib.md5(content).hexdigest() in str(caught.value)


def truncated(source: Path, target: Path) -> None:
    """The first half of the archive."""
    content = source.read_bytes()
    target.write_bytes(content[: len(content) // 2])


def no_zip(source: Path, target: Path) -> None:
    """Something else."""
    target.write_text("<html>")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "File is not a zip file; it has [0-9,]+ bytes, the official archive [0-9,]+"),
        (no_zip, "File is not a zip file"),
    ],
)
def test_a_damaged_archive_is_one_error(
    damage: object, message: str, sources: Path, home: Path, tmp_path: Path, official: DataSet
) -> None:
    """The archive is named with what is wrong, and nothing is left."""
    assert callable(damage)
    damage(sources / "set.zip", tmp_path / "bad.zip")
    with pytest.raises(DataError, match=f"bad\\.zip: no ZIP archive, or a damaged one: {message}"):
        prepare_set(official, home, tmp_path / "bad.zip")
    assert [path.name for path in home.iterdir()] == [".few.lock"]


def test_an_archive_is_never_unpacked(sources: Path, home: Path, tmp_path: Path, official: DataSet) -> None:
    """Members with names that lead elsewhere land nowhere: images are decoded straight from the archive."""
    shutil.copy(sources / "set.zip", tmp_path / "evil.zip")
    with zipfile.ZipFile(tmp_path / "evil.zip", "a") as archive:
        for name in ("../escaped.txt", "shapes/../../escaped.txt", "/tmp/escaped.txt"):
            archive.writestr(name, "x")
    prepare_set(official, home, tmp_path / "evil.zip")
    assert {path.name for path in tmp_path.rglob("*")} == {
        *("evil.zip", "home", ".few.lock", "few", "manifest.json"),
        *("train.u8", "val.u8", "train.labels.npy", "val.labels.npy", "verified.json"),
    }
    assert not Path("/tmp/escaped.txt").exists()


def test_damaged_members_of_an_archive_are_all_named(
    sources: Path, home: Path, tmp_path: Path, official: DataSet
) -> None:
    """A changed byte in each of two images shows in their checksums: both are named, nothing is left."""
    content = bytearray((sources / "set.zip").read_bytes())
    with zipfile.ZipFile(sources / "set.zip") as archive:
        for name in ("val_3", "val_11"):
            content[archive.getinfo(f"shapes/val/images/{name}.JPEG").header_offset + 300] ^= 1
    (tmp_path / "bad.zip").write_bytes(content + b"\0")
    with pytest.raises(DataError) as caught:
        prepare_set(official, home, tmp_path / "bad.zip")
    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'bad.zip'}: 2 problems",
        "  val/images/val_3.JPEG: Bad CRC-32 for file 'shapes/val/images/val_3.JPEG'",
        "  val/images/val_11.JPEG: Bad CRC-32 for file 'shapes/val/images/val_11.JPEG'",
    ]
    assert [path.name for path in home.iterdir()] == [".few.lock"]


def test_an_absent_source_is_named(home: Path, tmp_path: Path, official: DataSet) -> None:
    """A path that does not exist is one clear error."""
    with pytest.raises(DataError, match=r"nowhere\.zip: cannot be read: No such file or directory"):
        prepare_set(official, home, tmp_path / "nowhere.zip")


def test_many_problems_are_all_listed_in_a_file(sources: Path, home: Path, tmp_path: Path, official: DataSet) -> None:
    """The message shows twenty; the file that it names holds them all."""
    root = shutil.copytree(sources / "shapes", tmp_path / "damaged")
    for path in root.rglob("*.JPEG"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="and 30 more\nall 50 are listed in ") as caught:
        prepare_set(official, home, root)
    listed = Path(str(caught.value).rpartition(" in ")[2])
    assert len(listed.read_text().splitlines()) == 50
    assert "val/images/val_19.JPEG: is empty" in listed.read_text().splitlines()
    prepare_set(official, home, sources / "shapes")
    assert not listed.exists()


# ---- files that change later -----------------------------------------------------------------------------------------


def flip(path: Path, place: int = 5000) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_is_noticed_before_training(home: Path) -> None:
    """Files are read whole when they have changed since they were last found whole, and only then."""
    folder = prepare_set(FEW, home)
    data = dataclasses.replace(FEW, name="few")
    shutil.copytree(folder, home / "few")  # new files, so they are read once
    stages: list[str] = []

    def watch(stage: str, done: int, total: int) -> None:
        stages.append(stage)

    for _ in range(2):
        prepare_set(FEW, home, progress=watch)
        prepare_set(data, home, progress=watch)
    assert stages == ["verify"]
    flip(home / "few" / "train.u8")
    assert packed.is_ready(home / "few", data)  # its size is right
    assert packed.verify(home / "few") == ["train.u8: its content has changed since it was prepared (sha256 differs)"]


def test_damaged_files_are_prepared_anew(home: Path) -> None:
    """The command that the error names repairs a file of the right size and the wrong content."""
    folder = prepare_set(FEW, home)
    before = (folder / "val.u8").read_bytes()
    flip(folder / "val.u8")
    stages: list[str] = []
    prepare_set(FEW, home, progress=lambda *stage: stages.append(stage[0]))
    assert {"verify", "generate", "decode"} == set(stages)
    assert (folder / "val.u8").read_bytes() == before
    assert packed.verify(folder) == []


def test_damage_is_refused_before_training(home: Path, shapes: Path) -> None:
    """The error names the file and the command, as long as the damage is there."""
    shutil.copytree(shapes / "shapes", home / "shapes")
    stages: list[str] = []
    assert require_whole("shapes", home, lambda *stage: stages.append(stage[0])) == home / "shapes"
    require_whole("shapes", home, lambda *stage: stages.append(stage[0]))
    assert stages == ["verify"]
    flip(home / "shapes" / "val.u8")
    with pytest.raises(DataError) as caught:
        require_whole("shapes", home)
    assert str(caught.value) == (
        f"{home / 'shapes'}: val.u8: its content has changed since it was prepared (sha256 differs); "
        "run: tinyablate data prepare shapes"
    )
    assert len(verify("shapes", home)) == 1
    flip(home / "shapes" / "val.u8")
    assert require_whole("shapes", home) == home / "shapes"


def test_a_home_that_cannot_be_written_is_checked_every_time(home: Path) -> None:
    """Without the stamp (torn, deleted, a read-only disk) everything is read, and training goes on."""
    folder = prepare_set(FEW, home)
    manifest = packed.read_manifest(folder)
    assert place.is_unchanged(folder, manifest)
    for text in ("", "[]", "{"):
        (folder / "verified.json").write_text(text)
        assert not place.is_unchanged(folder, manifest)
    (folder / "verified.json").unlink()
    (folder / "verified.json").mkdir()
    assert place.file_problems(folder, manifest) == []
    assert not place.is_unchanged(folder, manifest)


def test_a_folder_of_images_from_the_command_line(cli: Cli, tmp_path: Path) -> None:
    """Registered under a new name, listed, verified; a vanished image is exit code 1, a vanished folder 2."""
    for split in ("train", "val"):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            Image.new("RGB", (30, 40), (label * 90, 0, 0)).save(tmp_path / "photos" / split / name / "0.JPEG")
    own = {"TINYABLATE_DATA": str(tmp_path / "home")}
    done = cli("data", "prepare", "pets", "--from", str(tmp_path / "photos"), **own)
    assert done.stdout == f"{tmp_path / 'home' / 'pets'}\n"
    assert done.stderr == "pets: 2 classes, 2 train, 2 val images\n"
    assert f"pets           images in {tmp_path / 'photos'}" in cli("data", "list", **own).stdout
    assert "every file is as its manifest says" in cli("data", "verify", "pets", **own).stdout
    (tmp_path / "photos/val/dog/0.JPEG").unlink()
    lines = cli("data", "verify", "pets", code=1, **own).stdout.splitlines()
    assert lines[0] == "val/dog/0.JPEG: No such file or directory"
    assert lines[1] == "damaged: prepare it again; run: tinyablate data prepare pets --from FOLDER"
    shutil.rmtree(tmp_path / "photos")
    assert "its images are gone from" in cli("data", "verify", "pets", code=2, **own).stderr


def test_help_tells_which_files_are_images(cli: Cli) -> None:
    """Every ending that is taken stands in `data prepare --help`."""
    words = re.split(r"[\s,]+", cli("data", "prepare", "--help").stdout)
    assert set(IMAGE_NAMES) <= set(words)


# ---- download --------------------------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves one file from 127.0.0.1, and remembers what it was asked for."""

    content = b""
    ranges = True
    """Whether it understands Range."""
    break_after: int | None = None
    """Bytes after which each connection is cut."""
    asked: list[str | None]

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"http://127.0.0.1:{self.server_port}/set.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET /set.zip."""

    server: Server

    def do_GET(self) -> None:
        """Send the file, or its rest, or a part of that."""
        asked, content = self.headers["Range"], self.server.content
        self.server.asked.append(asked)
        if self.path != "/set.zip":
            self.send_error(404)
            return
        first = int(asked[6:-1]) if asked and self.server.ranges else 0
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first:][: self.server.break_after])

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def server(sources: Path) -> Iterator[Server]:
    """A real HTTP server with the archive."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.content = (sources / "set.zip").read_bytes()
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def online(official: DataSet, server: Server) -> DataSet:
    """The data set, to be had from the server."""
    return dataclasses.replace(official, url=server.url)


def begun(home: Path, content: bytes) -> Path:
    """A download that an earlier process left unfinished."""
    part = home / "downloads" / "set.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    return part


def test_a_download_is_checked_unpacked_and_kept(online: DataSet, server: Server, home: Path) -> None:
    """Bytes are reported; the archive stays, so that preparing again needs no network."""
    stages: list[tuple[str, int, int]] = []
    folder = prepare_set(online, home, progress=lambda *stage: stages.append(stage))
    assert packed.verify(folder) == []
    assert [stage for stage in stages if stage[0] == "download"][-1] == ("download", online.bytes, online.bytes)
    assert [path.name for path in (home / "downloads").iterdir()] == ["set.zip"]
    shutil.rmtree(folder)
    prepare_set(online, home)
    assert server.asked == [None]


def test_a_begun_download_is_continued(online: DataSet, server: Server, home: Path) -> None:
    """Only the missing bytes are asked for."""
    begun(home, server.content[:5000])
    seen: list[int] = []
    path = download(online, home, lambda stage, done, total: seen.append(done))
    assert server.asked == ["bytes=5000-"]
    assert path.read_bytes() == server.content
    assert min(seen) > 5000


def test_a_download_that_is_whole_but_unchecked_is_not_repeated(online: DataSet, server: Server, home: Path) -> None:
    """A process killed after the last byte leaves nothing to fetch."""
    begun(home, server.content)
    assert download(online, home, lambda *stage: None).read_bytes() == server.content
    assert server.asked == []


def test_broken_connections_are_taken_up_again(online: DataSet, server: Server, home: Path) -> None:
    """As long as every try brings something, the download goes on by itself."""
    server.break_after = len(server.content) // 3
    assert download(online, home, lambda *stage: None).read_bytes() == server.content
    assert server.asked == [None, *(f"bytes={server.break_after * k}-" for k in range(1, len(server.asked)))]
    assert len(server.asked) in (3, 4)


def test_a_server_without_ranges_starts_over(online: DataSet, server: Server, home: Path) -> None:
    """What was there is replaced, not appended to."""
    server.ranges = False
    begun(home, server.content[:5000])
    assert download(online, home, lambda *stage: None).read_bytes() == server.content


def test_a_download_that_makes_no_headway_ends_and_keeps_its_part(online: DataSet, server: Server, home: Path) -> None:
    """The error says what is kept, how to go on, and what to do without a network; then the same command goes on."""
    part = begun(home, server.content[:5000])
    server.break_after = 0
    with pytest.raises(DataError) as caught:
        prepare_set(online, home)
    assert str(caught.value) == (
        f"cannot download {online.url}: the connection was closed after 5,000 of {online.bytes:,} bytes\n"
        f"  5,000 bytes are kept in {part}: the same command continues there\n"
        f"  without a network: fetch that URL elsewhere and run: tinyablate data prepare few --from ZIP"
    )
    server.break_after = None
    prepare_set(online, home)
    assert server.asked == ["bytes=5000-", "bytes=5000-"]


def test_without_a_network_the_error_names_url_and_command(official: DataSet, home: Path) -> None:
    """Nobody answers: what to download and how to go on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/set.zip"
        with pytest.raises(DataError) as caught:
            prepare_set(dataclasses.replace(official, url=url), home)
    assert f"cannot download {url}: " in str(caught.value)
    assert "Connection refused" in str(caught.value)
    assert "tinyablate data prepare few --from ZIP" in str(caught.value)
    assert "kept" not in str(caught.value)


def test_a_missing_page_is_one_error(online: DataSet, home: Path) -> None:
    """404 is told as such."""
    with pytest.raises(DataError, match=r"gone\.zip: HTTP Error 404: "):
        prepare_set(dataclasses.replace(online, url=online.url.replace("set", "gone")), home)


def test_a_wrong_download_is_refused_with_both_md5s_and_deleted(online: DataSet, server: Server, home: Path) -> None:
    """Another file under the address is not unpacked, and the next try starts anew."""
    right = server.content
    server.content = bytes(len(right))
    with pytest.raises(DataError) as caught:
        prepare_set(online, home)
    assert online.md5 in str(caught.value)
    assert hashlib.md5(server.content).hexdigest() in str(caught.value)
    assert list((home / "downloads").iterdir()) == []
    server.content = right
    assert packed.verify(prepare_set(online, home)) == []


def test_a_part_longer_than_the_servers_file_is_thrown_away(online: DataSet, server: Server, home: Path) -> None:
    """When the server has nothing behind the part (416), keeping it would block every later try."""
    part = begun(home, server.content[:5000])
    server.content = server.content[:4000]
    with pytest.raises(DataError, match="cannot download"):
        prepare_set(online, home)
    assert not part.exists()
