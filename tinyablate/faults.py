"""Points at which a test ends this process as a power cut would. Without TINYABLATE_FAULT nothing happens there.

TINYABLATE_FAULT=N kills the process at the N-th point that it passes, counted from 1; TINYABLATE_FAULT=PATH only writes
the names of the points to that file, a line each, so that a test knows how many there are.
"""

import os
import signal

ACTIVE = False
"""Whether a test looks: what costs time to watch, such as every statement, is watched only then."""

_wanted = ""
_passed = 0


def arm(wanted: str) -> None:
    """From here on as if this process had been started with TINYABLATE_FAULT=`wanted`; for forks."""
    global ACTIVE, _wanted, _passed
    ACTIVE, _wanted, _passed = bool(wanted), wanted, 0


def point(name: str) -> None:
    """A place where everything may end: `rename-before:FILE`, `statement-after:INSERT INTO …`."""
    if ACTIVE:
        _pass(name)


def _pass(name: str) -> None:
    global _passed
    _passed += 1
    if not _wanted.isdecimal():
        with open(_wanted, "a") as file:
            file.write(f"{name}\n")
    elif _passed == int(_wanted):
        os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get("TINYABLATE_FAULT", ""))
