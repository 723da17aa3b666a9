"""Seeds by a rule: how many rows get, from what, and that later seeds change nothing."""

import itertools
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import analytic
import pytest

from tinyablate.job import EpochResult, Outcome
from tinyablate.recipe import build
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Figure, Sweep
from tinyablate.tables.collect import collect
from tinyablate.tables.figures import figure
from tinyablate.tables.sequential import extended, extension_text, extensions, records, unreached

FILE = """
select = "%s"
seeds = { min = 3, max = 12, until = "half_width < %s" }
[baseline]
data.name = "shapes"
model.name = "test_resnet"
schedule.epochs = 2
[[rows]]
label = "Default"
[[rows]]
label = "Near"
set.ema.decay = 0.5
[[rows]]
label = "Far"
set.mix.mixup_alpha = 0.8
[[rows]]
label = "Default, other seeds"
seeds = [100, 101, 102]
"""
T_2 = 4.302652729749464
"""Student's t at 0.975 on two degrees of freedom, from a printed table (Fisher and Yates)."""


@pytest.fixture
def swept(tmp_path: Path) -> Callable[..., Sweep]:
    """Loads FILE with this half width."""

    def make(half_width: float, select: str = "last", more: str = "") -> Sweep:
        path = tmp_path / "sweep.toml"
        path.write_text(FILE % (select, half_width) + more)
        return load(path)

    return make


def outcome(top1: float, best: float | None = None) -> Outcome:
    """Two epochs, the last with this value, the first with the best one."""
    first, last = (analytic.result(build({"model.name": "m"}), 0, epoch) for epoch in (1, 2))

    def at(result: EpochResult, value: float) -> EpochResult:
        return EpochResult("raw", result.epoch, 1e-3, 1.0, 1.0, value, value, b"", None, None)

    return Outcome("complete", (at(first, top1 if best is None else best), at(last, top1)), ())


def outcomes(*values: float) -> list[Outcome]:
    return [outcome(value) for value in values]


def counts(sweep: Sweep, store: Store) -> list[int]:
    """How many seeds each row has now; they are the first ones, but for the null row's."""
    rows = extended(sweep, store).rows
    assert all(row.seeds == tuple(range(len(row.seeds))) for row in rows[:3])
    assert rows[3].seeds == (100, 101, 102)
    return [len(row.seeds) for row in rows[:3]]


BASE, NEAR, FAR = (70.0, 71.0, 72.0), (70.1, 71.2, 72.0), (70.5, 72.5, 71.0)
"""Differences of 0.1, 0.2, 0 (sd 0.1) and of 0.5, 1.5, -1 (sd 1.2583)."""


def test_rows_get_the_seeds_that_their_differences_ask_for(swept, store, fill) -> None:
    """n = ceil(t² sd² / w²) on the first stage's sd; the reference as many as the row that needs the most."""
    sweep = swept(2.0)
    assert extended(sweep, store) is sweep  # nothing ran yet
    fill(store, sweep, [((0, "train"), outcomes(*BASE)), ((1, "train"), outcomes(*NEAR)),
                        ((2, "train"), outcomes(*FAR))])  # fmt: skip
    needed = math.ceil((T_2 * math.sqrt(19 / 12) / 2.0) ** 2)
    assert needed == 8
    assert counts(sweep, store) == [8, 3, 8]
    found = extensions(sweep, store)
    assert [(each.row, each.seeds, each.pairs) for each in found] == [(0, 8, 3), (2, 8, 3)]
    assert found[0].sd is None
    assert found[1].sd == pytest.approx(math.sqrt(19 / 12), rel=1e-12)  # rounding of a sum of three
    assert [extension_text(record) for record in records(sweep, found)] == [
        "row 'Default' goes on from 3 to 8 seeds: as many as the neediest row that is compared with it",
        "row 'Far' goes on from 3 to 8 seeds: its first 3 differences have sd 1.26, "
        "and an interval of half width 2 is wanted",
    ]


def test_the_number_of_seeds_stands_still_when_more_come(swept, store, fill) -> None:
    """Later seeds, however they turn out, change no row's number: extending twice is extending once."""
    sweep = swept(2.0)
    fill(store, sweep, [((0, "train"), outcomes(*BASE)), ((1, "train"), outcomes(*NEAR)),
                        ((2, "train"), outcomes(*FAR))])  # fmt: skip
    more = extended(sweep, store)
    later = replace(more, rows=tuple(replace(row, seeds=row.seeds[3:]) for row in more.rows))
    fill(store, later, [((0, "train"), outcomes(*[70.0] * 5)), ((2, "train"), outcomes(0, 99, 0, 99, 0))])
    assert counts(sweep, store) == [8, 3, 8]
    assert extended(more, store) == more


def test_a_figure_of_another_metric_has_the_same_seeds(swept, store, fill, tmp_path) -> None:
    """The rule looks at the sweep's first metric, whatever is drawn: val_top5, which would ask for 12 seeds, does not
    count."""
    sweep = swept(2.0)
    top5 = itertools.cycle((0.0, 99.0, 30.0, 70.0))
    both = [[replace(one, epochs=tuple(replace(each, val_top5=next(top5)) for each in one.epochs)) for one in row]
            for row in (outcomes(*BASE, *[70.0] * 5), outcomes(*NEAR), outcomes(*FAR, *[71.0] * 5))]  # fmt: skip
    fill(store, sweep, [((row, "train"), each[:3]) for row, each in enumerate(both)])
    more = extended(sweep, store)
    later = replace(more, rows=tuple(replace(row, seeds=row.seeds[3:]) for row in more.rows))
    fill(store, later, [((row, "train"), both[row][3:]) for row in (0, 2)])
    assert counts(replace(sweep, metrics=("val_top5",)), store) == [12, 3, 12]
    picture, _ = figure(sweep, store, tmp_path / "f.svg", Figure("slopes", "val_top5", {}, rows=("Far",)))
    assert "Of fewer seeds than planned" not in picture.read_text()


def test_no_row_gets_more_than_the_most(swept, store, fill) -> None:
    """A half width that is out of reach asks for `max`, and it is told how far that goes; not where `max` suffices."""
    sweep = swept(1.0)
    fill(store, sweep, [((0, "train"), outcomes(*BASE)), ((2, "train"), outcomes(*FAR))])
    assert counts(sweep, store) == [12, 3, 12]
    wide = T_2 * math.sqrt(19 / 12)
    text = f"half width {wide / math.sqrt(12):.3g} of 1 wanted with max = 12; about {math.ceil(wide**2)} seeds"
    assert unreached(sweep, extensions(sweep, store)) == [f"Far: {text} would be needed"]
    assert [note.kind for note in collect(sweep, store).notes if note.text.startswith("NOT REACHED: Far: ")] == [
        "warning"
    ]
    assert unreached(swept(2.0), extensions(swept(2.0), store)) == []


def test_a_stage_that_is_not_through_asks_for_nothing(swept, store, fill) -> None:
    """A row whose first seeds, or whose reference's, have not all ended keeps them."""
    sweep = swept(2.0)
    fill(store, sweep, [((0, "train"), outcomes(*BASE)), ((2, "train"), outcomes(*FAR[:2]))])
    assert counts(sweep, store) == [3, 3, 3]


def test_a_diverged_seed_counts_as_ended(swept, store, fill) -> None:
    """The pairs that are left are reckoned with, and the seed that gave none is added; one pair asks for nothing."""
    sweep = swept(7.0)
    lost = Outcome("diverged", outcome(70.0).epochs[:1], (), 2)
    fill(store, sweep, [((0, "train"), outcomes(*BASE)), ((1, "train"), [lost, lost, outcome(72.0)]),
                        ((2, "train"), [*outcomes(*FAR[:2]), lost])])  # fmt: skip
    needed = math.ceil((12.706204736432095 * math.sqrt(0.5) / 7.0) ** 2)  # t on one degree of freedom, two pairs
    assert needed == 2
    assert counts(sweep, store) == [3, 3, 3]
    assert counts(swept(5.0), store) == [5, 3, 5]  # ceil(3.23) = 4 pairs, and one seed that gave none


@pytest.mark.parametrize("select", ["best", "last"])
def test_the_rule_looks_where_verdicts_look(select: str, swept, store, fill) -> None:
    """At the last epoch, also where the table shows the best one: here the bests are all alike."""
    sweep = swept(2.0, select)
    fill(store, sweep, [((0, "train"), [outcome(value, 90.0) for value in BASE]),
                        ((2, "train"), [outcome(value, 90.0) for value in FAR])])  # fmt: skip
    assert counts(sweep, store) == [8, 3, 8]


def test_a_row_gets_what_its_neediest_column_asks_for(swept, store, fill) -> None:
    """All columns of a row have the same seeds."""
    columns = "".join(f"[[columns]]\nlabel = 'c{n}'\nset.optimizer.lr = 1e-{n}\n" for n in (1, 2))
    sweep = swept(2.0, more=columns)
    other = tuple(replace(cell, column=0) for cell in sweep.cells if cell.column == 1)
    rows = ((0, "train"), outcomes(*BASE))
    fill(store, sweep, [rows, ((1, "train"), outcomes(70.5, 72.3, 71.3))])
    fill(store, replace(sweep, cells=other), [rows, ((1, "train"), outcomes(*FAR))])
    assert counts(sweep, store) == [8, 8, 3]
    found = records(sweep, extensions(sweep, store))
    assert [(each.row_label, each.column_label, each.to_n) for each in found[1:]] == [
        ("Near", "c1", 8), ("Near", "c2", 8)
    ]  # fmt: skip
    sd = statistics.stdev((0.5, 1.3, -0.7))
    assert extension_text(found[1]) == (
        f"row 'Near' in 'c1' goes on from 3 to 8 seeds: its first 3 differences have sd {sd:.3g}, and an interval of "
        f"half width 2 is wanted, which asks for {math.ceil((T_2 * sd / 2) ** 2)}"
    )
    assert extension_text(found[2]).endswith("half width 2 is wanted")
    (note,) = [note for note in collect(sweep, store).notes if note.text.startswith("Seeds by Stein's")]
    assert note.text.count("'Near' in ") == 2


def test_without_a_rule_nothing_is_added(swept, store) -> None:
    """The sweep is given back as it is."""
    fixed = load(swept(2.0).path, seeds=(0, 1))
    assert extended(fixed, store) is fixed
