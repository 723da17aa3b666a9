"""The attempts at a trial as text: where each ran, how it ended and went on, what it left. It changes nothing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tinyablate import retention, retries
from tinyablate.describe import size_text
from tinyablate.processes import Owner
from tinyablate.processes import shown as shown_owner
from tinyablate.store.store import Store
from tinyablate.tables.words import counted
from tinyablate.terminal import duration

MOST_LINES = 12
"""A longer traceback is cut to its first line and its innermost calls, unless all of it is asked for."""
INNERMOST_FIRST = "(most recent call first)"
"""Ends the heading of what a process that hung wrote of where it was (see `faulthandler`)."""

_CHECKPOINT = re.compile(r"epoch-(\d+)(?:\+(\d+))?\.pt")
"""Whole epochs, and updates of the next (see `train.checkpoint.path`, which imports torch)."""


def attempts_at(store: Store, trial: int) -> Sequence[Any]:
    """The rows of the attempts at the trial with this id, each with its environment and outcome, by number."""
    with store.backend.read() as connection:
        return connection.execute(_ATTEMPTS, {"trial": trial}).fetchall()


_ATTEMPTS = sa.text(
    "SELECT a.*, e.host, e.device, e.torch, e.timm, e.git_commit, e.train_digest, o.epochs, o.best_epoch, "
    "o.best_val_top1, o.last_val_top1, o.diverged_epoch, t.state AS trial_state, t.counted_from, "
    "t.accepted_attempt_id AS accepted FROM attempts a JOIN stored_trials t ON t.id = a.trial_id "
    "LEFT JOIN environments e ON e.id = a.environment_id LEFT JOIN stored_outcomes o ON o.attempt_id = a.id "
    "WHERE a.trial_id = :trial ORDER BY a.number"
)


def attempts_text(store: Store, trial: int, attempts: Sequence[Any], whole: bool) -> list[str]:
    """Each attempt, a line per fact; with `whole` tracebacks are not cut."""
    kept, lines = _kept(store, trial), list[str]()
    for attempt in attempts:
        lines += ["", *_heading(attempt), *_result(attempt), *_cause(attempt, whole)]
        lines += [f"  kept {line}" for line in kept.get(attempt.id, [])]
        lines += [f"  then: {text}" for text in _went_on(attempt, attempts[-1].number)]
    return lines


def _heading(attempt: Any) -> Iterator[str]:
    ended = f" after {duration(attempt.ended_at - attempt.started_at)}" if attempt.ended_at else ""
    counts = " (counts)" if attempt.id == attempt.accepted else ""
    driver = shown_owner(attempt.owner)
    yield f"attempt {attempt.number}: {attempt.state}{counts}{ended}, job {attempt.job}, driver {driver}"
    if not attempt.host:
        yield f"  had not begun on {Owner.of(attempt.owner).host}, where its driver is"
        return
    batch = f", micro-batch {attempt.micro_batch}" if attempt.micro_batch else ""
    step = f" after {counted(attempt.from_step, 'update')}" if attempt.from_step else ""
    commit = attempt.git_commit or "-"
    yield (
        f"  on {attempt.host}, {attempt.device}, torch {attempt.torch}, timm {attempt.timm}, "
        f"commit {commit}, train {attempt.train_digest}, from epoch {attempt.from_epoch}{step}{batch}"
    )


def _result(attempt: Any) -> Iterator[str]:
    if attempt.diverged_epoch is not None:
        yield f"  diverged in epoch {attempt.diverged_epoch}"
    elif attempt.best_val_top1 is not None:
        yield (
            f"  {counted(attempt.epochs, 'epoch')}, best top-1 {attempt.best_val_top1:.2f} % in epoch "
            f"{attempt.best_epoch}, last {attempt.last_val_top1:.2f} %"
        )


def _cause(attempt: Any, whole: bool) -> list[str]:
    """Why it ended, its message, the last lines of its traceback."""
    epoch = f" in epoch {attempt.epoch}" if attempt.epoch else ""
    lines = [f"  cause: {attempt.cause}{epoch}"] if attempt.cause else []
    lines += [f"  {line}" for line in (attempt.message or "").splitlines()]
    return lines + [f"  {line}" for line in _traceback(attempt.traceback or "", whole)]


def _traceback(text: str, whole: bool) -> list[str]:
    lines = text.rstrip().splitlines()
    if whole or len(lines) <= MOST_LINES:
        return lines
    most = MOST_LINES - 3
    cut, start = len(lines) - most - 1, max(1, min(_innermost(lines), len(lines) - most))
    told, kept = f"  … {cut} lines, shown by --why", lines[start : start + most]
    return [lines[0], told, *kept] if start + most == len(lines) else [lines[0], *kept, told]


def _innermost(lines: Sequence[str]) -> int:
    """Where the calls begin that tell most: Python's own tracebacks end with them, a dump begins with them."""
    dumps = [index for index, line in enumerate(lines) if INNERMOST_FIRST in line]
    current = [index for index in dumps if lines[index].startswith("Current thread")]
    return (current or dumps or [len(lines)])[-1]


def _went_on(attempt: Any, last: int) -> Iterator[str]:
    """What became of the trial after an attempt that left no result which counts."""
    if attempt.id == attempt.accepted or attempt.state == "running":
        return
    if attempt.number == attempt.counted_from:
        yield "put back by `tinyablate retry`" + (
            f", then attempt {attempt.number + 1}" if attempt.number < last else ""
        )
    elif attempt.number < last:
        again = "continued" if attempt.cause == retries.STOPPED else "tried again"
        yield f"{again} as attempt {attempt.number + 1}"
    elif attempt.trial_state == "failed":
        yield f"given up after {counted(last - attempt.counted_from, 'attempt')}"
    elif attempt.trial_state == "pending":
        yield "given back; the next `tinyablate run` goes on with it"


# ---- files -----------------------------------------------------------------------------------------------------------


def _kept(store: Store, trial: int) -> Mapping[int, list[str]]:
    """Attempt's id -> the files that it left for good."""
    with store.backend.read() as connection:
        rows = connection.execute(_FILES, {"trial": trial}).fetchall()
    kept: dict[int, list[str]] = {}
    for row in rows:
        path = store.home / row.directory / row.path
        gone = "" if path.exists() else ", not on this machine"
        kept.setdefault(row.attempt_id, []).append(
            f"{row.kind}: {path}, {size_text(row.bytes)}, sha256 {row.sha256}{gone}"
        )
    return kept


_FILES = sa.text(
    "SELECT f.attempt_id, f.kind, f.path, f.sha256, f.bytes, a.directory FROM artefacts f "
    "JOIN attempts a ON a.id = f.attempt_id WHERE f.trial_id = :trial ORDER BY f.attempt_id, f.path"
)


def checkpoint(store: Store, attempts: Sequence[Any]) -> str:
    """The furthest checkpoint that these attempts left on this machine, in words; empty where there is none."""
    found = [
        (int(name[1]), int(name[2] or 0), attempt.number, file)
        for attempt in attempts
        for file in retention.checkpoints(store.home / attempt.directory)
        if (name := _CHECKPOINT.fullmatch(file.name))
    ]
    if not found:
        return ""
    epochs, updates, number, file = max(found)
    after = f"{counted(epochs, 'epoch')}" + (f" and {counted(updates, 'update')} of the next" if updates else "")
    return f"checkpoint of attempt {number} after {after}: {file}, {size_text(_size(file))}"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # just removed
        return 0
