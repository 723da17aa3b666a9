"""What a trial costs beside its training: tinyablate through Ray Tune, against Ray Tune alone, both with no-op trials.

Ours includes claim, result, epochs and correctness bits committed to SQLite with synchronous=FULL. Tune alone runs
(a) a class Trainable with reused actors and everything optional switched off, and (b) a function trainable as users
write it, with Tune's defaults. Times are wall time per trial, Ray's start and end excluded on both sides.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from common import report, scratch, tinyablate

SWEEP = """
title = "No-op trials"
metric = "val_top1"
seeds = [0]
[baseline]
data.name = "shapes"
model.name = "test_vit"
model.pretrained = false
schedule.epochs = 1
[grid]
"optimizer.lr" = [{levels}]
"""

PEER = """
import json, os, sys, time
n, form = int(sys.argv[1]), sys.argv[2]
if form == "class":
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "1000000000"}
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
import ray
from ray import tune

class Noop(tune.Trainable):
    def step(self):
        return {"score": 1.0, "done": True}
    def reset_config(self, config):
        return True

def noop(config):
    tune.report({"score": 1.0})

ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", _temp_dir=sys.argv[3])
space = {"x": tune.grid_search(list(range(n)))}
start = time.perf_counter()
tune.run(Noop if form == "class" else noop, config=space, reuse_actors=form == "class", verbose=0,
         storage_path=sys.argv[3] + "/tune")
print(json.dumps((time.perf_counter() - start) / n))
"""


def ours(trials: int) -> float:
    """Seconds a no-op trial, from the first claim to the last commit, and a check that each is there once."""
    with scratch() as folder:
        levels = ", ".join(f"{1e-3 * (index + 1):.6g}" for index in range(trials))
        (folder / "sweeps" / "noop.toml").write_text(SWEEP.format(levels=levels))
        tinyablate(folder, "run", "noop", "--format", "csv", TINYABLATE_LEARNER="analytic:noop")
        with sqlite3.connect(folder / "results" / "ablations.db") as connection:
            done, begin, end = connection.execute(
                "SELECT count(*), min(started_at), max(ended_at) FROM attempts WHERE state = 'complete'"
            ).fetchone()
        assert done == trials, f"{done} of {trials} trials complete"
        return float((end - begin) / trials)


def tune_alone(trials: int, form: str) -> float:
    """Seconds a no-op trial of Ray Tune."""
    with tempfile.TemporaryDirectory(prefix="b-", dir="/tmp") as folder:
        program = Path(folder) / "peer.py"
        program.write_text(PEER)
        command = [sys.executable, str(program), str(trials), form, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
        return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Ours at 1,000 and 3,000 trials; Tune's class form at 1,000; its defaults at 30 (a second each)."""
    thousand, three = ours(1000), ours(3000)
    bare, defaults = tune_alone(1000, "class"), tune_alone(30, "function")
    report(
        {
            "tune_defaults_over_ours": defaults / thousand,
            "ours_over_tune_class": thousand / bare,
            "ours_3000_over_1000": three / thousand,
        },
        {
            "ours_ms_per_trial_1000": 1e3 * thousand,
            "ours_ms_per_trial_3000": 1e3 * three,
            "tune_class_reused_ms_per_trial_1000": 1e3 * bare,
            "tune_function_defaults_ms_per_trial_30": 1e3 * defaults,
        },
    )


if __name__ == "__main__":
    main()
