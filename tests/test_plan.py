"""The plan: a pure difference between a sweep and what is stored."""

from pathlib import Path

from tinyablate.identity import CORE_VERSION, canonical
from tinyablate.plan import keys_of, make_plan
from tinyablate.recipe import Recipe, build
from tinyablate.store.records import StoredState
from tinyablate.sweep.schema import Cell, Column, Row, Sweep


def sweep_of(recipes: list[Recipe], seeds: tuple[int, ...] = (0, 1)) -> Sweep:
    """A sweep of one column with a row for each recipe."""
    rows = tuple(Row(i, f"row {i}", "", None if i == 0 else 0, seeds, False) for i in range(len(recipes)))
    cells = tuple(Cell(i, 0, recipe, canonical(recipe), {}) for i, recipe in enumerate(recipes))
    return Sweep(
        name="s", path=Path("s.toml"), title="", question="", source="", metrics=("val_top1",), select="best",
        margin=None, baseline=recipes[0], rows=rows, columns=(Column(0, ""),), cells=cells, excluded=(), smoke=False,
        overrides=(), text="", digest="d",
    )  # fmt: skip


def recipe(**changes: object) -> Recipe:
    """A small recipe with these changes."""
    leaves = {path.replace("__", "."): value for path, value in changes.items()}
    return build({"data.name": "shapes", "model.name": "test_vit"} | leaves)


def test_each_state_is_told_apart() -> None:
    """new, running, done, failed and stale follow from what is stored; a dead driver's trial is new."""
    sweep = sweep_of([recipe()], seeds=tuple(range(8)))
    keys = keys_of(sweep)
    stored = [
        None,
        StoredState("pending", None, False),
        StoredState("running", None, True),
        StoredState("running", None, False),
        StoredState("complete", CORE_VERSION, False),
        StoredState("diverged", CORE_VERSION, False),
        StoredState("failed", None, False),
        StoredState("complete", CORE_VERSION - 1, False),
    ]
    known = {key: state for key, state in zip(keys[0, 0], stored, strict=True) if state is not None}
    plan = make_plan(sweep, known, keys)
    assert [trial.state for trial in plan.trials.values()] == [
        "new", "new", "running", "new", "done", "done", "failed", "stale",
    ]  # fmt: skip
    assert plan.counts() == {"new": 3, "running": 1, "done": 2, "failed": 1, "stale": 1}
    assert plan.to_run == 5


def test_one_trial_fills_many_cells() -> None:
    """Cells with the same recipe and seed are one trial, counted once."""
    sweep = sweep_of([recipe(), recipe(optimizer__lr=0.1), recipe()])
    plan = make_plan(sweep, {}, keys_of(sweep))
    assert len(plan.trials) == 4
    assert plan.reused == 2
    assert plan.cells[0, 0] == plan.cells[2, 0]


def test_observers_share_a_job() -> None:
    """Trials that differ only in EMA are one job per seed; other differences are jobs of their own."""
    sweep = sweep_of([recipe(), recipe(ema__decay=0.9), recipe(ema__decay=0.99), recipe(loss__smoothing=0.1)])
    jobs = make_plan(sweep, {}, keys_of(sweep)).jobs
    assert sorted(len(job.trials) for job in jobs) == [1, 1, 3, 3]
    assert all(len({trial.seed for trial in job.trials}) == 1 for job in jobs)


def test_a_done_observer_is_not_computed_again() -> None:
    """Only what is missing is in a job."""
    sweep = sweep_of([recipe(), recipe(ema__decay=0.9)], seeds=(0,))
    keys = keys_of(sweep)
    plan = make_plan(sweep, {keys[0, 0][0]: StoredState("complete", CORE_VERSION, False)}, keys)
    assert [[trial.key for trial in job.trials] for job in plan.jobs] == [[keys[1, 0][0]]]
