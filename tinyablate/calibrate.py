"""`plan --calibrate`: a few steps of each model whose speed no earlier trial tells, as stored trials that measure."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinyablate.cost import Estimate
from tinyablate.dispatch.dispatch import Dispatch
from tinyablate.dispatch.inline import run_inline
from tinyablate.finish import first_line
from tinyablate.model_facts import ModelFacts, Request
from tinyablate.plan import PlannedTrial
from tinyablate.preflight import find_weights, require_data
from tinyablate.progress import Board
from tinyablate.retries import STOPPED
from tinyablate.run import RunRequest
from tinyablate.store.location import Location
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Cell, Column, Row, Sweep
from tinyablate.terminal import say
from tinyablate.worker import TRAIN


def calibrate(
    estimate: Estimate,
    database: str,
    facts: Mapping[Request, ModelFacts],
    *,
    micro_batch: int | None,
    weights_dir: Path | None,
) -> None:
    """Measure one trial for each kind of job that `estimate` knows nothing of, one after another in this process.

    Needs the data and weights that `run` needs: raises DataError, WeightsError. A trial that cannot be measured is
    named, and leaves its jobs without an estimate.
    """
    sweep = calibration([job.trial for job in {job.key: job for job in estimate.unknown}.values()])
    device = "cpu" if estimate.devices.unit == "core" else "cuda"
    request = RunRequest(
        name=sweep.name,
        sweeps=(sweep,),
        database=Location.of(database).text,
        data_home=require_data([sweep]),
        machine=estimate.devices.name,
        facts=facts,
        weights=find_weights([sweep], facts, weights_dir),
        device=device,
        micro_batch=micro_batch,
        learner=os.environ.get("TINYABLATE_LEARNER", TRAIN),
    )
    with Store(request.database) as store:
        dispatch = Dispatch(request, store, device)
        with Board(dispatch) as board:
            try:
                run_inline(dispatch, board.tick)
            finally:
                dispatch.release(STOPPED)
    for key, message in dispatch.tally.failed.items():
        say(f"not measured: trial {key[:12]}: {first_line(message)}; see: tinyablate show {key[:12]}")


def calibration(trials: Sequence[PlannedTrial]) -> Sweep:
    """A sweep that measures the recipes of these trials, each under its own seed."""
    rows = tuple(Row(i, trial.recipe.model.name, "", None, (trial.seed,), False) for i, trial in enumerate(trials))
    cells = tuple(Cell(i, 0, trial.recipe, trial.canonical, {}) for i, trial in enumerate(trials))
    text = "\n".join(f"{trial.canonical} seed {trial.seed}" for trial in trials)
    return Sweep(
        name="calibration", path=Path("calibration"), title="Speed of a few steps", question="", source="",
        metrics=("train_images_per_second", "inference_images_per_second"), select="last", margin=None,
        baseline=trials[0].recipe, figures=(), rows=rows, columns=(Column(0, ""),), cells=cells, excluded=(),
        smoke=False, overrides=(), text=text, digest=hashlib.sha256(f"calibration\n{text}".encode()).hexdigest(),
    )  # fmt: skip
