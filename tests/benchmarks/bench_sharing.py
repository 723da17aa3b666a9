"""Heads of one frozen trunk in one job against each in a job of its own: the optimizer search of Huynh 2022.

    make bench NAME=sharing        about three minutes on one core

Its 17 trials: AdamW with four learning rates and three weight decays, SGD plain and with Nesterov's momentum, SAM,
ASAM, PUGD, all training only the classifier, under one seed. Both sides are whole jobs as a user's are, from the
model's set-up to the last checkpoint; the shared one runs before, between and after the lone ones. Every number of
every epoch is compared: on a CPU they must be equal bit for bit, on a GPU the greatest difference is printed. Times of
what decides how much sharing can save stand beside: a pass of the trunk over a batch, and one update of a head.
"""

import dataclasses
import itertools
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import common
import torch

from tinyablate.job import EpochDone, EpochResult, Failed, Job, Started
from tinyablate.recipe import Augment, Batch, Data, Loss, Mix, Model, Optimizer, Recipe, Schedule
from tinyablate.train import work as works
from tinyablate.train.loop import run_job

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
EPOCHS = 2
RATES, DECAYS = (3e-3, 1e-3, 7e-4, 5e-4), (0.2, 0.05, 0.01)
SEARCH = [
    *(Optimizer(name="adamw", lr=lr, weight_decay=decay) for lr, decay in itertools.product(RATES, DECAYS)),
    Optimizer(name="sgd", lr=0.1, weight_decay=0.0),
    Optimizer(name="sgd", lr=0.1, weight_decay=0.0, nesterov=True),
    *(Optimizer(name="sgd", lr=0.1, weight_decay=0.0, perturbation=kind) for kind in ("sam", "asam", "pugd")),
]
"""17 optimizers: the cells of the paper's search."""


@dataclass(frozen=True)
class Setup:
    """What is trained."""

    model: str
    size: int
    """Pixels."""
    images: int
    """For training, a class."""
    precision: Literal["fp32", "bf16"]


SETUPS = {
    "cpu": [Setup("vit_tiny_patch16_224", 32, 6, "fp32"), Setup("vit_tiny_patch16_224", 64, 4, "fp32")],
    "cuda": [Setup("swin_large_patch4_window12_384", 384, 20, "bf16")],
}
"""CPU: a trunk that is 50 to 70 times as dear as a head, the least that the aim speaks of, and a dearer one."""


def recipe(setup: Setup, optimizer: Optimizer) -> Recipe:
    """The paper's recipe, as its code has it, on random weights."""
    return Recipe(
        data=Data(image_size=setup.size, normalize="imagenet"),
        augment=Augment(erase_prob=0.25, erase_order="after-mix"),
        mix=Mix(mixup_alpha=0.8, cutmix_alpha=1.0),
        model=Model(name=setup.model, pretrained=False, trainable="head", drop_path=0.1),
        loss=Loss(smoothing=0.1),
        optimizer=optimizer,
        schedule=Schedule(epochs=EPOCHS),
        batch=Batch(size=128),
        precision=setup.precision,
    )


@dataclass(frozen=True)
class Run:
    """What a job took and gave."""

    seconds: float
    """All of it."""
    training: float
    """Without what comes before its first epoch."""
    results: dict[str, list[EpochResult]]
    """By trial."""


def run(job: Job) -> Run:
    """Run `job` to its end. Raises AssertionError where a trial fails."""
    results: dict[str, list[EpochResult]] = {task.key: [] for task in job.tasks}
    start = began = time.perf_counter()
    for event in run_job(job):
        assert not isinstance(event, Failed), event
        if isinstance(event, Started):
            began = time.perf_counter()
        elif isinstance(event, EpochDone):
            results[event.key].append(event.result)
    end = time.perf_counter()
    assert all(len(each) == EPOCHS for each in results.values()), "a trial diverged"
    return Run(end - start, end - began, results)


def difference(one: EpochResult, other: EpochResult) -> float:
    """0 where every number but times is equal, bit for bit; else the greatest relative difference of two numbers."""
    timeless = [dataclasses.replace(each, seconds=None, images_per_second=None) for each in (one, other)]
    if timeless[0] == timeless[1]:
        return 0.0
    pairs = zip(*(dataclasses.astuple(each) for each in timeless), strict=True)
    numbers = [(a, b) for a, b in pairs if isinstance(a, float) and isinstance(b, float)]
    return max(abs(a - b) / max(abs(a), abs(b), 1e-12) for a, b in numbers) or 1e-300  # only bits of `correct` differ


def parts(job: Job) -> dict[str, float]:
    """Milliseconds of the trunk's pass over a batch, of an update of a head on its features, and of making a batch."""
    work = works.prepare(job)
    work.backbone.begin_epoch(training.learner.module for training in work.trainings)
    made: list[float] = []
    trunk: list[float] = []
    head: list[float] = []
    batches = work.batches.epoch(1)
    for number in range(work.batches.steps):
        marks = [now()]
        batch = next(batches)
        marks.append(now())
        passes = work.backbone.passes(batch, number)
        next(iter(passes.parts()))
        marks.append(now())
        work.trainings[0].learner.update(passes, number)
        marks.append(now())
        for times, (begin, end) in zip((made, trunk, head), itertools.pairwise(marks), strict=True):
            times.append(1e3 * (end - begin))
    names = ("a batch", "the trunk's pass", "a head's update")
    return {f"{name}, ms": min(times) for name, times in zip(names, (made, trunk, head), strict=True)}


def now() -> float:
    """Seconds, when the device is through with what it was given."""
    if CUDA:
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(setup: Setup, root: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Ratios and figures of one model and size."""
    recipes = [recipe(setup, optimizer) for optimizer in SEARCH]
    data = common.packed_set(root, setup.images)[1]

    def timed(some: list[Recipe], what: str) -> Run:
        done = run(common.job(some, data, root, device=DEVICE))
        print(f"  {what}: {done.seconds:.2f} s", file=sys.stderr, flush=True)
        return done

    dear = parts(common.job(recipes[:1], data, root, device=DEVICE))
    print(f"{setup}: {', '.join(f'{what} {value:.2f}' for what, value in dear.items())}", file=sys.stderr, flush=True)
    shared = [timed(recipes, "shared")]
    lone: list[Run] = []
    for part in (recipes[:8], recipes[8:]):
        lone += [timed([each], "alone") for each in part]
        shared.append(timed(recipes, "shared"))
    worst = max(
        difference(a, b)
        for one in lone
        for key, results in one.results.items()
        for all_of_them in shared
        for a, b in zip(results, all_of_them.results[key], strict=True)
    )
    alone, together = sum(each.seconds for each in lone), median(each.seconds for each in shared)
    training = sum(each.training for each in lone) / median(each.training for each in shared)
    ratios = {
        "one by one / shared, whole jobs": alone / together,
        "the same from the first epoch on": training,
        "the trunk's pass / a head's update": dear["the trunk's pass, ms"] / dear["a head's update, ms"],
    }
    seconds = {"shared, s": together, "one by one, s": alone}
    return ratios, {**dear, **seconds, "greatest relative difference": worst}


def main() -> None:
    """Measure, compare, print figures, ratios and the JSON line. Exits with 1 where a CPU's numbers differ."""
    warnings.simplefilter("ignore")
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for setup in SETUPS[DEVICE]:
            found = measure(setup, Path(name))
            label = f"{setup.model} at {setup.size}"
            ratios |= {f"{label}: {what}": value for what, value in found[0].items()}
            figures |= {f"{label}: {what}": value for what, value in found[1].items()}
    worst = max(value for what, value in figures.items() if what.endswith("difference"))
    print(f"numbers of the shared and of the lone jobs: {'equal bit for bit' if worst == 0 else 'not equal'}")
    common.report(ratios, figures)
    if worst != 0 and not CUDA:
        sys.exit(1)


if __name__ == "__main__":
    main()
