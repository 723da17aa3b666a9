"""The Parquet mirror beside the database, for pandas, polars and DuckDB. Written, never read, by tinyablate."""

import os
from pathlib import Path

import sqlalchemy as sa

from tinyablate.store import schema
from tinyablate.store.store import CHUNK, Store

_QUERIES = {
    "trials": "SELECT * FROM results",
    "epochs": "SELECT * FROM curves",
    "outcomes": "SELECT o.*, t.key AS trial, a.state AS attempt_state, "
    "t.accepted_attempt_id = o.attempt_id AS accepted "
    "FROM outcomes o JOIN trials t ON t.id = o.trial_id JOIN attempts a ON a.id = o.attempt_id",
    "cells": "SELECT s.name AS sweep, s.digest, s.smoke, c.row_index, c.column_index, c.row_label, c.column_label, "
    "t.key AS trial, t.seed, t.state FROM cells c "
    "JOIN sweeps s ON s.id = c.sweep_id JOIN trials t ON t.id = c.trial_id",
}


def mirror(store: Store) -> Path:
    """Write trials, epochs, outcomes and cells to `parquet/` beside the database; each file aside, then renamed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = store.home / "parquet"
    folder.mkdir(exist_ok=True)
    types = _arrow_types(pa)
    with store.engine().connect() as connection:
        for name, sql in _QUERIES.items():
            result = connection.execution_options(yield_per=CHUNK).execute(sa.text(sql))
            schema_of_file = pa.schema([(column, types.get(column, pa.string())) for column in result.keys()])  # noqa: SIM118
            aside = folder / f".{name}.{os.getpid()}.parquet"
            with pq.ParquetWriter(aside, schema_of_file) as writer:
                for rows in result.partitions():
                    writer.write_table(pa.table(list(map(list, zip(*rows, strict=True))), schema=schema_of_file))
            os.replace(aside, folder / f"{name}.parquet")
    return folder


def _arrow_types(pa: "object") -> dict[str, object]:
    """Column name -> Arrow type, from the schema: a column keeps its type even while it is all NULL."""
    by_python = {int: pa.int64(), float: pa.float64(), bool: pa.int64()}  # type: ignore[attr-defined]
    types = {
        column.name: by_python.get(column.type.python_type, pa.string())  # type: ignore[attr-defined]
        for table in schema.metadata.tables.values()
        for column in table.columns
        if column.type.python_type is not bytes
    }
    return types | {"trial": pa.string(), "accepted": pa.int64()}  # type: ignore[attr-defined]
