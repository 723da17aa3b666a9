"""What `doctor` says of stored results."""

import pytest
import stores
from stores import outcome_of

from tinyablate.store import health
from tinyablate.store.records import NewTrial
from tinyablate.store.store import Store

BACKENDS = stores.BACKENDS

WHOLE = "4 trials, each with a result has one that counts, and that whole"


def test_a_sound_store(store: Store, trials: list[NewTrial]) -> None:
    """One line; trials that dead runs have left are told, and are no problem."""
    assert health.findings(store) == [(True, WHOLE)]
    done, _ = store.claim([trials[0].key, trials[1].key], "job")
    store.finish(done, outcome_of(trials[0]))
    assert health.findings(store) == [(True, WHOLE)]
    with store.backend.transaction() as connection:
        connection.exec_driver_sql("UPDATE stored_trials SET lease_until = 0 WHERE state = 'running'")
    assert health.findings(store) == [
        (True, WHOLE),
        (True, "trials that runs which are gone have left, and the next tinyablate run takes up: 1"),
    ]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DELETE FROM stored_epochs WHERE epoch = 2 AND trial_id = 1", "trials whose result has not all its epochs: 1"),
        ("UPDATE attempts SET state = 'complete' WHERE id = 2", "trials with a second result that counts: 1"),
        (
            "UPDATE stored_trials SET accepted_attempt_id = 2 WHERE id = 1",
            "trials whose state stands on no accepted result: 1",
        ),
    ],
)
def test_what_is_broken_is_counted(sql: str, problem: str, store: Store, trials: list[NewTrial]) -> None:
    """Whatever other programs have done to the rows."""
    done, failed = store.claim([trials[0].key, trials[1].key], "job")
    store.finish(done, outcome_of(trials[0]))
    store.fail(failed, "exception", "no", "")
    with store.backend.transaction() as connection:
        connection.exec_driver_sql(sql)
    assert [text for fine, text in health.findings(store) if not fine and text == problem], sql
