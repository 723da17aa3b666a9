"""Images per second from a data set to normalised batches, beside timm's loader, torchvision v2 and kornia; packing.

    make bench NAME=data_path            all of it, about a quarter of an hour on two cores
    .venv/bin/python tests/benchmarks/bench_data_path.py 64 224 --only ours timm

Recipes: `flip` = resize + horizontal flip; `deit` = DeiT's: Random Resized Crop (bicubic), flip, rand-m9-mstd0.5-inc1
at the output size, erasing 0.25 (pixel), Mixup 0.8 / CutMix 1.0 (ours and timm); `tv` = the same with torchvision's
RandAugment(2, 9), which always applies both operations (ours, torchvision, and kornia's nearest: its RandAugment(2, 9)
and Mixup of half of the batches, no CutMix). Every side has the machine's cores: ours as a process of one thread per
core (that is how trials run on a CPU), the loaders as one worker per core with the files in the page cache, kornia as
one process with a thread per core. Sides take turns; the ratio is that of the medians.
"""

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch

from tinyablate.datasets import DataSet
from tinyablate.recipe import Augment, Batch, Data, Mix, Model, Recipe
from tinyablate.train.data import packed, shapes

CORES = len(os.sched_getaffinity(0))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SET = DataSet(
    name="bench", title="shapes", classes=10, train_per_class=500, val_per_class=1, size=64, fingerprint="bench",
    folder="bench",
)  # fmt: skip
BATCH = 128
IMAGES = {64: 5120, 224: 2048, 384: 1024}
"""Images of one measurement of the slowest sides; ours takes more where it is fast."""
ROUNDS = 3
AUGMENT = {
    "flip": Augment(hflip=0.5),
    "deit": Augment(crop="rrc", hflip=0.5, policy="rand-m9-mstd0.5-inc1", erase_prob=0.25),
    "tv": Augment(crop="rrc", hflip=0.5, policy="torchvision-randaugment-n2-m9", erase_prob=0.25),
}
BOTH = Mix(mixup_alpha=0.8, cutmix_alpha=1.0)
MIX = {"flip": Mix(), "deit": BOTH, "tv": BOTH}

Side = Callable[[int], None]
"""Makes this many images into batches."""


def recipe(kind: str, size: int, batch: int = BATCH) -> Recipe:
    """The recipe `kind` at this size."""
    return Recipe(
        data=Data(image_size=size), augment=AUGMENT[kind], mix=MIX[kind], model=Model(name="test_vit"),
        batch=Batch(size=batch),
    )  # fmt: skip


# ---- ours


def our_batches(folder: Path, kind: str, size: int, device: str, batch: int = BATCH) -> Iterator[Any]:
    """Our batches without end."""
    from tinyablate.train import device as devices
    from tinyablate.train.batches import TrainBatches
    from tinyablate.train.data import images
    from tinyablate.train.inputs import Inputs

    where = devices.settle(device)
    data = images.load(folder, where)
    inputs = Inputs(size, MEAN, STD, where)
    made = TrainBatches(recipe(kind, size, batch), data.train, inputs, classes=data.classes, seed=os.getpid())
    for epoch in range(1, 1_000_000):
        yield from made.epoch(epoch)


def our_process(pipe: Connection, folder: Path, kind: str, size: int) -> None:
    """Makes as many images as it is told to, and says when it is done."""
    batches = our_batches(folder, kind, size, "cpu")
    next(batches)
    pipe.send(memory())
    while count := pipe.recv():
        for _ in range(count // BATCH):
            next(batches)
        pipe.send(memory())


@contextlib.contextmanager
def ours(folder: Path, kind: str, size: int) -> Iterator[Side]:
    """One process a core."""
    context = multiprocessing.get_context("spawn")
    pipes, running = [], []
    for _ in range(CORES):
        here, there = context.Pipe()
        running.append(context.Process(target=our_process, args=(there, folder, kind, size), daemon=True))
        running[-1].start()
        pipes.append(here)
    started = [pipe.recv() for pipe in pipes]

    def make(count: int) -> None:
        for pipe in pipes:
            pipe.send(count // CORES)
        MEMORY["ours"] = max(MEMORY.get("ours", 0), sum(pipe.recv() for pipe in pipes))

    assert started
    yield make
    for pipe, process in zip(pipes, running, strict=True):
        pipe.send(0)
        process.join()


# ---- theirs


@contextlib.contextmanager
def timm_loader(files: Path, kind: str, size: int) -> Iterator[Side]:
    """timm's transform, torchvision's ImageFolder, a DataLoader with persistent workers, timm's Mixup."""
    from timm.data import Mixup, create_transform
    from torchvision.datasets import ImageFolder

    if kind == "flip":  # timm has no "resize only" for training: its evaluation transform at crop_pct 1, and a flip
        from torchvision import transforms

        change = transforms.Compose([
            transforms.Resize((size, size), transforms.InterpolationMode.BICUBIC), transforms.RandomHorizontalFlip(),
            transforms.ToTensor(), transforms.Normalize(MEAN, STD),
        ])  # fmt: skip
    else:
        change = create_transform(
            size, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", re_prob=0.25,
            re_mode="pixel", mean=MEAN, std=STD,
        )  # fmt: skip
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=10) if kind != "flip" else None
    yield from through_loader(ImageFolder(str(files / "train"), Retrying(change)), mixup, "timm")


class Retrying:
    """timm 1.0.31 asks Pillow 13 to posterize to 0 bits in 2 of 1,000 images, which raises: draw again."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def __call__(self, image: Any) -> Any:
        try:
            return self.change(image)
        except ValueError:
            return self(image)


class Tensors(torch.utils.data.Dataset[Any]):
    """Decoded images in memory, changed one by one."""

    def __init__(self, images: Any, labels: Any, change: Any) -> None:
        self.images, self.labels, self.change = images, labels, change

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = torch.from_numpy(np.array(self.images[index])).permute(2, 0, 1)
        return self.change(image), int(self.labels[index])


@contextlib.contextmanager
def torchvision_v2(folder: Path, kind: str, size: int) -> Iterator[Side]:
    """torchvision's v2 transforms on uint8 tensors from a packed array, a DataLoader with persistent workers."""
    from timm.data import Mixup
    from torchvision.transforms import InterpolationMode, v2

    cubic = InterpolationMode.BICUBIC
    if kind == "flip":
        first: list[Any] = [v2.Resize((size, size), cubic), v2.RandomHorizontalFlip()]
        last: list[Any] = []
    else:
        first = [v2.RandomResizedCrop(size, interpolation=cubic), v2.RandomHorizontalFlip(), v2.RandAugment(2, 9)]
        last = [v2.RandomErasing(0.25, value="random")]
    change = v2.Compose([*first, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD), *last])
    data = packed.open_packed(folder)
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=10) if kind != "flip" else None
    yield from through_loader(Tensors(data.train, data.train_labels, change), mixup, "torchvision")


def through_loader(data: Any, mixup: Any, name: str) -> Iterator[Side]:
    """A side that reads `data` through a DataLoader with a worker per core."""
    forever = torch.utils.data.RandomSampler(data, replacement=True, num_samples=1 << 30)  # no epoch's end to wait at
    loader = torch.utils.data.DataLoader(
        data, BATCH, sampler=forever, num_workers=CORES, prefetch_factor=2, multiprocessing_context="fork"
    )
    batches = iter(loader)
    next(batches)

    def make(count: int) -> None:
        for _ in range(count // BATCH):
            images, labels = next(batches)
            if mixup is not None:
                mixup(images, labels)
        MEMORY[name] = max(MEMORY.get(name, 0), memory() + sum(map(memory, children())))

    yield make
    batches._shutdown_workers()  # type: ignore[attr-defined]


@contextlib.contextmanager
def kornia(folder: Path, kind: str, size: int) -> Iterator[Side]:
    """kornia's batched augmentation of float tensors; F.interpolate, since kornia's own resize is slower."""
    import kornia.augmentation as K

    torch.set_num_threads(CORES)
    normal = K.Normalize(torch.tensor(MEAN), torch.tensor(STD))
    flip = K.RandomHorizontalFlip(0.5)
    if kind == "flip":
        change = K.AugmentationSequential(flip, normal)
    else:
        change = K.AugmentationSequential(
            K.RandomResizedCrop((size, size), resample="BICUBIC"), flip, K.auto.RandAugment(2, 9), normal,
            K.RandomErasing(p=0.25), K.RandomMixUpV2(p=0.5), data_keys=["input"],
        )  # fmt: skip
    data = packed.open_packed(folder)
    random = np.random.default_rng(0)

    def make(count: int) -> None:
        for _ in range(count // BATCH):
            ids = random.integers(0, len(data.train), BATCH)
            images = torch.from_numpy(data.train[ids]).permute(0, 3, 1, 2).float().div_(255)
            if kind == "flip" and size != images.shape[-1]:
                images = torch.nn.functional.interpolate(images, (size, size), mode="bicubic", antialias=True)
            change(images)
        MEMORY["kornia"] = max(MEMORY.get("kornia", 0), memory())

    make(BATCH)
    yield make
    torch.set_num_threads(1)


# ---- measuring

MEMORY: dict[str, int] = {}
"""Side -> most bytes that it took in all its processes, shared pages counted once per process's share (PSS)."""


def memory(process: int | str = "self") -> int:
    """Bytes of a process, shared pages divided among those that share them."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def children() -> list[int]:
    """Processes that this one started."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def rate(side: Side, count: int) -> float:
    """Images per second in the steady state: what the loaders' workers made while others were measured goes first."""
    side(2 * CORES * CORES * BATCH)
    start = time.perf_counter()
    side(count)
    return count / (time.perf_counter() - start)


def compare(sides: dict[str, Any], folder: Path, files: Path, kind: str, size: int) -> dict[str, float]:
    """Median images/s of every side, taking turns."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    with contextlib.ExitStack() as stack:
        made = {
            name: stack.enter_context(side(files if name == "timm" else folder, kind, size))
            for name, side in sides.items()
        }
        count = IMAGES[size]
        quick = 10 if kind == "flip" else 2
        for _ in range(ROUNDS):
            for name, side in made.items():
                rates[name].append(rate(side, count * (quick if name == "ours" else 1)))
    return {name: statistics.median(values) for name, values in rates.items()}


# ---- packing


def decode_some(paths: list[str], target: str, first: int) -> None:
    """The bare decode: read, PIL, into rows of one array."""
    from PIL import Image

    rows = np.memmap(target, np.uint8, "r+").reshape(-1, 64, 64, 3)
    for row, path in enumerate(paths, first):
        with Image.open(path) as image:
            rows[row] = np.asarray(image.convert("RGB"))


def packing(root: Path, count: int) -> dict[str, float]:
    """Seconds for `count` JPEGs of Tiny ImageNet's layout: bare decode on all cores, and `pack`."""
    data = DataSet(
        name="many", title="", classes=200, train_per_class=(count // 11 * 10) // 200,
        val_per_class=(count // 11) // 200, size=64, fingerprint="many", folder="many",
    )  # fmt: skip
    files = common.tree(root, data)
    paths = sorted(str(path) for path in files.rglob("*.JPEG"))
    target = root / "bare.u8"
    context = multiprocessing.get_context("spawn")
    target.write_bytes(b"\0" * (len(paths) * 64 * 64 * 3))
    bare, packs = [], []
    for turn in range(ROUNDS):
        with context.Pool(CORES, initializer=np.zeros, initargs=(1,)) as pool:
            pool.map(abs, range(CORES))
            start = time.perf_counter()
            parts = [(paths[i : i + 512], str(target), i) for i in range(0, len(paths), 512)]
            pool.starmap(decode_some, parts, chunksize=1)
            bare.append(time.perf_counter() - start)
        start = time.perf_counter()
        packed.pack(files, data, root / f"home{turn}")
        packs.append(time.perf_counter() - start)
    return {"bare decode": statistics.median(bare), "pack": statistics.median(packs), "images": float(len(paths))}


# ---- on a GPU


def on_gpu(folder: Path, kind: str, size: int, batch: int) -> float:
    """Images per second, device time included."""
    batches = our_batches(folder, kind, size, "cuda", batch)
    for _ in range(10):
        next(batches)
    torch.cuda.synchronize()
    start, count = time.perf_counter(), 60
    for _ in range(count):
        next(batches)
    torch.cuda.synchronize()
    return count * batch / (time.perf_counter() - start)


SIDES = {"ours": ours, "timm": timm_loader, "torchvision": torchvision_v2, "kornia": kornia}


KINDS = {"flip": tuple(SIDES), "deit": ("ours", "timm"), "tv": ("ours", "torchvision", "kornia")}


def main() -> None:
    """Measure what the command line asks for, print figures, ratios and the JSON line."""
    words = argparse.ArgumentParser()
    words.add_argument("sizes", nargs="*", type=int, default=list(IMAGES))
    words.add_argument("--only", nargs="*", default=list(SIDES), choices=SIDES)
    words.add_argument("--kinds", nargs="*", default=list(AUGMENT), choices=AUGMENT)
    words.add_argument("--pack", type=int, default=110_000, help="JPEGs to pack; 0 leaves packing out")
    asked = words.parse_args()
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        root = Path(name)
        files = root / "bench"
        shapes.write(files, SET, None)
        folder = packed.pack(files, SET, root / "home")
        for kind in asked.kinds:
            for size in asked.sizes:
                sides = {side: SIDES[side] for side in KINDS[kind] if side in asked.only}
                found = compare(sides, folder, files, kind, size)
                figures |= {f"{kind} {size}: {side}, images/s": value for side, value in found.items()}
                print(f"{kind} {size}: {found}", file=sys.stderr, flush=True)  # all of it takes a while
                ratios |= {f"{kind} {size}: ours / {s}": found["ours"] / v for s, v in found.items() if s != "ours"}
                if torch.cuda.is_available():
                    for batch in (512, 1024, 4096):
                        what = f"{kind} {size}: ours on {torch.cuda.get_device_name()}, batch {batch}, images/s"
                        figures[what] = on_gpu(folder, kind, size, batch)
        figures |= {f"memory of {side}, MB": value / 1e6 for side, value in MEMORY.items()}
        if asked.pack:
            seconds = packing(root, asked.pack)
            figures |= {f"packing: {what}": value for what, value in seconds.items()}
            ratios["packing: pack / bare decode"] = seconds["pack"] / seconds["bare decode"]
    common.report(ratios, figures)


if __name__ == "__main__":
    main()
