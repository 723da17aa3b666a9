"""The command `run` up to the launch: check everything, do nothing if nothing is missing, else start the launcher."""

import os
from pathlib import Path

from tinyablate.errors import UsageError
from tinyablate.finish import finish
from tinyablate.launch import become_driver, create_workspace, hold_signals, remove_leftovers
from tinyablate.plan import keys_of, make_plan, unique
from tinyablate.preflight import check_models, find_weights, require_data
from tinyablate.run import NO_GPU, Dispatch, RunRequest, register, run_inline
from tinyablate.store.opening import database_path
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.collect import table_text
from tinyablate.terminal import say, show
from tinyablate.worker import TRAIN


def start(
    sweep: Sweep,
    *,
    db: str,
    launcher: str,
    device: str,
    slots: int | None,
    trials_per_gpu: int,
    micro_batch: int | None,
    weights_dir: Path | None,
    format_: str,
) -> int:
    """Run what is missing of `sweep`; the exit code. With the ray launcher this process becomes the driver."""
    if not database_path(db).exists():
        say(f"new database: {database_path(db)}")
    if weights_dir is not None and not weights_dir.is_dir():
        raise UsageError(f"--weights-dir {weights_dir}: no such directory")
    with Store(db) as store:
        keys = keys_of(sweep)
        plan = make_plan(sweep, store.states(unique(keys)), keys)
        counts = plan.counts()
        if not plan.jobs:
            register(store, plan)  # its cells may be filled by another sweep's trials
            others = f"; {counts['running']} are running in another `tinyablate run`" if counts["running"] else ""
            say(f"{sweep.name}: nothing to do: {counts['done']} of {len(plan.trials)} trials are done{others}")
            show(table_text(sweep, store, format_))
            return 0
        facts = check_models(sweep, micro_batch)
        request = RunRequest(
            sweep=sweep,
            database=store.path,
            data_home=require_data(sweep),
            weights=find_weights(sweep, facts, weights_dir),
            device=device,
            slots=slots,
            trials_per_gpu=trials_per_gpu,
            micro_batch=micro_batch,
            learner=os.environ.get("TINYABLATE_LEARNER", TRAIN),
            format=format_,
        )
        if launcher == "ray":
            hold_signals()
        say(f"{sweep.name}: {plan.to_run} trials to run in {len(plan.jobs)} jobs, {counts['done']} done already")
        if launcher == "inline":
            return start_inline(request, store)
    for folder in remove_leftovers():
        say(f"removed what a killed run left in {folder}")
    become_driver(create_workspace(request))
    raise AssertionError("unreachable: exec does not return")


def start_inline(request: RunRequest, store: Store) -> int:
    """Compute everything in this process."""
    from tinyablate.progress import Board

    dispatch = Dispatch(request, store, inline_device(request.device))
    stopped = False
    with Board(dispatch) as board:
        try:
            run_inline(dispatch, board.tick)
        except KeyboardInterrupt:
            stopped = True
        finally:
            dispatch.release("stopped")
    return finish(dispatch, store, stopped)


def inline_device(wanted: str) -> str:
    """`auto` as this machine has it."""
    if wanted == "cpu":
        return wanted
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(NO_GPU)
    return "cuda" if torch.cuda.is_available() else "cpu"
