"""Results in a SQLite file: opening, locking, migrating, checking and copying it. No SQL of results."""

import contextlib
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from tinyablate import durable
from tinyablate.errors import NO_ROOM, AwayError, DiskFullError, StoreError, TinyablateError, WorkError
from tinyablate.store import remedies, schema
from tinyablate.store.asking import sqlite as reader
from tinyablate.store.backends import backend
from tinyablate.store.backends.backend import Finding, begun, connected, explained
from tinyablate.store.backends.watched import watch
from tinyablate.store.location import Location

MOUNTS = Path("/proc/mounts")
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "glusterfs", "ceph", "fuse.sshfs", "beegfs", "9p", "afs"}

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
"""A full disk; a limit on the size of files, or a quota, shows as one of the others."""

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_LOCKED}
DEAF_MS = 500
"""So long Ctrl-C may go unheard while another process writes."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Sqlite:
    """The SQLite file at `location`; see `backend.Backend`."""

    def __init__(self, location: Location, read_only: bool = False) -> None:
        if location.path is None:
            raise StoreError(f"{location.shown}: is no SQLite file")
        self.location = location
        self.path = location.path
        if not read_only:
            self._make_home()
            refuse_network(location.home)
            self._refuse_unwritable()
            if location.is_empty:
                print(f"{self.path}: is empty: taken as a new database", file=sys.stderr)
        self.engine = _engine(self.path, read_only)
        watch(self.engine)

    def _make_home(self) -> None:
        try:
            self.location.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot create its folder: {error.strerror}") from error

    def _refuse_unwritable(self) -> None:
        if hindrance := remedies.hindrance(self.path):
            kind = WorkError if self.path.exists() else StoreError
            raise kind(remedies.unwritable(self.path, hindrance))

    def close(self) -> None:
        self.engine.dispose()

    # ---- contexts ------------------------------------------------------------------------------------------------

    def transaction(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """Holds the write lock from its start: nobody writes between its reads and its writes."""
        return begun(self.engine, "BEGIN IMMEDIATE", self._explain, _patiently)

    alone = transaction

    def read(self) -> contextlib.AbstractContextManager[sa.Connection]:
        return connected(self.engine, self._explain)

    def snapshot(self) -> contextlib.AbstractContextManager[sa.Connection]:
        return begun(self.engine, "BEGIN", self._explain)

    def now(self, connection: sa.Connection) -> float:
        """This machine's: all processes with this file are on it."""
        return time.time()

    def insert(self, table: sa.Table) -> sqlite.Insert:
        return sqlite.insert(table)

    def _explain(self, error: sa.exc.DBAPIError) -> TinyablateError | None:
        """Locked for too long, no room, a disk that fails: no fault of the caller's."""
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in _NO_ROOM:
            return DiskFullError(f"{self.path}: no room for results on the disk ({error.orig})")
        if code in _DAMAGED:
            return WorkError(remedies.damaged(self.path, str(error.orig)))
        if isinstance(error, sa.exc.OperationalError) and code != sqlite3.SQLITE_ERROR:  # that is wrong SQL
            if code not in _BUSY and (hindrance := remedies.hindrance(self.path)):
                return WorkError(remedies.unwritable(self.path, hindrance))
            kind = AwayError if code in _BUSY else WorkError
            return kind(f"the database cannot be written: {error.orig}; run again to continue")
        return None

    # ---- opening -------------------------------------------------------------------------------------------------

    def version(self) -> int:
        with explained(self._explain_opening), self.engine.connect() as connection:
            version = _version(connection)
            if not version:
                backend.refuse_foreign(self.location, sa.inspect(connection).get_table_names())
            backend.refuse_newer(self.location, connection, version)
        return version

    def migrate(self) -> None:
        """All steps in one transaction, in which first a copy of a database that has results already is made."""
        with explained(self._explain_opening):
            version = self.version()
            with self.engine.connect() as connection:  # only now that it is known to be ours: the mode stays with it
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            if version == schema.SCHEMA_VERSION:
                return
            with self.transaction() as connection:
                self._step(connection, _version(connection))  # of several processes the first migrates

    def _step(self, connection: sa.Connection, version: int) -> None:
        if 0 < version < schema.SCHEMA_VERSION:
            kept = self.path.with_name(f"{self.path.name}.version-{version}.bak")
            self._copy(kept)
            print(
                f"{self.path}: schema version {version} becomes {schema.SCHEMA_VERSION}; kept: {kept}", file=sys.stderr
            )
        for target in range(version + 1, schema.SCHEMA_VERSION + 1):
            schema.MIGRATIONS[target](connection)
            connection.execute(sa.insert(schema.schema_version), backend.applied(target, time.time()))

    def _explain_opening(self, error: sa.exc.DBAPIError) -> TinyablateError | None:
        code = getattr(error.orig, "sqlite_errorcode", None)
        was_ours = code == sqlite3.SQLITE_NOTADB and remedies.was_migrated(self.path)
        if code in _NO_ROOM | _BUSY or code == sqlite3.SQLITE_CORRUPT or was_ours:
            return self._explain(error)
        if isinstance(error, sa.exc.DatabaseError) and not isinstance(error, sa.exc.IntegrityError):
            return StoreError(f"{self.path}: not a usable SQLite database: {error.orig}; is --db right?")
        return None

    # ---- health --------------------------------------------------------------------------------------------------

    def check(self) -> list[Finding]:
        """SQLite's own examination of the file, and whether every reference leads to a row."""
        try:
            with self.read() as connection:
                verdict = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check(5)")]
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        except WorkError as error:
            return [(False, f"database {error}")]
        found = [(verdict == ["ok"], f"database {self.path}: integrity {'; '.join(verdict)}")]
        if broken:
            found.append((False, f"database {self.path}: {len(broken)} rows refer to rows that are gone"))
        return found

    def backup(self, path: Path) -> None:
        """All that is committed now, while others go on writing; a file of its own, examined before it gets its name.

        An earlier backup of that name is replaced; any other file is not.
        """
        target = path.expanduser().absolute()
        if target.is_dir():
            raise StoreError(f"{target}: is a folder; name a file in it, such as {target}/{self.path.name}")
        if target.exists() and (target.samefile(self.path) or not remedies.is_database(target)):
            raise StoreError(f"{target}: is there already, and no backup; choose another name")
        if Path(f"{target}-wal").exists():
            raise StoreError(f"{target}: is a database in use (there is a {target.name}-wal); choose another name")
        self._copy(target)

    def _copy(self, target: Path) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with durable.aside(target) as aside:
                aside.touch()  # SQLite does not say why it cannot
                self._copy_to(aside)
                durable.put(aside, target)
        except OSError as error:
            kind = DiskFullError if error.errno in NO_ROOM else StoreError
            raise kind(f"{target}: the backup cannot be written: {error.strerror}") from error
        except sqlite3.Error as error:
            if error.sqlite_errorcode in _DAMAGED:
                raise StoreError(f"{remedies.damaged(self.path, str(error))}; no backup was made") from error
            kind = DiskFullError if error.sqlite_errorcode in _NO_ROOM else StoreError
            raise kind(f"{target}: the backup cannot be written: {error}") from error

    def _copy_to(self, aside: Path) -> None:
        """All that is committed, examined, in a file of its own."""
        with self.read() as source, contextlib.closing(sqlite3.connect(aside)) as copy:
            cast(sqlite3.Connection, source.connection.driver_connection).backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, also where nothing may be made beside it
            (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise StoreError(f"{remedies.damaged(self.path, verdict)}; no backup was made")


def _engine(path: Path, read_only: bool) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        if read_only:
            return reader.connect(path)
        return sqlite3.connect(f"{path.as_uri()}?mode=rwc", uri=True, check_same_thread=False)

    url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(url, creator=connect, isolation_level="AUTOCOMMIT")

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: object) -> None:
        # FULL: an acknowledged commit survives a power cut. (WAL, set in `migrate`: readers never block the writer.)
        for pragma in (f"busy_timeout={backend.BUSY_SECONDS * 1000}", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _patiently(connection: sa.Connection, statement: str) -> None:
    """Execute what waits for another writer, in pieces: within each, Python hears no signal."""
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    until = time.monotonic() + backend.BUSY_SECONDS
    driver.execute(f"PRAGMA busy_timeout={DEAF_MS}")
    try:
        while True:
            try:
                connection.exec_driver_sql(statement)
                return
            except sa.exc.OperationalError as error:
                if getattr(error.orig, "sqlite_errorcode", None) not in _BUSY or time.monotonic() > until:
                    raise
    finally:
        with contextlib.suppress(sqlite3.ProgrammingError):  # Ctrl-C within the statement has closed it
            driver.execute(f"PRAGMA busy_timeout={backend.BUSY_SECONDS * 1000}")


def _version(connection: sa.Connection) -> int:
    exists = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").first()
    return connection.scalar(sa.select(sa.func.max(schema.schema_version.c.version))) or 0 if exists else 0


def refuse_network(folder: Path) -> None:
    """WAL needs shared memory between processes, which network file systems do not have."""
    try:
        mounts = [line.split()[1:3] for line in MOUNTS.read_text().splitlines()]
    except OSError:
        return  # no /proc: nothing can be told
    real = os.fspath(folder.resolve())
    above = [(mount, kind) for mount, kind in mounts if (real + "/").startswith(mount.rstrip("/") + "/")]
    kind = max(above, key=lambda pair: len(pair[0]), default=("", ""))[1]
    if kind in _NETWORK:
        raise StoreError(
            f"{folder}: lies on a network file system ({kind}), where SQLite can lose data; "
            "put the database on a local disk: --db PATH or TINYABLATE_DB"
        )
