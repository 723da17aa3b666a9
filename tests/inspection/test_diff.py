"""What differs between two trials and between two rows, against numbers that follow from the stored bits by hand."""

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from inspection.conftest import BITS, OTHER, finish, new_trial, outcome
from scipy import stats as scipy_stats

from tinyablate.errors import UsageError
from tinyablate.inspection.diff import diff_rows, diff_trials
from tinyablate.inspection.records import Diff, OfTwoCheckpoints, OfTwoRows
from tinyablate.inspection.text import diff_text
from tinyablate.job import Outcome
from tinyablate.store.records import CellOf, NewTrial, SweepRecord
from tinyablate.store.store import Store

Rows = Mapping[tuple[str, int], NewTrial]


def _trials(store: Store, rows: Rows, seed: int = 0) -> Diff:
    return diff_trials(store, rows["Default", seed].key[:10], rows[OTHER, seed].key[:10])


def test_only_what_differs_between_two_trials(store: Store, rows: Rows) -> None:
    """Recipe fields, environment and outcome appear where the two differ, and nowhere else."""
    found = _trials(store, rows, 2)
    assert {(each.name, each.a, each.b) for each in found.recipe} == {
        ("optimizer.weight_decay", 0.05, 0.0), ("ema.decay", 0.0, 0.9),
    }  # fmt: skip
    assert [(each.name, each.a, each.b) for each in found.environment] == [("device", "cpu", "cpu (other)")]
    outcome_of = {each.name: each for each in found.outcome}
    assert outcome_of["parameters"].change == -10
    assert outcome_of["last_val_top1"].change == pytest.approx(100 * (8 - 10) / 12)
    assert "last_val_top5" not in outcome_of
    assert found.trial == ()
    assert found.a.where == ("small: Default",)
    assert _trials(store, rows, 0).environment == ()


def test_trials_of_other_seeds_say_so(store: Store, rows: Rows) -> None:
    """The seed, where it differs, stands under the trial's own facts; equal recipes have no line."""
    found = diff_trials(store, rows["Default", 0].key, rows["Default", 1].key)
    assert [(each.name, each.a, each.b) for each in found.trial] == [("seed", 0, 1)]
    assert found.recipe == ()


@pytest.mark.parametrize(("rule", "epoch"), [("last", 1), ("best", 1)])
def test_mcnemar_counts_the_images(store: Store, rows: Rows, rule: str, epoch: int) -> None:
    """The fourfold table is that of the stored bits, without those that fill the last byte; p is the binomial's."""
    found = diff_trials(store, rows["Default", 0].key, rows[OTHER, 0].key, rule)  # type: ignore[arg-type]
    a, b = (np.array(list(BITS[row, 0][epoch])) == "1" for row in ("Default", OTHER))
    images = found.images
    assert isinstance(images, OfTwoCheckpoints)
    assert (images.images, images.both, images.neither) == (12, (a & b).sum(), (~a & ~b).sum())
    assert (images.only_a, images.only_b) == (3, 3)
    assert images.p == 1.0
    other = diff_trials(store, rows["Default", 1].key, rows[OTHER, 1].key).images
    assert isinstance(other, OfTwoCheckpoints)
    assert (other.only_a, other.only_b) == (3, 0)
    assert other.p == pytest.approx(scipy_stats.binomtest(0, 3).pvalue)


def test_the_best_epoch_has_its_own_images(store: Store, rows: Rows) -> None:
    """Under --epoch best the images are those of each trial's own best epoch."""
    found = diff_trials(store, rows["Default", 2].key, rows[OTHER, 2].key, "best").images
    assert isinstance(found, OfTwoCheckpoints)
    assert (found.both, found.only_a) == (8, 4)  # Default's first epoch is right everywhere


def test_other_images_are_not_compared(store: Store, rows: Rows) -> None:
    """Trials that were evaluated on another part of the data, or have no result, have no table, and it says why."""
    held_out = new_trial(0, data__split="train[:90%]", evaluate__split="train[90%:]")
    store.register(SweepRecord("x", "x", "x", "", False, ""), [held_out], [CellOf(0, 0, "x", "", held_out.key)])
    waiting = diff_trials(store, rows["Default", 0].key, held_out.key)
    assert waiting.images is None
    assert "evaluated on other images: val and train[90%:]" in waiting.no_images
    assert waiting.environment == ()
    finish(store, held_out, outcome(("111100000000", "111111111000")))
    assert diff_trials(store, rows["Default", 0].key, held_out.key).images is None
    empty = new_trial(9)
    store.register(SweepRecord("y", "y", "y", "", False, ""), [empty], [])
    assert "no bits per image" in diff_trials(store, rows["Default", 0].key, empty.key).no_images


def test_rows_are_paired_by_seed(store: Store) -> None:
    """The difference is that of the paired seeds with Student's interval, as scipy has it."""
    found = diff_rows(store, "small", "Default", OTHER)
    (top1, *_) = found.metrics
    a, b = (np.array([100 * BITS[row, seed][1].count("1") / 12 for seed in range(3)]) for row in ("Default", OTHER))
    interval = scipy_stats.ttest_rel(b, a).confidence_interval()
    assert (top1.name, top1.paired, top1.pairs) == ("last_val_top1", True, 3)
    assert (top1.value, top1.low, top1.high) == pytest.approx(((b - a).mean(), interval.low, interval.high))
    assert top1.correlation == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert [(pair.seed, pair.a) for pair in found.pairs] == [(seed, pytest.approx(a[seed])) for seed in range(3)]
    assert [each.name for each in found.recipe] == ["optimizer.weight_decay", "ema.decay"]
    assert [(each.a, each.b) for each in found.environment] == [("cpu", "cpu, cpu (other)")]
    assert [(each.name, each.change) for each in found.outcome] == [("parameters", -10)]


def test_images_of_rows_count_seeds(store: Store) -> None:
    """Images are told apart by how many seeds of either row get them right; the components are of the difference."""
    found = diff_rows(store, "small", "Default", OTHER).images
    assert isinstance(found, OfTwoRows)
    a, b = (np.array([[int(bit) for bit in BITS[row, seed][1]] for seed in range(3)]) for row in ("Default", OTHER))
    change = (b - a).sum(axis=0)
    assert (found.more_a, found.more_b, found.same) == ((change < 0).sum(), (change > 0).sum(), (change == 0).sum())
    assert found.images == 12
    rest = (b - a) - (b - a).mean(axis=0) - (b - a).mean(axis=1, keepdims=True) + (b - a).mean()
    assert found.interaction_sd == pytest.approx(100 * np.sqrt((rest**2).sum() / (2 * 11)))


def test_rows_without_a_common_seed_are_independent(store: Store) -> None:
    """Rows that share no seed are compared by Welch's interval, and their images not at all."""
    null = {seed: new_trial(seed) for seed in (10, 11)}
    every = [new_trial(seed) for seed in (0, 1, 2)]
    cells = [CellOf(0, 0, "Default", "", trial.key) for trial in every]
    cells += [CellOf(1, 0, "Null", "", trial.key) for trial in null.values()]
    store.register(SweepRecord("n", "null", "n", "", False, ""), list(null.values()), cells)
    for trial, bits in zip(null.values(), ("111111000000", "111111100000"), strict=True):
        finish(store, trial, outcome((bits, bits)))
    found = diff_rows(store, "null", "Default", "Null")
    a, b = np.array([9, 8, 10]) * 100 / 12, np.array([6, 7]) * 100 / 12
    expected = scipy_stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    top1 = found.metrics[0]
    assert (top1.paired, top1.low, top1.high) == (False, pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.images is None
    assert found.no_images == "the rows have no seed in common"


def test_measured_speeds_are_compared_over_repetitions(store: Store) -> None:
    """Speeds of two rows come with an interval, not as a list of what each repetition took."""
    sweep, claims = SweepRecord("m", "speed", "m", "", False, ""), []
    for row, size in enumerate((50, 100)):
        trials = [replace(new_trial(seed, batch__size=size), kind="measure", measured_on="cpu") for seed in (0, 1, 2)]
        cells = [CellOf(row, 0, f"batch {size}", "", trial.key) for trial in trials]
        store.register(sweep, trials, cells)
        claims += [(trial, 10.0 * size + trial.seed) for trial in trials]
    for trial, speed in claims:
        finish(store, trial, Outcome("complete", (), (("train_images_per_second", speed), ("parameters", 7.0))))
    found = diff_rows(store, "speed", "batch 50", "batch 100")
    (speeds,) = found.metrics
    assert (speeds.name, speeds.value, speeds.low) == ("train_images_per_second", 500.0, pytest.approx(500.0))
    assert found.outcome == ()


def test_rows_that_have_not_run_have_no_numbers(store: Store) -> None:
    """A row without results differs in recipe and state, and the text says what is missing."""
    found = diff_rows(store, "wide", "Default / all", "Default / half")
    assert [each.name for each in found.recipe] == ["data.fraction"]
    assert (found.metrics, found.pairs, found.images) == ((), (), None)
    assert "images are not compared" in diff_text(found, "table")


WRONG = {
    "unknown row": ("small", "Defalt", OTHER, "did you mean 'Default'"),
    "unknown sweep": ("smal", "Default", OTHER, "did you mean 'small'"),
    "several columns": (
        "wide",
        "Default",
        "Failed",
        "stands in 2 columns; name one: 'Default / all', 'Default / half'",
    ),
    "the same row": ("small", "Default", "Default", "are the same"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rows_are_named(store: Store, case: str) -> None:
    """A sweep, row or column that is not there is refused with the nearest one."""
    sweep, a, b, part = WRONG[case]
    with pytest.raises(UsageError, match=part):
        diff_rows(store, sweep, a, b)


def test_wrong_trials_are_named(store: Store, rows: Rows) -> None:
    """An ambiguous prefix, an unknown one, a row's label and a trial against itself are each refused by name."""
    key = rows["Default", 0].key
    for a, part in (("", "keys begin so"), ("zz", "no trial's key begins so"), (key, "are the same"),
                    ("Defaul", "a row 'Default' stands in small: --sweep small")):  # fmt: skip
        with pytest.raises(UsageError, match=part):
            diff_trials(store, a, key)


def test_smoke_and_overrides_are_other_versions(store: Store) -> None:
    """Without --smoke it is the newest version without --set that is looked at."""
    assert diff_rows(store, "small", "Default", OTHER).a.seeds == (0, 1, 2)
    with pytest.raises(UsageError, match="small --smoke has none"):
        diff_rows(store, "small", "Default", OTHER, smoke=True)
    with pytest.raises(UsageError, match="only without --smoke"):
        diff_rows(store, "wide", "Default / all", "Failed / all", smoke=True)


def test_formats(store: Store, rows: Rows) -> None:
    """Each format has the difference; JSON is whole and strict; Markdown shows labels literally."""
    found = diff_rows(store, "small", "Default", OTHER)
    data = json.loads(diff_text(found, "json"), parse_constant=pytest.fail)
    assert data["recipe"][0] == {"name": "optimizer.weight_decay", "a": 0.05, "b": 0.0, "change": None}
    assert data["images"]["images"] == 12
    assert data["b"]["label"] == OTHER
    table, markdown = diff_text(found, "table"), diff_text(found, "markdown")
    assert "optimizer.weight_decay  0.05    0" in table
    assert "No \\<b>decay\\</b> \\| 无" in markdown
    assert OTHER not in markdown
    checkpoints = diff_text(_trials(store, rows), "table")
    assert "not about two methods" in checkpoints
    assert "only A" in checkpoints


def test_a_label_cannot_write_to_the_terminal(store: Store) -> None:
    """Control characters of a label, which could recolour or erase what stands before, are shown as spaces."""
    found = diff_rows(store, "small", "Default", OTHER)
    evil = replace(found, b=replace(found.b, label="a\x1b[2Jb\nc"))
    assert "\x1b" not in diff_text(evil, "table")
    assert "a [2Jb c" in diff_text(evil, "table")


def test_images_that_cannot_be_compared_are_told(store: Store) -> None:
    """A seed that diverged in one row stays out; where the rows saw other numbers of images nothing is compared."""
    default, other = ([new_trial(seed, optimizer__lr=lr) for seed in (0, 1)] for lr in (0.2, 0.3))
    cells = [
        CellOf(row, 0, f"row {row}", "", trial.key) for row, found in enumerate((default, other)) for trial in found
    ]
    store.register(SweepRecord("o", "odd", "o", "", False, ""), [*default, *other], cells)
    for trial in (*default, other[0]):
        finish(store, trial, outcome(("111111000000",)))
    finish(store, other[1], replace(outcome(("1111000000000000",)), state="diverged", diverged_epoch=2))
    found = diff_rows(store, "odd", "row 0", "row 1").images
    assert found is not None
    assert (found.seeds, found.same) == ((0,), 12)
    with store.engine().connect() as connection:
        connection.exec_driver_sql("UPDATE stored_trials SET state = 'complete' WHERE key = ?", (other[1].key,))
    assert diff_rows(store, "odd", "row 0", "row 1").no_images == "their numbers of images differ"
