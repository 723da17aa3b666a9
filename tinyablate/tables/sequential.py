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
from tinyablate.tables.words import place

Values = Mapping[tuple[int, int], Sequence[float]]
"""(row, column) -> the first seeds' values, nan where a trial has none; cells whose first seeds have all ended."""


@dataclass(frozen=True)
class Extension:
    """What asks for more than the first seeds of a row: its differences in one column, or rows compared with it."""

    row: int
    column: int
    """Where the differences are; of a row that only keeps up, where the neediest row compared with it has them."""
    asked: int
    """Seeds that the half width needs, also where that is more than the rule allows."""
    seeds: int
    """That the row gets in all, for the neediest of its columns and of the rows compared with it."""
    pairs: int
    """Of the first stage, from which `asked` follows."""
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
    """Whatever asks for more than the first seeds, in the order of the table: a row has one for each such column."""
    rule = sweep.sequential
    if rule is None:
        return ()
    own = _own(sweep, rule, _first_values(sweep, rule, store))
    asked: dict[int, int] = {}
    keeping: list[Extension] = []
    neediest = sorted(own, key=lambda one: -one.asked)
    for each in neediest:
        asked.setdefault(each.row, each.asked)
    for each in neediest:  # what rows are compared with is trained with all of their seeds
        reference = sweep.rows[each.row].reference or 0
        if asked.get(reference, 0) < each.asked:
            asked[reference] = each.asked
            keeping.append(replace(each, row=reference, sd=None))
    found = [replace(each, seeds=min(rule.most, asked[each.row])) for each in (*own, *keeping)]
    return tuple(sorted(found, key=lambda one: (one.row, one.sd is None, one.column)))


def records(sweep: Sweep, found: Sequence[Extension]) -> list[ExtensionRecord]:
    """The extensions as the store notes them; a row that gets no more than its first seeds has none."""
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
        if rule is not None and each.seeds > rule.least
    ]


def extension_text(record: ExtensionRecord) -> str:
    """What happened, in words: a row has as many seeds as its neediest column, a baseline as its neediest row."""
    where = f"'{record.row_label}'" + (f" in '{record.column_label}'" if record.column_label else "")
    if record.sd is None or record.half_width is None:
        grows = f"row '{record.row_label}' goes on from {record.from_n} to {record.to_n} seeds"
        return f"{grows}: as many as the neediest row that is compared with it"
    from tinyablate.tables import stats

    asked = stats.stein_pairs(record.first_n, record.sd, record.half_width) + record.from_n - record.first_n
    return (
        f"row {where} goes on from {record.from_n} to {record.to_n} seeds: its first {record.first_n} differences have "
        f"sd {record.sd:.3g}, and an interval of half width {record.half_width:g} is wanted"
        + ("" if asked == record.to_n else f", which asks for {asked}")
    )


def unreached(sweep: Sweep, found: Sequence[Extension]) -> list[str]:
    """A phrase for each difference that `max` stops before its interval is as short as wanted."""
    from tinyablate.tables import stats

    rule, phrases = sweep.sequential, list[str]()
    for each in found:
        if rule is None or each.sd is None or each.asked <= rule.most:
            continue
        half = stats.stein_half_width(each.pairs, each.sd, each.seeds - rule.least + each.pairs)
        where = place(sweep.rows[each.row].label, sweep.columns[each.column].label)
        reached = f"{where}: half width {half:.3g} of {rule.half_width:g} wanted with max = {rule.most}"
        phrases.append(f"{reached}; about {each.asked} seeds would be needed")
    return phrases


def _own(sweep: Sweep, rule: Sequential, values: Values) -> list[Extension]:
    """What the differences of each row in each column ask for, where that is more than the first seeds."""
    found = []
    for row, column in values:
        reference = sweep.rows[row].reference
        if sweep.rows[row].null or reference is None or (reference, column) not in values:
            continue
        found.append(_needed(row, column, rule, values[row, column], values[reference, column]))
    return [each for each in found if each is not None and each.asked > rule.least]


def _needed(
    row: int, column: int, rule: Sequential, arm: Sequence[float], reference: Sequence[float]
) -> Extension | None:
    """What the first differences ask for; None where there are less than two pairs.

    As many seeds as gave no pair in the first stage, because a trial diverged, are added to the pairs that are needed.
    """
    import numpy as np

    from tinyablate.tables import stats

    differences = np.asarray(arm, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    pairs = differences[~np.isnan(differences)]
    if len(pairs) < 2:
        return None
    sd = float(np.std(pairs, ddof=1))
    asked = stats.stein_pairs(len(pairs), sd, rule.half_width) + rule.least - len(pairs)
    return Extension(row, column, asked, min(asked, rule.most), len(pairs), sd)


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
