"""Whole jobs: events, observers, resuming, divergence."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tinyablate.errors import DataError, RecipeError
from tinyablate.job import Checkpointed, EpochDone, Finished, Job, Outcome, Progress, Started
from tinyablate.train import checkpoint
from tinyablate.train.loop import run_job

Lab = Any
Change = Any


def numbers(outcome: Outcome) -> list[tuple[Any, ...]]:
    """All that must be bit-equal: every epoch's numbers but its times."""
    return [
        (e.observer, e.epoch, e.lr, e.train_loss, e.val_loss, e.val_top1, e.val_top5, e.correct) for e in outcome.epochs
    ]


def saved(directory: Path) -> dict[str, torch.Tensor]:
    """Every tensor of an attempt's newest checkpoint."""
    (file,) = directory.glob("*.pt")
    found = checkpoint.load(file)
    assert found is not None
    moments = {
        f"{index}.{name}": value
        for index, state in found.learner["optimizer"]["state"].items()
        for name, value in state.items()
    }
    return {**found.learner["tensors"], **moments, **{f"ema.{name}": value for name, value in found.observer.items()}}


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    """Bit-equal tensors under equal names."""
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_lone_trial_tells_its_events_in_order(lab: Lab, changed: Change) -> None:
    """Started, for each epoch a Progress per update and evaluated batch, EpochDone and Checkpointed, then Finished."""
    ran = lab.run(lab.task("a", changed(schedule__epochs=2)))
    kinds = [type(event) for event in ran.events]
    assert kinds == [Started, *([Progress] * 7 + [EpochDone, Checkpointed]) * 2, Finished]
    assert (ran.started.epoch, ran.started.step) == (1, 0)
    assert [event for event in ran.events if isinstance(event, Checkpointed)] == [Checkpointed(e, 5) for e in (1, 2)]
    assert [(p.epoch, p.epochs, p.step, p.steps) for p in ran.progress[:8]] == [
        *((1, 2, step, 7) for step in range(1, 8)),
        (2, 2, 1, 7),
    ]
    assert all(p.images_per_second > 0 for p in ran.progress)
    assert [done.result for done in ran.epochs] == list(ran.outcomes["a"].epochs)


def test_an_outcome_holds_what_was_measured(lab: Lab, changed: Change) -> None:
    """Percentages agree with the correctness bits; parameters are counted; a lone trial's times are its own."""
    outcome = lab.outcome(changed(schedule__epochs=1))
    (epoch,) = outcome.epochs
    assert outcome.state == "complete"
    assert len(epoch.correct) == 38  # 300 bits
    assert sum(bin(byte).count("1") for byte in epoch.correct) == round(3 * epoch.val_top1)
    assert epoch.val_top5 >= epoch.val_top1
    metrics = dict(outcome.metrics)
    assert metrics["parameters"] == metrics["trainable_parameters"] > 300_000
    assert epoch.seconds is not None
    assert epoch.seconds > 0
    assert epoch.images_per_second is not None
    assert epoch.images_per_second > 200 / epoch.seconds


def test_training_learns(lab: Lab, changed: Change) -> None:
    """After 12 epochs of 200 images a plain run is 5 standard errors above chance (10 %) on images it never saw."""
    off = {"mix__mixup_alpha": 0.0, "mix__cutmix_alpha": 0.0, "augment__erase_prob": 0.0}
    plain = changed(**off, schedule__epochs=12, batch__size=20, optimizer__lr=5e-3)
    epochs = lab.outcome(plain).epochs
    assert epochs[-1].train_loss < 0.7 * epochs[0].train_loss
    assert epochs[-1].val_top1 > 20


def test_the_environment_is_recorded(lab: Lab, changed: Change) -> None:
    """Started says where and with what the attempt computes: on a CPU one thread, never compiled."""
    environment = lab.run(lab.task("a", changed(schedule__epochs=1))).started.environment
    assert (environment.threads, environment.compiled, environment.memory_format) == (1, False, "channels_last")
    assert environment.torch == torch.__version__
    assert environment.driver == ""
    assert len(environment.data_digest) == 64
    assert all((environment.host, environment.device, environment.python, environment.torchvision, environment.timm))


VARIANTS: dict[str, dict[str, Any]] = {
    "resnet-adamw-ema": {"ema__decay": 0.9},
    "resnet-nesterov": {"optimizer__name": "sgd", "optimizer__nesterov": True, "optimizer__lr": 0.05},
    "vit-droppath-ema": {
        "model__name": "test_vit",
        "model__drop_path": 0.3,
        "ema__decay": 0.8,
        "augment__erase_order": "after-mix",
        "augment__erase_mode": "rand",
    },
    "vit-head-dropout": {"model__name": "test_vit", "model__trainable": "head", "model__args": {"drop_rate": 0.5}},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_resuming_is_bit_equal_to_an_unbroken_run(lab: Lab, changed: Change, name: str) -> None:
    """Abandoned in any place and continued twice by new attempts, a trial has the same metrics, weights and moments."""
    recipe = changed(**VARIANTS[name])
    whole = lab.task("a", recipe)
    expected = lab.run(whole).outcomes["a"]

    places = {"resnet-adamw-ema": (3, 12, 9), "resnet-nesterov": (9, 13), "vit-droppath-ema": (22, 3)}.get(
        name, (8, 10)
    )
    earlier: tuple[Path, ...] = ()
    for events in places:
        task = lab.task("a", recipe, earlier)
        for _ in itertools.islice(run_job(lab.job(task)), events):
            torch.rand(3)  # whoever drives may use the global generator
        earlier = (task.directory, *earlier)
    last = lab.task("a", recipe, earlier)
    ran = lab.run(last)

    assert ran.started.epoch == 1 + sum(events // 9 for events in places)
    assert numbers(ran.outcomes["a"]) == numbers(expected)
    assert_equal(saved(last.directory), saved(whole.directory))


def test_two_runs_are_bit_equal(lab: Lab, changed: Change) -> None:
    """The same trial gives the same numbers again, another seed gives others."""
    recipe = changed(schedule__epochs=1)
    first, second, other = lab.outcome(recipe), lab.outcome(recipe), lab.outcome(recipe, seed=1)
    assert numbers(first) == numbers(second)
    assert numbers(first) != numbers(other)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_a_shared_job_gives_every_trial_what_it_gets_alone(lab: Lab, changed: Change, model: str) -> None:
    """Raw weights and two averages in one job have the metrics and checkpoints of three lone jobs, bit for bit."""
    drop_path = 0.2 if model == "test_vit" else 0.0
    decays = {"raw": 0.0, "slow": 0.95, "fast": 0.5}
    recipes = {
        key: changed(model__name=model, model__drop_path=drop_path, schedule__epochs=2, ema__decay=decay)
        for key, decay in decays.items()
    }
    together = [lab.task(key, recipes[key]) for key in ("slow", "raw", "fast")]
    shared = lab.run(*together)
    for task in together:
        alone = lab.task(task.key, recipes[task.key])
        expected = lab.run(alone).outcomes[task.key]
        assert numbers(shared.outcomes[task.key]) == numbers(expected)
        assert_equal(saved(task.directory), saved(alone.directory))
    assert shared.outcomes["raw"].epochs[1].observer == "raw"
    assert shared.outcomes["slow"].epochs[1].observer == "ema"
    assert len({shared.outcomes[key].epochs[1].val_loss for key in decays}) == 3


def test_ways_of_evaluating_share_one_training(lab: Lab, changed: Change) -> None:
    """Centre crop, hold-out and validation set in one job give what each trial gets alone."""
    common = {"schedule__epochs": 1, "data__split": "train[:90%]"}
    ways = {
        "val": {},
        "center": {"evaluate__crop": "center", "evaluate__crop_pct": 0.8},
        "held-out": {"evaluate__split": "train[90%:]"},
    }
    recipes = {key: changed(**common, **way) for key, way in ways.items()}
    shared = lab.run(*[lab.task(key, recipe) for key, recipe in recipes.items()])
    for key, recipe in recipes.items():
        assert numbers(shared.outcomes[key]) == numbers(lab.run(lab.task(key, recipe)).outcomes[key])
    assert len({shared.outcomes[key].epochs[0].val_loss for key in ways}) == 3
    assert len(shared.outcomes["held-out"].epochs[0].correct) == 3  # 20 images, a bit each


def test_times_are_never_taken_from_a_shared_job(lab: Lab, changed: Change) -> None:
    """Where two trials shared the work, seconds and images/s are left out."""
    short = {"schedule__epochs": 1}
    ran = lab.run(lab.task("a", changed(**short)), lab.task("b", changed(**short, ema__decay=0.9)))
    for outcome in ran.outcomes.values():
        assert outcome.epochs[0].seconds is None
        assert outcome.epochs[0].images_per_second is None


def test_trials_of_lone_jobs_are_resumed_together(lab: Lab, changed: Change) -> None:
    """Checkpoints belong to trials: a job continues from what two other jobs left, at the newest epoch both have."""
    recipes = {"a": changed(), "b": changed(ema__decay=0.9)}
    left = {}
    for key, events in (("a", 18), ("b", 10)):  # a got through two epochs, b through one
        task = lab.task(key, recipes[key])
        copies = lab.folder / f"all-{key}"
        for event in itertools.islice(run_job(lab.job(task)), events):
            if isinstance(event, EpochDone):
                shutil.copytree(task.directory, copies, dirs_exist_ok=True)
        left[key] = copies
    ran = lab.run(*(lab.task(key, recipes[key], (left[key],)) for key in recipes))
    assert ran.started.epoch == 2
    for key, recipe in recipes.items():
        assert numbers(ran.outcomes[key]) == numbers(lab.outcome(recipe))


def test_another_core_is_not_continued(lab: Lab, changed: Change) -> None:
    """A checkpoint of another core version is left alone, and so is one of another trial."""
    recipe = changed(schedule__epochs=1)
    task = lab.task("a", recipe)
    lab.run(task)
    assert lab.run(lab.task("a", recipe, (task.directory,)), core="other").started.epoch == 1
    assert lab.run(lab.task("b", recipe, (task.directory,))).started.epoch == 1


def test_a_finished_trial_is_told_again_without_training(lab: Lab, changed: Change) -> None:
    """If its driver died before committing, the last checkpoint gives the outcome at once."""
    recipe = changed(schedule__epochs=2)
    task = lab.task("a", recipe)
    first = lab.run(task).outcomes["a"]
    again = lab.run(lab.task("a", recipe, (task.directory,)))
    assert not again.progress
    assert again.outcomes["a"].epochs == first.epochs


def test_only_the_newest_checkpoint_is_kept(lab: Lab, changed: Change) -> None:
    """After each EpochDone every trial's directory holds that epoch's checkpoint and nothing else."""
    tasks = [lab.task("a", changed()), lab.task("b", changed(ema__decay=0.9))]
    for event in run_job(lab.job(*tasks)):
        if isinstance(event, EpochDone):
            names = [[file.name for file in task.directory.iterdir()] for task in tasks]
            assert names == [[f"epoch-{event.result.epoch:04d}.pt"]] * 2


def test_a_vanished_directory_is_made_again(lab: Lab, changed: Change) -> None:
    """Another driver gave the attempt up and removed its directory: the late result arrives all the same."""
    task = lab.task("a", changed(schedule__epochs=2))
    expected = lab.outcome(task.recipe)
    events = []
    for event in run_job(lab.job(task)):
        if isinstance(event, Started | EpochDone):
            shutil.rmtree(lab.folder)
        events.append(event)
    (finished,) = (event for event in events if isinstance(event, Finished))
    assert numbers(finished.outcome) == numbers(expected)


def test_trials_that_are_no_job_are_refused(lab: Lab, changed: Change) -> None:
    """Trials that differ in more than what observers do, or in their seed, are never trained as one."""
    with pytest.raises(ValueError, match="differ"):
        lab.run(lab.task("a"), lab.task("b", changed(optimizer__lr=1e-4)))
    with pytest.raises(ValueError, match="differ"):
        lab.run(lab.task("a"), lab.task("b", changed(ema__decay=0.9), seed=1))


def test_a_batch_larger_than_the_data_set_is_refused(lab: Lab, changed: Change) -> None:
    """The message names the field and the number of images."""
    with pytest.raises(RecipeError, match=r"batch\.size = 202: .* 200 images"):
        lab.outcome(changed(batch__size=202))


def test_unprepared_data_is_refused(lab: Lab) -> None:
    """A folder without a data set raises DataError before anything is trained."""
    with pytest.raises(DataError):
        list(run_job(Job("job", (lab.task("a"),), lab.folder / "nothing")))


def diverging(changed: Change, **more: Any) -> Any:
    """A recipe whose weights explode."""
    return changed(model__name="test_vit", optimizer__name="sgd", schedule__warmup_epochs=0.0, **more)


def test_a_loss_that_is_not_finite_is_an_outcome(lab: Lab, changed: Change) -> None:
    """All trials of the job end as diverged in that epoch, at the update that shows it, with no epoch to their name."""
    recipe = diverging(changed, optimizer__lr=1e30)
    ran = lab.run(lab.task("a", recipe), lab.task("b", changed(recipe, ema__decay=0.9)))
    assert {key: (o.state, o.diverged_epoch, o.epochs) for key, o in ran.outcomes.items()} == {
        "a": ("diverged", 1, ()),
        "b": ("diverged", 1, ()),
    }
    assert len(ran.progress) < 5


def test_epochs_before_the_divergence_are_kept(lab: Lab, changed: Change) -> None:
    """A warm-up that begins harmlessly and ends far too high: the finite epochs stand in the outcome."""
    recipe = diverging(changed, optimizer__lr=1e30, schedule__epochs=4)
    recipe = changed(recipe, schedule__warmup_epochs=4.0, schedule__warmup_lr=0.0, batch__size=200, optimizer__lr=1e9)
    outcome = lab.outcome(recipe)
    assert outcome.state == "diverged"
    assert outcome.diverged_epoch == len(outcome.epochs) + 1
    assert outcome.epochs


def test_a_validation_loss_that_is_not_finite_ends_only_its_trial(lab: Lab, changed: Change) -> None:
    """One update breaks the raw weights and hardly moves a slow average: one trial diverges, the other does not."""
    recipe = diverging(changed, optimizer__lr=1e14, batch__size=200, schedule__epochs=1)
    ran = lab.run(lab.task("raw", recipe), lab.task("ema", changed(recipe, ema__decay=1 - 1e-15)))
    assert (ran.outcomes["raw"].state, ran.outcomes["raw"].diverged_epoch) == ("diverged", 1)
    assert (ran.outcomes["ema"].state, len(ran.outcomes["ema"].epochs)) == ("complete", 1)


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains_the_same_trial(lab: Lab, changed: Change, precision: str) -> None:
    """On CUDA the first update's loss is the CPU's to rounding, resuming works and divergence is told once an epoch."""
    recipe = changed(precision=precision, schedule__epochs=1, ema__decay=0.9)
    ours, cpu = lab.outcome(recipe, device="cuda").epochs[0], lab.outcome(recipe).epochs[0]
    assert ours.train_loss == pytest.approx(cpu.train_loss, rel=0.02)
    task = lab.task("a", changed(recipe, schedule__epochs=2))
    for _ in itertools.islice(run_job(lab.job(task, device="cuda")), 10):
        pass
    assert lab.run(lab.task("a", task.recipe, (task.directory,)), device="cuda").started.epoch == 2
    assert lab.outcome(diverging(changed, optimizer__lr=1e30), device="cuda").state == "diverged"
