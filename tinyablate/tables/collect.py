"""From the store to a finished table: which outcome stands in which cell, under the sweep's selection rule."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinyablate import machine
from tinyablate.identity import CORE_VERSION
from tinyablate.plan import Asked, ask, unique
from tinyablate.store.query import (
    StoredOutcome,
    device_hours,
    diverged_before,
    environments,
    epochs_of,
    measured_devices,
    outcomes_of,
)
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.sweep.schema import Cell, Kind, Sweep
from tinyablate.tables import protocol, stats
from tinyablate.tables.arrays import CODES, COMPLETE, Frame, Trials, divergence
from tinyablate.tables.comparisons import rule_of
from tinyablate.tables.layout import finished
from tinyablate.tables.origins import about_of
from tinyablate.tables.proof import proof
from tinyablate.tables.render import render_all
from tinyablate.tables.render.choice import EVERYTHING, Choice
from tinyablate.tables.schema import Note, Provenance, Table
from tinyablate.tables.sequential import extended, extension_text, extensions, records, unreached
from tinyablate.tables.words import counted, cut


def printed(
    tables: Sequence[Table], format: str = "terminal", rounded: bool = False, choice: Choice = EVERYTHING
) -> str:
    """Tables as text for stdout: as wide as the terminal, with colour, or as COLUMNS says. See `render_all`."""
    tty = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if tty or os.environ.get("COLUMNS", "").isdecimal() else None
    return render_all(tables, format, width, tty and "NO_COLOR" not in os.environ, rounded, choice)


def collect(sweep: Sweep, store: Store, device: str = "", hours: bool = False) -> Table:
    """The sweep's table as the store has it now, with the measurements made on `device`; `hours`: what it cost, too.

    Without a name they are those of this machine's own device if the store has any of them, even unfinished, else
    those of the device that was measured last. Rows of a sequential sweep have the seeds that its rule gave them.
    """
    return as_it_is(extended(sweep, store), store, device, hours)


def as_it_is(sweep: Sweep, store: Store, device: str = "", hours: bool = False) -> Table:
    """The same of a sweep whose rows have their seeds already."""
    asked, device = asked_of(sweep, store, device)
    reader = _Reader(sweep, store, asked)
    trials, keys = reader.trials(), unique([asked])
    since = protocol.changed(sweep, store)
    remarks = list(_remarks(sweep, store, asked, trials, since))
    states = Counter(map(state_of, reader.stored.values()))
    spent = sum(device_hours(store, keys).values()) if hours else None
    about = about_of(sweep, trials, len(keys), states, since.phrases, spent)
    return replace(finished(sweep, trials, device, remarks), about=about)


def asked_of(sweep: Sweep, store: Store, device: str = "") -> tuple[Asked, str]:
    """The sweep with its keys, and the device of its measurements, empty while there are none; see `collect`."""
    if "measure" not in sweep.kinds:
        return ask(sweep), ""
    own = device or machine.device_name("auto")
    for name in dict.fromkeys([own] if device else [own, *measured_devices(store)]):
        asked = ask(sweep, name)
        keys = [key for (_, _, kind), found in asked.keys.items() if kind == "measure" for key in found]
        if store.states(keys):
            return asked, name
    return ask(sweep, own), ""


def _remarks(sweep: Sweep, store: Store, asked: Asked, trials: Trials, since: protocol.Changed) -> Iterator[Note]:
    """What the store knows beside the values."""
    yield from protocol.remarks(sweep, store, since)
    found = extensions(sweep, store)
    if short := unreached(sweep, found):
        yield Note(f"NOT REACHED: {cut(short, between='; ')}.", "warning")
    if grown := [extension_text(record) for record in records(sweep, found)]:
        yield Note(f"Seeds by Stein's two-stage rule: {cut(grown, between='; ')}.", "detail")
    if again := diverged_before(store, unique([asked])):
        what = f"{counted(len(again), 'trial')} diverged before"
        yield Note(f"TRIED AGAIN: {what} and had another chance, which can flatter the recipe.", "warning")
    if (np.asarray(trials.states) == CODES["pending"]).all():
        yield Note(f"None of its trials was run yet; next: {protocol.command(sweep)}", "author")
    elif moved := [warning for each in proof(sweep, store, asked) for warning in each.warnings]:
        text = f"MOVED beside what the row changes (realised in the first epoch): {cut(moved, between='; ')}."
        yield Note(text, "warning")


class _Reader:
    """What the store has of a sweep's trials, entry by entry: as columns of numbers, because there may be 100,000."""

    def __init__(self, sweep: Sweep, store: Store, asked: Asked) -> None:
        self._sweep, self._asked = sweep, asked
        known = map(metrics.lookup, sweep.metrics)
        self._needed = [metrics.lookup(metric.relative_to) if metric.relative_to else metric for metric in known]
        self._needed = list(dict.fromkeys(self._needed))
        columns = [column for metric in self._needed for column in self._columns_of(metric)]
        self._columns = {name: at for at, name in enumerate(dict.fromkeys(columns))}
        keys = unique([asked])
        self.stored = outcomes_of(store, keys, list(self._columns))
        self._environments = {row_id: _provenance(row) for row_id, row in environments(store).items()}
        at_epochs = [metric for metric in self._needed if metric.epoch is not None]
        self._bases = list(dict.fromkeys(_base(metric) for metric in at_epochs))
        epochs = [metric.epoch for metric in at_epochs if metric.epoch is not None]
        self._curves = epochs_of(store, keys, self._bases, epochs) if epochs else {}
        spent = any(metric.source == "spent" for metric in self._needed)
        self._hours = device_hours(store, keys) if spent else {}

    def _columns_of(self, metric: Metric) -> list[str]:
        """Columns of `outcomes` that hold the metric, under the table's rule and under that of verdicts."""
        if metric.epoch is not None or metric.source == "spent":
            return []
        return [column_of(metric, self._sweep.select), column_of(metric, rule_of(self._sweep.select))]

    def trials(self) -> Trials:
        """Every planned trial, cell by cell."""
        kinds = self._sweep.kinds
        places = [
            (cell, kind, self._asked.keys[cell.row, cell.column, kind]) for cell in self._sweep.cells for kind in kinds
        ]
        keys = [key for _, _, found in places for key in found]
        stored = [self.stored.get(key) for key in keys]
        states = ["pending" if one is None else state_of(one) for one in stored]
        frame, rows = Frame(self._sweep), self._sweep.rows
        codes = np.array([CODES[state] for state in states], dtype=np.int64)
        entries = _Entries(keys, stored, states, codes == COMPLETE, self._numbers(stored, states))
        rule, other = self._sweep.select, rule_of(self._sweep.select)
        differing = [metric for metric in self._needed if column_of(metric, rule) != column_of(metric, other)]
        provenance, weights = self._origins([cell for cell, _, found in places for _ in found], entries)
        return Trials(
            where=[
                at for cell, kind, _ in places for at in frame.places(cell.row, cell.column, kind, rows[cell.row].seeds)
            ],
            states=codes,
            values={metric.name: self._values(entries, metric, rule) for metric in self._needed},
            compared={metric.name: self._values(entries, metric, other) for metric in differing},
            diverged=tuple(self._diverged(places, entries)),
            provenance=provenance,
            weights=weights,
            keys={
                (cell.row, cell.column, kind): dict(zip(rows[cell.row].seeds, found, strict=True))
                for cell, kind, found in places
            },
        )

    def _numbers(self, stored: Sequence[StoredOutcome | None], states: Sequence[str]) -> stats.Array:
        """(entries, columns) of outcomes that count: those of complete trials, of diverged ones the facts."""
        nothing = (None,) * len(self._columns)
        rows = [
            one.values if one is not None and state in ("complete", "diverged") else nothing
            for one, state in zip(stored, states, strict=True)
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self._columns))

    def _values(self, entries: "_Entries", metric: Metric, rule: str) -> stats.Array:
        """The metric of each entry, in its unit."""
        if metric.source == "facts":
            return entries.numbers[:, self._columns[metric.name]] * metric.scale
        if metric.epoch is not None:
            at = self._bases.index(_base(metric))
            curves = [self._curves.get(key, {}).get(metric.epoch) for key in entries.keys]
            found = np.array([None if curve is None else curve[at] for curve in curves], dtype=np.float64)
        elif metric.source == "spent":
            found = np.array([self._hours.get(key) for key in entries.keys], dtype=np.float64)
        else:
            found = entries.numbers[:, self._columns[column_of(metric, rule)]]
        return np.where(entries.complete, found * metric.scale, np.nan)

    def _diverged(self, places: Sequence[tuple[Cell, Kind, Sequence[str]]], entries: "_Entries") -> Iterator[str]:
        """A phrase for each diverged trial."""
        if "diverged" not in entries.states:
            return
        at = 0
        for cell, _, found in places:
            for offset, seed in enumerate(self._sweep.rows[cell.row].seeds):
                one = entries.stored[at + offset]
                if one is not None and entries.states[at + offset] == "diverged":
                    yield divergence(self._sweep, cell, seed, one.diverged_epoch)
            at += len(found)

    def _origins(
        self, cells: Sequence[Cell], entries: "_Entries"
    ) -> tuple[Counter[tuple[str, Provenance]], Mapping[str, set[str]]]:
        """What computed the complete trials of each data set, and the weights that each model started from.

        Counted by identity and number first: hashing 100,000 provenances takes 0.1 s.
        """
        recipes = {id(cell.recipe): cell.recipe for cell in cells}
        counted = Counter(
            (id(cell.recipe), one.environment)
            for cell, one, state in zip(cells, entries.stored, entries.states, strict=True)
            if state == "complete" and one is not None
        )
        provenance: Counter[tuple[str, Provenance]] = Counter()
        weights: dict[str, set[str]] = {}
        for (recipe, number), count in counted.items():
            origin = self._environments.get(number) if number is not None else None
            if origin is not None:
                provenance[recipes[recipe].data.name, origin] += count
                weights.setdefault(recipes[recipe].model.name, set()).update({origin.weights_digest} - {""})
        return provenance, weights


@dataclass(frozen=True)
class _Entries:
    """The entries of a table side by side."""

    keys: Sequence[str]
    stored: Sequence[StoredOutcome | None]
    states: Sequence[str]
    complete: NDArray[np.bool_]
    numbers: stats.Array
    """(entries, columns) of outcomes."""


def _base(metric: Metric) -> str:
    """`val_top1` of `val_top1@3`."""
    return metric.name.partition("@")[0]


def column_of(metric: Metric, select: str) -> str:
    """The column of `outcomes` that holds the metric under the selection rule; of an epoch's metric its own name."""
    if metric.source != "epochs" or metric.epoch is not None:
        return metric.name
    return f"{select.replace('-', '_')}_{metric.name}"


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
