"""From the store to a finished table: which outcome stands in which cell, under the sweep's selection rule."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence

from tinyablate import machine
from tinyablate.identity import CORE_VERSION
from tinyablate.plan import Asked, ask, unique
from tinyablate.store.query import StoredOutcome, environments, epochs_of, measured_devices, outcomes_of
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Kind, Sweep
from tinyablate.tables.layout import build
from tinyablate.tables.render import render
from tinyablate.tables.schema import CellResult, Provenance, Table


def table_text(sweep: Sweep, store: Store, format: str = "terminal", device: str = "") -> str:
    """The sweep's table as the store has it now; on a terminal as wide as that, with colour. See `collect`."""
    tty = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if tty else None
    return render(collect(sweep, store, device), format, width=width, color=tty and "NO_COLOR" not in os.environ)


def collect(sweep: Sweep, store: Store, device: str = "") -> Table:
    """The sweep's table as the store has it now, with the measurements made on `device`.

    Without a name they are those of this machine's own device if the store has any of them, even unfinished, else
    those of the device that was measured last.
    """
    asked, device = _asked(sweep, store, device)
    reader = _Reader(sweep, store, unique([asked]))
    results = {
        (cell.row, cell.column): [
            reader.result(key, kind, seed)
            for kind in sweep.kinds
            for key, seed in zip(asked.keys[cell.row, cell.column, kind], sweep.rows[cell.row].seeds, strict=True)
        ]
        for cell in sweep.cells
    }
    return build(sweep, results, device)


def _asked(sweep: Sweep, store: Store, device: str) -> tuple[Asked, str]:
    """The sweep with its keys, and the device of its measurements, empty while there are none."""
    if "measure" not in sweep.kinds:
        return ask(sweep), ""
    own = device or machine.device_name("auto")
    for name in dict.fromkeys([own] if device else [own, *measured_devices(store)]):
        asked = ask(sweep, name)
        keys = [key for (_, _, kind), found in asked.keys.items() if kind == "measure" for key in found]
        if store.states(keys):
            return asked, name
    return ask(sweep, own), ""


class _Reader:
    """What the store has of a sweep's trials, as results of cells."""

    def __init__(self, sweep: Sweep, store: Store, keys: Sequence[str]) -> None:
        known = map(metrics.lookup, sweep.metrics)
        needed = [metrics.lookup(metric.relative_to) if metric.relative_to else metric for metric in known]
        self._columns = list(dict.fromkeys(metric for metric in needed if metric.epoch is None))
        names = [column_of(metric, sweep.select) for metric in self._columns]
        self._stored = outcomes_of(store, keys, names)
        self._provenance = {row_id: _provenance(row) for row_id, row in environments(store).items()}
        self._at_epochs = [metric for metric in needed if metric.epoch is not None]
        self._bases = list(dict.fromkeys(_base(metric) for metric in self._at_epochs))
        epochs = [metric.epoch for metric in self._at_epochs if metric.epoch is not None]
        self._curves = epochs_of(store, keys, self._bases, epochs) if epochs else {}

    def result(self, key: str, kind: Kind, seed: int) -> CellResult:
        """The result of the trial `key`, which is of this kind and seed."""
        stored = self._stored.get(key)
        if stored is None:
            return CellResult(seed, "pending", {}, None, None, kind)
        state = state_of(stored)
        origin = self._provenance.get(stored.environment) if stored.environment is not None else None
        return CellResult(seed, state, self._values(key, stored, state), stored.diverged_epoch, origin, kind)

    def _values(self, key: str, stored: StoredOutcome, state: str) -> dict[str, float]:
        """All that a complete trial yields, the facts of a diverged one, in the metrics' units."""
        if state not in ("complete", "diverged"):
            return {}
        pairs = zip(self._columns, stored.values, strict=True)
        values = {
            metric.name: value * metric.scale
            for metric, value in pairs
            if value is not None and (state == "complete" or metric.source == "facts")
        }
        curve = self._curves.get(key, {}) if state == "complete" else {}
        for metric in self._at_epochs:
            numbers = curve.get(metric.epoch or 0)
            value = numbers[self._bases.index(_base(metric))] if numbers else None
            if value is not None:
                values[metric.name] = value * metric.scale
        return values


def _base(metric: Metric) -> str:
    """`val_top1` of `val_top1@3`."""
    return metric.name.partition("@")[0]


def column_of(metric: Metric, select: str) -> str:
    """The column of `outcomes` that holds the metric under the selection rule."""
    return f"{select}_{metric.name}" if metric.source == "epochs" else metric.name


def state_of(stored: StoredOutcome) -> str:
    """The state of a stored trial as a table shows it: of an older core it is stale, without a driver pending."""
    if stored.state == "running" and not stored.live:
        return "pending"
    if stored.state in ("complete", "diverged") and stored.core_version != CORE_VERSION:
        return "stale"
    return stored.state


def _provenance(row: Mapping[str, object]) -> Provenance:
    return Provenance(
        commit=str(row["git_commit"]), train_digest=str(row["train_digest"]), device=str(row["device"]),
        torch=str(row["torch"]), timm=str(row["timm"]), core_version=int(str(row["core_version"])),
        data_digest=str(row["data_digest"]), weights_digest=str(row["weights_digest"]), compiled=bool(row["compiled"]),
    )  # fmt: skip
