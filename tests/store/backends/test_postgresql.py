"""PostgreSQL's server: which databases are refused and why, what is said when it goes, and its own locks."""

import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import stores
from servers import PASSWORD, USER, PostgresServer
from stores import new_trial, registered, rows

from tinyablate.errors import AwayError, StoreError, WorkError
from tinyablate.store import schema
from tinyablate.store.backends import backend, postgresql
from tinyablate.store.columns import VIEWS
from tinyablate.store.location import Location
from tinyablate.store.store import Store, open_existing

FIXTURES = Path(__file__).parents[1] / "fixtures" / "postgresql"


def name_of(url: str) -> str:
    """The database that the URL names."""
    return url.rpartition("/")[2]


def test_what_cannot_be_opened(postgres: PostgresServer) -> None:
    """Wrong password, user, host, port, name, option: each is one message that says what the server said and a cure."""
    good = postgres.address("postgres")
    for url, message in {
        postgres.address("postgres", password="wrong"): f'password authentication failed for user "{USER}"; is --db',
        postgres.address("absent"): r'database "absent" does not exist; make it: CREATE DATABASE absent',
        f"postgresql://{USER}:{PASSWORD}@nowhere.invalid/x": r"failed to resolve host 'nowhere.invalid'",
        f"{good}?nonsense=1": r'invalid connection option "nonsense"',
    }.items():
        with pytest.raises(StoreError, match=message) as error:
            Store(url)
        assert "\n" not in str(error.value)
        assert error.value.exit_code == 2
    down = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:1/x"
    with pytest.raises(AwayError, match=r"refused; is --db right, and does the server run\?") as away:
        Store(down)
    assert away.value.exit_code == 1


def test_other_databases_are_refused(postgres: PostgresServer, postgres_url: str) -> None:
    """Another program's is not written into, also where it has a table of our name; nor one of a newer version."""
    with postgres.connect(name_of(postgres_url)) as connection:
        connection.execute("CREATE TABLE something (x INT)")
        with pytest.raises(StoreError, match=r"is a database of another program \(tables something\)"):
            Store(postgres_url)
        connection.execute("DROP TABLE something; CREATE TABLE schema_version (installed_rank INT)")
        with pytest.raises(StoreError, match=r"is a database of another program"):
            Store(postgres_url)
        connection.execute("DROP TABLE schema_version")
        Store(postgres_url).close()
        connection.execute("INSERT INTO schema_version VALUES (99, 0, '9.9')")
        newer = (
            rf"schema version 99, written by tinyablate 9\.9; .* up to {schema.SCHEMA_VERSION}\. Upgrade: pip install"
        )
        with pytest.raises(StoreError, match=newer):
            Store(postgres_url)


def test_a_user_who_may_not_make_tables(postgres: PostgresServer, postgres_url: str) -> None:
    """Since PostgreSQL 15 nobody may in the schema public, until its owner says so: the message says how."""
    with postgres.connect(name_of(postgres_url)) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest-pw'")
        url = postgres.address(name_of(postgres_url), "guest", "guest-pw")
        with pytest.raises(StoreError, match="the role guest has no right to make tables in the database") as told:
            Store(url)
        assert "; its owner tester runs there: GRANT CREATE, USAGE ON SCHEMA public TO guest; or: " in str(told.value)
        assert f"ALTER DATABASE {name_of(postgres_url)} OWNER TO guest (permission denied" in str(told.value)
        assert "guest-pw" not in str(told.value)
        connection.execute("GRANT CREATE, USAGE ON SCHEMA public TO guest")
        with Store(url) as store:
            assert len(registered(store)) == 4
        connection.execute("REASSIGN OWNED BY guest TO tester; DROP OWNED BY guest; DROP ROLE guest")


def test_a_user_who_may_only_read(postgres: PostgresServer, postgres_url: str) -> None:
    """What writes says who may not, where, and what the tables' owner has to run; after that it writes."""
    name = name_of(postgres_url)
    Store(postgres_url).close()
    with postgres.connect(name) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest-pw'")
        url = postgres.address(name, "guest", "guest-pw")
        with pytest.raises(StoreError, match=f"the role guest has no right to read the database {name}; tester, whose"):
            Store(url)
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
        with Store(url) as store:
            assert store.states([]) == {}
            with pytest.raises(WorkError, match=f"the role guest has no right to write to the database {name}") as told:
                registered(store)
        said = str(told.value)
        assert said.startswith(f"postgresql://guest@127.0.0.1:{postgres.port}/{name}: ")
        assert "guest-pw" not in said
        _, _, grants = said.partition("tester, whose tables they are, runs there: ")
        connection.execute(grants.rpartition(" (permission denied")[0].encode())
        with Store(url) as store:
            assert len(store.claim([trial.key for trial in registered(store)], "job")) == 4
        connection.execute("DROP OWNED BY guest; DROP ROLE guest")


def test_a_database_without_every_character_is_refused(postgres: PostgresServer) -> None:
    """One in LATIN1 cannot hold every label."""
    with postgres.connect("postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match=r"holds text as LATIN1.*ENCODING 'UTF8'"):
        Store(postgres.address("latin"))
    postgres.drop("latin")


def test_without_psycopg(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra that installs it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r'needs the package psycopg: pip install "tinyablate\[postgres\]"'):
        Store(postgres_url)


def test_there_or_not(postgres_url: str) -> None:
    """A database without our tables is none yet; a server that cannot be asked is an error, not an absence."""
    location = Location.of(postgres_url)
    assert not location.exists()
    with pytest.raises(StoreError, match="no such database; run a sweep first"):
        open_existing(postgres_url)
    Store(postgres_url).close()
    assert location.exists()
    open_existing(postgres_url).close()
    with pytest.raises(AwayError, match="cannot be opened"):
        Location.of("postgresql://me@127.0.0.1:1/x").exists()


def test_a_server_that_goes_and_comes(postgres: PostgresServer, postgres_url: str) -> None:
    """Killed, shut down, or with the connection cut: AwayError; back again, the same store goes on."""
    with Store(postgres_url) as store:
        trials = registered(store)

        def cut(connection: Any) -> None:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='tinyablate'"
            )

        for number, go in enumerate((postgres.kill, postgres.stop)):
            go()
            for _ in range(2):
                with pytest.raises(
                    AwayError, match=r"^postgresql://tester@127.0.0.1:\d+/\w+: cannot be reached at pres"
                ):
                    store.claim([trials[number].key], "job")
            postgres.restart()
            assert len(store.claim([trials[number].key], "job")) == 1

        def write_and_cut(other: Any) -> None:
            with store.backend.transaction() as connection:
                connection.execute(sa.update(schema.trials).values(state="failed"))
                cut(other)

        with postgres.connect("postgres") as other:
            with pytest.raises(AwayError):
                write_and_cut(other)
            assert store.states([trials[3].key])[trials[3].key].state == "pending"
            cut(other)  # between two transactions nobody notices
            assert len(store.claim([trials[2].key], "job")) == 1


def test_a_stopped_process_does_not_keep_its_locks(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver stopped (SIGSTOP) within a transaction loses it; when it goes on it is told, and changes nothing."""
    monkeypatch.setattr(backend, "BUSY_SECONDS", 0.2)
    with Store(postgres_url) as stopped:
        trials = registered(stopped)
        monkeypatch.setattr(backend, "BUSY_SECONDS", 20)

        def write_slowly(other: Store) -> None:
            with stopped.backend.transaction() as connection:
                connection.execute(sa.update(schema.trials).values(state="failed"))
                assert len(other.claim([trials[0].key], "job")) == 1  # waits until the server ends our transaction
                connection.execute(sa.update(schema.trials).values(state="failed"))

        with Store(postgres_url) as other, pytest.raises(AwayError):
            write_slowly(other)
        assert stopped.states([trials[0].key])[trials[0].key].state == "running"


def test_a_lock_that_is_held_too_long(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits in vain says so; others' trials, and readers, are not concerned."""
    with Store(postgres_url) as holder:
        trials = registered(holder)
        monkeypatch.setattr(backend, "BUSY_SECONDS", 0.2)
        with Store(postgres_url) as store, holder.backend.transaction() as connection:
            one = sa.update(schema.trials).where(schema.trials.c.key == trials[0].key)
            connection.execute(one.values(owner="me"))
            with pytest.raises(WorkError, match=r"cannot be written: .*lock timeout; run again to continue"):
                store.claim([trials[0].key], "job")
            assert len(store.claim([trials[1].key], "job")) == 1
            assert store.states([trials[0].key])[trials[0].key].state == "pending"


def test_read_only_is_the_servers(postgres_url: str) -> None:
    """A back end for reading refuses to write."""
    Store(postgres_url).close()
    reader = postgresql.Postgresql(Location.of(postgres_url), read_only=True)
    assert reader.version() == schema.SCHEMA_VERSION
    with pytest.raises(WorkError, match="read-only transaction"), reader.transaction() as connection:
        connection.execute(sa.delete(schema.limits))
    reader.close()


def test_the_clock_is_the_servers(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are reckoned by it: a driver whose own clock is an hour ahead takes nobody's trials."""
    with Store(postgres_url) as one, Store(postgres_url) as hasty:
        trials = registered(one)
        (claim,) = one.claim([trials[0].key], "job")
        import time

        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3600)
        assert hasty.claim([trials[0].key], "other") == []
        assert hasty.states([trials[0].key])[trials[0].key].live
        ((until,),) = rows(one, "SELECT lease_until FROM stored_trials WHERE state = 'running'")
        assert until == pytest.approx(real() + 60, abs=10)
        assert abs(hasty.now() - real()) < 10
        assert hasty.leases_now()(one.owner, until)
        assert one.heartbeat({claim: None}) == set()


def test_no_backup_by_us(postgres_url: str) -> None:
    """The message is the command that makes one."""
    with Store(postgres_url) as store, pytest.raises(StoreError, match="pg_dump --format=custom '--file=a b'") as error:
        store.backend.backup(Path("a b"))
    assert f"--dbname={name_of(postgres_url)} --host=127.0.0.1 --port=" in str(error.value)


def test_health(postgres: PostgresServer, postgres_url: str) -> None:
    """The server's version is told; what is missing, and what is not enforced, is named."""
    with Store(postgres_url) as store:
        assert [fine for fine, _ in store.backend.check()] == [True]
        with postgres.connect(name_of(postgres_url)) as connection:
            connection.execute("DROP VIEW epochs; DROP TABLE limits")
            connection.execute("ALTER TABLE stored_trials ADD CONSTRAINT sane CHECK (seed >= 0) NOT VALID")
        found = [text for fine, text in store.backend.check() if not fine]
    assert sum("has no table or view" in text for text in found) == 2
    assert sum("the constraint sane is not enforced" in text for text in found) == 1


def test_several_processes_make_one_schema(postgres_url: str) -> None:
    """Opened by several at once a new database is made once, and all go on."""
    code = "import sys; from tinyablate.store.store import Store; Store(sys.argv[1]).close()"
    running = [subprocess.Popen([sys.executable, "-c", code, postgres_url]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    with Store(postgres_url) as store:
        assert rows(store, "SELECT version FROM schema_version") == [(schema.SCHEMA_VERSION,)]


@pytest.mark.parametrize("stored", sorted(FIXTURES.glob("*.sql")), ids=lambda path: path.stem)
def test_stored_databases_of_every_version_still_open(
    stored: Path, postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    """A database as each version left it, dumped, opens, and has what SQLite's of that version has."""
    with postgres.connect(name_of(postgres_url)) as connection:
        connection.execute(stored.read_text().encode())
    with sqlite3.connect(tmp_path / "old.db") as lite:
        lite.executescript((FIXTURES.parent / stored.name).read_text())
    lite.close()
    with Store(postgres_url) as store, Store(tmp_path / "old.db") as other:
        assert rows(store, "SELECT max(version) FROM schema_version") == [(schema.SCHEMA_VERSION,)]
        assert rows(store, "SELECT state, count(*), round(sum(last_val_top1)::numeric, 6)::text FROM trials "
            "WHERE kind = 'train' GROUP BY 1 ORDER BY 1") == [
            ("complete", 6, "435.063687"), ("diverged", 3, "214.270897"), ("failed", 3, None),
        ]  # fmt: skip
        for view in VIEWS:
            assert sorted(rows(store, f"SELECT * FROM {view}"), key=repr) == [
                *sorted(rows(other, f"SELECT * FROM {view}"), key=repr)
            ], view
        assert store.limits() == other.limits()


@pytest.fixture
def together() -> Callable[..., list[BaseException]]:
    """Runs functions in threads at once; the errors that they raised."""

    def run(*functions: Callable[[], object]) -> list[BaseException]:
        errors: list[BaseException] = []

        def caught(function: Callable[[], object]) -> None:
            try:
                function()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=caught, args=(each,)) for each in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return errors

    return run


def test_opposite_orders_never_deadlock(
    postgres: PostgresServer, postgres_url: str, together: Callable[..., list[BaseException]]
) -> None:
    """Beats, claims, put-backs and registrations of the same trials in opposite orders, at once, wait for each other
    in one order only: the server never has to break a deadlock. It would: the same with locks as they come is one."""
    with Store(postgres_url) as one, Store(postgres_url) as two, Store(postgres_url) as three:
        trials = registered(one, seeds=10)
        keys = [trial.key for trial in trials]
        claims = one.claim(keys, "job")

        def register() -> None:
            more = [new_trial(seed, optimizer__lr=5e-2) for seed in range(5)]
            cells = [stores.CellOf(n, 1, "again", "", key) for n, key in enumerate(keys[::-1])]
            three.register(stores.SWEEP, more, cells)

        for _ in range(15):
            errors = together(
                lambda: one.heartbeat(dict.fromkeys(claims)),
                lambda: two.heartbeat(dict.fromkeys(reversed(claims))),
                lambda: two_claims(postgres_url, keys),
                lambda: put_back(postgres_url, keys),
                register,
            )
            assert errors == []
        assert "deadlock detected" not in postgres.log()

        def in_order(store: Store, order: list[str], first: threading.Barrier) -> None:
            with store.backend.transaction() as connection:
                for key in order:
                    connection.execute(sa.update(schema.trials).where(schema.trials.c.key == key).values(owner="x"))
                    first.wait(5) if key == order[0] else None

        barrier = threading.Barrier(2)
        errors = together(
            lambda: in_order(one, [keys[0], keys[1]], barrier), lambda: in_order(two, [keys[1], keys[0]], barrier)
        )
        assert [type(error) for error in errors] == [AwayError], "a deadlock is settled by a second try"
        assert re.search(r"to do it again: .* waited for each other \(deadlock detected\)", str(errors[0]))
        assert postgres.log().count("ERROR:  deadlock detected") == 1


def two_claims(url: str, keys: list[str]) -> None:
    """Claim trials that are another's."""
    with Store(url) as store:
        assert store.claim(keys[::-1], "other") == []


def put_back(url: str, keys: list[str]) -> None:
    """Put back trials none of which has failed."""
    with Store(url) as store:
        assert store.put_back(keys[5:] + keys[:5], ["failed"]) == {"failed": 0}
