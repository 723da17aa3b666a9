"""The store: identity, claims as leases, one transaction per result, opening of good and bad files."""

import dataclasses
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import stores
from stores import rows

from tinyablate.identity import CORE_VERSION, from_canonical
from tinyablate.job import Outcome, Progress
from tinyablate.recipe import Model, Recipe, field_specs
from tinyablate.store import rows as row_forms
from tinyablate.store import schema
from tinyablate.store import store as module
from tinyablate.store.records import EnvironmentRecord, EstimateRecord, MemoryKey, NewTrial, SweepRecord
from tinyablate.store.store import Store
from tinyablate.sweep.metrics import KNOWN

OutcomeOf = Callable[[NewTrial], Outcome]


BACKENDS = stores.BACKENDS


def test_registering_twice_adds_nothing(store: Store, trials: list[NewTrial]) -> None:
    """The same sweep registered again leaves one row of everything."""
    store.register(SweepRecord("digest", "demo/x", "A title", "text", False, ""), trials, [])
    assert rows(
        store, "SELECT (SELECT count(*) FROM sweeps), (SELECT count(*) FROM variants), count(*) FROM trials"
    ) == [(1, 2, 4)]


def test_variant_columns_hold_the_recipe(store: Store, trials: list[NewTrial]) -> None:
    """Every recipe field is a typed column, and the canonical text gives the recipe back."""
    (lr, size, nesterov, betas, canonical), *_ = rows(
        store,
        "SELECT optimizer_lr, batch_size, optimizer_nesterov, optimizer_betas, canonical FROM variants ORDER BY 1",
    )
    assert (lr, size, nesterov, betas) == (1e-3, 128, 0, "[0.9, 0.999]")
    assert from_canonical(str(canonical)) == trials[0].recipe
    assert {schema.column_name(path) for path in field_specs()} <= set(schema.variants.c.keys())


def test_a_claim_is_exclusive(store: Store, trials: list[NewTrial]) -> None:
    """A trial that runs is not handed out again, and the claim names the attempt's own directory."""
    keys = [trial.key for trial in trials]
    first = store.claim(keys[:2], "job-a")
    assert [claim.key for claim in first] == keys[:2]
    assert [claim.key for claim in store.claim(keys, "job-b")] == keys[2:]
    assert first[0].directory.parent == store.trials_folder
    assert first[0].directory.name.startswith(f"{keys[0][:16]}-1-")
    assert store.states(keys)[keys[0]] == ("running", None, True)


def test_a_result_is_stored_whole(store: Store, trials: list[NewTrial], outcome_of: OutcomeOf) -> None:
    """finish writes outcome, epochs, bits, metrics and state; best is the highest top-1, last the last epoch."""
    (claim,) = store.claim([trials[0].key], "job")
    outcome = outcome_of(trials[0])
    assert store.finish(claim, outcome)
    best = max(outcome.epochs, key=lambda epoch: epoch.val_top1)
    assert rows(
        store, "SELECT state, best_epoch, best_val_top1, last_val_loss, parameters FROM trials WHERE state='complete'"
    ) == [("complete", best.epoch, best.val_top1, outcome.epochs[-1].val_loss, 5)]
    assert rows(store, "SELECT epoch, val_top1 FROM epochs") == [(e.epoch, e.val_top1) for e in outcome.epochs]
    assert rows(store, "SELECT count(*), max(length(bits)) FROM correctness") == [(3, 1)]
    assert rows(store, "SELECT value FROM metrics WHERE name = 'extra'") == [(1.5,)]
    assert store.states([trials[0].key])[trials[0].key] == ("complete", CORE_VERSION, False)


def test_every_fact_and_measurement_has_its_column(store: Store, trials: list[NewTrial]) -> None:
    """A measure trial's metrics stand in the columns of `outcomes` of their names, counts as whole numbers."""
    names = [m.name for m in KNOWN.values() if m.source in ("facts", "measured") and not m.relative_to]
    assert set(names) == set(schema.FACTS)
    trial = dataclasses.replace(trials[0], key="0" * 32, kind="measure", measured_on="NVIDIA H200")
    store.register(SweepRecord("digest", "demo/x", "A title", "text", False, ""), [trial], [])
    (claim,) = store.claim([trial.key], "job")
    store.finish(claim, Outcome("complete", (), tuple((name, 7.0) for name in names)))
    assert rows(store, f"SELECT kind, measured_on, state, epochs, {', '.join(names)} FROM trials WHERE epochs = 0") == [
        ("measure", "NVIDIA H200", "complete", 0, *[7] * len(names))
    ]
    ((macs, size, seconds),) = rows(store, "SELECT macs, checkpoint_bytes, epoch_seconds FROM outcomes")
    assert (type(macs), type(size), type(seconds)) == (int, int, float)


def test_ties_go_to_the_earliest_epoch(trials: list[NewTrial], outcome_of: OutcomeOf) -> None:
    """Of epochs with equal top-1 the earliest is the best."""
    epochs = [dataclasses.replace(epoch, val_top1=50.0) for epoch in outcome_of(trials[0]).epochs]
    assert row_forms.best_epoch(epochs).epoch == 1


def test_late_result_is_superseded(
    store: Store, trials: list[NewTrial], outcome_of: OutcomeOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result whose lease was lost is kept, does not count, and disturbs nobody."""
    key = trials[0].key
    monkeypatch.setattr(module, "LEASE_SECONDS", -1.0)
    (late,) = store.claim([key], "job-a")
    monkeypatch.setattr(module, "LEASE_SECONDS", 60.0)
    (second,) = store.claim([key], "job-b")
    assert second.fence == late.fence + 1
    assert second.earlier == (late.directory,)
    assert not store.finish(late, outcome_of(trials[0]))
    assert store.finish(second, outcome_of(trials[0]))
    assert rows(store, "SELECT number, state FROM attempts ORDER BY number") == [(1, "superseded"), (2, "complete")]
    assert rows(store, "SELECT count(*) FROM outcomes") == [(2,)]
    assert rows(store, "SELECT count(*) FROM trials WHERE best_val_top1 IS NOT NULL") == [(1,)]


def test_a_dead_drivers_claim_is_free_at_once(store: Store, trials: list[NewTrial]) -> None:
    """After SIGKILL of the driver its trials can be claimed without waiting for the lease."""
    code = (
        "import os, sys; from tinyablate.store.store import Store; s = Store(sys.argv[1]);"
        "print(len(s.claim([sys.argv[2]], 'job'))); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, store.location.text, trials[0].key]
    dead = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (dead.returncode, dead.stdout) == (-9, "1\n")
    assert store.states([trials[0].key])[trials[0].key] == ("running", None, False)
    (claim,) = store.claim([trials[0].key], "job-2")
    assert "-2-" in claim.directory.name
    assert rows(store, "SELECT state, cause FROM attempts ORDER BY number") == [
        ("lost", "driver gone"),
        ("running", None),
    ]


def test_a_released_trial_can_be_claimed_and_a_failed_one_only_when_it_is_put_back(
    store: Store, trials: list[NewTrial]
) -> None:
    """A clean stop makes a trial pending; a failure keeps its traceback, and stays one until somebody says so."""
    one, two = store.claim([trials[0].key, trials[1].key], "job")
    store.release(one, "stopped")
    store.fail(two, "exception", "ValueError: no", "Traceback: here")
    states = store.states([trials[0].key, trials[1].key])
    assert [state.state for state in states.values()] == ["pending", "failed"]
    assert rows(store, "SELECT cause, traceback FROM attempts WHERE state = 'failed'") == [
        ("exception", "Traceback: here")
    ]
    keys = [trials[0].key, trials[1].key]
    assert [claim.key for claim in store.claim(keys, "again")] == keys[:1]
    store.put_back(keys, ["failed"])
    assert [claim.key for claim in store.claim(keys, "put back")] == keys[1:]


def test_a_trial_can_be_tried_otherwise(store: Store, trials: list[NewTrial]) -> None:
    """After `again` the attempt has failed with its cause and the trial is pending; a second call changes nothing."""
    (claim,) = store.claim([trials[0].key], "job")
    assert store.again(claim, "out-of-memory", "tried to allocate 2 GiB")
    assert store.states([trials[0].key])[trials[0].key].state == "pending"
    assert rows(store, "SELECT state, cause, message FROM attempts") == [
        ("failed", "out-of-memory", "tried to allocate 2 GiB")
    ]
    (second,) = store.claim([trials[0].key], "job")
    assert store.again(claim, "out-of-memory", "said twice")
    assert rows(store, "SELECT message FROM attempts WHERE number = 1") == [("tried to allocate 2 GiB",)]
    assert store.states([trials[0].key])[trials[0].key].live
    assert second.earlier == (claim.directory,)


def test_the_smallest_micro_batch_is_remembered(store: Store, trials: list[NewTrial]) -> None:
    """A limit is kept per model, size, trained part, precision and device; a later, larger one does not raise it."""
    key = MemoryKey.of(trials[0].recipe, "NVIDIA H200")
    for micro_batch in (64, 16, 32):
        store.note_limit(key, micro_batch)
    store.note_limit(key._replace(device="other"), 8)
    assert store.limits() == {key: 16, key._replace(device="other"): 8}


def test_an_estimate_belongs_to_its_sweep(store: Store, trials: list[NewTrial]) -> None:
    """Each run's estimate is kept beside the sweep that it was made for."""
    store.note_estimate("digest", EstimateRecord(60.0, "cpu", 4, 1, 0.1, 1000, 3, 2, 1))
    assert rows(
        store,
        "SELECT s.name, e.seconds, e.device, e.devices, e.device_hours, e.disk_bytes, e.jobs, e.from_history, "
        "e.from_calibration FROM estimates e JOIN sweeps s ON s.id = e.sweep_id",
    ) == [("demo/x", 60.0, "cpu", 4, 0.1, 1000, 3, 2, 1)]


def test_an_older_core_is_stale_and_makes_room(
    store: Store, trials: list[NewTrial], outcome_of: OutcomeOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result of an older core version can be claimed again; its outcome is then superseded, not lost."""
    (claim,) = store.claim([trials[0].key], "job")
    store.finish(claim, outcome_of(trials[0]))
    assert store.claim([trials[0].key], "job") == []
    monkeypatch.setattr(module, "CORE_VERSION", CORE_VERSION + 1)
    (again,) = store.claim([trials[0].key], "job")
    assert store.finish(again, outcome_of(trials[0]))
    assert rows(store, "SELECT state FROM attempts ORDER BY number") == [("superseded",), ("complete",)]
    assert store.states([trials[0].key])[trials[0].key].core_version == CORE_VERSION + 1


def test_heartbeat_renews_only_what_is_held(store: Store, trials: list[NewTrial]) -> None:
    """A heartbeat moves the lease of a held claim and notes progress; a fenced claim's lease stays."""
    held, fenced = store.claim([trials[0].key, trials[1].key], "job")
    store.release(fenced, "stopped")
    time.sleep(0.01)
    before = dict(rows(store, "SELECT key, lease_until FROM stored_trials WHERE state = 'running'"))
    store.heartbeat({held: Progress(2, 3, 1, 9, 123.0), fenced: None})
    after = dict(rows(store, "SELECT key, lease_until FROM stored_trials WHERE lease_until IS NOT NULL"))
    assert set(after) == {trials[0].key}
    assert after[trials[0].key] > before[trials[0].key]
    assert rows(store, "SELECT epoch, images_per_second FROM attempts WHERE number = 1 AND epoch = 2") == [(2, 123.0)]


def test_environment_is_recorded_once(store: Store, trials: list[NewTrial], environment: EnvironmentRecord) -> None:
    """Attempts in the same place share one environment row."""
    for claim in store.claim([trial.key for trial in trials], "job"):
        store.begin(claim, environment, 1, None)
    assert rows(store, "SELECT count(DISTINCT environment_id), (SELECT count(*) FROM environments) FROM attempts") == [
        (1, 1)
    ]


def test_ctrl_c_within_a_statement_stays_ctrl_c(store: Store) -> None:
    """SQLAlchemy gives the connection up then, so there is nothing to roll back: no other error takes its place."""

    def interrupt(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT 1"):
            raise KeyboardInterrupt

    sa.event.listen(store.engine(), "before_cursor_execute", interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), store.backend.transaction() as connection:
            connection.execute(sa.select(1))
    finally:
        sa.event.remove(store.engine(), "before_cursor_execute", interrupt)
    assert store.states(["absent"]) == {}


def test_a_failing_transaction_leaves_nothing(store: Store, trials: list[NewTrial], outcome_of: OutcomeOf) -> None:
    """If one row of a result cannot be written, none is, and the trial still runs."""
    (claim,) = store.claim([trials[0].key], "job")
    outcome = outcome_of(trials[0])
    broken = dataclasses.replace(outcome, epochs=(*outcome.epochs, outcome.epochs[0]))  # epoch 1 twice
    with pytest.raises(sa.exc.IntegrityError):
        store.finish(claim, broken)
    assert rows(store, "SELECT (SELECT count(*) FROM outcomes), (SELECT count(*) FROM epochs)") == [(0, 0)]
    assert store.states([trials[0].key])[trials[0].key].live


def test_two_processes_create_one_database(tmp_path: Path) -> None:
    """Several processes opening a new database at once all succeed, and the schema is made once."""
    code = "import sys; from tinyablate.store.store import Store; Store(sys.argv[1]).close()"
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.db")], env=os.environ) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    with Store(tmp_path / "a.db") as store:
        versions = [(version,) for version in range(1, schema.SCHEMA_VERSION + 1)]
        assert rows(store, "SELECT version FROM schema_version") == versions


@pytest.mark.parametrize(
    "stored", sorted((Path(__file__).parent / "fixtures").glob("*.sql")), ids=lambda path: path.stem
)
def test_stored_databases_of_every_version_still_open(stored: Path, tmp_path: Path) -> None:
    """A database as each version left it opens, migrates and has its results."""
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.executescript(stored.read_text())
    with Store(tmp_path / "old.db") as store:
        assert rows(store, "SELECT max(version) FROM schema_version") == [(schema.SCHEMA_VERSION,)]
        assert rows(
            store, "SELECT state, count(*), round(sum(last_val_top1), 6) FROM trials WHERE kind = 'train' GROUP BY 1"
        ) == [("complete", 6, 435.063687), ("diverged", 3, 214.270897), ("failed", 3, None)]


@pytest.mark.parametrize("version", [1, 2])
def test_older_results_have_the_new_fields_at_their_defaults(version: int, tmp_path: Path) -> None:
    """What was trained before a field existed was trained with its default, and SQL finds it under that."""
    text = (Path(__file__).parent / "fixtures" / f"schema-{version}.sql").read_text()
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.executescript(text)
        known = {name for _, name, *_ in connection.execute("PRAGMA table_info(variants)")}
    default = row_forms.recipe_columns(Recipe(model=Model(name="any")))
    columns = [column for column in default if column not in known]
    with Store(tmp_path / "old.db") as store:
        found = rows(store, f"SELECT DISTINCT {', '.join(columns)} FROM trials")
    assert found == [tuple(default[column] for column in columns)]


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_measurement_of_version_3_is_kept(version: int, tmp_path: Path) -> None:
    """The fixture's measurement, micro-batch and estimate are read as they were written."""
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.executescript((Path(__file__).parent / "fixtures" / f"schema-{version}.sql").read_text())
    with Store(tmp_path / "old.db") as store:
        assert rows(
            store,
            "SELECT measured_on, macs, epoch_seconds, train_peak_memory FROM trials "
            "WHERE kind = 'measure' AND state = 'complete'",
        ) == [("NVIDIA H200", 1_500_000_000, 2.5, 2**31)]
        assert store.limits() == {MemoryKey("test_resnet", 32, "all", "bf16", "NVIDIA H200"): 25}
        assert rows(store, "SELECT e.seconds, e.jobs FROM estimates e JOIN sweeps s ON s.id = e.sweep_id") == [
            (12.5, 2)
        ]


def test_ctrl_c_while_closing_is_itself(store: Store, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """A second signal may come while connections close: it passes on, and the pool logs no traceback of it."""

    def interrupted(connection: Any) -> None:
        connection.close()
        raise KeyboardInterrupt

    store.states(["a"])
    monkeypatch.setattr(store.engine().dialect, "do_close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.close()
    assert not caplog.records
