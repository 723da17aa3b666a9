"""What is noted beside the results: limits of memory, estimates, protocols, extensions. A part of `Store`."""

import contextlib
import time
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from tinyablate.store import schema
from tinyablate.store.records import EstimateRecord, ExtensionRecord, MemoryKey, ProtocolRecord


class Notes:
    """The store's methods that note something and give it back; each is one transaction."""

    _engine: sa.Engine

    def _write(self) -> contextlib.AbstractContextManager[sa.Connection]:
        raise NotImplementedError

    def note_limit(self, what: MemoryKey, micro_batch: int) -> None:
        """Remember that memory allowed no larger micro-batch; of several such notes the smallest stays."""
        table = schema.limits
        statement = insert(table).values(**what._asdict(), micro_batch=micro_batch, noted_at=time.time())
        smallest = sa.func.min(table.c.micro_batch, statement.excluded.micro_batch)
        changed = {"micro_batch": smallest, "noted_at": statement.excluded.noted_at}
        with self._write() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=MemoryKey._fields, set_=changed))

    def limits(self) -> dict[MemoryKey, int]:
        """The largest micro-batch that memory allows, where a larger one is known to fail."""
        t = schema.limits.c
        columns = sa.select(*(t[name] for name in MemoryKey._fields), t.micro_batch)
        with self._engine.connect() as connection:
            return {MemoryKey(*key): micro_batch for *key, micro_batch in connection.execute(columns)}

    def note_estimate(self, digest: str, estimate: EstimateRecord) -> None:
        """Remember what a run of the registered sweep with this digest is expected to cost from now on."""
        sweep = sa.select(schema.sweeps.c.id).where(schema.sweeps.c.digest == digest)
        with self._write() as connection:
            values = {"sweep_id": connection.execute(sweep).scalar_one(), "made_at": time.time(), **asdict(estimate)}
            connection.execute(sa.insert(schema.estimates), values)

    def note_protocol(self, name: str, smoke: bool, protocol: ProtocolRecord) -> None:
        """Remember by which rules the sweep `name` is judged from now on; nothing where they are the last ones."""
        values = asdict(protocol)
        values["selection"] = values.pop("select")
        with self._write() as connection:
            known = _protocols(connection, name, smoke)
            if not known or known[-1][1] != protocol:
                at = {"name": name, "smoke": smoke, "noted_at": _after(known[-1][0] if known else 0.0)}
                connection.execute(sa.insert(schema.protocols), {**at, **values})

    def protocols(self, name: str, smoke: bool) -> list[tuple[float, ProtocolRecord]]:
        """The rules that the sweep was ever run under, each with the time when it began to hold, in order."""
        with self._engine.connect() as connection:
            return _protocols(connection, name, smoke)

    def note_extension(self, name: str, smoke: bool, record: ExtensionRecord) -> None:
        """Remember that a row of the sweep `name` got further seeds, and from what it followed."""
        with self._write() as connection:
            values = {"name": name, "smoke": smoke, "noted_at": time.time(), **asdict(record)}
            connection.execute(sa.insert(schema.extensions), values)

    def extensions(self, name: str, smoke: bool) -> list[ExtensionRecord]:
        """Every extension of the sweep's rows, in order."""
        t = schema.extensions.c
        columns = [t[name] for name in ExtensionRecord.__dataclass_fields__]
        wanted = sa.select(*columns).where(t.name == name, t.smoke == smoke).order_by(t.noted_at, t.row_label)
        with self._engine.connect() as connection:
            return [ExtensionRecord(*row) for row in connection.execute(wanted)]


def _protocols(connection: sa.Connection, name: str, smoke: bool) -> list[tuple[float, ProtocolRecord]]:
    t = schema.protocols.c
    columns = sa.select(t.noted_at, t.metric, t.selection, t.margin, t.family, t.test, t.seeds_rule, t.digest)
    wanted = columns.where(t.name == name, t.smoke == smoke).order_by(t.noted_at)
    return [(at, ProtocolRecord(*values)) for at, *values in connection.execute(wanted)]


def _after(time_of_last: float) -> float:
    """Now, but later than the last note: a clock that was set back changes no order."""
    return max(time.time(), time_of_last + 1e-3)
