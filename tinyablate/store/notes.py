"""What is noted beside the results: limits of memory, estimates, protocols, extensions. A part of `Store`."""

from dataclasses import asdict

import sqlalchemy as sa

from tinyablate.store import schema
from tinyablate.store.backends.backend import Backend
from tinyablate.store.records import EstimateRecord, ExtensionRecord, MemoryKey, ProtocolRecord


class Notes:
    """The store's methods that note something and give it back; each is one transaction, and may be repeated."""

    backend: Backend

    def note_limit(self, what: MemoryKey, micro_batch: int) -> None:
        """Remember that memory allowed no larger micro-batch; of several such notes the smallest stays."""
        table = schema.limits
        with self.backend.transaction() as connection:
            noted_at = self.backend.now(connection)
            statement = self.backend.insert(table).values(**what._asdict(), micro_batch=micro_batch, noted_at=noted_at)
            new = statement.excluded.micro_batch
            smallest = sa.case((new < table.c.micro_batch, new), else_=table.c.micro_batch)
            changed = {"micro_batch": smallest, "noted_at": noted_at}
            connection.execute(statement.on_conflict_do_update(index_elements=MemoryKey._fields, set_=changed))

    def limits(self) -> dict[MemoryKey, int]:
        """The largest micro-batch that memory allows, where a larger one is known to fail."""
        t = schema.limits.c
        columns = sa.select(*(t[name] for name in MemoryKey._fields), t.micro_batch)
        with self.backend.read() as connection:
            return {MemoryKey(*key): micro_batch for *key, micro_batch in connection.execute(columns)}

    def note_estimate(self, digest: str, estimate: EstimateRecord) -> None:
        """Remember what a run of the registered sweep with this digest is expected to cost from now on."""
        sweep = sa.select(schema.sweeps.c.id).where(schema.sweeps.c.digest == digest)
        with self.backend.transaction() as connection:
            at = {"sweep_id": connection.execute(sweep).scalar_one(), "made_at": self.backend.now(connection)}
            connection.execute(sa.insert(schema.estimates), {**at, **asdict(estimate)})

    def note_protocol(self, name: str, smoke: bool, protocol: ProtocolRecord) -> None:
        """Remember by which rules the sweep `name` is judged from now on; nothing where they are the last ones."""
        values = asdict(protocol)
        values["selection"] = values.pop("select")
        with self.backend.alone() as connection:
            known = _protocols(connection, name, smoke)
            if not known or known[-1][1] != protocol:
                noted_at = self._after(connection, known[-1][0] if known else 0.0)
                at = {"name": name, "smoke": smoke, "noted_at": noted_at}
                connection.execute(sa.insert(schema.protocols), {**at, **values})

    def protocols(self, name: str, smoke: bool) -> list[tuple[float, ProtocolRecord]]:
        """The rules that the sweep was ever run under, each with the time when it began to hold, in order."""
        with self.backend.read() as connection:
            return _protocols(connection, name, smoke)

    def note_extension(self, name: str, smoke: bool, record: ExtensionRecord) -> None:
        """Remember that a row of the sweep `name` got further seeds, and from what it followed; once."""
        with self.backend.alone() as connection:
            known = _extensions(connection, name, smoke)
            if record not in [each for _, each in known]:
                noted_at = self._after(connection, known[-1][0] if known else 0.0)
                values = {"name": name, "smoke": smoke, "noted_at": noted_at, **asdict(record)}
                connection.execute(sa.insert(schema.extensions), values)

    def extensions(self, name: str, smoke: bool) -> list[ExtensionRecord]:
        """Every extension of the sweep's rows, in order."""
        with self.backend.read() as connection:
            return [record for _, record in _extensions(connection, name, smoke)]

    def _after(self, connection: sa.Connection, time_of_last: float) -> float:
        """Now, but later than the last note: a clock that was set back changes no order."""
        return max(self.backend.now(connection), time_of_last + 1e-3)


def _protocols(connection: sa.Connection, name: str, smoke: bool) -> list[tuple[float, ProtocolRecord]]:
    t = schema.protocols.c
    columns = sa.select(t.noted_at, t.metric, t.selection, t.margin, t.family, t.test, t.seeds_rule, t.digest)
    wanted = columns.where(t.name == name, t.smoke == smoke).order_by(t.noted_at)
    return [(at, ProtocolRecord(*values)) for at, *values in connection.execute(wanted)]


def _extensions(connection: sa.Connection, name: str, smoke: bool) -> list[tuple[float, ExtensionRecord]]:
    t = schema.extensions.c
    columns = sa.select(t.noted_at, *(t[name] for name in ExtensionRecord.__dataclass_fields__))
    wanted = columns.where(t.name == name, t.smoke == smoke).order_by(t.noted_at, t.row_label)
    return [(at, ExtensionRecord(*values)) for at, *values in connection.execute(wanted)]
