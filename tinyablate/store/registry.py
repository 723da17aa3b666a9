"""Making sweeps, variants, trials and cells known. A part of `Store`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from tinyablate.identity import variant_key
from tinyablate.store import schema
from tinyablate.store.backends.backend import Backend
from tinyablate.store.records import CellOf, NewTrial, SweepRecord
from tinyablate.store.rows import recipe_columns

CHUNK = 10_000  # keys per statement: below SQLite's limit of 32,766 variables


class Registry:
    """The store's methods that make something known; what is known already stays as it is."""

    backend: Backend

    def register(self, sweep: SweepRecord, new: Sequence[NewTrial], cells: Sequence[CellOf]) -> None:
        """Make the sweep, its variants, trials (pending) and cells known; what is known already stays as it is."""
        with self.backend.alone() as connection:
            self.register_trials(connection, new)
            self.register_sweep(connection, sweep, cells, self.backend.now(connection))

    def register_trials(self, connection: sa.Connection, new: Sequence[NewTrial]) -> None:
        """The part of `register` that concerns trials, within a transaction `backend.alone()` of the caller's."""
        variant_ids, now = self._register_variants(connection, new), self.backend.now(connection)
        rows = [
            {
                "key": trial.key, "kind": trial.kind, "variant_id": variant_ids[trial.canonical],
                "seed": trial.seed, "fingerprint": trial.fingerprint, "measured_on": trial.measured_on,
                "state": "pending", "fence": 0, "updated_at": now, "counted_from": 0,
            }
            for trial in new
        ]  # fmt: skip
        self.insert_new(connection, schema.trials, rows)

    def register_sweep(
        self, connection: sa.Connection, sweep: SweepRecord, cells: Sequence[CellOf], created_at: float
    ) -> None:
        """The other part: the sweep and which trials, known already, fill its cells."""
        self.insert_new(connection, schema.sweeps, [{**asdict(sweep), "created_at": created_at}])
        sweep_id = connection.scalar(sa.select(schema.sweeps.c.id).where(schema.sweeps.c.digest == sweep.digest))
        ids = self.trial_ids(connection, [cell.trial for cell in cells])
        rows = [
            {
                "sweep_id": sweep_id, "row_index": cell.row, "column_index": cell.column, "trial_id": ids[cell.trial],
                "row_label": cell.row_label, "column_label": cell.column_label,
            }
            for cell in cells
        ]  # fmt: skip
        self.insert_new(connection, schema.cells, rows)

    def _register_variants(self, connection: sa.Connection, new: Sequence[NewTrial]) -> dict[str, int]:
        recipes = {trial.canonical: trial.recipe for trial in new}
        keys = {variant_key(canonical): canonical for canonical in recipes}
        rows = [
            {"key": key, "canonical": canonical, **recipe_columns(recipes[canonical])}
            for key, canonical in keys.items()
        ]
        self.insert_new(connection, schema.variants, rows)
        return {keys[key]: row_id for key, row_id in _ids(connection, schema.variants, keys).items()}

    def insert_new(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert those of the rows that are not there."""
        if rows:
            connection.execute(self.backend.insert(table).on_conflict_do_nothing(), rows)

    def trial_ids(self, connection: sa.Connection, keys: Iterable[str]) -> dict[str, int]:
        """Key -> id of these trials, as far as they are stored."""
        return _ids(connection, schema.trials, keys)


def _ids(connection: sa.Connection, table: sa.Table, keys: Iterable[str]) -> dict[str, int]:
    """Key -> id of these rows, as far as they are stored."""
    columns = sa.select(table.c.key, table.c.id)
    found: dict[str, int] = {}
    for chunk in chunks(list(dict.fromkeys(keys))):
        found |= {key: row_id for key, row_id in connection.execute(columns.where(table.c.key.in_(chunk)))}
    return found


def chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The items, as many at a time as one statement may name."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
