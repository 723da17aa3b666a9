"""The databases that results can live in: SQLite's file and PostgreSQL's server, behind one contract (`backend`)."""

from tinyablate.store.backends.backend import Backend
from tinyablate.store.location import Location


def open_backend(location: Location, read_only: bool = False) -> Backend:
    """The back end of the database at `location`; nothing is created or migrated yet. Raises StoreError."""
    if location.dialect == "sqlite":
        from tinyablate.store.backends.sqlite import Sqlite

        return Sqlite(location, read_only)
    from tinyablate.store.backends.postgresql import Postgresql

    return Postgresql(location, read_only)
