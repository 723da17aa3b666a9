"""One SELECT of the user's, answered without any way to write: by SQLite (`sqlite`) or PostgreSQL (`postgresql`)."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from tinyablate.store.asking.mistakes import no_database
from tinyablate.store.location import Location

ROWS = 10_000
"""That are Python objects at a time: fewer cost calls, more cost memory."""


class Answer(NamedTuple):
    """What a SELECT gives."""

    columns: tuple[str, ...]
    batches: Iterator[Sequence[Sequence[Any]]]
    """The rows, in lists of at most `ROWS`; to be read before the next question."""


class Asked(Protocol):
    """A database that answers questions until its context ends, all of them of one moment if it is PostgreSQL."""

    def ask(self, sql: str, values: Sequence[Any] = ()) -> Answer:
        """The answer to one SELECT, with `values` for its question marks.

        Raises UsageError on anything else than a SELECT, and for every fault that the database finds in it."""


@contextlib.contextmanager
def asking(location: Location, sql: str) -> Iterator[Asked]:
    """A connection of its own that can only read; `sql` is what its errors are explained by.

    What the database has against a question is a UsageError, also while its answer is read. Raises StoreError where
    there is no database of ours of this version.
    """
    if location.path:
        if not location.exists():
            raise no_database(location)
        from tinyablate.store.asking.sqlite import SqliteAsked

        with SqliteAsked.of(location.path, sql) as asked:
            yield asked
    else:
        from tinyablate.store.asking.postgresql import PostgresqlAsked

        with PostgresqlAsked.of(location, sql) as asked:
            yield asked
