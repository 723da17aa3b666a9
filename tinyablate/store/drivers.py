"""Which runs work, or worked, on this database, and asking them to stop. A part of `Store`."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from tinyablate.processes import is_dead
from tinyablate.store import schema
from tinyablate.store.backends.backend import Backend
from tinyablate.store.leases import LEASE_SECONDS
from tinyablate.store.records import DriverRecord


class Drivers:
    """The store's methods that concern drivers; each is one transaction, and may be repeated."""

    backend: Backend
    owner: str

    def enter(self, name: str, log: str | None) -> None:
        """Make this driver known, which runs `name` and writes its output to the file `log` where it is detached."""
        with self.backend.transaction() as connection:
            now = self.backend.now(connection)
            values = {"name": name, "log": log, "started_at": now, "heartbeat_at": now, "ended_at": None}
            statement = self.backend.insert(schema.drivers).values(owner=self.owner, stop_asked=False, **values)
            # A process enters when it starts and again as the driver: a stop that was asked for meanwhile stays.
            table = schema.drivers.c
            asked = table.stop_asked & table.ended_at.is_(None)
            changed = {**values, "stop_asked": asked}
            connection.execute(statement.on_conflict_do_update(index_elements=["owner"], set_=changed))

    def leave(self) -> None:
        """This driver ends."""
        with self.backend.transaction() as connection:
            connection.execute(self._own().values(ended_at=self.backend.now(connection)))

    def beat_driver(self) -> bool:
        """This driver lives. True: somebody asked it to stop."""
        with self.backend.transaction() as connection:
            connection.execute(self._own().values(heartbeat_at=self.backend.now(connection)))
            asked = sa.select(schema.drivers.c.stop_asked).where(schema.drivers.c.owner == self.owner)
            return bool(connection.scalar(asked))

    def ask_to_stop(self, owners: Collection[str]) -> None:
        """Ask these drivers, wherever they run, to stop; they see it at their next `beat_driver`."""
        with self.backend.transaction() as connection:
            asked = sa.update(schema.drivers).where(schema.drivers.c.owner.in_(sorted(owners)))
            connection.execute(asked.values(stop_asked=True))

    def drivers(self) -> list[DriverRecord]:
        """All that were ever known, the newest first."""
        t = schema.drivers.c
        with self.backend.read() as connection:
            now = self.backend.now(connection)
            rows = connection.execute(sa.select(schema.drivers).order_by(t.started_at.desc(), t.owner)).all()
        return [DriverRecord(**row._asdict(), live=_lives(row, now)) for row in rows]

    def _own(self) -> sa.Update:
        return sa.update(schema.drivers).where(schema.drivers.c.owner == self.owner)


def _lives(row: Any, now: float) -> bool:
    return row.ended_at is None and row.heartbeat_at >= now - LEASE_SECONDS and not is_dead(row.owner)
