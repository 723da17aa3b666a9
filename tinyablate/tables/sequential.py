"""Seeds by a rule: how many a row gets once its first seeds are through, by Stein's two stages.

A row's number of seeds follows from the differences of its first stage alone, so that it stays what it is when later
seeds come, and an interval of n - 1 degrees of freedom of the first stage keeps its level whatever the variance is.
Source: Stein, Annals of Mathematical Statistics 16 (1945), "A two-sample test for a linear hypothesis whose power is
independent of the variance". It reads the store and changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tinyablate.identity import CORE_VERSION
from tinyablate.plan import ask, unique
from tinyablate.store.query import epochs_of, outcomes_of
from tinyablate.store.records import ExtensionRecord
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.sweep.schema import Sequential, Sweep

Values = Mapping[tuple[int, int], Sequence[float]]
"""(row, column) -> the first seeds' values, nan where a trial has none; cells whose first seeds have all ended."""


@dataclass(frozen=True)
class Extension:
    """A row that gets more than the first seeds."""

    row: int
    column: int
    """Where its difference needs the most seeds."""
    seeds: int
    """That it gets in all."""
    pairs: int
    """Of the first stage, from which that follows."""
    sd: float | None
    """Of their differences; None for a row that only keeps up with the rows that are compared with it."""


def extended(sweep: Sweep, store: Store) -> Sweep:
    """The sweep with the seeds that its rule gives each row, by what the store has; itself where there is no rule."""
    more = {each.row: each.seeds for each in extensions(sweep, store)}
    if not more:
        return sweep
    rows = (replace(row, seeds=tuple(range(more.get(row.index, 0)))) if row.index in more else row
            for row in sweep.rows)  # fmt: skip
    return replace(sweep, rows=tuple(rows))


def extensions(sweep: Sweep, store: Store) -> tuple[Extension, ...]:
    """The rows that get more seeds than the first ones, in the order of the table."""
    rule = sweep.sequential
    if rule is None:
        return ()
    own = _own(sweep, rule, _first_values(sweep, rule, store))
    found = dict(own)
    for each in own.values():  # what rows are compared with is trained with all of their seeds
        reference = sweep.rows[each.row].reference or 0
        if reference not in found or found[reference].seeds < each.seeds:
            found[reference] = replace(each, row=reference, sd=None)
    return tuple(found[index] for index in sorted(found))


def records(sweep: Sweep, found: Sequence[Extension]) -> list[ExtensionRecord]:
    """The extensions as the store notes them."""
    rule = sweep.sequential
    return [
        ExtensionRecord(
            row_label=sweep.rows[each.row].label,
            column_label=sweep.columns[each.column].label,
            from_n=rule.least,
            to_n=each.seeds,
            first_n=each.pairs,
            sd=each.sd,
            half_width=None if each.sd is None else rule.half_width,
        )
        for each in found
        if rule is not None
    ]


def extension_text(record: ExtensionRecord) -> str:
    """What happened, in words."""
    where = f"'{record.row_label}'" + (f" in '{record.column_label}'" if record.column_label else "")
    grows = f"row {where} goes on from {record.from_n} to {record.to_n} seeds"
    if record.sd is None or record.half_width is None:
        return f"{grows}: as many as the rows that are compared with it"
    return (
        f"{grows}: its first {record.first_n} differences have sd {record.sd:.3g}, "
        f"and an interval of half width {record.half_width:g} is wanted"
    )


def _own(sweep: Sweep, rule: Sequential, values: Values) -> dict[int, Extension]:
    """Row -> what its own differences ask for, where that is more than the first seeds."""
    found: dict[int, Extension] = {}
    for row, column in values:
        reference = sweep.rows[row].reference
        if sweep.rows[row].null or reference is None or (reference, column) not in values:
            continue
        needed = _needed(row, column, rule, values[row, column], values[reference, column])
        if needed is not None and (row not in found or needed.seeds > found[row].seeds):
            found[row] = needed
    return found


def _needed(
    row: int, column: int, rule: Sequential, arm: Sequence[float], reference: Sequence[float]
) -> Extension | None:
    """What the first differences ask for; None where that is no more than there is, or there are less than two pairs.

    As many seeds as gave no pair in the first stage, because a trial diverged, are added to the pairs that are needed.
    """
    import numpy as np

    from tinyablate.tables import stats

    differences = np.asarray(arm, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    pairs = differences[~np.isnan(differences)]
    if len(pairs) < 2:
        return None
    seeds = min(rule.most, stats.stein(pairs, rule.half_width, rule.most) + rule.least - len(pairs))
    sd = float(np.std(pairs, ddof=1))
    return Extension(row, column, seeds, len(pairs), sd) if seeds > rule.least else None


def _first_values(sweep: Sweep, rule: Sequential, store: Store) -> Values:
    """The first metric of the first seeds, at the epoch that verdicts look at: the last where `select` is best."""
    rows = tuple(replace(row, seeds=row.seeds[: rule.least]) for row in sweep.rows)
    asked = ask(replace(sweep, rows=rows))
    metric, keys = metrics.lookup(sweep.metrics[0]), unique([asked])
    select = "last" if sweep.select == "best" else sweep.select.replace("-", "_")
    base = metric.name.partition("@")[0]
    stored = outcomes_of(store, keys, [] if metric.epoch else [f"{select}_{base}"])
    ended = {
        key: outcome.values
        for key, outcome in stored.items()
        if outcome.state in ("complete", "diverged") and outcome.core_version == CORE_VERSION
    }
    if metric.epoch:
        curves = epochs_of(store, keys, [base], [metric.epoch])
        ended = {key: curves.get(key, {}).get(metric.epoch, (None,)) for key in ended}
    return {
        (row, column): [_number(ended[key][0], stored[key].state) for key in found]
        for (row, column, kind), found in asked.keys.items()
        if kind == "train" and all(key in ended for key in found)
    }


def _number(value: float | None, state: str) -> float:
    """The value of a complete trial; nan of one that diverged."""
    return value if value is not None and state == "complete" else float("nan")
