"""Footnotes about comparisons: what is tested together, what seeds can show, what noise looks like. Sentences only.

How each number is computed stands in `stats`; which comparisons there are, in `comparisons`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinyablate.sweep import metrics
from tinyablate.sweep.schema import Row, Sweep
from tinyablate.tables import stats
from tinyablate.tables.arrays import COMPLETE, DIVERGED, Collected
from tinyablate.tables.comparisons import At, Compared, rule_of
from tinyablate.tables.schema import ColumnStatistics, Comparison, TableRow
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


def statistics_notes(story: Story) -> Iterator[str]:
    """Every footnote about the table's comparisons, in the order in which they are read."""
    if story.compared.statistics:
        yield from _rule(story)
        yield from _family(story)
        yield from _equivalence(story)
        yield from _size(story)
        yield from _detection(story)
        yield from _pooling(story)
        yield from _correlation(story)
        yield from _noise(story)
        yield from _divergence(story)
    yield from _predicted(story)


# ---- tests -----------------------------------------------------------------------------------------------------------


def _rule(story: Story) -> Iterator[str]:
    """What verdicts compare, and what has none."""
    tested = story.tested()
    if not tested:
        return
    rule = rule_of(story.sweep.select)
    if rule != story.sweep.select:
        yield (
            f"p and verdicts compare the {rule} epoch: a best epoch is chosen on the reported images, so that its "
            "differences have no p."
        )
    if any(metrics.lookup(name).source in ("measured", "facts", "spent") for name in story.sweep.metrics):
        yield "Facts, speeds and costs have no p and no verdict: the seed is not what moves them."


def _family(story: Story) -> Iterator[str]:
    """What was tested together, and how."""
    sweep, tested = story.sweep, [one for _, one in story.tested() if one.p is not None]
    if not tested:
        return
    sizes = sorted({each.comparisons for each in story.compared.statistics if each is not None})
    whole = "all paired comparisons of the table" if sweep.family == "table" else "the comparisons of each column"
    open_ = len(story.compared.family) - len(tested)
    waiting = f", {open_} {'of them' if sweep.family == 'table' else 'in all'} without a p yet" if open_ else ""
    size = " or ".join(map(str, sizes)) + waiting
    if sweep.sequential is not None:
        yield f"p: Stein's t on the first stage's degrees of freedom, adjusted by Holm over {whole} ({size})."
        return
    seeds = story.compared.flipped
    flips = f"all 2^{seeds} sign flips" if seeds <= EXACT_SEEDS else f"{RANDOM:,} random sign flips"
    if sweep.test == "max-t":
        yield (
            f"p: two-sided, {flips} of the differences, jointly over {whole} ({size}), step-down max-T; one flip turns "
            "a seed in every row, which keeps the rows' correlation."
        )
    else:
        yield f"p: two-sided, {flips} of the differences, adjusted by Holm over {whole} ({size})."


def _equivalence(story: Story) -> Iterator[str]:
    """How "equivalent" is decided."""
    sweep = story.sweep
    if sweep.margin is not None and any(m == 0 for (m, _, _), _ in story.tested()):
        yield (
            f"Equivalent within ±{sweep.margin:g} {metrics.lookup(sweep.metrics[0]).title}: two one-sided t tests "
            "at 5 %, adjusted by Holm over the same comparisons."
        )


def _size(story: Story) -> Iterator[str]:
    """Whether the seeds are enough for any test. One metric stands for all: their trials have the same seeds."""
    sweep, rows = story.sweep, story.rows
    first = metrics.tested(sweep.metrics)
    paired = [row for row in sweep.rows if row.reference is not None and row.index not in story.found.unpaired]
    if first is None or not paired or sweep.sequential is not None:
        return
    pairs = [cell.pairs for row in paired for cell in rows[row.index].cells[first :: len(sweep.metrics)] if cell.pairs]
    pairs = pairs or [_common(row, sweep.rows) for row in paired]  # nothing is done yet: what is planned decides
    size = max((each.comparisons for each in story.compared.statistics if each is not None), default=1)
    enough = stats.least_pairs(size, sweep.test)
    short = [n for n in pairs if n < enough]
    if not short:
        return
    most = max(short)
    where = "" if len(short) == len(pairs) else f" in {len(short)} of {len(pairs)} comparisons"
    holm = f", adjusted by Holm over {size} comparisons," if sweep.test == "holm" and size > 1 else ""
    yield (
        f"n too small{where}: with {most} {'pair' if most == 1 else 'pairs'} of seeds no sign-flip test{holm} can "
        f"reach 5 % (the least exact two-sided p is 2/2^{most} = {stats.least_p(most):.2g}); {enough} pairs can."
    )


def _common(row: Row, rows: Sequence[Row]) -> int:
    return 0 if row.reference is None else len(set(row.seeds) & set(rows[row.reference].seeds))


def _detection(story: Story) -> Iterator[str]:
    """How many seeds would show the margin."""
    sweep = story.sweep
    found = [(place, each) for place, each in _columns(story) if each.detect_pairs is not None]
    if not found or sweep.margin is None:
        return
    digits = story.digits(0)
    each = [
        (f"{label}: " if len(found) > 1 and label else "")
        + f"{one.detect_pairs} pairs of seeds (sd {one.sd:.{digits}f})"
        for label, one in ((sweep.columns[c].label, one) for (c, _), one in found)
    ]
    size = found[0][1].comparisons
    yield (
        f"To detect {sweep.margin:g} with 80 % power among {counted(size, 'comparison')}: {cut(each, between='; ')}, "
        "sd of one value within its row, seed as block."
    )


def _columns(story: Story) -> Iterator[tuple[tuple[int, int], ColumnStatistics]]:
    """((column, metric), its statistics) of each printed column that has them."""
    step = len(story.sweep.metrics)
    for at, each in enumerate(story.compared.statistics):
        if each is not None:
            yield divmod(at, step), each


def _pooling(story: Story) -> Iterator[str]:
    """What the two kinds of intervals assume, and whether that is fair."""
    if not any(one.block_low is not None for one in story.compared.comparisons.values()):
        return
    yield (
        "Interval in brackets: each row by its own spread. Block interval: seed as block and one variance for all rows "
        "of the column, shorter where seeds are few and rows alike."
    )
    known = [(at, each.p_fair) for at, each in _columns(story) if each.p_fair is not None]
    unfair = [f"{story.heading(*at)} (p = {p:.2g})" for at, p in known if p < stats.ALPHA]
    if unfair:
        yield f"NOT FAIR to pool: rows differ in variance, so that block intervals mislead: {cut(unfair)}."
    elif known:
        least = min(p for _, p in known)
        yield f"Pooling is not contradicted: test of one variance for all rows, {_least(known)}p = {least:.2g}."


def _least(known: Sequence[object]) -> str:
    return "least " if len(known) > 1 else ""


def _correlation(story: Story) -> Iterator[str]:
    """What pairing by seed bought, in the first metric that is tested."""
    first = metrics.tested(story.sweep.metrics)
    if first is None:
        return
    r = story.compared.correlation[first]
    r = r[~np.isnan(r)]
    if not r.size:
        return
    middle = float(np.median(r))
    if r.size == 1:
        text = (
            f"Correlation between the paired rows over seeds: r = {middle:z.2f}; above 0, pairing narrows the interval"
        )
    else:
        text = (
            f"Correlation between paired rows over seeds: median r = {middle:z.2f} ({r.min():z.2f} to {r.max():z.2f}, "
            f"{r.size} comparisons); above 0, pairing narrows the intervals"
        )
    if 0.05 <= middle < 0.995:  # 1 - r: variance of a paired difference over that of an unpaired one, at equal spreads
        text += f": as good as {1 / (1 - middle):.1f} times the seeds unpaired"
    yield f"{text}."


# ---- noise and failures ----------------------------------------------------------------------------------------------


def _noise(story: Story) -> Iterator[str]:
    """What runs of the baseline alone differ by."""
    sweep = story.sweep
    first = metrics.tested(sweep.metrics)
    if first is None:
        return
    if not any(row.null for row in sweep.rows):
        yield "No row shows noise alone; `--null-rows 1` adds the baseline again under other seeds."
        return
    for column in sweep.columns:
        yield from _floor(story, first, column.index)


def _floor(story: Story, m: int, c: int) -> Iterator[str]:
    sweep, digits = story.sweep, story.digits(m)
    of_column = {r: one for (k, r, d), one in story.compared.comparisons.items() if (k, d) == (m, c)}
    null = {r: one for r, one in of_column.items() if sweep.rows[r].null}
    others = [one for r, one in of_column.items() if r not in null]
    if not null:
        return
    r, most = max(null.items(), key=lambda item: abs(item[1].value))
    interval = "" if most.low is None or most.high is None else (
        f", 95 % interval {signed(most.low, digits)} to {signed(most.high, digits)}"
    )  # fmt: skip
    within = sum(abs(one.value) <= abs(most.value) for one in others)
    yield (
        f"Noise, {story.heading(c, m)}: the baseline again under other seeds differs from itself by up to "
        f"{signed(most.value, digits)} ({sweep.rows[r].label}{interval}). {within} of {counted(len(others), 'row')} "
        f"differ by no more. {counted(len(null), 'draw')} of noise: no threshold, and a row beyond it is not thereby "
        "an effect."
    )


def _divergence(story: Story) -> Iterator[str]:
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
        yield (
            f"Divergence, compared apart from the values: {cut(phrases, between='; ')}. Fisher's exact test, "
            "two-sided, not adjusted; in brackets Newcombe's 95 % interval of the difference in percentage points."
        )


def _rate(story: Story, row: int, reference: int, column: int, diverged: stats.Array, ended: stats.Array) -> str:
    a, n = int(diverged[row, column]), int(ended[row, column])
    b, k = int(diverged[reference, column]), int(ended[reference, column])
    found = stats.rates(a, n, b, k)
    where = place(story.sweep.rows[row].label, story.sweep.columns[column].label)
    ends = f"[{signed(100 * found.low, 0)}, {signed(100 * found.high, 0)}]"
    return f"{where} {a} of {n} against {b} of {k} {ends}, p = {found.p:.2g}"


# ---- published numbers -----------------------------------------------------------------------------------------------


def _predicted(story: Story) -> Iterator[str]:
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
        yield (
            "Published numbers are held against the 95 % prediction interval of one more run of ours (t, sd of the "
            f"seeds): {len(outside) or 'none'} of {count} outside{' (†): ' if outside else '.'}"
            + (f"{cut(outside, between='; ')}." if outside else "")
        )
