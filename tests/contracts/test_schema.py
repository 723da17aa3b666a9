"""Both databases have the tables, columns, keys, indexes and views that the code declares, and hold the same values."""

import dataclasses

import pytest
import sqlalchemy as sa
import stores
from stores import SWEEP, new_trial, outcome_of, rows

from tinyablate.job import FileDigest, Outcome
from tinyablate.recipe import field_specs
from tinyablate.store import schema
from tinyablate.store.columns import views
from tinyablate.store.records import CellOf, NewTrial
from tinyablate.store.store import Store

BACKENDS = stores.BACKENDS

SAME = {"DOUBLE PRECISION": "FLOAT", "BYTEA": "BLOB"}
"""PostgreSQL's names of types and SQLite's."""


def kind(store: Store, type_: "sa.types.TypeEngine[object]") -> str:
    """Name of a column's type, as SQLite says it."""
    dialect = store.engine().dialect
    name = type_.compile(dialect=dialect).partition(" COLLATE")[0]
    return SAME.get(name, name)


def test_tables_are_those_that_the_code_declares(store: Store) -> None:
    """Names and types of columns, and where none may be missing: a change of `schema` needs a new version."""
    inspector = sa.inspect(store.engine())
    assert set(inspector.get_table_names()) == set(schema.metadata.tables)
    for name, table in schema.metadata.tables.items():
        found = {c["name"]: (kind(store, c["type"]), c["nullable"]) for c in inspector.get_columns(name)}
        assert found == {c.name: (kind(store, c.type), c.nullable) for c in table.columns}, name
    fields = {schema.column_name(path) for path in field_specs()}
    assert fields <= {column["name"] for column in inspector.get_columns("trials")}


def test_keys_are_those_that_the_code_declares(store: Store) -> None:
    """Primary, unique and foreign keys, and indexes by their names."""
    inspector = sa.inspect(store.engine())
    for name, table in schema.metadata.tables.items():
        assert inspector.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key], name
        unique = {tuple(u["column_names"]) for u in inspector.get_unique_constraints(name)}
        declared = [c for c in table.constraints if isinstance(c, sa.UniqueConstraint)]
        assert unique == {tuple(c.name for c in each.columns) for each in declared}, name
        found = {(k["constrained_columns"][0], k["referred_table"]) for k in inspector.get_foreign_keys(name)}
        assert found == {(k.parent.name, k.column.table.name) for k in table.foreign_keys}, name
        indexes = {
            i["name"]: i["column_names"] for i in inspector.get_indexes(name) if "duplicates_constraint" not in i
        }
        assert indexes == {str(i.name): [c.name for c in i.columns] for i in table.indexes}, name


def test_views_are_those_that_people_are_told_of(store: Store) -> None:
    """Each has the columns that `tinyablate columns` lists, in order."""
    inspector = sa.inspect(store.engine())
    assert set(inspector.get_view_names()) == set(views())
    for name, columns in views().items():
        assert [c["name"] for c in inspector.get_columns(name)] == [c.name for c in columns], name


def test_texts_are_ordered_by_their_bytes(store: Store) -> None:
    """As SQLite does and Python for these, whatever the server's language is."""
    labels = ["Z", "a", "B", "ä", "z", "A", "", "_", "a b", "ab", "中", "\u202eab"]
    made = [new_trial(seed) for seed in range(len(labels))]
    cells = [CellOf(n, 0, label, "", trial.key) for n, (label, trial) in enumerate(zip(labels, made, strict=True))]
    store.register(SWEEP, made, cells)
    found = [label for (label,) in rows(store, "SELECT row_label FROM cells ORDER BY row_label")]
    assert found == sorted(labels, key=str.encode)
    assert rows(store, "SELECT count(*) FROM cells WHERE row_label > 'a'") == [(sum(x > "a" for x in labels),)]


def test_values_that_databases_differ_about(store: Store, trials: list[NewTrial]) -> None:
    """nan is NULL; NUL and half characters are replaced; large numbers and bytes are what they were."""
    one, two = store.claim([trial.key for trial in trials[:2]], "job")
    assert store.fail(one, "exception", "a\0b \ud800 %s :x ' \\ 中\u202e", "line\nline\t100 %")
    assert rows(store, "SELECT message, traceback FROM attempts WHERE state = 'failed'") == [
        ("a\ufffdb ? %s :x ' \\ 中\u202e", "line\nline\t100 %")
    ]
    outcome = outcome_of(trials[1])
    epochs = tuple(dataclasses.replace(e, val_loss=float("nan"), train_loss=float("inf")) for e in outcome.epochs)
    large = (("macs", 2.0**45), ("train_peak_memory", 2.0**40), ("extra", float("nan")))
    files = (FileDigest("weights", "w.pt", "00", 2**41),)
    assert store.finish(two, Outcome("complete", epochs, large, files=files))
    assert rows(store, "SELECT last_val_loss, best_train_loss, macs, train_peak_memory FROM trials WHERE macs > 0") == [
        (None, None, 2**45, 2**40)
    ]
    assert rows(store, "SELECT value FROM metrics WHERE name = 'extra'") == [(None,)]
    assert rows(store, "SELECT bytes FROM artefacts") == [(2**41,)]
    assert rows(store, "SELECT bits FROM correctness WHERE epoch = 1") == [(outcome.epochs[0].correct,)]
    far = new_trial(2**40)
    store.register(SWEEP, [far], [])
    assert rows(store, "SELECT max(seed) FROM trials") == [(2**40,)]


@pytest.mark.parametrize("text", ["'; DROP TABLE stored_trials; --", "%(key)s", ":key", "$1", "a\\'b", "<script>"])
def test_texts_are_no_sql(store: Store, text: str) -> None:
    """Whatever a label or a name says is stored as it is."""
    made = new_trial()
    sweep = dataclasses.replace(SWEEP, name=text, title=text, text=text)
    store.register(sweep, [made], [CellOf(0, 0, text, text, made.key)])
    assert rows(store, "SELECT sweep, title, row_label, column_label FROM cells") == [(text,) * 4]
    assert rows(store, "SELECT sweeps FROM trials") == [(text,)]
