"""Plans against a database with what they would cost on this machine: joins plan, store and `cost`. Prints nothing."""

import os
from collections.abc import Mapping, Sequence

from tinyablate import cost, machine
from tinyablate.cost import Devices, Estimate, History
from tinyablate.model_facts import ModelFacts, Request, facts_of, splits_of
from tinyablate.plan import Plan, ask, make_plan, unique
from tinyablate.run import register
from tinyablate.store.location import Location
from tinyablate.store.query import timed_trials
from tinyablate.store.records import EstimateRecord
from tinyablate.store.store import Store, open_existing
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.sequential import extended


def devices_of(wanted: str, slots: int | None = None, trials_per_gpu: int = 1, *, inline: bool = False) -> Devices:
    """What `run --device wanted` computes on; `inline` computes one job at a time. UsageError for "cuda" without a GPU.

    More slots than cores do not make a CPU faster.
    """
    name = machine.device_name(wanted)
    if inline:
        return Devices(name, "core" if name == machine.processor_name() else "GPU", 1)
    if name != machine.processor_name():
        return Devices(name, "GPU", machine.device_count(wanted), trials_per_gpu)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Devices(name, "core", min(slots or cores, cores))


def plan_against(
    sweeps: Sequence[Sweep], database: str, devices: Devices, facts: Mapping[Request, ModelFacts], share: bool = True
) -> tuple[Plan, Estimate]:
    """The plan of `sweeps` against what the database has, and its cost; one that does not exist yet has nothing.

    With `share` false every trial is a job of its own.
    """
    splits = splits_of(facts)
    if not Location.of(database).exists():
        plan = make_plan([ask(sweep, devices.name) for sweep in sweeps], {}, splits=splits, share=share)
        return plan, cost_of(plan, None, devices, facts)
    with open_existing(database) as store:
        asked = [ask(extended(sweep, store), devices.name) for sweep in sweeps]
        plan = make_plan(asked, store.states(unique(asked)), splits=splits, share=share)
        return plan, cost_of(plan, store, devices, facts)


def cost_of(
    plan: Plan,
    store: Store | None,
    devices: Devices,
    facts: Mapping[Request, ModelFacts],
    keep_weights: bool = False,
) -> Estimate:
    """What the plan's jobs would take on these devices, by what `store` has seen; None is a store that has nothing."""
    models = {job.trials[0].recipe.model.name for job in plan.jobs}
    timed = timed_trials(store, models, devices.name) if store is not None and models else []
    return cost.estimate(plan.jobs, History.of(timed), devices, facts_of(facts), keep_weights=keep_weights)


def note_cost(plan: Plan, estimate: Estimate, store: Store) -> None:
    """Remember each sweep's share of `estimate`, before the run, so that `status` can put the truth beside it."""
    register(store, plan, estimate.devices.name)
    for part in plan.parts:
        share = estimate.of(part.trials)
        if share.jobs:
            store.note_estimate(part.sweep.digest, _record(share))


def _record(estimate: Estimate) -> EstimateRecord:
    return EstimateRecord(
        seconds=estimate.seconds,
        device=estimate.devices.name,
        devices=estimate.devices.count,
        trials_each=estimate.devices.trials_each,
        device_hours=estimate.device_hours,
        disk_bytes=estimate.disk_bytes,
        jobs=len(estimate.jobs),
        from_history=estimate.counts["history"],
        from_calibration=estimate.counts["calibration"],
    )
