"""How long a person waits: `--help`, `plan` of 10,000 trials, `table` and `query` on 100,000 finished trials.

Whole processes, start-up included. The peers in the same run: importing what a tool without lazy imports would import,
and pandas reading the same results.
"""

import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from common import environment, report, scratch, seconds, tinyablate

from tinyablate.identity import CORE_VERSION
from tinyablate.plan import ask, make_plan
from tinyablate.run import register
from tinyablate.store import schema
from tinyablate.store.store import Store
from tinyablate.sweep.load import load

GRID = """
title = "{title}"
metric = "val_top1"
seeds = [{seeds}]
[baseline]
data.name = "shapes"
model.name = "test_vit"
model.pretrained = false
schedule.epochs = 1
[grid]
"optimizer.lr" = [{lrs}]
"optimizer.weight_decay" = [{decays}]
"""


def grid(title: str, lrs: int, decays: int, seeds: int) -> str:
    """A grid sweep of lrs x decays cells."""
    return GRID.format(
        title=title,
        seeds=", ".join(map(str, range(seeds))),
        lrs=", ".join(f"{1e-4 * (index + 1):.6g}" for index in range(lrs)),
        decays=", ".join(f"{1e-3 * (index + 1):.6g}" for index in range(decays)),
    )


def fill(folder: Path, name: str) -> int:
    """Give every trial of the sweep a finished attempt, as a run would; returns their number."""
    sweep = load(folder / "sweeps" / f"{name}.toml")
    with Store(folder / "results" / "ablations.db") as store:
        plan = make_plan([ask(sweep)], {})
        register(store, plan, "")
        with store.engine().connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            ids = [row[0] for row in connection.execute(sa.select(schema.trials.c.id))]
            now = time.time()
            connection.execute(
                sa.insert(schema.attempts),
                [
                    {"id": i, "trial_id": i, "number": 1, "fence": 1, "state": "complete", "job": "b", "owner": "o",
                     "directory": "d", "started_at": now, "heartbeat_at": now}
                    for i in ids
                ],
            )  # fmt: skip
            top1 = {f"{rule}_val_top1": 0.0 for rule in ("best", "last")}
            connection.execute(
                sa.insert(schema.outcomes),
                [
                    {"attempt_id": i, "trial_id": i, "state": "complete", "observer": "raw", "epochs": 1,
                     "best_epoch": 1, **{key: 70 + i % 97 / 10 for key in top1}}
                    for i in ids
                ],
            )  # fmt: skip
            done = {"state": "complete", "core_version": CORE_VERSION, "accepted_attempt_id": schema.trials.c.id}
            connection.execute(sa.update(schema.trials).values(done))
            connection.exec_driver_sql("COMMIT")
        return len(ids)


def main() -> None:
    """Print every figure; the ratios are peer over ours."""
    with scratch() as folder:
        (folder / "sweeps" / "plan.toml").write_text(grid("plan", 100, 100, 1))
        (folder / "sweeps" / "whole.toml").write_text(grid("whole", 100, 100, 10))
        (folder / "sweeps" / "small.toml").write_text(grid("small", 10, 1, 10))
        tinyablate(folder, "plan", "small")  # warms the cache of timm's facts
        planned = seconds(lambda: tinyablate(folder, "plan", "plan", "--format", "json"))
        trials = fill(folder, "whole")
        assert trials == 100_000
        assert '"n": 10' in tinyablate(folder, "table", "small", "--format", "json").stdout
        eager = "import torch, timm, ray, optuna, pandas" if _has("optuna") else "import torch, timm, ray, pandas"
        figures = {
            "help_s": seconds(lambda: tinyablate(folder, "--help")),
            "plan_10000_s": planned,
            "table_10x10_of_100000_s": seconds(lambda: tinyablate(folder, "table", "small")),
            "table_whole_100000_s": seconds(lambda: tinyablate(folder, "table", "whole", "--format", "csv"), 3),
            "query_group_by_100000_s": seconds(
                lambda: tinyablate(folder, "query", "SELECT optimizer_lr, avg(best_val_top1) FROM trials GROUP BY 1")
            ),
            "eager_imports_s": seconds(lambda: _python(folder, eager), 3),
            "pandas_read_sql_100000_s": seconds(lambda: _python(folder, PANDAS), 3),
        }
    report(
        {
            "eager_imports_over_help": figures["eager_imports_s"] / figures["help_s"],
            "pandas_over_table": figures["pandas_read_sql_100000_s"] / figures["table_10x10_of_100000_s"],
        },
        figures,
    )


PANDAS = """
import pandas, sqlite3
frame = pandas.read_sql("SELECT * FROM trials", sqlite3.connect("results/ablations.db"))
print(frame.groupby(["optimizer_lr", "optimizer_weight_decay"]).best_val_top1.agg(["mean", "std", "count"]).shape)
"""


def _python(folder: Path, code: str) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(folder), check=True, capture_output=True)


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


if __name__ == "__main__":
    main()
