"""The command `run` up to the launch: check everything, do nothing if nothing is missing, else start the launcher."""

import dataclasses
import shlex
from types import FrameType

from tinyablate.cost import Estimate
from tinyablate.dispatch.dispatch import Dispatch
from tinyablate.dispatch.inline import run_inline
from tinyablate.errors import UsageError, WorkError
from tinyablate.estimates import cost_of, devices_of, note_cost
from tinyablate.finish import failed_before, finish, full_disk_told, registered, show_tables, sign_off
from tinyablate.launch import become_driver, create_workspace, detach, log_file, remove_leftovers
from tinyablate.machine import NO_GPU
from tinyablate.plan import Plan
from tinyablate.preflight import check_models, find_weights, require_data
from tinyablate.retries import STOPPED
from tinyablate.run import RunRequest, note_rules, register
from tinyablate.signals import hold, not_begun, on_signals
from tinyablate.store.location import Location
from tinyablate.store.store import Store
from tinyablate.tables.words import counted
from tinyablate.terminal import duration, say


def start(request: RunRequest, launcher: str, *, detach: bool = False) -> int:
    """Run what is missing of the request's sweeps; the exit code. With ray this process becomes the driver.

    The request needs neither facts nor weights: they are found here. With `detach` a fork becomes the driver, once all
    is checked, and this process only tells of it.
    """
    for folder in remove_leftovers():
        say(f"removed what a killed run left in {folder}")
    location = Location.of(request.database)
    is_new = location.path is not None and not location.path.exists()
    with full_disk_told(request), Store(location) as store:
        if is_new:
            say(f"new database: {location.shown}")
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
            on_signals(not_begun)  # SIGTERM too is a clean stop from here on
        say(announcement(request, plan, estimate))
    if launcher == "inline":
        with Store(location) as store:
            return start_inline(request, store)
    return leave_terminal(request, location) if detach else launch(request)


def launch(request: RunRequest) -> int:
    """Become the driver; never returns."""
    try:
        with full_disk_told(request), Store(request.database) as store:
            store.enter(request.name, request.log)  # known from here on: the driver is this process
        on_signals(hold)  # so that no half-made workspace stays behind
        become_driver(create_workspace(request))
    finally:  # reached where it did not come to that
        sign_off(request.database)
    raise AssertionError("unreachable: exec does not return")


def leave_terminal(request: RunRequest, location: Location) -> int:
    """Let a fork become the driver, and tell where it is."""
    try:
        log = log_file(location.home, request.name)
    except OSError as error:
        raise WorkError(f"--detach: no log can be written in {location.home / 'logs'}: {error.strerror}") from error
    pid = detach(log)
    if pid is None:
        return launch(dataclasses.replace(request, log=str(log)))
    say(f"{request.name}: runs on without this terminal, as process {pid}; log: {log}")
    name = shlex.join([request.name, *request.more])
    say(f"to see what it does: tinyablate watch {name}; to end it: tinyablate stop {name}")
    return 0


def nothing_to_do(request: RunRequest, plan: Plan, store: Store) -> int:
    """Say so, and print the tables; 1 where a trial has failed."""
    register(store, plan, request.machine)  # cells may be filled by another sweep's trials
    note_rules(request.sweeps, store)
    counts = plan.counts()
    are = "is" if counts["running"] == 1 else "are"
    others = f"; {counts['running']} {are} running in another `tinyablate run`" if counts["running"] else ""
    say(f"{request.name}: nothing to do: {counts['done']} of {len(plan.trials)} trials are done{others}")
    show_tables(request, store)
    return failed_before(request, counts["failed"])


def announcement(request: RunRequest, plan: Plan, estimate: Estimate) -> str:
    """What is about to be run, in a line."""
    counts = plan.counts()
    time = f", about {duration(estimate.seconds)}" if estimate.jobs and not estimate.unknown else ""
    are = "is" if counts["failed"] == 1 else "are"
    failed = f", {counts['failed']} failed before and {are} left" if counts["failed"] else ""
    before = f"{counts['done']} done already{failed}"
    work = f"{counted(plan.to_run, 'trial')} to run in {counted(len(plan.jobs), 'job')}"
    return f"{request.name}: {work}{time}, {before}"


def start_inline(request: RunRequest, store: Store) -> int:
    """Compute everything in this process. The first Ctrl-C lets it save what it computes, the second ends it."""
    from tinyablate.progress import Board

    device = inline_device(request.device)
    with registered(request, store):
        dispatch = Dispatch(request, store, device)

        def on_signal(number: int, frame: FrameType | None) -> None:
            if dispatch.stopping:
                raise KeyboardInterrupt
            dispatch.stop(STOPPED)

        on_signals(on_signal)
        with Board(dispatch) as board:
            try:
                run_inline(dispatch, board.tick)
            except KeyboardInterrupt:
                dispatch.stop(STOPPED)
            finally:
                dispatch.release(STOPPED)
        return finish(dispatch, store)


def inline_device(wanted: str) -> str:
    """`auto` as this machine has it."""
    if wanted == "cpu":
        return wanted
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(NO_GPU)
    return "cuda" if torch.cuda.is_available() else "cpu"
