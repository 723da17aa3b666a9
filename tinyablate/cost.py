"""What a plan would cost: time, device-hours and disk, from what earlier trials took. Pure: it reads no database.

A job is estimated from trials that had a job to themselves, of the same model, data, resolution, batch and device (see
`SpeedKey`), and from nothing else: where there are none, it has no estimate.
"""

import functools
import heapq
import json
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from tinyablate.datasets import lookup, parse_split
from tinyablate.identity import from_canonical
from tinyablate.plan import PlannedJob, PlannedTrial
from tinyablate.recipe import Recipe

HEAD_SECONDS = 1e-3
"""What a further classifier on a shared trunk adds to an update. Measured on one core of an AMD EPYC, 17 AdamW heads
against one: 0.9 ms with `test_vit` (64 pixels, batch 50) and with ViT-Ti (224 pixels, batch 16), a pass of which takes
20 and 670 ms. On a GPU it is the launches of some fifty small kernels."""

MOST_TRIALS = 20
"""An estimate is the median of so many trials, the latest: older ones may be of slower code."""

EPOCH_ROW_BYTES = 130
"""Of an epoch in the database beside its bits: rows of `stored_epochs` and `correctness`, keys, indices. Measured over
9,990 epochs: 128 with bits of 1,000 images, 130 of 2,000, 225 of 10,000, of which a page of 4 KiB holds three rows."""

EPOCH_RESULT_BYTES = 320
"""Of an epoch's result in a checkpoint beside its bits. Measured over 200 epochs: 293 with bits of 1,000 images, 322 of
10,000."""

CHECKPOINTS = 2
"""Of a running trial: the last, and the one that takes its place, be the last an earlier attempt's."""

Basis = Literal["history", "calibration"]


class Facts(Protocol):
    """What is known of a model (see `model_facts.ModelFacts`)."""

    @property
    def parameters(self) -> int: ...
    @property
    def trainable_parameters(self) -> int: ...
    @property
    def splits(self) -> bool: ...


FactsOf = Callable[[Recipe], Facts | None]


class Timed(Protocol):
    """What a trial took that had its job to itself (see `store.query.TimedTrial`)."""

    @property
    def canonical(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def seconds(self) -> float | None: ...
    @property
    def epochs(self) -> Sequence[tuple[float, float]]: ...
    @property
    def rates(self) -> tuple[float, float] | None: ...


# ---- speeds ----------------------------------------------------------------------------------------------------------


class SpeedKey(NamedTuple):
    """What speed depends on, as far as an estimate goes."""

    model: str
    args: str
    """`model.args` as JSON."""
    data: str
    image_size: int
    trainable: str
    batch: int
    precision: str
    evaluate_precision: str
    passes: int
    """2 where every update passes the model twice (SAM and its kin)."""
    device: str
    """Its name."""

    @classmethod
    def of(cls, recipe: Recipe, device: str) -> "SpeedKey":
        """That of `recipe` on the device of this name."""
        return cls(
            model=recipe.model.name,
            args=json.dumps(recipe.model.args, sort_keys=True),
            data=recipe.data.name,
            image_size=recipe.data.image_size,
            trainable=recipe.model.trainable,
            batch=recipe.batch.size,
            precision=recipe.precision,
            evaluate_precision=recipe.evaluate.precision,
            passes=_passes(recipe),
            device=device,
        )


def _passes(recipe: Recipe) -> int:
    """Passes of the model in an update. A head's second one is on the features of the first, unless drawn anew."""
    optimizer = recipe.optimizer
    return 2 if optimizer.perturbation != "none" and (recipe.model.trainable == "all" or optimizer.second_draw) else 1


@dataclass(frozen=True)
class Speed:
    """How fast trials of one key are."""

    basis: Basis
    """`history`: trained trials. `calibration`: a measurement of a few steps."""
    trials: int
    """How many the figures are the median of."""
    train: float
    """Seconds per training image, …"""
    first: float
    """… per image evaluated in the first epoch, …"""
    later: float
    """… and in a later one, when the features of a frozen trunk are there already."""
    startup: float
    """Seconds before the first epoch and after the last."""
    measuring: float | None = None
    """Seconds that a trial of kind `measure` takes; None where there was none."""


@dataclass(frozen=True)
class History:
    """Measured speeds, of whatever was computed before."""

    speeds: Mapping[SpeedKey, Speed]

    @classmethod
    def of(cls, timed: Iterable[Timed]) -> "History":
        """The speeds of these trials; the latest come first."""
        groups: dict[SpeedKey, list[tuple[Recipe, Timed]]] = {}
        read = functools.cache(from_canonical)
        for each in timed:
            recipe = read(each.canonical)
            groups.setdefault(SpeedKey.of(recipe, each.device), []).append((recipe, each))
        return cls({key: _speed(group) for key, group in groups.items()})


def _speed(group: Sequence[tuple[Recipe, Timed]]) -> Speed:
    trained = [_trained(recipe, each) for recipe, each in group if each.epochs][:MOST_TRIALS]
    measured = [_measured(each.rates) for _, each in group if each.rates][:MOST_TRIALS]
    alone = [each.seconds for _, each in group if each.rates and each.seconds is not None]
    speed = _median(trained or measured)
    return replace(speed, measuring=statistics.median(alone[:MOST_TRIALS])) if alone else speed


def _trained(recipe: Recipe, timed: Timed) -> Speed:
    """Of a trained trial: an epoch's seconds are those of its updates and those of its evaluation."""
    images, evaluated = images_per_epoch(recipe), evaluated_images(recipe)
    updates = [images / rate for _, rate in timed.epochs]
    evaluations = [
        max(0.0, seconds - update) / evaluated for (seconds, _), update in zip(timed.epochs, updates, strict=True)
    ]
    later = statistics.median(evaluations[1:] or evaluations)
    rest = 0.0 if timed.seconds is None else max(0.0, timed.seconds - sum(seconds for seconds, _ in timed.epochs))
    return Speed("history", 1, statistics.median(updates) / images, evaluations[0], later, rest)


def _measured(rates: tuple[float, float]) -> Speed:
    """Of a measurement: training images and evaluated images per second."""
    train, inference = rates
    return Speed("calibration", 1, 1 / train, 1 / inference, 1 / inference, 0.0)


def _median(speeds: Sequence[Speed]) -> Speed:
    def middle(of: Callable[[Speed], float]) -> float:
        return statistics.median(map(of, speeds))

    return Speed(
        basis=speeds[0].basis,
        trials=len(speeds),
        train=middle(lambda speed: speed.train),
        first=middle(lambda speed: speed.first),
        later=middle(lambda speed: speed.later),
        startup=middle(lambda speed: speed.startup),
    )


# ---- counting --------------------------------------------------------------------------------------------------------


def images_per_epoch(recipe: Recipe) -> int:
    """Training images of an epoch; the last, incomplete batch is dropped. (Shares are rounded class by class.)"""
    images = round(_images(recipe.data.name, recipe.data.split) * recipe.data.fraction)
    return max(1, images // recipe.batch.size) * recipe.batch.size


def evaluated_images(recipe: Recipe) -> int:
    """Images that every epoch ends with evaluating."""
    return max(1, round(_images(recipe.data.name, recipe.evaluate.split)))


def _images(name: str, text: str) -> float:
    data, (base, share) = lookup(name), _share(text)
    return (data.train if base == "train" else data.val) * share


@functools.cache  # a plan may have 10,000 trials
def _share(text: str) -> tuple[str, float]:
    """The split that `text` names a part of, and its share."""
    part = parse_split(text)
    return part.base, float(part.high - part.low)


# ---- jobs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Devices:
    """What computes."""

    name: str
    """Of each of them."""
    unit: Literal["GPU", "core"]
    count: int
    trials_each: int = 1
    """Trials at a time on one."""

    @property
    def slots(self) -> int:
        """Jobs at a time."""
        return self.count * self.trials_each


@dataclass(frozen=True)
class JobCost:
    """What one job would take."""

    job: PlannedJob
    trial: PlannedTrial
    """The one whose speed is the job's."""
    key: SpeedKey
    """What that is looked up under."""
    speed: Speed | None
    """None: nothing is known."""
    seconds: float
    """0 without a speed."""
    ends: float
    """Seconds from the start of the run."""
    checkpoint_bytes: int
    """While it runs."""
    stored_bytes: int
    """In the database."""
    kept_bytes: int = 0
    """Weights that stay where `--keep-weights` asks for them."""


@dataclass(frozen=True)
class Estimate:
    """What jobs would take together on these devices. Times are sums over the jobs whose speed is known."""

    devices: Devices
    jobs: tuple[JobCost, ...]

    def of(self, keys: Collection[str]) -> "Estimate":
        """The share of the jobs that compute one of these trials, as they lie in the whole schedule."""
        return replace(self, jobs=tuple(job for job in self.jobs if any(t.key in keys for t in job.job.trials)))

    @property
    def seconds(self) -> float:
        """Wall time until the last of the jobs ends."""
        return max((job.ends for job in self.jobs), default=0.0)

    @property
    def device_hours(self) -> float:
        """Hours of one device: GPU-hours, or hours of a CPU core."""
        return sum(job.seconds for job in self.jobs) / self.devices.trials_each / 3600

    @property
    def disk_bytes(self) -> int:
        """What the database grows by, weights that are kept, and the largest checkpoints that lie there at a time.

        A running job has, of each of its trials, the last checkpoint and, while it is saved, the next one: a trial's
        file is its own, so a job of several trials writes as many. Both are counted, whatever the number of attempts or
        of saves within an epoch. They are gone when the trial has ended; kept weights are not.
        """
        largest = heapq.nlargest(self.devices.slots, (job.checkpoint_bytes for job in self.jobs))
        return sum(job.stored_bytes + job.kept_bytes for job in self.jobs) + sum(largest)  # known without any speed

    @property
    def counts(self) -> Counter[Basis]:
        """How many jobs are estimated from what."""
        return Counter(job.speed.basis for job in self.jobs if job.speed)

    @property
    def trials(self) -> int:
        """How many past trials it rests on."""
        return sum({job.key: job.speed.trials for job in self.jobs if job.speed}.values())

    @property
    def unknown(self) -> tuple[JobCost, ...]:
        """The jobs that have no estimate: no trial of their key ever had a job to itself."""
        return tuple(job for job in self.jobs if job.speed is None)


def estimate(
    jobs: Sequence[PlannedJob], history: History, devices: Devices, facts_of: FactsOf, *, keep_weights: bool = False
) -> Estimate:
    """What `jobs` would take, started in their order, each on the device that is free first; measurements run alone.

    Trials that continue from a checkpoint count whole. With `keep_weights` every trial leaves its weights.
    """
    free = [0.0] * devices.slots
    costs = []
    for job in jobs:
        trial = _dearest(job)
        key = SpeedKey.of(trial.recipe, devices.name)
        speed = history.speeds.get(key)
        if job.kind == "measure" and speed is not None and speed.measuring is None:
            speed = None
        seconds = 0.0 if speed is None else _seconds(job, speed, _frozen(trial.recipe, facts_of(trial.recipe)))
        if job.kind == "measure":
            free = [max(free) + seconds] * devices.slots
            ends = free[0]
        else:
            ends = heapq.heappop(free) + seconds
            heapq.heappush(free, ends)
        checkpoints, stored = _checkpoint_bytes(job, facts_of), _stored_bytes(job)
        kept = _kept_bytes(job, facts_of) if keep_weights else 0
        costs.append(JobCost(job, trial, key, speed, seconds, ends, checkpoints, stored, kept))
    return Estimate(devices, tuple(costs))


def _dearest(job: PlannedJob) -> PlannedTrial:
    """The trial that decides how often the trunk is passed: one that wants a second draw, if there is any."""
    return max(job.trials, key=lambda trial: _passes(trial.recipe))


def _frozen(recipe: Recipe, facts: Facts | None) -> bool:
    """Whether only classifiers are trained, on a trunk whose passes are shared and whose features are kept."""
    return recipe.model.trainable == "head" and facts is not None and facts.splits


def _seconds(job: PlannedJob, speed: Speed, frozen: bool) -> float:
    """Wall time of a job.

    Updates: one pass of the trunk over the images of its longest training, whatever shares it; a further learner adds
    HEAD_SECONDS to each. Evaluations: on a frozen trunk one pass per setting, and classifiers on its features in every
    epoch; else one pass per trial and epoch, as observers evaluate weights of their own.
    """
    if job.kind == "measure":
        return speed.measuring or 0.0
    recipes = [trial.recipe for trial in job.trials]
    epochs = max(recipe.schedule.total_epochs for recipe in recipes)
    images = images_per_epoch(recipes[0])
    heads = images / recipes[0].batch.size * HEAD_SECONDS * (job.learners - 1)
    updates = epochs * (images * speed.train + heads)
    return speed.startup + updates + _evaluation_seconds(recipes, speed, frozen)


def _evaluation_seconds(recipes: Sequence[Recipe], speed: Speed, frozen: bool) -> float:
    if not frozen:
        passes = ((evaluated_images(recipe), recipe.schedule.total_epochs) for recipe in recipes)
        return sum(images * (speed.first + (epochs - 1) * speed.later) for images, epochs in passes)
    later = 0.0 if speed.basis == "calibration" else speed.later  # it measured whole passes
    settings = {recipe.evaluate: evaluated_images(recipe) for recipe in recipes}
    cached = sum(evaluated_images(recipe) * (recipe.schedule.total_epochs - 1) for recipe in recipes)
    return sum(settings.values()) * speed.first + cached * later


def _checkpoint_bytes(job: PlannedJob, facts_of: FactsOf) -> int:
    """Of a running job, per trial: what it trains with the optimizer's moments, an average of it, in float32; and the
    results of its epochs, all of them by the last one."""
    if job.kind == "measure":
        return 0
    total = 0
    for trial in job.trials:
        facts, optimizer = facts_of(trial.recipe), trial.recipe.optimizer
        moments = (optimizer.momentum > 0) if optimizer.name == "sgd" else 2
        copies = 1 + moments + (trial.recipe.ema.decay > 0)
        results = trial.recipe.schedule.total_epochs * (EPOCH_RESULT_BYTES + -(-evaluated_images(trial.recipe) // 8))
        total += CHECKPOINTS * (4 * copies * (facts.trainable_parameters if facts else 0) + results)
    return total


def _kept_bytes(job: PlannedJob, facts_of: FactsOf) -> int:
    """The whole model of each trial that is trained, in float32, frozen parts included."""
    if job.kind == "measure":
        return 0
    facts = (facts_of(trial.recipe) for trial in job.trials)
    return sum(4 * each.parameters for each in facts if each)


def _stored_bytes(job: PlannedJob) -> int:
    """What the database grows by: a row and a bit per evaluated image for every epoch."""
    if job.kind == "measure":
        return EPOCH_ROW_BYTES
    epochs = ((trial.recipe.schedule.total_epochs, evaluated_images(trial.recipe)) for trial in job.trials)
    return sum(count * (EPOCH_ROW_BYTES + -(-images // 8)) for count, images in epochs)
