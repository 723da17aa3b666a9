"""A database of every version, killed at any statement of its migration, is whole, opens again and has its results."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from reliability.life import SOAK, fork
from reliability.promise import broken

from tinyablate.store import schema
from tinyablate.store.store import Store

FIXTURES = sorted((Path(__file__).parents[1] / "store" / "fixtures").glob("*.sql"))
EVERY = 1 if SOAK else 37
"""Of the points within the transaction, every so manieth in the suite."""


def dump(path: Path) -> list[str]:
    """The database as SQL, but for the times of its migrations."""
    with sqlite3.connect(path) as connection:
        lines = [line for line in connection.iterdump() if not line.startswith('INSERT INTO "schema_version"')]
    connection.close()
    return sorted(lines)


def whole(path: Path) -> int:
    """The version of a database file that must be whole."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone()
        version = connection.execute("SELECT max(version) FROM schema_version").fetchone()[0] if there else 0
    connection.close()
    return int(version or 0)


def copies(folder: Path, content: bytes) -> Iterator[Path]:
    """The same database again and again, each in a folder of its own."""
    for number in range(10_000):
        path = folder / str(number) / "old.db"
        path.parent.mkdir()
        path.write_bytes(content)
        yield path


@pytest.mark.parametrize("stored", [None, *FIXTURES], ids=lambda path: path.stem if path else "new")
def test_killed_within_a_migration(stored: Path | None, tmp_path: Path) -> None:
    """After each kill the file is whole, as it was or as it will be; opened again it is as if nothing had been."""
    with sqlite3.connect(tmp_path / "made.db") as connection:
        connection.executescript(stored.read_text() if stored else "")
    connection.close()
    path = copies(tmp_path, (tmp_path / "made.db").read_bytes())
    first = next(path)
    before = whole(first)
    Store(first).close()
    wanted = dump(first)

    def opens(path: Path) -> Callable[..., None]:
        return lambda says: Store(path).close()

    fork(opens(next(path)), str(tmp_path / "points"))
    points = (tmp_path / "points").read_text().splitlines()
    assert len(points) > 20 or before == schema.SCHEMA_VERSION
    for point, name in enumerate(points, start=1):
        if name.startswith("statement") and not name.endswith("COMMIT") and point % EVERY:
            continue
        killed = next(path)
        assert fork(opens(killed), str(point)).code < 0
        after, backup = whole(killed), killed.with_name(f"old.db.version-{before}.bak")
        assert after in (before, schema.SCHEMA_VERSION), name
        if before:
            assert whole(backup) == before if backup.exists() else after == before, name
        with Store(killed) as store:
            assert broken(store.engine()) == [], name
        assert dump(killed) == wanted, name
