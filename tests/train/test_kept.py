"""Kept weights: what was evaluated last, whole, loadable by timm without running code, named in the outcome."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from tinyablate import retention
from tinyablate.job import Finished, Job, Outcome
from tinyablate.recipe import Evaluate, Recipe
from tinyablate.train.data import images
from tinyablate.train.evaluate import EvalSet, Evaluation
from tinyablate.train.inputs import Inputs
from tinyablate.train.loop import run_job
from tinyablate.train.model.build import build_model

Lab = Any
Change = Any
CPU = torch.device("cpu")

DISTILLED: dict[str, Any] = {
    "model__name": "deit_tiny_distilled_patch16_224",
    "model__args": {"depth": 2, "embed_dim": 24, "num_heads": 2},
    "model__drop_path": 0.2,
}


def outcomes(job: Job) -> dict[str, Outcome]:
    """Of all trials of a job that keeps weights."""
    return {e.key: e.outcome for e in run_job(replace(job, keep_weights=True)) if isinstance(e, Finished)}


def loaded(file: Path, recipe: Recipe) -> torch.nn.Module:
    """timm's model with these weights, strictly."""
    size = {"img_size": 32} if "vit" in recipe.model.name or "deit" in recipe.model.name else {}
    model = timm.create_model(recipe.model.name, num_classes=10, **size, **recipe.model.args)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()


def losses(model: torch.nn.Module, recipe: Recipe, data: Path) -> tuple[float, bytes]:
    """Validation loss and the correctness bits of a model."""
    built = build_model(recipe.model, image_size=32, classes=10, seed=0, weights=None)
    shown = EvalSet(Evaluate(), images.load(data, CPU), Inputs(32, built.mean, built.std, CPU, built.crop_pct))
    evaluation = Evaluation(model.to(memory_format=torch.channels_last))
    for inputs, labels in shown.batches():
        evaluation.add(inputs, labels)
    scores = evaluation.scores()
    return scores.loss, scores.correct


@pytest.mark.parametrize(
    "leaves", [{}, {"model__name": "test_vit", "model__drop_path": 0.2}, {**DISTILLED, "model__trainable": "head"}]
)
def test_kept_weights_are_those_that_were_evaluated_last(
    lab: Lab, changed: Change, small_data: Path, leaves: dict[str, Any]
) -> None:
    """A raw trial's and an averaged one's, trained whole or as a head: timm's model gives their bits and their loss."""
    base = changed(**leaves, schedule__epochs=1)
    tasks = [lab.task("raw", base), lab.task("ema", changed(base, ema__decay=0.8))]
    found = outcomes(lab.job(*tasks))
    for task in tasks:
        (digest,) = found[task.key].files
        file = task.directory / digest.path
        assert (digest.kind, digest.path, digest.bytes) == ("weights", "weights.pt", file.stat().st_size)
        assert digest.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        loss, correct = losses(loaded(file, task.recipe), task.recipe, small_data)
        assert correct == found[task.key].epochs[-1].correct
        # the same weights in a model that was not cut: to float32's rounding
        assert loss == pytest.approx(found[task.key].epochs[-1].val_loss, rel=1e-6)
        retention.drop(task.directory)
        assert [each.name for each in task.directory.iterdir()] == ["weights.pt"]
    raw, ema = ((task.directory / "weights.pt").read_bytes() for task in tasks)
    assert raw != ema


def test_weights_are_kept_only_where_they_are_asked_for_and_exist(lab: Lab, changed: Change) -> None:
    """Without the wish there is no file; a trial that diverged leaves none."""
    task = lab.task("a", changed(schedule__epochs=1))
    assert lab.run(task).outcomes["a"].files == ()
    assert not (task.directory / "weights.pt").exists()
    wild = lab.task("a", changed(optimizer__name="sgd", optimizer__lr=1e30))
    found = outcomes(lab.job(wild))["a"]
    assert (found.state, found.files) == ("diverged", ())
    assert list(wild.directory.iterdir()) == []


def test_a_finished_trial_told_again_keeps_its_weights(lab: Lab, changed: Change) -> None:
    """Its driver died before committing: the next attempt's directory gets the same bytes, beside no checkpoint."""
    first = lab.task("a", changed(schedule__epochs=1, ema__decay=0.9))
    told = outcomes(lab.job(first))["a"]
    again = lab.task("a", first.recipe, (first.directory,))
    assert outcomes(lab.job(again))["a"].files == told.files
    assert [file.name for file in again.directory.iterdir()] == ["weights.pt"]
