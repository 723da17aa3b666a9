"""What must hold of a results database at every moment, whatever died: each rule is a query that finds what breaks it.

The rules ask the tables themselves, not the code that writes them.
"""

import hashlib
from pathlib import Path

import sqlalchemy as sa

RULES = {
    "a result stands on an accepted attempt with an outcome of its state, and nobody works on it": """
        SELECT t.key, t.state FROM stored_trials t
        LEFT JOIN attempts a ON a.id = t.accepted_attempt_id AND a.trial_id = t.id AND a.state = t.state
        LEFT JOIN stored_outcomes o ON o.attempt_id = a.id AND o.trial_id = t.id AND o.state = t.state
        WHERE t.state IN ('complete', 'diverged') AND (
            o.attempt_id IS NULL OR t.core_version IS NULL OR t.owner IS NOT NULL OR t.lease_until IS NOT NULL)""",
    "no attempt counts but the accepted one": """
        SELECT a.id, a.state FROM attempts a JOIN stored_trials t ON t.id = a.trial_id
        WHERE a.state IN ('complete', 'diverged') AND coalesce(t.accepted_attempt_id, -1) <> a.id""",
    "an attempt has an outcome exactly if it came to a result": """
        SELECT a.id, a.state FROM attempts a LEFT JOIN stored_outcomes o ON o.attempt_id = a.id
        WHERE (a.state IN ('complete', 'diverged') AND o.attempt_id IS NULL)
           OR (a.state NOT IN ('complete', 'diverged', 'superseded') AND o.attempt_id IS NOT NULL)""",
    "an outcome has all its epochs, each with its bits": """
        SELECT o.attempt_id, o.epochs FROM stored_outcomes o
        WHERE o.epochs <> (SELECT count(*) FROM stored_epochs e WHERE e.attempt_id = o.attempt_id)
           OR o.epochs <> (SELECT count(*) FROM correctness b WHERE b.attempt_id = o.attempt_id)""",
    "numbers, bits and files belong to an outcome, and to its trial": """
        SELECT r.attempt_id, r.trial_id FROM (
            SELECT attempt_id, trial_id FROM stored_epochs UNION SELECT attempt_id, trial_id FROM metrics
            UNION SELECT attempt_id, trial_id FROM correctness UNION SELECT attempt_id, trial_id FROM artefacts
        ) r LEFT JOIN stored_outcomes o ON o.attempt_id = r.attempt_id AND o.trial_id = r.trial_id
        WHERE o.attempt_id IS NULL""",
    "a running trial has one running attempt, of its fence; another has none": """
        SELECT t.key, t.state, count(a.id) FROM stored_trials t
        LEFT JOIN attempts a ON a.trial_id = t.id AND a.state = 'running'
        GROUP BY t.id, t.key, t.state, t.fence
        HAVING count(a.id) <> CASE t.state WHEN 'running' THEN 1 ELSE 0 END
            OR (t.state = 'running' AND max(a.fence) <> t.fence)""",
    "only a running trial is leased": """
        SELECT key, state FROM stored_trials
        WHERE (state = 'running') <> (owner IS NOT NULL) OR (state = 'running') <> (lease_until IS NOT NULL)""",
    "fences grow with every attempt, and the trial's is the last": """
        SELECT t.key, t.fence FROM stored_trials t JOIN attempts a ON a.trial_id = t.id
        LEFT JOIN attempts b ON b.trial_id = a.trial_id AND b.number < a.number AND b.fence >= a.fence
        WHERE b.id IS NOT NULL OR a.fence > t.fence""",
    "an attempt has ended exactly if it does not run": """
        SELECT id, state FROM attempts WHERE (state = 'running') = (ended_at IS NOT NULL)""",
}


def broken(engine: sa.Engine, deep: bool = True) -> list[str]:
    """What breaks a rule, in words; empty where all is well. `deep`: SQLite's own examination of its file too."""
    found = []
    with engine.connect() as connection:
        if deep and engine.dialect.name == "sqlite":
            for check in ("integrity_check", "foreign_key_check"):
                rows = connection.exec_driver_sql(f"PRAGMA {check}").fetchall()
                found += [f"{check}: {row}" for row in rows if tuple(row) != ("ok",)]
        for rule, query in RULES.items():
            found += [f"{rule}: {tuple(row)}" for row in connection.execute(sa.text(query)).fetchmany(5)]
    return found


def damaged_files(engine: sa.Engine, home: Path) -> list[str]:
    """Files that an attempt with a result is said to have left, and that are not there as they are described."""
    query = "SELECT a.directory, f.path, f.sha256, f.bytes FROM artefacts f JOIN attempts a ON a.id = f.attempt_id"
    with engine.connect() as connection:
        rows = connection.execute(sa.text(query)).fetchall()
    return [
        f"{directory}/{path}" for directory, path, sha256, size in rows
        if not _is_as_told(home / directory / path, sha256, size)
    ]  # fmt: skip


def _is_as_told(file: Path, sha256: str, size: int) -> bool:
    if not file.is_file():
        return False
    content = file.read_bytes()
    return len(content) == size and hashlib.sha256(content).hexdigest() == sha256
