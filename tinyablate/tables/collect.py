"""From the store to a finished table: which outcome stands in which cell, under the sweep's selection rule."""

import os
import shutil
import sys
from collections.abc import Sequence

from tinyablate.identity import CORE_VERSION
from tinyablate.plan import keys_of, unique
from tinyablate.store.query import StoredOutcome, environments, outcomes_of
from tinyablate.store.store import Store
from tinyablate.sweep.metrics import KNOWN
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.layout import build
from tinyablate.tables.render import render
from tinyablate.tables.schema import CellResult, Provenance, Table


def table_text(sweep: Sweep, store: Store, format: str = "terminal") -> str:
    """The sweep's table as the store has it now; on a terminal as wide as that, with colour."""
    tty = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if tty else None
    return render(collect(sweep, store), format, width=width, color=tty and "NO_COLOR" not in os.environ)


def collect(sweep: Sweep, store: Store) -> Table:
    """The sweep's table as the store has it now."""
    keys = keys_of(sweep)
    stored = outcomes_of(store, unique(keys), columns_of(sweep))
    provenance = {row_id: _provenance(row) for row_id, row in environments(store).items()}
    results = {
        cell: [
            _result(sweep.metrics, seed, stored.get(key), provenance)
            for key, seed in zip(cell_keys, sweep.rows[cell[0]].seeds, strict=True)
        ]
        for cell, cell_keys in keys.items()
    }
    return build(sweep, results)


def columns_of(sweep: Sweep) -> list[str]:
    """The column of `outcomes` that holds each of the sweep's metrics under its selection rule."""
    return [f"{sweep.select}_{name}" if KNOWN[name].source == "epochs" else name for name in sweep.metrics]


def _provenance(row: dict[str, object]) -> Provenance:
    return Provenance(
        commit=str(row["git_commit"]), train_digest=str(row["train_digest"]), device=str(row["device"]),
        torch=str(row["torch"]), timm=str(row["timm"]), core_version=int(str(row["core_version"])),
        data_digest=str(row["data_digest"]), weights_digest=str(row["weights_digest"]),
    )  # fmt: skip


def _result(
    metrics: Sequence[str], seed: int, stored: StoredOutcome | None, provenance: dict[int, Provenance]
) -> CellResult:
    if stored is None:
        return CellResult(seed, "pending", {}, None, None)
    state = stored.state
    if state == "running" and not stored.live:
        state = "pending"
    if state in ("complete", "diverged") and stored.core_version != CORE_VERSION:
        state = "stale"
    pairs = zip(metrics, stored.values, strict=True)
    values = {name: value for name, value in pairs if value is not None} if state == "complete" else {}
    origin = provenance.get(stored.environment) if stored.environment is not None else None
    return CellResult(seed, state, values, stored.diverged_epoch, origin)
