"""From host memory to the device that trains, so that the host never waits for it."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, device, from_numpy


def send(values: Tensor | NDArray[np.generic], to: device) -> Tensor:
    """`values` on the device `to`; on a CPU the same memory.

    Through pinned memory: of pageable memory CUDA says that a copy may wait for the stream.
    """
    tensor = values if isinstance(values, Tensor) else from_numpy(values)
    return tensor.pin_memory().to(to, non_blocking=True) if to.type == "cuda" else tensor.to(to)
