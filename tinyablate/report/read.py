"""What the pages need of the store beside the table: attempts with where they ran, outcomes, curves. It only reads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from tinyablate.store import schema
from tinyablate.store.query import epochs_of
from tinyablate.store.store import CHUNK, Store
from tinyablate.sweep import metrics
from tinyablate.sweep.metrics import Metric
from tinyablate.tables.figures.drawn import written

CURVES = ("val_top1", "val_loss", "train_loss")
"""What a page draws over the epochs."""

BROKEN = ("failed", "lost")
"""States of attempts that ended otherwise than anybody wanted."""


class Environment(NamedTuple):
    """Where and with what attempts ran."""

    host: str
    device: str
    torch: str
    timm: str
    python: str
    tinyablate: str
    core_version: int
    git_commit: str
    train_digest: str
    data_digest: str
    weights_digest: str
    compiled: bool


@dataclass(frozen=True)
class Attempt:
    """One try at a trial. Times are Unix seconds."""

    key: str
    """Of the trial."""
    number: int
    state: str
    counts: bool
    """Its result is the one that the table shows."""
    job: str
    cause: str
    message: str
    started_at: float
    ended_at: float
    """Of one that still runs, or was lost, its last sign of life."""
    running: bool
    epoch: int | None
    """That a running one is in."""
    from_epoch: int | None
    micro_batch: int | None
    environment: Environment | None
    traceback: str = ""
    """Empty where it was not asked for."""

    @property
    def seconds(self) -> float:
        """From the claim to the end."""
        return self.ended_at - self.started_at


class Number(NamedTuple):
    """A number of a trial's outcome, in its metric's unit."""

    title: str
    text: str


def attempts_of(store: Store, keys: Sequence[str], tracebacks: bool = False) -> dict[str, tuple[Attempt, ...]]:
    """Trial key -> its attempts, the first one first; trials without any are left out."""
    t, a, e = schema.trials.c, schema.attempts.c, schema.environments.c
    wanted = sa.select(
        t.key, t.accepted_attempt_id, a.id, a.number, a.state, a.job, a.cause, a.message, a.started_at, a.heartbeat_at,
        a.ended_at, a.epoch, a.from_epoch, a.micro_batch, a.environment_id,
        a.traceback if tracebacks else sa.literal("").label("traceback"),
    ).select_from(schema.trials.join(schema.attempts, a.trial_id == t.id))  # fmt: skip
    columns = (e[name] for name in Environment._fields)
    found: dict[str, list[Attempt]] = {}
    with store.backend.read() as connection:
        places = {row.id: Environment(*row[1:]) for row in connection.execute(sa.select(e.id, *columns))}
        for chunk in _chunks(keys):
            for row in connection.execute(wanted.where(t.key.in_(chunk)).order_by(a.trial_id, a.number)):
                found.setdefault(row.key, []).append(_attempt(row, places))
    return {key: tuple(attempts) for key, attempts in found.items()}


def _attempt(row: Any, places: Mapping[int, Environment]) -> Attempt:
    return Attempt(
        key=row.key,
        number=row.number,
        state=row.state,
        counts=row.id == row.accepted_attempt_id,
        job=row.job,
        cause=row.cause or "",
        message=row.message or "",
        started_at=row.started_at,
        ended_at=row.heartbeat_at if row.ended_at is None or row.state == "lost" else row.ended_at,
        running=row.ended_at is None and row.state == "running",
        epoch=row.epoch,
        from_epoch=row.from_epoch,
        micro_batch=row.micro_batch,
        environment=places.get(row.environment_id),
        traceback=row.traceback or "",
    )


def fingerprints_of(store: Store, keys: Sequence[str]) -> list[str]:
    """Every fingerprint of data that these trials were trained on, sorted."""
    t = schema.trials.c
    with store.backend.read() as connection:
        found = {
            text
            for chunk in _chunks(keys)
            for text in connection.scalars(sa.select(t.fingerprint).where(t.key.in_(chunk)).distinct())
        }
    return sorted(found)


def numbers_of(store: Store, keys: Sequence[str]) -> dict[str, tuple[Number, ...]]:
    """Trial key -> all that its accepted outcome holds, under both selection rules."""
    t, o = schema.trials.c, schema.outcomes.c
    shown = _shown_columns()
    wanted = sa.select(t.key, *(o[name] for name in shown)).select_from(
        schema.trials.join(schema.outcomes, o.attempt_id == t.accepted_attempt_id)
    )
    found: dict[str, tuple[Number, ...]] = {}
    with store.backend.read() as connection:
        for chunk in _chunks(keys):
            for key, *values in connection.execute(wanted.where(t.key.in_(chunk))):
                pairs = zip(shown.values(), values, strict=True)
                found[key] = tuple(
                    Number(title, _text(metric, value)) for (title, metric), value in pairs if value is not None
                )
    return found


def _shown_columns() -> dict[str, tuple[str, Metric | None]]:
    """Column of `outcomes` -> its title, and the metric that it holds, if it holds one."""
    shown: dict[str, tuple[str, Metric | None]] = {
        name: (name.replace("_", " "), None) for name in ("epochs", "best_epoch", "diverged_epoch")
    }
    for rule in ("best", "last", "cross_fitted", ""):
        for metric in metrics.KNOWN.values():
            name = "_".join(filter(None, (rule, metric.name)))
            if name in schema.outcomes.columns:
                shown[name] = (f"{rule.replace('_', '-')} {metric.title}".strip(), metric)
    return shown


def _text(metric: Metric | None, value: float) -> str:
    return str(value) if metric is None else written(metric, value * metric.scale)


Curve = Mapping[int, tuple[float | None, ...]]
"""Epoch -> the numbers that were asked for, in their metrics' units."""


def curves_of(store: Store, keys: Sequence[str], names: Sequence[str] = CURVES) -> dict[str, Curve]:
    """Trial key -> its curve of these metrics of epochs; trials without one are left out."""
    return dict(epochs_of(store, keys, names))  # stored in the metrics' units, unlike facts


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]
