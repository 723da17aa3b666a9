"""Checkpoints of a trial in its attempt's own directory, after an epoch or between two of its updates.

A file holds what training changed, never the frozen part of a model; it is read without unpickling code.
"""

import pickle
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tinyablate import retention
from tinyablate.job import EpochResult, TrialTask
from tinyablate.train.writing import write

_FORMAT = 2
"""Version of the file's form; files of another are not continued."""
_NAME = re.compile(r"epoch-(\d+)(?:\+(\d+))?\.pt")
_DAMAGED = (
    OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError, AttributeError, pickle.PickleError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What reading a truncated, foreign or altered file raises."""


class Point(NamedTuple):
    """How far a training has come; a later point is a larger one."""

    epoch: int = 0
    """Whole epochs, their evaluation included."""
    step: int = 0
    """Updates of the epoch after them: all of them while that epoch is evaluated."""


START = Point()


@dataclass(frozen=True)
class Checkpoint:
    """A trial at a point of its training."""

    core: str
    """Core version and digest that computed it."""
    key: str
    """The trial's."""
    epoch: int
    """See `Point`."""
    step: int
    learner: dict[str, Any]
    """State of the learner: the same in the files of all trials that watch it."""
    losses: Tensor
    """float32 [step]: of the updates of the epoch under way."""
    seconds: float | None
    """What these took; None where they were not one trial's own."""
    observer: dict[str, Tensor]
    results: list[EpochResult]

    @property
    def point(self) -> Point:
        """Where the trial stood."""
        return Point(self.epoch, self.step)


def path(directory: Path, point: Point) -> Path:
    """Where the checkpoint of `point` lies in an attempt's directory: epoch-0003.pt, or epoch-0003+000120.pt."""
    step = f"+{point.step:06d}" if point.step else ""
    return directory / f"epoch-{point.epoch:04d}{step}.pt"


def save(directory: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` into `directory`, durable on return. Raises DiskFullError and OSError (see `writing`)."""
    results = [_plain(result) for result in checkpoint.results]
    write(path(directory, checkpoint.point), {**vars(checkpoint), "format": _FORMAT, "results": results})


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


def prune(task: TrialTask, point: Point) -> None:
    """Remove every checkpoint of the trial but that of `point` in its directory: earlier attempts' too."""
    for file in retention.checkpoints(task.directory):
        if file != path(task.directory, point):
            file.unlink(missing_ok=True)
    for directory in task.earlier:
        retention.drop(directory)


def newest_common(tasks: Sequence[TrialTask], core: str) -> list[Checkpoint] | None:
    """One checkpoint per task, all of the newest point that every task has whole and of this core, or None."""
    tried: set[Point] = set()
    # Looked up anew each time: the process of an attempt that is given up for lost may still put newer files there.
    while points := set.intersection(*({point for point, _ in _candidates(task)} for task in tasks)) - tried:
        point = max(points)
        tried.add(point)
        found = [checkpoint for task in tasks if (checkpoint := _whole(task, core, point)) is not None]
        if len(found) == len(tasks):
            return found
    return None


def _candidates(task: TrialTask) -> Iterator[tuple[Point, Path]]:
    """Point and file of whatever the attempts at a trial left, the present one first."""
    for directory in (task.directory, *task.earlier):
        for file in retention.checkpoints(directory):
            if found := _NAME.fullmatch(file.name):
                yield Point(int(found[1]), int(found[2] or 0)), file


def _whole(task: TrialTask, core: str, point: Point) -> Checkpoint | None:
    """The first undamaged checkpoint of this task, point and core."""
    read = (load(file) for found, file in _candidates(task) if found == point)
    wanted = (task.key, core, point)
    return next((each for each in read if each and (each.key, each.core, each.point) == wanted), None)


def _plain(result: EpochResult) -> dict[str, Any]:
    """The result as what torch reads without unpickling code: bytes become a tensor."""
    return {**asdict(result), "correct": torch.from_numpy(np.frombuffer(result.correct, np.uint8).copy())}


def _result(plain: dict[str, Any]) -> EpochResult:
    return EpochResult(**{**plain, "correct": plain["correct"].numpy().tobytes()})
