"""A store with everything that an export can hold, and edits of such an export."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinyablate.job import Outcome
from tinyablate.store import form
from tinyablate.store import store as store_module
from tinyablate.store.query import run_sql
from tinyablate.store.records import (
    CellOf,
    Claim,
    EnvironmentRecord,
    ExtensionRecord,
    NewTrial,
    ProtocolRecord,
    SweepRecord,
)
from tinyablate.store.store import Store

OutcomeOf = Callable[[NewTrial], Outcome]
PROTOCOL = ProtocolRecord("val_top1", "last", 0.2, "table", "max-t", "4", "abc")
TEXT = "# ---- x.toml ----\ntitle = 1\n\n# ---- ../recipe.toml ----\n[baseline]\n\n"


def filled(
    store: Store, trials: list[NewTrial], outcome_of: OutcomeOf, new_trial: Callable[..., NewTrial],
    environment: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch,
) -> Store:  # fmt: skip
    """Superseded and complete, diverged, failed, running, pending."""
    extra = new_trial(7, optimizer__lr=0.5)
    store.register(SweepRecord("second", "demo/y", "Other", TEXT, True, "a=1\nb=2"), [extra],
                   [CellOf(0, 0, "<script>&_%\\", "ق 列", extra.key), CellOf(0, 0, "", "", trials[0].key)])  # fmt: skip
    monkeypatch.setattr(store_module, "LEASE_SECONDS", -1.0)
    (late,) = store.claim([trials[0].key], "late")
    monkeypatch.setattr(store_module, "LEASE_SECONDS", 60.0)
    claims = store.claim([trial.key for trial in trials], "job")
    for claim in claims:
        store.begin(claim, environment, 1, 8)
    store.finish(late, outcome_of(trials[0]))
    store.finish(claims[0], outcome_of(trials[0]))
    store.finish(claims[1], dataclasses.replace(outcome_of(trials[1]), state="diverged", diverged_epoch=2))
    store.fail(claims[2], "exception", "ValueError: /home/me", "Traceback: /home/me")
    store.note_protocol("demo/x", False, PROTOCOL)
    store.note_extension("demo/y", True, ExtensionRecord("row 0", "", 3, 5, 3, 0.2, 0.1))
    return store


def full_claim(store: Store) -> Claim:
    """The claim of the trial that runs."""
    rows = "SELECT t.id, t.key, a.id, a.fence FROM stored_trials t JOIN attempts a ON a.trial_id = t.id"
    ((trial, key, attempt, fence),) = run_sql(store.location, f"{rows} WHERE a.state = 'running'").rows
    return Claim(trial, key, attempt, fence, Path(), ())


def write_again(folder: Path, stem: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Edit a file and make the manifest fit."""
    path = folder / f"{stem}.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    manifest = json.loads((folder / form.MANIFEST).read_text())
    manifest["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / form.MANIFEST).write_text(json.dumps(manifest))


def replaced(column: str, value: object) -> Callable[[pa.Table], pa.Table]:
    """The table with this value in the column's first line."""

    def change(table: pa.Table) -> pa.Table:
        values = [value, *table[column].to_pylist()[1:]]
        return table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type))

    return change
