"""No room left, for a result or for a checkpoint: a clear error, nothing half, and with room again it goes on."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from disks import MEBIBYTE, fill
from reliability.life import ENVIRONMENT, Says, a_checkpoint, fork, new_trial, outcome, register
from reliability.promise import broken
from servers import NOBODY, PostgresServer

from tinyablate.errors import DiskFullError
from tinyablate.job import Outcome
from tinyablate.store.records import Claim
from tinyablate.store.store import Store
from tinyablate.train import checkpoint


def large(bytes_each: int = 100_000) -> Outcome:
    """A result that needs room: bits of 800,000 images."""
    plain = outcome(0)
    return replace(plain, epochs=tuple(replace(epoch, correct=os.urandom(bytes_each)) for epoch in plain.epochs))


def claimed(store: Store) -> Claim:
    """One trial, claimed and begun."""
    trial = new_trial(0)
    register(store, 1, [trial])
    (claim,) = store.claim([trial.key], "job")
    store.begin(claim, ENVIRONMENT, 1, None)
    return claim


def holds(store: Store, claim: Claim) -> None:
    """Nothing of a result that did not fit is there, and the claim is as it was."""
    assert broken(store.engine()) == []
    assert store.states([claim.key])[claim.key].state == "running"
    assert store.heartbeat({claim: None}) == set()


def test_no_page_left_at_any_statement(tmp_path: Path) -> None:
    """SQLite is refused its next page at one after another: each time the whole result is undone, and fits later."""
    with Store(tmp_path / "a.db") as store:
        claim = claimed(store)
        with store.engine().connect() as connection:
            pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
        refused = 0
        for more in range(1, 100):
            with store.engine().connect() as connection:  # the pool has one connection, which keeps the limit
                connection.exec_driver_sql(f"PRAGMA max_page_count={pages + more}")
            said = refusal(lambda: store.finish(claim, large(20_000)))
            assert broken(store.engine()) == []
            if not said:
                break
            refused += 1
            assert said.startswith(f"{tmp_path / 'a.db'}: no room for results")
            assert store.states([claim.key])[claim.key].state == "running"
        assert refused > 5  # two epochs of 20,000 bytes, in pages of 4,096, some of which were free
        assert store.states([claim.key])[claim.key].state == "complete"


def refusal(call: Callable[[], object]) -> str:
    """What the call says where there is no room for what it does."""
    try:
        call()
    except DiskFullError as error:
        return str(error)
    return ""


def test_a_disk_fills_during_a_commit(small_disk: Callable[[int], Path]) -> None:
    """On a full disk the result is refused, the trial can be claimed by others, and what was stored before is there."""
    folder = small_disk(4 * MEBIBYTE)
    with Store(folder / "a.db") as store:
        before = new_trial(7)
        register(store, 2, [before])
        (done,) = store.claim([before.key], "before")
        assert store.finish(done, large())
        claim = claimed(store)
        ballast = fill(folder, leave=60_000)
        with pytest.raises(DiskFullError, match="no room for results on the disk"):
            store.finish(claim, large())
        assert store.states([before.key])[before.key].state == "complete"
        assert broken(store.engine()) == []
        with pytest.raises(DiskFullError, match="the backup cannot be written"):
            store.backend.backup(folder / "copy.db")
        assert {path.name for path in folder.iterdir()} <= {"a.db", "a.db-wal", "a.db-shm", "ballast"}
        ballast.unlink()
        holds(store, claim)
        store.release(claim, "disk full")
        (again,) = store.claim([claim.key], "again")
        assert again.causes == ("disk full",)
        assert store.finish(again, large())
        assert broken(store.engine()) == []


def test_a_disk_fills_during_a_checkpoint(small_disk: Callable[[int], Path]) -> None:
    """The checkpoint before stays, of the new one nothing does, and the message says how much there was room for."""
    folder = small_disk(MEBIBYTE)
    first = a_checkpoint("key", 0)
    checkpoint.save(folder, first)
    ballast = fill(folder, leave=100_000)
    second = replace(first, epoch=2, learner={"weight": torch.rand(100_000)})
    with pytest.raises(DiskFullError, match=r"epoch-0002\.pt: no room for a file of 400,0.. bytes"):
        checkpoint.save(folder, second)
    assert {path.name for path in folder.iterdir()} == {"ballast", "epoch-0001.pt"}
    assert checkpoint.load(folder / "epoch-0001.pt") is not None
    ballast.unlink()
    checkpoint.save(folder, second)
    assert checkpoint.load(folder / "epoch-0002.pt") is not None


def limited(database: str, says: Says) -> None:
    """A process that may write no file larger than what is there now, as under a quota."""
    with Store(database) as store:
        claim = claimed(store)
        size = max(path.stat().st_size for path in store.home.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, resource.RLIM_INFINITY))
        says(refusal(lambda: store.finish(claim, large())))
        says(refusal(lambda: checkpoint.save(claim.directory, a_large_checkpoint())))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        holds(store, claim)
        says(store.finish(claim, large()))


def a_large_checkpoint() -> checkpoint.Checkpoint:
    """One of 8 MB."""
    return replace(a_checkpoint("key", 0), learner={"weight": torch.rand(2_000_000)})


def test_a_quota_is_met(tmp_path: Path) -> None:
    """A limit on the size of files is told as a full disk, for results and for checkpoints."""
    result, saved, accepted = fork(partial(limited, str(tmp_path / "a.db"))).told
    assert "no room for results on the disk" in result[0]
    assert "no room for a file of 8,000,0" in saved[0]
    assert os.strerror(errno.EFBIG) in saved[0]
    assert accepted == [True]
    with Store(tmp_path / "a.db") as store:
        assert broken(store.engine()) == []


@pytest.fixture
def crowded(postgres: PostgresServer, small_disk: Callable[[int], Path]) -> Iterator[tuple[str, Path]]:
    """A database on a small disk of its own, and where that is."""
    disk = small_disk(24 * MEBIBYTE)
    if os.geteuid() == 0:
        os.chown(disk, NOBODY, NOBODY)
    with postgres.connect("postgres") as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        connection.execute("CREATE DATABASE crowded TABLESPACE small")
    yield postgres.address("crowded"), disk
    (disk / "ballast").unlink(missing_ok=True)  # the server serves other tests
    postgres.drop("crowded")
    with postgres.connect("postgres") as connection:
        connection.execute("DROP TABLESPACE small")


def test_a_server_has_no_room(crowded: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PostgreSQL's disk fills: the same error, the whole result undone; with room again it is stored."""
    monkeypatch.setenv("TINYABLATE_RESULTS", str(tmp_path))
    database, disk = crowded
    with Store(database) as store:
        claim = claimed(store)
        with store.engine().connect() as connection:  # what other tests' reading would push out of memory later
            connection.exec_driver_sql("CHECKPOINT")
        ballast = fill(disk, leave=100_000)
        with pytest.raises(DiskFullError, match="no room for results on its disk"):
            store.finish(claim, large(400_000))
        ballast.unlink()  # a server may have to write before it can read
        holds(store, claim)
        assert store.finish(claim, large(400_000))
        assert broken(store.engine()) == []
