"""Checkpoint files: whole or not there, read without running code, the newest common point; what is kept of them."""

import os
import pickle
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tinyablate import retention
from tinyablate.errors import DiskFullError
from tinyablate.job import EpochResult, TrialTask
from tinyablate.recipe import Model, Recipe
from tinyablate.train import checkpoint
from tinyablate.train.checkpoint import Checkpoint, Point, newest_common

RECIPE = Recipe(model=Model(name="test_vit"))
RESULT = EpochResult("ema", 1, 0.1 + 0.2, 1 / 3, 2.5, 40.0, 90.0, bytes(range(250)), 1.25, None)


def saved(epoch: int = 3, key: str = "key", core: str = "core", step: int = 0) -> Checkpoint:
    """A small checkpoint."""
    tensors = {"w": torch.randn(50, 3), "n": torch.tensor(7)}
    state = {
        "state": {0: {"step": torch.tensor(4.0)}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0]}],
    }
    learner = {"tensors": tensors, "optimizer": state}
    return Checkpoint(core, key, epoch, step, learner, torch.rand(step), 1.5, {"w": torch.ones(2)}, [RESULT])


def point_of(file: Path) -> Checkpoint:
    """What is in a file that is whole."""
    found = checkpoint.load(file)
    assert found is not None
    return found


def names(directory: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(file.name for file in directory.iterdir())


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """This process may write no file that is larger: the disk is full for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def task(*directories: Path, key: str = "key") -> TrialTask:
    """An attempt in the first directory, with earlier ones in the others."""
    for directory in directories:
        directory.mkdir(exist_ok=True)
    return TrialTask(key, RECIPE, 0, directories[0], directories[1:])


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """Tensors, optimizer state and results return bit for bit, floats and bytes included."""
    first = saved(step=7)
    checkpoint.save(tmp_path, first)
    second = point_of(checkpoint.path(tmp_path, Point(3, 7)))
    assert torch.equal(second.learner["tensors"]["w"], first.learner["tensors"]["w"])
    assert second.learner["tensors"]["n"] == 7
    assert second.learner["optimizer"]["param_groups"] == first.learner["optimizer"]["param_groups"]
    assert torch.equal(second.losses, first.losses)
    assert second.results == first.results
    assert (second.core, second.key, second.point, second.seconds) == ("core", "key", (3, 7), 1.5)
    assert names(tmp_path) == ["epoch-0003+000007.pt"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "text", "foreign"])
def test_a_damaged_file_is_none(tmp_path: Path, damage: str) -> None:
    """Cut short, emptied, with one bit flipped, or something else altogether: such a file is no checkpoint."""
    checkpoint.save(tmp_path, saved())
    file = checkpoint.path(tmp_path, Point(3))
    content = bytearray(file.read_bytes())
    content[content.find(saved_bytes(file))] ^= 1
    contents = {"cut": content[: len(content) // 2], "empty": b"", "flipped": content, "text": b"hello"}
    file.write_bytes(contents.get(damage, b""))
    if damage == "foreign":
        torch.save({"weights": torch.ones(2)}, file)
    assert checkpoint.load(file) is None


def saved_bytes(file: Path) -> bytes:
    """The stored bytes of the checkpoint's first tensor."""
    return point_of(file).learner["tensors"]["w"].numpy().tobytes()


def test_a_file_never_runs_code(tmp_path: Path) -> None:
    """A pickle that would call a function is not read."""

    class Call:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    file = checkpoint.path(tmp_path, Point(1))
    torch.save({"format": 1, "core": Call()}, file)
    assert checkpoint.load(file) is None
    file.write_bytes(pickle.dumps(Call()))
    assert checkpoint.load(file) is None
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_is_gone_is_made_again(tmp_path: Path) -> None:
    """A late attempt's directory, which another driver has removed with all above it, comes back."""
    checkpoint.save(tmp_path / "trials" / "attempt", saved())
    assert names(tmp_path / "trials" / "attempt") == ["epoch-0003.pt"]


def test_a_failed_write_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    """If a checkpoint cannot be written, no part of it is left and the one before stays."""
    checkpoint.save(tmp_path, saved(1))
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(tmp_path, replace(saved(2), observer={"w": lambda: None}))  # type: ignore[dict-item]
    assert names(tmp_path) == ["epoch-0001.pt"]


@pytest.mark.parametrize("size", [0, 700, 300_000])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, size: int) -> None:
    """Wherever in the file the room ends: the error names file, bytes needed, bytes free; the old file is whole."""
    checkpoint.save(tmp_path, saved(1))
    large = replace(saved(2), observer={"w": torch.rand(100_000)})
    message = r"epoch-0002\.pt: no room for a file of 400,\d+ bytes, [\d,]+ bytes are free there: File too large"
    with files_up_to(size), pytest.raises(DiskFullError, match=message):
        checkpoint.save(tmp_path, large)
    assert names(tmp_path) == ["epoch-0001.pt"]
    assert point_of(checkpoint.path(tmp_path, Point(1))).point == (1, 0)


def test_prune_keeps_one_point_and_other_files(tmp_path: Path) -> None:
    """Older checkpoints and parts of unfinished ones go, earlier attempts' with their folders; other files stay."""
    attempt = task(tmp_path / "now", tmp_path / "before", tmp_path / "first", tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for directory in (tmp_path / "now", tmp_path / "before"):
        for step in (0, 5, 9):
            checkpoint.save(directory, saved(2, step=step))
        (directory / "epoch-0002+000010.pt.part").write_bytes(b"half")
        (directory / "weights.pt.part").write_bytes(b"half")
    (tmp_path / "now" / "log.txt").write_text("kept")
    checkpoint.prune(attempt, Point(2, 9))
    assert names(tmp_path / "now") == ["epoch-0002+000009.pt", "log.txt"]
    assert names(tmp_path) == ["now"]


def test_dropping_leaves_what_is_kept(tmp_path: Path) -> None:
    """Of a directory with kept weights the checkpoints go; without any the folder goes; again, nothing happens."""
    for name in ("kept", "plain"):
        checkpoint.save(tmp_path / name, saved())
        (tmp_path / name / "epoch-0009.pt.part").touch()
    (tmp_path / "kept" / retention.WEIGHTS).write_bytes(b"weights")
    for _ in range(2):
        for name in ("kept", "plain", "never"):
            retention.drop(tmp_path / name)
        assert names(tmp_path) == ["kept"]
        assert names(tmp_path / "kept") == ["weights.pt"]


def test_the_newest_point_that_all_trials_have_is_found(tmp_path: Path) -> None:
    """One trial has epoch 2 and six and nine updates more, the other less, in two attempts: six updates of both."""
    first = task(tmp_path / "a", key="a")
    second = task(tmp_path / "c", tmp_path / "b1", tmp_path / "b2", key="b")
    for step in (0, 6, 9):
        checkpoint.save(tmp_path / "a", saved(2, "a", step=step))
    checkpoint.save(tmp_path / "b1", saved(2, "b"))
    checkpoint.save(tmp_path / "b2", saved(2, "b", step=6))
    found = newest_common([first, second], "core")
    assert found is not None
    assert [(one.key, one.point) for one in found] == [("a", (2, 6)), ("b", (2, 6))]


def test_an_epochs_end_is_newer_than_its_updates(tmp_path: Path) -> None:
    """The end of epoch 3, evaluated, comes after any number of its updates, and before the first of epoch 4."""
    for epoch, step in ((2, 10_000_000), (3, 0), (2, 9)):
        checkpoint.save(tmp_path, saved(epoch, step=step))
    found = newest_common([task(tmp_path)], "core")
    assert found is not None
    assert found[0].point == (3, 0)
    checkpoint.save(tmp_path, saved(3, step=1))
    found = newest_common([task(tmp_path)], "core")
    assert found is not None
    assert found[0].point == (3, 1)


def test_a_damaged_file_gives_way_to_an_older_point_or_another_attempt(tmp_path: Path) -> None:
    """The newest whole checkpoint counts, wherever it lies."""
    attempt = task(tmp_path / "new", tmp_path / "old")
    for directory, step in (("old", 0), ("old", 4), ("new", 4)):
        checkpoint.save(tmp_path / directory, saved(1, step=step))
    checkpoint.path(tmp_path / "new", Point(1, 4)).write_bytes(b"")
    found = newest_common([attempt], "core")
    assert found is not None
    assert found[0].point == (1, 4)
    checkpoint.path(tmp_path / "old", Point(1, 4)).write_bytes(b"")
    found = newest_common([attempt], "core")
    assert found is not None
    assert found[0].point == (1, 0)


def test_a_file_of_another_core_trial_or_point_does_not_count(tmp_path: Path) -> None:
    """What a file says of itself must be what is looked for, whatever its name; an older one is taken then."""
    attempt = task(tmp_path / "a")
    for wrong in (saved(core="other"), saved(key="other"), saved(epoch=4), saved(step=2)):
        shutil.rmtree(tmp_path / "a")
        checkpoint.save(tmp_path / "a", wrong)
        checkpoint.path(tmp_path / "a", wrong.point).rename(checkpoint.path(tmp_path / "a", Point(3)))
        assert newest_common([attempt], "core") is None
        checkpoint.save(tmp_path / "a", saved(1))
        found = newest_common([attempt], "core")
        assert found is not None
        assert found[0].point == (1, 0)


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    """A first attempt, or one whose earlier directories are gone, starts at the beginning."""
    attempt = task(tmp_path / "a")
    assert newest_common([attempt], "core") is None
    assert newest_common([replace(attempt, earlier=(tmp_path / "gone",))], "core") is None
