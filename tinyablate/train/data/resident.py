"""Images of a packed data set: mapped from the file on a CPU, held in device memory on a GPU when they fit."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tinyablate.train.augment import geometry
from tinyablate.train.augment.views import Views
from tinyablate.train.data.images import Ids, Images, Sides
from tinyablate.train.data.packed import Packed, open_packed
from tinyablate.train.transfer import send

Where = Literal["file", "device", "host"]

SHARE = 1 / 4
"""Most of the free device memory that a data set may take: the rest is for the model, and for other trials' copies."""
CHUNK = 1 << 26
"""Bytes per copy to the device: no second whole data set in host memory."""


class PackedImages:
    """Images of one size, taken by number. An ImageSource."""

    native = True

    def __init__(
        self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], device: torch.device, where: Where
    ) -> None:
        self.device = device
        self.where = where
        """`file`: the memory map, shared with other processes; `device`: that GPU's memory; `host`: gathered from the
        map into pinned memory, batch by batch, and copied from there."""
        self.labels = torch.from_numpy(np.array(labels)).to(device)
        self._mapped = images
        self._held = _copied(images, device) if where == "device" else None

    def __len__(self) -> int:
        return len(self._mapped)

    def sizes(self, ids: Ids) -> tuple[Sides, Sides]:
        """As ImageSource."""
        height, width = self._mapped.shape[1:3]
        return np.full(len(ids), height, np.int64), np.full(len(ids), width, np.int64)

    def take(self, ids: Ids) -> Tensor:
        """As ImageSource."""
        if self._held is not None:
            return self._held[send(ids, self.device)]
        if self.where == "file":
            return torch.from_numpy(np.asarray(self._mapped[ids]))
        pinned = torch.empty((len(ids), *self._mapped.shape[1:]), dtype=torch.uint8, pin_memory=True)
        np.take(self._mapped, ids, axis=0, out=pinned.numpy(), mode="clip")  # "raise" would go through a buffer
        return pinned.to(self.device, non_blocking=True)

    def show(self, requests: Iterable[tuple[Ids, Views]]) -> Iterator[Tensor]:
        """As ImageSource."""
        for ids, views in requests:
            yield geometry.render(self.take(ids), views)


def open_images(folder: Path, device: torch.device) -> Images:
    """The packed data set in `folder`. Raises DataError."""
    packed = open_packed(folder)
    where = choose(packed, device)
    return Images(
        PackedImages(packed.train, packed.train_labels, device, where),
        PackedImages(packed.val, packed.val_labels, device, where),
        len(packed.manifest.classes),
        packed.manifest.digest,
    )


def choose(packed: Packed, device: torch.device) -> Where:
    """Where the images are taken from on this device, with the memory that it has free now."""
    if device.type == "cpu":
        return "file"
    if device.type != "cuda":
        return "device"
    free, _ = torch.cuda.mem_get_info(device)
    return "device" if packed.train.nbytes + packed.val.nbytes <= free * SHARE else "host"


def _copied(images: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """The images on the device."""
    held = torch.empty(images.shape, dtype=torch.uint8, device=device)
    step = max(1, CHUNK // max(images[:1].nbytes, 1))
    for first in range(0, len(images), step):
        held[first : first + step] = torch.from_numpy(np.array(images[first : first + step]))
    return held
