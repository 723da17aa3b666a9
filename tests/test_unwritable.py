"""A database that cannot be written, is damaged or empty, a disk that is full: every command says what it is, and which
command is next; those that only read read."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import TINY, Cli
from disks import MEBIBYTE, NewDisk, fill, make_read_only, make_writable
from driven import begun, sweep, trials
from inspection.conftest import outcome

from tinyablate.cli import app
from tinyablate.errors import StoreError, TinyablateError, WorkError
from tinyablate.store.query import run_sql
from tinyablate.store.store import Store, open_existing

NOOP = {"TINYABLATE_LEARNER": "analytic:noop"}
INLINE = ("--launcher", "inline")
ONE = TINY.replace("seeds = [0, 1, 2]", "seeds = [0]")

COUNT = "SELECT count(*) FROM trials"


@pytest.fixture
def work(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A folder with a sweep of three trials, in which we stand."""
    cli.write(ONE)
    monkeypatch.chdir(cli.folder)
    for name, value in cli.env({}).items():
        monkeypatch.setenv(name, value)
    return cli


def here(*words: str, code: int = 0) -> str:
    """What a command says, to stdout or as its error, run in this process: a tenth of the time."""
    done = CliRunner().invoke(app, words)
    error = done.exception
    if isinstance(error, TinyablateError):
        assert error.exit_code == code, error
        return f"{done.stdout}error: {error}\n"
    assert done.exit_code == code, error or done.output
    return done.stdout


@pytest.fixture
def disk(small_disk: NewDisk) -> Path:
    """A file system of 16 MiB."""
    return small_disk(16 * MEBIBYTE)


def test_a_read_only_disk_is_read(work: Cli, disk: Path) -> None:
    """What reads says what it says of any database; what writes names the next command, which works."""
    database = str(disk / "a.db")
    work("run", "tiny", *INLINE, "--db", database, **NOOP)
    here("export", "out", "--db", database)
    looks = [("status",), ("table", "tiny"), ("plan", "tiny"), ("query", COUNT), ("watch",)]
    before = [here(*words, "--db", database) for words in looks]
    make_read_only(disk)
    assert [here(*words, "--db", database) for words in looks] == before
    here("report", "--db", database)
    here("export", "again", "--db", database)
    done = here("doctor", "--db", database, code=1)
    assert f"ok       database {database}: integrity ok" in done
    assert f"PROBLEM  database {database}: nothing can be stored: its file system is read-only" in done
    told = (
        f"error: {database}: cannot be written: its file system is read-only; it can be read, and copied to where it "
        f"can be written: tinyablate backup COPY.db --db {database}; then name the copy: --db COPY.db\n"
    )
    for words in (("run", "tiny", *INLINE), ("run", "tiny", "--set", "optimizer.lr=0.5"), ("import", "out")):
        assert here(*words, "--db", database, code=1).endswith(told)
    here("backup", "COPY.db", "--db", database)
    assert run_sql("COPY.db", COUNT).rows == ((3,),)
    with Store("COPY.db") as store:
        sweep(store, "mine", trials(1))


def test_trials_on_a_read_only_disk_are_not_put_back(work: Cli, disk: Path) -> None:
    """It is told as for a run, where there is something to put back."""
    database = str(disk / "a.db")
    broken = {"TINYABLATE_LEARNER": "analytic:raises", "TINYABLATE_STEP_SECONDS": "0.001"}
    work("run", "tiny", *INLINE, "--seeds", "2", "--db", database, code=1, **broken)
    make_read_only(disk)
    assert f"{database}: cannot be written: its file system is read-only" in here(
        "retry", "tiny", "--seeds", "2", "--db", database, code=1
    )


def test_a_disk_becomes_read_only_during_a_run(disk: Path) -> None:
    """As a damaged one does: the error is the same."""
    with Store(disk / "a.db") as store:
        sweep(store, "mine", trials(2))
        claim = begun(store, trials(1)[0])
    with Store(disk / "a.db") as reading:
        reading.states([])
        reading.backend.engine.dispose()
        make_read_only(disk)
        with pytest.raises(WorkError, match=r"a\.db: cannot be written: its file system is read-only; it can be read"):
            reading.finish(claim, outcome(["1", "0"]))


def test_results_that_a_killed_run_left_beside_the_file(disk: Path) -> None:
    """In its -wal, on a disk that is read-only: read with the -shm; without it refused, never left out."""
    path = disk / "a.db"
    code = (
        "import os, signal, sys; sys.path[:0] = sys.argv[2:]\n"
        "from driven import sweep, trials\nfrom tinyablate.store.store import Store\n"
        "store = Store(sys.argv[1]); sweep(store, 'mine', trials(3)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path), *sys.path], timeout=60)
    wal, memory = Path(f"{path}-wal"), Path(f"{path}-shm")
    assert wal.stat().st_size > 0
    make_read_only(disk)
    with open_existing(path) as store:
        assert len(store.states([each.key for each in trials(3)])) == 3
    assert run_sql(path, COUNT).rows == ((3,),)
    make_writable(disk)
    memory.unlink()
    make_read_only(disk)
    for reads in (lambda: open_existing(path), lambda: run_sql(path, COUNT)):
        with pytest.raises(StoreError, match=r"a\.db: its latest results are still in \S+a\.db-wal.*; copy both: cp "):
            reads()
    with pytest.raises(WorkError, match=r"a\.db: its latest results are still in \S+a\.db-wal"):
        Store(path)
    make_writable(disk)
    with Store(path):
        pass
    wal.touch()
    make_read_only(disk)
    assert run_sql(path, COUNT).rows == ((3,),)
    with open_existing(path) as store:
        assert len(store.states([each.key for each in trials(3)])) == 3


def test_nothing_is_made_on_a_read_only_disk(work: Cli, disk: Path) -> None:
    """Neither a database nor a backup: one error each."""
    with Store(work.folder / "results" / "ablations.db") as store:
        sweep(store, "mine", trials(1))
    make_read_only(disk)
    where = f"{disk}/new.db: cannot be made: its file system is read-only; choose another place: --db PATH\n"
    assert here("run", "tiny", *INLINE, "--db", f"{disk}/new.db", code=2).endswith(f"error: {where}")
    err = here("run", "tiny", *INLINE, "--db", f"{disk}/folder/new.db", code=2)
    assert err.endswith("cannot create its folder: Read-only file system\n")
    err = here("backup", f"{disk}/copy.db", code=2)
    assert err == f"error: {disk}/copy.db: the backup cannot be written: Read-only file system\n"


def test_an_empty_file_on_a_read_only_disk(disk: Path) -> None:
    """There is nothing to copy."""
    (disk / "a.db").touch()
    make_read_only(disk)
    with pytest.raises(WorkError, match=r"a\.db: cannot be made: its file system is read-only; choose another place"):
        Store(disk / "a.db")


def test_an_older_database_on_a_read_only_disk(disk: Path) -> None:
    """It cannot be brought up to date there; a copy of it can."""
    path = disk / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((Path(__file__).parent / "store" / "fixtures" / "schema-4.sql").read_text())
    connection.close()
    make_read_only(disk)
    with pytest.raises(
        StoreError, match=r"has schema version 4.*read-only.*tinyablate backup COPY\.db --db \S+old\.db"
    ):
        open_existing(path)


@pytest.mark.parametrize("new", [True, False])
def test_a_disk_that_is_full_before_a_run(new: bool, work: Cli, disk: Path) -> None:
    """What is free, what is needed and the next command are told as they are when it fills during one."""
    database = str(disk / "a.db")
    if not new:
        with Store(database) as store:
            sweep(store, "mine", trials(1))
    ballast = fill(disk, leave=0)
    err = here("run", "tiny", *INLINE, "--db", database, code=1)
    assert "no room" in err
    assert f"{disk}: 0 B free; the sweep needs about " in err
    assert err.endswith(f"free some, then: tinyablate run tiny --db {database}\n")
    ballast.unlink()
    if new:
        work("run", "tiny", *INLINE, "--db", database, **NOOP)


# ---- damaged, empty --------------------------------------------------------------------------------------------------


def overwritten(path: Path, start: int, end: int) -> None:
    """Rubbish in these bytes of a file."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * (end - start))


def test_a_damaged_database_names_the_next_step(work: Cli) -> None:
    """A copy beside it where there is one, `doctor`, and SQLite's own rescue."""
    path = work.folder / "results" / "ablations.db"
    with Store(path) as store:
        sweep(store, "mine", trials(300))
        store.backend.backup(path.with_name("monday.db"))
    overwritten(path, 4096, path.stat().st_size)
    rescue = f"sqlite3 {path} .recover | sqlite3 SAVED.db"
    for words, code in ((("status",), 1), (("query", COUNT), 1), (("run", "tiny", *INLINE), 1)):
        err = here(*words, code=code)
        assert f"{path}: is damaged (database disk image is malformed)" in err
        assert f"which may be a copy of it: tinyablate status --db {path.with_name('monday.db')}; " in err
        assert f"tinyablate doctor --db {path}" in err
        assert rescue in err
    assert rescue in here("doctor", code=1)
    path.with_name("monday.db").unlink()
    assert "a copy of it" not in here("status", code=1)
    overwritten(path, 0, 100)
    assert "not a usable SQLite database" in here("status", code=2)
    path.with_name("ablations.txt").write_bytes(b"")
    assert "not a usable SQLite database" in here("status", code=2)
    with Store(path.with_name("other.db")) as store:
        store.backend.backup(path.with_name("ablations.db.version-4.bak"))
    path.with_name("other.db").unlink()
    assert f"tinyablate status --db {path}.version-4.bak" in here("status", code=1)


def test_an_empty_file(work: Cli) -> None:
    """For what reads it is no database yet; what writes says that it takes it for a new one, once."""
    path = work.folder / "results" / "ablations.db"
    path.parent.mkdir()
    path.touch()
    for words in (
        ("status",),
        ("query", COUNT),
        ("table", "tiny"),
        ("backup", "copy.db"),
        ("watch",),
        ("retry", "tiny"),
    ):
        assert f"{path}: is empty: no database yet; run a sweep first" in here(*words, code=2)
    assert '"new": 3' in here("plan", "tiny", "--format", "json")
    assert f"database {path}: is empty: none yet" in here("doctor")
    assert path.stat().st_size == 0
    err = work("run", "tiny", *INLINE, **NOOP).stderr
    assert err.count("is empty: taken as a new database\n") == 1
    assert "new database:" not in err


def test_no_room_for_temporary_files(work: Cli, small_disk: NewDisk) -> None:
    """A run whose TMPDIR is full says so and what to do; nothing is left there, and no driver in the database."""
    folder = small_disk(MEBIBYTE)
    done = work("run", "tiny", code=1, TMPDIR=str(folder), **NOOP)
    wanted = (
        f"error: {folder}: the run finds no place for its temporary files: No space left on device; free some there"
    )
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr
    assert list(folder.glob("tinyablate-*")) == []
    assert work.sql("SELECT count(*) AS n FROM drivers WHERE ended_at IS NULL") == [{"n": 0}]


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


def large(path: Path, epochs: int) -> None:
    """A database with one result of so many epochs."""
    with Store(path) as store:
        sweep(store, "mine", trials(1))
        store.finish(begun(store, trials(1)[0]), outcome(["1", "0"]))
    with sqlite3.connect(path) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(stored_epochs)")]
        values = ", ".join("n" if name == "epoch" else name for name in columns)
        connection.execute(
            f"WITH RECURSIVE numbers(n) AS (SELECT 3 UNION ALL SELECT n + 1 FROM numbers WHERE n < {epochs}) "
            f"INSERT INTO stored_epochs ({', '.join(columns)}) "
            f"SELECT {values} FROM stored_epochs, numbers WHERE epoch = 1"
        )
    connection.close()


def test_ctrl_c_during_an_export(cli: Cli) -> None:
    """Wherever it comes, one word is said, the exit code is Ctrl-C's, and the folder is known as half an export."""
    large(cli.folder / "results" / "ablations.db", 60_000)
    rng, out, stopped = random.Random(0), cli.folder / "out", 0
    for _ in range(12):
        export = cli.start("export", "out")
        end = time.monotonic() + 30
        while not any(out.glob(".epochs.*")) and export.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        export.send_signal(signal.SIGINT)
        _, err = export.communicate(timeout=60)
        assert [name for name in os.listdir(out) if name.startswith(".")] == []
        if (out / "epochs.parquet").exists() and not err:  # it was through before: 0, or by the signal as Python ends
            shutil.rmtree(out)
            continue
        assert (export.returncode, err.strip()) == (130, "stopped")
        stopped += 1
        if stopped == 3:
            break
    assert stopped == 3, "no signal came in time"
    assert "half an export" in cli("import", "out", "--db", "other.db", code=2).stderr
