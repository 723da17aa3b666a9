"""What passes between the driver and the training core: jobs one way, events the other, all frozen, no torch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinyablate.recipe import Recipe


@dataclass(frozen=True)
class TrialTask:
    """One attempt at one trial inside a job."""

    key: str
    recipe: Recipe
    seed: int
    directory: Path
    """This attempt's own directory, made if it is gone; nothing outside it is ever written."""
    earlier: tuple[Path, ...] = ()
    """Directories of earlier attempts at the trial, newest first: their checkpoints may be continued. They are removed
    as soon as the present attempt has one of its own."""


@dataclass(frozen=True)
class Job:
    """Trials that are computed together, under one seed.

    Kind `train`: they differ only in what observers do (ema, evaluate) or, where only classifiers are trained, in what
    concerns those (see `identity.heads`). Kind `measure`: one trial, that has the device to itself.
    """

    id: str
    tasks: tuple[TrialTask, ...]
    data: Path
    """Folder of the prepared data set (the one that holds manifest.json)."""
    weights: Path | None = None
    """File of the pretrained weights, if the recipe wants them."""
    weights_digest: str = ""
    """Of that file; recorded, because a recipe names weights and not their bytes."""
    device: str = "cpu"
    kind: Literal["train", "measure"] = "train"
    micro_batch: int | None = None
    """Images per forward and backward pass; None is the whole batch. The gradient is that of the batch either way."""
    cache_features: bool = True
    """Compute a frozen trunk's features of the evaluated images once rather than in every epoch, where that is safe."""
    compile: bool = False
    """Pass the model through torch.compile: the same numbers but for rounding, recorded with the attempt."""
    core: str = ""
    """Core version and digest of the code: a checkpoint of another core is not continued."""
    checkpoint_minutes: float | None = None
    """Save between two updates, besides every epoch's end, when so many minutes have passed since the last save, by a
    monotonic clock of the learner's; None: never."""
    keep_weights: bool = False
    """Leave the last weights of each trial that is complete in its directory, as a file that the outcome names."""


@dataclass(frozen=True)
class EpochResult:
    """One observer's numbers after one epoch (counted from 1)."""

    observer: Literal["raw", "ema"]
    epoch: int
    lr: float
    """Learning rate of the epoch's last update."""
    train_loss: float
    """Mean loss over the epoch's updates, augmented and smoothed as trained."""
    val_loss: float
    """Mean cross-entropy over the validation set, without smoothing."""
    val_top1: float
    """Percent."""
    val_top5: float
    """Percent."""
    correct: bytes
    """A bit per validation image in the data set's order, most significant bit first: top-1 was right."""
    seconds: float | None
    """Wall time of the epoch's training and validation, of all parts if it was cut and continued, without pauses, saves
    and what a kill undid; None where a part of it was computed beside another trial."""
    images_per_second: float | None
    """Training images per second of that time, validation left out; None as above."""


@dataclass(frozen=True)
class FileDigest:
    """A file that an attempt left, relative to its directory."""

    kind: str
    """`weights`: a state dict of the whole model under timm's names, of an averaging observer its averages."""
    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Outcome:
    """What a trial came to."""

    state: Literal["complete", "diverged"]
    epochs: tuple[EpochResult, ...]
    """All epochs from the first, including those that earlier attempts computed."""
    metrics: tuple[tuple[str, float], ...]
    """Whatever else is known, by the name of its metric (`sweep.metrics`): parameters, macs, epoch_seconds, …"""
    diverged_epoch: int | None = None
    """Epoch in which the loss stopped being finite."""
    files: tuple[FileDigest, ...] = ()


@dataclass(frozen=True)
class Environment:
    """Where and with what an attempt computes; recorded, never part of the key."""

    host: str
    device: str
    driver: str
    python: str
    torch: str
    torchvision: str
    timm: str
    threads: int
    compiled: bool
    memory_format: str
    data_digest: str
    """Digest of the prepared data's source bytes, names and labels."""
    weights_digest: str = ""
    """Digest of the file of pretrained weights; empty without."""


@dataclass(frozen=True)
class Started:
    """The job is set up and trains from `epoch` (1 unless an earlier attempt's checkpoint is continued)."""

    epoch: int
    environment: Environment
    step: int = 0
    """Updates of that epoch that the checkpoint has done already."""


@dataclass(frozen=True)
class Progress:
    """A unit of work was done; emitted at least after every update, so that a driver can stop in between."""

    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_second: float


@dataclass(frozen=True)
class EpochDone:
    """An epoch of the trial `key` was trained, evaluated and checkpointed."""

    key: str
    result: EpochResult


@dataclass(frozen=True)
class Checkpointed:
    """All trials of the job could now be continued after update `step` of `epoch`; also sent after every epoch's end,
    then with the epoch's number of updates."""

    epoch: int
    step: int


@dataclass(frozen=True)
class Finished:
    """The trial `key` has its outcome."""

    key: str
    outcome: Outcome


@dataclass(frozen=True)
class Failed:
    """A trial broke, or the whole job: `cause` is one of `retries.CAUSES`."""

    cause: str
    message: str
    traceback: str
    key: str = ""
    """The trial that broke, the others going on; empty: the job, with all its trials that have not ended."""


Event = Started | Progress | EpochDone | Checkpointed | Finished | Failed

Due = Callable[[], bool]
"""Asked by a learner between two units of work: should it save now, so that it could be continued from here?"""

Learner = Callable[[Job, Due], Iterator[Event]]
"""What computes a job: a generator of events, that may be abandoned at any of them."""
