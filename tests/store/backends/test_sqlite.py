"""SQLite's file: which are refused, how it is opened, what a migration and a backup leave, and full disks."""

import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import SWEEP, new_trial, registered, rows

from tinyablate.errors import DiskFullError, StoreError, WorkError
from tinyablate.store import schema
from tinyablate.store.backends import backend, open_backend, sqlite
from tinyablate.store.location import Location
from tinyablate.store.store import Store, open_existing

FIXTURES = Path(__file__).parents[1] / "fixtures"


def old(path: Path, version: int) -> Path:
    """A database as that version left it."""
    with sqlite3.connect(path) as connection:
        connection.executescript((FIXTURES / f"schema-{version}.sql").read_text())
    connection.close()
    return path


def dump(path: Path) -> list[str]:
    """A database as SQL."""
    connection = sqlite3.connect(path)
    lines = list(connection.iterdump())
    connection.close()
    return lines


def test_pragmas_hold(store: Store) -> None:
    """WAL, full synchronisation, foreign keys and a busy timeout are on for every connection."""
    with store.engine().connect() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert values == ["wal", 2, 1, 60000]


def test_newer_database_is_refused(tmp_path: Path) -> None:
    """A database of a newer schema names both versions and the command."""
    path = tmp_path / "new.db"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99, 0, '9.9')")
    known = rf"this tinyablate .* knows versions up to {schema.SCHEMA_VERSION}\b"
    message = rf"schema version 99, written by tinyablate 9\.9; {known}.*pip install --upgrade"
    with pytest.raises(StoreError, match=message):
        Store(path)


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    """Garbage, another program's database, a folder and another kind of URL each get one clear message."""
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"this is not a database at all, and long enough to be read as one" * 20)
    with pytest.raises(StoreError, match="not a usable SQLite database"):
        Store(garbage)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE something (x)")
    with pytest.raises(StoreError, match="another program"):
        Store(other)
    with sqlite3.connect(other) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",), "it was changed"
    with pytest.raises(StoreError, match="is a folder"):
        Store(tmp_path)


def test_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database on NFS is refused with the cure."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/x {tmp_path} nfs4 rw 0 0\nroot / ext4 rw 0 0\n")
    monkeypatch.setattr(sqlite, "MOUNTS", mounts)
    with pytest.raises(StoreError, match=r"network file system \(nfs4\).*local disk"):
        Store(tmp_path / "a.db")


def test_none_is_made_by_reading(tmp_path: Path) -> None:
    """A command that only reads leaves no empty database behind."""
    with pytest.raises(StoreError, match=r"no such database; run a sweep first \(tinyablate run SWEEP\)"):
        open_existing(tmp_path / "none.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", [1, 4])
def test_a_copy_is_kept_before_a_migration(version: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It holds what the database held, is named in one line on stderr, and is made once."""
    path = old(tmp_path / "old.db", version)
    before = dump(path)
    Store(path).close()
    kept = tmp_path / f"old.db.version-{version}.bak"
    said = f"{path}: schema version {version} becomes {schema.SCHEMA_VERSION}; kept: {kept}\n"
    assert capsys.readouterr().err == said
    assert dump(kept) == before
    Store(path).close()
    assert capsys.readouterr().err == ""
    assert {each.name for each in tmp_path.iterdir()} == {"old.db", kept.name}


def test_a_migration_without_its_copy_is_none(tmp_path: Path) -> None:
    """Where the copy cannot be written the database stays as it was."""
    path = old(tmp_path / "old.db", 4)
    (tmp_path / "old.db.version-4.bak").mkdir()
    with pytest.raises(StoreError, match=r"version-4\.bak: the backup cannot be written"):
        Store(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT max(version) FROM schema_version").fetchone() == (4,)


def test_several_processes_migrate_once(tmp_path: Path) -> None:
    """Opened by several at once, an old database is migrated by one of them, and all go on."""
    path = old(tmp_path / "old.db", 4)
    code = "import sys; from tinyablate.store.store import Store; Store(sys.argv[1]).close()"
    words = [sys.executable, "-c", code, str(path)]
    running = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert sum("kept:" in text for text in said) == 1


def test_a_backup_is_the_database(tmp_path: Path) -> None:
    """Made while another writes: one whole file with all that was committed, opened as any other; nothing beside it."""
    with Store(tmp_path / "ablations.db") as store:
        trials = registered(store)
        with store.backend.transaction() as connection:
            connection.execute(schema.sweeps.delete().where(schema.sweeps.c.id < 0))  # holds the write lock
            store.backend.backup(tmp_path / "copies" / "copy.db")
        assert [each.name for each in (tmp_path / "copies").iterdir()] == ["copy.db"]
        assert dump(tmp_path / "copies" / "copy.db") == dump(tmp_path / "ablations.db")
    with Store(tmp_path / "copies" / "copy.db") as copy:
        assert len(copy.claim([trial.key for trial in trials], "job")) == 4


def test_a_backup_replaces_only_a_backup(tmp_path: Path) -> None:
    """Not a file of another kind, a folder, the database itself, nor a database that is in use."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with Store(tmp_path / "ablations.db") as store, Store(tmp_path / "used.db") as used:
        registered(used)
        copied = store.backend.backup
        copied(tmp_path / "copy.db")
        copied(tmp_path / "copy.db")
        for name, message in {
            "thesis.txt": "is there already, and no backup",
            "ablations.db": "is there already, and no backup",
            "used.db": "is a database in use",
            ".": "is a folder",
        }.items():
            with pytest.raises(StoreError, match=message):
                copied(tmp_path / name)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_damage_is_found(tmp_path: Path) -> None:
    """A file with a page of rubbish is named by `check`, and is not copied as if it were sound."""
    path = tmp_path / "ablations.db"
    with Store(path) as store:
        registered(store, seeds=200)
        assert store.backend.check() == [(True, f"database {path}: integrity ok")]
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 4096)
        file.write(b"\xff" * 4096)
    damaged = open_backend(Location.of(path), read_only=True)
    assert [fine for fine, _ in damaged.check()] == [False]
    with pytest.raises(StoreError, match=r"is damaged|cannot be written"):
        damaged.backup(tmp_path / "copy.db")
    damaged.close()
    assert not (tmp_path / "copy.db").exists()


def test_a_reference_to_nothing_is_found(tmp_path: Path) -> None:
    """What another program wrote without foreign keys is named."""
    with Store(tmp_path / "ablations.db") as store:
        with sqlite3.connect(tmp_path / "ablations.db") as other:
            other.execute("INSERT INTO stored_cells VALUES (1, 1, 0, 99, 'row', '')")
        assert [fine for fine, _ in store.backend.check()] == [True, False]


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 400 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_no_room_is_said(tmp_path: Path, small_files: None) -> None:
    """Where the file cannot grow the transaction has done nothing, the error says why, and the database is whole."""
    with Store(tmp_path / "ablations.db") as store:
        many = [new_trial(seed) for seed in range(3_000)]
        with pytest.raises(DiskFullError, match="no room for results on the disk"):
            store.register(SWEEP, many, [])
        assert rows(store, "SELECT count(*) FROM stored_trials") == [(0,)]
        store.register(SWEEP, many[:10], [])
        assert rows(store, "SELECT count(*) FROM stored_trials") == [(10,)]
        assert [fine for fine, _ in store.backend.check()] == [True]


def test_a_lock_that_is_held_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer waits for another, and says so when it gave up; readers do not wait."""
    monkeypatch.setattr(backend, "BUSY_SECONDS", 0.05)
    with Store(tmp_path / "ablations.db") as store, Store(tmp_path / "ablations.db") as other:
        trials = registered(store)
        with other.backend.transaction():
            with pytest.raises(WorkError, match=r"cannot be written: database is locked; run again to continue"):
                store.claim([trials[0].key], "job")
            assert store.states([trials[0].key])[trials[0].key].state == "pending"


def test_a_reader_in_a_loop_hinders_nobody(tmp_path: Path) -> None:
    """While another process keeps a snapshot open and reads on, results are committed; its snapshot stays."""
    with Store(tmp_path / "ablations.db") as store, Store(tmp_path / "ablations.db") as reader:
        trials = registered(store)
        with reader.backend.snapshot() as connection:
            pending = "SELECT count(*) FROM trials WHERE state = 'pending'"
            assert connection.exec_driver_sql(pending).scalar() == 4
            writer = threading.Thread(target=store.claim, args=([trial.key for trial in trials], "job"))
            writer.start()
            writer.join(20)
            assert connection.exec_driver_sql(pending).scalar() == 4
        assert rows(reader, pending) == [(0,)]
