"""The error tree: what a user can do wrong or what can go wrong, each with its exit code.

    TinyablateError            exit code
    ├── UsageError             2   the user's file, argument or environment is at fault
    │   ├── SweepError             a sweep file (carries every problem found, not only the first)
    │   ├── RecipeError            an impossible recipe value or combination
    │   ├── DataError              a data set that is absent, damaged or unknown
    │   ├── WeightsError           pretrained weights that are not to be had
    │   └── StoreError             a database that cannot be used
    └── WorkError              1   work that was accepted and failed
        ├── AwayError              the database cannot be reached at present; it may come back
        └── DiskFullError          no room is left for a result or a checkpoint

Only `cli.py` turns them into exit codes; everything else raises them.
"""

import difflib
import errno
from collections.abc import Iterable, Sequence
from typing import ClassVar

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The system's errors of a full disk: no space, no quota, no larger file allowed."""


class TinyablateError(Exception):
    """Base of all errors whose message is meant for the user as it stands."""

    exit_code: ClassVar[int] = 1


class UsageError(TinyablateError):
    """The user's file, argument or environment is at fault; nothing was started."""

    exit_code: ClassVar[int] = 2


class SweepError(UsageError):
    """One or more problems in a sweep file, each a line of its own."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class RecipeError(UsageError, ValueError):
    """Impossible values: `problems` holds (dotted field path, value, rule) for each."""

    def __init__(self, problems: Sequence[tuple[str, object, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{path} = {value!r}: {rule}" for path, value, rule in self.problems))


class DataError(UsageError):
    """A data set is unknown, not prepared, or damaged."""


class WeightsError(UsageError):
    """Pretrained weights are neither on this machine nor to be fetched."""


class StoreError(UsageError):
    """The database is unreadable, newer than this program, or on an unsuitable file system."""


class WorkError(TinyablateError):
    """Accepted work failed; the message names what and how to look at it."""


class AwayError(WorkError):
    """The database's server cannot be reached at present, or is just starting; nothing was changed. Try again later."""


class DiskFullError(WorkError):
    """No room is left for a result or a checkpoint; nothing that was acknowledged is lost."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the valid name closest to `name`, or an empty string."""
    names = list(valid)
    same = [full for full in names if full.lower() == name.lower()]
    found = same[:1] or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not found:  # "mixpu" should find "mix.mixup_alpha" through its last part
        leaves = {full.rsplit(".", 1)[-1]: full for full in names}
        found = [leaves[leaf] for leaf in difflib.get_close_matches(name.rsplit(".", 1)[-1], leaves, n=1, cutoff=0.5)]
    return f"; did you mean '{found[0]}'?" if found else ""


def listed(names: Iterable[str], most: int = 12) -> str:
    """The names, quoted and comma-separated; long lists are cut with a count of the rest."""
    all_names = list(names)
    shown = ", ".join(f"'{name}'" for name in all_names[:most])
    return shown + (f" and {len(all_names) - most} more" if len(all_names) > most else "")
