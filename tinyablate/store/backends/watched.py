"""Fault points around everything that an engine sends to its database. Nothing at all unless a test looks."""

from typing import Any

import sqlalchemy as sa

from tinyablate import faults


def watch(engine: sa.Engine) -> None:
    """Pass a fault point before and after each statement of the engine, if a test looks.

    BEGIN and COMMIT are statements like others: all transactions are ours, the driver is in autocommit mode.
    """
    if faults.ACTIVE:
        sa.event.listen(engine, "before_cursor_execute", _before)
        sa.event.listen(engine, "after_cursor_execute", _after)


def _before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    faults.point(f"statement-before:{_short(statement)}")


def _after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    faults.point(f"statement-after:{_short(statement)}")


def _short(statement: str) -> str:
    return " ".join(statement.split())[:60]
