"""Readers in a loop while a driver writes: the driver never fails, and nobody ever sees half a trial."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import stores

import tinyablate
from tinyablate.job import Outcome
from tinyablate.store.location import Location
from tinyablate.store.parquet import mirror
from tinyablate.store.query import run_sql
from tinyablate.store.reading import ReadOnly
from tinyablate.store.records import NewTrial
from tinyablate.store.store import Store

BACKENDS = stores.BACKENDS

SECONDS = 2.5

HALF = (
    "SELECT count(*) FROM stored_trials t WHERE (t.state = 'complete') <> (t.accepted_attempt_id IS NOT NULL) OR "
    "t.state = 'complete' AND (3 <> (SELECT count(*) FROM stored_epochs e WHERE e.attempt_id = t.accepted_attempt_id) "
    "OR 1 <> (SELECT count(*) FROM stored_outcomes o WHERE o.attempt_id = t.accepted_attempt_id) "
    "OR 3 <> (SELECT count(*) FROM metrics m WHERE m.attempt_id = t.accepted_attempt_id) "
    "OR 'complete' <> (SELECT state FROM attempts a WHERE a.id = t.accepted_attempt_id))"
)
"""Trials that are complete and lack a part of their result."""


def asks(url: str) -> None:
    """`tinyablate query`."""
    assert run_sql(url, HALF).rows == ((0,),)


def opens(url: str) -> None:
    """A notebook: what it reads later holds at least what it read before."""
    with tinyablate.open(url, backend="pyarrow") as results:
        done = set(results.trials(where="state = 'complete'")["trial"].to_pylist())
        epochs = results.epochs()["trial"].to_pylist()
    assert all(epochs.count(key) == 3 for key in done)


def mirrors(url: str) -> None:
    """The Parquet files, of which each set shows one moment."""
    with ReadOnly(url) as store:
        folder = mirror(store)
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in ("trials", "epochs", "outcomes")}
    done = tables["trials"].filter(tables["trials"]["epochs"].is_valid())["trial"].to_pylist()
    assert sorted(tables["outcomes"]["trial"].to_pylist()) == sorted(done)
    assert sorted(tables["epochs"]["trial"].to_pylist()) == sorted(done * 3)


SHELL = """
import itertools, sqlite3, sys
for count in itertools.count():  # other programs, which open the file for writing too, and dawdle over an answer
    connection = sqlite3.connect(sys.argv[1])
    cursor = connection.execute("SELECT * FROM trials t JOIN epochs e ON e.trial = t.trial")
    cursor.fetchmany(5)
    ((half,),) = connection.execute(sys.argv[2])
    connection.close()
    print(half, flush=True)
"""


@pytest.fixture
def shell(database: str) -> Iterator[Callable[[], list[str]]]:
    """Another program in a loop on the same file; called, it is ended and gives what it saw. Nothing on a server."""
    if Location.of(database).path is None:
        yield lambda: ["0"]
        return
    Store(database).close()
    words = [sys.executable, "-c", SHELL, database, HALF]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ended() -> list[str]:
        assert process.poll() is None, process.communicate()
        process.terminate()
        return process.communicate()[0].split()

    yield ended
    process.kill()
    process.communicate()


def test_readers_in_a_loop(
    database: str, shell: Callable[[], list[str]], outcome_of: Callable[[NewTrial], Outcome], tmp_path: Path
) -> None:
    """For some seconds trials are claimed, beaten for and finished, some fail, while all kinds of readers read."""
    errors, until, reads = list[BaseException](), time.monotonic() + SECONDS, dict[str, int]()

    def reads_on(read: Callable[[str], None]) -> None:
        try:
            while time.monotonic() < until:
                read(database)
                reads[read.__name__] = reads.get(read.__name__, 0) + 1
        except BaseException as error:
            errors.append(error)

    with Store(database) as store:
        made = stores.registered(store, seeds=100)
        threads = [threading.Thread(target=reads_on, args=[read]) for read in (asks, opens, mirrors)]
        for thread in threads:
            thread.start()
        finished = 0
        for number, trial in enumerate(made):
            (claim,) = store.claim([trial.key], trial.key)
            store.heartbeat({claim: None})
            if number % 5:
                finished += store.finish(claim, outcome_of(trial))
            else:
                store.fail(claim, "exception", "no", "")
            if time.monotonic() > until:
                break
        for thread in threads:
            thread.join()
        seen = shell()
        assert not errors, errors
        assert set(seen) == {"0"}
        assert set(reads) == {"asks", "opens", "mirrors"}
        assert finished >= 3  # as many as a busy machine comes to
        assert run_sql(database, "SELECT count(*) FROM trials WHERE state = 'complete'").rows == ((finished,),)
