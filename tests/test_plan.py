"""The plan: a pure difference between sweeps and what is stored, and the jobs that it makes."""

import dataclasses
from pathlib import Path

from tinyablate import plan as module
from tinyablate.identity import CORE_VERSION, canonical
from tinyablate.plan import Plan, ask, halves, make_plan, unique
from tinyablate.recipe import Recipe, build
from tinyablate.store.records import StoredState
from tinyablate.sweep.schema import Cell, Column, Row, Sweep

DONE = StoredState("complete", CORE_VERSION, False)


def sweep_of(
    recipes: list[Recipe], seeds: tuple[int, ...] = (0, 1), metrics: tuple[str, ...] = ("val_top1",), name: str = "s"
) -> Sweep:
    """A sweep of one column with a row for each recipe."""
    rows = tuple(Row(i, f"row {i}", "", None if i == 0 else 0, seeds, False) for i in range(len(recipes)))
    cells = tuple(Cell(i, 0, recipe, canonical(recipe), {}) for i, recipe in enumerate(recipes))
    return Sweep(
        name=name, path=Path("s.toml"), title="", question="", source="", metrics=metrics, select="best",
        margin=None, baseline=recipes[0], figures=(), rows=rows, columns=(Column(0, ""),), cells=cells, excluded=(),
        smoke=False, overrides=(), text="", digest="d",
    )  # fmt: skip


def recipe(**changes: object) -> Recipe:
    """A small recipe with these changes."""
    leaves = {path.replace("__", "."): value for path, value in changes.items()}
    return build({"data.name": "shapes", "model.name": "test_vit"} | leaves)


def head(**changes: object) -> Recipe:
    """A recipe that trains only the classifier."""
    return recipe(model__trainable="head", **changes)


def planned(*sweeps: Sweep, share: bool = True, splits: bool = True) -> Plan:
    """The plan of these sweeps against an empty store."""
    return make_plan([ask(sweep, "a device") for sweep in sweeps], {}, splits=lambda _: splits, share=share)


def sizes(plan: Plan) -> list[tuple[int, int]]:
    """(trials, learners) of each job."""
    return [(len(job.trials), job.learners) for job in plan.jobs]


def test_each_state_is_told_apart() -> None:
    """new, running, done, failed and stale follow from what is stored; a dead driver's trial is new."""
    asked = ask(sweep_of([recipe()], seeds=tuple(range(8))))
    stored = [
        None,
        StoredState("pending", None, False),
        StoredState("running", None, True),
        StoredState("running", None, False),
        DONE,
        StoredState("diverged", CORE_VERSION, False),
        StoredState("failed", None, False),
        StoredState("complete", CORE_VERSION - 1, False),
    ]
    known = {key: state for key, state in zip(unique([asked]), stored, strict=True) if state is not None}
    plan = make_plan([asked], known)
    assert [trial.state for trial in plan.trials.values()] == [
        "new", "new", "running", "new", "done", "done", "failed", "stale",
    ]  # fmt: skip
    assert plan.counts() == {"new": 3, "running": 1, "done": 2, "failed": 1, "stale": 1}
    assert plan.parts[0].counts() == plan.parts[0].cell_counts(0, 0) == plan.counts()
    assert plan.to_run == 4  # what failed is put back by `retry` alone


def test_one_trial_fills_many_cells() -> None:
    """Cells with the same recipe and seed are one trial, counted once."""
    plan = planned(sweep_of([recipe(), recipe(optimizer__lr=0.1), recipe()]))
    (part,) = plan.parts
    assert len(plan.trials) == 4
    assert part.reused == 2
    assert part.cells[0, 0, "train"] == part.cells[2, 0, "train"]


def test_observers_share_a_job() -> None:
    """Trials that differ only in EMA are one job per seed; other differences are jobs of their own."""
    recipes = [recipe(), recipe(ema__decay=0.9), recipe(ema__decay=0.99), recipe(loss__smoothing=0.1)]
    plan = planned(sweep_of(recipes))
    assert sorted(sizes(plan)) == [(1, 1), (1, 1), (3, 1), (3, 1)]
    assert all(len({trial.seed for trial in job.trials}) == 1 for job in plan.jobs)


def test_a_done_observer_is_not_computed_again() -> None:
    """Only what is missing is in a job."""
    asked = ask(sweep_of([recipe(), recipe(ema__decay=0.9)], seeds=(0,)))
    first, second = unique([asked])
    plan = make_plan([asked], {first: DONE})
    assert [[trial.key for trial in job.trials] for job in plan.jobs] == [[second]]


def test_heads_of_one_trunk_share_a_job() -> None:
    """Classifiers that differ in optimizer, schedule or smoothing are learners of one job; an observer is none."""
    recipes = [
        head(),
        head(optimizer__lr=0.1),
        head(optimizer__name="sgd", schedule__epochs=5),
        head(loss__smoothing=0.1, optimizer__perturbation="sam"),
        head(optimizer__lr=0.1, ema__decay=0.9),
        head(batch__size=64),
        recipe(),
    ]
    plan = planned(sweep_of(recipes))
    assert sorted(sizes(plan)) == [(1, 1)] * 4 + [(5, 4)] * 2
    assert all(len({trial.seed for trial in job.trials}) == 1 for job in plan.jobs)


def test_heads_of_a_trunk_that_cannot_be_cut_stay_alone() -> None:
    """What `splits` denies is not shared; observers still are."""
    recipes = [head(), head(optimizer__lr=0.1), head(ema__decay=0.9)]
    assert sorted(sizes(planned(sweep_of(recipes, seeds=(0,)), splits=False))) == [(1, 1), (2, 1)]


def test_nothing_is_shared_where_it_is_not_wanted() -> None:
    """With share=False every trial is a job of its own."""
    recipes = [recipe(), recipe(ema__decay=0.9), head(), head(optimizer__lr=0.1)]
    plan = planned(sweep_of(recipes), share=False)
    assert sizes(plan) == [(1, 1)] * 8
    assert plan.to_run == 8


def test_a_job_holds_so_many_learners_and_no_more() -> None:
    """More learners than MOST_LEARNERS become several jobs; an observer stays with its learner."""
    most = module.MOST_LEARNERS
    recipes = [head(optimizer__lr=0.001 * (i + 1)) for i in range(most + 3)]
    recipes += [head(optimizer__lr=0.001 * (most + 1), ema__decay=0.9)]
    plan = planned(sweep_of(recipes, seeds=(0,)))
    assert sizes(plan) == [(most, most), (4, 3)]
    last = [trial.recipe.optimizer.lr for trial in plan.jobs[1].trials]
    assert last.count(0.001 * (most + 1)) == 2


def test_a_job_too_large_is_halved() -> None:
    """Half the learners each, observers with theirs, every trial once."""
    recipes = [head(optimizer__lr=lr, ema__decay=decay) for lr in (0.1, 0.2, 0.3) for decay in (0.0, 0.9)]
    (job,) = planned(sweep_of(recipes, seeds=(0,))).jobs
    parts = halves(job.trials)
    assert [(len(part.trials), part.learners) for part in parts] == [(4, 2), (2, 1)]
    assert sorted(trial.key for part in parts for trial in part.trials) == sorted(trial.key for trial in job.trials)


def test_sweeps_are_planned_together() -> None:
    """A trial of two sweeps is one; jobs reach over sweeps; each sweep keeps its own cells and counts."""
    one = sweep_of([head(), head(optimizer__lr=0.1)], name="one")
    two = sweep_of([head(), head(optimizer__lr=0.2)], name="two")
    plan = planned(one, two)
    assert [part.sweep.name for part in plan.parts] == ["one", "two"]
    assert [len(part.trials) for part in plan.parts] == [4, 4]
    assert (len(plan.trials), plan.common) == (6, 2)
    assert sizes(plan) == [(3, 3), (3, 3)]
    asked = [ask(one), ask(two)]
    assert unique(asked) == list(plan.trials)
    done = make_plan(asked, dict.fromkeys(unique(asked[:1]), DONE))
    assert [part.counts()["done"] for part in done.parts] == [4, 2]


def test_measurements_come_last_and_alone() -> None:
    """A metric that is measured adds a trial of that kind per seed, with the device in its key, after all trainings."""
    recipes = [recipe(), recipe(ema__decay=0.9)]
    sweep = sweep_of(recipes, metrics=("epoch_seconds", "val_top1"))
    plan = planned(sweep)
    assert [job.kind for job in plan.jobs] == ["train"] * 2 + ["measure"] * 4
    assert sizes(plan) == [(2, 1)] * 2 + [(1, 1)] * 4
    here, there = unique([ask(sweep, "a device")]), unique([ask(sweep, "another")])
    assert len(set(here) & set(there)) == 4  # the trainings
    assert here == list(plan.trials)
    assert plan.parts[0].cell_counts(0, 0)["new"] == 4
    assert {key for _, _, key in plan.parts[0].cells} == {"train", "measure"}


def test_a_sweep_of_facts_needs_no_training() -> None:
    """Where every metric is a fact or measured, only trials of kind measure are planned."""
    plan = planned(sweep_of([recipe()], seeds=(0,), metrics=("parameters", "inference_images_per_second")))
    assert [trial.kind for trial in plan.trials.values()] == ["measure"]
    assert planned(dataclasses.replace(sweep_of([recipe()]), metrics=("val_top1", "macs"))).jobs[0].kind == "train"
