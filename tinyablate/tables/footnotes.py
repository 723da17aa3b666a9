"""The footnotes of a table: how its numbers were made, what they cannot say, and what they mix. Sentences only."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyablate import datasets
from tinyablate.sweep import metrics
from tinyablate.sweep.schema import Row, Sweep
from tinyablate.tables import stats
from tinyablate.tables.about import about_metrics
from tinyablate.tables.schema import Provenance, TableRow


@dataclass(frozen=True)
class Facts:
    """What the footnotes need beside the sweep and its finished rows."""

    unpaired: frozenset[int]
    """Indices of the rows whose difference is between independent runs."""
    correlation: stats.Array
    """Pearson's r of each paired comparison in the metric that `metrics.tested` gives."""
    diverged: tuple[str, ...]
    """A phrase for each diverged trial."""
    provenance: Counter[tuple[str, Provenance]]
    """(data set's name, provenance) -> complete trials."""
    weights: Mapping[str, set[str]]
    """Model -> digests of the pretrained weights that its complete trials started from."""
    measured_on: str = ""
    """Name of the device of the measurements."""


def footnotes(sweep: Sweep, rows: Sequence[TableRow], facts: Facts, best: stats.Best | None = None) -> Iterator[str]:
    """Every footnote of the table that `rows` make up, in the order in which they are read.

    `best`: what was found of the cells of a two-way table.
    """
    if sweep.smoke:
        yield "SMOKE: a reduced copy of the sweep that shows that everything runs; its numbers mean nothing."
    yield from _values(sweep)
    yield from about_metrics(sweep, facts.measured_on)
    yield from _gaps(rows)
    yield from _best(best, sweep.select)
    yield from _differences(sweep, rows, facts)
    yield from _size(sweep, rows, facts)
    yield from _correlation(facts.correlation)
    yield from _left_out(sweep, facts)
    if sweep.source:
        yield f"Source: {sweep.source}."
    yield from _data(sweep, facts.provenance)
    yield from _weights(facts.weights)
    yield from _code(facts.provenance)


def _values(sweep: Sweep) -> Iterator[str]:
    """Selection rule, spread, seeds."""
    known = [metrics.lookup(name) for name in sweep.metrics]
    if any(metric.source == "epochs" and metric.epoch is None for metric in known):
        if sweep.select == "best":
            yield (
                "Values: the best epoch by val_top1 (ties: the earliest), chosen on the reported images themselves: "
                "optimistic, comparable with papers that do the same."
            )
        else:
            yield "Values: the last epoch."
    if any(metric.source == "epochs" for metric in known):
        yield from _evaluated_on(sweep)
    yield "±: sample standard deviation (sd) over seeds; n: seeds behind the mean, of those planned."
    common, _ = Counter(row.seeds for row in sweep.rows).most_common(1)[0]
    others = [f"{row.label}: {_ranges(row.seeds)}" for row in sweep.rows if row.seeds != common]
    yield f"Seeds planned: {_ranges(common)} (n = {len(common)})" + (f"; {_cut(others)}." if others else ".")
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


def _best(best: stats.Best | None, select: str) -> Iterator[str]:
    """Which cells of a two-way table are marked, and by which rule."""
    if best is None:
        return
    if not best.freedom:
        yield "*: the best mean. Nothing can be separated from it yet: that takes at least 2 seeds in 2 cells."
        return
    yield (
        "*: the best mean; ≈: noise cannot separate it from the best. Multiple comparisons with the best (Hsu) at "
        f"{100 * stats.LEVEL:g} %, seed as block, variance pooled over {best.arms} cells (sd {best.sd:.2g} on "
        f"{best.freedom} degrees of freedom), Bonferroni's t for {_counted(best.arms - 1, 'comparison')}."
    )
    if select == "best":
        yield "These marks compare values that were chosen on the reported images; with select = 'last' they would not."
    if not best.balanced:
        yield "For that comparison the means are adjusted for the seeds that cells lack."


def _differences(sweep: Sweep, rows: Sequence[TableRow], facts: Facts) -> Iterator[str]:
    """How differences and their intervals were taken."""
    if all(metrics.lookup(name).relative_to for name in sweep.metrics):
        return
    compared = [row for row in sweep.rows if row.reference is not None]
    cells = [cell for row in rows for cell in row.cells if cell.delta is not None]
    if any(row.index not in facts.unpaired for row in compared):
        yield "Δ: difference to the baseline, paired by seed; in brackets its 95 % t interval."
    elif compared:
        yield "Δ: difference to the baseline; in brackets its 95 % t interval."
    if sum(not row.null for row in compared) > 1:
        yield "Differences within a shared baseline are correlated: all of them contain the same runs of the baseline."
    if any(cell.pairs < 2 for cell in cells):
        yield "A difference of fewer than 2 pairs of seeds has no interval."
    if any(cell.kind == "paired" and cell.pairs < cell.n_planned for cell in cells):
        yield "A difference uses only seeds complete in both rows, so it need not be the difference of the means shown."
    yield from _independent(sweep, facts)
    if sweep.margin is not None:
        yield f"Smallest difference that matters, as declared: {sweep.margin:g}."


def _independent(sweep: Sweep, facts: Facts) -> Iterator[str]:
    null = [row.label for row in sweep.rows if row.null]
    if null:
        yield (
            f"{_cut(null)}: same recipe, other seeds: what noise looks like; its difference is unpaired, with Welch's "
            "t interval."
        )
    other = [row.label for row in sweep.rows if row.index in facts.unpaired and not row.null]
    if other:
        yield f"{_cut(other)}: no seed in common with the baseline: the difference is unpaired, with Welch's interval."


def _size(sweep: Sweep, rows: Sequence[TableRow], facts: Facts) -> Iterator[str]:
    """Whether the seeds are enough for any test. One metric stands for all: their trials have the same seeds."""
    paired = [row for row in sweep.rows if row.reference is not None and row.index not in facts.unpaired]
    first, step = metrics.tested(sweep.metrics), len(sweep.metrics)
    if first is None:
        return
    pairs = [cell.pairs for row in paired for cell in rows[row.index].cells[first::step] if cell.pairs]
    pairs = pairs or [_common(row, sweep.rows) for row in paired]  # nothing is done yet: what is planned decides
    enough = stats.least_pairs()
    short = [n for n in pairs if n < enough]
    if not short:
        return
    most = max(short)
    where = "" if len(short) == len(pairs) else f" in {len(short)} of {len(pairs)} comparisons"
    yield (
        f"n too small{where}: with {most} {'pair' if most == 1 else 'pairs'} of seeds no sign-flip test can reach 5 % "
        f"(the least exact two-sided p is 2/2^{most} = {stats.least_p(most):.2g}); {enough} pairs can."
    )


def _common(row: Row, rows: Sequence[Row]) -> int:
    return 0 if row.reference is None else len(set(row.seeds) & set(rows[row.reference].seeds))


def _correlation(correlation: stats.Array) -> Iterator[str]:
    """What pairing by seed bought."""
    r = correlation[~np.isnan(correlation)]
    if r.size == 1:
        yield f"Correlation between the paired rows over seeds: r = {r[0]:z.2f}; above 0, pairing narrows the interval."
    elif r.size:
        yield (
            f"Correlation between paired rows over seeds: median r = {np.median(r):z.2f} ({r.min():z.2f} to "
            f"{r.max():z.2f}, {r.size} comparisons); above 0, pairing narrows the intervals."
        )


def _left_out(sweep: Sweep, facts: Facts) -> Iterator[str]:
    if facts.diverged:
        yield f"Diverged (the loss was not finite): {_cut(facts.diverged)}."
    reasons: dict[str, list[str]] = {}
    for out in sweep.excluded:
        reasons.setdefault(out.reason, []).append(place(out.row_label, out.column_label))
    for reason, places in reasons.items():
        yield f"Excluded: {_cut(places)}{f' ({reason})' if reason else ''}."


def _evaluated_on(sweep: Sweep) -> Iterator[str]:
    """Which images the values are measured on; a difference between values of different images says so."""
    labels: dict[str, dict[str, None]] = {}
    for cell in sweep.cells:
        labels.setdefault(cell.recipe.evaluate.split, {})[sweep.rows[cell.row].label] = None
    names = {split: "the validation set" if split == "val" else f"{split}, held out" for split in labels}
    if len(labels) == 1:
        yield f"Measured on {next(iter(names.values()))}."
        return
    places = "; ".join(f"{names[split]}: {_cut(list(rows))}" for split, rows in labels.items())
    yield f"MIXED: not every row is measured on the same images ({places}); differences between such rows compare both."


def _data(sweep: Sweep, provenance: Counter[tuple[str, Provenance]]) -> Iterator[str]:
    for name in dict.fromkeys(cell.recipe.data.name for cell in sweep.cells):
        digests = sorted({origin.data_digest for data, origin in provenance if data == name} - {""})
        digest = f", digest {', '.join(map(_short, digests))}" if digests else ""
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
    for (_, origin), count in provenance.items():
        for title, value in _named(origin):
            trials.setdefault(title, Counter())[value] += count
    shared = [f"{title} {next(iter(values))}" for title, values in trials.items() if len(values) == 1]
    if shared:
        yield f"Computed with {', '.join(shared)}."
    for title, values in trials.items():
        if len(values) > 1:
            each = [f"{value} ({_counted(count, 'trial')})" for value, count in sorted(values.items())]
            yield f"MIXED: the results of this table differ in {title}: {_cut(each)}."


def _named(origin: Provenance) -> tuple[tuple[str, str], ...]:
    return (
        ("core version", str(origin.core_version)),
        ("commit", _short(origin.commit)),
        ("train digest", _short(origin.train_digest)),
        ("device", origin.device),
        ("torch", origin.torch),
        ("timm", origin.timm),
        *((("torch.compile", "on"),) if origin.compiled else ()),
    )


def place(row_label: str, column_label: str) -> str:
    """A cell by its labels; a sweep without a second axis has no column label."""
    return " / ".join(filter(None, (row_label, column_label)))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _short(digest: str) -> str:
    """The first 12 digits of a digest or commit; what follows a `+` or `-`, such as `-dirty`, stays."""
    end = next((at for at, character in enumerate(digest) if not character.isalnum()), len(digest))
    return digest[: min(12, end)] + digest[end:]


def _ranges(seeds: Sequence[int]) -> str:
    """Seeds in ascending order, three or more in a row as `0-9`."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and runs[-1][-1] == seed - 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def _cut(names: Sequence[str], most: int = 6) -> str:
    """The names, comma-separated; a long list is cut with a count of the rest."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
