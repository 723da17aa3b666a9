"""How long a person waits: `--help`, `plan` of 10,000 trials; and on 100,000 finished trials with 3 million epochs the
table, queries of every view, the Python API, the report of a sweep, the Parquet mirror, export and import.

Whole processes, start-up included, unless the name says otherwise. The peers in the same run: importing what a tool
without lazy imports would import, and pandas reading the same results.
"""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from common import environment, report, scratch, seconds, tinyablate

from tinyablate.identity import CORE_VERSION
from tinyablate.plan import ask, make_plan
from tinyablate.run import register
from tinyablate.store import schema
from tinyablate.store.parquet import mirror
from tinyablate.store.store import Store
from tinyablate.sweep.load import load

EPOCHS = 30

GRID = """
title = "{title}"
metric = "val_top1"
seeds = [{seeds}]
[baseline]
data.name = "shapes"
model.name = "test_vit"
model.pretrained = false
schedule.epochs = 30
[grid]
"optimizer.lr" = [{lrs}]
"optimizer.weight_decay" = [{decays}]
"""

QUERIES = {
    "trials_by_state": "SELECT state, count(*) FROM trials GROUP BY 1",
    "trials_by_field": "SELECT optimizer_lr, avg(best_val_top1) FROM trials GROUP BY 1",
    "trials_best": "SELECT * FROM trials ORDER BY last_val_top1 DESC LIMIT 20",
    "trials_device_hours": "SELECT model_name, sum(device_hours) FROM trials GROUP BY 1",
    "cells_of_a_sweep": "SELECT row_label, column_label, avg(last_val_top1), count(*) FROM cells WHERE sweep = 'small' "
    "GROUP BY 1, 2",
    "cells_whole": "SELECT row_label, avg(last_val_top1) FROM cells WHERE sweep = 'whole' GROUP BY 1",
    "outcomes_by_device": "SELECT device, avg(last_val_top1), count(*) FROM outcomes WHERE accepted GROUP BY 1",
    "epochs_of_a_trial": "SELECT * FROM epochs WHERE trial = (SELECT trial FROM trials LIMIT 1)",
    "epochs_of_a_sweep": "SELECT c.row_label, e.epoch, avg(e.val_top1) FROM epochs e JOIN cells c USING (trial) "
    "WHERE c.sweep = 'small' GROUP BY 1, 2",
    "epochs_of_a_recipe_field": "SELECT optimizer_lr, epoch, avg(e.val_top1) FROM epochs e JOIN trials t USING (trial) "
    "WHERE optimizer_weight_decay = 0.001 GROUP BY 1, 2",
    "epochs_count": "SELECT count(*) FROM epochs",
    "epochs_average": "SELECT avg(val_top1) FROM epochs",
    "epochs_at_one": "SELECT seed, avg(val_top1) FROM epochs WHERE epoch = 30 GROUP BY 1",
    "epochs_by_trial": "SELECT trial, max(val_top1) FROM epochs GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "epochs_by_epoch": "SELECT epoch, avg(val_top1) FROM epochs GROUP BY 1",
    "epochs_by_observer_and_epoch": "SELECT observer, epoch, avg(val_top1), min(val_loss) FROM epochs GROUP BY 1, 2",
}


def grid(title: str, lrs: int, decays: int, seeds: int) -> str:
    """A grid sweep of lrs x decays cells."""
    return GRID.format(
        title=title,
        seeds=", ".join(map(str, range(seeds))),
        lrs=", ".join(f"{1e-4 * (index + 1):.6g}" for index in range(lrs)),
        decays=", ".join(f"{1e-3 * (index + 1):.6g}" for index in range(decays)),
    )


def fill(folder: Path, *names: str) -> int:
    """Give every trial of the sweeps a finished attempt, as a run would; returns their number."""
    with Store(folder / "results" / "ablations.db") as store:
        for name in names:
            register(store, make_plan([ask(load(folder / "sweeps" / f"{name}.toml"))], {}), "")
        with store.engine().connect() as connection:
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            ids = [row[0] for row in connection.execute(sa.select(schema.trials.c.id))]
            now = time.time()
            connection.execute(sa.insert(schema.environments), _place())
            connection.execute(
                sa.insert(schema.attempts),
                [
                    {"id": i, "trial_id": i, "number": 1, "fence": 1, "state": "complete", "job": f"{i}", "owner": "o",
                     "directory": "d", "started_at": now - 60, "heartbeat_at": now, "ended_at": now, "job_trials": 1,
                     "environment_id": 1}
                    for i in ids
                ],
            )  # fmt: skip
            top1 = ("best_val_top1", "last_val_top1", "cross_fitted_val_top1")
            connection.execute(
                sa.insert(schema.outcomes),
                [
                    {"attempt_id": i, "trial_id": i, "state": "complete", "observer": "raw", "epochs": EPOCHS,
                     "best_epoch": EPOCHS, **{key: 70 + i % 97 / 10 for key in top1}}
                    for i in ids
                ],
            )  # fmt: skip
            driver = connection.connection.driver_connection
            assert driver is not None
            names_of = [column.name for column in schema.epochs.c]
            marks = ", ".join("?" * len(names_of))
            driver.executemany(f"INSERT INTO stored_epochs ({', '.join(names_of)}) VALUES ({marks})", _curves(ids))
            done = {"state": "complete", "core_version": CORE_VERSION, "accepted_attempt_id": schema.trials.c.id}
            connection.execute(sa.update(schema.trials).values(done))
            connection.exec_driver_sql("COMMIT")
        return len(ids)


def _place() -> dict[str, object]:
    """An environment."""
    texts = {column.name: "x" for column in schema.environments.c}
    return texts | {"id": 1, "core_version": CORE_VERSION, "threads": 1, "compiled": False}


def _curves(ids: list[int]) -> Iterator[tuple[object, ...]]:
    """A row for each epoch of each trial, in the order of the table's columns."""
    draw = random.Random(0).random
    for i in ids:
        luck = draw()
        for epoch in range(1, EPOCHS + 1):
            loss = 2 / epoch + luck
            yield i, "raw", epoch, i, 1e-3 / epoch, loss, loss, 70 - loss, 90 - loss, 12 + luck, 400 - luck


def main() -> None:
    """Print every figure; the ratios are peer over ours."""
    with scratch() as folder:
        for name, size in {"plan": (100, 100, 1), "whole": (100, 100, 10), "small": (10, 1, 10)}.items():
            (folder / "sweeps" / f"{name}.toml").write_text(grid(name, *size))
        tinyablate(folder, "plan", "small")  # warms the cache of timm's facts
        planned = seconds(lambda: tinyablate(folder, "plan", "plan", "--format", "json"), 3)
        trials = fill(folder, "whole", "plan", "small")
        assert trials == 100_000
        assert '"n": 10' in tinyablate(folder, "table", "small", "--format", "json").stdout
        eager = "import torch, timm, ray, optuna, pandas" if _has("optuna") else "import torch, timm, ray, pandas"
        figures = {
            "help_s": seconds(lambda: tinyablate(folder, "--help")),
            "plan_10000_s": planned,
            "table_10x10_of_100000_s": seconds(lambda: tinyablate(folder, "table", "small"), 3),
            "table_whole_100000_s": seconds(lambda: tinyablate(folder, "table", "whole", "--format", "csv"), 1),
            "eager_imports_s": seconds(lambda: _python(folder, eager), 3),
            "pandas_read_sql_100000_s": seconds(lambda: _python(folder, PANDAS), 1),
            "api_open_s": seconds(lambda: _python(folder, API), 3),
            "api_open_in_process_s": float(_python(folder, TIMED_OPEN)),
            "report_of_a_sweep_s": seconds(lambda: tinyablate(folder, "report", "small", "--out", "site"), 3),
            **{f"query_{name}_s": _asked(folder, sql) for name, sql in QUERIES.items()},
            **exchanged(folder),
        }
    report(
        {
            "eager_imports_over_help": figures["eager_imports_s"] / figures["help_s"],
            "pandas_over_table": figures["pandas_read_sql_100000_s"] / figures["table_10x10_of_100000_s"],
        },
        figures,
    )


def exchanged(folder: Path) -> dict[str, float]:
    """Figures of the mirror in this process, and of an export of 10,000 trials and its import."""
    figures = {}
    with Store(folder / "results" / "ablations.db") as store:
        shutil.rmtree(folder / "results" / "parquet", ignore_errors=True)
        figures["mirror_in_process_s"] = seconds(lambda: mirror(store), 1)
        figures["mirror_unchanged_in_process_s"] = seconds(lambda: mirror(store))
    figures["export_10000_s"] = seconds(lambda: tinyablate(folder, "export", "out", "plan"), 1)
    new = "--db", str(folder / "other.db")
    figures["import_10000_s"] = seconds(lambda: tinyablate(folder, "import", "out", *new), 1)
    figures["import_10000_again_s"] = seconds(lambda: tinyablate(folder, "import", "out", *new), 1)
    return figures


def _asked(folder: Path, sql: str) -> float:
    return seconds(lambda: tinyablate(folder, "query", sql, "--format", "csv"), 3)


API = 'import tinyablate; tinyablate.open("results/ablations.db")'
TIMED_OPEN = f"import time; start = time.perf_counter(); {API}; print(time.perf_counter() - start)"

PANDAS = """
import pandas, sqlite3
frame = pandas.read_sql("SELECT * FROM trials", sqlite3.connect("results/ablations.db"))
print(frame.groupby(["optimizer_lr", "optimizer_weight_decay"]).best_val_top1.agg(["mean", "std", "count"]).shape)
"""


def _python(folder: Path, code: str) -> str:
    words = [sys.executable, "-c", code]
    return subprocess.run(words, cwd=folder, env=environment(folder), check=True, capture_output=True, text=True).stdout


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


if __name__ == "__main__":
    main()
