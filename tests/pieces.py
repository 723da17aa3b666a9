"""Trials computed in pieces: attempts that save where they are told to, and are left at some event as a kill would."""

import dataclasses
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tinyablate.job import EpochDone, Finished, Job, Outcome, Started, TrialTask
from tinyablate.recipe import Recipe
from tinyablate.train import checkpoint
from tinyablate.train.loop import run_job

Tensors = dict[str, torch.Tensor]
Change = Callable[[Job], Job]


def numbers(outcome: Outcome) -> tuple[Any, ...]:
    """All that must be bit-equal: state, metrics, every epoch's numbers and bits, but not its times."""
    epochs = [dataclasses.replace(epoch, seconds=None, images_per_second=None) for epoch in outcome.epochs]
    return outcome.state, outcome.diverged_epoch, outcome.metrics, epochs


def tensors(task: TrialTask) -> Tensors:
    """Every tensor of a trial's only checkpoint: weights, buffers, moments, averages."""
    (file,) = (file for directory in (task.directory, *task.earlier) for file in directory.glob("epoch-*.pt"))
    found = checkpoint.load(file)
    assert found is not None
    moments = {
        f"{index}.{name}": value
        for index, state in found.learner["optimizer"]["state"].items()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    return {**found.learner["tensors"], **moments, **{f"ema.{name}": value for name, value in found.observer.items()}}


@dataclass
class Told:
    """What trials came to, in one piece or in several."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    tensors: dict[str, Tensors] = field(default_factory=dict)
    """Of the last checkpoint of each that is complete."""
    starts: list[Started] = field(default_factory=list)
    epochs: dict[str, list[int]] = field(default_factory=dict)
    """Of which epochs each trial was told."""

    def take(self, event: object, job: Job) -> None:
        """Note an event of this job."""
        if isinstance(event, Started):
            self.starts.append(event)
        elif isinstance(event, EpochDone):
            self.epochs.setdefault(event.key, []).append(event.result.epoch)
        elif isinstance(event, Finished):
            self.outcomes[event.key] = event.outcome
            if event.outcome.state == "complete":
                (task,) = (task for task in job.tasks if task.key == event.key)
                self.tensors[event.key] = tensors(task)

    def differences(self, other: "Told") -> list[str]:
        """What of it is not bit-equal."""
        assert self.outcomes.keys() == other.outcomes.keys()
        assert self.tensors.keys() == other.tensors.keys()
        found = [key for key in self.outcomes if numbers(self.outcomes[key]) != numbers(other.outcomes[key])]
        for key, ours in self.tensors.items():
            theirs = other.tensors[key]
            assert ours.keys() == theirs.keys()
            found += [f"{key}: {name}" for name in ours if not torch.equal(ours[name], theirs[name])]
        return found


def in_one(lab: Any, recipes: Mapping[str, Recipe], change: Change = lambda job: job) -> Told:
    """All trials in one job that nothing disturbs."""
    told = Told()
    job = change(lab.job(*(lab.task(key, recipe) for key, recipe in recipes.items())))
    for event in run_job(job):
        told.take(event, job)
    return told


def in_pieces(
    lab: Any,
    recipes: Mapping[str, Recipe],
    seed: int,
    change: Change = lambda job: job,
    *,
    jobs: int = 1,
    most: int = 16,
) -> Told:
    """The same in attempts that are cut at random, after `most` events at the latest (an evaluation must fit in).

    Jobs are formed anew at every cut, up to `jobs` of whatever trials are left.
    """
    draw, told = random.Random(seed), Told()
    earlier: dict[str, tuple[Path, ...]] = dict.fromkeys(recipes, ())
    while left := [key for key in recipes if key not in told.outcomes]:
        draw.shuffle(left)
        together = left[: -(-len(left) // draw.randint(1, jobs))]
        tasks = [lab.task(key, recipes[key], earlier[key]) for key in together]
        job = change(lab.job(*tasks))
        for event in itertools.islice(
            run_job(job, lambda: draw.random() < 0.4), draw.randint(2, draw.choice((most // 2, most // 2, most)))
        ):
            told.take(event, job)
            torch.rand(3)  # whoever drives may use the global generator
        earlier |= {task.key: (task.directory, *earlier[task.key]) for task in tasks}
    return told
