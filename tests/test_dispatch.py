"""What a run hands out and takes in, without workers: memory, retries by cause, stops, a database that is away."""

import dataclasses
import math
import re
import sqlite3
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import analytic
import pytest
from servers import PostgresServer

from tinyablate.datasets import lookup
from tinyablate.dispatch.dispatch import Dispatch
from tinyablate.dispatch.inline import run_inline
from tinyablate.dispatch.memory import Memory
from tinyablate.errors import DiskFullError
from tinyablate.finish import finish
from tinyablate.job import Failed, Finished
from tinyablate.model_facts import ModelFacts, Request
from tinyablate.plan import PlannedJob
from tinyablate.run import RunRequest
from tinyablate.store.records import MemoryKey
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.collect import collect
from tinyablate.worker import JobRunner

HEADS = """
title = "Heads on one trunk"
metric = "val_top1"
select = "last"
seeds = [0]
[baseline]
data.name = "shapes"
data.image_size = 32
model.name = "test_vit"
model.pretrained = false
model.trainable = "head"
schedule.epochs = 2
batch.size = 50
[grid]
"optimizer.lr" = [1e-2, 3e-3, 1e-3, 3e-4]
"optimizer.weight_decay" = [0.1, 0.0]
"""

SPEEDS = """
title = "Speeds"
metrics = ["val_top1", "train_images_per_second"]
select = "last"
seeds = [0, 1]
[baseline]
data.name = "shapes"
data.image_size = 32
model.pretrained = false
schedule.epochs = 2
batch.size = 50
[[rows]]
label = "ViT"
set.model.name = "test_vit"
[[rows]]
label = "ResNet"
set.model.name = "test_resnet"
"""

FACTS = ModelFacts(32, False, False, 100, 100, "test_vit", None, None, splits=True)


def sweep(folder: Path, text: str) -> Sweep:
    """The sweep in a file with this text."""
    path = folder / "sweep.toml"
    path.write_text(text)
    return load(path)


def request(folder: Path, asked: Sweep, learner: str, facts: ModelFacts = FACTS, **more: Any) -> RunRequest:
    """A request to run it with a learner of `learners/analytic.py`."""
    known: Mapping[Request, ModelFacts] = {
        Request.of(cell.recipe, lookup(cell.recipe.data.name).classes): facts for cell in asked.cells
    }
    return RunRequest(
        name="sweep", sweeps=(asked,), database=str(folder / "a.db"), data_home=folder, machine="a device", facts=known,
        device="cpu", learner=f"analytic:{learner}", **more,
    )  # fmt: skip


def run(wanted: RunRequest) -> Dispatch:
    """All of it, one job after another in this process."""
    with Store(wanted.database) as store:
        dispatch = Dispatch(wanted, store, "cpu")
        run_inline(dispatch, lambda: None)
        dispatch.plan = dispatch.look()
    return dispatch


def attempts(folder: Path) -> list[tuple[str, str | None, int | None, str]]:
    """State, cause, micro-batch and job of every attempt, in the order in which they were made."""
    with sqlite3.connect(folder / "a.db") as database:
        return database.execute("SELECT state, cause, micro_batch, job FROM attempts ORDER BY id").fetchall()


def jobs(rows: list[tuple[str, str | None, int | None, str]]) -> list[tuple[str, int | None, int]]:
    """(state, micro-batch, trials) of each job."""
    counted: dict[str, tuple[str, int | None, int]] = {}
    for state, _, micro_batch, job in rows:
        counted[job] = (state, micro_batch, counted.get(job, ("", None, 0))[2] + 1)
    return list(counted.values())


def test_heads_of_one_trunk_are_one_job(tmp_path: Path) -> None:
    """Eight cells, one job; told not to share, eight jobs."""
    asked = sweep(tmp_path, HEADS)
    assert len(run(request(tmp_path, asked, "noop")).plan.jobs) == 0
    assert jobs(attempts(tmp_path)) == [("complete", None, 8)]
    (tmp_path / "apart").mkdir()
    run(request(tmp_path / "apart", asked, "noop", share=False))
    assert jobs(attempts(tmp_path / "apart")) == [("complete", None, 1)] * 8


def test_memory_that_runs_out_halves_the_micro_batch_and_is_remembered(tmp_path: Path) -> None:
    """Batches of 50 are tried as 25, then 13; a later run of other trials of the model begins there, and it is said."""
    asked = sweep(tmp_path, HEADS.replace('weight_decay" = [0.1, 0.0]', 'weight_decay" = [0.1]').replace(", 3e-4", ""))
    done = run(request(tmp_path, asked, "cramped"))
    assert done.tally.failed == {}
    assert done.tally.notes == [
        "test_vit: memory of a device held micro-batches of 13; later runs begin there (--micro-batch N for another)"
    ]
    assert jobs(attempts(tmp_path)) == [("failed", None, 3), ("failed", 25, 3), ("complete", 13, 3)]
    assert {cause for state, cause, *_ in attempts(tmp_path) if state == "failed"} == {"out-of-memory"}
    again = dataclasses.replace(
        request(tmp_path, sweep(tmp_path, asked.text.replace("seeds = [0]", "seeds = [1]")), "cramped")
    )
    assert run(again).tally.failed == {}
    assert jobs(attempts(tmp_path))[3:] == [("complete", 13, 3)]


def test_a_job_too_large_for_memory_is_split(tmp_path: Path) -> None:
    """Where no micro-batch is allowed (dropout), half of the learners go at a time; then a quarter."""
    asked = sweep(tmp_path, HEADS.replace("batch.size = 50", "batch.size = 10"))
    run(request(tmp_path, asked, "cramped", dataclasses.replace(FACTS, dropout=True)))
    assert jobs(attempts(tmp_path)) == [("failed", None, 8), ("failed", None, 4), *[("complete", None, 2)] * 2,
                                        ("failed", None, 4), *[("complete", None, 2)] * 2]  # fmt: skip


def test_what_cannot_be_made_smaller_fails(tmp_path: Path) -> None:
    """A lone trial of a model whose batch must stay whole fails once, with its cause."""
    asked = sweep(tmp_path, HEADS.replace(", 3e-3, 1e-3, 3e-4", "").replace("[0.1, 0.0]", "[0.1]"))
    done = run(request(tmp_path, asked, "cramped", dataclasses.replace(FACTS, batch_statistics=True)))
    (message,) = done.tally.failed.values()
    assert message.startswith("OutOfMemoryError: 1 trials of 50 images; the batch of 50 cannot be computed in parts, ")
    assert "(--trials-per-gpu, --slots)" in message
    assert [(state, cause) for state, cause, *_ in attempts(tmp_path)] == [("failed", "out-of-memory")]


def test_a_job_is_split_before_its_micro_batch_is_tiny(tmp_path: Path) -> None:
    """Heads that do not fit go with half the batch, to an eighth of it, then half of them with all of it."""
    run(request(tmp_path, sweep(tmp_path, HEADS.replace("batch.size = 50", "batch.size = 16")), "cramped"))
    found = jobs(attempts(tmp_path))
    assert found[:6] == [("failed", micro, 8) for micro in (None, 8, 4, 2)] + [("failed", None, 4), ("failed", 8, 4)]
    assert {(state, trials) for state, _, trials in found if state == "complete"} == {("complete", 2)}
    with Store(tmp_path / "a.db") as store:
        assert store.limits() == {}  # the batch was never too large


def test_a_limit_counts_as_stored_when_it_is(tmp_path: Path) -> None:
    """Where the database is away as a limit is written, the write is repeated, and has it again."""
    asked = sweep(tmp_path, HEADS)
    wanted = request(tmp_path, asked, "cramped")
    memory, recipe = Memory(wanted, {}), asked.cells[0].recipe
    what = MemoryKey.of(recipe, wanted.machine)
    assert memory.smaller(_planned(wanted)[0], None)
    assert [memory.proved(recipe), memory.proved(recipe)] == [(what, 25)] * 2
    memory.noted(what, 25)
    assert memory.proved(recipe) is None


def _planned(wanted: RunRequest) -> list[PlannedJob]:
    with Store(wanted.database) as store:
        return Dispatch(wanted, store, "cpu").plan.jobs


def test_a_users_micro_batch_is_where_halving_begins(tmp_path: Path) -> None:
    """From 20 asked for to 10 tried."""
    asked = sweep(tmp_path, HEADS.replace(", 3e-3, 1e-3, 3e-4", "").replace("[0.1, 0.0]", "[0.1]"))
    run(request(tmp_path, asked, "cramped", micro_batch=20))
    assert jobs(attempts(tmp_path)) == [("failed", 20, 1), ("complete", 10, 1)]


def test_a_trial_that_breaks_leaves_its_jobs_others(tmp_path: Path) -> None:
    """Its own failure is recorded, the other seven are complete; it is tried once more, alone."""
    done = run(request(tmp_path, sweep(tmp_path, HEADS), "one_breaks"))
    assert done.tally.failed == {}
    assert done.tally.again == {"exception": 1}
    assert sorted(state for state, *_ in attempts(tmp_path)) == ["complete"] * 8 + ["failed"]
    assert jobs(attempts(tmp_path))[1:] == [("complete", None, 1)]


# ---- retries by cause ------------------------------------------------------------------------------------------------

SEEDS = """
title = "Three seeds"
metric = "val_top1"
select = "last"
seeds = [0, 1, 2]
[baseline]
data.name = "shapes"
data.image_size = 32
model.name = "test_resnet"
model.pretrained = false
schedule.epochs = 6
batch.size = 50
[[rows]]
label = "Default"
"""
"""Of learners that break: seed 1 once, seed 2 always."""


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The learners of these tests wait for nothing."""
    monkeypatch.setattr(analytic, "STEP_SECONDS", 0.0)


def paths(folder: Path) -> dict[int, list[tuple[str, str | None]]]:
    """Seed -> (state, cause) of its attempts, in order."""
    found: dict[int, list[tuple[str, str | None]]] = {}
    with sqlite3.connect(folder / "a.db") as database:
        for seed, state, cause in database.execute(
            "SELECT t.seed, a.state, a.cause FROM attempts a JOIN stored_trials t ON t.id = a.trial_id ORDER BY a.id"
        ):
            found.setdefault(seed, []).append((state, cause))
    return found


def test_an_exception_is_tried_again_once(tmp_path: Path) -> None:
    """Seed 1 completes at its second attempt, from its checkpoint; seed 2 has failed after two, and is left alone."""
    wanted = request(tmp_path, sweep(tmp_path, SEEDS), "raises")
    done = run(wanted)
    assert (done.tally.finished, done.tally.again) == (2, {"exception": 2})
    assert list(done.tally.failed.values()) == ["ValueError: this seed is unlucky"]
    broken = ("failed", "exception")
    assert paths(tmp_path) == {0: [("complete", None)], 1: [broken, ("complete", None)], 2: [broken, broken]}
    assert done.plan.counts()["failed"] == 1
    again = run(wanted)
    assert (again.tally.finished, again.tally.failed, len(attempts(tmp_path))) == (0, {}, 5)
    with Store(wanted.database) as store:
        assert finish(again, store) == 1
        assert store.put_back(list(again.plan.trials), {"failed"}) == {"failed": 1}
    assert len(run(wanted).tally.failed) == 1  # it is counted from anew
    assert paths(tmp_path)[2] == [broken] * 4


@pytest.mark.parametrize(("retries", "attempts_of_seed_2"), [(0, 1), (1, 2), (3, 4)])
def test_a_divergence_is_a_result_unless_the_sweep_says_so(
    tmp_path: Path, retries: int, attempts_of_seed_2: int
) -> None:
    """With `retry_diverged` a trial whose loss is not finite is tried so often again, then it has diverged."""
    asked = dataclasses.replace(sweep(tmp_path, SEEDS), retry_diverged=retries)
    done = run(request(tmp_path, asked, "not_finite"))
    found = paths(tmp_path)
    assert found[2] == [("failed", "not finite")] * (attempts_of_seed_2 - 1) + [("diverged", None)]
    assert found[1] == ([("failed", "not finite"), ("complete", None)] if retries else [("diverged", None)])
    assert done.tally.diverged == (1 if retries else 2)
    assert done.tally.failed == {}


def test_what_is_lost_too_often_has_failed(tmp_path: Path) -> None:
    """With --max-lost a trial has failed after so many attempts whose place went away, else it goes on and on."""
    wanted = request(tmp_path, sweep(tmp_path, SEEDS), "noop", max_lost=2)
    with Store(wanted.database) as store:
        dispatch = Dispatch(wanted, store, "cpu")
        for _ in range(2):
            job = dispatch.next_job()
            assert job is not None
            assert job.tasks[0].seed == 0
            dispatch.receive(job.id, Failed("worker lost", "the worker process died", "its last words"))
            dispatch.ended(job.id)
        assert list(dispatch.tally.failed.values()) == ["the worker process died"]
        assert [task.seed for task in dispatch.next_job().tasks] == [1]  # type: ignore[union-attr]
        dispatch.release("stopped")
    assert paths(tmp_path)[0] == [("failed", "worker lost")] * 2


def test_a_trial_that_is_lost_again_and_again_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the third loss on its next attempt is not handed out at once, and until then the run is not over."""
    wanted = request(tmp_path, sweep(tmp_path, SEEDS.replace("[0, 1, 2]", "[0]")), "noop")
    with Store(wanted.database) as store:
        dispatch = Dispatch(wanted, store, "cpu")
        for _ in range(3):
            job = dispatch.next_job()
            assert job is not None
            dispatch.receive(job.id, Failed("hung", "silent", ""))
            dispatch.ended(job.id)
        assert dispatch.next_job() is None
        assert not dispatch.over
        assert dispatch.left == 1
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 1.1)  # a second, see `retries.wait`
        assert dispatch.next_job() is not None
        dispatch.release("stopped")


def test_a_full_disk_stops_the_run_and_says_what_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No room for a checkpoint: nothing fails, what is under way is given back, exit code 1 with where and how much."""
    wanted = request(tmp_path, sweep(tmp_path, SEEDS), "full")
    done = run(wanted)
    assert done.stopping == "disk full"
    assert (done.tally.finished, done.tally.failed) == (1, {})
    assert paths(tmp_path) == {0: [("complete", None)], 1: [("interrupted", "disk full")]}
    with Store(wanted.database) as store, pytest.raises(DiskFullError) as error:
        finish(done, store)
    text = str(error.value)
    assert "no room is left on a disk; 1 of the trials of sweep done, 2 remain" in text
    assert "No space left on device" in text
    assert re.search(rf"{tmp_path}: [\d.]+ [GTM]B free; what remains needs about [\d.]+ [kM]B there", text)
    assert text.endswith("then: tinyablate run sweep")


def test_a_stop_saves_what_is_under_way(tmp_path: Path) -> None:
    """Asked to stop through the database, a run saves at the next update, hands out nothing more, and is over."""
    wanted = request(tmp_path, sweep(tmp_path, SEEDS), "slow")
    with Store(wanted.database) as store:
        store.enter("sweep", None)
        dispatch = Dispatch(wanted, store, "cpu")
        store.ask_to_stop([store.owner])
        job = dispatch.next_job()
        assert job is not None
        runner = JobRunner(job, wanted.learner)
        for event in runner.slice(0.0):
            dispatch.receive(job.id, event)
        dispatch._beaten_at -= 60  # as if so much time had passed
        dispatch.beat()
        assert dispatch.stopping == "stopped"
        runner.stop(dispatch.stopping)
        for event in runner.slice(60.0):
            dispatch.receive(job.id, event)
        dispatch.ended(job.id)
        assert (dispatch.next_job(), dispatch.over) == (None, True)
    assert paths(tmp_path) == {0: [("interrupted", "stopped")]}


def test_a_lost_lease_is_told_and_the_result_kept(tmp_path: Path) -> None:
    """A run that was silent for longer than its lease: another takes the trial; both results are stored, one counts."""
    wanted = request(tmp_path, sweep(tmp_path, SEEDS.replace("[0, 1, 2]", "[0]")), "noop")
    with Store(wanted.database) as store, Store(wanted.database) as other:
        other.owner = "elsewhere:1:1"
        dispatch = Dispatch(wanted, store, "cpu")
        job = dispatch.next_job()
        assert job is not None
        with store.engine().connect() as connection:
            connection.exec_driver_sql("UPDATE stored_trials SET lease_until = 0")
        (claim,) = other.claim([job.tasks[0].key], "theirs")
        dispatch._beaten_at -= 60
        dispatch.beat()
        events = list(analytic.noop(job, lambda: False))
        for event in events:
            dispatch.receive(job.id, event)
        dispatch.ended(job.id)
        assert (dispatch.tally.finished, dispatch.tally.superseded) == (0, 1)
        assert "other runs took trials over" in dispatch.tally.notes[0]
        assert isinstance(events[-1], Finished)
        assert other.finish(claim, events[-1].outcome)
    assert [state for state, *_ in attempts(tmp_path)] == ["superseded", "complete"]


def test_two_runs_part_when_they_meet(tmp_path: Path) -> None:
    """A run whose next job another has taken looks once what is free, and asks for nothing that is not."""
    wanted = request(tmp_path, sweep(tmp_path, SEEDS.replace("[0, 1, 2]", f"{list(range(20))}")), "noop")
    with Store(wanted.database) as store, Store(wanted.database) as other:
        other.owner = f"{store.owner}0"  # of the same host, and alive by its lease
        mine, theirs = Dispatch(wanted, store, "cpu"), Dispatch(wanted, other, "cpu")
        for _ in range(15):
            assert mine.next_job() is not None
        asked = []
        claim = other.claim
        other.claim = lambda keys, job: (asked.append(keys), claim(keys, job))[1]  # type: ignore[method-assign]
        found = [theirs.next_job() for _ in range(6)]
        assert [job is None for job in found] == [False] * 5 + [True]
        assert len(asked) == 6
        mine.release("stopped")
        theirs.release("stopped")


def test_a_database_that_is_away_is_waited_for(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """While PostgreSQL is killed events are kept in order and no job is handed out; back again, all is written once."""
    monkeypatch.setenv("TINYABLATE_RESULTS", str(tmp_path))
    wanted = dataclasses.replace(request(tmp_path, sweep(tmp_path, SEEDS), "noop"), database=postgres_url)
    with Store(wanted.database) as store:
        store.enter("sweep", None)
        dispatch = Dispatch(wanted, store, "cpu")
        first, second = dispatch.next_job(), dispatch.next_job()
        assert first is not None
        assert second is not None
        postgres.kill()
        try:
            for job in (first, second):
                for event in analytic.noop(job, lambda: False):
                    dispatch.receive(job.id, event)
                dispatch.ended(job.id)
            assert dispatch.unwritten == 6
            assert (dispatch.next_job(), dispatch.over, dispatch.tally.finished) == (None, False, 0)
            dispatch.beat()
        finally:
            postgres.start()
        wait_until(lambda: (dispatch.beat(), dispatch.unwritten)[1] == 0)
        assert (dispatch.tally.finished, dispatch.flights) == (2, {})
        assert dispatch.next_job() is None, "other runs first have their turn to renew their leases"
        monkeypatch.setattr("tinyablate.dispatch.dispatch.BEAT_SECONDS", 0.0)
        third = dispatch.next_job()
        assert third is not None
        for event in analytic.noop(third, lambda: False):
            dispatch.receive(third.id, event)
        dispatch.ended(third.id)
        assert (dispatch.next_job(), dispatch.over) == (None, True)
        counts = dispatch.look().counts()
        assert counts["done"] == 3
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "cannot be reached at present" in told[0]
    assert "p@ss" not in told[0]
    assert "the database is back after" in told[1]


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Until the condition holds; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


# ---- measurements, rules of seeds ------------------------------------------------------------------------------------


def test_measurements_run_alone_and_last(tmp_path: Path) -> None:
    """While a job is under way no measurement is handed out, and beside a measurement nothing else."""
    wanted = request(tmp_path, sweep(tmp_path, SPEEDS), "noop", dataclasses.replace(FACTS, splits=False))
    with Store(wanted.database) as store:
        dispatch = Dispatch(wanted, store, "cpu")
        trainings = [dispatch.next_job() for _ in range(4)]
        assert [job.kind for job in trainings if job] == ["train"] * 4
        assert dispatch.next_job() is None  # they are under way
        for job in trainings:
            assert job is not None
            dispatch.release("stopped")
        measured = dispatch.next_job()
        assert measured is not None
        assert measured.kind == "measure"
        assert dispatch.next_job() is None  # it is alone
        dispatch.release("stopped")
    with sqlite3.connect(tmp_path / "a.db") as database:
        kinds = database.execute("SELECT kind, measured_on, count(*) FROM trials GROUP BY 1, 2 ORDER BY 1").fetchall()
    assert kinds == [("measure", "a device", 4), ("train", None, 4)]


@pytest.mark.parametrize("device", ["another", "a device"])
def test_a_measurement_is_another_trial_on_another_device(tmp_path: Path, device: str) -> None:
    """Trainings are shared by all machines; speeds are measured again on a device of another name."""
    wanted = request(tmp_path, sweep(tmp_path, SPEEDS), "noop", dataclasses.replace(FACTS, splits=False))
    assert run(wanted).tally.finished == 8
    assert run(dataclasses.replace(wanted, machine=device)).tally.finished == (4 if device == "another" else 0)


RULE = """
title = "Seeds by a rule"
metric = "val_top1"
select = "last"
seeds = { min = 3, max = 9, until = "half_width < 1" }
[baseline]
data.name = "shapes"
data.image_size = 32
model.name = "test_resnet"
model.pretrained = false
schedule.epochs = 1
batch.size = 50
[[rows]]
label = "Default"
[[rows]]
label = "No decay"
set.optimizer.weight_decay = 0.0
[[rows]]
label = "Mixed"
set.mix.mixup_alpha = 0.8
"""


def test_a_rule_of_seeds_goes_on_in_rounds_until_it_is_fulfilled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run computes the first stage, then what its differences ask for, and ends; it is told and noted once.

    How many: by Stein's formula from the analytic learner's own numbers. A later run has nothing to do, and the table
    has all of it.
    """
    asked = sweep(tmp_path, RULE)
    needed = [_stein(asked, row) for row in (1, 2)]
    assert 3 < max(needed) < 9
    done = run(request(tmp_path, asked, "noop"))
    per_row = {row: len(keys) for (row, _, _), keys in done.plan.parts[0].cells.items()}
    assert per_row == {0: max(needed), 1: needed[0], 2: needed[1]}
    assert done.plan.to_run == 0
    assert done.tally.finished == sum(per_row.values())
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 + sum(count > 3 for count in needed)
    grows = f"sweep: row 'Default' goes on from 3 to {max(needed)} seeds"
    assert told[0] == f"{grows}: as many as the neediest row that is compared with it"
    again = run(request(tmp_path, sweep(tmp_path, RULE), "noop"))
    assert (again.tally.finished, capsys.readouterr().err) == (0, "")
    with Store(tmp_path / "a.db") as store:
        assert next((each.from_n, each.to_n) for each in store.extensions("sweep", False)) == (3, max(needed))
        assert len(store.protocols("sweep", False)) == 1
        assert [row.cells[0].n for row in collect(asked, store).rows] == [max(needed), *needed]


def test_a_half_width_out_of_reach_is_told_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where `max` stops a row too early, stderr says so when the run ends, and the table is printed all the same."""
    asked = sweep(tmp_path, RULE.replace("max = 9", "max = 3"))
    done = run(request(tmp_path, asked, "noop"))
    with Store(tmp_path / "a.db") as store:
        assert finish(done, store) == 0
    out, err = capsys.readouterr()
    needed = {label: _stein(asked, row, most=1000) for row, label in ((1, "No decay"), (2, "Mixed"))}
    short = [label for label, seeds in needed.items() if seeds > 3]
    assert short
    for line, label in zip(err.splitlines(), short, strict=True):
        assert line.startswith(f"sweep: not reached: {label}: half width ")
        assert line.endswith(f" of 1 wanted with max = 3; about {needed[label]} seeds would be needed")
    assert f"NOT REACHED: {short[0]}: half width " in out


def _stein(asked: Sweep, row: int, most: int = 9) -> int:
    """Stein's total for a row and a half width of 1: ceil(t² sd²) from its first three seeds, t on two degrees."""
    recipes = {cell.row: cell.recipe for cell in asked.cells}
    first = [analytic.score(recipes[row], seed, 1) - analytic.score(recipes[0], seed, 1) for seed in range(3)]
    return min(most, max(3, math.ceil((4.302652729749464 * statistics.stdev(first)) ** 2)))
