"""What a job computes with: set up from the job, taken up from checkpoints, saved to them. It computes nothing."""

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tinyablate.errors import RecipeError
from tinyablate.identity import canonical, heads, trunk
from tinyablate.job import Environment, Job, TrialTask
from tinyablate.recipe import Evaluate, Recipe
from tinyablate.train import checkpoint, evaluate
from tinyablate.train import device as devices
from tinyablate.train.backbone import Evaluated, FrozenTrunk, WholeModel
from tinyablate.train.batches import TrainBatches
from tinyablate.train.checkpoint import START, Checkpoint, Point
from tinyablate.train.data import images
from tinyablate.train.evaluate import EvalSet
from tinyablate.train.inputs import Inputs, channel_statistics
from tinyablate.train.learner import Learner
from tinyablate.train.model.build import Built, build_model, frozen_trunk
from tinyablate.train.model.size import facts_of
from tinyablate.train.model.split import split
from tinyablate.train.observer import Observer
from tinyablate.train.rates import of_training


@dataclass(eq=False)
class Training:
    """A learner and what watches it: one observer per trial that has not ended."""

    learner: Learner
    observers: list[Observer]
    losses: list[Tensor] = field(default_factory=list)
    """Of the updates of this epoch."""
    loss: float = math.nan
    """Their mean, when the epoch's updates are done."""
    joins: Point = START
    """Where an earlier attempt left it. Until the job is there it has nothing to do: others may be further behind."""
    seconds: float | None = 0.0
    """What the updates before that took of the epoch in which it joins; None: they were not one trial's own."""


@dataclass(frozen=True)
class Work:
    """What a job's learners share, and the learners."""

    batch: int
    batches: TrainBatches
    backbone: WholeModel | FrozenTrunk
    evaluations: dict[Evaluate, Evaluated]
    """What is evaluated on, for each way in which a trial of the job wants it."""
    trainings: list[Training]
    """Those that are not through: one, or several on a frozen trunk."""
    facts: Mapping[str, float]
    """The model's, and what happens to its images, as outcomes have them."""
    environment: Environment
    device: torch.device
    alone: bool
    """Whether times are one trial's own."""

    @property
    def reads_losses(self) -> bool:
        """Whether every loss is read at once. On a GPU that would make the host wait; there it is once an epoch."""
        return self.device.type == "cpu"

    def awake(self, at: Point) -> list[Training]:
        """The trainings that have joined when the job is at this point."""
        return [training for training in self.trainings if training.joins <= at]

    @property
    def observers(self) -> list[Observer]:
        """Of all trainings."""
        return [observer for training in self.trainings for observer in training.observers]


def prepare(job: Job) -> Work:
    """Set up `job` at its beginning. Raises RecipeError, WeightsError, DataError."""
    recipe, seed = common(job.tasks)
    device = devices.settle(job.device)
    data = images.load(job.data, device)
    built = build_model(
        recipe.model, image_size=recipe.data.image_size, classes=data.classes, seed=seed, weights=job.weights
    )
    facts = facts_of(built, recipe.model)  # of the whole model: see `split`
    built.module.to(device)
    built.module.to(memory_format=devices.memory_format(device.type))
    mean, std = channel_statistics(recipe.data.normalize, (built.mean, built.std))
    inputs = Inputs(built.image_size, mean, std, device, built.crop_pct)
    batches = TrainBatches(recipe, data.train, inputs, classes=data.classes, seed=seed)
    if job.kind == "train":  # a measurement shows no epoch
        facts |= of_training(recipe, batches, data.train, built.image_size, seed).metrics()
    only_heads = frozen_trunk(built, recipe.model, recipe.data.image_size, data.classes)
    backbone, trainings = _trainings(job, recipe, built, device, steps=batches.steps, only_heads=only_heads)
    settings = dict.fromkeys(task.recipe.evaluate for task in job.tasks)
    evaluated = min(evaluate.BATCH, job.micro_batch or evaluate.BATCH)
    return Work(
        batch=recipe.batch.size,
        batches=batches,
        backbone=backbone,
        evaluations={
            each: backbone.evaluated(EvalSet(each, data, inputs, evaluated), each.precision) for each in settings
        },
        trainings=trainings,
        facts=facts,
        environment=dataclasses.replace(
            devices.environment(device, data.digest, compiled=job.compile), weights_digest=job.weights_digest
        ),
        device=device,
        alone=len(job.tasks) == 1,
    )


def _trainings(
    job: Job, recipe: Recipe, built: Built, device: torch.device, *, steps: int, only_heads: bool
) -> tuple[WholeModel | FrozenTrunk, list[Training]]:
    """What the learners share, and a learner for each recipe that is trained, with an observer for each of its trials.

    With `only_heads` they share a frozen trunk; else there is one, which has the model to itself.
    """
    seed, micro = job.tasks[0].seed, checked_micro_batch(job.micro_batch, recipe, built)
    if job.compile:
        built.module.compile()  # in place: names of tensors stay as they are
    groups: dict[str, list[TrialTask]] = {}
    for task in job.tasks:
        groups.setdefault(canonical(trunk(task.recipe)), []).append(task)
    backbone: WholeModel | FrozenTrunk
    if only_heads:
        cut, head = split(built.module, built.classifiers, both=recipe.model.distilled_heads == "both")
        backbone = FrozenTrunk(recipe, cut, seed=seed, device=device, micro_batch=micro, cache=job.cache_features)
        modules: list[nn.Module] = [head, *(copy.deepcopy(head) for _ in range(len(groups) - 1))]
    elif len(groups) == 1:
        backbone = WholeModel(recipe, built.module, seed=seed, device=device, micro_batch=micro)
        modules = [built.module]
    else:
        raise ValueError(f"model '{recipe.model.name}' cannot be shared by learners: its trunk is not frozen, or whole")
    return backbone, [
        _training(tasks, Learner(tasks[0].recipe, module, device=device, steps=steps))
        for tasks, module in zip(groups.values(), modules, strict=True)
    ]


def _training(tasks: Sequence[TrialTask], learner: Learner) -> Training:
    return Training(learner, [Observer(task, learner) for task in tasks])


def common(tasks: Sequence[TrialTask]) -> tuple[Recipe, int]:
    """A recipe and the seed that stand for what all tasks share. Raises ValueError where they cannot be together."""
    first = tasks[0]
    alike = heads if first.recipe.model.trainable == "head" else trunk
    if len({(canonical(alike(task.recipe)), task.seed) for task in tasks}) > 1:
        raise ValueError("the trials of a job differ in more than what observers do, or heads of one trunk")
    return first.recipe, first.seed


def checked_micro_batch(micro_batch: int | None, recipe: Recipe, built: Built) -> int:
    """Images per pass. Raises RecipeError where passes cannot add up to the batch's own gradient."""
    size = recipe.batch.size
    if micro_batch is None or micro_batch == size:
        return size
    rule = None
    if not 1 <= micro_batch <= size:
        rule = f"must be from 1 to batch.size, {size}"
    elif built.batch_statistics:
        rule = f"'{recipe.model.name}' computes batch statistics (BatchNorm): leave it at batch.size, {size}"
    elif built.dropout:
        rule = f"'{recipe.model.name}' has active dropout, drawn pass by pass: leave it at batch.size, {size}"
    if rule is not None:
        raise RecipeError([("--micro-batch", micro_batch, rule)])
    return micro_batch


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def _core(job: Job, environment: Environment) -> str:
    """What a checkpoint must come from to be continued: a trial is never half of one code, half of another."""
    versions = (environment.device, environment.torch, environment.timm, environment.data_digest, job.weights_digest)
    return " ".join((job.core, *versions, *(["compiled"] if job.compile else [])))


def resume(job: Job, work: Work) -> Point:
    """Take up what earlier attempts left, each learner where all its trials stand; returns where the first one does."""
    for training in work.trainings:
        tasks = [observer.task for observer in training.observers]
        found = checkpoint.newest_common(tasks, _core(job, work.environment))
        if found is None:
            continue
        training.learner.restore(found[0].learner)
        training.losses.extend(found[0].losses.to(work.device))
        training.joins, training.seconds = found[0].point, found[0].seconds
        for observer, saved in zip(training.observers, found, strict=True):
            observer.restore(saved.observer, saved.results)
    return min(training.joins for training in work.trainings)


def save(job: Job, work: Work, training: Training, at: Point, seconds: float | None) -> None:
    """The checkpoints of a learner's trials at `at`; older ones stay until all trials of the job have theirs.

    `seconds` were spent on the updates of the epoch under way. Raises DiskFullError and OSError.
    """
    learner, core = training.learner.state(), _core(job, work.environment)
    losses = torch.stack(training.losses).cpu() if training.losses else torch.empty(0)
    for observer in training.observers:
        key, state, results = observer.task.key, observer.state(), observer.results
        saved = Checkpoint(core, key, *at, learner, losses, seconds, state, results)
        checkpoint.save(observer.task.directory, saved)


def prune(trainings: Sequence[Training], at: Point) -> None:
    """Drop all checkpoints of these but those of `at`: so a kill leaves a point that all their trials have."""
    for training in trainings:
        for observer in training.observers:
            checkpoint.prune(observer.task, at)
