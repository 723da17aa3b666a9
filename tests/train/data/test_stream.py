"""Streamed images: PIL's pixels in order, from processes that persist, end with this one and never leave it waiting."""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import tinyablate
from tinyablate.datasets import DataSet
from tinyablate.errors import DataError, UsageError, WorkError
from tinyablate.prepare import prepare
from tinyablate.recipe import build
from tinyablate.train.augment.views import Views, render_one
from tinyablate.train.batches import TrainBatches
from tinyablate.train.data import images, stream
from tinyablate.train.data.decode import pixels
from tinyablate.train.data.images import Images, ImageSource
from tinyablate.train.data.scan_folders import scan
from tinyablate.train.inputs import Inputs
from tinyablate.train.rates import of_training

CPU = torch.device("cpu")
SIZE = 20
Request = tuple[images.Ids, Views]


def crops(source: ImageSource, ids: images.Ids, seed: int = 0, size: int = SIZE) -> Request:
    """Random crops of the images, scaled and flipped: a request."""
    random = np.random.RandomState(seed)
    heights, widths = source.sizes(ids)
    tall, wide = random.randint(8, heights + 1), random.randint(8, widths + 1)
    full = np.full(len(ids), size, np.int64)
    return ids, Views(
        top=random.randint(0, heights - tall + 1),
        left=random.randint(0, widths - wide + 1),
        height=tall,
        width=wide,
        scaled_height=full,
        scaled_width=full + 3,
        row=full * 0,
        column=random.randint(-2, 5, len(ids)),
        flip=random.rand(len(ids)) < 0.5,
        bilinear=random.rand(len(ids)) < 0.5,
        size=size,
    )


def requests(source: ImageSource, batch: int, rounds: int = 2) -> Iterator[Request]:
    """Every image, in a random order, `rounds` times."""
    for number in range(rounds):
        order = np.random.RandomState(number).permutation(len(source)).astype(np.int64)
        for start in range(0, len(order), batch):
            yield crops(source, order[start : start + batch], number * 1000 + start)


def expected(paths: list[Path], request: Request, step: int = 1) -> NDArray[np.uint8]:
    """What PIL's pixels give, one image (in `step`) after the other."""
    ids, views = request
    return np.stack([render_one(pixels(paths[ids[k]].read_bytes()), views, k) for k in range(0, len(ids), step)])


@pytest.fixture(autouse=True)
def two_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes decode, unless a test wants others."""
    monkeypatch.setenv(stream.VARIABLE, "2")


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    """Ends the processes after the last test here."""
    yield
    stream.stop_decoders()


@pytest.fixture
def data(photos_home: Path) -> Images:
    """The registered photos."""
    return images.load(photos_home / "pets", CPU)


@pytest.fixture
def paths(photos: Path) -> list[Path]:
    """Files of the training images, by number."""
    return [photos / path for path, _ in scan(photos, DataSet("pets", "", 0, layout="folders")).train]


@pytest.fixture
def damaged(root: Path, home: Path) -> tuple[Images, Path]:
    """A registered copy of the photos to damage, and its folder."""
    return images.load(prepare("pets", home, root), CPU), root


def running() -> stream.Decoders:
    """The processes that decode now."""
    assert stream._running is not None
    return stream._running


@pytest.mark.parametrize(("count", "batch"), [("1", 5), ("2", 5), ("2", 24), ("3", 1)])
def test_what_is_shown_is_what_pil_gives(
    count: str, batch: int, data: Images, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every mode and format, every batch in its order, whatever batch size and number of processes."""
    monkeypatch.setenv(stream.VARIABLE, count)
    wanted = list(requests(data.train, batch))
    shown = list(data.train.show(iter(wanted)))
    assert len(running().processes) == int(count)
    assert len(shown) == len(wanted) > 1
    for tensor, request in zip(shown, wanted, strict=True):
        assert (tensor.dtype, tensor.device) == (torch.uint8, CPU)
        assert np.array_equal(tensor.numpy(), expected(paths, request))


def test_labels_and_sizes_are_those_of_the_files(data: Images, paths: list[Path]) -> None:
    """Label i belongs to the class folder of image i; sides are PIL's. Whole images cannot be taken."""
    assert (len(data.train), len(data.val), data.classes) == (24, 6, 3)
    assert data.train.labels.tolist() == [("cat", "dog", "owl").index(path.parent.name) for path in paths]
    ids = np.array([5, 23, 0, 5])
    heights, widths = data.train.sizes(ids)
    assert (heights.dtype, widths.dtype) == (np.int64, np.int64)
    assert list(zip(heights, widths, strict=True)) == [pixels(paths[i].read_bytes()).shape[:2] for i in ids]
    assert not data.train.native
    with pytest.raises(TypeError, match="differ in size"):
        data.train.take(ids)


def test_repeated_images_are_shown_anew(data: Images, paths: list[Path]) -> None:
    """An image that stands several times in a row has a view of its own each time."""
    request = crops(data.train, np.repeat(np.arange(6), 3))
    (shown,) = data.train.show([request])
    assert np.array_equal(shown.numpy(), expected(paths, request))
    assert not np.array_equal(shown[0].numpy(), shown[1].numpy())


def test_requests_are_pulled_ahead_but_not_far(data: Images) -> None:
    """While the caller has one batch, the next two are being decoded, and no more."""
    pulled = 0

    def counted() -> Iterator[Request]:
        nonlocal pulled
        for request in requests(data.train, 2):
            pulled += 1
            yield request

    shown = data.train.show(counted())
    next(shown)
    assert pulled == 1 + stream.AHEAD
    next(shown)
    assert pulled == 2 + stream.AHEAD
    assert len(list(shown)) == 22


def test_processes_stay_and_know_no_torch(data: Images) -> None:
    """Epochs and splits share the processes; they have mapped numpy's library, never torch's."""
    for source in (data.train, data.val, data.train):
        list(source.show(requests(source, 4)))
        pids = [process.pid for process in running().processes]
        assert running().alive
        if source is data.train:
            first = pids
        assert pids == first
    for pid in first:
        libraries = Path(f"/proc/{pid}/maps").read_text()
        assert "numpy" in libraries
        assert "torch" not in libraries


def test_abandoned_iterators_leave_nothing(data: Images, paths: list[Path]) -> None:
    """Training that stops in the middle of epochs costs neither processes nor descriptors nor memory."""
    list(data.train.show(requests(data.train, 8)))
    pool = running()

    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        shown = data.train.show(requests(data.train, 8))
        next(shown)
        del shown
    assert running() is pool
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert os.fstat(pool._arena.file).st_size <= 10 * 12_288  # three pages a batch, however many were abandoned
    request = crops(data.train, np.arange(24))
    (after,) = data.train.show([request])
    assert np.array_equal(after.numpy(), expected(paths, request))
    assert list(pool._tickets) == []


def test_two_iterators_at_once(data: Images, paths: list[Path]) -> None:
    """An evaluation in the middle of an epoch disturbs neither."""
    wanted = list(requests(data.train, 8))
    outer = data.train.show(iter(wanted))
    for request in wanted:
        inner = list(data.val.show(requests(data.val, 3, rounds=1)))
        assert len(inner) == 2
        assert np.array_equal(next(outer).numpy(), expected(paths, request))


def test_more_work_than_a_pipe_holds(data: Images, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pipe of one page the pieces of three batches of 2,000 images are handed out as they are done."""
    monkeypatch.setenv(stream.VARIABLE, "1")
    fcntl.fcntl(stream.decoders(1)._work, fcntl.F_SETPIPE_SZ, 4096)
    wanted = [crops(data.train, np.repeat(np.arange(24), 83), seed, size=4) for seed in range(3)]
    for shown, request in zip(data.train.show(wanted), wanted, strict=True):
        assert np.array_equal(shown[::200].numpy(), expected(paths, request, 200))


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def repaint(path: Path) -> None:
    """Another image of the same size in its place."""
    with Image.open(path) as image:
        Image.new("RGB", image.size, (9, 9, 9)).save(path, "JPEG")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "No such file or directory"),
        (repaint, "has changed since it was registered"),
        (lambda path: os.truncate(path, 0), "has changed since it was registered"),
    ],
    ids=["deleted", "changed", "emptied"],
)
def test_a_file_that_has_gone_or_changed_is_named(
    damage: Callable[[Path], None], message: str, damaged: tuple[Images, Path]
) -> None:
    """The batch with it is one error that names it and the next command; other batches go on."""
    source, root = damaged[0].train, damaged[1]
    damage(root / "train/dog/dog_1.JPEG")  # image 9
    shown = source.show([crops(source, np.arange(0, 8)), crops(source, np.arange(8, 16))])
    assert len(next(shown)) == 8
    with pytest.raises(DataError) as caught:
        next(shown)
    assert str(caught.value) == f"{root}/train/dog/dog_1.JPEG: {message}; see: tinyablate data verify pets"
    assert len(list(source.show([crops(source, np.arange(16, 24))]))) == 1


def test_32_bit_values_are_refused(damaged: tuple[Images, Path], home: Path) -> None:
    """Also where they were registered, as a version before this rule did: they are not shown as what they are not."""
    path, index = damaged[1] / "train/dog/dog_1.JPEG", home / "pets" / "index.npz"  # image 9
    Image.new("I", (30, 30), 70_000).save(path, "TIFF")
    with np.load(index) as arrays:
        changed = dict(arrays)
    changed["train_sha256"][9] = np.frombuffer(hashlib.sha256(path.read_bytes()).digest(), np.uint8)
    index.unlink()
    np.savez(index, **changed)
    source = images.load(shutil.copytree(home / "pets", home / "again"), CPU).train
    with pytest.raises(DataError) as caught:
        list(source.show([crops(source, np.arange(8, 16))]))
    unchanged = (
        "cannot be decoded, though it is as it was registered: holds 32-bit values; save it with 8 bits a channel"
    )
    command = f"replace or remove it, then run: tinyablate data prepare pets --from {damaged[1]}"
    assert str(caught.value) == f"{path}: {unchanged}; {command}"


def test_a_killed_process_is_an_error_and_is_replaced(data: Images) -> None:
    """When the kernel kills a process, the caller gets an error at once; the next epoch starts new ones."""
    shown = data.train.show(requests(data.train, 2, rounds=200))
    next(shown)
    os.kill(running().processes[0].pid, signal.SIGKILL)
    with pytest.raises(WorkError, match=r"a process that decodes images died \(exit code -9\); was it killed"):
        list(shown)
    assert len(list(data.train.show(requests(data.train, 8)))) == 6


PARENT = """
import os, sys, time
from pathlib import Path
import numpy as np
import torch
sys.path[:0] = [sys.argv[2]]
from test_stream import requests, stream, images, CPU
data = images.load(Path(sys.argv[1]), CPU)
print(*[process.pid for process in stream.decoders(2).processes], flush=True)
for _ in data.train.show(requests(data.train, 2, rounds=100000)):
    if sys.argv[3] == "leave":
        sys.exit()
"""


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


def parent(folder: Path, end: signal.Signals | None) -> subprocess.Popen[str]:
    """Starts PARENT, which leaves by itself if no signal is to end it."""
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder), str(Path(__file__).parent), "" if end else "leave"],
        env={**os.environ, "PYTHONPATH": str(Path(tinyablate.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_processes_end_with_their_parent(photos_home: Path) -> None:
    """However it ends: killed, by Ctrl-C to the whole terminal, or by itself in the middle of an epoch."""
    ends = (signal.SIGKILL, signal.SIGINT, None)
    parents = [parent(photos_home / "pets", end) for end in ends]
    try:
        for end, started in zip(ends, parents, strict=True):
            assert started.stdout is not None
            pids = [int(pid) for pid in started.stdout.readline().split()]
            if end is not None:
                os.killpg(started.pid, end) if end == signal.SIGINT else started.kill()
            _, errors = started.communicate(timeout=60)
            assert len(pids) == 2, end
            assert all(gone(pid) for pid in pids), end
            assert errors.count("Traceback") == (end == signal.SIGINT), errors  # the parent's own KeyboardInterrupt
            assert errors.count("KeyboardInterrupt") == (end == signal.SIGINT), errors
    finally:
        for started in parents:
            started.kill()


def test_the_number_of_processes_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One on a CPU, where every core has a trial; TINYABLATE_DECODERS says otherwise, or is refused."""
    assert stream.decoders_for(CPU) == 2
    monkeypatch.setenv(stream.VARIABLE, "")
    assert stream.decoders_for(CPU) == 1
    assert 1 <= stream.decoders_for(torch.device("cuda")) <= 16
    for text in ("0", "-1", "two", "1.5", "²", "100000"):
        monkeypatch.setenv(stream.VARIABLE, text)
        with pytest.raises(UsageError, match=f"TINYABLATE_DECODERS={text}: must be a whole number from 1 to 1024"):
            stream.decoders_for(CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gets_the_same_images(photos_home: Path, data: Images) -> None:
    """Pinned and copied asynchronously, in order."""
    there = images.load(photos_home / "pets", torch.device("cuda"))
    for mine, theirs in zip(
        data.train.show(requests(data.train, 5)), there.train.show(requests(there.train, 5)), strict=True
    ):
        assert theirs.device.type == "cuda"
        assert torch.equal(mine, theirs.cpu())


def test_a_training_decodes_nothing_to_record_its_rates(data: Images) -> None:
    """What a policy changes is not known of streamed images, unless there is none; mixing and erasing are."""
    for policy, known in (("none", True), ("torchvision-randaugment-n2-m9", False)):
        recipe = build({"model.name": "m", "batch.size": 8, "mix.mixup_alpha": 0.8, "augment.policy": policy})
        inputs = Inputs(SIZE, (0.5,) * 3, (0.5,) * 3, CPU)
        batches = TrainBatches(recipe, data.train, inputs, classes=3, seed=0)
        metrics = of_training(recipe, batches, data.train, SIZE, 0).metrics()
        assert metrics["mixup_share"] == 1
        assert ("changed_share" in metrics) == known


def test_steps_that_were_made_are_not_decoded(data: Images) -> None:
    """From step 3 on an epoch shows what it shows from there in any case, and asks for nothing before."""
    asked: list[int] = []

    class Counted:
        native, device, labels, sizes = False, data.train.device, data.train.labels, data.train.sizes

        def show(self, requests: Iterator[Request]) -> Iterator[torch.Tensor]:
            def counted() -> Iterator[Request]:
                for ids, views in requests:
                    asked.extend(ids.tolist())
                    yield ids, views

            return data.train.show(counted())

    recipe = build({"model.name": "m", "batch.size": 4, "mix.mixup_alpha": 0.8, "augment.repeats": 2})
    batches = TrainBatches(recipe, Counted(), Inputs(SIZE, (0.5,) * 3, (0.5,) * 3, CPU), classes=3, seed=0)  # type: ignore[arg-type]
    whole = list(batches.epoch(1))
    everything, rest = len(asked), list(batches.epoch(1, 4))
    assert (len(whole), len(rest)) == (6, 2)
    assert len(asked) - everything == 2 * 4
    for ours, theirs in zip(rest, whole[4:], strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.targets(0.1), theirs.targets(0.1))
