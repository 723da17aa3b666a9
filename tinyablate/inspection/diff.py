"""Two trials, or two rows of a sweep, told apart: only what differs, and what the difference comes to. No text."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from tinyablate.errors import UsageError
from tinyablate.identity import differences, from_canonical
from tinyablate.inspection import find
from tinyablate.inspection.find import FoundRow, FoundTrial
from tinyablate.inspection.records import (
    Diff,
    Differing,
    MetricDifference,
    OfTwoCheckpoints,
    OfTwoRows,
    Rule,
    Scalar,
    SeedPair,
    Side,
)
from tinyablate.store import schema
from tinyablate.store.columns import views
from tinyablate.store.cross_fit import unpacked
from tinyablate.store.query import bits_of
from tinyablate.store.records import EnvironmentRecord
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.tables import stats

METRICS = ("val_top1", "val_top5", "val_loss", "train_loss")
"""Of an epoch, with a value under either rule."""

MEASURED = tuple(name for name, each in metrics.KNOWN.items() if each.source == "measured" and name in schema.FACTS)
"""Speeds and memory, which vary from one repetition to the next."""

ENVIRONMENT = tuple(field.name for field in fields(EnvironmentRecord))

OUTCOME = (
    "state", "observer", "epochs", "diverged_epoch", "best_epoch",
    *(f"{rule}_{name}" for rule in ("last", "best") for name in METRICS), "cross_fitted_val_top1", *schema.FACTS,
)  # fmt: skip
"""What an outcome says, in the order in which it is shown."""


# ---- two trials ------------------------------------------------------------------------------------------------------


def diff_trials(store: Store, a: str, b: str, rule: Rule = "last") -> Diff:
    """What differs between the trials whose keys begin with `a` and with `b`. Raises UsageError."""
    one, other = find.trial(store, a), find.trial(store, b)
    if one.key == other.key:
        raise UsageError(f"diff {a} {b}: are the same trial, {one.key[: find.KEY_DIGITS]}")
    outcomes = _outcomes(store, [one, other])
    images, why = _checkpoints(store, one, other, rule)
    return Diff(
        a=_side_of(store, one),
        b=_side_of(store, other),
        rule=rule,
        trial=_differing(_identity(one), _identity(other)),
        recipe=_recipe([one], [other]),
        environment=_environment(store, [one], [other]),
        outcome=_differing(*_news(outcomes[one.key], outcomes[other.key]), change=True),
        metrics=(),
        pairs=(),
        images=images,
        no_images=why,
    )


def _side_of(store: Store, trial: FoundTrial) -> Side:
    where = tuple(f"{place.version.said}: {place.label}" for place in find.places(store, trial))
    return Side(trial.key, (trial.key,), (trial.seed,), where)


def _identity(trial: FoundTrial) -> dict[str, Scalar]:
    return {
        "kind": trial.kind, "seed": trial.seed, "data": trial.fingerprint, "measured on": trial.measured_on,
        "core version": trial.core_version,
    }  # fmt: skip


def _news(a: Mapping[str, Scalar], b: Mapping[str, Scalar]) -> tuple[Mapping[str, Scalar], Mapping[str, Scalar]]:
    """Both without the numbers of the best epoch, where that is the last one in both."""
    if any(side["best_epoch"] != side["epochs"] for side in (a, b)):
        return a, b
    kept = [name for name in a if not name.startswith(("best_", "cross_fitted_"))]
    return {name: a[name] for name in kept}, {name: b[name] for name in kept}


def _differing(a: Mapping[str, Scalar], b: Mapping[str, Scalar], change: bool = False) -> tuple[Differing, ...]:
    """The names whose values differ; with the change of numbers."""
    different = [name for name in a if a[name] != b[name]]
    return tuple(Differing(name, a[name], b[name], _change(a[name], b[name]) if change else None) for name in different)


def _change(a: Scalar, b: Scalar) -> float | None:
    numbers = [value for value in (a, b) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return numbers[1] - numbers[0] if len(numbers) == 2 else None


def _recipe(a: Sequence[FoundTrial], b: Sequence[FoundTrial]) -> tuple[Differing, ...]:
    """Fields in which the recipes differ as far as they can change a number (see `identity.canonical`)."""
    if not a or not b:
        return ()
    found = differences(from_canonical(b[0].canonical), from_canonical(a[0].canonical))
    return tuple(Differing(path, before, after) for path, (before, after) in found.items())


def _environment(store: Store, a: Sequence[FoundTrial], b: Sequence[FoundTrial]) -> tuple[Differing, ...]:
    """What computed the accepted results; several values of a row, joined."""
    wanted = sa.select(schema.attempts.c.id, schema.attempts.c.micro_batch, schema.environments).join(
        schema.environments, schema.environments.c.id == schema.attempts.c.environment_id
    )
    accepted = [trial.accepted for trial in (*a, *b) if trial.accepted is not None]
    with store.backend.read() as connection:
        rows: dict[int | None, Any] = {
            row[0]: row._mapping for row in connection.execute(wanted.where(schema.attempts.c.id.in_(accepted)))
        }
    mine, theirs = ([rows[trial.accepted] for trial in side if trial.accepted in rows] for side in (a, b))
    if not mine or not theirs:
        return ()  # one of them has no result yet: nothing to compare with
    names = (*ENVIRONMENT, "micro_batch")
    one, other = ({name: _joined(row[name] for row in side) for name in names} for side in (mine, theirs))
    return _differing(one, other)


def _joined(values: Any) -> Scalar:
    """The one value, or all of them as text."""
    distinct = sorted(set(values), key=lambda value: (value is not None, str(value)))
    return distinct[0] if len(distinct) == 1 else ", ".join(map(str, distinct)) or None


def _outcomes(store: Store, trials: Sequence[FoundTrial]) -> dict[str, dict[str, Scalar]]:
    """Trial key -> what its accepted outcome says; all None but the state where there is none."""
    o = schema.outcomes.c
    columns = [name for name in OUTCOME if name != "state"]
    wanted = sa.select(o.attempt_id, *(o[name] for name in columns))
    accepted = [trial.accepted for trial in trials if trial.accepted is not None]
    with store.backend.read() as connection:
        rows: dict[int | None, Any] = {
            row[0]: row[1:] for row in connection.execute(wanted.where(o.attempt_id.in_(accepted)))
        }
    empty = (None,) * len(columns)
    return {
        trial.key: {"state": trial.state, **dict(zip(columns, rows.get(trial.accepted, empty), strict=True))}
        for trial in trials
    }


def _checkpoints(store: Store, one: FoundTrial, other: FoundTrial, rule: Rule) -> tuple[OfTwoCheckpoints | None, str]:
    """McNemar's table of the two trials' images, or why there is none."""
    why = _other_images(one, other)
    if why:
        return None, why
    found = _bits(store, [one, other], rule)
    if len(found) < 2:
        return None, "no bits per image are stored of " + ("both" if not found else "one of them")
    a, b = found[one.key], found[other.key]
    if len(a) != len(b):
        return None, "their numbers of images differ"
    test = stats.mcnemar(a, b)
    both, neither = int((a & b).sum()), int((~a & ~b).sum())
    return OfTwoCheckpoints(len(a), both, int(test.only_a), int(test.only_b), neither, float(test.p)), ""


def _other_images(one: FoundTrial, other: FoundTrial) -> str:
    """Why the two were not evaluated on the same images; empty where they were."""
    splits = [from_canonical(each.canonical).evaluate.split for each in (one, other)]
    if one.fingerprint != other.fingerprint:
        return "their data sets differ"
    return "" if splits[0] == splits[1] else f"they are evaluated on other images: {splits[0]} and {splits[1]}"


def _bits(store: Store, trials: Sequence[FoundTrial], rule: Rule) -> dict[str, NDArray[np.bool_]]:
    """Trial key -> whether each image was classified rightly; trials without bits are left out."""
    found = bits_of(store, [trial.key for trial in trials], rule)
    top1 = {key: outcome[f"{rule}_val_top1"] for key, outcome in _outcomes(store, trials).items()}
    numbers = {key: value for key, value in top1.items() if isinstance(value, float)}
    return {key: unpacked([bits], [numbers[key]])[0] for key, bits in found.items() if bits and key in numbers}


# ---- two rows --------------------------------------------------------------------------------------------------------


def diff_rows(store: Store, sweep: str, a: str, b: str, rule: Rule = "last", smoke: bool = False) -> Diff:
    """What differs between the rows `a` and `b` of the sweep, as its newest version has them. Raises UsageError."""
    one, other = find.rows(store, sweep, (a, b), smoke)
    if one.label == other.label:
        raise UsageError(f"diff '{a}' '{b}': are the same row of {one.version.said}")
    mine, theirs = list(one.trials.values()), list(other.trials.values())
    outcomes = _outcomes(store, mine + theirs)
    values = {name: _by_seed((one, other), outcomes, name) for name in (*_names(rule), *MEASURED)}
    repeated = all(values[f"best_{name}"] == values[f"last_{name}"] for name in METRICS)
    names = (*_names(rule)[: len(METRICS) if repeated else None], *MEASURED)
    images, why = _rows_images(store, one, other, rule)
    a_top1, b_top1 = values[f"{rule}_val_top1"]
    return Diff(
        a=_side_of_row(one),
        b=_side_of_row(other),
        rule=rule,
        trial=_differing(_data(mine), _data(theirs)),
        recipe=_recipe(mine, theirs),
        environment=_environment(store, mine, theirs),
        outcome=_facts(outcomes, mine, theirs),
        metrics=tuple(filter(None, (_metric(name, *values[name]) for name in names))),
        pairs=tuple(SeedPair(seed, a_top1[seed], b_top1[seed]) for seed in sorted(a_top1.keys() & b_top1.keys())),
        images=images,
        no_images=why,
    )


def _data(trials: Sequence[FoundTrial]) -> dict[str, Scalar]:
    return {"data": _joined(trial.fingerprint for trial in trials)}


def _side_of_row(row: FoundRow) -> Side:
    keys = tuple(trial.key for trial in row.trials.values())
    return Side(row.label, keys, tuple(row.trials), (row.version.said,))


def _names(rule: Rule) -> list[str]:
    """The numbers that rows are compared by: those of the rule first."""
    other = "best" if rule == "last" else "last"
    return [f"{each}_{name}" for each in (rule, other) for name in METRICS]


def _by_seed(
    rows: Sequence[FoundRow], outcomes: Mapping[str, Mapping[str, Scalar]], name: str
) -> list[dict[int, float]]:
    """For each row seed -> its value, of the seeds that are complete."""
    return [
        {
            seed: float(value)
            for seed, trial in row.trials.items()
            if trial.state == "complete" and isinstance(value := outcomes[trial.key][name], (int, float))
        }
        for row in rows
    ]


def _facts(
    outcomes: Mapping[str, Mapping[str, Scalar]], mine: Sequence[FoundTrial], theirs: Sequence[FoundTrial]
) -> tuple[Differing, ...]:
    """What differs and is no matter of the seed's chance: states, epochs, facts of the model."""
    facts = [name for name in schema.FACTS if name not in MEASURED]
    names = ("state", "observer", "epochs", "diverged_epoch", *facts)
    a, b = ({name: _joined(outcomes[trial.key][name] for trial in side) for name in names} for side in (mine, theirs))
    return _differing(a, b, change=True)


def _metric(name: str, a: Mapping[int, float], b: Mapping[int, float]) -> MetricDifference | None:
    """The difference of one metric; None where a row has no value."""
    if not a or not b:
        return None
    seeds = sorted(a.keys() | b.keys())
    one, other = (np.array([side.get(seed, np.nan) for seed in seeds]) for side in (a, b))
    common = len(a.keys() & b.keys())
    found = stats.paired(other, one) if common else stats.welch(other, one)
    return MetricDifference(
        name=name,
        mean_a=float(np.nanmean(one)),
        mean_b=float(np.nanmean(other)),
        n_a=len(a),
        n_b=len(b),
        paired=common > 0,
        pairs=common,
        value=float(found.value),
        low=_or_none(found.low),
        high=_or_none(found.high),
        correlation=_or_none(stats.correlation(other, one)),
    )


def _or_none(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _rows_images(store: Store, one: FoundRow, other: FoundRow, rule: Rule) -> tuple[OfTwoRows | None, str]:
    """What single images and seeds make of the difference, or why nothing is known of it."""
    seeds = tuple(seed for seed in one.trials if seed in other.trials)
    if not seeds:
        return None, "the rows have no seed in common"
    why = _other_images(one.trials[seeds[0]], other.trials[seeds[0]])
    if why:
        return None, why
    done = [[row.trials[seed] for seed in seeds if row.trials[seed].state == "complete"] for row in (one, other)]
    bits = [_bits(store, trials, rule) for trials in done]
    common = [seed for seed in seeds if one.trials[seed].key in bits[0] and other.trials[seed].key in bits[1]]
    if not common:
        return None, "no seed has bits per image in both rows"
    a, b = ([found[row.trials[seed].key] for seed in common] for found, row in zip(bits, (one, other), strict=True))
    if len({len(each) for each in (*a, *b)}) > 1:
        return None, "their numbers of images differ"
    return _of_rows(np.stack(a), np.stack(b), tuple(common)), ""


def _of_rows(a: NDArray[np.bool_], b: NDArray[np.bool_], seeds: tuple[int, ...]) -> OfTwoRows:
    """The same of correctness (seeds, images) of both rows."""
    difference = b.astype(float) - a
    more = difference.sum(axis=0)
    sds = stats.components(difference) if len(seeds) > 1 else None
    return OfTwoRows(
        images=a.shape[1],
        seeds=seeds,
        more_a=int((more < 0).sum()),
        more_b=int((more > 0).sum()),
        same=int((more == 0).sum()),
        seed_sd=_or_none(sds.seed) if sds else None,
        image_sd=_or_none(sds.image) if sds else None,
        interaction_sd=_or_none(sds.interaction) if sds else None,
    )


def unit_of(name: str) -> str:
    """The unit of a number that an outcome has, as `tinyablate schema` says; empty where it has none."""
    return next((column.unit for column in views()["trials"] if column.name == name), "")
