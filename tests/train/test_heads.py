"""Heads on one frozen trunk: every number is the lone trial's, whatever becomes of the others."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tinyablate.job import EpochDone, Failed, Finished, Outcome
from tinyablate.recipe import Recipe
from tinyablate.train import loop
from tinyablate.train.loop import run_job

Lab = Any
Change = Any

SMALL = {"depth": 2, "embed_dim": 24, "num_heads": 2}

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "rate": {"optimizer__lr": 1e-2, "optimizer__weight_decay": 0.2, "loss__smoothing": 0.0},
    "lamb": {"optimizer__name": "lamb", "optimizer__clip_norm": 1.0},
    "sgd": {"optimizer__name": "sgd", "optimizer__lr": 1e-2, "batch__accumulation": 4, "batch__divide_loss": False},
    "sam": {"optimizer__perturbation": "sam", "optimizer__second_draw": True},
    "asam": {"optimizer__perturbation": "asam", "optimizer__rho": 0.5},
    "pugd": {"optimizer__perturbation": "pugd", "optimizer__name": "sgd"},
    "short": {"schedule__epochs": 1, "schedule__warmup_epochs": 0.0},
    "average": {"ema__decay": 0.9, "ema__warmup": True},
    "half": {"evaluate__precision": "bf16"},
}
"""What trials on one trunk may differ in. `average` and `half` observe the training of `adamw`."""


@pytest.fixture(scope="module")
def base(changed: Change) -> Recipe:
    """The heads of a small distilled ViT with drop-path: two epochs."""
    return changed(
        model__name="deit_tiny_distilled_patch16_224",
        model__args=SMALL,
        model__trainable="head",
        model__drop_path=0.2,
        schedule__epochs=2,
    )


def numbers(outcome: Outcome) -> list[Any]:
    """All of an outcome's epochs but their times."""
    return [dataclasses.replace(epoch, seconds=None, images_per_second=None) for epoch in outcome.epochs]


@pytest.fixture(scope="module")
def recipes(base: Recipe, changed: Change) -> dict[str, Recipe]:
    """Ten trials that one trunk serves."""
    return {name: changed(base, **leaves) for name, leaves in OPTIMIZERS.items()}


def test_every_head_has_its_lone_trials_numbers(lab: Lab, recipes: dict[str, Recipe]) -> None:
    """Ten trials with their own optimizers, smoothing, lengths and observers, in one job and one by one: bit-equal."""
    together = lab.run(*(lab.task(name, recipe) for name, recipe in recipes.items())).outcomes
    assert together.keys() == recipes.keys()
    for name, recipe in recipes.items():
        assert numbers(together[name]) == numbers(lab.outcome(recipe)), name
    assert len({str(numbers(outcome)) for outcome in together.values()}) == len(recipes)  # each is a trial of its own


def test_times_are_not_told_of_a_shared_job(lab: Lab, recipes: dict[str, Recipe]) -> None:
    """A trunk's pass belongs to nobody: seconds and images/s stand with lone trials only."""
    both = lab.run(lab.task("a", recipes["adamw"]), lab.task("b", recipes["sgd"]))
    assert {(done.result.seconds, done.result.images_per_second) for done in both.epochs} == {(None, None)}


@pytest.mark.parametrize("name", ["test_vit", "cait_xxs24_224", "swin_tiny_patch4_window7_224"])
def test_a_head_on_a_trunk_equals_the_whole_model(
    lab: Lab, changed: Change, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Cut in front of the classifier or passed whole, with its trunk frozen, a model trains to the same bits."""
    small = {"test_vit": {}, "cait_xxs24_224": SMALL, "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1)}}[name]
    recipe = changed(model__name=name, model__args=small, model__trainable="head", schedule__epochs=1)
    cut = lab.outcome(recipe)
    monkeypatch.setattr("tinyablate.train.work.frozen_trunk", lambda *_: False)
    assert numbers(lab.outcome(recipe)) == numbers(cut)


def test_features_that_are_kept_change_nothing(lab: Lab, recipes: dict[str, Recipe]) -> None:
    """Computed once or in every epoch, the features of the evaluated images give the same numbers."""
    task = lab.task("a", recipes["adamw"])
    anew = dataclasses.replace(lab.job(task), cache_features=False)
    (outcome,) = (event.outcome for event in run_job(anew) if isinstance(event, Finished))
    assert numbers(outcome) == numbers(lab.outcome(recipes["adamw"]))


def test_micro_batches_pass_the_trunk_in_parts(lab: Lab, recipes: dict[str, Recipe]) -> None:
    """The features are those of the whole batch to rounding, so the first epoch's loss is too."""
    whole, parts = (
        lab.run(lab.task("a", recipes["adamw"]), micro_batch=micro).outcomes["a"].epochs[0] for micro in (None, 16)
    )
    assert parts.train_loss == pytest.approx(whole.train_loss, rel=1e-5)


def test_a_diverging_learner_leaves_the_others_untouched(lab: Lab, base: Recipe, changed: Change) -> None:
    """Beside a learning rate that blows up, the other trial has its lone numbers."""
    wild = changed(base, optimizer__name="sgd", optimizer__lr=1e30)
    ran = lab.run(lab.task("wild", wild), lab.task("calm", base)).outcomes
    assert (ran["wild"].state, ran["wild"].diverged_epoch) == ("diverged", 1)
    assert numbers(ran["calm"]) == numbers(lab.outcome(base))


def test_a_failing_learner_leaves_the_others_untouched(lab: Lab, base: Recipe, changed: Change) -> None:
    """A trial that cannot write its checkpoint fails by its key; its observer fails with it, the others go on."""
    broken = changed(base, optimizer__lr=1e-2)
    tasks = [lab.task("broken", broken), lab.task("watcher", changed(broken, ema__decay=0.9)), lab.task("calm", base)]
    events = []
    for event in run_job(lab.job(*tasks)):
        events.append(event)
        if isinstance(event, EpochDone) and event.key == "broken":
            shutil.rmtree(tasks[0].directory)
            tasks[0].directory.write_text("in the way")
    failed = {event.key: event for event in events if isinstance(event, Failed)}
    assert failed.keys() == {"broken", "watcher"}
    assert failed["broken"].cause == "exception"
    assert "File exists" in failed["broken"].message
    (finished,) = (event for event in events if isinstance(event, Finished))
    assert finished.key == "calm"
    assert numbers(finished.outcome) == numbers(lab.outcome(base))


def test_memory_that_runs_out_ends_the_job(
    lab: Lab, base: Recipe, changed: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no learner's own failure: the driver tries the job again in smaller parts."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(loop, "_update", full)
    with pytest.raises(torch.OutOfMemoryError):
        lab.run(lab.task("a", base), lab.task("b", changed(base, optimizer__lr=1e-2)))


@pytest.mark.parametrize("epochs", [1, 2])
def test_heads_resume_bit_equal(lab: Lab, base: Recipe, changed: Change, epochs: int) -> None:
    """Abandoned after any epoch and taken up again, in a job of the same trials or alone, every number is the same."""
    recipes = {
        "adamw": changed(base, schedule__epochs=3),
        "sam": changed(base, schedule__epochs=3, optimizer__name="sgd", optimizer__perturbation="sam"),
        "average": changed(base, schedule__epochs=3, ema__decay=0.9, ema__warmup=True),
    }
    straight = lab.run(*(lab.task(name, recipe) for name, recipe in recipes.items())).outcomes
    tasks = [lab.task(name, recipe) for name, recipe in recipes.items()]
    done = 0
    for event in run_job(lab.job(*tasks)):
        done += isinstance(event, EpochDone)
        if done == epochs * len(tasks):
            break
    again = [lab.task(task.key, task.recipe, earlier=(task.directory,)) for task in tasks]
    resumed = lab.run(*again[:2])
    assert resumed.started.epoch == epochs + 1
    outcomes = {**resumed.outcomes, **lab.run(again[2]).outcomes}
    assert {key: numbers(outcome) for key, outcome in outcomes.items()} == {
        key: numbers(outcome) for key, outcome in straight.items()
    }


def test_a_trunk_that_drifts_is_not_shared(lab: Lab, changed: Change) -> None:
    """BatchNorm in training mode changes the trunk at every pass: two learners on it are refused, one trains whole."""
    recipe = changed(model__trainable="head", schedule__epochs=1)
    with pytest.raises(ValueError, match="cannot be shared"):
        lab.run(lab.task("a", recipe), lab.task("b", changed(recipe, optimizer__lr=1e-2)))
    lone = lab.outcome(recipe)
    steady = lab.run(
        lab.task("a", changed(recipe, model__backbone_mode="eval")),
        lab.task("b", changed(recipe, model__backbone_mode="eval", optimizer__lr=1e-2)),
    ).outcomes
    assert lone.state == steady["a"].state == steady["b"].state == "complete"


def test_trials_of_another_trunk_are_refused(lab: Lab, base: Recipe, changed: Change) -> None:
    """Another drop-path, seed or batch is another pass of the trunk."""
    for other in (changed(base, model__drop_path=0.1), changed(base, batch__size=20)):
        with pytest.raises(ValueError, match="differ in more"):
            lab.run(lab.task("a", base), lab.task("b", other))
    with pytest.raises(ValueError, match="differ in more"):
        lab.run(lab.task("a", base), lab.task("b", changed(base, optimizer__lr=1e-2), seed=1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_heads_on_a_gpu_stay_close_to_lone_trials(lab: Lab, recipes: dict[str, Recipe]) -> None:
    """Over 20 updates on CUDA losses agree to 1e-4 relative: products of other shapes may sum in another order."""
    long = {
        name: dataclasses.replace(recipe, schedule=dataclasses.replace(recipe.schedule, epochs=4))
        for name, recipe in recipes.items()
    }
    together = lab.run(*(lab.task(name, recipe) for name, recipe in long.items()), device="cuda").outcomes
    for name, recipe in long.items():
        alone = lab.outcome(recipe, device="cuda")
        for ours, theirs in zip(together[name].epochs, alone.epochs, strict=True):
            assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-4), name


def test_checkpoints_hold_the_head_alone(lab: Lab, recipes: dict[str, Recipe], tmp_path: Path) -> None:
    """Every trial's own file, of 500 parameters and not of the model's 40,000."""
    tasks = [lab.task(name, recipes[name]) for name in ("adamw", "sgd")]
    lab.run(*tasks)
    for task in tasks:
        (file,) = task.directory.glob("*.pt")
        assert file.stat().st_size < 40_000
