"""Trials that are cut anywhere and continued: bit-equal to unbroken ones, honest times, one checkpoint on the disk."""

import dataclasses
import itertools
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pieces import Told, in_one, in_pieces, numbers

from tinyablate import faults
from tinyablate.errors import DiskFullError
from tinyablate.job import Checkpointed, EpochDone, EpochResult, Event, Failed, Finished, Job, Progress
from tinyablate.recipe import Recipe
from tinyablate.train.loop import run_job
from tinyablate.train.pace import Pace

Lab = Any
Change = Any

VARIANTS: dict[str, tuple[dict[str, Any], int | None]] = {
    "resnet-native-warmup-ema": (
        {
            "augment__at": "native",
            "augment__policy": "torchvision-randaugment-n2-m9",
            "schedule__warmup_epochs": 1.5,
            "ema__decay": 0.9,
            "ema__warmup": True,
        },
        None,
    ),
    "vit-sam-accumulation-micro-batches": (
        {
            "model__name": "test_vit",
            "model__drop_path": 0.3,
            "optimizer__name": "sgd",
            "optimizer__nesterov": True,
            "optimizer__perturbation": "sam",
            "optimizer__second_draw": True,
            "batch__accumulation": 4,
            "batch__divide_loss": False,
            "ema__decay": 0.8,
            "data__split": "train[:80%]",
            "evaluate__split": "train[80%:]",
            "batch__size": 32,
        },
        16,
    ),
    "vit-asam-dropout-repeats": (
        {
            "model__name": "test_vit",
            "model__args": {"drop_rate": 0.3},
            "optimizer__perturbation": "asam",
            "optimizer__clip_norm": 1.0,
            "augment__repeats": 3,
            "augment__erase_order": "after-mix",
        },
        None,
    ),
    "resnet-pugd-sgd": (
        {"optimizer__name": "sgd", "optimizer__momentum": 0.0, "optimizer__perturbation": "pugd", "ema__decay": 0.5},
        None,
    ),
}
"""Leaves of a recipe, and the job's micro-batch."""


@pytest.mark.parametrize("name", VARIANTS)
def test_a_trial_in_pieces_is_bit_equal(lab: Lab, changed: Change, name: str) -> None:
    """Cut at random events, saved at random updates and evaluated batches, again and again: the same to the bit."""
    leaves, micro_batch = VARIANTS[name]
    recipes = {"a": changed(**leaves, schedule__epochs=2)}

    def in_parts(job: Job) -> Job:
        return dataclasses.replace(job, micro_batch=micro_batch)

    whole, pieces = in_one(lab, recipes, in_parts), in_pieces(lab, recipes, len(name), in_parts)
    assert pieces.differences(whole) == []
    assert any(start.step not in (0, 5) for start in pieces.starts), "nothing was continued within an epoch"


HEADS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "average": {"ema__decay": 0.9, "ema__warmup": True},
    "sam": {"optimizer__name": "sgd", "optimizer__perturbation": "sam", "optimizer__second_draw": True},
    "lamb": {"optimizer__name": "lamb", "schedule__epochs": 3},
    "short": {"schedule__epochs": 1, "schedule__warmup_epochs": 0.0},
    "wild": {"optimizer__name": "sgd", "optimizer__lr": 1e30},
    "sgd": {"optimizer__name": "sgd", "batch__accumulation": 4, "batch__divide_loss": False},
}


@pytest.fixture(scope="module")
def heads(changed: Change) -> dict[str, Recipe]:
    """Seven trials that one trunk serves, of one to three epochs; one diverges; two watch the same training."""
    base = changed(
        model__name="test_vit", model__trainable="head", model__drop_path=0.2, schedule__epochs=2, evaluate__split="val"
    )
    return {name: changed(base, **leaves) for name, leaves in HEADS.items()}


def test_heads_in_pieces_and_in_other_company_are_bit_equal(lab: Lab, heads: dict[str, Recipe]) -> None:
    """Jobs are formed anew at every cut, of all trials that are left or some; each continues from where it stands."""
    whole, pieces = in_one(lab, heads), in_pieces(lab, heads, seed=1, jobs=3, most=30)
    assert pieces.differences(whole) == []
    assert pieces.outcomes["wild"].diverged_epoch == 1
    assert len({(start.epoch, start.step) for start in pieces.starts}) > 3


def until(events: Any, *wanted: Event) -> list[Event]:
    """The events up to the last of those wanted, which is left there."""
    found, left = [], list(wanted)
    for event in events:
        found.append(event)
        if event == left[0]:
            left.pop(0)
            if not left:
                return found
    raise AssertionError(f"never came: {left}")


def test_learners_join_where_they_stand(lab: Lab, heads: dict[str, Recipe]) -> None:
    """Of two that got to different points the one ahead waits, and is neither trained nor told again."""
    names = ("adamw", "lamb")
    recipes = {name: heads[name] for name in names}
    ahead, behind = (lab.task(name, heads[name]) for name in names)
    until(run_job(lab.job(ahead), lambda: True), Checkpointed(2, 3))
    until(run_job(lab.job(behind), lambda: True), Checkpointed(1, 2))
    job = lab.job(*(lab.task(task.key, task.recipe, (task.directory,)) for task in (ahead, behind)))
    told = Told()
    for event in run_job(job):
        told.take(event, job)
    assert [(start.epoch, start.step) for start in told.starts] == [(1, 2)]
    assert told.epochs == {"adamw": [2], "lamb": [1, 2, 3]}
    assert told.differences(in_one(lab, recipes)) == []


def test_what_nobody_needs_is_not_computed(lab: Lab, heads: dict[str, Recipe]) -> None:
    """When the trial that was behind has ended, the job goes on where the next one stands."""
    long = dataclasses.replace(heads["adamw"], schedule=dataclasses.replace(heads["adamw"].schedule, epochs=4))
    ahead = lab.task("long", long)
    until(run_job(lab.job(ahead), lambda: True), Checkpointed(4, 1))
    tasks = [lab.task("long", long, (ahead.directory,)), lab.task("short", heads["short"])]
    progress = [event for event in run_job(lab.job(*tasks)) if isinstance(event, Progress)]
    assert [(each.epoch, each.step) for each in progress[:8]] == [(1, step) for step in range(1, 8)] + [(4, 2)]


def test_a_save_within_an_evaluation_starts_it_again(lab: Lab, changed: Change) -> None:
    """Such a checkpoint has all updates of the epoch: none is made again, the evaluation is."""
    task = lab.task("a", changed(schedule__epochs=1))
    asked = iter([False] * 5 + [True])  # after the first evaluated batch
    until(run_job(lab.job(task), lambda: next(asked)), Checkpointed(1, 5))
    again = lab.run(lab.task("a", task.recipe, (task.directory,)))
    assert (again.started.epoch, again.started.step) == (1, 5)
    assert [progress.step for progress in again.progress] == [6, 7]
    assert numbers(again.outcomes["a"]) == numbers(lab.outcome(task.recipe))


def test_a_driver_is_asked_after_every_unit_but_an_epochs_last(lab: Lab, changed: Change) -> None:
    """Each wish gives one Checkpointed just after the Progress; at an epoch's end there is one without asking."""
    asked: list[None] = []

    def due() -> bool:
        asked.append(None)
        return len(asked) % 2 == 0

    events = list(run_job(lab.job(lab.task("a", changed(schedule__epochs=2))), due))
    assert len(asked) == 2 * 6
    saved = [event for event in events if isinstance(event, Checkpointed)]
    assert saved == [Checkpointed(e, s) for e in (1, 2) for s in (2, 4, 5, 5)]
    before = [events[i - 1] for i, event in enumerate(events) if isinstance(event, Checkpointed)]
    assert [type(each) for each in before] == [Progress, Progress, Progress, EpochDone] * 2


def test_minutes_are_counted_from_the_last_save(lab: Lab, changed: Change) -> None:
    """No minutes save after every unit, many only at an epoch's end, none at all likewise."""

    def saves(minutes: float | None) -> int:
        job = dataclasses.replace(lab.job(lab.task("a", changed(schedule__epochs=1))), checkpoint_minutes=minutes)
        return sum(isinstance(event, Checkpointed) for event in run_job(job))

    assert (saves(0.0), saves(60.0), saves(None)) == (7, 1, 1)
    pace = Pace(lambda: False, 0.1 / 60)
    assert not pace.due()
    time.sleep(0.1)
    assert pace.due()
    pace.saved()
    assert not pace.due()


def test_one_checkpoint_lies_on_the_disk(lab: Lab, changed: Change) -> None:
    """At every Checkpointed each trial has one file, of all its attempts, whatever a killed one left half-written."""
    recipes = {"a": changed(schedule__epochs=2), "b": changed(schedule__epochs=2, ema__decay=0.9)}
    earlier: dict[str, tuple[Path, ...]] = dict.fromkeys(recipes, ())
    for cut in (6, 9, 40):
        tasks = [lab.task(key, recipe, earlier[key]) for key, recipe in recipes.items()]
        for event in itertools.islice(run_job(lab.job(*tasks), lambda: True), cut):
            if isinstance(event, Checkpointed):
                step = "" if event.step == 5 and not (tasks[0].directory / "epoch-0000+000005.pt").exists() else "+"
                for task in tasks:
                    (file,) = (f for d in (task.directory, *task.earlier) if d.exists() for f in d.iterdir())
                    assert file.parent == task.directory
                    assert bool(step) == ("+" in file.name) or event.step == 5
        earlier = {task.key: (task.directory, *earlier[task.key]) for task in tasks}
        for task in tasks:
            (task.directory / "epoch-0009.pt.part").write_bytes(b"half")


def only(events: Any) -> list[EpochResult]:
    """The results of a lone trial."""
    (outcome,) = (event.outcome for event in events if isinstance(event, Finished))
    return list(outcome.epochs)


def test_times_of_both_parts_are_counted_and_pauses_are_not(lab: Lab, changed: Change) -> None:
    """An epoch that was cut after its fourth update: the first part's seconds and the second's, no wait, no save."""
    task = lab.task("a", changed(schedule__epochs=1))
    (whole,) = only(run_job(lab.job(task)))
    first = lab.task("a", task.recipe)
    began = time.perf_counter()
    events = run_job(lab.job(first), lambda: True)
    until(events, *(Checkpointed(1, step) for step in range(1, 5)))
    spent = time.perf_counter() - began
    time.sleep(0.3)
    (file,) = first.directory.iterdir()
    saved = torch.load(file, weights_only=True)["seconds"]
    assert 0 < saved < spent
    second = lab.task("a", task.recipe, (first.directory,))
    began, held, found = time.perf_counter(), 0.0, []
    for event in run_job(lab.job(second)):
        found.append(event)
        time.sleep(0.05)
        held += 0.05
    (result,) = only(found)
    assert result.seconds is not None
    assert result.images_per_second is not None
    assert saved < result.seconds < saved + time.perf_counter() - began - held
    assert 200 / result.seconds < result.images_per_second < 200 / saved
    assert whole.seconds is not None


def test_a_part_that_was_shared_has_no_time(lab: Lab, changed: Change) -> None:
    """Updates made beside another trial belong to nobody: their epoch has no time, the next one has."""
    recipes = {"a": changed(schedule__epochs=2), "b": changed(schedule__epochs=2, ema__decay=0.9)}
    tasks = [lab.task(key, recipe) for key, recipe in recipes.items()]
    until(run_job(lab.job(*tasks), lambda: True), Checkpointed(1, 2))
    first, second = only(run_job(lab.job(lab.task("a", recipes["a"], (tasks[0].directory,)))))
    assert (first.seconds, first.images_per_second) == (None, None)
    assert second.seconds is not None


POINTS_OF_A_SAVE = 12
"""Before and after two fsyncs and a rename, of two trials."""


def killed_at(events: Iterator[Event], number: int) -> None:
    """Go on with a job in a fork of this process, which dies at the fault point `number` from here on."""
    child = os.fork()
    if child == 0:
        faults.arm(str(number))
        for _ in events:
            pass
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_a_kill_at_any_point_of_a_save_loses_nothing(lab: Lab, heads: dict[str, Recipe], tmp_path: Path) -> None:
    """Killed in the third save, at each fsync and rename, two trials of a job have the second or third, both of them.

    What lies there is one of three: neither, one or both have the new file. Each is continued bit-equal.
    """
    recipes = {name: heads[name] for name in ("adamw", "sam")}
    tasks = [lab.task(name, recipe) for name, recipe in recipes.items()]
    events = run_job(lab.job(*tasks), lambda: True)
    until(events, Checkpointed(1, 2))
    for task in tasks:
        shutil.copytree(task.directory, tmp_path / task.key)
    found: dict[tuple[tuple[str, ...], ...], list[Path]] = {}
    for number in range(1, POINTS_OF_A_SAVE + 1):
        killed_at(events, number)
        case = tmp_path / f"case-{number}"
        for task in tasks:
            shutil.copytree(task.directory, case / task.key)
            shutil.rmtree(task.directory)
            shutil.copytree(tmp_path / task.key, task.directory)
        whole = [tuple(sorted(file.name for file in (case / task.key).glob("*.pt"))) for task in tasks]
        found.setdefault(tuple(whole), []).append(case)
    second, third = "epoch-0000+000002.pt", "epoch-0000+000003.pt"
    assert list(found) == [((second,), (second,)), ((second, third), (second,)), ((second, third), (second, third))]
    expected = in_one(lab, recipes)
    for cases, step in zip(found.values(), (2, 2, 3), strict=True):
        job = lab.job(*(lab.task(task.key, task.recipe, (cases[0] / task.key,)) for task in tasks))
        told = Told()
        for event in run_job(job):
            told.take(event, job)
        assert told.starts[0].step == step
        assert told.differences(expected) == []


def test_a_full_disk_stops_the_whole_job(lab: Lab, heads: dict[str, Recipe]) -> None:
    """It is no learner's own failure: the error names file, need and room; what was saved before is continued."""
    recipes = {name: heads[name] for name in ("adamw", "sam")}
    tasks = [lab.task(name, recipe) for name, recipe in recipes.items()]
    events = run_job(lab.job(*tasks), lambda: True)
    until(events, Checkpointed(1, 2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(DiskFullError, match=r"epoch-0000\+000003\.pt: no room for a file of [\d,]+ bytes"):
            list(events)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for task in tasks for file in task.directory.iterdir()] == ["epoch-0000+000002.pt"] * 2
    job = lab.job(*(lab.task(task.key, task.recipe, (task.directory,)) for task in tasks))
    told = Told()
    for event in run_job(job):
        assert not isinstance(event, Failed)
        told.take(event, job)
    assert told.starts[0].step == 2
    assert told.differences(in_one(lab, recipes)) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_trial_in_pieces_on_a_gpu(lab: Lab, changed: Change, precision: str) -> None:
    """On CUDA losses agree to 1e-3 relative in float32, 2e-2 in bfloat16: its kernels may sum in any order."""
    recipes = {"a": changed(model__name="test_vit", precision=precision, schedule__epochs=2, ema__decay=0.9)}

    def there(job: Job) -> Job:
        return dataclasses.replace(job, device="cuda")

    seed = random.Random(precision).randint(0, 100)
    whole, pieces = in_one(lab, recipes, there), in_pieces(lab, recipes, seed, there)
    tolerance = {"fp32": 1e-3, "bf16": 2e-2}[precision]
    for ours, theirs in zip(pieces.outcomes["a"].epochs, whole.outcomes["a"].epochs, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=tolerance)
        assert ours.val_loss == pytest.approx(theirs.val_loss, rel=tolerance)
