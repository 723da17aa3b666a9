"""A new database of each back end; and time for the sizes that are not for every day."""

import pytest
from reliability.life import SOAK
from stores import database, postgres_tables, pytest_generate_tests  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With TINYABLATE_SOAK=1 every point is killed at, and examples are many."""
    for item in items if SOAK else ():
        item.add_marker(pytest.mark.timeout(7200), append=False)
