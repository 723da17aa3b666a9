"""What a table takes from the store beside its values: rules, costs, replicates, what changed, what comes next."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import analytic
import numpy as np
import pytest

from tinyablate.job import Outcome
from tinyablate.plan import ask, make_plan
from tinyablate.run import note_rules, register
from tinyablate.store import query, schema
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Sequential, Sweep
from tinyablate.tables.arrays import CODES
from tinyablate.tables.collect import collect
from tinyablate.tables.origins import unsettled
from tinyablate.tables.proof import proof
from tinyablate.tables.protocol import protocol_of

TEXT = """
title = "Mixing"
seeds = [0, 1, 2]
metric = "val_top1"
margin = 0.2
[baseline]
data.name = "shapes"
model.name = "test_vit"
model.pretrained = false
schedule.epochs = 3
mix.mixup_alpha = 0.8
mix.cutmix_alpha = 1.0
[[rows]]
label = "Default"
[[rows]]
label = "Remove Mixup"
set.mix.mixup_alpha = 0.0
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """Loads TEXT, changed as asked."""

    def make(*changes: tuple[str, str], **options: object) -> Sweep:
        text = TEXT
        for old, new in changes:
            text = text.replace(old, new)
        (tmp_path / "mixing.toml").write_text(text)
        return load(tmp_path / "mixing.toml", **options)

    return make


def outcome(
    sweep: Sweep, *top1: float, bits: tuple[bytes, ...] = (), more: tuple[tuple[str, float], ...] = ()
) -> Outcome:
    """A training with these scores, an epoch each, and which images were right as bits."""
    shown = bits or (b"",) * len(top1)
    epochs = tuple(
        replace(analytic.result(sweep.baseline, 0, at), val_top1=value, correct=right)
        for at, (value, right) in enumerate(zip(top1, shown, strict=True), 1)
    )
    return Outcome("complete", epochs, more)


def noted(table, start):
    """The footnotes that begin so."""
    return [note for note in table.footnotes if note.startswith(start)]


def test_last_epochs_stand_beside_the_best(sweep, store, fill):
    """The table shows best epochs where the file says so, and its comparisons are those of the last."""
    asked = sweep(('metric = "val_top1"', 'metric = "val_top1"\nselect = "best"'))
    fill(store, asked, [
        ((0, "train"), [outcome(asked, 70.0 + seed, 90.0 + seed, 80.0 + seed) for seed in range(3)]),
        ((1, "train"), [outcome(asked, 70.0 + seed, 91.0 + seed, 78.0 + 1.5 * seed) for seed in range(3)]),
    ])  # fmt: skip
    cell = collect(asked, store).rows[1].cells[0]
    assert (cell.mean, cell.delta) == (pytest.approx(92.0), pytest.approx(1.0))
    assert (cell.comparison.rule, cell.comparison.value) == ("last", pytest.approx(-1.5))


def test_cross_fitted_values(sweep, store, fill):
    """Each half of the images is scored at the epoch that is best on the other; a footnote says how."""
    asked = sweep(('metric = "val_top1"', 'metric = "val_top1"\nselect = "cross-fitted"'))
    bits = (bytes([0b11101010]), bytes([0b11110101]))  # even positions: 4 then 2 right, odd ones: 1 then 4
    fill(store, asked, [((0, "train"), [outcome(asked, 62.5, 75.0, bits=bits)] * 3)])
    table = collect(asked, store)
    assert table.rows[0].cells[0].mean == pytest.approx(100 * (1 + 2) / 8)
    assert noted(table, "Values: cross-fitted")


def test_device_hours(sweep, store, fill):
    """Wall time of all attempts at a trial in hours; no sign of a good end, no verdict, and what it counts below."""
    asked = sweep(('metric = "val_top1"', 'metrics = ["val_top1", "device_hours"]'))
    fill(store, asked, [((row, "train"), [outcome(asked, 70.0, 80.0, 90.0)] * 3) for row in range(2)])
    with store.engine().begin() as connection:
        connection.execute(schema.attempts.update().values(started_at=0.0, ended_at=5400.0))
    table = collect(asked, store)
    cell = table.rows[1].cells[1]
    assert (cell.mean, cell.delta, cell.standing, cell.comparison) == (pytest.approx(1.5), 0.0, None, None)
    assert table.columns[1].metric.unit == "h"
    assert noted(table, "Device-hours: wall time of every attempt")


def test_replicates(sweep, store, fill):
    """Every value with its seed, state and trial key, column by column, nan and 0 where nothing is planned."""
    asked = sweep(('metric = "val_top1"', 'metrics = ["val_top1", "macs"]'),
                  ('label = "Default"', 'label = "Default"\nseeds = [0, 1]'))  # fmt: skip
    fill(store, asked, [((0, "train"), [outcome(asked, 1.0 + seed, more=(("macs", 2e9),)) for seed in range(2)])])
    found = collect(asked, store).replicates
    assert found.seeds == (0, 1, 2)
    assert np.array_equal(found.values[:, 0], [[1.0, 2.0, np.nan], [2.0, 2.0, np.nan]], equal_nan=True)
    assert found.states[:, 0].tolist() == [[CODES["complete"]] * 2 + [0]] * 2
    assert found.states[0, 1].tolist() == [CODES["pending"]] * 3
    keys = ask(asked).keys[1, 0, "train"]
    assert found.keys[0, 1] == found.keys[1, 1] == dict(enumerate(keys))


def test_nothing_was_run_yet(sweep, store):
    """An empty database, or one that only knows the sweep's trials: a table of gaps, and the command that fills it."""
    asked = sweep(overrides=["optimizer.lr=0.1"])
    for _ in range(2):
        table = collect(asked, store)
        assert {cell.state for row in table.rows for cell in row.cells} == {"missing"}
        command = "tinyablate run mixing --set optimizer.lr=0.1"
        assert f"None of its trials was run yet; next: {command}" in table.footnotes
        register(store, make_plan([ask(asked)], {}), "")


def test_a_changed_protocol_is_shown(sweep, store):
    """What decides was noted with the first run: a later change of any of it stands in a footnote, with the day."""
    note_rules([sweep()], store)
    with store.engine().begin() as connection:
        connection.execute(schema.protocols.update().values(noted_at=86_400.0 * 365))
    assert not noted(collect(sweep(), store), "CHANGED")
    changed = sweep(("margin = 0.2", 'margin = 0.5\ntest = "holm"\nfamily = "column"\nselect = "best"'), seeds=range(5))
    (note,) = noted(collect(changed, store), "CHANGED")
    assert note == (
        "CHANGED since the first run on 1971-01-01: select last -> best; margin 0.2 -> 0.5; family table -> column; "
        "test max-t -> holm; seeds 0-2 -> 0-4."
    )


def test_what_is_no_change_of_protocol(sweep, store):
    """A cost beside the metric and a null row decide nothing; another metric does."""
    first = protocol_of(sweep())
    assert protocol_of(sweep(('metric = "val_top1"', 'metrics = ["val_top1", "macs"]'))) == first
    null = sweep(('[[rows]]\nlabel = "Remove', "[[rows]]\nlabel = 'Noise'\nseeds = [7]\n[[rows]]\nlabel = \"Remove"))
    assert protocol_of(null) == first
    other = protocol_of(sweep(("val_top1", "val_top5")))
    assert (other.metric, other.digest == first.digest) == ("val_top5", False)
    rule = protocol_of(replace(sweep(), sequential=Sequential(3, 12, 0.1)))
    assert rule.seeds_rule == "3 to 12 until half_width < 0.1"


def test_a_changed_file_is_shown(sweep, store):
    """A file that is not what any run had names the day of the last run and the command; other seeds do not matter."""
    register(store, make_plan([ask(sweep())], {}), "")
    for unchanged in (sweep(), sweep(seeds=[5])):
        assert not noted(collect(unchanged, store), "The sweep file changed")
    changed = sweep(("alpha = 1.0", "alpha = 0.9"))
    (note,) = noted(collect(changed, store), "The sweep file changed since its last run on ")
    assert note.endswith("; next: tinyablate run mixing")
    register(store, make_plan([ask(changed)], {}), "")
    assert not noted(collect(changed, store), "The sweep file changed")
    assert not noted(collect(sweep(), store), "The sweep file changed")  # it was run, too


def test_what_is_unsettled(sweep, store, fill):
    """A trial without a result, and a rule that is another than at the first run; a diverged trial is a result."""
    note_rules([sweep()], store)
    asked = sweep()
    lost = Outcome("diverged", outcome(asked, 90.0).epochs, (), 2)
    fill(store, asked, [((0, "train"), [outcome(asked, 90.0)] * 3), ((1, "train"), [lost] * 2)])
    about = collect(asked, store).about
    assert (about.planned, about.complete, about.diverged, about.changed) == (6, 3, 2, ())
    assert unsettled(about) == ("1 of 6 trials without a result",)
    assert unsettled(replace(about, diverged=3)) == ()
    changed = collect(sweep(("margin = 0.2", "margin = 0.5")), store).about
    assert changed.changed == ("margin 0.2 -> 0.5",)
    assert unsettled(changed)[1:] == ("changed since the first run: margin 0.2 -> 0.5",)


def rates(mixup: float, cutmix: float, parameters: float) -> tuple[tuple[str, float], ...]:
    """What a training records of its model and its first epoch."""
    return ("parameters", parameters), ("mixup_share", mixup), ("cutmix_share", cutmix), ("changed_share", 0.0)


def test_proof_of_one_factor(sweep, store, fill):
    """Fields, parameters, and what really happened: without Mixup every batch gets CutMix, which nobody declared."""
    asked = sweep()
    fill(store, asked, [
        ((0, "train"), [outcome(asked, 90.0, more=rates(0.5, 0.5, 100.0))] * 3),
        ((1, "train"), [outcome(asked, 90.0, more=rates(0.0, 1.0, 97.0))] * 2),
    ])  # fmt: skip
    (found,) = proof(asked, store)
    assert [(change.path, change.before, change.after) for change in found.changes] == [
        ("mix.mixup_alpha", "0.8", "0.0")
    ]
    assert (found.label, found.reference, found.parameters, found.macs) == ("Remove Mixup", "Default", -3.0, None)
    assert [(rate.before, rate.after, rate.notable) for rate in found.rates] == [
        (0.5, 0.0, False), (0.5, 1.0, True), (None, None, False), (0.0, 0.0, False)
    ]  # fmt: skip
    assert found.warnings == ("Remove Mixup: CutMix 50 % -> 100 %",)
    (note,) = noted(collect(asked, store), "MOVED beside what the row changes")
    assert "CutMix 50 % -> 100 %" in note


def test_proof_of_other_batches(sweep, store, fill):
    """Another batch size draws every batch anew, so that its rates move by chance and are no surprise."""
    asked = sweep(("set.mix.mixup_alpha = 0.0", "set.batch.size = 8"))
    for row, share in ((0, 0.5), (1, 0.75)):
        fill(store, asked, [((row, "train"), [outcome(asked, 90.0, more=rates(share, 1 - share, 100.0))])])
    (found,) = proof(asked, store)
    assert (found.rates[1].before, found.rates[1].after, found.warnings) == (0.5, 0.25, ())


def test_proof_over_common_seeds(sweep, store, fill):
    """Rates are compared over the seeds that both have, and what a row declares is no surprise."""
    asked = sweep(("set.mix", 'declares = ["mix"]\nset.mix'))
    shares = (0.2, 0.8, 0.5)
    fill(store, asked, [
        ((0, "train"), [outcome(asked, 90.0, more=rates(0.5, share, 100.0)) for share in shares]),
        ((1, "train"), [outcome(asked, 90.0, more=rates(0.0, 1.0, 100.0))] * 2),
    ])  # fmt: skip
    (found,) = proof(asked, store)
    assert found.rates[1].before == pytest.approx((0.2 + 0.8) / 2)
    assert found.warnings == ()


def test_reading_most_of_a_large_store(sweep, store, fill, monkeypatch):
    """Where most trials are asked for all are read in order, and the table is the same; others' trials stay out."""
    asked, other = sweep(), sweep(("alpha = 1.0", "alpha = 0.5"))
    for each in (asked, other):
        fill(
            store, each, [((row, "train"), [outcome(each, 70.0 + row + seed) for seed in range(3)]) for row in range(2)]
        )
    looked_up = collect(asked, store)
    monkeypatch.setattr(query, "CHUNK", 5)
    assert query.LOOK_UP * 6 > 12 > query.CHUNK
    assert collect(asked, store) == looked_up
    assert len(query.outcomes_of(store, ask(asked).keys[0, 0, "train"] * 2, [])) == 3


def test_a_second_chance_is_told(sweep, store, fill):
    """A diverged trial that was put back is named under the table, whatever becomes of it; one that was not is not."""
    asked = sweep()
    lost = replace(outcome(asked, 70.0), state="diverged", diverged_epoch=2)
    fill(store, asked, [((0, "train"), [outcome(asked, 1.0, 2.0, 3.0)] * 3), ((1, "train"), [lost] * 2)])
    assert not noted(collect(asked, store), "TRIED AGAIN")
    assert store.put_back(ask(asked).keys[1, 0, "train"], ["diverged"]) == {"diverged": 2}
    (note,) = noted(collect(asked, store), "TRIED AGAIN")
    assert "2 trials diverged before" in note
