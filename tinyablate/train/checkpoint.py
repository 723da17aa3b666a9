"""Epoch checkpoints of a trial in its attempt's own directory: written aside, made durable, then renamed.

A file holds what training changed, never the frozen part of a model; it is read without unpickling code.
"""

import contextlib
import os
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyablate.job import EpochResult, TrialTask
from tinyablate.train.durable import sync

_FORMAT = 1
"""Version of the file's form; files of another are not continued."""
_PATTERN = "epoch-*.pt"
_ASIDE = "epoch-*.pt.part"
_DAMAGED = (
    OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError, AttributeError, pickle.PickleError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What reading a truncated, foreign or altered file raises."""


@dataclass(frozen=True)
class Checkpoint:
    """A trial after an epoch."""

    core: str
    """Core version and digest that computed it."""
    key: str
    """The trial's."""
    epoch: int
    learner: dict[str, Any]
    """State of the learner: the same in the files of all trials of a job."""
    observer: dict[str, Tensor]
    results: list[EpochResult]


def path(directory: Path, epoch: int) -> Path:
    """Where the checkpoint of `epoch` lies in an attempt's directory."""
    return directory / f"epoch-{epoch:04d}.pt"


def save(directory: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` into `directory`, durable on return. Raises OSError, also where the directory is gone."""
    target = path(directory, checkpoint.epoch)
    aside = target.with_name(target.name + ".part")
    content = {**vars(checkpoint), "format": _FORMAT, "results": [_plain(result) for result in checkpoint.results]}
    try:
        with aside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    sync(directory)


def load(file: Path) -> Checkpoint | None:
    """The checkpoint in `file`; None where it is damaged or of another form."""
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:  # torch itself reads past a wrong checksum
                return None
        content = torch.load(file, map_location="cpu", weights_only=True)
        if content.pop("format") != _FORMAT:
            return None
        return Checkpoint(**{**content, "results": [_result(plain) for plain in content["results"]]})
    except _DAMAGED:
        return None


def prune(directory: Path, epoch: int) -> None:
    """Remove what lies in `directory` but the checkpoint of `epoch`."""
    for pattern in (_PATTERN, _ASIDE):
        for file in directory.glob(pattern):
            if file != path(directory, epoch):
                file.unlink(missing_ok=True)


def newest_common(tasks: Sequence[TrialTask], core: str) -> list[Checkpoint] | None:
    """One checkpoint per task, all of the newest epoch that every task has whole and of this core, or None."""
    epochs = set.intersection(*({epoch for epoch, _ in _candidates(task)} for task in tasks))
    for epoch in sorted(epochs, reverse=True):
        found = [checkpoint for task in tasks if (checkpoint := _whole(task, core, epoch)) is not None]
        if len(found) == len(tasks):
            return found
    return None


def _candidates(task: TrialTask) -> Iterator[tuple[int, Path]]:
    """Epoch and file of whatever the attempts at a trial left, the present one first."""
    for directory in (task.directory, *task.earlier):
        for file in sorted(directory.glob(_PATTERN)):
            number = file.stem.removeprefix("epoch-")
            if number.isdecimal():
                yield int(number), file


def _whole(task: TrialTask, core: str, epoch: int) -> Checkpoint | None:
    """The first undamaged checkpoint of this task, epoch and core."""
    read = (load(file) for number, file in _candidates(task) if number == epoch)
    wanted = (task.key, core, epoch)
    return next((found for found in read if found and (found.key, found.core, found.epoch) == wanted), None)


def _plain(result: EpochResult) -> dict[str, Any]:
    """The result as what torch reads without unpickling code: bytes become a tensor."""
    return {**asdict(result), "correct": torch.from_numpy(np.frombuffer(result.correct, np.uint8).copy())}


def _result(plain: dict[str, Any]) -> EpochResult:
    return EpochResult(**{**plain, "correct": plain["correct"].numpy().tobytes()})
