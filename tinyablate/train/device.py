"""What holds for a type of device: threads, arithmetic, memory format, optimizer kernels; and what is recorded of it.

All of it is a written rule, never a timing at run time: a trial computes the same way wherever the type is the same.
"""

import ctypes
import importlib.metadata
import platform
import socket
from pathlib import Path

import timm
import torch

from tinyablate.job import Environment
from tinyablate.machine import processor_name

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD = -3, -1, -2
"""Parameters of glibc's `mallopt`, from <malloc.h>."""

_FORMATS = {torch.channels_last: "channels_last", torch.contiguous_format: "contiguous"}


def settle(name: str) -> torch.device:
    """The device called `name`, with this process prepared for it.

    CPU: one thread, so that sums are taken in one order at any concurrency. CUDA: float32 means float32, no TF32.
    """
    device = torch.device(name)
    if device.type == "cpu":
        torch.set_num_threads(1)
        _keep_freed_memory()
    else:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return device


def _keep_freed_memory() -> None:
    """Let glibc keep what tensors leave behind instead of mapping and faulting in fresh pages for every large one.

    One thread of an AMD EPYC trained `test_resnet` (batch 64) at 1,180 instead of 960 images/s at 64 px and at 3,060
    instead of 2,600 at 32 px. A C library without `mallopt` is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    if not mallopt(_MMAP_THRESHOLD, 1 << 30):
        mallopt(_MMAP_THRESHOLD, 1 << 25)  # the most that older versions take
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 1 << 26)


def memory_format(device_type: str) -> torch.memory_format:
    """How images and convolution weights lie in memory on this type of device: channels last on both known ones.

    CPU, measured on one thread of an AMD EPYC (torch 2.15, `test_resnet`, AdamW, images/s, contiguous -> channels
    last): 32 px 2,570 -> 3,170 at batch 64 and 2,400 -> 2,880 at 50; 64 px 840 -> 1,100 at 64 and 710 -> 1,020 at 50.
    The packed data are channels last already, so no batch is transposed. CUDA: what the convolutions of its tensor
    cores want in bf16.
    """
    return {"cpu": torch.channels_last, "cuda": torch.channels_last}.get(device_type, torch.contiguous_format)


def fused_optimizer(device_type: str) -> bool:
    """Whether torch's one-kernel optimizers are used: on CPU (AdamW of `test_resnet` 1.1 -> 0.4 ms) and CUDA."""
    return device_type in ("cpu", "cuda")


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given: a time that is taken before would leave some of it out."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def environment(device: torch.device, data_digest: str, *, compiled: bool = False) -> Environment:
    """Where and with what this process computes; `compiled` by torch.compile, which no type of device does unasked."""
    cuda = device.type == "cuda"
    return Environment(
        host=socket.gethostname(),
        device=torch.cuda.get_device_name(device) if cuda else processor_name(),
        driver=_driver() if cuda else "",
        python=platform.python_version(),
        torch=torch.__version__,
        torchvision=importlib.metadata.version("torchvision"),
        timm=timm.__version__,
        threads=torch.get_num_threads(),
        compiled=compiled,
        memory_format=_FORMATS[memory_format(device.type)],
        data_digest=data_digest,
    )


def _driver() -> str:
    """Version of NVIDIA's driver, or an empty string where the kernel does not show it."""
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return ""
