"""Sweeps to report on, and stores filled with results of every kind without any training."""

from dataclasses import asdict, replace
from pathlib import Path

import analytic
import sqlalchemy as sa

from tinyablate.identity import CORE_VERSION
from tinyablate.job import Outcome
from tinyablate.plan import PlannedTrial, ask, make_plan
from tinyablate.run import register
from tinyablate.store import schema
from tinyablate.store.records import EnvironmentRecord
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Sweep

HOSTILE = "No decay <script>alert(1)</script> & more"
RIGHT_TO_LEFT = "تنعيم العلامات"
CHINESE = "标签平滑 </script>\u2028"
SWEEP = f"""
title = "Which <b>technique</b> helps & why?"
question = "Is <img src=x onerror=alert(1)> better?"
metrics = ["val_top1", "val_loss"]
seeds = [0, 1, 2, 3]
margin = 0.5
[baseline]
data.name = "shapes"
data.image_size = 32
model.name = "test_resnet"
model.pretrained = false
schedule.epochs = 6
batch.size = 50
[[rows]]
label = "Default"
published.paper = 91.34
[[rows]]
label = "{HOSTILE}"
set.optimizer.weight_decay = 0.0
[[rows]]
label = "{RIGHT_TO_LEFT}"
set.loss.smoothing = 0.2
group = "Smoothing"
[[rows]]
label = "标签平滑 </script>\\u2028"
set.loss.smoothing = 0.3
group = "Smoothing"
[[rows]]
label = "Add EMA"
set.ema.decay = 0.9
[figure]
metric = "val_top1"
published = "curves.csv"
"""
CURVES = "label,epoch,value\nDefault,1,70\nDefault,6,75.5\nTheirs,1,60\nTheirs,6,70\n"
GRID = """
title = "A grid"
metric = "val_top1"
seeds = [{seeds}]
[baseline]
data.name = "shapes"
model.name = "test_vit"
model.pretrained = false
schedule.epochs = 1
[grid]
"optimizer.lr" = [{rates}]
"""
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 3, in <module>\nValueError: unlucky'
ENVIRONMENT = EnvironmentRecord(
    **{**asdict(analytic.ENVIRONMENT), "device": "A <b>GPU</b>", "data_digest": "fedcba9876543210"}, ray="-",
    tinyablate="0", core_version=CORE_VERSION, train_digest="0123456789abcdef", git_commit="a1b2c3d4",
)  # fmt: skip


def write_sweep(folder: Path, text: str = SWEEP, name: str = "mine") -> Sweep:
    """The sweep `name` as a file in `folder`/sweeps."""
    path = folder / "sweeps" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "curves.csv").write_text(CURVES)
    path.write_text(text)
    return load(path)


def grid(rows: int, seeds: int) -> str:
    """A sweep file of so many rows and seeds."""
    rates = ", ".join(f"{1e-4 * (index + 1):.6g}" for index in range(rows))
    return GRID.format(seeds=", ".join(map(str, range(seeds))), rates=rates)


def outcome(trial: PlannedTrial) -> Outcome:
    """The analytic outcome of the trial."""
    epochs = tuple(analytic.result(trial.recipe, trial.seed, e) for e in range(1, trial.recipe.schedule.epochs + 1))
    return Outcome("complete", epochs, (("parameters", 11e6), ("macs", 1.8e9), ("mixup_share", 0.25)))


def fill(store: Store, sweep: Sweep) -> list[PlannedTrial]:
    """Results of all trials: trial 6 fails, trial 9 fails once, trial 11 diverges, the last is still to do."""
    plan = make_plan([ask(sweep)], {})
    register(store, plan, "")
    trials = list(plan.trials.values())
    for at, trial in enumerate(trials[:-1]):
        (claim,) = store.claim([trial.key], f"job {at}")
        store.begin(claim, ENVIRONMENT, 1, None)
        if at in (6, 9):
            ends = store.fail if at == 6 else store.again
            ends(claim, "exception", "ValueError: <img src=x onerror=alert(1)>\nmore", TRACEBACK)
        if at == 6:
            continue
        if at == 9:
            (claim,) = store.claim([trial.key], "again")
            store.begin(claim, ENVIRONMENT, 1, None)
        found = outcome(trial)
        store.finish(claim, replace(found, state="diverged", epochs=found.epochs[:2], diverged_epoch=3)
                     if at == 11 else found)  # fmt: skip
    return trials


def fill_fast(store: Store, sweep: Sweep) -> None:
    """A finished attempt for every trial, in a few statements: for thousands of them."""
    register(store, make_plan([ask(sweep)], {}), "")
    with store.engine().connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        ids = list(connection.scalars(sa.select(schema.trials.c.id)))
        attempt = {"number": 1, "fence": 0, "state": "complete", "job": "b", "job_trials": 1, "owner": "o",
                   "directory": "d", "started_at": 0.0, "heartbeat_at": 5.0, "ended_at": 5.0}  # fmt: skip
        connection.execute(sa.insert(schema.attempts), [{"id": i, "trial_id": i, **attempt} for i in ids])
        result = {"state": "complete", "observer": "raw", "epochs": 1, "best_epoch": 1}
        connection.execute(
            sa.insert(schema.outcomes),
            [{"attempt_id": i, "trial_id": i, **result, "last_val_top1": 60 + i * 7919 % 997 / 50} for i in ids],
        )
        done = {"state": "complete", "core_version": CORE_VERSION, "accepted_attempt_id": schema.trials.c.id}
        connection.execute(sa.update(schema.trials).values(done))
        connection.exec_driver_sql("COMMIT")
