"""Plan: what sweeps ask for against what the store has. Pure: it opens no database, no data and no model."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tinyablate import datasets
from tinyablate.identity import CORE_VERSION, canonical, heads, trial_key, trunk
from tinyablate.recipe import Recipe
from tinyablate.sweep.schema import Kind, Sweep

State = Literal["new", "running", "done", "failed", "stale"]
STATES: tuple[State, ...] = ("new", "running", "done", "failed", "stale")

CellKeys = Mapping[tuple[int, int, Kind], tuple[str, ...]]
"""(row index, column index, kind) -> keys of the cell's trials, in the order of the row's seeds."""

MOST_LEARNERS = 64
"""Classifiers in one job. At 300,000 parameters each, with gradient, two moments and an average, 0.4 GB."""


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
    """A trial that is needed, once however many cells it fills."""

    key: str
    kind: Kind
    recipe: Recipe
    canonical: str
    seed: int
    fingerprint: str
    state: State


@dataclass(frozen=True)
class PlannedJob:
    """Trials to be computed together, in the order of the tables."""

    trials: tuple[PlannedTrial, ...]
    learners: int = 1
    """How many of them are trained; the others only observe one of these."""

    @property
    def kind(self) -> Kind:
        """That of all its trials."""
        return self.trials[0].kind


@dataclass(frozen=True)
class Asked:
    """A sweep with the keys of its trials."""

    sweep: Sweep
    keys: CellKeys


@dataclass(frozen=True)
class SweepPlan:
    """The trials of one sweep, and which cell each fills."""

    sweep: Sweep
    trials: Mapping[str, PlannedTrial]
    """By key, in the order of the table."""
    cells: CellKeys

    def counts(self) -> dict[str, int]:
        """Number of trials in each state."""
        return _counts(self.trials.values())

    def cell_counts(self, row: int, column: int) -> dict[str, int]:
        """Number of one cell's trials in each state."""
        keys = [key for kind in self.sweep.kinds for key in self.cells[row, column, kind]]
        return _counts(self.trials[key] for key in keys)

    @property
    def reused(self) -> int:
        """Number of places in the table that a trial of another cell fills."""
        return sum(len(keys) for keys in self.cells.values()) - len(self.trials)


@dataclass(frozen=True)
class Plan:
    """One or several sweeps, their trials, each once, and the jobs that would run."""

    parts: tuple[SweepPlan, ...]
    trials: Mapping[str, PlannedTrial]
    """By key, in the order of the tables."""
    jobs: tuple[PlannedJob, ...]
    """Trainings first: what is measured has the machine to itself."""

    def counts(self) -> dict[str, int]:
        """Number of trials in each state."""
        return _counts(self.trials.values())

    @property
    def to_run(self) -> int:
        """Number of trials that `run` would compute."""
        return sum(len(job.trials) for job in self.jobs)

    @property
    def common(self) -> int:
        """Number of trials that stand in more than one of the sweeps."""
        return sum(count > 1 for count in Counter(key for part in self.parts for key in part.trials).values())


def _counts(trials: Iterable[PlannedTrial]) -> dict[str, int]:
    counted = Counter(trial.state for trial in trials)
    return {state: counted[state] for state in STATES}


def ask(sweep: Sweep, device: str = "") -> Asked:
    """The sweep with its trials' keys; `device` names what measurements are made on."""
    fingerprints = _fingerprints(sweep)
    keys = {
        (cell.row, cell.column, kind): tuple(
            trial_key(cell.canonical, seed, fingerprints[cell.recipe.data.name], device if kind == "measure" else "")
            for seed in sweep.rows[cell.row].seeds
        )
        for cell in sweep.cells
        for kind in sweep.kinds
    }
    return Asked(sweep, keys)


def _fingerprints(sweep: Sweep) -> dict[str, str]:
    """Data set's name -> its fingerprint, for all that the sweep names."""
    names = {cell.recipe.data.name for cell in sweep.cells}
    return {name: datasets.lookup(name).fingerprint for name in names}


def unique(asked: Iterable[Asked]) -> list[str]:
    """Every trial's key once, in the order of the tables."""
    return list(dict.fromkeys(key for each in asked for keys in each.keys.values() for key in keys))


def make_plan(
    asked: Sequence[Asked],
    stored: Mapping[str, Known],
    *,
    splits: Callable[[Recipe], bool] = lambda recipe: False,
    share: bool = True,
) -> Plan:
    """The plan of these sweeps given what the store knows of their trials.

    `splits` says of a recipe that trains only a classifier whether its trunk can be passed once for several; with
    `share` false every trial is a job of its own.
    """
    parts = tuple(_part(each, stored) for each in asked)
    trials = {key: trial for part in parts for key, trial in part.trials.items()}
    return Plan(parts, trials, _jobs(trials.values(), splits, share))


def _part(asked: Asked, stored: Mapping[str, Known]) -> SweepPlan:
    sweep, trials = asked.sweep, dict[str, PlannedTrial]()
    fingerprints = _fingerprints(sweep)
    for cell in sweep.cells:
        fingerprint, seeds = fingerprints[cell.recipe.data.name], sweep.rows[cell.row].seeds
        for kind in sweep.kinds:
            for key, seed in zip(asked.keys[cell.row, cell.column, kind], seeds, strict=True):
                if key not in trials:
                    state = state_of(stored.get(key))
                    trials[key] = PlannedTrial(key, kind, cell.recipe, cell.canonical, seed, fingerprint, state)
    return SweepPlan(sweep, trials, asked.keys)


def state_of(known: Known | None) -> State:
    """How the plan sees a stored trial: a running one whose driver is gone is to be run again, so it is new."""
    if known is None or known.state == "pending":
        return "new"
    if known.state == "running":
        return "running" if known.live else "new"
    if known.state == "failed":
        return "failed"
    return "done" if known.core_version == CORE_VERSION else "stale"


# ---- jobs ------------------------------------------------------------------------------------------------------------


def _jobs(trials: Iterable[PlannedTrial], splits: Callable[[Recipe], bool], share: bool) -> tuple[PlannedJob, ...]:
    """Trials to run, together where the mathematics is the same: observers of one training, heads of one trunk.

    What has failed is not among them: `tinyablate retry` puts it back.
    """
    learners: dict[str, str] = {}
    jobs: dict[str, str] = {}
    groups: dict[object, list[PlannedTrial]] = {}
    for trial in trials:
        if trial.state in ("done", "running", "failed"):
            continue
        if not share or trial.kind == "measure":
            groups[trial.key] = [trial]
            continue
        if trial.canonical not in jobs:
            learners[trial.canonical] = learner_of(trial)
            only_head = trial.recipe.model.trainable == "head" and splits(trial.recipe)
            jobs[trial.canonical] = canonical(heads(trial.recipe)) if only_head else learners[trial.canonical]
        groups.setdefault((jobs[trial.canonical], trial.seed), []).append(trial)
    planned = [job for group in groups.values() for job in _cut(group, learners)]
    return tuple(sorted(planned, key=lambda job: job.kind == "measure"))


def learner_of(trial: PlannedTrial) -> str:
    """What is trained for this trial, as a canonical recipe: that of its group without observers."""
    return canonical(trunk(trial.recipe)) if observed(trial) else trial.canonical


def _cut(trials: Sequence[PlannedTrial], learners: Mapping[str, str], most: int = MOST_LEARNERS) -> list[PlannedJob]:
    """Jobs of at most `most` learners each, observers with theirs."""
    by_learner: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        by_learner.setdefault(learners.get(trial.canonical, trial.canonical), []).append(trial)
    groups = list(by_learner.values())
    parts = [groups[first : first + most] for first in range(0, len(groups), most)]
    return [PlannedJob(tuple(trial for group in part for trial in group), len(part)) for part in parts]


def halves(trials: Sequence[PlannedTrial]) -> list[PlannedJob]:
    """Two jobs of half the learners of a job each, or of half the observers of its one learner."""
    learners = {trial.canonical: learner_of(trial) for trial in trials}
    count = len(set(learners.values()))
    if count > 1:
        return _cut(trials, learners, -(-count // 2))
    middle = -(-len(trials) // 2)
    return [PlannedJob(tuple(part)) for part in (trials[:middle], trials[middle:])]


def observed(trial: PlannedTrial) -> bool:
    """Whether the recipe has an observer other than the plain one."""
    return '"ema.' in trial.canonical or '"evaluate.' in trial.canonical
