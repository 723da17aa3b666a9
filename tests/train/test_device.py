"""What holds for a type of device."""

import ctypes
import resource

import pytest
import torch

from tinyablate.train import device as devices


def test_a_cpu_computes_on_one_thread() -> None:
    """Whatever was set before, a CPU trial gets one thread."""
    torch.set_num_threads(2)
    assert devices.settle("cpu") == torch.device("cpu")
    assert torch.get_num_threads() == 1


def faults_of_ten_batches() -> int:
    """Pages faulted in by making and dropping eight tensors of 8 MB ten times: 160,000 where none is kept."""
    before = 0
    for repeat in range(12):
        if repeat == 2:  # the first ones ask for the memory that the others use
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.ones(2_000_000) for _ in range(8)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_freed_memory_is_used_again() -> None:
    """What one update's tensors leave behind serves the next: nearly no page is faulted in anew."""
    devices.settle("cpu")
    assert faults_of_ten_batches() < 20_000


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
