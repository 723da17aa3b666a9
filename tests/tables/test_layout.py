"""A table shows what the results say, marks what is missing, and says in footnotes what they cannot show."""

import dataclasses
import gc
import random
import time
from dataclasses import replace

import pytest
import scipy.stats

from tinyablate.identity import canonical
from tinyablate.recipe import Data, Evaluate
from tinyablate.sweep.load import load
from tinyablate.tables.layout import CellResult, build
from tinyablate.tables.render import render

BASE, ARM = (91.0, 91.4, 91.1), (91.2, 91.9, 91.2)


def notes(table, word):
    """The footnotes that hold `word`."""
    return [note for note in table.footnotes if word in note]


def test_complete_cell(row, sweep, done):
    """A complete row has mean, sd and n, and a paired difference with the interval that scipy gives."""
    table = build(sweep([row(0, "Default"), row(1, "Arm")]), {(0, 0): done(*BASE), (1, 0): done(*ARM)})
    base, arm = table.rows[0].cells[0], table.rows[1].cells[0]
    assert (base.mean, base.n, base.n_planned, base.state, base.marks) == (
        pytest.approx(91.1666667),
        3,
        3,
        "complete",
        (),
    )
    assert (base.delta, base.kind, base.pairs) == (None, None, 0)
    assert arm.sd == pytest.approx(scipy.stats.tstd(ARM))
    assert (arm.delta, arm.kind, arm.pairs) == (pytest.approx(4 / 15), "paired", 3)
    expected = scipy.stats.ttest_rel(ARM, BASE).confidence_interval()
    assert (arm.delta_low, arm.delta_high) == pytest.approx((expected.low, expected.high))
    assert (table.rows[0].baseline, table.rows[1].baseline) == (True, False)


def test_small_counts_share_their_digits(row, sweep, done):
    """Where all MACs are below 0.1 the column has digits enough for the least; a large published number has its usual
    ones."""
    asked = sweep([row(0, "A"), row(1, "B")], metrics=("macs",), published={(0, 0): {"macs": {"paper": 190.7}}})
    small, usual = (
        build(asked, {(0, 0): done(a, metric="macs"), (1, 0): done(b, metric="macs")})
        for a, b in ((0.00145, 0.00047), (0.00145, 0.2))
    )
    assert (small.columns[0].digits, usual.columns[0].digits) == (5, 2)
    text = render(small)
    assert [number in text for number in ("0.00145", "0.00047", " 190.70\n")] == [True] * 3


def test_nothing_is_there_yet(row, sweep):
    """A table can be printed before anything ran: every cell is missing, and nothing is said of what n allows."""
    table = build(sweep([row(0, "Default"), row(1, "Arm")]), {})
    cell = table.rows[1].cells[0]
    assert (cell.mean, cell.sd, cell.n, cell.delta, cell.state, cell.marks) == (
        None,
        None,
        0,
        None,
        "missing",
        ("3 missing",),
    )
    assert not notes(table, "n too small")


def test_pairs_are_seeds_complete_in_both(row, sweep, done):
    """The difference leaves out a seed that one side lacks, and a footnote says that it is not that of the means."""
    arm = [CellResult(0, "failed", {}), *done(91.9, 91.2, first=1)]
    table = build(sweep([row(0, "Default"), row(1, "Arm")]), {(0, 0): done(*BASE), (1, 0): arm})
    cell = table.rows[1].cells[0]
    assert (cell.n, cell.pairs, cell.delta, cell.state) == (2, 2, pytest.approx(0.3), "partial")
    assert cell.mean - table.rows[0].cells[0].mean != pytest.approx(cell.delta)
    assert notes(table, "need not be the difference of the means")
    assert notes(table, "survivors")


def test_one_pair_has_no_interval(row, sweep, done):
    """A single common seed gives the difference alone, and the table says so."""
    table = build(sweep([row(0, "Default"), row(1, "Arm")]), {(0, 0): done(*BASE), (1, 0): done(91.2)})
    cell = table.rows[1].cells[0]
    assert (cell.sd, cell.delta, cell.delta_low, cell.delta_high) == (None, pytest.approx(0.2), None, None)
    assert notes(table, "[95 % t interval] (none below 2 pairs of seeds)")


@pytest.mark.parametrize(
    ("states", "state", "marks"),
    [
        (["complete", "complete", "complete"], "complete", ()),
        (["complete", "diverged", "failed"], "partial", ("1 failed", "1 diverged")),
        (["running", "failed", "pending"], "running", ("1 running", "1 failed", "1 missing")),
        (["diverged", "diverged", "diverged"], "diverged", ("3 diverged",)),
        (["diverged", "failed", "pending"], "failed", ("1 failed", "1 diverged", "1 missing")),
        (["stale", "stale", "pending"], "stale", ("2 stale", "1 missing")),
        (["pending", "pending"], "missing", ("3 missing",)),
        ([], "missing", ("3 missing",)),
    ],
)
def test_state_of_a_cell(row, sweep, states, state, marks):
    """Every seed that is not complete is counted in a mark; a cell without a value is called by what needs the eye."""
    results = [
        CellResult(seed, each, {"val_top1": 90.0} if each == "complete" else {}) for seed, each in enumerate(states)
    ]
    cell = build(sweep([row(0, "Default")]), {(0, 0): results}).rows[0].cells[0]
    assert (cell.state, cell.marks) == (state, marks)


def test_divergence_is_named_with_its_epoch(row, sweep, done):
    """Which trial diverged, and when, stands in a footnote."""
    results = [*done(91.0, 91.4), CellResult(2, "diverged", {}, 7)]
    table = build(sweep([row(0, "Default")], ["90ep"]), {(0, 0): results})
    assert notes(table, "Diverged (the loss was not finite): Default / 90ep with seed 2 in epoch 7.")


def test_null_row_is_unpaired(row, sweep, done):
    """The baseline under other seeds is compared by Welch's interval, and a footnote says what the row is for."""
    rows = [row(0, "Default"), row(1, "Default, other seeds", seeds=(10, 11, 12), null=True)]
    table = build(sweep(rows), {(0, 0): done(*BASE), (1, 0): done(*ARM, first=10)})
    cell = table.rows[1].cells[0]
    expected = scipy.stats.ttest_ind(ARM, BASE, equal_var=False).confidence_interval()
    assert cell.kind == "unpaired"
    assert (cell.delta_low, cell.delta_high) == pytest.approx((expected.low, expected.high))
    assert notes(table, "Default, other seeds: the baseline again under other seeds")
    assert notes(table, "(planned: 0-2; Default, other seeds: 10-12).")
    assert not notes(table, "n too small")  # which is about sign-flips of pairs


def test_rows_without_common_seeds_are_unpaired(row, sweep, done):
    """A row whose own seeds share none with the baseline cannot be paired, and is named."""
    rows = [row(0, "Default"), row(1, "Arm", seeds=(10, 11, 12))]
    table = build(sweep(rows), {(0, 0): done(*BASE), (1, 0): done(*ARM, first=10)})
    assert table.rows[1].cells[0].kind == "unpaired"
    assert notes(table, "Arm: no seed in common")


def test_a_row_may_have_another_reference(row, sweep, done):
    """In a path each row is compared with the one it names, in its own column."""
    rows = [row(0, "Nothing"), row(1, "+ Mixup"), row(2, "+ CutMix", reference=1)]
    results = {(at, column): done(*(at**2 + 10.0 * column + x for x in BASE)) for at in range(3) for column in range(2)}
    table = build(sweep(rows, ["a", "b"]), results)
    assert [cell.delta for cell in table.rows[1].cells] == pytest.approx([1, 1])
    assert [cell.delta for cell in table.rows[2].cells] == pytest.approx([3, 3])
    assert [each.baseline for each in table.rows] == [True, True, False]


def test_counts_have_no_spread(row, sweep, done):
    """A number of parameters is the same under every seed: no sd, no interval, but a difference; unless it varies."""
    metrics = ("parameters", "trainable_parameters")
    results = {
        (at, 0): [
            CellResult(seed, "complete", {"parameters": 1e6 + at, "trainable_parameters": 1e3 + seed})
            for seed in range(3)
        ]
        for at in range(2)
    }
    cells = build(sweep([row(0, "Default"), row(1, "Arm")], metrics=metrics), results).rows[1].cells
    assert (cells[0].mean, cells[0].sd, cells[0].delta, cells[0].delta_low) == (1e6 + 1, None, 1, None)
    assert cells[1].sd == 1


def test_metric_that_was_not_measured(row, sweep, done):
    """A complete trial without a value of the metric is no seed of its mean, and is counted apart."""
    results = [*done(91.0, 91.4), CellResult(2, "complete", {"val_top5": 99.0})]
    table = build(sweep([row(0, "Default")], metrics=("val_top1", "val_top5")), {(0, 0): results})
    first, second = table.rows[0].cells
    assert (first.n, first.state, first.marks) == (2, "partial", ("1 not measured",))
    assert (second.n, second.marks) == (1, ("2 not measured",))


def test_cells_outside_the_plan(row, sweep, done):
    """An excluded cell is empty and its reason stands below; results of other seeds and cells do not count."""
    rows = [row(0, "Default"), row(1, "Arm")]
    results = {(0, 0): done(*BASE, 500.0), (1, 0): done(*ARM), (1, 1): done(*ARM), (7, 7): done(*ARM)}
    table = build(sweep(rows, ["90ep", "150ep"], without=[(1, 1)]), results)
    assert table.rows[0].cells[0].n == 3
    outside = table.rows[1].cells[1]
    assert (outside.state, outside.n_planned, outside.mean, outside.marks) == ("excluded", 0, None, ())
    assert notes(table, "Excluded: Arm / 150ep (too long).")


def test_columns_cross_axis_and_metrics(row, sweep):
    """Metrics stand side by side within each column of the axis, with the sources that published there."""
    published = {(0, 0): {"val_top1": {"paper": 76.5}}, (1, 0): {"val_top1": {"reproduction": 76.0, "paper": 76.1}}}
    rows = [row(0, "Default"), row(1, "Arm")]
    table = build(sweep(rows, ["90ep", "150ep"], published=published, metrics=("val_top1", "val_loss")), {})
    assert [(column.label, column.metric.name, column.sources) for column in table.columns] == [
        ("90ep", "val_top1", ("paper", "reproduction")),
        ("90ep", "val_loss", ()),
        ("150ep", "val_top1", ()),
        ("150ep", "val_loss", ()),
    ]
    assert table.rows[1].cells[0].published == {"reproduction": 76.0, "paper": 76.1}
    assert notes(table, "Lower is better: validation loss.")


def test_size_note(row, sweep, done):
    """Below 6 pairs the table says that no test can reach 5 %; at 6 it does not; in between it says how many."""
    three = build(sweep([row(0, "Default"), row(1, "Arm")]), {(0, 0): done(*BASE), (1, 0): done(*ARM)})
    assert notes(three, "n too small: 3 pairs of seeds cannot reach 5 %")
    assert notes(three, "2/2^3 = 0.25")
    rows = [row(at, f"row {at}", seeds=tuple(range(6))) for at in range(3)]
    results = {(at, 0): done(*(90.0 + at + 0.1 * seed * at for seed in range(6))) for at in range(3)}
    assert not notes(build(sweep(rows), results), "n too small")
    short = build(sweep(rows), results | {(2, 0): results[2, 0][:5]})
    assert notes(short, "n too small in 1 of 2 comparisons: 5 pairs")


def test_correlation_of_pairs_is_told(row, sweep, done):
    """The footnote has Pearson's r between the paired rows, as scipy computes it."""
    table = build(sweep([row(0, "Default"), row(1, "Arm")]), {(0, 0): done(*BASE), (1, 0): done(*ARM)})
    assert notes(table, f"r = {scipy.stats.pearsonr(BASE, ARM).statistic:.2f})")


def test_selection_rule_is_told(row, sweep):
    """Best-epoch values are called optimistic; last-epoch values are not."""
    assert notes(build(sweep([row(0, "Default")], select="best"), {}), "best epoch by val_top1 (ties: the earliest)")
    assert notes(build(sweep([row(0, "Default")], select="best"), {}), "optimistic")
    assert not notes(build(sweep([row(0, "Default")], select="last"), {}), "optimistic")


def test_source_is_told(row, sweep):
    """Whose ablation is reproduced stands below, and nothing where it is nobody's but this package's."""
    assert notes(build(sweep([row(0, "Default")], source="A paper, table 4"), {}), "Source: A paper, table 4.")
    assert not notes(build(sweep([row(0, "Default")], source="tinyablate"), {}), "Source")


def test_title_tells_smoke_and_overrides(row, sweep):
    """Nobody can take a smoke run or an overridden one for the sweep itself."""
    table = build(sweep([row(0, "Default")], smoke=True, overrides=("optimizer.lr=0.1",)), {})
    assert table.title == "SMOKE — A table [--set optimizer.lr=0.1]"
    assert notes(table, "its numbers mean nothing")


def test_several_baselines_are_told(row, sweep):
    """Where rows are compared with different ones, a footnote says which with which; with one it is silent."""
    rows = [row(0, "All"), row(1, "Half"), row(2, "None", reference=1), row(3, "Other")]
    assert notes(build(sweep(rows), {}), "Not all rows have the same baseline: 'All' of Half, Other; 'Half' of None.")
    assert not notes(build(sweep(rows[:2]), {}), "Not all rows")


def test_what_is_measured_on_is_told(row, sweep):
    """The validation set, a hold-out, or a mixture of both, which makes differences doubtful, stands in a footnote."""
    made = sweep([row(0, "Default"), row(1, "Other")])
    assert notes(build(made, {}), "Values: the last epoch, on the validation set.")
    recipe = replace(made.baseline, evaluate=Evaluate(split="train[90%:]"), data=Data("shapes", split="train[:90%]"))
    held = tuple(replace(cell, recipe=recipe, canonical=canonical(recipe)) for cell in made.cells)
    assert notes(build(replace(made, cells=held), {}), "Values: the last epoch, on train[90%:], held out.")
    mixed = build(replace(made, cells=(made.cells[0], held[1])), {})
    assert notes(mixed, "MIXED: not every row is measured on the same images")
    assert notes(mixed, "train[90%:], held out: Other")


def test_provenance_is_told_once(row, sweep, done):
    """Data, code, device and versions that all results share stand in one footnote each."""
    table = build(sweep([row(0, "Default")]), {(0, 0): done(*BASE)})
    assert notes(table, "Data: shapes (fingerprint shapes-v1, digest fedcba987654).")
    assert notes(
        table,
        "Computed with core version 1, commit a1b2c3d4e5f6-dirty, train digest 0123456789ab, device cpu (Xeon), "
        "torch 2.15.0, timm 1.0.31.",
    )
    assert not notes(table, "MIXED")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"commit": "ffff"}, "commit: a1b2c3d4e5f6-dirty (2 trials), ffff (1 trial)"),
        ({"train_digest": "ffff"}, "train digest: 0123456789ab (2 trials), ffff (1 trial)"),
        ({"device": "NVIDIA H200"}, "device: NVIDIA H200 (1 trial), cpu (Xeon) (2 trials)"),
        ({"torch": "2.6.0"}, "torch: 2.15.0 (2 trials), 2.6.0 (1 trial)"),
        ({"timm": "1.0.20"}, "timm: 1.0.20 (1 trial), 1.0.31 (2 trials)"),
        ({"core_version": 2}, "core version: 1 (2 trials), 2 (1 trial)"),
        ({"compiled": True}, "torch.compile: off (2 trials), on (1 trial)"),
        ({"commit": ""}, "commit: a1b2c3d4e5f6-dirty (2 trials), unknown (1 trial)"),
        ({"data_digest": "ffff"}, "2 different preparations"),
    ],
)
def test_mixtures_are_named(row, sweep, done, change, words):
    """Whatever the results do not share is named, with how many trials of each."""
    first, second, third = done(*BASE)
    other = third._replace(provenance=dataclasses.replace(third.provenance, **change))
    (note,) = notes(build(sweep([row(0, "Default")]), {(0, 0): [first, second, other]}), "MIXED")
    assert words in note


def test_mixed_weights_are_named(row, sweep, done):
    """Trials of one model that start from different files of weights are named; one without weights mixes nothing."""
    trials = [
        each._replace(provenance=dataclasses.replace(each.provenance, weights_digest=digest))
        for each, digest in zip(done(*BASE), ("a", "", "b"), strict=True)
    ]
    (note,) = notes(build(sweep([row(0, "Default")]), {(0, 0): trials}), "MIXED")
    assert "2 different files of pretrained weights" in note
    assert not notes(build(sweep([row(0, "Default")]), {(0, 0): trials[:2]}), "MIXED")


def test_equal_provenance_is_no_mixture(row, sweep, done):
    """Two records with the same content are one, though they are two objects."""
    first, *others = done(*BASE)
    copied = first._replace(provenance=dataclasses.replace(first.provenance))
    assert not notes(build(sweep([row(0, "Default")]), {(0, 0): [copied, *others]}), "MIXED")


def test_order_of_results_does_not_matter(row, sweep, done):
    """The same results in any order are the same table, to the last bit."""
    rows = [row(0, "Default"), row(1, "Arm")]
    results = {(0, 0): done(*BASE), (1, 0): done(*ARM)}
    shuffled = {key: random.Random(0).sample(results[key], 3) for key in reversed(results)}
    assert build(sweep(rows), results) == build(sweep(rows), shuffled)


def test_impossible_results_are_refused(row, sweep, done):
    """Two results of one seed, or an infinite value, never become a mean."""
    with pytest.raises(ValueError, match="two results for one seed"):
        build(sweep([row(0, "Default")]), {(0, 0): [*done(*BASE), *done(1.0)]})
    with pytest.raises(ValueError, match="infinite"):
        build(sweep([row(0, "Default")]), {(0, 0): done(float("inf"))})


def test_table_of_a_sweep_file(tmp_path, done):
    """A file's rows, published numbers and its null row arrive in the table of the sweep that `load` made of it."""
    path = tmp_path / "small.toml"
    path.write_text(
        """
        title = "Small"
        seeds = [0, 1, 2]
        metric = "val_top1"
        select = "last"
        [baseline]
        data.name = "shapes"
        model.name = "test_resnet"
        model.pretrained = false
        [[rows]]
        label = "Default"
        published.paper = 91.34
        [[rows]]
        label = "Smoothing"
        set.loss.smoothing = 0.1
        [[rows]]
        label = "Noise"
        seeds = [10, 11, 12]
        """
    )
    table = build(load(path), {(0, 0): done(*BASE), (1, 0): done(*ARM), (2, 0): done(*ARM, first=10)})
    assert [(row.label, row.cells[0].kind) for row in table.rows] == [
        ("Default", None),
        ("Smoothing", "paired"),
        ("Noise", "unpaired"),
    ]
    assert table.rows[0].cells[0].published == {"paper": 91.34}
    assert notes(table, "Noise: the baseline again under other seeds")


def test_large_table_is_quick(row, sweep, done):
    """Time grows as the cells do: 10,000 of 10 seeds take at most 30 times the processor time of 1,000 (0.2 s)."""
    values = random.Random(0)

    def least_seconds(count):
        rows = [row(at, f"row {at}", seeds=tuple(range(10))) for at in range(count)]
        made = sweep(rows, [f"c{at}" for at in range(10)])
        results = {(at, c): done(*(values.gauss(90, 1) for _ in range(10))) for at in range(count) for c in range(10)}
        seconds = []
        for _ in range(3):
            start = time.process_time()
            table = build(made, results)
            seconds.append(time.process_time() - start)
        assert sum(cell.n for each in table.rows for cell in each.cells) == 100 * count
        return min(seconds)

    gc.disable()  # what it costs depends on the objects of all tests before
    try:
        small = least_seconds(100)
        assert least_seconds(1000) < 30 * small
    finally:
        gc.enable()


def test_ratio_to_the_baseline(row, sweep):
    """A ratio is taken seed by seed, has an interval of its own and no Δ; a null row is over the baseline's mean."""

    def timed(*seconds, first=0):
        return [
            CellResult(seed, "complete", {"epoch_seconds": each}, None, None, "measure")
            for seed, each in enumerate(seconds, start=first)
        ]

    rows = [row(0, "AdamW"), row(1, "SAM"), row(2, "noise", seeds=(10, 11, 12), null=True), row(3, "later")]
    made = sweep(rows, metrics=("epoch_seconds", "relative_epoch_time"))
    results = {(0, 0): timed(10, 20), (1, 0): timed(18, 38, 40), (2, 0): timed(15, 30, 15, first=10)}
    table = build(made, results)
    base, arm, null, later = (each.cells[1] for each in table.rows)
    assert (base.mean, base.sd, base.low, base.n) == (1.0, None, None, 2)
    ratios = (1.8, 1.9)
    ends = scipy.stats.ttest_1samp(ratios, 0).confidence_interval()
    assert (arm.mean, arm.low, arm.high) == pytest.approx((1.85, ends.low, ends.high))
    assert (arm.delta, arm.n, arm.marks) == (None, 2, ("1 missing",))  # of the baseline, whose third seed is not there
    assert (null.mean, null.low, null.high, null.n) == (pytest.approx(20 / 15), None, None, 3)
    assert (later.state, later.marks) == ("missing", ("3 missing",))
    assert [column.compared for column in table.columns] == [True, False]
    assert notes(table, "epoch (s) of the row over that of the row it is compared with")
