"""Plan: what a sweep asks for against what the store has. Pure: it opens no database, no data and no model."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from tinyablate import datasets
from tinyablate.identity import CORE_VERSION, canonical, trial_key, trunk
from tinyablate.recipe import Recipe
from tinyablate.sweep.schema import Sweep

State = Literal["new", "running", "done", "failed", "stale"]
STATES: tuple[State, ...] = ("new", "running", "done", "failed", "stale")


class Known(Protocol):
    """What is stored of a trial (see `store.StoredState`)."""

    @property
    def state(self) -> str: ...
    @property
    def core_version(self) -> int | None: ...
    @property
    def live(self) -> bool: ...


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that the sweep needs, once however many cells it fills."""

    key: str
    recipe: Recipe
    canonical: str
    seed: int
    fingerprint: str
    state: State


@dataclass(frozen=True)
class PlannedJob:
    """Trials to be computed together; more than one where observers share a training run."""

    trials: tuple[PlannedTrial, ...]


@dataclass(frozen=True)
class Plan:
    """The trials of a sweep, which cell each fills, and the jobs that would run."""

    sweep: Sweep
    trials: Mapping[str, PlannedTrial]
    """By key, in the order of the table."""
    cells: Mapping[tuple[int, int], tuple[str, ...]]
    """(row index, column index) -> keys of its trials, in the order of the row's seeds."""
    jobs: tuple[PlannedJob, ...]

    def counts(self) -> dict[str, int]:
        """Number of trials in each state."""
        counted = Counter(trial.state for trial in self.trials.values())
        return {state: counted[state] for state in STATES}

    def cell_counts(self, cell: tuple[int, int]) -> dict[str, int]:
        """Number of one cell's trials in each state."""
        counted = Counter(self.trials[key].state for key in self.cells[cell])
        return {state: counted[state] for state in STATES}

    @property
    def to_run(self) -> int:
        """Number of trials that `run` would compute."""
        return sum(len(job.trials) for job in self.jobs)

    @property
    def reused(self) -> int:
        """Number of places in the table that a trial of another cell fills."""
        return sum(len(keys) for keys in self.cells.values()) - len(self.trials)


def keys_of(sweep: Sweep) -> dict[tuple[int, int], tuple[str, ...]]:
    """(row, column) -> trial keys in the order of the row's seeds."""
    fingerprints = _fingerprints(sweep)
    return {
        (cell.row, cell.column): tuple(
            trial_key(cell.canonical, seed, fingerprints[cell.recipe.data.name]) for seed in sweep.rows[cell.row].seeds
        )
        for cell in sweep.cells
    }


def _fingerprints(sweep: Sweep) -> dict[str, str]:
    """Data set's name -> its fingerprint, for all that the sweep names."""
    names = {cell.recipe.data.name for cell in sweep.cells}
    return {name: datasets.lookup(name).fingerprint for name in names}


def unique(keys: Mapping[tuple[int, int], tuple[str, ...]]) -> list[str]:
    """Every key of `keys_of` once, in the order of the table."""
    return list(dict.fromkeys(key for cell in keys.values() for key in cell))


def make_plan(sweep: Sweep, stored: Mapping[str, Known], keys: Mapping[tuple[int, int], tuple[str, ...]]) -> Plan:
    """The plan of `sweep` given what the store knows of its trials; `keys` is `keys_of(sweep)`."""
    trials: dict[str, PlannedTrial] = {}
    fingerprints = _fingerprints(sweep)
    for cell in sweep.cells:
        fingerprint = fingerprints[cell.recipe.data.name]
        for key, seed in zip(keys[cell.row, cell.column], sweep.rows[cell.row].seeds, strict=True):
            if key not in trials:
                state = state_of(stored.get(key))
                trials[key] = PlannedTrial(key, cell.recipe, cell.canonical, seed, fingerprint, state)
    return Plan(sweep, trials, keys, _jobs(trials))


def state_of(known: Known | None) -> State:
    """How the plan sees a stored trial: a running one whose driver is gone is to be run again, so it is new."""
    if known is None or known.state == "pending":
        return "new"
    if known.state == "running":
        return "running" if known.live else "new"
    if known.state == "failed":
        return "failed"
    return "done" if known.core_version == CORE_VERSION else "stale"


def _jobs(trials: Mapping[str, PlannedTrial]) -> tuple[PlannedJob, ...]:
    """Trials to run, grouped where they differ only in what observes the training (ema, evaluate)."""
    trunks: dict[str, str] = {}
    groups: dict[tuple[str, int], list[PlannedTrial]] = {}
    for trial in trials.values():
        if trial.state in ("done", "running"):
            continue
        if trial.canonical not in trunks:
            trunks[trial.canonical] = canonical(trunk(trial.recipe)) if observed(trial) else trial.canonical
        groups.setdefault((trunks[trial.canonical], trial.seed), []).append(trial)
    return tuple(PlannedJob(tuple(group)) for group in groups.values())


def observed(trial: PlannedTrial) -> bool:
    """Whether the recipe has an observer other than the plain one."""
    return '"ema.' in trial.canonical or '"evaluate.' in trial.canonical
