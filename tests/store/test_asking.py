"""One SELECT of the user's: it answers, it explains mistakes, and it can neither write nor escape."""

import _thread
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stores
from servers import PASSWORD, PostgresServer

from tinyablate.errors import AwayError, StoreError, UsageError
from tinyablate.job import Outcome
from tinyablate.store.asking import ROWS, asking
from tinyablate.store.asking.marks import numbered
from tinyablate.store.location import Location
from tinyablate.store.query import run_sql
from tinyablate.store.reading import ReadOnly
from tinyablate.store.records import NewTrial
from tinyablate.store.store import Store, open_existing

OutcomeOf = Callable[[NewTrial], Outcome]

BACKENDS = stores.BACKENDS

ENDLESS = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 0 FROM r) SELECT {} FROM r"


@pytest.fixture
def filled(store: Store, trials: list[NewTrial], outcome_of: OutcomeOf) -> Store:
    """A store with one complete, one failed, one running and one pending trial."""
    done, failed, _ = store.claim([trial.key for trial in trials[:3]], "job")
    store.finish(done, outcome_of(trials[0]))
    store.fail(failed, "exception", "ValueError", "Traceback")
    return store


def everything(store: Store) -> dict[str, list[object]]:
    """Every row of every table, as text."""
    with ReadOnly(store.location) as opened:
        return {name: sorted(map(str, opened.arrow(f"SELECT * FROM {name}").to_pylist())) for name in TABLES}


TABLES = ["sweeps", "variants", "stored_trials", "attempts", "stored_outcomes", "stored_epochs", "schema_version"]

# ---- answers ---------------------------------------------------------------------------------------------------------


def test_every_form_of_a_select_is_answered(store: Store) -> None:
    """With a semicolon, a common table expression, a comment; in parentheses where the database has that."""
    forms = ["SELECT 1 AS a", "SELECT 1 AS a;", "/* so */ WITH x AS (SELECT 1 AS a) SELECT a FROM x -- so\n"]
    forms += [] if store.location.path else [" ( SELECT 1 AS a ) ", "VALUES (1)"]
    for sql in forms:
        assert run_sql(store.location, sql).rows == ((1,),), sql
    if store.location.path:
        assert run_sql(store.location, "PRAGMA table_info(stored_trials)").rows[1][1] == "key"


def test_both_databases_give_the_same_values(filled: Store) -> None:
    """Numbers are int and float, booleans 0 and 1, bytes bytes, whatever the database calls their types."""
    sql = (
        "SELECT count(*), sum(seed), avg(seed), max(smoke AND seed > 5), min(row_label), 0.5 * max(seed), "
        "sum(attempts) FROM trials JOIN cells USING (trial, seed)"
    )
    if not filled.location.path:
        sql = sql.replace("max(smoke AND seed > 5)", "bool_or(smoke AND seed > 5)")
    ((*values,),) = run_sql(filled.location, sql).rows
    assert values == [4, 2, 0.5, 0, "row 0", 0.5, 3]
    assert [type(value) for value in values] == [int, int, float, int, str, float, int]


def test_an_answer_is_read_as_it_is_made(store: Store) -> None:
    """Of one that never ends the first rows come at once: neither database nor driver makes all of it first."""
    with asking(store.location, "") as asked:
        batches = asked.ask(ENDLESS.format("x")).batches
        assert [len(rows) for rows in itertools.islice(batches, 3)] == [ROWS] * 3


def test_ctrl_c_is_no_mistake_in_the_question(store: Store) -> None:
    """A SELECT that never ends stops, as itself: SQLite swallows the exception and only says it was interrupted."""
    stop = threading.Timer(0.3, _thread.interrupt_main)
    stop.start()
    with pytest.raises(KeyboardInterrupt):
        run_sql(store.location, ENDLESS.format("count(*)"))
    stop.join()
    assert run_sql(store.location, "SELECT 1").rows == ((1,),)


# ---- values for question marks ---------------------------------------------------------------------------------------


def test_values_are_given_for_question_marks(filled: Store) -> None:
    """In both databases alike; those in texts, names and comments are none."""
    with ReadOnly(filled.location) as opened:
        found = opened.arrow(
            "SELECT seed, '?' AS \"a?\", state /* ? */ FROM trials -- ?\n WHERE seed < ? AND state <> ? ORDER BY 2, 3",
            [1, "failed"],
        )
        assert found.to_pylist() == [
            {"seed": 0, "a?": "?", "state": "complete"}, {"seed": 0, "a?": "?", "state": "running"},
        ]  # fmt: skip
        assert opened.view("cells", "smoke = ? AND created_at > ?", [False, 1.5]).num_rows == 4
        with pytest.raises(UsageError, match=r"query: "):
            opened.arrow("SELECT ?, ?", [1])


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("a = ? AND b=?", "a = $1 AND b=$2"),
        ("'?' || ?", "'?' || $1"),
        ("'it''s ?' || ?", "'it''s ?' || $1"),
        (r"E'\'?' || ?", r"E'\'?' || $1"),
        (r"name'\' || ?", r"name'\' || $1"),
        ('"a""?" = ?', '"a""?" = $1'),
        ("$$ ? $$ || ?", "$$ ? $$ || $1"),
        ("$a$ ? $$ ? $a$ || ?", "$a$ ? $$ ? $a$ || $1"),
        ("a$b$? || '$b$' ", "a$b$$1 || '$b$' "),
        ("1 -- ?\n + ?", "1 -- ?\n + $1"),
        ("/* ? /* ? */ ? */ ?", "/* ? /* ? */ ? */ $1"),
    ],
)
def test_marks_are_found_outside_quotes(sql: str, expected: str) -> None:
    """As PostgreSQL reads the text: doubled and escaped quotes, dollars, comments within comments."""
    assert numbered(sql, expected.count("$1") + expected.count("$2")) == expected


@pytest.mark.parametrize("sql", ["?, ?", "'?", "/* ?", '"?'])
def test_marks_and_values_are_as_many(sql: str) -> None:
    """Else it is said how many there are; without values the text stays as it is, for ? is an operator there."""
    with pytest.raises(UsageError, match=r"has \d question marks, and 1 values"):
        numbered(sql, 1)
    assert numbered(sql, 0) == sql


# ---- mistakes --------------------------------------------------------------------------------------------------------


MISTAKES = [
    ("SELECT * FROM trails", r"no such table: trails; did you mean 'trials'.*tables: "),
    ("SELECT * FROM results", r"no such table: results; it is now called trials"),
    ("SELECT best_val_top FROM trials", "did you mean 'best_val_top"),
    ("SELECT lr FROM trials", "did you mean 'optimizer_lr'"),
    ("SELECT val_top FROM epochs", "did you mean 'val_top1'"),
    ("SELECT optimizer_lr FROM epochs", "no such column: optimizer_lr; it is a column of trials"),
    ("SELECT t.row_labl FROM trials t", "no such column: t.row_labl"),
    ("SELECT nonsense_xyzzy FROM cells", "the columns: tinyablate schema"),
    ("SELECT best FROM trials JOIN cells USING (trial)", "did you mean 'best_"),
    ("SELEC 1", "syntax error"),
    ("SELECT 1 FROM", "query: "),
]


def test_mistakes_are_explained(store: Store) -> None:
    """The nearest table or column, where it was asked for; one of another table is said to be there."""
    for sql, hint in MISTAKES:
        with pytest.raises(UsageError, match=hint):
            run_sql(store.location, sql)


def test_a_missing_database_says_what_to_do(tmp_path: Path, postgres_url: str) -> None:
    """A file that is not there, and a server's database without our tables: nothing is made."""
    for missing in (tmp_path / "none.db", postgres_url):
        with pytest.raises(StoreError, match=r"no such database; run a sweep first") as told:
            run_sql(missing, "SELECT 1")
        assert PASSWORD not in str(told.value)
        with pytest.raises(StoreError, match="no such database"):
            ReadOnly(missing)
    assert not (tmp_path / "none.db").exists()


def test_a_newer_database_is_not_asked(postgres_url: str, tmp_path: Path) -> None:
    """Its views may mean something else: both versions are named, and the command."""
    for place in (str(tmp_path / "newer.db"), postgres_url):
        with Store(place) as newer, newer.backend.transaction() as connection:
            connection.exec_driver_sql("INSERT INTO schema_version VALUES (99, 0, '9.9')")
        with pytest.raises(StoreError, match=r"schema version 99, written by tinyablate 9\.9; .*pip install --upgrade"):
            run_sql(place, "SELECT count(*) FROM trials")


# ---- nothing can be written ------------------------------------------------------------------------------------------

WRITES = [
    "DELETE FROM attempts",
    "UPDATE stored_trials SET state = 'complete'",
    "INSERT INTO schema_version VALUES (9, 1, 'x')",
    "WITH x AS (INSERT INTO schema_version VALUES (9, 1, 'x') RETURNING *) SELECT * FROM x",
    "WITH x AS (DELETE FROM attempts RETURNING *) SELECT * FROM x",
    "DROP TABLE attempts",
    "CREATE TABLE x (y)",
    "CREATE TEMP TABLE x (y)",
    "SELECT 1; DELETE FROM attempts",
    "COMMIT; DELETE FROM attempts",
    "COMMIT",
    "BEGIN",
    "ROLLBACK",
    "SAVEPOINT x",
    "REINDEX",
    "VACUUM",
    "ANALYZE",
    "",
    "\0",
    "SELECT 1\0",
    "SELECT '\udce4'",
    "-- nothing",
]

OF_SQLITE = [
    "ATTACH DATABASE '{folder}/other.db' AS o",
    "VACUUM INTO '{folder}/copy.db'",
    "PRAGMA journal_mode=DELETE",
    "PRAGMA writable_schema=1",
    "PRAGMA user_version=7",
    "PRAGMA query_only=0",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "SELECT * FROM pragma_journal_mode('DELETE')",
    "SELECT load_extension('{folder}/x.so')",
    "SELECT writefile('{folder}/x', 'y')",
    "SELECT readfile('/etc/passwd')",
    "SELECT edit('x', 'touch {folder}/x')",
    "SELECT fts3_tokenizer('x', x'00')",
    "DETACH DATABASE main",
    "EXPLAIN DELETE FROM attempts; DELETE FROM attempts",
]

OF_POSTGRESQL = [
    "COPY attempts TO PROGRAM 'touch {folder}/x'",
    "COPY (SELECT 1) TO '{folder}/x'",
    "COPY schema_version FROM PROGRAM 'echo 9,1,x' CSV",
    "SET transaction_read_only = off",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "RESET ROLE",
    "EXPLAIN ANALYZE INSERT INTO schema_version VALUES (9, 1, 'x')",
    "DO $$ BEGIN DELETE FROM attempts; END $$",
    "CALL x()",
    "EXECUTE x",
    "PREPARE x AS DELETE FROM attempts",
    "LISTEN x",
    "LOCK TABLE attempts",
    "TRUNCATE attempts CASCADE",
    "SELECT 1 INTO x",
    "SELECT * FROM attempts FOR UPDATE",
    "MERGE INTO attempts USING sweeps s ON false WHEN NOT MATCHED THEN DO NOTHING",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT pg_catalog . set_config('role', 'none', true)",
    "SELECT \"set_config\"('role', 'none', true)",
    "SELECT SET_CONFIG/**/('role', 'none', true)",
    "SELECT U&\"\\0073et_config\"('role', 'none', true)",
    "SELECT u&\n\"!0073et_config\" UESCAPE '!' ('role', 'none', true)",
    "SELECT ('/etc/passwd'::text).pg_read_file",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT * FROM pg_ls_dir('/')",
    "SELECT * FROM ROWS FROM (pg_ls_dir('/')) AS x",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '{folder}/x')",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity",
    "SELECT pg_advisory_lock(7020672427733806702)",
    "SELECT pg_notify('x', 'y')",
    "SELECT pg_logical_emit_message(false, 'x', 'y')",
    "SELECT pg_switch_wal()",
    "SELECT pg_reload_conf()",
    "SELECT pg_sleep(100)",
    "SELECT nextval('attempts_id_seq')",
    "SELECT setval('attempts_id_seq', 1)",
    "SELECT query_to_xml('DELETE FROM attempts', true, true, '')",
    "SELECT query_to_xml('SELECT set_' || 'config(''role'', ''none'', true)', true, true, '')",
    "SELECT table_to_xml('attempts', true, true, '')",
    "SELECT ts_stat('SELECT pg_sleep(100)')",
    "SELECT ts_rewrite('a'::tsquery, 'SELECT 1')",
    "SELECT dblink_exec('dbname=postgres', 'DELETE FROM attempts')",
    "SELECT * FROM pg_authid",
    'SELECT * FROM "pg_shadow"',
    "SELECT * FROM pg_hba_file_rules",
    "SELECT current_setting('config_file')",
    "SELECT harmless()",
    'SELECT "odd name"()',
]


def test_nothing_can_be_written(filled: Store, tmp_path: Path) -> None:
    """Whatever is not one SELECT, or would do more than read, is refused; nothing has changed in the database or
    beside it, and no other connection was ended. (The role of the tests is a superuser.)"""
    if filled.location.path is None:
        with filled.backend.transaction() as connection:
            connection.exec_driver_sql("CREATE FUNCTION harmless() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1'")
            connection.exec_driver_sql("CREATE FUNCTION \"odd name\"() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    before, files = everything(filled), sorted(path.name for path in tmp_path.iterdir())
    for sql in [*WRITES, *(OF_SQLITE if filled.location.path else OF_POSTGRESQL)]:
        with pytest.raises(UsageError, match=r"^query: ") as told:
            run_sql(filled.location, sql.format(folder=tmp_path))
        assert PASSWORD not in str(told.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    assert everything(filled) == before
    if filled.location.path is None:
        assert run_sql(filled.location, "SELECT current_user").rows == (("pg_read_all_data",),)
    with filled.backend.transaction() as connection:  # it still has its powers, and the sequence its place
        connection.exec_driver_sql("UPDATE sweeps SET title = title")


def test_what_only_computes_is_called(database: str) -> None:
    """Functions that give something else each time, and those of words that look like such ones in texts."""
    harmless = ["random()", "'nextvalue'", "lower('SETVAL_')", "abs(-1)", "replace('a', 'a', 'b')"]
    with Store(database) as store:
        assert len(run_sql(store.location, f"SELECT {', '.join(harmless)}").rows[0]) == len(harmless)


# ---- roles of PostgreSQL ---------------------------------------------------------------------------------------------

GRANTS = """
CREATE ROLE reader LOGIN PASSWORD 'choose one';
ALTER ROLE reader SET default_transaction_read_only = on;
GRANT CONNECT ON DATABASE ablations TO reader;
GRANT USAGE ON SCHEMA public TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;
"""
"""What the README says to run, as the role that writes."""


@pytest.fixture
def roles(postgres: PostgresServer, postgres_url: str) -> Iterator[tuple[str, str]]:
    """The URLs of a role that writes, owner of a database of its own, and of one that may only read it."""
    name = Location.of(postgres_url).name
    owner, reader = f"owner_{name}", f"reader_{name}"
    address = postgres.address(name, owner, "o")
    with postgres.connect(name) as connection:
        connection.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'o'")
        connection.execute(f"ALTER DATABASE {name} OWNER TO {owner}")
    Store(address).close()
    with postgres.connect(name) as connection:
        connection.execute(f"SET ROLE {owner}")
        for statement in GRANTS.replace("reader", reader).replace("ablations", name).split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
    yield address, postgres.address(name, reader, "choose one")
    with postgres.connect(name) as connection:
        connection.execute(f"ALTER DATABASE {name} OWNER TO CURRENT_USER")
        for role in (reader, owner):
            connection.execute(f"DROP OWNED BY {role} CASCADE")
            connection.execute(f"DROP ROLE {role}")


def test_a_role_without_powers_cannot_either(roles: tuple[str, str], trials_of: Callable[[Store], None]) -> None:
    """The role that writes cannot write by a question, nor end its own driver's connection; functions of its own that
    only read it may call."""
    owner, _ = roles
    with Store(owner) as store:
        trials_of(store)
        with store.backend.transaction() as connection:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            for sql in [*WRITES, *OF_POSTGRESQL, f"SELECT pg_terminate_backend({pid})"]:
                if "harmless" not in sql:
                    with pytest.raises(UsageError, match=r"^query: "):
                        run_sql(owner, sql.format(folder="/tmp"))
            connection.exec_driver_sql("CREATE FUNCTION harmless() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1'")
        assert run_sql(owner, "SELECT harmless(), count(*) FROM trials").rows == ((1, 4),)


def test_a_role_that_may_only_read(roles: tuple[str, str], trials_of: Callable[[Store], None]) -> None:
    """It asks, opens for Python and for commands that look, also at what is made later; no write of it succeeds."""
    owner, reader = roles
    with Store(owner) as store:
        trials_of(store)
    assert run_sql(reader, "SELECT count(*) FROM trials").rows == ((4,),)
    with ReadOnly(reader) as opened:
        assert opened.view("trials").num_rows == 4
    with open_existing(reader) as opened, pytest.raises(Exception, match=r"read-only|permission denied"):
        trials_of(opened, seeds=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="query: "):
        run_sql(reader, "INSERT INTO schema_version VALUES (9, 1, 'x')")
    assert run_sql(reader, "SELECT count(*) FROM trials").rows == ((4,),)


@pytest.fixture
def trials_of() -> Callable[..., object]:
    """Puts four trials into a store."""
    return stores.registered


def test_a_server_that_goes_away_is_no_mistake_in_the_question(
    postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end while an answer is read is told as such."""
    Store(postgres_url).close()
    location = Location.of(postgres_url)

    def reads() -> None:
        with asking(location, "") as asked:
            batches = asked.ask(ENDLESS.format("x")).batches
            next(batches)
            with postgres.connect("postgres") as connection:
                ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                connection.execute(ends, [location.name])
            time.sleep(0.05)
            list(itertools.islice(batches, 100))

    with pytest.raises(AwayError, match="has ended the connection") as told:
        reads()
    assert PASSWORD not in str(told.value)
