"""Footnotes about comparisons: what is tested together, what seeds can show, what noise looks like. Sentences only.

How each number is computed stands in `stats`; which comparisons there are, in `comparisons`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinyablate.sweep import metrics
from tinyablate.sweep.schema import Sweep
from tinyablate.tables import stats
from tinyablate.tables.arrays import COMPLETE, DIVERGED, Collected
from tinyablate.tables.comparisons import At, Compared, rule_of
from tinyablate.tables.schema import ColumnStatistics, Comparison, Note, TableRow
from tinyablate.tables.stats.signflip import EXACT_SEEDS, RANDOM
from tinyablate.tables.words import counted, cut, place, signed


@dataclass(frozen=True)
class Story:
    """What these footnotes are about."""

    sweep: Sweep
    rows: Sequence[TableRow]
    found: Collected
    compared: Compared

    def digits(self, m: int) -> int:
        """After the point, of the sweep's m-th metric."""
        metric = metrics.lookup(self.sweep.metrics[m])
        return self.sweep.digits.get(metric.name, metric.digits)

    def title(self, m: int) -> str:
        """Of the sweep's m-th metric."""
        return metrics.lookup(self.sweep.metrics[m]).title

    def heading(self, c: int, m: int) -> str:
        """A printed column in words."""
        return place(self.title(m), self.sweep.columns[c].label)

    def tested(self) -> list[tuple[At, Comparison]]:
        """The comparisons of the family that have a value."""
        found = self.compared.comparisons
        return [(at, found[at]) for at in self.compared.family if at in found]


def statistics_notes(story: Story) -> Iterator[Note]:
    """Every footnote about the table's comparisons, in the order in which they are read."""
    if story.compared.statistics:
        yield from _tests(story)
        yield from _decision(story)
        yield from _size(story)
        yield from _margin(story)
        yield from _detection(story)
        yield from _pooling(story)
        yield from _correlation(story)
        yield from _noise(story)
        yield from _divergence(story)
    yield from _predicted(story)


# ---- tests -----------------------------------------------------------------------------------------------------------


def _tests(story: Story) -> Iterator[Note]:
    """What was tested together, and how."""
    sweep, tested = story.sweep, [one for _, one in story.tested() if one.p is not None]
    if not tested:
        return
    sizes = sorted({each.comparisons for each in story.compared.statistics if each is not None})
    of = "the table's" if sweep.family == "table" else "each column's"
    open_ = len(story.compared.family) - len(tested)
    waiting = f" ({open_} {'of them' if sweep.family == 'table' else 'in all'} without a p yet)" if open_ else ""
    size = f"{of} {' or '.join(map(str, sizes))} paired comparison{'' if sizes == [1] else 's'}{waiting}"
    seeds = story.compared.flipped
    flips = f"all 2^{seeds}" if seeds <= EXACT_SEEDS else f"{RANDOM:,} random"
    if sweep.sequential is not None:
        how = f"Stein's t on the first stage's degrees of freedom, adjusted by Holm over {size}"
    elif sweep.test == "max-t":
        how = f"joint sign flips ({flips}, step-down max-T) of {size}"
    else:
        how = f"sign flips ({flips}), adjusted by Holm over {size}"
    rule = rule_of(sweep.select)
    why = "" if rule == sweep.select else (
        f" p and verdict are of the {rule} epoch: the best one is chosen on the reported images."
    )  # fmt: skip
    yield Note(f"p: two-sided, {how}.{why}", "reader" if _decided(story) else "detail")
    if any(metrics.lookup(name).source in ("measured", "facts", "spent") for name in sweep.metrics):
        yield Note("Facts, speeds and costs have no p: the seed is not what moves them.", "detail")


def _decision(story: Story) -> Iterator[Note]:
    """What a verdict follows, and what it does not."""
    tested = _decided(story)
    if not tested:
        return
    block = ", not the block interval" if any(one.block_low is not None for one in tested) else ""
    yield Note(
        f"Verdict: by the corrected p at {100 * stats.ALPHA:g} % and the row's own 95 % interval{block}; intervals are "
        "not corrected for the number of rows."
    )


def _decided(story: Story) -> list[Comparison]:
    """The comparisons with a verdict other than that there are too few seeds for one."""
    verdicts = ((one, one.verdict) for _, one in story.tested())
    return [one for one, verdict in verdicts if verdict is not None and verdict.kind != "n too small"]


def _size(story: Story) -> Iterator[Note]:
    """Whether there are too few seeds for any test, where a verdict says so."""
    tested = story.tested()
    short = [at for at, one in tested if one.verdict is not None and one.verdict.kind == "n too small"]
    if not short:
        return
    step = len(story.sweep.metrics)
    pairs = [story.rows[r].cells[c * step + m].pairs for m, r, c in short]
    common = story.compared.statistics[short[0][2] * step + short[0][0]]
    assert common is not None
    most, size = max(pairs), common.comparisons
    where = "" if len(short) == len(tested) else f" in {len(short)} of {len(tested)} comparisons"
    holm = f", adjusted by Holm over {size} comparisons," if story.sweep.test == "holm" and size > 1 else ""
    yield Note(
        f"n too small{where}: {counted(most, 'pair')} of seeds cannot reach {100 * stats.ALPHA:g} %{holm} (the least p "
        f"of sign flips is 2/2^{most} = {stats.least_p(most):.2g}); {common.least_pairs} pairs can."
    )


def _margin(story: Story) -> Iterator[Note]:
    """The smallest difference that matters, and how "equivalent" is decided."""
    sweep = story.sweep
    if sweep.margin is None:
        return
    tested = any(m == 0 for (m, _, _), _ in story.tested())
    how = "; equivalent: within it by two one-sided t tests at 5 % (Holm)" if tested else ""
    yield Note(
        f"Margin, the smallest difference that matters, as declared: {_amount(story, sweep.margin)} of "
        f"{story.title(0)}{how}."
    )


def _amount(story: Story, value: float) -> str:
    """A difference in the first metric: `1 point`, where that is a percentage, else with its unit."""
    unit = metrics.lookup(story.sweep.metrics[0]).unit
    if unit == "%":
        return f"{value:g} {'point' if value == 1 else 'points'}"
    return f"{value:g} {unit}".rstrip()


def _detection(story: Story) -> Iterator[Note]:
    """How many seeds would show the margin."""
    sweep = story.sweep
    found = [(place, each) for place, each in _columns(story) if each.detect_pairs is not None]
    if not found or sweep.margin is None:
        return
    digits = story.digits(0)
    each = [
        f"{one.detect_pairs} seeds (" + (f"{label}, " if len(found) > 1 and label else "")
        + f"sd {one.sd:.{digits}f} on {one.freedom} degrees of freedom)"
        for label, one in ((sweep.columns[c].label, one) for (c, _), one in found)
    ]  # fmt: skip
    yield Note(
        f"To detect a difference of {_amount(story, sweep.margin)} with 80 % power among "
        f"{counted(found[0][1].comparisons, 'comparison')} takes {cut(each, between='; ')}.",
        "detail",
    )


def _columns(story: Story) -> Iterator[tuple[tuple[int, int], ColumnStatistics]]:
    """((column, metric), its statistics) of each printed column that has them."""
    step = len(story.sweep.metrics)
    for at, each in enumerate(story.compared.statistics):
        if each is not None:
            yield divmod(at, step), each


def _pooling(story: Story) -> Iterator[Note]:
    """What the second kind of interval assumes, and whether that is fair."""
    if not any(one.block_low is not None for one in story.compared.comparisons.values()):
        return
    known = [(at, each.p_fair) for at, each in _columns(story) if each.p_fair is not None]
    unfair = [f"{story.heading(*at)} (p = {p:.2g})" for at, p in known if p < stats.ALPHA]
    fair = ""
    if known and not unfair:
        least = "least p" if len(known) > 1 else "p"
        fair = f" (not contradicted: {least} = {min(p for _, p in known):.2g})"
    yield Note(f"Block interval: seed as block, one variance pooled over the column's rows{fair}.", "detail")
    if unfair:
        yield Note(
            f"NOT FAIR to pool: rows differ in variance, so that block intervals mislead: {cut(unfair)}.", "warning"
        )


def _correlation(story: Story) -> Iterator[Note]:
    """What pairing by seed bought, in the first metric that is tested."""
    first = metrics.tested(story.sweep.metrics)
    if first is None:
        return
    r = story.compared.correlation[first]
    r = r[~np.isnan(r)]
    if not r.size:
        return
    middle = float(np.median(r))
    spread = "" if r.size == 1 else f", {r.min():z.2f} to {r.max():z.2f}"
    found = f"{'' if r.size == 1 else 'median '}correlation between compared rows r = {middle:z.2f}{spread}"
    saved = "saves no seeds to speak of"
    if middle >= 0.05:  # 1 - r: variance of a paired difference over that of an unpaired one, at equal spreads
        times = f"{1 / (1 - middle):.1f}" if middle < 0.995 else "over 200"
        saved = f"is worth {times} times the seeds unpaired"
    yield Note(f"Pairing by seed {saved} ({found}).", "detail")


# ---- noise and failures ----------------------------------------------------------------------------------------------


def _noise(story: Story) -> Iterator[Note]:
    """What runs of the baseline alone differ by."""
    sweep = story.sweep
    first = metrics.tested(sweep.metrics)
    if first is None:
        return
    if not any(row.null for row in sweep.rows):
        yield Note("No row shows noise alone; `--null-rows 1` adds the baseline again under other seeds.", "author")
        return
    phrases = [text for column in sweep.columns if (text := _floor(story, first, column.index))]
    if phrases:
        draws = sum(row.null for row in sweep.rows)
        few = f"{counted(draws, 'draw')} of noise {'is' if draws == 1 else 'are'} no threshold"
        text = f"Noise, {story.title(first)}: the baseline differs from itself by {cut(phrases, between='; ')}; {few}."
        yield Note(text, "detail")


def _floor(story: Story, m: int, c: int) -> str:
    """`-2.63 [-9.03, +3.76]; 2 of 6 rows by no more`: the null row of the column that differs most."""
    sweep, digits = story.sweep, story.digits(m)
    of_column = {r: one for (k, r, d), one in story.compared.comparisons.items() if (k, d) == (m, c)}
    null = [one for r, one in of_column.items() if sweep.rows[r].null]
    others = [one for r, one in of_column.items() if not sweep.rows[r].null]
    if not null:
        return ""
    most = max(null, key=lambda one: abs(one.value))
    ends = "" if most.low is None or most.high is None else (
        f" [{signed(most.low, digits)}, {signed(most.high, digits)}]"
    )  # fmt: skip
    within = sum(abs(one.value) <= abs(most.value) for one in others)
    where = f"{sweep.columns[c].label}: " if sweep.columns[c].label else ""
    return (
        f"{where}{'up to ' if len(null) > 1 else ''}{signed(most.value, digits)}{ends}, "
        f"{within} of {counted(len(others), 'row')} by no more"
    )


def _divergence(story: Story) -> Iterator[Note]:
    """How often rows diverge against how often their references do, apart from what the survivors reach."""
    sweep = story.sweep
    first = metrics.tested(sweep.metrics)
    if first is None or not (story.found.states[first] == DIVERGED).any():
        return
    diverged = (story.found.states[first] == DIVERGED).sum(axis=-1)
    ended = diverged + (story.found.states[first] == COMPLETE).sum(axis=-1)
    phrases = [
        _rate(story, row.index, row.reference, column.index, diverged, ended)
        for row in sweep.rows
        if row.reference is not None
        for column in sweep.columns
        if diverged[[row.index, row.reference], column.index].any()
        if ended[[row.index, row.reference], column.index].all()
    ]
    if phrases:
        yield Note(
            f"Divergence, compared apart from the values: {cut(phrases, between='; ')} (Fisher's exact test, not "
            "adjusted; in brackets Newcombe's 95 % interval of the difference in percentage points)."
        )


def _rate(story: Story, row: int, reference: int, column: int, diverged: stats.Array, ended: stats.Array) -> str:
    a, n = int(diverged[row, column]), int(ended[row, column])
    b, k = int(diverged[reference, column]), int(ended[reference, column])
    found = stats.rates(a, n, b, k)
    where = place(story.sweep.rows[row].label, story.sweep.columns[column].label)
    ends = f"[{signed(100 * found.low, 0)}, {signed(100 * found.high, 0)}]"
    return f"{where} {a} of {n} against {b} of {k} {ends}, p = {found.p:.2g}"


# ---- published numbers -----------------------------------------------------------------------------------------------


def _predicted(story: Story) -> Iterator[Note]:
    """What the prediction intervals are, and which published numbers lie outside."""
    outside: list[str] = []
    step, count = len(story.sweep.metrics), 0
    for row in story.rows:
        for at, cell in enumerate(row.cells):
            if cell.predicted is None:
                continue
            (c, m), (low, high) = divmod(at, step), cell.predicted
            digits, where = story.digits(m), place(row.label, story.sweep.columns[c].label)
            count += len(cell.published)
            outside += [
                f"{where}: {source} {number:.{digits}f}, outside {low:.{digits}f} to {high:.{digits}f}"
                for source, number in cell.published.items()
                if not low <= number <= high
            ]
    if count:
        yield Note(
            "Published numbers are held against the 95 % prediction interval of one more run of ours (t, sd of the "
            f"seeds): {len(outside) or 'none'} of {count} outside{' (†): ' if outside else '.'}"
            + (f"{cut(outside, between='; ')}." if outside else "")
        )
