"""A table that fills in while its trials run: drawn again and again on a terminal's second screen. It reads nothing."""

import shutil
import time
from collections.abc import Callable
from typing import TextIO

from tinyablate.tables.arrays import CODES
from tinyablate.tables.schema import Table

SECONDS = 2.0
"""Between two looks."""
PATIENCE = 5
"""Looks without a running trial before it counts as over: between two jobs nothing runs for some seconds."""

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""The alternate screen without a cursor, and back (xterm's control sequences, DECSET 1049 and 25)."""
_HOME, _END_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def watch(
    look: Callable[[], tuple[str, bool]], screen: TextIO, seconds: float = SECONDS, patience: int = PATIENCE
) -> str:
    """Draw what `look` tells until nothing runs any more, or Ctrl-C; the last text, for whoever prints it to stay.

    `look` gives the text and whether anything runs. Where nothing runs at the first look, nothing is drawn.
    """
    text, busy = look()
    if not busy:
        return text
    idle = 0
    screen.write(_ENTER)
    try:
        while idle < patience:
            screen.write(_drawn(text))
            screen.flush()
            time.sleep(seconds)
            text, busy = look()
            idle = 0 if busy else idle + 1
    except KeyboardInterrupt:
        pass
    finally:
        screen.write(_LEAVE)
        screen.flush()
    return text


def running(table: Table) -> bool:
    """Whether a trial of the table runs now."""
    return table.replicates is not None and bool((table.replicates.states == CODES["running"]).any())


def _drawn(text: str) -> str:
    """The text from the top left corner, over what stands there; cut where the terminal ends."""
    lines = text.split("\n")
    height = shutil.get_terminal_size().lines
    if len(lines) >= height:
        lines = [*lines[: height - 2], f"… {len(lines) - height + 2} more lines; Ctrl-C ends and prints all"]
    return _HOME + "".join(f"{line}{_END_OF_LINE}\n" for line in lines) + _BELOW
