"""Our epoch against what people use: timm's training script and Huynh's released one, in the same run.

    make bench NAME=core                  all that this machine can do; on two cores about six minutes
    .venv/bin/python tests/benchmarks/bench_core.py --only cpu      or huynh, and with a GPU large, tiny

Neither script is in a package. The environment says where they are; without it their sides are left out:

    TIMM_TRAIN     train.py of github.com/huggingface/pytorch-image-models; measured with the one of commit aa4b585
    HUYNH_SCRIPT   main.py of github.com/ehuynh1106/TinyImageNet-Transformers, beside its other files; of c8798c2

An epoch is all that repeats: training with its loader, evaluation, checkpoint; the first one is not counted. Data are
JPEGs of 64 pixels in Tiny ImageNet's layout (3,200 for training, 400 for validation), which the scripts read in their
way and ours as a prepared data set. Sides take turns. timm's script runs as its users run it, in every use of the
machine that might be its best (processes of the loader, runs at once), and the best one counts.

On a CPU two questions are asked: how long an epoch of one trial takes when it has the machine to itself, and how much
a machine gets done, ours with one trial a core (which is how `run` fills one), theirs in its best use. One thread
computes in each process on both sides. On a GPU the share of the peak counts the multiply-adds of forward and backward
passes, two operations each.
"""

import argparse
import contextlib
import functools
import itertools
import math
import multiprocessing
import os
import pickle
import re
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch

from tinyablate.job import EpochDone, Finished, Started
from tinyablate.recipe import Augment, Batch, Data, Evaluate, Loss, Mix, Model, Optimizer, Recipe, Schedule
from tinyablate.train.loop import run_job

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
CORES = len(os.sched_getaffinity(0))
EPOCHS = 3
"""Of every run; the first is not counted."""
ROUNDS = 2
IMAGES = 16
"""For training, a class, where an epoch takes seconds."""
BATCH = 128
PEAK = 790e12
"""Operations a second that an H200 reaches in bf16 matrix products."""


@dataclass(frozen=True)
class Speed:
    """Of one side in one use of the machine."""

    epoch: float
    """Seconds an epoch, median; of several runs at once: divided by their number."""
    images: float
    """Training images per second, median, summed over runs at once."""
    macs: float = 0.0
    """Ours: the model's multiply-adds for one image."""

    def __str__(self) -> str:
        return f"{self.epoch:.2f} s an epoch, training at {self.images:,.0f} images/s"


Epochs = list[tuple[float, float]]
"""Seconds and training images per second of each counted epoch."""


def speed(runs: list[Epochs], macs: float = 0.0) -> Speed:
    """The speed of `runs` at once."""
    epochs = [statistics.median(seconds for seconds, _ in run) for run in runs]
    images = sum(statistics.median(rate for _, rate in run) for run in runs)
    return Speed(statistics.mean(epochs) / len(runs), images, macs)


def say(text: str) -> None:
    """Progress, at once: all of it takes a while."""
    print(text, file=sys.stderr, flush=True)


# ---- recipes: the same on both sides


def full(model: str, size: int, *, precision: str = "fp32") -> Recipe:
    """timm's own recipe for its script: its crop, flip and colour jitter, and what most users add to that."""
    return Recipe(
        data=Data(image_size=size),
        augment=Augment(crop="rrc", interpolation="random", hflip=0.5, color_jitter=0.4, erase_prob=0.25),
        mix=Mix(mixup_alpha=0.8, cutmix_alpha=1.0),
        model=Model(name=model, pretrained=False),
        loss=Loss(smoothing=0.1),
        optimizer=Optimizer(lr=1e-3, weight_decay=0.05, decay="timm"),
        schedule=Schedule(epochs=EPOCHS, per="epoch"),
        batch=Batch(size=BATCH),
        evaluate=Evaluate(crop="center"),
        precision=precision,  # type: ignore[arg-type]
    )


def timm_words(recipe: Recipe) -> list[str]:
    """`full` for timm's script; what is missing is its default."""
    size = str(recipe.data.image_size)
    fixed = [] if size == "384" else ["--model-kwargs", f"img_size={size}"]
    return [
        *("--model", recipe.model.name, *fixed, "--input-size", "3", size, size, "--num-classes", "200"),
        *("--mixup", "0.8", "--cutmix", "1.0", "--smoothing", "0.1", "--reprob", "0.25", "--remode", "pixel"),
        *("--opt", "adamw", "--lr", "1e-3", "--weight-decay", "0.05", "--sched", "cosine", "--warmup-epochs", "0"),
        *("--epochs", str(EPOCHS), "--batch-size", str(BATCH), "--device", DEVICE, "--log-interval", "1000000"),
        *(("--amp", "--amp-dtype", "bfloat16") if recipe.precision == "bf16" else ()),
    ]


def heads(model: str, size: int, *, precision: str = "fp32") -> Recipe:
    """Huynh's, as his code has it: only the classifier is trained; RandAugment of magnitude 0, which is not nothing."""
    return replace(
        full(model, size, precision=precision),
        data=Data(image_size=size, normalize="imagenet"),
        augment=Augment(policy="torchvision-randaugment-n2-m0", erase_prob=0.25, erase_order="after-mix"),
        model=Model(name=model, pretrained=False, trainable="head", drop_path=0.1),
        optimizer=Optimizer(lr=1e-3, weight_decay=0.05),
        schedule=Schedule(epochs=EPOCHS),
        evaluate=Evaluate(),
    )


# ---- ours


def our_run(pipe: Connection, recipe: Recipe, data: Path, root: Path, more: dict[str, Any]) -> None:
    """One job of one trial in a process of its own, which waits for a word once it is set up."""
    warnings.simplefilter("ignore")
    ends, rates, macs = [], [], 0.0
    for event in run_job(common.job([recipe], data, root, device=DEVICE, seed=os.getpid(), **more)):
        if isinstance(event, Started):
            pipe.send("ready")
            pipe.recv()
        elif isinstance(event, EpochDone):
            ends.append(time.perf_counter())
            rates.append(event.result.images_per_second)
        elif isinstance(event, Finished):
            macs = dict(event.outcome.metrics).get("macs", 0.0)
    pipe.send(([(b - a, rate) for a, b, rate in zip(ends, ends[1:], rates[1:], strict=False)], macs))


def ours(recipe: Recipe, data: Path, root: Path, *, at_once: int = 1, **more: Any) -> Speed:
    """`at_once` jobs beside each other. Raises RuntimeError where one fails."""
    context = multiprocessing.get_context("spawn")
    pipes, running = [], []
    for _ in range(at_once):
        here, there = context.Pipe()
        running.append(context.Process(target=our_run, args=(there, recipe, data, root, more), daemon=True))
        running[-1].start()
        there.close()  # else a process that dies would leave us waiting
        pipes.append(here)
    try:
        for pipe in pipes:
            pipe.recv()
        for pipe in pipes:  # all are set up: they start together
            pipe.send("go")
        found = [pipe.recv() for pipe in pipes]
    except EOFError as error:
        raise RuntimeError("a trial failed, see above") from error
    for process in running:
        process.join()
    return speed([epochs for epochs, _ in found], found[0][1])


# ---- theirs

TIMM_LINE = re.compile(r"Train: \d+ \[ *(\d+)/(\d+) .*\( *[\d.]+s, +([\d.]+)/s\)")
"""What timm's script prints of an epoch's first and last update: its number, their number, mean images/s so far."""
TIMM_HELP = (
    "TIMM_TRAIN is not set: git clone https://github.com/huggingface/pytorch-image-models, then name its train.py"
)
HUYNH_HELP = (
    "HUYNH_SCRIPT is not set: git clone https://github.com/ehuynh1106/TinyImageNet-Transformers, then name its main.py"
)


def timm(recipe: Recipe, files: Path, *, workers: int, at_once: int = 1, micro: int = BATCH, more: list[str]) -> Speed:
    """timm's script, `at_once` of them beside each other. Raises RuntimeError with the end of what it printed."""
    words = [
        *(sys.executable, os.environ["TIMM_TRAIN"], "--data-dir", str(files), "--train-split", "train"),
        *("--val-split", "val", *timm_words(recipe), "--workers", str(workers)),
        *("--batch-size", str(micro), "--grad-accum-steps", str(BATCH // micro), *more),
    ]

    def run(number: int) -> Epochs:
        with tempfile.TemporaryDirectory(prefix="timm-") as folder:
            ends, said = [], []
            for when, line in common.lines([*words, "--seed", str(number)], Path(folder), OMP_NUM_THREADS="1"):
                said.append(line)
                found = TIMM_LINE.search(line)
                if found and int(found[1]) + 1 == int(found[2]):
                    ends.append((when, float(found[3])))
        return between(ends, said)

    with ThreadPoolExecutor(at_once) as pool:
        return speed(list(pool.map(run, range(at_once))))


def between(ends: list[tuple[float, float]], said: list[str]) -> Epochs:
    """Epochs from the moments at which their training ended, with their rates; the first is not counted."""
    if len(ends) < EPOCHS:
        raise RuntimeError("".join(said[-20:]))
    return [(end - begin, rate) for (begin, _), (end, rate) in itertools.pairwise(ends)]


HUYNH = """
import os, runpy, sys, time, types
script, key, name, size, workers, device = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
sys.modules["visualize"] = types.ModuleType("visualize")  # it draws predictions, which needs matplotlib and OpenCV
sys.modules["visualize"].visualize = None
import timm, timm.models, torch, data_aug, dataset, engine
from timm.data.random_erasing import RandomErasing

build, loader, train = timm.create_model, dataset.DataLoader, engine.train
load_train, load_val = dataset.load_train_data, dataset.load_val_data

def create_model(_, pretrained, **more):
    return build(name, pretrained=False, img_size=int(size), **more)

def create_loader(data, num_workers, **more):
    return loader(data, num_workers=int(workers) or num_workers, **more)

def timed(*args):
    start = time.perf_counter()
    loss = train(*args)
    print("trained", len(args[4]) * args[4].batch_size / (time.perf_counter() - start), flush=True)
    return loss

timm.models.create_model = create_model
dataset.DataLoader = create_loader
dataset.load_train_data = lambda _, *more: load_train(int(size), *more)
dataset.load_val_data = lambda _, *more: load_val(int(size), *more)
data_aug.RandomErasing = lambda **more: RandomErasing(device=device, **more)
engine.train = timed
os.get_terminal_size = lambda *_: os.terminal_size((80, 24))
sys.argv = [script, "--train", "--model", key]
runpy.run_path(script, run_name="__main__")
"""
"""Runs his script as it is, but for the model (its name, size and random weights), the size of images, the device of
Random Erasing, the number of loaders if one is given, and the missing pictures. It is ended after the epochs asked for.
"""


def huynh(recipe: Recipe, data: Path, *, key: str, workers: int = 0) -> Speed:
    """His script with his model `key`'s batch and accumulation; 0 workers: as many as it has (8 and 4)."""
    with tempfile.TemporaryDirectory(prefix="huynh-") as name:
        folder = Path(name)
        (folder / "models").mkdir()
        pickle_data(data, folder)
        script, size = os.environ["HUYNH_SCRIPT"], str(recipe.data.image_size)
        words = [sys.executable, "-c", HUYNH, script, key, recipe.model.name, size, str(workers), DEVICE]
        ends, said = [], []
        with contextlib.closing(common.lines(words, folder, OMP_NUM_THREADS="1")) as lines:
            for when, line in lines:
                said.append(line)
                if line.startswith("trained "):
                    ends.append((when, float(line.split()[1])))
                    if len(ends) == EPOCHS:
                        break
    return speed([between(ends, said)])


def pickle_data(data: Path, folder: Path) -> None:
    """The prepared images as his `fileio.py` leaves them: uint8 [N, 3, 64, 64] and labels."""
    from tinyablate.train.data import packed

    found = packed.open_packed(data)
    for name, images, labels in (
        ("train", found.train, found.train_labels),
        ("val", found.val, found.val_labels),
    ):
        pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()
        with (folder / f"{name}_dataset.pkl").open("wb") as file:
            pickle.dump((pixels, torch.tensor(np.array(labels), dtype=torch.float32)), file)


def class_folders(files: Path) -> Path:
    """The same files in folders by class, train/<class> and val/<class>, as timm's reader wants them."""
    target = files.with_name(f"{files.name}-folders")
    for source in (files / "train").glob("*/images/*"):
        link(source, target / "train" / source.parts[-3])
    for line in (files / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        link(files / "val" / "images" / name, target / "val" / wnid)
    return target


def link(source: Path, folder: Path) -> None:
    """`source`, under its name, in `folder` too."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / source.name).hardlink_to(source)


# ---- measuring

Side = Callable[[], Speed]


class Measured:
    """Speeds by side, the ratios that follow."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Speed]] = {}
        self.ratios: dict[str, float] = {}
        self.figures: dict[str, float] = {}

    def turn(self, sides: dict[str, Side]) -> None:
        """Every side once. One that fails is told of and left out."""
        for name, side in sides.items():
            try:
                done = side()
            except RuntimeError as error:
                say(f"{name}: failed\n{error}")
            else:
                self.seen.setdefault(name, []).append(done)
                say(f"{name}: {done}")

    def epoch(self, name: str) -> float:
        """Median seconds an epoch of the side `name`; infinite for one that gave none."""
        return statistics.median(each.epoch for each in self.seen[name]) if name in self.seen else math.inf

    def best(self, names: Iterable[str]) -> str:
        """The fastest of these sides."""
        return min(names, key=self.epoch)

    def compare(self, theirs: str, mine: str) -> None:
        """Their epoch's time over ours."""
        if math.isfinite(self.epoch(theirs)):
            self.ratios[f"{theirs} / {mine}"] = self.epoch(theirs) / self.epoch(mine)

    def table(self) -> dict[str, float]:
        """Figures of every side, and those that were noted beside them."""
        found: dict[str, float] = {}
        for name, speeds in self.seen.items():
            found[f"{name}: s an epoch"] = self.epoch(name)
            found[f"{name}: training, images/s"] = statistics.median(each.images for each in speeds)
        return {**found, **self.figures}


def have(variable: str, text: str) -> bool:
    """Whether the environment names a peer's script; says how to get it where it does not."""
    if not os.environ.get(variable):
        say(text)
    return bool(os.environ.get(variable))


def cpu(measured: Measured, root: Path) -> None:
    """`test_vit` at 64 pixels, everything trained, against timm's script."""
    files, data = common.packed_set(root, IMAGES)
    recipe = full("test_vit", 64)
    mine = {
        "cpu, ours, one trial": functools.partial(ours, recipe, data, root),
        f"cpu, ours, {CORES} trials at once": functools.partial(ours, recipe, data, root, at_once=CORES),
    }
    one, many = mine
    measured.turn(mine)
    if not have("TIMM_TRAIN", TIMM_HELP):
        return
    folders = class_folders(files)
    theirs = {f"cpu, timm -j {j}": functools.partial(timm, recipe, folders, workers=j, more=[]) for j in (0, 1, 2)}
    several = f"cpu, timm -j 0, {CORES} at once"
    uses = {**theirs, several: functools.partial(timm, recipe, folders, workers=0, at_once=CORES, more=[])}
    measured.turn(uses)
    best, most = measured.best(theirs), measured.best(uses)
    for _ in range(ROUNDS - 1):
        measured.turn({**mine, **{name: uses[name] for name in (best, most)}})
    compiled = f"{best} --torchcompile"
    measured.turn({compiled: functools.partial(theirs[best], more=["--torchcompile"])})
    for theirs_is in (best, compiled):
        measured.compare(theirs_is, one)
    for theirs_is in dict.fromkeys((most, compiled)):
        measured.compare(theirs_is, many)
    measured.compare("cpu, timm -j 0", one)


def released(measured: Measured, root: Path) -> None:
    """Only the classifier of `test_vit` at 64 pixels, against Huynh's script."""
    data = common.packed_set(root, IMAGES)[1]
    recipe = heads("test_vit", 64)
    mine = {"cpu, heads, ours, one trial": functools.partial(ours, recipe, data, root)}
    if not have("HUYNH_SCRIPT", HUYNH_HELP):
        return measured.turn(mine)
    theirs = {
        "cpu, heads, Huynh's script": functools.partial(huynh, recipe, data, key="vit"),
        f"cpu, heads, Huynh's script, {CORES} loaders": functools.partial(
            huynh, recipe, data, key="vit", workers=CORES
        ),
    }
    measured.turn({**mine, **theirs})
    for name in theirs:
        measured.compare(name, *mine)
    return None


# ---- on a GPU


@dataclass(frozen=True)
class Large:
    """A model of Huynh's table at 384 pixels."""

    name: str
    key: str
    """Of his script."""
    micro: int
    """Images a pass when everything is trained, so that it fits."""
    share: float
    """Of the peak: the aim when everything is trained."""
    heads: float
    """Images/s: the aim when only the classifier is."""


LARGE = (
    Large("vit_large_patch16_384", "vit", 64, 0.50, 1200),
    Large("deit_base_distilled_patch16_384", "deit", 128, 0.45, 3800),
    Large("swin_large_patch4_window12_384", "swin", 32, 0.35, 1500),
)


def large(measured: Measured, root: Path, models: list[str]) -> None:
    """The paper's models in bf16: share of the peak, beside timm's script and Huynh's (which computes in fp16)."""
    files, data = common.packed_set(root, IMAGES)
    folders = class_folders(files)
    for each in LARGE:
        if models and each.key not in models:
            continue
        everything, only = (make(each.name, 384, precision="bf16") for make in (full, heads))
        label = f"{each.name}, all"
        against(measured, label, everything, data, root, folders=folders, micro=each.micro)
        for name in (f"{label}, ours", f"{label}, ours, compiled"):
            for done in measured.seen.get(name, [])[:1]:
                measured.figures[f"{name}: share of the peak (aim {each.share})"] = share(done, passes=3)
        label = f"{each.name}, heads"
        mine = {f"{label}, ours": functools.partial(ours, only, data, root)}
        measured.turn(mine)
        for done in measured.seen.get(f"{label}, ours", [])[:1]:
            measured.figures[f"{label}, ours: share of the peak (aim {each.heads:g} images/s)"] = share(done, passes=1)
        if have("HUYNH_SCRIPT", HUYNH_HELP):
            measured.turn({f"{label}, Huynh's script": functools.partial(huynh, only, data, key=each.key)})
            measured.compare(f"{label}, Huynh's script", f"{label}, ours")


def tiny(measured: Measured, root: Path) -> None:
    """ViT-Ti at 64 pixels in bf16, where launching kernels takes longer than computing them."""
    files, data = common.packed_set(root, 100)
    recipe = full("vit_tiny_patch16_224", 64, precision="bf16")
    against(measured, "ViT-Ti at 64", recipe, data, root, folders=class_folders(files))


def share(done: Speed, *, passes: int) -> float:
    """Share of the peak: a forward pass is one of `passes`, a backward pass two, each of two operations a MAC."""
    return done.images * done.macs * 2 * passes / PEAK


def against(
    measured: Measured, label: str, recipe: Recipe, data: Path, root: Path, *, folders: Path, micro: int = BATCH
) -> None:
    """Ours and timm's script, each as it is and compiled."""
    for suffix, compiled in (("", False), (", compiled", True)):
        mine, theirs = f"{label}, ours{suffix}", f"{label}, timm{suffix}"
        measured.turn({mine: functools.partial(ours, recipe, data, root, micro_batch=micro, compile=compiled)})
        if have("TIMM_TRAIN", TIMM_HELP):
            more = ["--torchcompile"] if compiled else []
            run = functools.partial(timm, recipe, folders, workers=CORES, micro=micro, more=more)
            measured.turn({theirs: run})
            measured.compare(theirs, mine)


PARTS = ("cpu", "huynh", "large", "tiny")


def main() -> None:
    """Measure what the command line asks for, print figures, ratios and the JSON line."""
    words = argparse.ArgumentParser()
    words.add_argument("--only", nargs="+", choices=PARTS, default=PARTS[2:] if CUDA else PARTS)
    words.add_argument("--models", nargs="*", default=[], choices=[each.key for each in LARGE], help="of `large`")
    asked = words.parse_args()
    measured = Measured()
    for part in asked.only:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            root = Path(name)
            if part == "cpu":
                cpu(measured, root)
            elif part == "huynh":
                released(measured, root)
            elif not CUDA:
                say(f"{part}: skipped, no GPU")
            elif part == "large":
                large(measured, root, asked.models)
            else:
                tiny(measured, root)
    common.report(measured.ratios, measured.table())


if __name__ == "__main__":
    main()
