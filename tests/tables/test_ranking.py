"""The best cell of a column and those that noise cannot separate from it, in tables of rows."""

import numpy as np
import pytest

from tinyablate.tables import stats
from tinyablate.tables.layout import CellResult, build

FIRST, CLOSE, FAR = (91.0, 91.4, 91.1), (90.9, 91.4, 91.0), (80.1, 80.6, 80.2)


def standings(table, column=0):
    """The standing of each row's cell in a column."""
    return [row.cells[column].standing for row in table.rows]


def test_each_column_is_ranked_alone(row, sweep):
    """Metrics have their own best, at their own good end; the footnote has each column's pooled noise."""
    rows = [row(at, f"row {at}") for at in range(3)]
    results = {
        (at, 0): [
            CellResult(seed, "complete", {"val_top1": top1, "val_loss": 200 - top1 - 50 * (at == 1), "macs": 1e9})
            for seed, top1 in enumerate(values)
        ]
        for at, values in enumerate((CLOSE, FIRST, FAR))
    }
    table = build(sweep(rows, metrics=("val_top1", "val_loss", "macs")), results)
    assert standings(table) == ["close", "best", "separated"]
    assert standings(table, 1) == ["separated", "best", "separated"]
    assert standings(table, 2) == [None] * 3
    best = stats.best_of(np.array([CLOSE, FIRST, FAR]))
    (note,) = [note for note in table.footnotes if note.startswith("*: the best mean of its column")]
    assert f"top-1 sd {best.sd:.2g} on 4 degrees of freedom, validation loss sd" in note
    assert "verdicts compare with the baseline alone: the two can differ" in note


def test_rows_with_other_seeds_are_not_ranked(row, sweep, done):
    """A null row never is; rows that share no seed with the others are named, and those that a third joins are not."""
    rows = [row(0, "Default"), row(1, "Noise", seeds=(10, 11), null=True), row(2, "Apart", seeds=(20, 21)),
            row(3, "Joined", seeds=(2, 3)), row(4, "Far")]  # fmt: skip
    results = {(0, 0): done(*FIRST), (1, 0): done(99.0, 99.1, first=10), (2, 0): done(98.0, 98.1, first=20),
               (3, 0): done(91.0, 91.3, first=2), (4, 0): done(*FAR)}  # fmt: skip
    table = build(sweep(rows), results)
    assert standings(table) == ["best", None, None, "close", "separated"]
    assert [note for note in table.footnotes if note == "Not ranked, for want of seeds in common: Apart."]
    assert [note for note in table.footnotes if "means are adjusted for the seeds" in note]


@pytest.mark.parametrize("values", [[FIRST], [FIRST, ()]])
def test_one_row_with_values_is_no_ranking(row, sweep, done, values):
    """What stands alone is not called the best."""
    rows = [row(at, f"row {at}") for at in range(len(values))]
    table = build(sweep(rows), {(at, 0): done(*each) for at, each in enumerate(values)})
    assert set(standings(table)) == {None}
    assert not [note for note in table.footnotes if note.startswith("*")]


def test_ratios_are_not_ranked(row, sweep):
    """A ratio is a comparison, whose baseline is 1 without any noise; the times that it is made of are ranked."""
    rows = [row(0, "AdamW"), row(1, "SAM")]
    results = {
        (at, 0): [
            CellResult(seed, "complete", {"epoch_seconds": each}, trial="measure") for seed, each in enumerate(values)
        ]
        for at, values in enumerate(((10.0, 11.0, 10.5), (20.0, 21.0, 20.4)))
    }
    table = build(sweep(rows, metrics=("epoch_seconds", "relative_epoch_time")), results)
    assert (standings(table), standings(table, 1)) == (["best", "separated"], [None, None])


def test_one_seed_separates_nothing(row, sweep, done):
    """With one seed there is a best mean and no statement about the others; no footnote speaks of marks."""
    table = build(sweep([row(0, "a"), row(1, "b")]), {(0, 0): done(90.0), (1, 0): done(91.0)})
    assert standings(table) == [None, "best"]
    assert not [note for note in table.footnotes if note.startswith("*")]


def test_why_nothing_is_marked(row, sweep, done):
    """A column without marks is passed over in silence, unless a row diverged that might look worse than the best."""
    rows = [row(at, f"row {at}") for at in range(3)]
    close = {(0, 0): done(*FIRST), (1, 0): done(*CLOSE)}
    assert not [note for note in build(sweep(rows), close).footnotes if "*" in note]
    lost = [CellResult(seed, "diverged", {}, 1) for seed in range(3)]
    (note,) = [note for note in build(sweep(rows), close | {(2, 0): lost}).footnotes if "*" in note]
    assert note.startswith("No * in top-1: diverged seeds (row 2) are not ranked")
    parted = build(sweep(rows), {(0, 0): done(*FIRST), (1, 0): done(*FAR), (2, 0): lost})
    assert not [note for note in parted.footnotes if note.startswith("No *")]
