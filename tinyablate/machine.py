"""What this machine computes with, told without torch: names of its GPUs and processor. It sets nothing up.

Keys of trials that measure speed hold the device's name, and `plan` makes keys without importing torch.
"""

import csv
import importlib.util
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyablate.errors import UsageError

NO_GPU = "--device cuda: this machine has no GPU that can be used; valid: --device cpu, or auto"

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver on Linux shows a folder per GPU, named by its place on the PCI bus."""

DEVICES = Path("/dev")
"""Where the files `nvidia0`, `nvidia1`, ... are: a container may see the driver and yet not have its GPUs."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver names it."""

    name: str
    """The same words as torch.cuda.get_device_name: `NVIDIA H100 80GB HBM3`."""
    uuid: str
    """`GPU-` and 32 hexadecimal digits in groups."""


def device_name(wanted: str = "auto") -> str:
    """The device that `--device wanted` (auto, cpu or cuda) computes on: the name of the first GPU, or the processor's.

    It is what `train.device.environment` records there, on GPUs that are no slices (MIG) of one. Raises UsageError for
    "cuda" without a GPU.
    """
    gpus = _usable(wanted)
    return gpus[0].name if gpus else processor_name()


def device_count(wanted: str = "auto") -> int:
    """How many devices `--device wanted` may compute on: GPUs, or 1 where it is the processor. Raises UsageError."""
    return len(_usable(wanted)) or 1


def _usable(wanted: str) -> Sequence[Gpu]:
    """The GPUs that `--device wanted` may use; none: it is the processor."""
    gpus = visible_gpus() if wanted != "cpu" and _torch_has_cuda() else ()
    if wanted == "cuda" and not gpus:
        raise UsageError(NO_GPU)
    return gpus


def visible_gpus(
    driver: Path = DRIVER, devices: Path = DEVICES, environment: Mapping[str, str] = os.environ
) -> Sequence[Gpu]:
    """The GPUs that CUDA shows here: those of the driver that `environment` leaves.

    Numbers in CUDA_VISIBLE_DEVICES count along the PCI bus. (CUDA's own count begins with the fastest one unless
    CUDA_DEVICE_ORDER says otherwise; where all GPUs are alike, as in most machines, their names are too.)
    """
    gpus = _of_driver(driver, devices) or _of_nvidia_smi(environment)
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    return gpus if chosen is None else _chosen(gpus, chosen.split(","))


def processor_name() -> str:
    """The processor's name as Linux gives it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _of_driver(driver: Path, devices: Path) -> Sequence[Gpu]:
    """The GPUs that the kernel's driver lists and whose device file is here, in the order of the PCI bus."""
    try:
        texts = [file.read_text() for file in sorted(driver.glob("*/information"))]
    except OSError:
        return ()
    here = [text for text in texts if (devices / f"nvidia{_line(text, 'Device Minor')}").exists()]
    return [Gpu(_line(text, "Model"), _line(text, "GPU UUID")) for text in here]


def _line(text: str, title: str) -> str:
    """What stands behind `title:` in a line of its own."""
    found = re.search(rf"^{title}:[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)
    return found[1] if found else ""


def _of_nvidia_smi(environment: Mapping[str, str]) -> Sequence[Gpu]:
    """The GPUs that NVIDIA's tool lists: under WSL and in some containers the kernel shows no driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,uuid", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            env=dict(environment),
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return [Gpu(name, uuid) for name, uuid in csv.reader(done.stdout.splitlines(), skipinitialspace=True)]


def _chosen(gpus: Sequence[Gpu], words: Sequence[str]) -> Sequence[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES names by number or beginning of UUID; CUDA stops at the first wrong word."""
    chosen: list[Gpu] = []
    for word in map(str.strip, words):
        if word.isdecimal():
            found = list(gpus[int(word) : int(word) + 1])
        else:
            found = [gpu for gpu in gpus if word and gpu.uuid.startswith(word)]
        if len(found) != 1:
            break
        chosen += found
    return chosen


def _torch_has_cuda() -> bool:
    """Whether the installed torch is a build for CUDA, as its version.py says; without torch nothing is computed."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    text = Path(spec.origin).with_name("version.py").read_text()
    return re.search(r"^cuda\b.*=\s*'", text, re.MULTILINE) is not None
