"""What a job computes with: set up from the job, taken up from checkpoints, saved to them. It computes nothing."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tinyablate.identity import trunk
from tinyablate.job import Environment, Job, TrialTask
from tinyablate.recipe import Evaluate, Recipe
from tinyablate.train import checkpoint
from tinyablate.train import device as devices
from tinyablate.train.batches import TrainBatches
from tinyablate.train.checkpoint import Checkpoint
from tinyablate.train.data import images
from tinyablate.train.evaluate import EvalSet
from tinyablate.train.inputs import Inputs, channel_statistics
from tinyablate.train.learner import Learner
from tinyablate.train.model.build import Built, build_model
from tinyablate.train.observer import Observer


@dataclass(frozen=True)
class Work:
    """One learner, its observers, and what they see."""

    recipe: Recipe
    """The trials' common one; what differs between them is the observers' business."""
    batches: TrainBatches
    evaluations: dict[Evaluate, EvalSet]
    """What is evaluated on, for each way in which a trial of the job wants it."""
    learner: Learner
    observers: list[Observer]
    """One per trial that has not diverged."""
    built: Built
    environment: Environment
    alone: bool
    """Whether times are one trial's own."""
    reads_losses: bool
    """Whether every loss is read at once. On a GPU that would make the host wait; there it is read once an epoch."""


def prepare(job: Job) -> Work:
    """Set up `job` at its beginning. Raises RecipeError, WeightsError, DataError; FileNotFoundError for a directory."""
    recipe, seed = _common(job.tasks)
    for task in job.tasks:
        if not task.directory.is_dir():
            raise FileNotFoundError(f"{task.directory}: the attempt's directory is gone")
    device = devices.settle(job.device)
    data = images.load(job.data, device)
    built = build_model(
        recipe.model, image_size=recipe.data.image_size, classes=data.classes, seed=seed, weights=job.weights
    )
    mean, std = channel_statistics(recipe.data.normalize, (built.mean, built.std))
    inputs = Inputs(built.image_size, mean, std, device, built.crop_pct)
    batches = TrainBatches(recipe, data.train, inputs, classes=data.classes, seed=seed)
    settings = dict.fromkeys(task.recipe.evaluate for task in job.tasks)
    learner = Learner(recipe, built, seed=seed, device=device, steps=batches.steps, micro_batch=job.micro_batch)
    return Work(
        recipe=recipe,
        batches=batches,
        evaluations={setting: EvalSet(setting, data, inputs) for setting in settings},
        learner=learner,
        observers=[Observer(task, learner) for task in job.tasks],
        built=built,
        environment=dataclasses.replace(devices.environment(device, data.digest), weights_digest=job.weights_digest),
        alone=len(job.tasks) == 1,
        reads_losses=device.type == "cpu",
    )


def _common(tasks: Sequence[TrialTask]) -> tuple[Recipe, int]:
    """The recipe, less what observers do, and the seed of all tasks. Raises ValueError where there are several."""
    common, *others = ((trunk(task.recipe), task.seed) for task in tasks)
    if any(other != common for other in others):
        raise ValueError("the trials of a job differ in more than what observers do")
    return common


def _core(job: Job, environment: Environment) -> str:
    """What a checkpoint must come from to be continued: a trial is never half of one code, half of another."""
    return " ".join(
        (job.core, environment.device, environment.torch, environment.timm, environment.data_digest, job.weights_digest)
    )


def resume(job: Job, work: Work) -> int:
    """Take up what earlier attempts left of all trials, if anything; returns the number of epochs done."""
    found = checkpoint.newest_common(job.tasks, _core(job, work.environment))
    if found is None:
        return 0
    work.learner.restore(found[0].learner)
    for observer, saved in zip(work.observers, found, strict=True):
        observer.restore(saved.observer, saved.results)
    return found[0].epoch


def save(job: Job, work: Work, epoch: int) -> None:
    """Every trial's checkpoint of `epoch`. Older ones go when all have it, so that a kill leaves a common epoch."""
    learner, core = work.learner.state(), _core(job, work.environment)
    for observer in work.observers:
        key, state, results = observer.task.key, observer.state(), observer.results
        checkpoint.save(observer.task.directory, Checkpoint(core, key, epoch, learner, state, results))
    for observer in work.observers:
        checkpoint.prune(observer.task.directory, epoch)
