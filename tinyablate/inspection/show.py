"""One trial as text: what it is, where it stands, its attempts, and why it is as it is. It changes nothing."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tinyablate.activity import command
from tinyablate.cures import cure
from tinyablate.identity import differences, from_canonical
from tinyablate.inspection import find
from tinyablate.inspection.attempts import attempts_at, attempts_text, checkpoint
from tinyablate.inspection.find import FoundTrial, Place
from tinyablate.inspection.text import shown
from tinyablate.processes import shown as shown_owner
from tinyablate.recipe import field_specs, flatten
from tinyablate.store.store import Store, open_existing
from tinyablate.tables.render.words import line
from tinyablate.terminal import duration, on_lines


def show_trial(database: str, prefix: str, *, why: bool = False, recipe: bool = False, more: Sequence[str] = ()) -> str:
    """One trial: identity, cells, what differs from its sweep's first row, attempts, outcome.

    With `why` also what explains its state, tracebacks whole; with `recipe` every field of its recipe. `more` are
    options of the commands that are proposed. Raises UsageError.
    """
    with open_existing(database) as store:
        trial = find.trial(store, prefix)
        places, attempts = find.places(store, trial), attempts_at(store, trial.id)
        gone = ", its driver is gone" * (trial.state == "running" and not _lives(store, trial))
        lines = [*_identity(trial, gone), *_places(places), *_changes(store, trial, places)]
        lines += _waits(store, trial, attempts)
        lines += _recipe(trial) if recipe else []
        lines += _explained(store, trial, places, attempts, more) if why else []
        lines += attempts_text(store, trial.id, attempts, why)
    return on_lines(lines)


def _lives(store: Store, trial: FoundTrial) -> bool:
    """Whether somebody computes the trial."""
    return store.states([trial.key])[trial.key].live


def _identity(trial: FoundTrial, gone: str) -> list[str]:
    on = f" · measured on {trial.measured_on}" if trial.measured_on else ""
    core = trial.core_version or "-"
    state = f"state {trial.state}{gone} · seed {trial.seed} · data {trial.fingerprint} · core {core}{on}"
    return [f"trial {trial.key}", state]


def _places(places: tuple[Place, ...]) -> list[str]:
    return [f"fills {place.version.said}: {line(place.label)}" for place in places] or ["fills no cell of any sweep"]


def _changes(store: Store, trial: FoundTrial, places: tuple[Place, ...]) -> list[str]:
    """What differs from the first row of each sweep, which is what most sweeps compare with."""
    lines: dict[str, list[str]] = {}
    for place in places:
        first = find.first_of(store, place, trial.seed)
        if first is None or place.version.said in lines:
            continue
        label, baseline = first
        changed = differences(from_canonical(trial.canonical), from_canonical(baseline.canonical))
        fields = [f"  {path}: {shown(before)} -> {shown(after)}" for path, (before, after) in changed.items()]
        head = f"against {place.version.said}: {line(label)}"
        lines[place.version.said] = [head, *fields] if fields else [f"{head}: the same recipe"]
    return [line for found in lines.values() for line in found]


def _recipe(trial: FoundTrial) -> list[str]:
    """Every field as a sweep file would write it; what is left at its default is marked."""
    specs, values = field_specs(), flatten(from_canonical(trial.canonical))
    width = max(map(len, values))
    texts = {path: _toml(value) for path, value in values.items()}
    marks = {path: "" if value != specs[path].default else "  # default" for path, value in values.items()}
    return ["", "recipe", *(f"  {path:<{width}} = {texts[path]}{marks[path]}" for path in values)]


def _toml(value: Any) -> str:
    """The value in TOML's own form."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return shown(value) if isinstance(value, bool) or value == int(value) else repr(value)


def _waits(store: Store, trial: FoundTrial, attempts: Sequence[Any]) -> list[str]:
    """Of a trial without a result: from where it would be continued."""
    if trial.state not in ("pending", "failed", "running"):
        return []
    found = checkpoint(store, attempts)
    return [f"goes on from its {found}"] if found else []


# ---- why -------------------------------------------------------------------------------------------------------------


def _explained(
    store: Store, trial: FoundTrial, places: Sequence[Place], attempts: Sequence[Any], more: Sequence[str]
) -> list[str]:
    """Why the trial is in its state, and what to do."""
    last = attempts[-1] if attempts else None
    again = f"`{_command('run', places, more)}`"
    retry = f"`{_command('retry', places, more)}`"
    match trial.state:
        case "failed" if last is not None:
            text = f"it failed, the last time by {last.cause or 'no known cause'}: {cure(last.cause)}; then {retry}"
        case "diverged":
            other = f"{retry[:-1]} --state diverged`"
            text = f"its loss stopped being finite; that is its result, and is tried again only after {other}"
            return ["", f"why: {text}", *_curve(store, trial)]
        case "running" if last is not None:
            text = (
                _running(store, trial, last) or f"its driver {shown_owner(last.owner)} is gone; {again} takes it over"
            )
        case "pending" if last is not None and last.number == last.counted_from:
            text = f"`tinyablate retry` put it back; {again} tries it"
        case "pending" if last is not None:
            text = f"it was given back ({last.cause or last.state}); {again} continues it"
        case "pending":
            text = f"nobody has begun it; {again} does"
        case _:
            return ["", "why: it has its result", *_curve(store, trial)]
    return ["", f"why: {text}"]


def _command(verb: str, places: Sequence[Place], more: Sequence[str]) -> str:
    """As it is typed for a sweep that the trial stands in."""
    return command(verb, places[-1].version, more) if places else f"tinyablate {verb} SWEEP"


def _running(store: Store, trial: FoundTrial, last: Any) -> str:
    """How far the trial has come, if its driver is alive."""
    if not _lives(store, trial):
        return ""
    speed = f", {last.images_per_second:,.0f} images/s" if last.images_per_second else ""
    seen = duration(max(0.0, store.now() - last.heartbeat_at))
    return f"driver {shown_owner(last.owner)} computes it: epoch {last.epoch or '-'}{speed}, last heard of {seen} ago"


def _curve(store: Store, trial: FoundTrial) -> list[str]:
    """The epochs of the attempt that counts."""
    from tinyablate.listing import columns_text

    with store.backend.read() as connection:
        found = connection.execute(_EPOCHS, {"attempt": trial.accepted}).fetchall()
    if not found:
        return []
    rows = [tuple("" if value is None else f"{value:.5g}" for value in row) for row in found]
    text = columns_text(("epoch", "lr", "train_loss", "val_loss", "val_top1"), rows)
    return ["  " + line for line in text.splitlines()]


_EPOCHS = sa.text(
    "SELECT e.epoch, e.lr, e.train_loss, e.val_loss, e.val_top1 FROM stored_epochs e "
    "JOIN stored_outcomes o ON o.attempt_id = e.attempt_id AND o.observer = e.observer "
    "WHERE e.attempt_id = :attempt ORDER BY e.epoch"
)
