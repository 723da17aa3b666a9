"""What may have been meant by a question that the database refused. It asks no database."""

import re

from tinyablate import __version__
from tinyablate.errors import StoreError, nearest
from tinyablate.store import remedies, schema
from tinyablate.store.columns import RENAMED, VIEWS, views
from tinyablate.store.location import Location

TABLES = [name for name in schema.metadata.tables if not name.startswith("stored_")]

ONLY_READS = "only a SELECT can be asked; the database is opened read-only"


def no_table(name: str) -> str:
    """That there is no such table or view, which one may be meant, and which there are."""
    hint = f"; it is now called {RENAMED[name]}" if name in RENAMED else nearest(name, [*VIEWS, *TABLES])
    return f"no such table: {name}{hint}; views: {', '.join(VIEWS)}; tables: {', '.join(TABLES)}"


def no_column(name: str, sql: str) -> str:
    """That there is no such column, and which one of the tables that `sql` names may be meant; of any table, where it
    names none."""
    known = {view: [column.name for column in columns] for view, columns in views().items()}
    known |= {table: list(columns.columns.keys()) for table, columns in schema.metadata.tables.items()}
    asked = [found for found in re.findall(r"\b(?:from|join)\s+\W?(\w+)", sql, re.IGNORECASE) if found in known]
    columns = sorted({column for table in asked or known for column in known[table]})
    leaf = name.rpartition(".")[2]
    meant = [each for each in columns if each.endswith(f"_{leaf}")]
    meant = meant or [each for each in columns if each.startswith(leaf) and len(leaf) > 2]
    elsewhere = [each for each in VIEWS if leaf in known[each]] or [each for each in known if leaf in known[each]]
    if meant:
        hint = f"; did you mean '{meant[0]}'?"
    elif elsewhere:
        hint = f"; it is a column of {' and '.join(elsewhere)}"
    else:
        hint = nearest(leaf, columns) or "; the columns: tinyablate schema"
    return f"no such column: {name}{hint}"


def no_database(location: Location) -> StoreError:
    """What to do where there is none."""
    what = "is empty: no database yet" if location.is_empty else "no such database"
    return StoreError(f"{location.shown}: {what}; run a sweep first (tinyablate run SWEEP), or name one: --db PATH")


def older(location: Location, version: int) -> StoreError:
    """What to do about a database of an older schema that is opened for reading alone."""
    shown = location.shown
    hindrance = remedies.hindrance(location.path) if location.path else ""
    cure = (
        f"{hindrance}, but a copy can be brought to version {schema.SCHEMA_VERSION}: tinyablate backup COPY.db --db "
        f"{shown}; then: tinyablate status --db COPY.db"
        if hindrance
        else f"other commands bring it to version {schema.SCHEMA_VERSION}: tinyablate status --db {shown}"
    )
    return StoreError(f"{shown}: has schema version {version}, and is opened for reading alone; {cure}")


def newer(shown: str, version: int, writer: object) -> StoreError:
    """What to do about a database that a later tinyablate, `writer`, has written."""
    return StoreError(
        f"{shown}: has schema version {version}, written by tinyablate {writer}; this tinyablate {__version__} knows "
        f"versions up to {schema.SCHEMA_VERSION}. Upgrade: pip install --upgrade tinyablate"
    )
