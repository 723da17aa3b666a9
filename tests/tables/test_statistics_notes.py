"""What footnotes say of noise, failures, pooling, pairing and published numbers, each against a value of its own."""

import numpy as np
import pytest
import scipy.stats

from tinyablate.tables.layout import CellResult, build

BASE, ARM = (91.0, 91.4, 91.1), (91.2, 91.9, 91.2)


def note(table, start):
    """The one footnote that begins so."""
    (found,) = [each for each in table.footnotes if each.startswith(start)]
    return found


def test_noise_floor(row, sweep, done):
    """The null row that differs most, with Welch's interval, and how many other rows differ by no more."""
    rows = [row(0, "Default"), row(1, "Near"), row(2, "Far"), row(3, "Null", seeds=(10, 11, 12), null=True)]
    far = tuple(value + 2 for value in BASE)
    results = {(0, 0): done(*BASE), (1, 0): done(*(value + 0.01 for value in BASE)), (2, 0): done(*far),
               (3, 0): done(*ARM, first=10)}  # fmt: skip
    table = build(sweep(rows), results)
    ends = scipy.stats.ttest_ind(ARM, BASE, equal_var=False).confidence_interval()
    text = f"by {np.mean(ARM) - np.mean(BASE):+.2f} [{ends.low:+.2f}, {ends.high:+.2f}]"
    assert f"{text}, 1 of 2 rows by no more; 1 draw of noise is no threshold." in note(table, "Noise, top-1: ")


def test_null_rows_are_offered(row, sweep):
    """A table of comparisons without a null row says how to get one; one without comparisons does not."""
    made = build(sweep([row(0, "Default"), row(1, "Arm")]), {})
    assert "--null-rows 1" in note(made, "No row shows noise alone")
    assert [each.kind for each in made.notes if "--null-rows" in each.text] == ["author"]
    assert not [each for each in build(sweep([row(0, "Default")]), {}).footnotes if "null-rows" in each]
    assert not [
        each
        for each in build(sweep([row(0, "Default"), row(1, "Arm")], metrics=("macs",)), {}).footnotes
        if "null-rows" in each
    ]


def test_divergence_is_compared_apart(row, sweep):
    """Each row's rate against its reference's with Fisher's p and Newcombe's interval; not where neither diverged."""
    seeds = tuple(range(10))

    def ended(diverged):
        return [CellResult(seed, "diverged" if seed < diverged else "complete",
                           {} if seed < diverged else {"val_top1": 90.0 + seed}) for seed in seeds]  # fmt: skip

    rows = [row(at, label, seeds=seeds) for at, label in enumerate(("Default", "Hot", "Calm"))]
    table = build(sweep(rows), {(0, 0): ended(0), (1, 0): ended(6), (2, 0): ended(0)})
    p = scipy.stats.fisher_exact([[6, 4], [0, 10]]).pvalue
    found = note(table, "Divergence, compared apart from the values: ")
    assert f"Hot 6 of 10 against 0 of 10 [+20, +83], p = {p:.2g}" in found  # Newcombe (1998), method 10, by hand
    assert "Calm" not in found
    assert not [each for each in build(sweep(rows), {(0, 0): ended(0)}).footnotes if each.startswith("Divergence")]


def test_pooling_that_is_not_fair(row, sweep, done):
    """Rows of one variance are pooled in silence but for p; a row ten times as noisy is named."""
    draw, seeds = np.random.default_rng(0), tuple(range(12))
    values = draw.normal(90, 0.2, (5, 12))
    rows = [row(at, f"row {at}", seeds=seeds) for at in range(5)]
    fair = build(sweep(rows), {(at, 0): done(*each) for at, each in enumerate(values)})
    p = fair.statistics[0].p_fair
    assert p > 0.05
    assert note(fair, "Block interval: ").endswith(f"the column's rows (not contradicted: p = {p:.2g}).")
    values[4] = draw.normal(90, 2.0, 12)
    unfair = build(sweep(rows), {(at, 0): done(*each) for at, each in enumerate(values)})
    assert note(unfair, "NOT FAIR to pool").endswith(f"top-1 (p = {unfair.statistics[0].p_fair:.2g}).")


def test_what_pairing_saved(row, sweep, done):
    """Unpaired seeds that give the same variance of the difference: 1 / (1 - r) times as many."""
    table = build(sweep([row(0, "Default"), row(1, "Arm")]), {(0, 0): done(*BASE), (1, 0): done(*ARM)})
    r = scipy.stats.pearsonr(BASE, ARM).statistic
    text = f"Pairing by seed is worth {1 / (1 - r):.1f} times the seeds unpaired (correlation between compared rows "
    assert note(table, "Pairing") == f"{text}r = {r:.2f})."
    against = build(sweep([row(0, "Default"), row(1, "Arm")]), {(0, 0): done(*BASE), (1, 0): done(2.0, 1.0, 1.9)})
    assert note(against, "Pairing").startswith("Pairing by seed saves no seeds to speak of (correlation ")
    same = build(sweep([row(0, "Default"), row(1, "Arm")]), {(0, 0): done(*BASE), (1, 0): done(*BASE)})
    assert note(same, "Pairing").startswith("Pairing by seed is worth over 200 times the seeds unpaired (")


def test_published_numbers_and_one_more_run(row, sweep, done):
    """mean ± t sd sqrt(1 + 1/n); a published number outside is named, one without two seeds is not judged."""
    published = {(0, 0): {"val_top1": {"paper": 91.2}}, (1, 0): {"val_top1": {"paper": 95.0, "rerun": 91.5}},
                 (2, 0): {"val_top1": {"paper": 1.0}}}  # fmt: skip
    rows = [row(0, "Default"), row(1, "Arm"), row(2, "One")]
    table = build(sweep(rows, published=published), {(0, 0): done(*BASE), (1, 0): done(*ARM), (2, 0): done(91.0)})
    half = scipy.stats.t.ppf(0.975, 2) * np.std(ARM, ddof=1) * np.sqrt(1 + 1 / 3)
    low, high = table.rows[1].cells[0].predicted
    assert (low, high) == pytest.approx((np.mean(ARM) - half, np.mean(ARM) + half))
    assert table.rows[2].cells[0].predicted is None
    found = note(table, "Published numbers are held against")
    assert found.endswith(f"1 of 3 outside (†): Arm: paper 95.00, outside {low:.2f} to {high:.2f}.")


def test_counts_are_not_predicted(row, sweep):
    """A published number of parameters is right or wrong: no run of ours would move it."""
    results = [CellResult(seed, "complete", {"parameters": 1e6}) for seed in range(3)]
    made = sweep([row(0, "Default")], metrics=("parameters",), published={(0, 0): {"parameters": {"paper": 2e6}}})
    table = build(made, {(0, 0): results})
    assert table.rows[0].cells[0].predicted is None
    assert not [each for each in table.footnotes if each.startswith("Published")]


def test_digits_of_the_file(row, sweep, done):
    """A column's digits are the file's, in its heading and in what is said of it."""
    table = build(sweep([row(0, "Default"), row(1, "Arm")], digits={"val_top1": 1}, margin=0.5),
                  {(0, 0): done(*BASE), (1, 0): done(*ARM)})  # fmt: skip
    assert table.columns[0].digits == 1
    assert f"(sd {table.statistics[0].sd:.1f} on 2 " in note(table, "To detect a difference of 0.5 points")
