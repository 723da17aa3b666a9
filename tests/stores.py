"""Stores, and trials to put into them: what the tests of the store share, on one back end or on both.

A test module that says `BACKENDS = stores.BACKENDS` has each of its tests that uses `database`, `store` or `trials`
run through both; in others those are SQLite's.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import analytic
import pytest
import sqlalchemy as sa
from servers import PostgresServer

from tinyablate.identity import CORE_VERSION, canonical, trial_key
from tinyablate.job import Outcome
from tinyablate.recipe import Recipe, build
from tinyablate.store import schema
from tinyablate.store.records import CellOf, EnvironmentRecord, NewTrial, SweepRecord
from tinyablate.store.store import Store

BACKENDS = ("sqlite", "postgresql")

SWEEP = SweepRecord("digest", "demo/x", "A title", "text", False, "")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test on several back ends is as many tests."""
    if "database" in metafunc.fixturenames and (both := getattr(metafunc.module, "BACKENDS", None)):
        metafunc.parametrize("database", both, indirect=True)


@pytest.fixture(scope="session")
def postgres_tables(postgres: PostgresServer) -> str:
    """URL of the database on the tests' server that tests use in turn: emptying it takes a fraction of making one."""
    url = postgres.url("tables")
    Store(url).close()
    return url


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `--db` would say: an empty database of the back end that is asked for, whose home is the temporary folder.

    A test that changes tables of PostgreSQL, rather than rows, takes the fixture `postgres_url`.
    """
    if getattr(request, "param", "sqlite") == "sqlite":
        return str(tmp_path / "ablations.db")
    monkeypatch.setenv("TINYABLATE_RESULTS", str(tmp_path))
    url: str = request.getfixturevalue("postgres_tables")
    server: PostgresServer = request.getfixturevalue("postgres")
    tables = [table for table in reversed(schema.metadata.sorted_tables) if table is not schema.schema_version]
    with server.connect("tables") as connection:
        connection.execute("SET lock_timeout = '20s'")
        for table in tables:
            connection.execute(f"DELETE FROM {table.name}")
            if "id" in table.c:
                connection.execute(f"ALTER TABLE {table.name} ALTER id RESTART")
    return url


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """An empty store."""
    with Store(database) as opened:
        yield opened


def recipe(**changes: object) -> Recipe:
    """A small recipe with these changes (double underscore for the dot)."""
    leaves = {"model.name": "test_vit", "schedule.epochs": 3}
    return build(leaves | {path.replace("__", "."): value for path, value in changes.items()})


def new_trial(seed: int = 0, **changes: object) -> NewTrial:
    """A trial of that recipe."""
    made = recipe(**changes)
    text = canonical(made)
    return NewTrial(trial_key(text, seed, "shapes-v1"), made, text, seed, "shapes-v1")


def outcome_of(trial: NewTrial) -> Outcome:
    """The analytic outcome of a trial."""
    epochs = tuple(analytic.result(trial.recipe, trial.seed, e) for e in (1, 2, 3))
    return Outcome("complete", epochs, (("parameters", 5.0), ("trainable_parameters", 4.0), ("extra", 1.5)))


def registered(store: Store, seeds: int = 2) -> list[NewTrial]:
    """Trials put into the store: two recipes, under so many seeds each."""
    made = [new_trial(seed, optimizer__lr=lr) for lr in (1e-3, 1e-2) for seed in range(seeds)]
    cells = [CellOf(index // seeds, 0, f"row {index // seeds}", "", trial.key) for index, trial in enumerate(made)]
    store.register(SWEEP, made, cells)
    return made


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    """The answer to `sql`, as plain tuples."""
    with store.backend.read() as connection:
        return [tuple(row) for row in connection.execute(sa.text(sql))]


@pytest.fixture(name="new_trial")
def new_trial_fixture() -> Callable[..., NewTrial]:
    """Makes a trial of the small recipe with changes."""
    return new_trial


@pytest.fixture
def environment() -> EnvironmentRecord:
    """A place to compute in."""
    return EnvironmentRecord(
        host="machine.example", device="cpu", driver="", python="3.11", torch="2.15", torchvision="0.29", timm="1.0.31",
        ray="2.60", tinyablate="0.1.0", core_version=CORE_VERSION, train_digest="abc", git_commit="c0ffee",
        data_digest="d", weights_digest="", threads=1, compiled=False, memory_format="x",
    )  # fmt: skip


@pytest.fixture
def trials(store: Store) -> list[NewTrial]:
    """Four registered trials: two recipes under two seeds."""
    return registered(store)


@pytest.fixture(name="outcome_of")
def outcome_of_fixture() -> Callable[[NewTrial], Outcome]:
    """The analytic outcome of a trial."""
    return outcome_of
