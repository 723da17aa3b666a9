"""What must hold of stored results whatever happened to their drivers, looked up for `doctor`. It repairs nothing."""

from typing import NamedTuple

import sqlalchemy as sa

from tinyablate.store import leases, schema
from tinyablate.store.backends.backend import Finding
from tinyablate.store.store import Store


class _Rule(NamedTuple):
    broken: str
    """Which trials are counted, …"""
    query: str
    """… and what counts them."""


RULES = (
    _Rule(
        "trials whose state stands on no accepted result",
        "SELECT count(*) FROM stored_trials t "
        "LEFT JOIN attempts a ON a.id = t.accepted_attempt_id AND a.trial_id = t.id AND a.state = t.state "
        "LEFT JOIN stored_outcomes o ON o.attempt_id = a.id AND o.state = t.state "
        "WHERE t.state IN ('complete', 'diverged') AND o.attempt_id IS NULL",
    ),
    _Rule(
        "trials with a second result that counts",
        "SELECT count(DISTINCT t.id) FROM stored_trials t JOIN attempts a ON a.trial_id = t.id "
        "WHERE a.state IN ('complete', 'diverged') AND a.id <> coalesce(t.accepted_attempt_id, -1)",
    ),
    _Rule(
        "trials whose result has not all its epochs",
        "SELECT count(*) FROM stored_outcomes o JOIN stored_trials t ON t.accepted_attempt_id = o.attempt_id "
        "WHERE o.epochs <> (SELECT count(*) FROM stored_epochs e WHERE e.attempt_id = o.attempt_id)",
    ),
)


def findings(store: Store) -> list[Finding]:
    """Whether each trial has at most one result that counts, and that whole; and who was left behind."""
    found = []
    with store.backend.snapshot() as connection:
        for broken, query in RULES:
            if count := connection.scalar(sa.text(query)):
                found.append((False, f"{broken}: {count}"))
        stored = connection.scalar(sa.select(sa.func.count()).select_from(schema.trials))
        left = _left_behind(store, connection)
    found = found or [(True, f"{stored} trials, each with a result has one that counts, and that whole")]
    waits = f"trials that runs which are gone have left, and the next tinyablate run takes up: {left}"
    return [*found, *([(True, waits)] if left else [])]


def _left_behind(store: Store, connection: sa.Connection) -> int:
    t, now = schema.trials.c, store.backend.now(connection)
    running = connection.execute(sa.select(t.owner, t.lease_until).where(t.state == "running"))
    return sum(leases.expired(owner, until, now) for owner, until in running)
