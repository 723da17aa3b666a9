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
from tinyablate.tables.arrays import DIVERGED, Collected
from tinyablate.tables.comparisons import Compared
from tinyablate.tables.ranking import Ranking, is_two_way
from tinyablate.tables.schema import Note, Provenance, TableRow
from tinyablate.tables.statistics_notes import Story, statistics_notes
from tinyablate.tables.words import counted, cut, images, place, ranges, short

PACKAGE = "tinyablate"
"""As the source of a sweep: nobody's but its own."""


@dataclass(frozen=True)
class Facts:
    """What the footnotes need beside the sweep and its finished rows."""

    found: Collected
    compared: Compared
    rankings: tuple[Ranking, ...]
    measured_on: str = ""
    """Name of the device of the measurements."""
    remarks: tuple[Note, ...] = ()
    """What the store knows of the sweep's earlier runs."""


def footnotes(sweep: Sweep, rows: Sequence[TableRow], facts: Facts) -> Iterator[Note]:
    """Every footnote of the table that `rows` make up, in the order in which they are read."""
    found = facts.found
    if sweep.smoke:
        yield Note("SMOKE: a reduced copy of the sweep; its numbers mean nothing.", "warning")
    yield from facts.remarks
    yield from _values(sweep)
    yield from about_metrics(sweep, facts.measured_on)
    yield from _gaps(rows)
    yield from _best(sweep, facts)
    yield from _differences(sweep, rows, found.unpaired)
    yield from statistics_notes(Story(sweep, rows, found, facts.compared))
    yield from _left_out(sweep, found.trials.diverged)
    if sweep.source and sweep.source != PACKAGE:
        yield Note(f"Source: {sweep.source}.")
    yield from _origin(sweep, found.trials.provenance)
    yield from _weights(found.trials.weights)


# ---- values ----------------------------------------------------------------------------------------------------------


def _values(sweep: Sweep) -> Iterator[Note]:
    """Which epoch, of which images; spread and seeds."""
    known = [metrics.lookup(name) for name in sweep.metrics]
    of_epochs = [metric for metric in known if metric.source == "epochs"]
    if of_epochs:
        chosen = any(metric.epoch is None for metric in of_epochs)
        rule = [_RULES[sweep.select]] if chosen else []
        rule += ["the epoch in the heading"] if any(metric.epoch is not None for metric in of_epochs) else []
        splits = dict.fromkeys(cell.recipe.evaluate.split for cell in sweep.cells)
        on = f", on {images(next(iter(splits)))}" if len(splits) == 1 else ""
        how = _CHOSEN.get(sweep.select, "") if chosen else ""
        yield Note(f"Values: {' or '.join(rule)}{on}{how}.")
        if len(splits) > 1:
            yield _several_splits(sweep)
    common, _ = Counter(row.seeds for row in sweep.rows).most_common(1)[0]
    others = [f"{row.label}: {ranges(row.seeds)}" for row in sweep.rows if row.seeds != common]
    yield Note(
        "±: sample standard deviation (sd) over seeds; n: seeds behind the mean (planned: "
        f"{'; '.join([ranges(common), *([cut(others)] if others else [])])})."
    )
    if low := [metric.title for metric in known if metric.better == "min"]:
        yield Note(f"Lower is better: {', '.join(low)}.")


_RULES = {
    "last": "the last epoch",
    "best": "the best epoch by val_top1 (ties: the earliest)",
    "cross-fitted": "cross-fitted, the best epoch of each half of the images (even, odd) scored on the other half",
}
_CHOSEN = {"best": ", chosen on these very images: optimistic, comparable with papers that do the same"}


def _several_splits(sweep: Sweep) -> Note:
    """Which rows are measured on which images."""
    labels: dict[str, dict[str, None]] = {}
    for cell in sweep.cells:
        labels.setdefault(cell.recipe.evaluate.split, {})[sweep.rows[cell.row].label] = None
    places = "; ".join(f"{images(split)}: {cut(list(rows))}" for split, rows in labels.items())
    return Note(
        f"MIXED: not every row is measured on the same images ({places}); differences between such rows compare both.",
        "warning",
    )


def _gaps(rows: Sequence[TableRow]) -> Iterator[Note]:
    """What cells that are not complete mean."""
    marks = {(cell.n > 0, mark.split(" ", 1)[1]) for row in rows for cell in row.cells for mark in cell.marks}
    if (True, "diverged") in marks or (True, "failed") in marks:
        text = "A mean beside diverged or failed seeds is over the survivors only, which can flatter the recipe."
        yield Note(text, "warning")
    if any(mark == "stale" for _, mark in marks):
        yield Note("Stale: computed by another core version and not counted.")
        yield Note("`tinyablate run` computes stale trials again.", "author")
    if any(mark == "not measured" for _, mark in marks):
        yield Note("Not measured: the trial is complete without this number, which it does not yield or did not then.")


# ---- marks -----------------------------------------------------------------------------------------------------------


def _best(sweep: Sweep, facts: Facts) -> Iterator[Note]:
    """Which cells are marked as the best, and by which rule; a column in which nothing is separated has no marks."""
    rankings = [one for one in facts.rankings if one.column is None or "separated" in one.standings.values()]
    yield from _unmarked(sweep, facts.rankings, facts.found)
    if not rankings:
        return
    parted = [ranking for ranking in rankings if ranking.best.freedom]
    where = "the best mean" if rankings[0].column is None else "the best mean of its column"
    if not parted:
        yield Note(f"*: {where}. Nothing can be separated from it yet: that takes at least 2 seeds in 2 cells.")
        return
    differ = ", verdicts compare with the baseline alone: the two can differ"
    what = "cells" if parted[0].column is None else "rows"
    hsu = f"Hsu's comparisons with the best, {100 * stats.LEVEL:g} %, one pooled variance: {_pooled(sweep, parted)}"
    yield Note(
        f"*: {where}; ≈: not separated from it by noise. Marks rank all {what} at once ({hsu})"
        f"{differ if facts.compared.family else ''}.{_caution(sweep, parted)}"
    )
    if out := [sweep.rows[at].label for at in rankings[0].left_out if not sweep.rows[at].null]:
        yield Note(f"Not ranked, for want of seeds in common: {cut(out)}.")


def _pooled(sweep: Sweep, parted: Sequence[Ranking]) -> str:
    """The noise of each ranking."""
    each = [
        (f"{place(metrics.lookup(sweep.metrics[r.metric]).title, sweep.columns[r.column or 0].label)} "
         if len(parted) > 1 else "") + f"sd {r.best.sd:.2g} on {r.best.freedom} degrees of freedom"
        for r in parted
    ]  # fmt: skip
    return cut(each, most=3, between=", ")


def _caution(sweep: Sweep, parted: Sequence[Ranking]) -> str:
    chosen = sweep.select == "best" and any(metrics.lookup(sweep.metrics[r.metric]).source == "epochs" for r in parted)
    return (" They rank values that were chosen on the reported images." if chosen else "") + (
        ""
        if all(r.best.balanced for r in parted)
        else " For them the means are adjusted for the seeds that cells lack."
    )


def _unmarked(sweep: Sweep, rankings: Sequence[Ranking], found: Collected) -> Iterator[Note]:
    """Why a column has no marks, where rows diverged that one would look for below the best."""
    marked = {(r.metric, r.column) for r in rankings if "separated" in r.standings.values()}
    rows = [row.index for row in sweep.rows if not row.null]
    if len(rows) < 2 or is_two_way(sweep):
        return
    diverged = (found.states == DIVERGED).any(axis=-1)
    columns, out = [], dict[str, None]()
    for column in sweep.columns:
        for m, metric in enumerate(map(metrics.lookup, sweep.metrics)):
            lost = [row for row in rows if diverged[m, row, column.index]]
            if lost and metric.better is not None and not metric.relative_to and (m, column.index) not in marked:
                columns.append(place(metric.title, column.label))
                out.update(dict.fromkeys(sweep.rows[row].label for row in lost))
    if columns:
        yield Note(
            f"No * in {cut(columns)}: diverged seeds ({cut(list(out))}) are not ranked, and noise separates none of "
            "the other means from the best."
        )


# ---- differences -----------------------------------------------------------------------------------------------------


def _differences(sweep: Sweep, rows: Sequence[TableRow], unpaired: frozenset[int]) -> Iterator[Note]:
    """How differences and their intervals were taken."""
    if all(metrics.lookup(name).relative_to for name in sweep.metrics):
        return
    compared = [row for row in sweep.rows if row.reference is not None]
    cells = [cell for row in rows for cell in row.cells if cell.delta is not None]
    if compared:
        kind = "t interval" if sweep.sequential is None else "interval by Stein's two-stage rule"
        paired = ", paired by seed" if any(row.index not in unpaired for row in compared) else ""
        shared = sum(not row.null for row in compared) > 1
        yield Note(
            f"Δ: difference to the baseline{paired} [95 % {kind if paired else 't interval'}]"
            + (" (none below 2 pairs of seeds)" if any(cell.pairs < 2 for cell in cells) else "")
            + ("; all contain the same runs of the baseline, and so are correlated." if shared else ".")
        )
    yield from _references(sweep, compared)
    if any(cell.kind == "paired" and cell.pairs < cell.n_planned for cell in cells):
        yield Note("A difference uses only seeds complete in both rows: it need not be the difference of the means.")
    yield from _independent(sweep, unpaired)


def _references(sweep: Sweep, compared: Sequence[Row]) -> Iterator[Note]:
    """Where there are several baselines, which rows are compared with which."""
    of: dict[str, list[str]] = {}
    for row in compared:
        of.setdefault(sweep.rows[row.reference or 0].label, []).append(row.label)
    if len(of) > 1:
        each = [f"'{label}' of {cut(rows)}" for label, rows in of.items()]
        yield Note(f"Not all rows have the same baseline: {cut(each, between='; ')}.")


def _independent(sweep: Sweep, unpaired: frozenset[int]) -> Iterator[Note]:
    """Rows that share no seeds with what they are compared with."""
    null = [row.label for row in sweep.rows if row.null]
    if null:
        yield Note(f"{cut(null)}: the baseline again under other seeds, to show noise (unpaired, Welch's t interval).")
    other = [row.label for row in sweep.rows if row.index in unpaired and not row.null]
    if other:
        yield Note(f"{cut(other)}: no seed in common with the baseline (unpaired, Welch's t interval).")


# ---- what is left out, and where all came from -----------------------------------------------------------------------


def _left_out(sweep: Sweep, diverged: Sequence[str]) -> Iterator[Note]:
    if diverged:
        yield Note(f"Diverged (the loss was not finite): {cut(diverged)}.")
    reasons: dict[str, list[str]] = {}
    for out in sweep.excluded:
        reasons.setdefault(out.reason, []).append(place(out.row_label, out.column_label))
    for reason, places in reasons.items():
        yield Note(f"Excluded: {cut(places)}{f' ({reason})' if reason else ''}.")


def _origin(sweep: Sweep, provenance: Counter[tuple[str, Provenance]]) -> Iterator[Note]:
    """The data and what computed the results, then whatever they do not share."""
    data, mixed = list[str](), list[str]()
    for name in dict.fromkeys(cell.recipe.data.name for cell in sweep.cells):
        digests = sorted({origin.data_digest for data_name, origin in provenance if data_name == name} - {""})
        digest = f", digest {', '.join(map(short, digests))}" if digests else ""
        data.append(f"{name} (fingerprint {datasets.lookup(name).fingerprint}{digest})")
        if len(digests) > 1:
            mixed.append(f"the results on {name} come from {len(digests)} different preparations of the data")
    trials: dict[str, Counter[str]] = {}
    compiled = any(origin.compiled for _, origin in provenance)
    for (_, origin), count in provenance.items():
        for title, value in _named(origin, compiled):
            trials.setdefault(title, Counter())[value] += count
    shared = [f"{title} {next(iter(values))}" for title, values in trials.items() if len(values) == 1]
    yield Note(f"Data: {cut(data)}." + (f" Computed with {', '.join(shared)}." if shared else ""), "detail")
    for title, values in trials.items():
        if len(values) > 1:
            each = [f"{value} ({counted(count, 'trial')})" for value, count in sorted(values.items())]
            mixed.append(f"the results of this table differ in {title}: {cut(each)}")
    yield from (Note(f"MIXED: {each}.", "warning") for each in mixed)


def _weights(weights: Mapping[str, set[str]]) -> Iterator[Note]:
    for model, digests in weights.items():
        if len(digests) > 1:
            text = f"MIXED: the results of {model} start from {len(digests)} different files of pretrained weights."
            yield Note(text, "warning")


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
