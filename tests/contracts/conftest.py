"""Stores on both back ends."""

from stores import (  # noqa: F401
    database,
    environment,
    new_trial_fixture,
    outcome_of_fixture,
    postgres_tables,
    pytest_generate_tests,
    store,
    trials,
)
