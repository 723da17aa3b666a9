"""Each number of a comparison against scipy or the formula written out: intervals, p over a family, verdicts."""

from itertools import product

import numpy as np
import pytest
import scipy.stats

from tinyablate.sweep.schema import Sequential
from tinyablate.tables import stats
from tinyablate.tables.layout import CellResult, build
from tinyablate.tables.schema import Note

BASE = (91.0, 91.4, 91.1, 91.3, 90.9, 91.2)
ARM = (91.9, 92.1, 92.1, 92.0, 91.8, 92.0)
OTHER = (91.13, 91.26, 91.2, 91.22, 91.04, 91.06)
SIX = tuple(range(6))


@pytest.fixture
def three(row, sweep, done):
    """Makes the table of a baseline, an arm that is better and one that is not, six seeds each."""

    def make(metrics=("val_top1",), **given):
        rows = [row(at, label, seeds=SIX) for at, label in enumerate(("Default", "Arm", "Other"))]
        results = {(at, 0): done(*values) for at, values in enumerate((BASE, ARM, OTHER))}
        return build(sweep(rows, metrics=metrics, **given), results)

    return make


def of(table, row, column=0):
    """The comparison of a cell."""
    return table.rows[row].cells[column].comparison


def joint(*arms):
    """Step-down max-T of |t| over all joint sign flips, written out."""
    pairs = np.array([np.subtract(arm, BASE) for arm in arms])
    t = np.array([
        np.abs(scipy.stats.ttest_1samp(pairs * signs, 0, axis=1).statistic) for signs in product((1, -1), repeat=6)
    ])  # fmt: skip
    order, p, before = np.argsort(-t[0]), np.zeros(len(arms)), 0.0
    for step, at in enumerate(order):
        most = t[:, order[step:]].max(axis=1)
        before = p[at] = max(before, np.mean(most >= t[0, at] - 1e-9))
    return p


def test_intervals_of_a_comparison(three):
    """Its own spread: scipy's paired t. Seed as block: the residual variance of rows and seeds, on 10 freedoms."""
    table = three()
    found = of(table, 1)
    expected = scipy.stats.ttest_rel(ARM, BASE).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    values = np.array([BASE, ARM, OTHER])
    left = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0, keepdims=True) + values.mean()
    sd = np.sqrt((left**2).sum() / 10)
    half = scipy.stats.t.ppf(0.975, 10) * sd * np.sqrt(2 / 6)
    assert (found.block_low, found.block_high) == pytest.approx((found.value - half, found.value + half))
    assert found.correlation == pytest.approx(scipy.stats.pearsonr(ARM, BASE).statistic)
    assert (found.bca_low, found.bca_high, found.rule) == (None, None, "last")
    (column,) = table.statistics
    assert (column.comparisons, column.sd, column.freedom) == (2, pytest.approx(sd), 10)


def test_p_is_joint_over_the_table(three):
    """Adjusted by one sign a seed for all rows; beside it Holm's adjustment of each row's own flips."""
    table = three()
    assert [of(table, at).p for at in (1, 2)] == pytest.approx(joint(ARM, OTHER).tolist())
    own = [scipy.stats.permutation_test((np.subtract(arm, BASE),), np.mean, permutation_type="samples").pvalue
           for arm in (ARM, OTHER)]  # fmt: skip
    assert [of(table, at).p_raw for at in (1, 2)] == pytest.approx(own)
    assert of(table, 1).p_holm == pytest.approx(min(1, 2 * own[0]))
    assert of(table, 2).p_holm == pytest.approx(max(own[1], 2 * own[0]))
    assert of(table, 0) is None
    assert [
        note for note in table.footnotes if note.startswith("p: two-sided, joint sign flips (all 2^6, step-down max-T)")
    ]


def test_two_rows_have_no_block_interval(row, sweep, done):
    """Nothing is pooled where only one row is compared: the interval would be the paired one."""
    rows = [row(at, label, seeds=SIX) for at, label in enumerate(("Default", "Arm"))]
    table = build(sweep(rows), {(0, 0): done(*BASE), (1, 0): done(*ARM)})
    assert (of(table, 1).block_low, of(table, 1).block_high) == (None, None)
    both = stats.pooled(np.array([BASE, ARM]), [None, 0])
    assert (both.low[1], both.high[1]) == pytest.approx((of(table, 1).low, of(table, 1).high))
    assert not [note for note in table.footnotes if "lock interval" in note]


def test_what_a_verdict_follows(three, row, sweep, done):
    """Which interval and which p decide stands below, but not where no verdict is more than too few seeds."""
    (note,) = [note for note in three().footnotes if note.startswith("Verdict: ")]
    assert "by the corrected p at 5 % and the row's own 95 % interval, not the block interval" in note
    few = build(sweep([row(0, "Default"), row(1, "Arm")]), {(0, 0): done(*BASE[:3]), (1, 0): done(*ARM[:3])})
    assert not [note for note in few.footnotes if note.startswith("Verdict: ")]
    assert [note.kind for note in few.notes if note.text.startswith("p: ")] == ["detail"]


def test_holm_where_the_file_asks_for_it(three):
    """With `test = "holm"` the printed p is Holm's, and so is the least number of pairs."""
    table = three(test="holm")
    assert of(table, 1).p == of(table, 1).p_holm == pytest.approx(2 * 2 / 64)
    assert table.statistics[0].least_pairs == 7
    assert [note for note in table.footnotes if "adjusted by Holm over the table's 2 paired comparisons" in note]
    assert [note for note in table.footnotes if "6 pairs of seeds cannot reach 5 %, adjusted by Holm over 2" in note]


def test_family_is_the_table_or_a_column(row, sweep, done):
    """Differences of all columns and metrics are one family, unless the file makes each printed column its own."""
    rows = [row(0, "Default", seeds=SIX), row(1, "Arm", seeds=SIX)]
    results = {(0, 0): done(*BASE), (1, 0): done(*ARM), (0, 1): done(*BASE), (1, 1): done(*OTHER)}
    whole = build(sweep(rows, ["a", "b"]), results)
    assert [of(whole, 1, at).p for at in range(2)] == pytest.approx(joint(ARM, OTHER).tolist())
    assert [each.comparisons for each in whole.statistics] == [2, 2]
    parted = build(sweep(rows, ["a", "b"], family="column"), results)
    assert of(parted, 1, 1).p == pytest.approx(joint(OTHER)[0])
    assert [each.comparisons for each in parted.statistics] == [1, 1]
    assert [note for note in parted.footnotes if "of each column's 1 paired comparison." in note]


def test_verdicts_and_the_margin(three):
    """Better where p and interval agree; within the margin equivalent, by two one-sided tests adjusted by Holm."""
    table = three(margin=0.3)
    assert of(table, 1).verdict.text == f"better by at least {of(table, 1).low:.2f}"
    difference = np.subtract(OTHER, BASE)
    ends = [scipy.stats.ttest_1samp(difference, end, alternative=side).pvalue
            for end, side in ((-0.3, "greater"), (0.3, "less"))]  # fmt: skip
    assert 2 * max(ends) < 0.05
    assert of(table, 2).verdict.kind == "equivalent"
    assert of(three(), 2).verdict.kind == "undecided"
    assert [
        note
        for note in table.footnotes
        if "0.3 points of top-1; equivalent: within it by two one-sided t tests" in note
    ]


def test_margin_is_of_the_first_metric(row, sweep):
    """A second metric has another unit: it is never called equivalent, and nothing says how many seeds would do."""
    rows = [row(0, "Default", seeds=SIX), row(1, "Arm", seeds=SIX)]
    results = {
        (at, 0): [
            CellResult(seed, "complete", {"val_top1": each, "val_loss": each}) for seed, each in enumerate(values)
        ]
        for at, values in enumerate((BASE, OTHER))
    }
    table = build(sweep(rows, metrics=("val_top1", "val_loss"), margin=0.3), results)
    assert [of(table, 1, at).verdict.kind for at in range(2)] == ["equivalent", "undecided"]
    first, second = table.statistics
    assert first.detect_pairs == max(6, stats.detect_pairs(0.3, np.sqrt(2) * first.sd, 2))
    assert second.detect_pairs is None
    text = f"takes {first.detect_pairs} seeds (sd {first.sd:.2f} on 5 degrees of freedom)."
    note = f"To detect a difference of 0.3 points with 80 % power among 2 comparisons {text}"
    assert Note(note, "detail") in table.notes


def test_best_epochs_are_not_tested(row, sweep):
    """Where `select` is best, p and verdict are those of the last epoch; the difference that is shown is not."""
    rows = [row(0, "Default", seeds=SIX), row(1, "Arm", seeds=SIX)]
    results = {
        (at, 0): [
            CellResult(seed, "complete", {"val_top1": 95.0 + at}, compared={"val_top1": each})
            for seed, each in enumerate(values)
        ]
        for at, values in enumerate((BASE, ARM))
    }
    table = build(sweep(rows, select="best"), results)
    cell = table.rows[1].cells[0]
    expected = scipy.stats.ttest_rel(ARM, BASE).confidence_interval()
    assert (cell.mean, cell.delta) == (96.0, 1.0)
    assert (cell.comparison.rule, cell.comparison.p) == ("last", 2 / 64)
    assert (cell.comparison.low, cell.comparison.high) == pytest.approx((expected.low, expected.high))
    assert [note for note in table.footnotes if "p and verdict are of the last epoch" in note]


def test_what_is_not_tested(row, sweep, done):
    """Null rows, rows without a common seed, speeds and facts have intervals at most; no p, no verdict."""
    rows = [row(0, "Default", seeds=SIX), row(1, "Noise", seeds=(10, 11, 12), null=True),
            row(2, "Arm", seeds=(20, 21)), row(3, "Paired", seeds=SIX)]  # fmt: skip

    def timed(*seconds):
        return [CellResult(seed, "complete", {"epoch_seconds": each, "macs": 1e9}, trial="measure")
                for seed, each in enumerate(seconds)]  # fmt: skip

    results = {(0, 0): [*done(*BASE), *timed(*BASE)], (1, 0): done(*ARM[:3], first=10),
               (2, 0): done(*ARM[:2], first=20), (3, 0): [*done(*OTHER), *timed(*ARM)]}  # fmt: skip
    table = build(sweep(rows, metrics=("val_top1", "epoch_seconds", "macs")), results)
    for at, arm in ((1, ARM[:3]), (2, ARM[:2])):
        welch = scipy.stats.ttest_ind(arm, BASE, equal_var=False).confidence_interval()
        assert (of(table, at).low, of(table, at).high) == pytest.approx((welch.low, welch.high))
        assert (of(table, at).p, of(table, at).verdict, of(table, at).block_low) == (None, None, None)
    assert of(table, 3).p is not None
    assert (of(table, 3, 1).p, of(table, 3, 1).verdict) == (None, None)
    assert of(table, 3, 1).low is not None
    assert of(table, 3, 2) is None
    assert [each is None for each in table.statistics] == [False, True, True]
    assert [note for note in table.footnotes if note.startswith("Facts, speeds and costs have no p")]


def test_null_rows_do_not_widen_the_family(row, sweep, done):
    """The family is of paired comparisons alone, and the pooled variance of rows that share their seeds."""
    rows = [row(0, "Default", seeds=SIX), row(1, "Arm", seeds=SIX), row(2, "Noise", seeds=(10, 11, 12), null=True)]
    table = build(sweep(rows), {(0, 0): done(*BASE), (1, 0): done(*ARM), (2, 0): done(1.0, 50.0, 99.0, first=10)})
    assert table.statistics[0].comparisons == 1
    assert table.statistics[0].sd == pytest.approx(np.std(np.subtract(ARM, BASE), ddof=1) / np.sqrt(2))


def test_comparisons_that_wait(row, sweep, done):
    """A row without results is counted in the family and has no comparison; too few seeds say how many are needed."""
    table = build(
        sweep([row(0, "Default"), row(1, "Arm"), row(2, "Later")]), {(0, 0): done(*BASE[:3]), (1, 0): done(*ARM[:3])}
    )
    assert of(table, 2) is None
    assert table.statistics[0].comparisons == 2
    assert of(table, 1).verdict.kind == "n too small"
    assert "6 seeds in a table of 2 comparisons" in of(table, 1).verdict.text
    assert [note for note in table.footnotes if "the table's 2 paired comparisons (1 of them without a p yet)" in note]


def test_bootstrap_from_30_pairs(row, sweep, done):
    """BCa over the differences, from 30 pairs on and not below."""
    draw = np.random.default_rng(5)
    base, arm = draw.normal(90, 1, 30), draw.normal(91, 1, 30)
    rows = [row(0, "Default", seeds=tuple(range(30))), row(1, "Arm", seeds=tuple(range(30)))]
    table = build(sweep(rows), {(0, 0): done(*base), (1, 0): done(*arm)})
    expected = scipy.stats.bootstrap(
        (arm - base,), np.mean, n_resamples=10_000, rng=1, method="BCa"
    ).confidence_interval
    assert (of(table, 1).bca_low, of(table, 1).bca_high) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert [note for note in table.footnotes if note.startswith("p: two-sided, joint sign flips (10,000 random, ")]
    fewer = build(sweep(rows), {(0, 0): done(*base[:29]), (1, 0): done(*arm)})
    assert of(fewer, 1).bca_low is None


def test_sequential_sweeps_use_steins_interval(row, sweep, done):
    """The first stage's sd and freedom with the mean of all pairs; p is Stein's t, adjusted by Holm."""
    arms = {1: ARM, 2: (91.2, 91.6, 91.0)}
    rows = [row(0, "Default", seeds=SIX), row(1, "Arm", seeds=SIX), row(2, "Short")]
    results = {(0, 0): done(*BASE), **{(at, 0): done(*values) for at, values in arms.items()}}
    table = build(sweep(rows, sequential=Sequential(3, 12, 0.5)), results)
    p = {}
    for at, arm in arms.items():
        pairs = np.subtract(arm, BASE[: len(arm)])
        error = np.std(pairs[:3], ddof=1) / np.sqrt(len(pairs))
        half = scipy.stats.t.ppf(0.975, 2) * error
        ends = (pairs.mean() - half, pairs.mean() + half)
        cell = table.rows[at].cells[0]
        assert (cell.delta_low, cell.delta_high) == pytest.approx(ends)
        assert (cell.comparison.low, cell.comparison.high) == pytest.approx(ends)
        assert cell.comparison.block_low is None
        p[at] = 2 * scipy.stats.t.sf(abs(pairs.mean()) / error, 2)
    assert of(table, 1).p == pytest.approx(2 * p[1])
    assert of(table, 2).p == pytest.approx(max(p[2], 2 * p[1]))
    assert [of(table, at).p_raw for at in (1, 2)] == pytest.approx([p[1], p[2]])
    assert table.statistics[0].least_pairs == 2
    assert [note for note in table.footnotes if note.startswith("p: two-sided, Stein's t")]
    assert [note for note in table.footnotes if "interval by Stein's two-stage rule" in note]
    assert not [note for note in table.footnotes if note.startswith("n too small")]


def test_sequential_equivalence(row, sweep, done):
    """Two one-sided tests by Stein's t: the larger p of both ends, and 1 where the difference is beyond the margin."""
    rows = [row(0, "Default", seeds=SIX), row(1, "Other", seeds=SIX), row(2, "Far", seeds=SIX)]
    results = {(0, 0): done(*BASE), (1, 0): done(*OTHER), (2, 0): done(*ARM)}
    pairs = np.subtract(OTHER, BASE)
    error = np.std(pairs[:3], ddof=1) / np.sqrt(6)
    p = 2 * scipy.stats.t.sf((1.0 - abs(pairs.mean())) / error, 2)  # 2: Holm's first step
    for margin, kind in ((1.0, "equivalent"), (abs(pairs.mean()) + 0.01, "undecided")):
        table = build(sweep(rows, sequential=Sequential(3, 12, 0.5), margin=margin), results)
        assert of(table, 1).verdict.kind == kind
    assert p < 0.05


def test_a_table_without_references_compares_nothing(row, sweep, done):
    """A grid has neither comparisons nor their statistics."""
    table = build(sweep([row(0, "a", reference=None), row(1, "b", reference=None)]), {(0, 0): done(*BASE[:3])})
    assert (table.statistics, of(table, 1)) == ((), None)
    assert not [note for note in table.footnotes if note.startswith(("p:", "n too small", "No row shows noise"))]
