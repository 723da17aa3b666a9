"""The footnotes of a table: how its numbers were made, what they cannot say, and what they mix. Sentences only.

Those about comparisons stand in `statistics_notes`, those about single metrics in `about`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tinyablate import datasets
from tinyablate.sweep import metrics
from tinyablate.sweep.schema import Row, Sweep
from tinyablate.tables import stats
from tinyablate.tables.about import about_metrics
from tinyablate.tables.arrays import Collected
from tinyablate.tables.comparisons import Compared
from tinyablate.tables.ranking import Ranking
from tinyablate.tables.schema import Provenance, TableRow
from tinyablate.tables.statistics_notes import Story, statistics_notes
from tinyablate.tables.words import counted, cut, images, place, ranges, short


@dataclass(frozen=True)
class Facts:
    """What the footnotes need beside the sweep and its finished rows."""

    found: Collected
    compared: Compared
    rankings: tuple[Ranking, ...]
    measured_on: str = ""
    """Name of the device of the measurements."""
    remarks: tuple[str, ...] = ()
    """What the store knows of the sweep's earlier runs."""


def footnotes(sweep: Sweep, rows: Sequence[TableRow], facts: Facts) -> Iterator[str]:
    """Every footnote of the table that `rows` make up, in the order in which they are read."""
    if sweep.smoke:
        yield "SMOKE: a reduced copy of the sweep that shows that everything runs; its numbers mean nothing."
    yield from facts.remarks
    yield from _values(sweep)
    yield from about_metrics(sweep, facts.measured_on)
    yield from _gaps(rows)
    yield from _best(sweep, facts.rankings)
    yield from _differences(sweep, rows, facts.found.unpaired)
    yield from statistics_notes(Story(sweep, rows, facts.found, facts.compared))
    yield from _left_out(sweep, facts.found.trials.diverged)
    if sweep.source:
        yield f"Source: {sweep.source}."
    yield from _data(sweep, facts.found.trials.provenance)
    yield from _weights(facts.found.trials.weights)
    yield from _code(facts.found.trials.provenance)


def _values(sweep: Sweep) -> Iterator[str]:
    """Selection rule, spread, seeds."""
    known = [metrics.lookup(name) for name in sweep.metrics]
    if any(metric.source == "epochs" and metric.epoch is None for metric in known):
        if sweep.select == "best":
            yield (
                "Values: the best epoch by val_top1 (ties: the earliest), chosen on the reported images themselves: "
                "optimistic, comparable with papers that do the same."
            )
        elif sweep.select == "cross-fitted":
            yield (
                "Values: cross-fitted: on each half of the evaluated images (even and odd ones) the best epoch is "
                "chosen and scored on the other half, so that no image is scored at an epoch that it chose."
            )
        else:
            yield "Values: the last epoch."
    if any(metric.source == "epochs" for metric in known):
        yield from _evaluated_on(sweep)
    yield "±: sample standard deviation (sd) over seeds; n: seeds behind the mean, of those planned."
    common, _ = Counter(row.seeds for row in sweep.rows).most_common(1)[0]
    others = [f"{row.label}: {ranges(row.seeds)}" for row in sweep.rows if row.seeds != common]
    yield f"Seeds planned: {ranges(common)} (n = {len(common)})" + (f"; {cut(others)}." if others else ".")
    if low := [metric.title for metric in known if metric.better == "min"]:
        yield f"Lower is better: {', '.join(low)}."


def _gaps(rows: Sequence[TableRow]) -> Iterator[str]:
    """What cells that are not complete mean."""
    marks = {(cell.n > 0, mark.split(" ", 1)[1]) for row in rows for cell in row.cells for mark in cell.marks}
    if (True, "diverged") in marks or (True, "failed") in marks:
        yield "A mean beside diverged or failed seeds is over the survivors only, which can flatter the recipe."
    if any(mark == "stale" for _, mark in marks):
        yield "Stale: computed by another core version and not counted; `tinyablate run` computes it again."
    if any(mark == "not measured" for _, mark in marks):
        yield (
            "Not measured: the trial is complete without this number: it trains fewer epochs, has no such thing, or "
            "was computed before this was counted."
        )


def _best(sweep: Sweep, rankings: Sequence[Ranking]) -> Iterator[str]:
    """Which cells are marked as the best, and by which rule; a column in which nothing is separated has no marks."""
    rankings = [one for one in rankings if one.column is None or "separated" in one.standings.values()]
    if not rankings:
        return
    parted = [ranking for ranking in rankings if ranking.best.freedom]
    two_way = rankings[0].column is None
    where = "the best mean" if two_way else "the best mean of its column"
    if not parted:
        yield f"*: {where}. Nothing can be separated from it yet: that takes at least 2 seeds in 2 cells."
        return
    yield (
        f"*: {where}; ≈: noise cannot separate it from the best. Multiple comparisons with the best (Hsu) at "
        f"{100 * stats.LEVEL:g} %, seed as block, variance pooled over {_pooled(sweep, parted)}."
    )
    if sweep.select == "best" and any(metrics.lookup(sweep.metrics[r.metric]).source == "epochs" for r in rankings):
        yield "These marks compare values that were chosen on the reported images; with select = 'last' they would not."
    if not all(ranking.best.balanced for ranking in parted):
        yield "For that comparison the means are adjusted for the seeds that cells lack."
    if out := [sweep.rows[at].label for at in rankings[0].left_out if not sweep.rows[at].null]:
        yield f"Not ranked, for want of seeds in common: {cut(out)}."


def _pooled(sweep: Sweep, parted: Sequence[Ranking]) -> str:
    """What each ranking pooled, and the t that it used."""
    if parted[0].column is None:
        best = parted[0].best
        return (
            f"{best.arms} cells (sd {best.sd:.2g} on {best.freedom} degrees of freedom), Bonferroni's t for "
            f"{counted(best.arms - 1, 'comparison')}"
        )
    each = [
        f"{place(metrics.lookup(sweep.metrics[r.metric]).title, sweep.columns[r.column or 0].label)}: "
        f"{r.best.arms} rows, sd {r.best.sd:.2g} on {r.best.freedom} degrees of freedom"
        for r in parted
    ]
    return f"the rows, Bonferroni's t ({cut(each, between='; ')})"


def _differences(sweep: Sweep, rows: Sequence[TableRow], unpaired: frozenset[int]) -> Iterator[str]:
    """How differences and their intervals were taken."""
    if all(metrics.lookup(name).relative_to for name in sweep.metrics):
        return
    compared = [row for row in sweep.rows if row.reference is not None]
    cells = [cell for row in rows for cell in row.cells if cell.delta is not None]
    if any(row.index not in unpaired for row in compared):
        kind = "t interval" if sweep.sequential is None else "interval by Stein's two-stage rule"
        yield f"Δ: difference to the baseline, paired by seed; in brackets its 95 % {kind}."
    elif compared:
        yield "Δ: difference to the baseline; in brackets its 95 % t interval."
    yield from _references(sweep, compared)
    if sum(not row.null for row in compared) > 1:
        yield "Differences within a shared baseline are correlated: all of them contain the same runs of the baseline."
    if any(cell.pairs < 2 for cell in cells):
        yield "A difference of fewer than 2 pairs of seeds has no interval."
    if any(cell.kind == "paired" and cell.pairs < cell.n_planned for cell in cells):
        yield "A difference uses only seeds complete in both rows, so it need not be the difference of the means shown."
    yield from _independent(sweep, unpaired)
    if sweep.margin is not None:
        yield f"Smallest difference that matters, as declared: {sweep.margin:g}."


def _references(sweep: Sweep, compared: Sequence[Row]) -> Iterator[str]:
    """Where there are several baselines, which rows are compared with which."""
    of: dict[str, list[str]] = {}
    for row in compared:
        of.setdefault(sweep.rows[row.reference or 0].label, []).append(row.label)
    if len(of) > 1:
        each = [f"'{label}' of {cut(rows)}" for label, rows in of.items()]
        yield f"Not all rows have the same baseline: {cut(each, between='; ')}."


def _independent(sweep: Sweep, unpaired: frozenset[int]) -> Iterator[str]:
    null = [row.label for row in sweep.rows if row.null]
    if null:
        yield (
            f"{cut(null)}: same recipe, other seeds: what noise looks like; its difference is unpaired, with Welch's "
            "t interval."
        )
    other = [row.label for row in sweep.rows if row.index in unpaired and not row.null]
    if other:
        yield f"{cut(other)}: no seed in common with the baseline: the difference is unpaired, with Welch's interval."


def _left_out(sweep: Sweep, diverged: Sequence[str]) -> Iterator[str]:
    if diverged:
        yield f"Diverged (the loss was not finite): {cut(diverged)}."
    reasons: dict[str, list[str]] = {}
    for out in sweep.excluded:
        reasons.setdefault(out.reason, []).append(place(out.row_label, out.column_label))
    for reason, places in reasons.items():
        yield f"Excluded: {cut(places)}{f' ({reason})' if reason else ''}."


def _evaluated_on(sweep: Sweep) -> Iterator[str]:
    """Which images the values are measured on; a difference between values of different images says so."""
    labels: dict[str, dict[str, None]] = {}
    for cell in sweep.cells:
        labels.setdefault(cell.recipe.evaluate.split, {})[sweep.rows[cell.row].label] = None
    names = {split: images(split) for split in labels}
    if len(labels) == 1:
        yield f"Measured on {next(iter(names.values()))}."
        return
    places = "; ".join(f"{names[split]}: {cut(list(rows))}" for split, rows in labels.items())
    yield f"MIXED: not every row is measured on the same images ({places}); differences between such rows compare both."


def _data(sweep: Sweep, provenance: Counter[tuple[str, Provenance]]) -> Iterator[str]:
    for name in dict.fromkeys(cell.recipe.data.name for cell in sweep.cells):
        digests = sorted({origin.data_digest for data, origin in provenance if data == name} - {""})
        digest = f", digest {', '.join(map(short, digests))}" if digests else ""
        yield f"Data: {name} (fingerprint {datasets.lookup(name).fingerprint}{digest})."
        if len(digests) > 1:
            yield f"MIXED: the results on {name} come from {len(digests)} different preparations of the data."


def _weights(weights: Mapping[str, set[str]]) -> Iterator[str]:
    for model, digests in weights.items():
        if len(digests) > 1:
            yield f"MIXED: the results of {model} start from {len(digests)} different files of pretrained weights."


def _code(provenance: Counter[tuple[str, Provenance]]) -> Iterator[str]:
    """What all results were computed with, then whatever they do not share."""
    trials: dict[str, Counter[str]] = {}
    compiled = any(origin.compiled for _, origin in provenance)
    for (_, origin), count in provenance.items():
        for title, value in _named(origin, compiled):
            trials.setdefault(title, Counter())[value] += count
    shared = [f"{title} {next(iter(values))}" for title, values in trials.items() if len(values) == 1]
    if shared:
        yield f"Computed with {', '.join(shared)}."
    for title, values in trials.items():
        if len(values) > 1:
            each = [f"{value} ({counted(count, 'trial')})" for value, count in sorted(values.items())]
            yield f"MIXED: the results of this table differ in {title}: {cut(each)}."


def _named(origin: Provenance, compiled: bool) -> tuple[tuple[str, str], ...]:
    """What computed results, in words; `compiled`: torch.compile is worth a word, as it was used for some of them."""
    return (
        ("core version", str(origin.core_version)),
        ("commit", short(origin.commit) or "unknown"),
        ("train digest", short(origin.train_digest)),
        ("device", origin.device),
        ("torch", origin.torch),
        ("timm", origin.timm),
        *((("torch.compile", "on" if origin.compiled else "off"),) if compiled else ()),
    )
