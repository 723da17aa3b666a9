"""What a run hands out and takes in, without workers: memory that runs out, trials that break alone, measurements."""

import dataclasses
import math
import sqlite3
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import analytic
import pytest

from tinyablate.datasets import lookup
from tinyablate.finish import finish
from tinyablate.model_facts import ModelFacts, Request
from tinyablate.run import Dispatch, RunRequest, run_inline
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.collect import collect

HEADS = """
title = "Heads on one trunk"
metric = "val_top1"
select = "last"
seeds = [0]
[baseline]
data.name = "shapes"
data.image_size = 32
model.name = "test_vit"
model.pretrained = false
model.trainable = "head"
schedule.epochs = 2
batch.size = 50
[grid]
"optimizer.lr" = [1e-2, 3e-3, 1e-3, 3e-4]
"optimizer.weight_decay" = [0.1, 0.0]
"""

SPEEDS = """
title = "Speeds"
metrics = ["val_top1", "train_images_per_second"]
select = "last"
seeds = [0, 1]
[baseline]
data.name = "shapes"
data.image_size = 32
model.pretrained = false
schedule.epochs = 2
batch.size = 50
[[rows]]
label = "ViT"
set.model.name = "test_vit"
[[rows]]
label = "ResNet"
set.model.name = "test_resnet"
"""

FACTS = ModelFacts(32, False, False, 100, 100, "test_vit", None, None, splits=True)


def sweep(folder: Path, text: str) -> Sweep:
    """The sweep in a file with this text."""
    path = folder / "sweep.toml"
    path.write_text(text)
    return load(path)


def request(folder: Path, asked: Sweep, learner: str, facts: ModelFacts = FACTS, **more: Any) -> RunRequest:
    """A request to run it with a learner of `learners/analytic.py`."""
    known: Mapping[Request, ModelFacts] = {
        Request.of(cell.recipe, lookup(cell.recipe.data.name).classes): facts for cell in asked.cells
    }
    return RunRequest(
        name="sweep", sweeps=(asked,), database=folder / "a.db", data_home=folder, machine="a device", facts=known,
        device="cpu", learner=f"analytic:{learner}", **more,
    )  # fmt: skip


def run(wanted: RunRequest) -> Dispatch:
    """All of it, one job after another in this process."""
    with Store(wanted.database) as store:
        dispatch = Dispatch(wanted, store, "cpu")
        run_inline(dispatch, lambda: None)
        dispatch.plan = dispatch.look()
    return dispatch


def attempts(folder: Path) -> list[tuple[str, str | None, int | None, str]]:
    """State, cause, micro-batch and job of every attempt, in the order in which they were made."""
    with sqlite3.connect(folder / "a.db") as database:
        return database.execute("SELECT state, cause, micro_batch, job FROM attempts ORDER BY id").fetchall()


def jobs(rows: list[tuple[str, str | None, int | None, str]]) -> list[tuple[str, int | None, int]]:
    """(state, micro-batch, trials) of each job."""
    counted: dict[str, tuple[str, int | None, int]] = {}
    for state, _, micro_batch, job in rows:
        counted[job] = (state, micro_batch, counted.get(job, ("", None, 0))[2] + 1)
    return list(counted.values())


def test_heads_of_one_trunk_are_one_job(tmp_path: Path) -> None:
    """Eight cells, one job; told not to share, eight jobs."""
    asked = sweep(tmp_path, HEADS)
    assert len(run(request(tmp_path, asked, "noop")).plan.jobs) == 0
    assert jobs(attempts(tmp_path)) == [("complete", None, 8)]
    (tmp_path / "apart").mkdir()
    run(request(tmp_path / "apart", asked, "noop", share=False))
    assert jobs(attempts(tmp_path / "apart")) == [("complete", None, 1)] * 8


def test_memory_that_runs_out_halves_the_micro_batch_and_is_remembered(tmp_path: Path) -> None:
    """Batches of 50 are tried as 25, then 13; a later run of other trials of the model begins there, and it is said."""
    asked = sweep(tmp_path, HEADS.replace('weight_decay" = [0.1, 0.0]', 'weight_decay" = [0.1]').replace(", 3e-4", ""))
    done = run(request(tmp_path, asked, "cramped"))
    assert done.tally.failed == {}
    assert done.tally.notes == [
        "test_vit: memory of a device held micro-batches of 13; later runs begin there (--micro-batch N for another)"
    ]
    assert jobs(attempts(tmp_path)) == [("failed", None, 3), ("failed", 25, 3), ("complete", 13, 3)]
    assert {cause for state, cause, *_ in attempts(tmp_path) if state == "failed"} == {"out-of-memory"}
    again = dataclasses.replace(
        request(tmp_path, sweep(tmp_path, asked.text.replace("seeds = [0]", "seeds = [1]")), "cramped")
    )
    assert run(again).tally.failed == {}
    assert jobs(attempts(tmp_path))[3:] == [("complete", 13, 3)]


def test_a_job_too_large_for_memory_is_split(tmp_path: Path) -> None:
    """Where no micro-batch is allowed (dropout), half of the learners go at a time; then a quarter."""
    asked = sweep(tmp_path, HEADS.replace("batch.size = 50", "batch.size = 10"))
    run(request(tmp_path, asked, "cramped", dataclasses.replace(FACTS, dropout=True)))
    assert jobs(attempts(tmp_path)) == [("failed", None, 8), ("failed", None, 4), *[("complete", None, 2)] * 2,
                                        ("failed", None, 4), *[("complete", None, 2)] * 2]  # fmt: skip


def test_what_cannot_be_made_smaller_fails(tmp_path: Path) -> None:
    """A lone trial of a model whose batch must stay whole fails once, with its cause."""
    asked = sweep(tmp_path, HEADS.replace(", 3e-3, 1e-3, 3e-4", "").replace("[0.1, 0.0]", "[0.1]"))
    done = run(request(tmp_path, asked, "cramped", dataclasses.replace(FACTS, batch_statistics=True)))
    assert list(done.tally.failed.values()) == ["OutOfMemoryError: 1 trials of 50 images"]
    assert [(state, cause) for state, cause, *_ in attempts(tmp_path)] == [("failed", "out-of-memory")]


def test_a_job_is_split_before_its_micro_batch_is_tiny(tmp_path: Path) -> None:
    """Heads that do not fit go with half the batch, to an eighth of it, then half of them with all of it."""
    run(request(tmp_path, sweep(tmp_path, HEADS.replace("batch.size = 50", "batch.size = 16")), "cramped"))
    found = jobs(attempts(tmp_path))
    assert found[:6] == [("failed", micro, 8) for micro in (None, 8, 4, 2)] + [("failed", None, 4), ("failed", 8, 4)]
    assert {(state, trials) for state, _, trials in found if state == "complete"} == {("complete", 2)}
    with Store(tmp_path / "a.db") as store:
        assert store.limits() == {}  # the batch was never too large


def test_a_users_micro_batch_is_where_halving_begins(tmp_path: Path) -> None:
    """From 20 asked for to 10 tried."""
    asked = sweep(tmp_path, HEADS.replace(", 3e-3, 1e-3, 3e-4", "").replace("[0.1, 0.0]", "[0.1]"))
    run(request(tmp_path, asked, "cramped", micro_batch=20))
    assert jobs(attempts(tmp_path)) == [("failed", 20, 1), ("complete", 10, 1)]


def test_a_trial_that_breaks_leaves_its_jobs_others(tmp_path: Path) -> None:
    """Its own failure is recorded with its traceback, the other seven are complete."""
    done = run(request(tmp_path, sweep(tmp_path, HEADS), "one_breaks"))
    assert list(done.tally.failed.values()) == ["ValueError: unlucky"]
    assert sorted(state for state, *_ in attempts(tmp_path)) == ["complete"] * 7 + ["failed"]


def test_measurements_run_alone_and_last(tmp_path: Path) -> None:
    """While a job is under way no measurement is handed out, and beside a measurement nothing else."""
    wanted = request(tmp_path, sweep(tmp_path, SPEEDS), "noop", dataclasses.replace(FACTS, splits=False))
    with Store(wanted.database) as store:
        dispatch = Dispatch(wanted, store, "cpu")
        trainings = [dispatch.next_job() for _ in range(4)]
        assert [job.kind for job in trainings if job] == ["train"] * 4
        assert dispatch.next_job() is None  # they are under way
        for job in trainings:
            assert job is not None
            dispatch.release("stopped")
        measured = dispatch.next_job()
        assert measured is not None
        assert measured.kind == "measure"
        assert dispatch.next_job() is None  # it is alone
        dispatch.release("stopped")
    with sqlite3.connect(tmp_path / "a.db") as database:
        kinds = database.execute("SELECT kind, measured_on, count(*) FROM trials GROUP BY 1, 2 ORDER BY 1").fetchall()
    assert kinds == [("measure", "a device", 4), ("train", None, 4)]


@pytest.mark.parametrize("device", ["another", "a device"])
def test_a_measurement_is_another_trial_on_another_device(tmp_path: Path, device: str) -> None:
    """Trainings are shared by all machines; speeds are measured again on a device of another name."""
    wanted = request(tmp_path, sweep(tmp_path, SPEEDS), "noop", dataclasses.replace(FACTS, splits=False))
    assert run(wanted).tally.finished == 8
    assert run(dataclasses.replace(wanted, machine=device)).tally.finished == (4 if device == "another" else 0)


RULE = """
title = "Seeds by a rule"
metric = "val_top1"
select = "last"
seeds = { min = 3, max = 9, until = "half_width < 1" }
[baseline]
data.name = "shapes"
data.image_size = 32
model.name = "test_resnet"
model.pretrained = false
schedule.epochs = 1
batch.size = 50
[[rows]]
label = "Default"
[[rows]]
label = "No decay"
set.optimizer.weight_decay = 0.0
[[rows]]
label = "Mixed"
set.mix.mixup_alpha = 0.8
"""


def test_a_rule_of_seeds_goes_on_in_rounds_until_it_is_fulfilled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run computes the first stage, then what its differences ask for, and ends; it is told and noted once.

    How many: by Stein's formula from the analytic learner's own numbers. A later run has nothing to do, and the table
    has all of it.
    """
    asked = sweep(tmp_path, RULE)
    needed = [_stein(asked, row) for row in (1, 2)]
    assert 3 < max(needed) < 9
    done = run(request(tmp_path, asked, "noop"))
    per_row = {row: len(keys) for (row, _, _), keys in done.plan.parts[0].cells.items()}
    assert per_row == {0: max(needed), 1: needed[0], 2: needed[1]}
    assert done.plan.to_run == 0
    assert done.tally.finished == sum(per_row.values())
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 + sum(count > 3 for count in needed)
    grows = f"sweep: row 'Default' goes on from 3 to {max(needed)} seeds"
    assert told[0] == f"{grows}: as many as the neediest row that is compared with it"
    again = run(request(tmp_path, sweep(tmp_path, RULE), "noop"))
    assert (again.tally.finished, capsys.readouterr().err) == (0, "")
    with Store(tmp_path / "a.db") as store:
        assert next((each.from_n, each.to_n) for each in store.extensions("sweep", False)) == (3, max(needed))
        assert len(store.protocols("sweep", False)) == 1
        assert [row.cells[0].n for row in collect(asked, store).rows] == [max(needed), *needed]


def test_a_half_width_out_of_reach_is_told_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where `max` stops a row too early, stderr says so when the run ends, and the table is printed all the same."""
    asked = sweep(tmp_path, RULE.replace("max = 9", "max = 3"))
    done = run(request(tmp_path, asked, "noop"))
    with Store(tmp_path / "a.db") as store:
        assert finish(done, store, stopped=False) == 0
    out, err = capsys.readouterr()
    needed = {label: _stein(asked, row, most=1000) for row, label in ((1, "No decay"), (2, "Mixed"))}
    short = [label for label, seeds in needed.items() if seeds > 3]
    assert short
    for line, label in zip(err.splitlines(), short, strict=True):
        assert line.startswith(f"sweep: not reached: {label}: half width ")
        assert line.endswith(f" of 1 wanted with max = 3; about {needed[label]} seeds would be needed")
    assert f"NOT REACHED: {short[0]}: half width " in out


def _stein(asked: Sweep, row: int, most: int = 9) -> int:
    """Stein's total for a row and a half width of 1: ceil(t² sd²) from its first three seeds, t on two degrees."""
    recipes = {cell.row: cell.recipe for cell in asked.cells}
    first = [analytic.score(recipes[row], seed, 1) - analytic.score(recipes[0], seed, 1) for seed in range(3)]
    return min(most, max(3, math.ceil((4.302652729749464 * statistics.stdev(first)) ** 2)))
