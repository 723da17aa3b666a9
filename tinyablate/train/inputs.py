"""What the model of a job wants to see: size, normalisation, memory format. It crops nothing."""

import torch
from torch import Tensor

from tinyablate.train import device as devices

Channels = tuple[float, ...]
"""One value per colour channel, of pixel values in 0..1."""

_STATISTICS: dict[str, tuple[Channels, Channels]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation by their name in the recipe."""

_TILE = 1 << 16
"""Values per pass on a CPU: 256 kB of float32, so that a pass reads what the one before it left in the L2 cache."""


def channel_statistics(name: str, own: tuple[Channels, Channels]) -> tuple[Channels, Channels]:
    """Mean and standard deviation that `data.normalize` names; the model's `own` for `model`."""
    return own if name == "model" else _STATISTICS[name]


class Inputs:
    """Normalises images of the model's input size."""

    def __init__(self, size: int, mean: Channels, std: Channels, device: torch.device, crop_pct: float = 1.0) -> None:
        """`size` is height and width in pixels, `crop_pct` what the model's own evaluation takes of an image's side."""
        self.size, self.mean, self.crop_pct = size, mean, crop_pct
        self._format = devices.memory_format(device.type)
        spread, middle = (torch.tensor(values, dtype=torch.float64) for values in (std, mean))
        # One value per channel of every pixel of a row: an inner loop over a whole row, not over three values.
        self._scale = (1 / (255 * spread)).repeat(size).to(device, torch.float32)
        self._shift = (-middle / spread).repeat(size).to(device, torch.float32)

    def __call__(self, images: Tensor) -> Tensor:
        """float32 [n, 3, S, S], (x / 255 - mean) / std, of uint8 [n, S, S, 3]."""
        rows = images.view(len(images) * self.size, -1)
        normal = torch.empty(rows.shape, dtype=torch.float32, device=images.device)
        tile = len(rows) if images.is_cuda else max(_TILE // rows.shape[1], 1)
        for first in range(0, len(rows), tile or 1):
            part = normal[first : first + tile].copy_(rows[first : first + tile])
            torch.addcmul(self._shift, part, self._scale, out=part)
        return normal.view(images.shape).permute(0, 3, 1, 2).contiguous(memory_format=self._format)
