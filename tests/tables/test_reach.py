"""What plan says of a sweep's statistics before anything is run."""

import pytest

from tinyablate.identity import CORE_VERSION
from tinyablate.plan import ask, make_plan, unique
from tinyablate.store.records import StoredState
from tinyablate.sweep.schema import Sequential
from tinyablate.tables.reach import reach_lines


def _lines(sweep, done=False):
    """What is said of the sweep's plan, nothing or everything being done."""
    asked = ask(sweep)
    stored = dict.fromkeys(unique([asked]), StoredState("complete", CORE_VERSION, False)) if done else {}
    return reach_lines(make_plan([asked], stored).parts[0])


@pytest.mark.parametrize(
    ("seeds", "given", "line"),
    [
        (6, {}, "4 comparisons over 6 seeds: p can reach 0.031 (max-T)"),
        (3, {}, "4 comparisons over 3 seeds: none can reach 5 % below 6 seeds (max-T); intervals do not need them"),
        (6, {"test": "holm"}, "4 comparisons over 6 seeds: none can reach 5 % below 8 seeds (Holm); "),
        (8, {"test": "holm"}, "4 comparisons over 8 seeds: p can reach 0.031 (Holm)"),
        (8, {"family": "column"}, "2 comparisons over 8 seeds: p can reach 0.0078 (max-T)"),
    ],
)
def test_the_least_p_follows_from_seeds_and_family(seeds, given, line, sweep, row):
    """2 / 2^n whatever the number of comparisons; with Holm that many times as much. A null row shares no seed."""
    rows = [row(at, f"row {at}", seeds=tuple(range(seeds))) for at in range(3)]
    null = row(3, "again", seeds=(100, 101), null=True)
    (found,) = _lines(sweep([*rows, null], columns=("a", "b"), **given))
    assert found.startswith(line)


def test_nothing_is_said_where_nothing_is_compared(sweep, row):
    """A sweep without a reference, and one of facts alone."""
    assert _lines(sweep([row(0, "a"), row(1, "b", reference=None)])) == []
    assert _lines(sweep([row(0, "a"), row(1, "b")], metrics=("parameters",))) == []


def test_the_stage_of_a_sequential_sweep(sweep, row):
    """First seeds, those that were enough, and more."""
    rule = {"sequential": Sequential(3, 12, 0.1)}
    first = sweep([row(0, "a"), row(1, "b")], **rule)
    assert _lines(first) == ["stage 1 of 2: 3 seeds a row; up to 12, until half_width < 0.1"]
    assert _lines(first, done=True) == ["stage 1 of 2 was enough: 3 seeds a row"]
    more = sweep([row(0, "a", seeds=tuple(range(7))), row(1, "b")], **rule)
    assert _lines(more) == ["stage 2 of 2: 3 to 7 seeds a row, as the differences of stage 1 asked for"]
