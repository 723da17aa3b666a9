"""Names of GPUs and processor without torch, from what a driver shows."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tinyablate import machine
from tinyablate.errors import UsageError

INFORMATION = """Model: \t\t NVIDIA {model}
IRQ:   \t\t 194
GPU UUID: \t GPU-{uuid}
Video BIOS: \t 96.00.74.00.0D
Bus Type: \t PCIe
Device Minor: \t {minor}
GPU Excluded:\t No
"""
"""A GPU as /proc/driver/nvidia/gpus/*/information shows it."""


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """Two GPUs as the kernel's driver shows them; of the one that is first on the bus the device file is nvidia1."""
    for bus, model, uuid, minor in (("02", "H100 80GB HBM3", "aaaa", 1), ("41", "A100-SXM4-40GB", "abbb", 0)):
        folder = tmp_path / "gpus" / f"0000:{bus}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(INFORMATION.format(model=model, uuid=uuid, minor=minor))
        (tmp_path / f"nvidia{minor}").touch()
    return tmp_path / "gpus"


def visible(driver: Path, **environment: str) -> list[str]:
    """The names of the GPUs that are left."""
    gpus = machine.visible_gpus(driver, driver.parent, {"PATH": "", **environment})
    return [gpu.name for gpu in gpus]


H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (None, [H100, A100]),
        ("0,1", [H100, A100]),
        ("1, 0", [A100, H100]),
        ("1", [A100]),
        ("GPU-ab", [A100]),
        ("GPU-a", []),  # two begin so
        ("GPU-abbb,GPU-aaaa", [A100, H100]),
        ("0,7,1", [H100]),
        ("-1", []),
        ("", []),
    ],
)
def test_the_environment_chooses_gpus(driver: Path, words: str | None, left: Sequence[str]) -> None:
    """CUDA_VISIBLE_DEVICES takes GPUs by number or UUID, in its order, up to the first word that names none."""
    assert visible(driver, **({} if words is None else {"CUDA_VISIBLE_DEVICES": words})) == left


def test_a_gpu_without_its_device_file_is_not_here(driver: Path) -> None:
    """A container that sees the driver of its host, but was not given a GPU, does not have it."""
    (driver.parent / "nvidia1").unlink()
    assert visible(driver) == [A100]
    (driver.parent / "nvidia0").unlink()
    assert visible(driver) == []


def test_nvidia_smi_is_asked_where_the_kernel_shows_no_driver(tmp_path: Path) -> None:
    """Its lines of name and UUID are read; where it fails there is no GPU."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f'#!/bin/sh\ntest "$1" = --query-gpu=name,uuid && echo "{A100}, GPU-abbb" && exit $CODE\n')
    tool.chmod(0o755)
    for code, left in (("0", [A100]), ("9", [])):
        assert visible(tmp_path / "gpus", PATH=str(tmp_path), CODE=code) == left


def test_a_processor_has_a_name() -> None:
    """`cpu` is the processor, of which there is one, whatever GPUs there are."""
    assert machine.device_name("cpu") == machine.processor_name() != ""
    assert machine.device_count("cpu") == 1


def test_a_name_is_what_an_attempt_records() -> None:
    """`auto`, `cpu` and `cuda` name what torch computes on, and `cuda` without a GPU is refused as by `run`."""
    import torch

    from tinyablate.train import device as devices

    types = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for name in types:
        assert machine.device_name(name) == devices.environment(torch.device(name), "").device
    assert machine.device_name("auto") == machine.device_name(types[-1])
    if len(types) == 1:
        with pytest.raises(UsageError) as caught:
            machine.device_name("cuda")
        assert str(caught.value) == machine.NO_GPU
    else:
        assert machine.device_count("cuda") == torch.cuda.device_count()


def test_no_torch_is_imported() -> None:
    """`plan` names the device without torch."""
    code = "import sys, tinyablate.machine as m; m.device_name(); sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
