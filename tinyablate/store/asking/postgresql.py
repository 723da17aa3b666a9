"""A SELECT of the user's on a PostgreSQL server, in a transaction that cannot write. Any role may connect.

A read-only transaction alone is no guard: `COMMIT; INSERT …` leaves it, COPY … TO PROGRAM runs in it, and functions
called in a SELECT can write files, end other sessions or take the driver's locks. Hence

- the text is the body of DECLARE … CURSOR FOR, which takes one SELECT and nothing else (no COPY, DO, EXPLAIN, SET, nor
  an INSERT in WITH), sent by the extended protocol, which takes one statement;
- a text that names a function with side effects (`provolatile` is `v` in pg_proc) is refused, be it in a quotation;
- a superuser, who may do everything, becomes pg_read_all_data for the transaction, and may call only PostgreSQL's own
  functions: others run SQL that is not in the text, and could take the role back by set_config.

What a role may read is not looked at: a role with SELECT alone is the better guard, see the README.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.postgres import types
from psycopg.types.string import TextLoader

from tinyablate.errors import AwayError, StoreError, UsageError
from tinyablate.store import schema
from tinyablate.store.asking import ROWS, Answer
from tinyablate.store.asking.marks import numbered
from tinyablate.store.asking.mistakes import ONLY_READS, no_column, no_database, no_table, older
from tinyablate.store.backends import open_backend
from tinyablate.store.location import Location

HARMLESS = (
    "array_sample", "array_shuffle", "bernoulli", "clock_timestamp", "current_query", "gen_random_uuid",
    "pg_database_size", "pg_indexes_size", "pg_relation_size", "pg_table_size", "pg_total_relation_size", "random",
    "random_normal", "system", "timeofday", "uuidv4", "uuidv7",
)  # fmt: skip
"""Volatile functions that only compute or look: what they give changes, and nothing else."""

SECRET = {"pg_authid", "pg_shadow", "pg_subscription", "pg_user_mapping", "pg_user_mappings"}
"""Catalogs with passwords, which pg_read_all_data may read."""

_FORBIDDEN = r"""
SELECT proname FROM pg_catalog.pg_proc
WHERE (provolatile = 'v' AND proname <> ALL ($3) OR proname LIKE '%to\_xml%'
    OR $4 AND pronamespace <> 'pg_catalog'::regnamespace)
AND (proname = ANY ($1) OR proname !~ '^[A-Za-z_][A-Za-z0-9_]*$' AND strpos($2, proname) > 0)
ORDER BY proname LIMIT 1
"""
"""Of the functions that a text may mean, one that it may not call. XML functions run SQL that is not in the text."""

_POWERS = """
SELECT coalesce(bool_or(rolsuper), false), coalesce(bool_or(rolsuper AND rolname = session_user), false)
FROM pg_catalog.pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER')
"""
"""Whether the role could become a superuser; and whether it is one."""

_KEEP_PATH = """
SELECT set_config('search_path', string_agg(quote_ident(name), ', ' ORDER BY place), true)
FROM unnest(current_schemas(false)) WITH ORDINALITY AS x(name, place)
"""
"""Where the tables are found may depend on the role's name."""

KEPT = {"bool", "int2", "int4", "int8", "oid", "float4", "float8", "bytea"}
"""Types whose values are Python's own; numeric is a number too, and everything else the server's text of it."""


class PostgresqlAsked:
    """Answers within one read-only transaction."""

    def __init__(self, cursor: "psycopg.RawCursor[Any]", powerful: bool) -> None:
        self._cursor, self._powerful = cursor, powerful

    @classmethod
    @contextlib.contextmanager
    def of(cls, location: Location, sql: str) -> Iterator["PostgresqlAsked"]:
        """The database at `location`; see `asking`."""
        with contextlib.closing(open_backend(location, read_only=True)) as backend:
            version = backend.version()
            if not version:
                raise no_database(location)
            if version < schema.SCHEMA_VERSION:
                raise older(location, version)
            with backend.read() as connection:
                driver = connection.connection.driver_connection
                assert isinstance(driver, psycopg.Connection)
                try:
                    yield cls(_adapted(psycopg.RawCursor(driver)), _begin(driver))
                except UnicodeError as error:
                    raise UsageError(f"query: {error}") from error
                except psycopg.Error as error:
                    if driver.closed:
                        raise AwayError(f"{location.shown}: the server has ended the connection; ask again") from error
                    raise UsageError(f"query: {_explained(error, sql)}") from error
                finally:
                    driver.close()

    def ask(self, sql: str, values: Sequence[Any] = ()) -> Answer:
        """See `Asked`."""
        text = numbered(sql, len(values))
        self._refuse(sql)
        self._cursor.execute("CLOSE ALL")
        statement = f"DECLARE answer NO SCROLL CURSOR FOR {text}".encode(self._cursor.connection.info.encoding)
        self._cursor.execute(statement, values or None, prepare=True)  # prepared: by the extended protocol
        first = self._fetch()
        return Answer(tuple(column.name for column in self._cursor.description or ()), self._batches(first))

    def _fetch(self) -> Sequence[Sequence[Any]]:
        return self._cursor.execute(f"FETCH FORWARD {ROWS} FROM answer").fetchall()

    def _batches(self, rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
        while rows:
            yield rows
            rows = self._fetch()

    def _refuse(self, sql: str) -> None:
        """Refuse a text that names what must not be called or read."""
        if "\0" in sql:
            raise UsageError("query: holds a NUL character")
        if re.search(r"u&\s*\"", sql, re.IGNORECASE):
            raise UsageError('query: a name may not be written as U&"…"')
        words = {*re.findall(r"[A-Za-z_][A-Za-z0-9_]*", sql)}
        words |= {word.lower()[:63] for word in words}  # longer names are cut by the server
        if secret := words & SECRET:
            raise UsageError(f"query: {min(secret)} holds passwords, and is not read")
        given = [sorted(words), sql, list(HARMLESS), self._powerful]
        found = self._cursor.execute(_FORBIDDEN, given).fetchone()
        if found:
            raise UsageError(f"query: {found[0]}() may do more than read, and is not called; nor may a text name it")


def _begin(driver: "psycopg.Connection[Any]") -> bool:
    """Begin the transaction as a role without powers; whether the connection has any."""
    driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    driver.execute("SET LOCAL standard_conforming_strings = on")  # else a backslash would end a text elsewhere
    powerful, superuser = driver.execute(_POWERS).fetchone() or (True, True)
    if superuser:
        driver.execute(_KEEP_PATH)
        try:
            driver.execute("SET LOCAL ROLE pg_read_all_data")
        except psycopg.Error as error:
            raise StoreError(
                "query: the role is a superuser, and the server, older than PostgreSQL 14, has no role "
                "pg_read_all_data to ask as; connect as a role that may only read (see the README)"
            ) from error
    return bool(powerful)


# ---- values ----------------------------------------------------------------------------------------------------------


class _Number(Loader):
    """A numeric as SQLite would have it: sums of whole numbers are whole, others are floats."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


def _adapted(cursor: "psycopg.RawCursor[Any]") -> "psycopg.RawCursor[Any]":
    """The cursor, with values of the types that SQLite has."""
    for each in types:
        if each.name not in KEPT:
            cursor.adapters.register_loader(each.oid, TextLoader)
        if each.array_oid:
            cursor.adapters.register_loader(each.array_oid, TextLoader)
    cursor.adapters.register_loader("numeric", _Number)
    return cursor


# ---- mistakes --------------------------------------------------------------------------------------------------------

_NO_SELECT = {"25006", "0A000", "25001"}
"""read_only_sql_transaction; feature_not_supported: an INSERT in WITH; active_sql_transaction: to write after all."""


def _explained(error: psycopg.Error, sql: str) -> str:
    """PostgreSQL's message, with what to do about it."""
    message = error.diag.message_primary or str(error).partition("\n")[0]
    named = re.fullmatch(r'(?:relation|column) (?:"(.*)"|(\S+)) does not exist', message)  # in English
    name = named[1] or named[2] if named else ""
    match error.sqlstate:
        case "42P01" if name:  # undefined_table
            return no_table(name)
        case "42703" if name:  # undefined_column
            return no_column(name, sql)
        case "42601":  # syntax_error
            return message if _is_a_select(sql) else f"{message}; {ONLY_READS}"
        case state if state in _NO_SELECT:
            return f"{ONLY_READS} ({message})"
    if message.endswith(("boolean = integer", "boolean <> integer")):
        return f"{message}; a boolean is a condition by itself: WHERE smoke, WHERE NOT smoke"
    hint = f"; {error.diag.message_hint}" if error.diag.message_hint else ""
    return f"{message}{hint}"


def _is_a_select(sql: str) -> bool:
    """Whether a text with a wrong syntax was at least meant as one SELECT."""
    first = re.match(r"[\s(]*(\w*)", sql)
    return bool(first and first[1].lower() in ("select", "with", "values", "table")) and ";" not in sql.rstrip("; \n")
