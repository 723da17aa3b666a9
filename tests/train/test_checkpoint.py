"""Checkpoint files: whole or not there, read without running code, the newest common epoch."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tinyablate.job import EpochResult, TrialTask
from tinyablate.recipe import Model, Recipe
from tinyablate.train import checkpoint
from tinyablate.train.checkpoint import Checkpoint, newest_common

RECIPE = Recipe(model=Model(name="test_vit"))
RESULT = EpochResult("ema", 1, 0.1 + 0.2, 1 / 3, 2.5, 40.0, 90.0, bytes(range(250)), 1.25, None)


def saved(epoch: int = 3, key: str = "key", core: str = "core") -> Checkpoint:
    """A small checkpoint."""
    tensors = {"w": torch.randn(50, 3), "n": torch.tensor(7)}
    state = {
        "state": {0: {"step": torch.tensor(4.0)}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0]}],
    }
    return Checkpoint(core, key, epoch, {"tensors": tensors, "optimizer": state}, {"w": torch.ones(2)}, [RESULT])


def task(*directories: Path, key: str = "key") -> TrialTask:
    """An attempt in the first directory, with earlier ones in the others."""
    for directory in directories:
        directory.mkdir(exist_ok=True)
    return TrialTask(key, RECIPE, 0, directories[0], directories[1:])


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """Tensors, optimizer state and results return bit for bit, floats and bytes included."""
    first = saved()
    checkpoint.save(tmp_path, first)
    second = checkpoint.load(checkpoint.path(tmp_path, 3))
    assert second is not None
    assert torch.equal(second.learner["tensors"]["w"], first.learner["tensors"]["w"])
    assert second.learner["tensors"]["n"] == 7
    assert second.learner["optimizer"]["param_groups"] == first.learner["optimizer"]["param_groups"]
    assert second.results == first.results
    assert (second.core, second.key, second.epoch) == ("core", "key", 3)
    assert [file.name for file in tmp_path.iterdir()] == ["epoch-0003.pt"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "text", "foreign"])
def test_a_damaged_file_is_none(tmp_path: Path, damage: str) -> None:
    """Cut short, emptied, with one bit flipped, or something else altogether: such a file is no checkpoint."""
    checkpoint.save(tmp_path, saved())
    file = checkpoint.path(tmp_path, 3)
    content = bytearray(file.read_bytes())
    content[content.find(saved_bytes(file))] ^= 1
    contents = {"cut": content[: len(content) // 2], "empty": b"", "flipped": content, "text": b"hello"}
    file.write_bytes(contents.get(damage, b""))
    if damage == "foreign":
        torch.save({"weights": torch.ones(2)}, file)
    assert checkpoint.load(file) is None


def saved_bytes(file: Path) -> bytes:
    """The stored bytes of the checkpoint's first tensor."""
    found = checkpoint.load(file)
    assert found is not None
    return found.learner["tensors"]["w"].numpy().tobytes()


def test_a_file_never_runs_code(tmp_path: Path) -> None:
    """A pickle that would call a function is not read."""

    class Call:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    file = checkpoint.path(tmp_path, 1)
    torch.save({"format": 1, "core": Call()}, file)
    assert checkpoint.load(file) is None
    file.write_bytes(pickle.dumps(Call()))
    assert checkpoint.load(file) is None
    assert not (tmp_path / "ran").exists()


def test_nothing_is_written_where_the_directory_is_gone(tmp_path: Path) -> None:
    """Saving into a directory that vanished raises and does not bring it back."""
    with pytest.raises(FileNotFoundError):
        checkpoint.save(tmp_path / "gone", saved())
    assert not (tmp_path / "gone").exists()


def test_a_failed_write_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    """If a checkpoint cannot be written, no part of it is left and the one before stays."""
    checkpoint.save(tmp_path, saved(1))
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(tmp_path, replace(saved(2), observer={"w": lambda: None}))  # type: ignore[dict-item]
    assert [file.name for file in tmp_path.iterdir()] == ["epoch-0001.pt"]


def test_prune_keeps_one_epoch_and_other_files(tmp_path: Path) -> None:
    """Older checkpoints and parts of unfinished ones go; files that are no checkpoints stay."""
    for epoch in (1, 2, 3):
        checkpoint.save(tmp_path, saved(epoch))
    (tmp_path / "epoch-0004.pt.part").write_bytes(b"half")
    (tmp_path / "log.txt").write_text("kept")
    checkpoint.prune(tmp_path, 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epoch-0003.pt", "log.txt"]


def test_the_newest_epoch_that_all_trials_have_is_found(tmp_path: Path) -> None:
    """One trial has epochs 1 to 3, the other 1 and 2 in two attempts: epoch 2 of both."""
    first = task(tmp_path / "a", key="a")
    second = task(tmp_path / "c", tmp_path / "b1", tmp_path / "b2", key="b")
    for epoch in (1, 2, 3):
        checkpoint.save(tmp_path / "a", saved(epoch, "a"))
    checkpoint.save(tmp_path / "b1", saved(1, "b"))
    checkpoint.save(tmp_path / "b2", saved(2, "b"))
    found = newest_common([first, second], "core")
    assert found is not None
    assert [(one.key, one.epoch) for one in found] == [("a", 2), ("b", 2)]


def test_a_damaged_file_gives_way_to_an_older_epoch_or_another_attempt(tmp_path: Path) -> None:
    """The newest whole checkpoint counts, wherever it lies."""
    attempt = task(tmp_path / "new", tmp_path / "old")
    for directory, epoch in (("old", 1), ("old", 2), ("new", 2)):
        checkpoint.save(tmp_path / directory, saved(epoch))
    checkpoint.path(tmp_path / "new", 2).write_bytes(b"")
    found = newest_common([attempt], "core")
    assert found is not None
    assert found[0].epoch == 2
    checkpoint.path(tmp_path / "old", 2).write_bytes(b"")
    found = newest_common([attempt], "core")
    assert found is not None
    assert found[0].epoch == 1


def test_a_file_of_another_core_trial_or_epoch_does_not_count(tmp_path: Path) -> None:
    """What a file says of itself must be what is looked for, whatever its name."""
    attempt = task(tmp_path / "a")
    for wrong in (saved(core="other"), saved(key="other"), replace(saved(), epoch=4)):
        checkpoint.save(tmp_path / "a", wrong)
        checkpoint.path(tmp_path / "a", wrong.epoch).rename(checkpoint.path(tmp_path / "a", 3))
        assert newest_common([attempt], "core") is None


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    """A first attempt, or one whose earlier directories are gone, starts at the beginning."""
    attempt = task(tmp_path / "a")
    assert newest_common([attempt], "core") is None
    assert newest_common([replace(attempt, earlier=(tmp_path / "gone",))], "core") is None
