"""The numbers of every kind of figure that a table is drawn as, against values given by hand."""

import numpy as np
import pytest
from drawings import GRID, HEAD, OFFSETS, PARTS, ROWS, SHARED, VALUES, around
from matplotlib.figure import Figure as Picture
from scipy.stats import ttest_1samp

from tinyablate.sweep import metrics
from tinyablate.tables import stats
from tinyablate.tables.figures import cost, forest, heatmap, interaction, power, slopes, style, waterfall
from tinyablate.tables.figures.design import designs
from tinyablate.tables.figures.drawn import NothingToDraw


def interval(values):
    """Mean and ends of scipy's 95 % t interval."""
    ends = ttest_1samp(values, 0.0).confidence_interval()
    return pytest.approx((float(np.mean(values)), ends.low, ends.high))


# ---- forest ----------------------------------------------------------------------------------------------------------


def test_forest_points(view):
    """Differences with scipy's intervals; a row of a null, one of two pairs and one without a value among them."""
    worse, two, gone, null = forest.points(view(ROWS, VALUES, "forest").table)
    assert (worse.value, worse.low, worse.high) == interval(np.array(OFFSETS) - 2.0)
    assert (worse.pairs, worse.kind, worse.group, worse.verdict) == (6, "paired", "Some", worse.short)
    assert worse.verdict.startswith("worse by at least 1.8")
    assert worse.block_low < worse.value < worse.block_high
    assert (two.pairs, two.short) == (2, "n too small: 2 of 6")
    assert (gone.value, gone.low, gone.verdict) == (None, None, "2 diverged, 4 missing")
    assert (null.null, null.kind, null.value) == (True, "unpaired", pytest.approx(0.0))


def test_forest_axis_is_not_set_by_two_pairs(view):
    """The t interval of two pairs, thirteen times their spread, goes beyond the axis, and a note says so."""
    seen = view(ROWS, VALUES, "forest")
    found = forest.points(seen.table)
    low, high = forest.limits_of(found, 0.0, 0.5)
    assert found[1].high > high > found[1].value
    assert low < -2.0
    notes = " ".join(forest.drawn(seen).notes)
    for words in ("Arrows", "margin of 0.5", "Hollow", "Not drawn: Diverged (2 diverged, 4 missing)", "Two seeds (4 m"):
        assert words in notes


def test_forest_of_some_rows_and_columns(view):
    """Rows are those named, in that order; columns of a second axis come one after the other."""
    columns = "[[columns]]\nlabel = 'S'\nset.schedule.epochs = 1\n[[columns]]\nlabel = 'L'\nset.schedule.epochs = 2\n"
    values = {(row, column): [1.0 + row + column] * 6 for row in range(3) for column in range(2)}
    seen = view(ROWS + columns, values, "forest", rows=("Two seeds", "Default", "Worse"))
    found = forest.points(seen.table, "val_top1", seen.rows)
    assert [(point.label, point.column, point.value) for point in found] == [
        ("Two seeds", "S", 2.0), ("Worse", "S", 1.0), ("Two seeds", "L", 2.0), ("Worse", "L", 1.0),
    ]  # fmt: skip
    assert forest._headings(found) == ["S, Some", "L, Some"]


def far(difference):
    """Values with one row this far from the others."""
    return {**VALUES, (2, 0): around(0.5), (3, 0): around(difference)}


def test_forest_axis_is_not_set_by_a_row_far_outside(view):
    """A row at -74 stands at the edge with its numbers in words; one at -4 has the axis reach it; `xlim` is kept to."""
    seen = view(ROWS, far(-74.0), "forest")
    found = forest.points(seen.table)
    limits = forest.limits_of(found, 0.0, 0.5)
    assert -3.0 < limits[0] < -2.1
    assert forest._verdict(seen, found[2], limits).startswith("-74.00 [-74.16, -73.84]\nworse by at least 73.8")
    assert "Arrows at the edge: the row lies beyond the axis" in " ".join(forest.drawn(seen).notes)
    assert forest.limits_of(forest.points(view(ROWS, far(-4.0), "forest").table))[0] < -4.0
    picture = Picture()
    forest.drawn(view(ROWS, far(-4.0), "forest", xlim=(-1.0, 1.0))).paint(picture)
    assert picture.axes[0].get_xlim() == (-1.0, 1.0)


def test_forest_axis_of_two_rows_far_outside(view):
    """Several rows far outside do not make each other look near, and where half of them are the axis has all."""
    two = {**far(-74.0), (2, 0): around(-70.0)}
    assert forest.limits_of(forest.points(view(ROWS, two, "forest").table))[0] > -3.0
    three = {**two, (1, 0): around(-72.0)}
    assert forest.limits_of(forest.points(view(ROWS, three, "forest").table))[0] < -74.0


# ---- slopes ----------------------------------------------------------------------------------------------------------


def test_slopes(view):
    """A pair for each seed that both have; rows without one, as the null, have no panel."""
    worse, two = slopes.slopes(view(ROWS, VALUES, "slopes"))
    assert (worse.label, worse.reference, worse.seeds) == ("Worse", "Default", (0, 1, 2, 3, 4, 5))
    assert (worse.before, worse.after) == (tuple(SHARED), tuple(VALUES[1, 0]))
    assert (two.seeds, two.before, two.after) == ((0, 1), tuple(SHARED[:2]), tuple(VALUES[2, 0]))
    drawn = slopes.drawn(view(ROWS, VALUES, "slopes"))
    assert drawn.numbers[0] == ("Worse", "Default", 0, 88.0, VALUES[1, 0][0])
    assert len(drawn.numbers) == 8


def test_slopes_have_scales_of_their_own_where_one_would_hide_them(view):
    """A row that falls by 74 leaves the others readable, and the note says so; with `ylim` all have that."""
    for difference, ylim, shared in ((-74.0, None, False), (-2.5, None, True), (-74.0, (0.0, 90.0), True)):
        drawn, picture = slopes.drawn(view(ROWS, far(difference), "slopes", ylim=ylim)), Picture()
        drawn.paint(picture)
        assert (len({axes.get_ylim() for axes in picture.axes}) == 1) == shared
        assert ("Each panel has a scale of its own." in drawn.notes) != shared


# ---- heat map --------------------------------------------------------------------------------------------------------


def test_heatmap(view):
    """Cells in the grid's order with their standing; diverged, missing and excluded ones are named."""
    exclude = '[[exclude]]\nwhere = { "optimizer.lr" = 3e-3, "optimizer.weight_decay" = 0.2 }\nreason = "no"\n'
    values = {
        (0, 0): [80.0 + x for x in OFFSETS], (0, 1): [90.0 + x for x in OFFSETS], (0, 2): [90.1 - x for x in OFFSETS],
        (1, 0): [None] * 6, (1, 1): [85.0, 85.0],
    }  # fmt: skip
    seen = view(GRID + exclude, values, "heatmap")
    found = heatmap.squares(seen)
    assert [square.standing for square in found] == ["separated", "close", "best", None, "separated", None]
    assert [square.state for square in found[3:]] == ["diverged", "partial", "excluded"]
    assert found[1].labels == ("lr = 0.001", "weight_decay = 0.1")
    assert (found[0].mean, found[0].sd) == (pytest.approx(80.0), pytest.approx(np.std(OFFSETS, ddof=1)))
    assert (found[4].row, found[4].column, found[4].n, found[4].n_planned) == (1, 1, 2, 6)
    notes = " ".join(heatmap.drawn(seen).notes)
    assert "lr = 0.003 / weight_decay = 0.0 (6 diverged)" in notes
    assert "Solid frame: the best; dashed frames: not separated" in notes


@pytest.mark.parametrize("metric", ["val_top1", "val_loss"])
def test_heatmap_is_bright_where_it_is_good(view, metric):
    """The best cell is the brightest, also where low numbers are good, and the ink stands out on every cell."""
    values = {(row, column): [1.0 + 3 * row + column] * 6 for row in range(2) for column in range(3)}
    seen, picture = view(GRID, values, "heatmap", head=f'metric = "{metric}"\n{HEAD}'), Picture()
    heatmap.drawn(seen).paint(picture)
    filled = [patch for patch in picture.axes[0].patches if patch.get_fill()]
    bright = [style.luminance(patch.get_facecolor()) for patch in filled]
    assert bright == sorted(bright, reverse=metric == "val_loss")
    inks = [
        style.luminance((0.0,) * 3 if text.get_color() == "black" else (1.0,) * 3) for text in picture.axes[0].texts
    ]
    for back, ink in zip(np.repeat(bright, 2), inks, strict=True):
        contrast = (max(back, ink) + 0.05) / (min(back, ink) + 0.05)
        assert contrast > 4.5  # WCAG 2.1 AA


def test_large_heatmap_leaves_out_numbers(view):
    """Past what fits into 11 inches cells grow narrow and hold no numbers; the CSV has them all."""
    body = f"[grid]\noptimizer.lr = [1e-3, 3e-3]\noptimizer.weight_decay = {[x / 100 for x in range(40)]}\n"
    drawn = heatmap.drawn(view(body, {(0, 0): [1.0], (1, 39): [2.0]}, "heatmap"))
    picture = Picture()
    drawn.paint(picture)
    assert (len(drawn.numbers), len(picture.axes[0].texts)) == (80, 0)
    assert drawn.size[0] < 14


# ---- waterfall -------------------------------------------------------------------------------------------------------


def path_values(*ends, missing=()):
    """A row for each end, in which seed 5 is missing where asked."""
    shared = [0.0, 1.0, -1.0, 0.5, -0.5, 30.0]
    return {(row, 0): [end + x for x in shared[: 5 if row in missing else 6]] for row, end in enumerate(ends)}


def test_waterfall_of_a_path(view):
    """Steps are differences to the row before with scipy's interval, over the seeds that every row has."""
    values = path_values(80.0, 82.0, 81.0, missing=(1,))
    values[1, 0] = [value + x for value, x in zip(values[1, 0], OFFSETS, strict=False)]
    seen = view(f'[components]\nexpand = "path-add"\n{PARTS}', values, "waterfall")
    first, mixup, erasing = waterfall.steps(seen, 0, waterfall.path(seen))
    assert (first.label, first.mean, first.value, first.n) == ("None", 80.0, None, 5)  # without seed 5, of 110
    assert (mixup.label, mixup.value, mixup.low, mixup.high) == ("+ Mixup", *_three(np.array(OFFSETS[:5]) + 2.0))
    assert (erasing.value, erasing.low, erasing.high) == interval(-1.0 - np.array(OFFSETS[:5]))
    assert first.mean + mixup.value + erasing.value == pytest.approx(erasing.mean)


def _three(values):
    return [pytest.approx(each) for each in interval(values).expected]


def test_waterfall_passes_over_a_row_without_values(view):
    """A row that has not run is left out, and the note says that the next step holds its change."""
    values = path_values(80.0, 82.0, 81.0)
    del values[1, 0]
    seen = view(f'[components]\nexpand = "path-remove"\n{PARTS}', values, "waterfall")
    assert [(step.label, step.value) for step in waterfall.steps(seen, 0, waterfall.path(seen))] == [
        ("All", None), ("\N{MINUS SIGN} Erasing", 1.0),
    ]  # fmt: skip
    switched = view(f'[layout]\ncomponents = true\n[components]\nexpand = "path-remove"\n{PARTS}', values, "waterfall")
    changes = [step.change for step in waterfall.steps(switched, 0, waterfall.path(switched))]
    assert changes == ["All", "\N{MINUS SIGN} Mixup, \N{MINUS SIGN} Erasing"]  # over the row that has no value
    assert "Left out without a value: \N{MINUS SIGN} Mixup; the next step" in " ".join(waterfall.drawn(seen).notes)
    with pytest.raises(
        NothingToDraw, match="no two rows of the path have a complete seed in common; next: tinyablate run"
    ):
        waterfall.drawn(
            view(f'[components]\nexpand = "path-add"\n{PARTS}', {(0, 0): [1.0], (1, 0): [None, 2.0]}, "waterfall")
        )


def test_path_of_listed_rows(view):
    """Rows that each change more than the one before are a path; others are none unless they are named."""
    rows = "[[rows]]\nlabel = 'A'\n[[rows]]\nlabel = 'B'\nset.loss.smoothing = 0.1\n[[rows]]\nlabel = 'C'\n"
    values = path_values(1.0, 2.0, 3.0)
    path = view(rows + "set.loss.smoothing = 0.1\nset.optimizer.lr = 0.1\n", values, "waterfall")
    assert (waterfall.path(path), waterfall.lacks(path)) == ((0, 1, 2), "")
    star = view(rows + "set.optimizer.lr = 0.1\n", values, "waterfall")
    assert waterfall.path(star) == ()
    assert "name a path's rows with --row" in waterfall.lacks(star)
    named = view(rows + "set.optimizer.lr = 0.1\n", values, "waterfall", rows=("C", "A"))
    assert [step.value for step in waterfall.steps(named, 0, waterfall.path(named))] == [None, -2.0]


def test_path_among_other_expansions(view):
    """With the components as columns of the table the path's rows are found among others; without them it says how."""
    body = f'[components]\nexpand = ["leave-one-out", "path-add"]\n{PARTS}'
    values = path_values(1.0, 2.0, 3.0, 4.0)
    seen = view("[layout]\ncomponents = true\n" + body, values, "waterfall")
    labels = [seen.table.rows[row].label for row in waterfall.path(seen)]
    assert (labels[0], labels[-1], len(labels)) == ("None", "All", 3)
    assert [step.change for step in waterfall.steps(seen, 0, waterfall.path(seen))] == ["None", "+ Mixup", "+ Erasing"]
    assert "give [layout] components = true" in waterfall.lacks(view(body, values, "waterfall"))


# ---- interaction -----------------------------------------------------------------------------------------------------


def test_interaction_of_a_factorial(view):
    """The contrast of two components is the difference of differences, with scipy's interval."""
    ends = {(): 80.0, ("Mixup",): 82.0, ("Erasing",): 81.0, ("Mixup", "Erasing"): 82.0}
    values = {(row, 0): [end + 3 * x for x in OFFSETS] for row, end in enumerate(ends.values())}
    values[3, 0] = [82.0 + 4 * x for x in OFFSETS]
    seen = view(f'[components]\nexpand = "factorial"\n{PARTS}', values, "interaction")
    (pair,) = interaction.pairs(seen)
    assert pair.names == ("mixup_alpha", "erase_prob")
    assert pair.levels == (("0.0", "0.8"), ("0.0", "0.25"))
    assert pair.mean == pytest.approx(np.array([[80.0, 81.0], [82.0, 82.0]]))
    assert pair.contrast == interval(np.array(OFFSETS) - 1.0)
    assert (pair.mean[0, 0], pair.low[0, 0], pair.high[0, 0]) == interval(80.0 + 3 * np.array(OFFSETS))
    assert "the answer paired by seed stands above each panel" in interaction.drawn(seen).notes[0]
    assert interaction.drawn(seen).numbers[1][1:6] == ("mixup_alpha", "erase_prob", "0.0", "0.25", pytest.approx(81.0))


def test_interaction_averages_over_other_factors(view):
    """Of three components each pair is averaged over the third; a seed that one cell lacks counts in none of these."""
    third = "[components.parts.Smoothing]\noff.loss.smoothing = 0.0\non.loss.smoothing = 0.1\n"
    values = {(row, 0): [float(row), row + 1.0] for row in range(8)}
    values[7, 0] = [7.0]
    seen = view(f'[components]\nexpand = "factorial"\n{PARTS}{third}', values, "interaction")
    found = list(interaction.pairs(seen))
    assert [pair.names for pair in found] == [
        ("mixup_alpha", "erase_prob"), ("smoothing", "erase_prob"), ("smoothing", "mixup_alpha"),
    ]  # fmt: skip
    assert found[0].mean.tolist() == [[2.0, 4.5], [3.5, 5.5]]  # rows 0 and 3, 2 and 6, 1 and 5, 4 and 7
    assert found[0].n.tolist() == [[2, 2], [2, 1]]


def test_interaction_of_a_grid(view):
    """Of two axes the columns go across; more than two levels have no single contrast."""
    values = {(row, column): [10.0 * row + column] * 6 for row in range(2) for column in range(3)}
    (pair,) = interaction.pairs(view(GRID, values, "interaction"))
    assert pair.names == ("optimizer.weight_decay", "optimizer.lr")
    assert pair.mean.tolist() == [[0.0, 10.0], [1.0, 11.0], [2.0, 12.0]]
    assert pair.contrast is None


def test_factors_have_the_tables_names(view):
    """Where the table shows components as columns, those are the factors' names and levels."""
    body = f'[components]\nexpand = "factorial"\n{PARTS}'
    seen = view("[layout]\ncomponents = true\n" + body, {}, "interaction")
    (design,) = designs(seen)
    assert (design.factors, design.levels) == (("Mixup", "Erasing"), (("without", "with"), ("without", "with")))


# ---- cost ------------------------------------------------------------------------------------------------------------


def test_cost(view):
    """Cells with both numbers; the front has what nothing beats in both, of equal ones either."""
    values = {(row, 0): [value] * 2 for row, value in enumerate([90.0, 89.0, 91.0, 91.0])}
    found = cost.spots(view(ROWS, values, "cost"))
    assert [(spot.label, spot.cost, spot.mean, spot.front) for spot in found] == [
        ("Default", 1.0, 90.0, True), ("Worse", 2.0, 89.0, False), ("Two seeds", 3.0, 91.0, True),
        ("Diverged", 4.0, 91.0, False),
    ]  # fmt: skip
    assert cost.spots(view(ROWS, VALUES, "cost"))[1].sd == pytest.approx(np.std(VALUES[1, 0], ddof=1))


def test_cost_labels_do_not_overlap():
    """Forty points in a cloud: no label covers another, nor a point."""
    random = np.random.default_rng(0)
    found = [
        cost.Spot(f"row {at}", x, None, y, 0.1, 3, at == 0) for at, (x, y) in enumerate(random.normal(0, 1, (40, 2)))
    ]
    picture = Picture(figsize=(7, 4.4), dpi=style.DPI, layout="constrained")
    axes = picture.add_subplot()
    axes.plot([spot.cost for spot in found], [spot.mean for spot in found], "o")
    axes.margins(0.14, 0.14)
    cost._label(picture, axes, found)
    boxes = [text.get_window_extent().extents for text in axes.texts if text.get_text()]
    assert len(boxes) == 40
    overlaps = sum(cost._overlap(one, two) > 0 for at, one in enumerate(boxes) for two in boxes[:at])
    assert overlaps == 0


def test_cost_of_a_wide_range_is_logarithmic(view):
    """From twentyfold costs on the axis is one of ratios, with plain numbers on it."""
    seen = view(ROWS, {(0, 0): [1.0] * 2, (1, 0): [2.0] * 2}, "cost", cost="parameters")
    for high, scale in ((19.0, "linear"), (21.0, "log")):
        found = (cost.Spot("a", 1.0, None, 1.0, None, 1, True), cost.Spot("b", high, None, 2.0, None, 1, True))
        picture = Picture(layout="constrained")
        cost._paint(picture, seen, seen.metric, found)
        assert picture.axes[0].get_xscale() == scale
    picture.draw_without_rendering()
    assert "10" in [label.get_text() for label in picture.axes[0].get_xticklabels()]


def test_cost_that_is_the_same_for_all(view):
    """It is written with its digits, small counts with two that count; one cell alone, or another cost, is fine."""
    from tinyablate.tables.figures.drawn import written

    values = {(0, 0): [90.0] * 2, (1, 0): [89.0] * 2}
    seen = view(ROWS, values, "cost", cost="parameters")
    assert cost.same(seen) == ""  # no cell has the cost
    assert cost.same(view(ROWS, values, "cost")) == ""
    assert (written(metrics.lookup("macs"), 0.0014), written(metrics.lookup("macs"), 1.8)) == ("0.0014 G", "1.80 G")


# ---- power -----------------------------------------------------------------------------------------------------------


def test_power(view):
    """The curve is that of `stats.detectable` on the pooled sd and the family's size; present pairs are marked."""
    seen = view(ROWS, VALUES, "power")
    (found,) = power.powers(seen)
    known = seen.table.statistics[0]
    assert (found.sd, found.comparisons, found.present) == (known.sd, known.comparisons, (2, 6))
    assert found.detectable[found.pairs.index(6)] == stats.detectable(known.sd * 2**0.5, 6, known.comparisons)
    assert sorted(found.detectable, reverse=True) == list(found.detectable)


def test_power_finds_the_margin(view):
    """Of the pairs that detect the margin one less does not."""
    seen = view(ROWS, VALUES, "power", head=HEAD.replace("margin = 0.5", "margin = 0.15"))
    (found,) = power.powers(seen)
    at = found.pairs.index(found.detect_pairs)
    assert found.detectable[at] <= 0.15 < found.detectable[at - 1]


def test_power_of_several_columns(view):
    """Each curve's noise and pairs stand in the legend; grey and dots are spoken of where they are drawn."""
    columns = "[[columns]]\nlabel = 'S'\nset.schedule.epochs = 1\n[[columns]]\nlabel = 'L'\nset.schedule.epochs = 2\n"
    values = {(row, column): [80.0 + row + (column + 1) * x * (-1) ** row for x in OFFSETS] for row in range(2)
              for column in range(2)}  # fmt: skip
    seen, picture = view('[[rows]]\nlabel = "A"\n[[rows]]\nlabel = "B"\nset.loss.smoothing = 0.1\n' + columns, values,
                         "power"), Picture()  # fmt: skip
    drawn = power.drawn(seen)
    drawn.paint(picture)
    one, two = (text.get_text() for text in picture.axes[0].get_legend().get_texts())
    assert one.startswith("S (sd 0.2")
    assert two.startswith("L (sd 0.4")
    assert "margin: " in two
    assert "the sd in the legend" in drawn.notes[0]
    grey = [note for note in drawn.notes if note.startswith("Grey")]
    assert len(grey) == len(picture.axes[0].patches)


def test_power_does_not_look_at_differences(view):
    """A row that lies elsewhere by a constant leaves the curve as it is."""
    moved = {**VALUES, (1, 0): [value + 5.0 for value in VALUES[1, 0]]}
    one, two = (power.powers(view(ROWS, values, "power"))[0] for values in (VALUES, moved))
    assert two.detectable == pytest.approx(one.detectable)


def test_power_needs_noise(view):
    """With one seed a row there is no noise to compute from, and the message says what to run."""
    with pytest.raises(NothingToDraw, match="two complete seeds each; next: tinyablate run drawn"):
        power.drawn(view(ROWS, {(0, 0): [1.0], (1, 0): [2.0]}, "power"))
