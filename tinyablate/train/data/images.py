"""Where the input pipeline gets its images: one small interface, two kinds of data set behind it."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tinyablate.train.augment.views import Views

Ids = npt.NDArray[np.int64]
Sides = npt.NDArray[np.int64]


class ImageSource(Protocol):
    """The images of one split, known by their numbers 0..N-1, and their labels."""

    device: torch.device
    labels: Tensor
    """int64 [N] on the device."""
    native: bool
    """Whether whole images, of one size, can be had: `take`."""

    def __len__(self) -> int:
        """N."""

    def sizes(self, ids: Ids) -> tuple[Sides, Sides]:
        """Heights and widths in pixels of the images `ids` [n]: int64 [n] each."""

    def take(self, ids: Ids) -> Tensor:
        """A copy of the whole images `ids` [n]: uint8 [n, H, W, 3] on the device. Only where `native`."""

    def show(self, requests: Iterable[tuple[Ids, Views]]) -> Iterator[Tensor]:
        """What each request's views [n] show of its images `ids` [n]: uint8 [n, S, S, 3] on the device, in order.

        Requests may be asked for some time before their answers. An iterator may be left where it stands. Raises
        DataError naming an image file that has gone or changed, WorkError when a process that decodes dies.
        """


@dataclass(frozen=True)
class Images:
    """A prepared data set on one device."""

    train: ImageSource
    val: ImageSource
    classes: int
    digest: str
    """Of the source files, names and labels."""


@functools.lru_cache(maxsize=2)
def load(folder: Path, device: torch.device) -> Images:
    """The data set prepared in `folder`, kept open (and on a GPU, perhaps in its memory) from job to job.

    Raises DataError, with the command that cures it, when the folder is absent or damaged.
    """
    from tinyablate.train.data import place, resident, stream

    opened = stream.open_images if place.layout_of(folder) == "folders" else resident.open_images
    return opened(folder, device)
