"""The files that leave a database (mirror, export, backup), killed at every fsync and rename: whole, or not there."""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from reliability.life import SOAK, Says, fork, work

from tinyablate.errors import StoreError
from tinyablate.store import form, parquet
from tinyablate.store.exchange import export
from tinyablate.store.store import Store

Writes = Callable[[Store, Path], object]


def mirrored(store: Store, folder: Path) -> None:
    """The mirror lies beside its database, wherever another one was asked for."""
    parquet.mirror(store)


def copied(store: Store, folder: Path) -> None:
    """A backup in the folder."""
    folder.mkdir(exist_ok=True)
    store.backend.backup(folder / "copy.db")


MOST = 5
"""Deaths of each in the suite."""

WRITERS = {"parquet": mirrored, "export": export, "backup": copied}


def writes(writer: Writes, database: Path, folder: Path, says: Says) -> None:
    """Open the database and write from it."""
    with Store(database) as store:
        writer(store, folder)


def whole(folder: Path) -> dict[str, str]:
    """Digest of each file that has its final name, all of which must be whole."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        if path.is_dir() or path.name.startswith("."):
            continue
        if path.suffix == ".parquet":
            pq.read_table(path)
        elif path.suffix == ".db":
            with sqlite3.connect(path) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.close()
        found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_killed_while_files_are_written(name: str, tmp_path: Path) -> None:
    """At each death every file is whole, as before or as it will be; then it is as an undisturbed process writes it."""
    database, folder, kept = tmp_path / "ablations.db", tmp_path / name, tmp_path / "kept"
    with Store(database) as store:
        work(store, 1)
        WRITERS[name](store, folder)
        shutil.copytree(folder, kept)
        work(store, 2)
    task = partial(writes, WRITERS[name], database, folder)
    assert fork(task, str(tmp_path / "points")).code == 0
    before, after = whole(kept), whole(folder)
    assert before != after
    points = (tmp_path / "points").read_text().splitlines()
    lasting = [number for number, point in enumerate(points, start=1) if not point.startswith("statement")]
    assert len(lasting) >= 6
    for number in lasting if SOAK else lasting[:: max(1, len(lasting) // MOST)]:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        assert fork(task, str(number)).code < 0
        found = whole(folder)
        others = {file for file in found if found[file] not in (before.get(file), after.get(file))}
        assert others <= {form.MANIFEST}, points[number - 1]
        if name == "export" and found not in (before, after):
            with pytest.raises(StoreError, match="half an export"):
                form.check(folder)
        assert fork(task).code == 0
        assert whole(folder) == after, points[number - 1]
