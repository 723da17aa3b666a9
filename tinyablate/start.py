"""The command `run` up to the launch: check everything, do nothing if nothing is missing, else start the launcher."""

import dataclasses

from tinyablate.cost import Estimate
from tinyablate.errors import UsageError
from tinyablate.estimates import cost_of, devices_of, note_cost
from tinyablate.finish import finish, show_tables
from tinyablate.launch import become_driver, create_workspace, hold_signals, remove_leftovers
from tinyablate.machine import NO_GPU
from tinyablate.plan import Plan
from tinyablate.preflight import check_models, find_weights, require_data
from tinyablate.run import Dispatch, RunRequest, note_rules, register, run_inline
from tinyablate.store.store import Store
from tinyablate.terminal import duration, say


def start(request: RunRequest, launcher: str) -> int:
    """Run what is missing of the request's sweeps; the exit code. With ray this process becomes the driver.

    The request needs neither facts nor weights: they are found here.
    """
    if not request.database.exists():
        say(f"new database: {request.database}")
    with Store(request.database) as store:
        asked = request.asked(store)
        plan = request.plan(asked, store)
        if not plan.jobs:
            return nothing_to_do(request, plan, store)
        facts = check_models(request.sweeps, request.micro_batch, bool(request.cache_features))
        require_data(request.sweeps)
        weights = find_weights(request.sweeps, facts, request.weights_dir)
        request = dataclasses.replace(request, facts=facts, weights=weights)
        plan = request.plan(asked, store)
        devices = devices_of(request.device, request.slots, request.trials_per_gpu, inline=launcher == "inline")
        estimate = cost_of(plan, store, devices, facts)
        note_cost(plan, estimate, store)
        if launcher == "ray":
            hold_signals()
        say(announcement(request.name, plan, estimate))
        if launcher == "inline":
            return start_inline(request, store)
    for folder in remove_leftovers():
        say(f"removed what a killed run left in {folder}")
    become_driver(create_workspace(request))
    raise AssertionError("unreachable: exec does not return")


def nothing_to_do(request: RunRequest, plan: Plan, store: Store) -> int:
    """Say so, and print the tables."""
    register(store, plan, request.machine)  # cells may be filled by another sweep's trials
    note_rules(request.sweeps, store)
    counts = plan.counts()
    others = f"; {counts['running']} are running in another `tinyablate run`" if counts["running"] else ""
    say(f"{request.name}: nothing to do: {counts['done']} of {len(plan.trials)} trials are done{others}")
    show_tables(request.sweeps, store, request.format, request.machine)
    return 0


def announcement(name: str, plan: Plan, estimate: Estimate) -> str:
    """What is about to be run, in a line."""
    done = plan.counts()["done"]
    time = f", about {duration(estimate.seconds)}" if estimate.jobs and not estimate.unknown else ""
    return f"{name}: {plan.to_run} trials to run in {len(plan.jobs)} jobs{time}, {done} done already"


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
