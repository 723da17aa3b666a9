"""One sweep with all that its page shows: table, trials, progress, failures, provenance. It writes no page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from tinyablate.plan import Asked
from tinyablate.report.plots import Curves, drawn_metric, row_curves
from tinyablate.report.read import (
    BROKEN,
    Attempt,
    Environment,
    attempts_of,
    curves_of,
    fingerprints_of,
)
from tinyablate.store.query import device_hours, outcomes_of
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Cell, Kind, Sweep
from tinyablate.tables.collect import asked_of, collect, column_of, state_of
from tinyablate.tables.figures.drawn import written
from tinyablate.tables.proof import Proof, proof
from tinyablate.tables.schema import Table
from tinyablate.tables.sequential import extended
from tinyablate.tables.words import place

STATES = ("complete", "diverged", "failed", "stale", "running", "pending")
"""In the order of the progress bar."""
MOST_FAILURES = 200
"""Listed on a sweep's page with their tracebacks; each trial's own page has its."""
MOST_ROWS = 60
"""Whose curves are drawn."""


@dataclass(frozen=True)
class Place:
    """Where a trial stands in a sweep's table."""

    row: int
    column: int
    seed: int
    kind: Kind


@dataclass(frozen=True)
class Placed:
    """A sweep and the trials that it asks for."""

    sweep: Sweep
    keys: Asked
    device: str
    """Of its measurements; empty without any."""
    places: Mapping[str, tuple[Place, ...]]
    """Trial key -> the places that it fills, in the order of the table."""

    @cached_property
    def cells(self) -> dict[tuple[int, int], Cell]:
        """The sweep's cells by (row, column)."""
        return {(cell.row, cell.column): cell for cell in self.sweep.cells}

    def label(self, at: Place) -> str:
        """`row / column`."""
        return place(self.sweep.rows[at.row].label, self.sweep.columns[at.column].label)


@dataclass(frozen=True)
class Trial:
    """A trial as a list shows it."""

    key: str
    label: str
    """Of the cell that it fills first."""
    at: Place
    state: str
    value: float | None
    """In the first metric that the sweep's trials yield, under its selection rule."""
    text: str
    """That, in words."""
    attempts: tuple[Attempt, ...]
    """Without their tracebacks."""
    diverged_epoch: int | None = None

    @property
    def last(self) -> Attempt | None:
        """The attempt that counts, else the latest."""
        return next(
            (attempt for attempt in self.attempts if attempt.counts), self.attempts[-1] if self.attempts else None
        )


@dataclass(frozen=True)
class Report:
    """All that a sweep's page shows."""

    placed: Placed
    table: Table
    proof: Mapping[int, Proof]
    """By the index of the row, of those that are compared with another."""
    trials: tuple[Trial, ...]
    failures: tuple[Attempt, ...]
    """At most `MOST_FAILURES`, the latest first, with their tracebacks."""
    failed: int
    """How many there are."""
    environments: tuple[tuple[Environment, int], ...]
    """Each with how many results come from it."""
    fingerprints: tuple[str, ...]
    curves: Curves
    metric: Metric | None
    """Of the trials' values."""
    seconds: float
    """Device time of all attempts at its trials, those that failed included."""

    @cached_property
    def by_key(self) -> dict[str, Trial]:
        """Its trials by their keys."""
        return {trial.key: trial for trial in self.trials}

    @property
    def diverged(self) -> list[Trial]:
        """Its trials that diverged."""
        return [trial for trial in self.trials if trial.state == "diverged"]

    @property
    def counts(self) -> dict[str, int]:
        """Trials by state, without the states that none has."""
        counted = Counter(trial.state for trial in self.trials)
        return {state: counted[state] for state in STATES if counted[state]}

    @property
    def attempts(self) -> list[Attempt]:
        """Of all trials."""
        return [attempt for trial in self.trials for attempt in trial.attempts]

    @property
    def span(self) -> tuple[float, float] | None:
        """When its first attempt began and its last one showed life (Unix seconds); None before the first."""
        attempts = self.attempts
        if not attempts:
            return None
        return min(each.started_at for each in attempts), max(each.ended_at for each in attempts)


def placed(sweep: Sweep, store: Store, device: str = "") -> Placed:
    """The sweep with the trials that it asks for, its measurements on `device` as `collect` chooses it."""
    sweep = extended(sweep, store)
    found, device = asked_of(sweep, store, device)
    places: dict[str, list[Place]] = {}
    for (row, column, kind), keys in found.keys.items():
        for key, seed in zip(keys, sweep.rows[row].seeds, strict=True):
            places.setdefault(key, []).append(Place(row, column, seed, kind))
    return Placed(sweep, found, device, {key: tuple(at) for key, at in places.items()})


def gather(placed: Placed, store: Store) -> Report:
    """All that the page of the sweep shows, as the store has it now."""
    trials, metric = trials_of(placed, list(placed.places), store)
    attempts = [attempt for trial in trials for attempt in trial.attempts]
    broken = sorted((each for each in attempts if each.state in BROKEN), key=lambda each: -each.ended_at)
    used = Counter(each.environment for each in attempts if each.counts and each.environment)
    return Report(
        placed=placed,
        table=collect(placed.sweep, store, placed.device),
        proof={each.row: each for each in proof(placed.sweep, store, placed.keys)},
        trials=trials,
        failures=_with_tracebacks(broken[:MOST_FAILURES], store),
        failed=len(broken),
        environments=tuple(sorted(used.items(), key=lambda pair: (-pair[1], pair[0]))),
        fingerprints=tuple(fingerprints_of(store, list(placed.places))),
        curves=_curves(placed, trials, store),
        metric=metric,
        seconds=3600 * sum(device_hours(store, list(placed.places)).values()),
    )


def trials_of(placed: Placed, keys: Sequence[str], store: Store) -> tuple[tuple[Trial, ...], Metric | None]:
    """These trials of the sweep as the store has them now, and the metric of their values."""
    metric = _own_metric(placed.sweep)
    digits = placed.sweep.digits.get(metric.name) if metric else None
    columns = [column_of(metric, placed.sweep.select)] if metric else []
    stored, attempts = outcomes_of(store, keys, columns), attempts_of(store, keys)
    found = []
    for key in keys:
        outcome, at = stored.get(key), placed.places[key][0]
        state = state_of(outcome) if outcome else "pending"
        value = outcome.values[0] if outcome and metric and state == "complete" else None
        scaled = None if value is None or metric is None else value * metric.scale
        text = "" if scaled is None or metric is None else written(metric, scaled, digits)
        found.append(Trial(key, placed.label(at), at, state, scaled, text, attempts.get(key, ()),
                           outcome.diverged_epoch if outcome else None))  # fmt: skip
    return tuple(found), metric


def _own_metric(sweep: Sweep) -> Metric | None:
    """The first metric that stands in a trial's outcome by itself: no ratio, no single epoch."""
    known = map(metrics.lookup, sweep.metrics)
    return next((metric for metric in known if not metric.relative_to and metric.epoch is None), None)


def _with_tracebacks(attempts: Sequence[Attempt], store: Store) -> tuple[Attempt, ...]:
    """The same attempts with their tracebacks."""
    whole = attempts_of(store, list(dict.fromkeys(attempt.key for attempt in attempts)), tracebacks=True)
    by_number = {(each.key, each.number): each for found in whole.values() for each in found}
    return tuple(by_number.get((attempt.key, attempt.number), attempt) for attempt in attempts)


def _curves(placed: Placed, trials: Sequence[Trial], store: Store) -> Curves:
    """The curves of the first rows' cells."""
    complete: dict[str, list[str]] = {}
    shown = {row.index for row in islice(placed.sweep.rows, MOST_ROWS)}
    for trial in trials:
        if trial.state != "complete":
            continue
        for at in placed.places[trial.key]:
            if at.kind == "train" and at.row in shown:
                complete.setdefault(placed.label(at), []).append(trial.key)
    keys = list(dict.fromkeys(key for keys in complete.values() for key in keys))
    curves = curves_of(store, keys, [drawn_metric(placed.sweep).name])
    return row_curves(placed.sweep, list(complete.items()), curves, len(placed.sweep.rows) - len(shown))
