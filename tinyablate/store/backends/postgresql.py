"""Results in a database of a PostgreSQL server: opening, locking, making its tables, checking it. No SQL of results.

A server that goes away while it is used raises AwayError, also where it starts, shuts down or has no connection left.
Of an error only what the server or the library said is shown, without the password, should it stand there.
"""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from tinyablate.errors import AwayError, DiskFullError, StoreError, TinyablateError, WorkError
from tinyablate.store import schema
from tinyablate.store.backends import backend
from tinyablate.store.backends.backend import Explain, Finding, begun, connected, explained
from tinyablate.store.backends.watched import watch
from tinyablate.store.location import Location

CONNECTION = {
    "application_name": "tinyablate", "connect_timeout": 10,
    "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000,
}  # fmt: skip
"""How libpq connects, unless the URL says otherwise. A server whose machine is gone is noticed within a minute."""

OLDEST_SERVER = 14
"""Major version: the oldest that PostgreSQL's developers still repair at the end of 2026."""

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"

_ALONE = int.from_bytes(b"ablation")
"""Key of the advisory lock that `alone` takes; such locks belong to one database of a server."""

# SQLSTATEs, from the appendix "PostgreSQL Error Codes" of its manual.
_AWAY = ("08", "57P0", "53300")
"""Connection lost, server shut down or starting, no connection left."""
_AGAIN = {
    "40001": "a change of another process came between",
    "40P01": "it and another process waited for each other",
    "25P03": "this process left a transaction open, as if it had been stopped, and the server ended it",
}
"""What a second try settles."""
_DISK_FULL = "53100"
_BUSY = ("55P03", "57014", "25006")
"""Locked for too long, cancelled, a server that for the time being is for reading alone."""
_NOT_ALLOWED = "42501"

_DOWN = (
    "Connection refused", "Connection reset", "No such file or directory", "timeout expired", "timed out",
    "unreachable", "No route to host", "Host is down", "closed the connection unexpectedly", "starting up",
    "shutting down", "not yet accepting", "recovery mode", "too many clients", "reserved for",
)  # fmt: skip
"""Words of errors at connecting, which come without an SQLSTATE, where nothing need be wrong with the URL."""


class Postgresql:
    """The database of a PostgreSQL server at `location`; see `backend.Backend`."""

    def __init__(self, location: Location, read_only: bool = False) -> None:
        self.location = location
        self.engine = _engine(location, read_only)
        watch(self.engine)

    def close(self) -> None:
        self.engine.dispose()

    # ---- contexts ------------------------------------------------------------------------------------------------

    def transaction(self) -> contextlib.AbstractContextManager[sa.Connection]:
        return begun(self.engine, _BEGIN, self._explain)

    def alone(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """A transaction under a lock of its own name: it hinders nobody who claims or finishes trials."""
        return self._alone(self._explain)

    @contextlib.contextmanager
    def _alone(self, explain: Explain) -> Iterator[sa.Connection]:
        with begun(self.engine, _BEGIN, explain) as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ALONE)))
            yield connection

    def read(self) -> contextlib.AbstractContextManager[sa.Connection]:
        return connected(self.engine, self._explain)

    def snapshot(self) -> contextlib.AbstractContextManager[sa.Connection]:
        return begun(self.engine, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", self._explain)

    def now(self, connection: sa.Connection) -> float:
        """The server's, which drivers on several machines share; not that of the transaction's begin."""
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())::float8").scalar_one())

    def insert(self, table: sa.Table) -> postgresql.Insert:
        return postgresql.insert(table)

    def _explain(self, error: sa.exc.DBAPIError) -> TinyablateError | None:
        state = _state(error)
        if state == _DISK_FULL:
            return DiskFullError(f"{self.location.shown}: no room for results on its disk ({self._said(error)})")
        if state in _AGAIN:
            return AwayError(
                f"{self.location.shown}: has undone this write to do it again: {_AGAIN[state]} ({self._said(error)})"
            )
        if _is_away(error, state):
            return AwayError(f"{self.location.shown}: cannot be reached at present: {self._said(error)}")
        if state in _BUSY:
            return AwayError(f"the database cannot be written: {self._said(error)}; run again to continue")
        return WorkError(self._not_allowed(self._said(error))) if state == _NOT_ALLOWED else None

    def _not_allowed(self, said: str) -> str:
        """That the role may not write, or make or change tables, and who can let it: asked by a connection of its own,
        for the one that failed is in no state to."""
        try:
            with self.engine.connect() as connection:
                rights = connection.exec_driver_sql(_RIGHTS).one()
        except sa.exc.SQLAlchemyError:
            return f"{self.location.shown}: {said}"
        return f"{self.location.shown}: {_allowing(rights)} ({said})"

    def _said(self, error: sa.exc.DBAPIError) -> str:
        """What the server said, or libpq without its question (is the server running?), in one line; should the
        password stand there, not that."""
        lines = [line.strip() for line in str(error.orig).splitlines() if not line.startswith("\t")]
        said = getattr(getattr(error.orig, "diag", None), "message_primary", None) or " ".join(lines)
        return self.location.without_password(said)

    # ---- opening -------------------------------------------------------------------------------------------------

    def version(self) -> int:
        with explained(self._explain_opening), self.engine.connect() as connection:
            version = _version(connection)
            if not version:
                backend.refuse_foreign(self.location, sa.inspect(connection).get_table_names())
            backend.refuse_newer(self.location, connection, version)
        return version

    def migrate(self) -> None:
        """All steps in one transaction, as which PostgreSQL does also the making of tables."""
        if self.version() == schema.SCHEMA_VERSION:
            return
        with self._alone(self._explain_opening) as connection:
            version = _version(connection)  # of several processes the first migrates
            if not version:
                self._refuse_encoding(connection)
            for target in sorted(schema.POSTGRESQL):
                if target > version:
                    schema.POSTGRESQL[target](connection)
                    connection.execute(sa.insert(schema.schema_version), backend.applied(target, self.now(connection)))

    def _refuse_encoding(self, connection: sa.Connection) -> None:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise StoreError(
                f"{self.location.shown}: holds text as {encoding}, in which not every label can be written; "
                f"make another: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
            )

    def _explain_opening(self, error: sa.exc.DBAPIError) -> TinyablateError | None:
        state, said, where = _state(error), self._said(error), self.location.shown
        if state in (_DISK_FULL, "55P03"):
            return self._explain(error)
        if state == _NOT_ALLOWED:
            return StoreError(self._not_allowed(said))
        if state in ("42703", "42P01"):  # a table schema_version without our columns
            return StoreError(f"{where}: is a database of another program; choose another --db")
        if "does not exist" in said and "database" in said:
            return StoreError(f"{where}: cannot be opened: {said}; make it: CREATE DATABASE {self.location.name}")
        is_down = state.startswith(_AWAY) or any(word in said for word in _DOWN)
        kind = AwayError if is_down else StoreError
        return kind(f"{where}: cannot be opened: {said}; is --db right, and does the server run?")

    # ---- health --------------------------------------------------------------------------------------------------

    def check(self) -> list[Finding]:
        """The server's version, and whether the tables, views and their constraints are there and hold."""
        from tinyablate.store.columns import VIEWS

        where = f"database {self.location.shown}"
        with self.read() as connection:
            server = connection.exec_driver_sql("SHOW server_version").scalar_one()
            found = sa.inspect(connection)
            here = {*found.get_table_names(), *found.get_view_names()}
            unchecked = "SELECT conname FROM pg_constraint WHERE NOT convalidated"
            loose = connection.exec_driver_sql(unchecked).scalars().all()
        missing = sorted({*schema.metadata.tables, *VIEWS} - here)
        fine = int(server.partition(".")[0]) >= OLDEST_SERVER
        findings = [(fine, f"{where}: PostgreSQL {server}" + ("" if fine else f"; {OLDEST_SERVER} or later is wanted"))]
        findings += [(False, f"{where}: has no table or view {name}") for name in missing]
        findings += [(False, f"{where}: the constraint {name} is not enforced") for name in loose]
        return findings

    def backup(self, path: Path) -> None:
        """Refused: PostgreSQL's own program does it."""
        url = self.location.url
        options = {"host": url.host or url.query.get("host"), "port": url.port, "username": url.username}
        words = ["pg_dump", "--format=custom", f"--file={path}", f"--dbname={url.database}"]
        words += [f"--{name}={value}" for name, value in options.items() if value]
        raise StoreError(f"{self.location.shown}: PostgreSQL is copied by its own program: {shlex.join(words)}")


def _engine(location: Location, read_only: bool) -> sa.Engine:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise StoreError(
            f'{location.shown}: PostgreSQL needs the package psycopg: pip install "tinyablate[postgres]" ({error})'
        ) from error
    given = {name: value for name, value in CONNECTION.items() if name not in location.url.query}
    engine = sa.create_engine(location.url, connect_args=given, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    settings = {
        "lock_timeout": backend.BUSY_SECONDS * 1000,
        # a process that was stopped (SIGSTOP) within a transaction must not keep its locks from all others
        "idle_in_transaction_session_timeout": backend.BUSY_SECONDS * 1000,
        "default_transaction_read_only": "on" if read_only else "off",
        "synchronous_commit": "on",  # an acknowledged commit survives a power cut of the server
    }

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: object) -> None:
        connection.execute("; ".join(f"SET {name} = {value}" for name, value in settings.items()))
        connection.commit()

    return engine


_RIGHTS = """
SELECT quote_ident(current_user) AS role, quote_ident(current_database()) AS database,
    (SELECT quote_ident(rolname) FROM pg_roles WHERE oid = d.datdba) AS owner,
    coalesce(c.relnamespace::regnamespace::text, quote_ident(current_schema()), 'public') AS schema,
    c.oid IS NOT NULL AS made,
    (SELECT quote_ident(rolname) FROM pg_roles WHERE oid = c.relowner) AS maker,
    coalesce(pg_has_role(c.relowner, 'USAGE'), false) AS is_maker,
    coalesce(has_table_privilege(c.oid, 'SELECT'), false) AS reads,
    coalesce(has_table_privilege(c.oid, 'INSERT'), false) AS writes
FROM pg_database d LEFT JOIN pg_class c ON c.oid = to_regclass('schema_version') WHERE d.datname = current_database()
"""
"""Who this role is, whose the database and the tables are, and what the role may do with them."""


def _allowing(rights: Any) -> str:
    """What the role has no right to, and the statements by which the owner gives it."""
    role, schema_name = rights.role, rights.schema
    if not rights.made:
        return (
            f"the role {role} has no right to make tables in the database {rights.database}; its owner {rights.owner} "
            f"runs there: GRANT CREATE, USAGE ON SCHEMA {schema_name} TO {role}; or: ALTER DATABASE {rights.database} "
            f"OWNER TO {role}"
        )
    if rights.writes and not rights.is_maker:
        return f"only {rights.maker}, whose tables they are, can change what they are made of; not the role {role}"
    what = "write to" if rights.reads else "read"
    return (
        f"the role {role} has no right to {what} the database {rights.database}; {rights.maker}, whose tables they "
        f"are, runs there: GRANT USAGE ON SCHEMA {schema_name} TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL "
        f"TABLES IN SCHEMA {schema_name} TO {role}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema_name} TO {role}"
    )


def _state(error: sa.exc.DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _is_away(error: sa.exc.DBAPIError, state: str) -> bool:
    """libpq's own errors have no SQLSTATE: they are of a connection that was lost, or not to be had."""
    lost = isinstance(error, sa.exc.OperationalError) and not state
    return error.connection_invalidated or lost or state.startswith(_AWAY)


def _version(connection: sa.Connection) -> int:
    if connection.exec_driver_sql("SELECT to_regclass('schema_version')").scalar() is None:
        return 0
    return connection.scalar(sa.select(sa.func.max(schema.schema_version.c.version))) or 0
