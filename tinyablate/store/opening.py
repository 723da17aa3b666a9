"""Opening a database file: which file, is it ours, is its schema current, is its file system fit. No results."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tinyablate import __version__
from tinyablate.errors import StoreError, WorkError
from tinyablate.store import schema

logging.getLogger("sqlalchemy.pool").setLevel(
    logging.CRITICAL
)  # else Ctrl-C while a connection closes prints a traceback

BUSY_SECONDS = int(os.environ.get("TINYABLATE_BUSY_SECONDS", "60"))
"""How long a writer waits for another; as long as a lease lasts. Settable so that a test need not wait."""

MOUNTS = Path("/proc/mounts")
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "glusterfs", "ceph", "fuse.sshfs", "beegfs", "9p", "afs"}


@contextlib.contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that holds the write lock from its start: nobody writes between its reads and its writes."""
    with engine.connect() as connection:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.exec_driver_sql("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # Ctrl-C within a statement has invalidated it already
                connection.exec_driver_sql("ROLLBACK")
            if isinstance(error, sa.exc.OperationalError):  # locked for too long, disk full: no fault of the caller's
                raise WorkError(f"the database cannot be written: {error.orig}; run again to continue") from error
            raise


def migrate(engine: sa.Engine, path: Path) -> None:
    """Bring the schema up to date, each step and its record in one transaction."""
    version = stored_version(engine, path)
    with engine.connect() as connection:  # only now that it is known to be ours: the mode stays with the file
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    for target in range(version + 1, schema.SCHEMA_VERSION + 1):
        with transaction(engine) as connection:
            if target <= _version_inside(connection):
                continue  # another process was faster
            schema.MIGRATIONS[target](connection)
            record = {"version": target, "applied_at": time.time(), "tinyablate": __version__}
            connection.execute(sa.insert(schema.schema_version), record)


def database_path(url_or_path: str | Path) -> Path:
    """The SQLite file that `--db` names: a path or sqlite:///PATH. Raises StoreError for anything else."""
    text = os.fspath(url_or_path)
    scheme, separator, rest = text.partition("://")
    if not separator:
        path = Path(text)
    elif scheme == "sqlite":
        path = Path(rest.removeprefix("/"))
    elif scheme.startswith("postgres"):
        raise StoreError(
            f"--db {scheme}://…: PostgreSQL does not work yet in tinyablate {__version__}; use a file path"
        )
    else:
        raise StoreError(f"--db {scheme}://…: not a database that tinyablate knows; valid: a file path, sqlite:///PATH")
    try:
        path = path.expanduser()
        is_folder = path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, no such user, a null byte
        raise StoreError(f"--db {text[:60]}: cannot be a path: {error}") from error
    if is_folder:
        raise StoreError(f"{path}: is a folder; name a database file in it, such as {path}/ablations.db")
    return path.absolute()


def make_engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), isolation_level="AUTOCOMMIT")

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: object) -> None:
        # FULL: an acknowledged commit survives a power cut. (WAL, set in `migrate`: readers never block the writer.)
        for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of the database driver on opening, as one clear message."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        raise StoreError(f"{path}: not a usable SQLite database: {error.orig}; is --db right?") from error


def stored_version(engine: sa.Engine, path: Path) -> int:
    """Schema version of the database (0: new). StoreError if it is another program's, or a later tinyablate's."""
    with engine.connect() as connection:
        version = _version_inside(connection)
        tables = [] if version else sa.inspect(connection).get_table_names()
    if tables and schema.schema_version.name not in tables:  # it is there when another process has just made them
        raise StoreError(
            f"{path}: is a database of another program (tables {', '.join(tables[:3])}); choose another --db"
        )
    if version > schema.SCHEMA_VERSION:
        raise StoreError(
            f"{path}: has schema version {version}; this tinyablate {__version__} knows versions up to "
            f"{schema.SCHEMA_VERSION}. Upgrade: pip install --upgrade tinyablate"
        )
    return version


def _version_inside(connection: sa.Connection) -> int:
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
