"""What `status` says beside the counts of trials: which runs work on the database, and what failed. It only reads."""

import shlex
import time
from collections.abc import Mapping, Sequence

from tinyablate.activity import Version, command, named, options_of, runs
from tinyablate.cures import cure
from tinyablate.listing import columns_text
from tinyablate.looking import failures
from tinyablate.processes import shown
from tinyablate.store.records import DriverRecord
from tinyablate.store.store import open_existing
from tinyablate.terminal import duration, on_lines, one_line

MOST_FAILURES = 20


def describe_runs(database: str, sweep: str | None, more: Sequence[str] = ()) -> str:
    """Live runs with how to watch and stop them, then failed trials by cause with the command that puts them back;
    empty where there is neither. `more` are options of the commands. Raises StoreError."""
    asked = None if sweep is None else named(sweep)
    with open_existing(database) as store:
        live = [each for each in store.drivers() if each.live and runs(each, asked)]
        failed = failures(store, sweep)
        at = store.now()
    parts = [_drivers(live, at, more)] if live else []
    if failed:
        lines = [_failures(version, causes, more) for version, causes in failed[:MOST_FAILURES]]
        lines += [f"… and {len(failed) - MOST_FAILURES} more"] * (len(failed) > MOST_FAILURES)
        known = dict.fromkeys(cause for _, causes in failed for cause in causes)
        lines += [f"{cause}: {cure(cause)}" for cause in known]
        parts.append("failed, by cause\n" + on_lines(lines))
    return "\n\n".join(parts)


def _failures(version: Version, causes: Mapping[str, int], more: Sequence[str]) -> str:
    name = " ".join([version.name, *options_of(version)])
    counts = ", ".join(f"{cause} {count}" for cause, count in causes.items())
    return f"{name}: {counts}; next: {command('retry', version, more)}"


def _drivers(live: Sequence[DriverRecord], at: float, more: Sequence[str]) -> str:
    rows = [
        (
            shown(each.owner), each.name, time.strftime("%Y-%m-%d %H:%M", time.localtime(each.started_at)),
            f"{duration(max(0.0, at - each.heartbeat_at))} ago", "asked to stop" if each.stop_asked else "",
            each.log or "",
        )
        for each in live
    ]  # fmt: skip
    watch, stop = (shlex.join(["tinyablate", verb, *more]) for verb in ("watch", "stop"))
    text = columns_text(("driver", "runs", "since", "heard of", "", "log"), rows)
    return f"drivers\n{text}\n" + one_line(f"{watch} shows what they do, {stop} ends them")
