"""What holds for a type of device."""

import ctypes
import subprocess
import sys

import pytest
import torch

from tinyablate.train import device as devices


def test_a_cpu_computes_on_one_thread() -> None:
    """Whatever was set before, a CPU trial gets one thread."""
    torch.set_num_threads(2)
    assert devices.settle("cpu") == torch.device("cpu")
    assert torch.get_num_threads() == 1


FAULTS = """
import resource, torch
from tinyablate.train import device
device.settle("cpu")
for repeat in range(12):
    if repeat == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(6_000_000) for _ in range(5)]
    del tensors
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""Prints the pages faulted in by making and dropping 120 MB ten times, after the first times asked for the memory."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_freed_memory_is_used_again() -> None:
    """What one update's tensors leave behind serves the next: of 293,000 pages nearly none is faulted in anew."""
    ran = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 30_000


def test_an_unknown_device_type_is_contiguous() -> None:
    """Channels last holds where it was weighed; elsewhere torch's own format."""
    assert devices.memory_format("cpu") == devices.memory_format("cuda") == torch.channels_last
    assert devices.memory_format("mps") == torch.contiguous_format
    assert not devices.fused_optimizer("mps")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_float32_on_a_gpu_is_float32() -> None:
    """No TF32, and the record names device and driver."""
    device = devices.settle("cuda")
    left, right = (torch.randn(256, 256, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    torch.testing.assert_close((left.to(device) @ right.to(device)).cpu(), left @ right, rtol=1e-4, atol=1e-4)
    environment = devices.environment(device, "digest")
    assert environment.device == torch.cuda.get_device_name(device)
    assert environment.driver
