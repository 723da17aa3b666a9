"""Texts of the commands that only look: sweeps, plan, status, show, query, data. They change nothing."""

import json
import shlex
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tinyablate.activity import Version, means, named, options_of, unknown
from tinyablate.asked import given
from tinyablate.cost import Devices, Estimate
from tinyablate.datasets import default_home, lookup
from tinyablate.errors import SweepError
from tinyablate.listing import columns_text
from tinyablate.plan import STATES, Plan, SweepPlan
from tinyablate.processes import shown
from tinyablate.store.query import Spent, Swept, spent, swept
from tinyablate.store.store import Store, open_existing
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.reach import reach_lines
from tinyablate.terminal import duration, one_line

MOST_ROWS = 60
"""A plan for people shows at most this many cells; JSON has them all."""


# ---- sweeps and plans ------------------------------------------------------------------------------------------------


def list_sweeps(format: str) -> str:
    """Every sweep that can be run by name, with its title and question."""
    from tinyablate import bundled
    from tinyablate.sweep.load import read_heading

    found = []
    for name in bundled.names():
        path = bundled.resolve(name)
        try:
            heading = read_heading(path)
        except SweepError as error:
            heading = {"title": f"(cannot be read: {error.problems[0]})", "question": "", "source": ""}
        found.append({"name": name, **heading, "path": str(path)})
    if format == "json":
        return json.dumps(found, indent=1, ensure_ascii=False)
    return columns_text(("sweep", "title"), [(entry["name"], entry["title"]) for entry in found])


def describe_plan(name: str, plan: Plan, estimate: Estimate, format: str) -> str:
    """The plan as a table for people or as JSON for scripts; `name` is what was asked for, a sweep or a folder."""
    parts = [_part_data(part) for part in plan.parts]
    if format != "json":
        return _plan_text(name, plan, estimate, parts)
    total = {
        "trials": len(plan.trials),
        **plan.counts(),
        "jobs": len(plan.jobs),
        "learners": sum(job.learners for job in plan.jobs),
        "shared": {"observers": _observers(plan), "heads": sum(job.learners - 1 for job in plan.jobs)},
        "estimate": _estimate_data(estimate),
    }
    if len(parts) == 1:
        return json.dumps({**parts[0], **total}, ensure_ascii=False)
    return json.dumps({"folder": name, **total, "common": plan.common, "sweeps": parts}, ensure_ascii=False)


def _part_data(part: SweepPlan) -> dict[str, Any]:
    """One sweep's counts, cells and exclusions."""
    sweep = part.sweep
    rows = [
        {
            "label": sweep.rows[cell.row].label,
            "column": sweep.columns[cell.column].label,
            "seeds": list(sweep.rows[cell.row].seeds),
            **part.cell_counts(cell.row, cell.column),
        }
        for cell in sweep.cells
    ]
    excluded = [
        {"label": each.row_label, "column": each.column_label, "reason": each.reason} for each in sweep.excluded
    ]
    counts = {"trials": len(part.trials), **part.counts(), "reused": part.reused}
    return {"sweep": sweep.name, **counts, "rows": rows, "excluded": excluded}


def _observers(plan: Plan) -> int:
    """How many of the trials that would run need no training of their own."""
    return sum(len(job.trials) - job.learners for job in plan.jobs)


def heading(sweep: Sweep) -> str:
    """The sweep's title with what changes its meaning."""
    smoke = "SMOKE — " if sweep.smoke else ""
    overrides = " ".join(f"--set {override}" for override in sweep.overrides)
    return f"{smoke}{sweep.title}" + (f" [{overrides}]" if overrides else "")


def _unprepared(plan: Plan) -> list[str]:
    """A line for each data set that `run` will refuse to do without."""
    from tinyablate.prepare import command, status

    used = {trial.recipe.data.name for trial in plan.trials.values()}
    return [
        f"data set {entry.name} is not prepared; {command(lookup(entry.name))}"
        for entry in status(default_home())
        if entry.name in used and not entry.prepared and not lookup(entry.name).generated
    ]


def _plan_text(name: str, plan: Plan, estimate: Estimate, parts: Sequence[dict[str, Any]]) -> str:
    lines: list[str] = []
    for part, data in zip(plan.parts, parts, strict=True):
        lines += [*_part_lines(part, data), ""]
    counts = ", ".join(f"{count} {state}" for state, count in plan.counts().items() if count)
    common = f"; {plan.common} of them stand in more than one sweep" if plan.common else ""
    total = f"{len(plan.parts)} sweeps, " if len(plan.parts) > 1 else ""
    lines += [f"{total}{_number(len(plan.trials), 'trial')}: {counts}{common}"]
    if len(plan.parts) == 1:
        lines += _reused_lines(plan.parts[0])
    if not plan.to_run:
        return "\n".join([*lines, "nothing to run"])
    return "\n".join([*lines, *_job_lines(plan), *_unprepared(plan), *estimate_lines(name, estimate)])


def _part_lines(part: SweepPlan, data: dict[str, Any]) -> list[str]:
    """One sweep: its heading and a line per cell."""
    columns = ["label", *(["column"] if len(part.sweep.columns) > 1 else []), *STATES]
    rows, excluded = data["rows"], data["excluded"]
    texts = [[str(row[column] or "") for column in columns] for row in rows[:MOST_ROWS]]
    lines = [one_line(heading(part.sweep)), "", columns_text(["row", *columns[1:]], texts)]
    lines += [f"… and {len(rows) - MOST_ROWS} more cells (--format json has them all)"] * (len(rows) > MOST_ROWS)
    told = [f"excluded: {each['label']} {each['column']}".rstrip() + f": {each['reason']}" for each in excluded[:20]]
    return lines + list(map(one_line, [*told, *reach_lines(part)]))


def _reused_lines(part: SweepPlan) -> list[str]:
    return [f"{part.reused} places in the table are filled by a trial of another cell"] * (part.reused > 0)


def _job_lines(plan: Plan) -> list[str]:
    """What would be computed, and what is computed once for several."""
    observers = _observers(plan)
    saving = f", {observers} of them observers of another's training" if observers else ""
    lines = [f"`run` would compute {_number(plan.to_run, 'trial')} in {_number(len(plan.jobs), 'job')}{saving}"]
    shared = [job.learners for job in plan.jobs if job.learners > 1]
    if shared:
        passes = "one pass" if len(shared) == 1 else f"{len(shared)} passes"
        lines.append(
            f"{sum(shared)} classifiers are trained on {passes} of the data through their frozen trunk "
            f"instead of {sum(shared)}"
        )
    return lines


# ---- cost ------------------------------------------------------------------------------------------------------------


def estimate_lines(name: str, estimate: Estimate) -> list[str]:
    """What the jobs would cost, from what that is known, and what to do about jobs without an estimate."""
    lines, known, unknown = [], len(estimate.jobs) - len(estimate.unknown), estimate.unknown
    if known:
        devices, partly = estimate.devices, f" for {known} of {_number(len(estimate.jobs), 'job')}" if unknown else ""
        lines.append(
            f"estimated{partly}: {duration(estimate.seconds)} on {_words(devices)} "
            f"({estimate.device_hours:.2g} {devices.unit}-hours), {size_text(estimate.disk_bytes)} of disk, "
            f"from {_basis(estimate)}"
        )
    if unknown:
        kinds = {f"{job.key.model} at batch {job.key.batch}": None for job in unknown}
        names = ", ".join([*list(kinds)[:3], *(["…"] * (len(kinds) > 3))])
        lines.append(
            f"no estimate for {_number(len(unknown), 'job')} ({names}): "
            f"`tinyablate plan {name} --calibrate` measures a few steps of each"
        )
    return lines


def _words(devices: Devices) -> str:
    if devices.unit == "GPU":
        return f"{devices.count} x {devices.name}"
    return f"{_number(devices.count, 'core')} of {devices.name}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + "s" * (count != 1)


def _basis(estimate: Estimate) -> str:
    """What the estimate rests on, in words."""
    past = f"{_number(estimate.trials, 'past trial')} of the same model, data, resolution, batch and device"
    match estimate.counts["history"], estimate.counts["calibration"]:
        case _, 0:
            return past
        case 0, _:
            return "measurements of a few steps on this device"
        case history, calibration:
            return f"{past} ({_number(history, 'job')}) and measurements of a few steps ({_number(calibration, 'job')})"


def _estimate_data(estimate: Estimate) -> dict[str, Any]:
    return {
        "seconds": round(estimate.seconds, 1),
        "device": estimate.devices.name,
        "devices": estimate.devices.count,
        "unit": estimate.devices.unit,
        "device_hours": round(estimate.device_hours, 4),
        "disk_bytes": estimate.disk_bytes,
        "from_history": estimate.counts["history"],
        "from_calibration": estimate.counts["calibration"],
        "unknown": len(estimate.unknown),
        "past_trials": estimate.trials,
    }


def size_text(count: int) -> str:
    """A number of bytes in the largest fitting of B, kB, MB, GB, TB."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}"


# ---- the database ----------------------------------------------------------------------------------------------------


def describe_status(database: str, sweep: str | None) -> str:
    """Trials by state for each version of each sweep that was run, then the attempts that run now.

    `sweep` is the name or the file of one, or a folder of sweeps. Raises UsageError where none of them was run.
    """
    asked = None if sweep is None else named(sweep)
    with open_existing(database) as store, store.backend.read() as connection:
        versions = sorted(swept(store), key=lambda each: (each.name, each.smoke, each.overrides, each.created_at))
        found = [each for each in versions if means(asked, each.name)]
        ways = given(connection, [each.digest for each in found])
        counts = _counts(connection, store)
        running = _running(connection, store, {each.digest for each in found})
        truth = [each for each in spent(store) if means(asked, each.name)]
    if sweep is not None and not found:
        raise unknown(sweep, {each.name for each in versions})
    states = ("complete", "diverged", "failed", "running", "pending")
    present = {name: _present(name, sweep) for name in {each.name for each in found}}
    table = [
        (*_version(each, ways, present[each.name]), *(str(counts[each.digest, at] or "") for at in states))
        for each in found
    ]
    columns = ("sweep", "with", "version", "first run", "its file", *states)
    text = columns_text(columns, table) if table else "no sweep was run yet"
    text += "\n\nlast run, estimated and in truth\n" + _spent_text(truth, ways, counts) if truth else ""
    return text + ("\n\nrunning now\n" + running if running else "")


def _counts(connection: sa.Connection, store: Store) -> Counter[tuple[str, str]]:
    """(digest of a sweep, state) -> trials. A running trial whose driver is gone waits to be taken over: pending."""
    settled = sa.text(
        "SELECT s.digest, t.state, count(DISTINCT t.id) FROM sweeps s "
        "JOIN stored_cells c ON c.sweep_id = s.id JOIN stored_trials t ON t.id = c.trial_id "
        "WHERE t.state != 'running' GROUP BY s.id, t.state"
    )
    counts = Counter({(digest, state): count for digest, state, count in connection.execute(settled)})
    running = sa.text(
        "SELECT DISTINCT s.digest, t.id, t.owner, t.lease_until FROM sweeps s "
        "JOIN stored_cells c ON c.sweep_id = s.id JOIN stored_trials t ON t.id = c.trial_id WHERE t.state = 'running'"
    )
    holds = store.leases_now()
    for digest, _, owner, until in connection.execute(running):
        counts[digest, "running" if holds(owner, until) else "pending"] += 1
    return counts


def _with(run: Swept | Spent, ways: Mapping[str, tuple[str, ...]]) -> str:
    """What it was run with, as it is typed."""
    return shlex.join(options_of(Version(0, run.name, run.smoke, run.overrides, ways.get(run.digest, ()))))


def _version(version: Swept, ways: Mapping[str, tuple[str, ...]], present: str | None) -> tuple[str, ...]:
    """What tells versions of one sweep apart, with whether its file's text is now this one."""
    file = "gone" if present is None else "as now" if present == version.text else "other"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(version.created_at))
    return version.name, _with(version, ways), version.digest[:8], when, file


def _present(name: str, asked: str | None) -> str | None:
    """The text of the sweep's file, which `asked` may be the path of, as it is now; None where there is none."""
    from tinyablate import bundled
    from tinyablate.sweep.load import text_of

    try:
        return text_of(bundled.resolve(asked if asked is not None and asked.endswith(".toml") else name))
    except SweepError:
        return None


def _spent_text(
    truth: Iterable[Spent], ways: Mapping[str, tuple[str, ...]], counts: Mapping[tuple[str, str], int]
) -> str:
    """Estimate beside truth, a line per sweep. Jobs without an estimate are in the truth alone."""
    columns = ("sweep", "with", "version", "estimated", "took", "device-hours", "in truth", "jobs estimated", "started")
    rows = []
    for each in truth:
        guess, known = each.estimate, each.estimate.from_history + each.estimate.from_calibration
        expected = (duration(guess.seconds), f"{guess.device_hours:.3g}") if known else ("-", "-")
        took = duration(each.seconds) + " so far" * (each.running and counts[each.digest, "running"] > 0)
        rows.append(
            (each.name, _with(each, ways), each.digest[:8], expected[0], took, expected[1],
             f"{each.device_hours:.3g}", f"{known} of {guess.jobs}", str(each.jobs))
        )  # fmt: skip
    return columns_text(columns, rows)


def _running(connection: sa.Connection, store: Store, sweeps: Collection[str]) -> str:
    """The attempts under way at trials of the sweeps with these digests."""
    query = sa.text(
        "SELECT t.key, a.number, a.owner, a.epoch, a.images_per_second, a.started_at, t.owner, t.lease_until "
        "FROM attempts a JOIN stored_trials t ON t.id = a.trial_id AND t.fence = a.fence WHERE a.state = 'running' "
        "AND EXISTS (SELECT 1 FROM stored_cells c JOIN sweeps s ON s.id = c.sweep_id "
        "WHERE c.trial_id = t.id AND s.digest IN :sweeps) ORDER BY a.owner, a.id"
    ).bindparams(sa.bindparam("sweeps", expanding=True))
    holds = store.leases_now()
    rows = [
        (
            key[:12],
            str(number),
            shown(owner),
            str(epoch or ""),
            f"{speed or 0:,.0f}",
            duration(max(0.0, store.now() - started)),
        )
        for key, number, owner, epoch, speed, started, holder, until in connection.execute(
            query, {"sweeps": sorted(sweeps)}
        )
        if holds(holder, until)
    ]
    return columns_text(("trial", "attempt", "driver", "epoch", "images/s", "for"), rows) if rows else ""


# ---- data ------------------------------------------------------------------------------------------------------------


def describe_data(format: str) -> str:
    """The data sets that are built in or registered, prepared or not."""
    from tinyablate.prepare import status

    home = default_home()
    entries = status(home)
    if format == "json":
        return json.dumps([_jsonable(entry) for entry in entries], indent=1)
    rows = [
        (entry.name, entry.title, f"{entry.train:,}", f"{entry.val:,}", "yes" if entry.prepared else "no")
        for entry in entries
    ]
    return columns_text(("data set", "title", "train", "val", "prepared"), rows) + f"\nin {home}"


def _jsonable(entry: Any) -> dict[str, Any]:
    import dataclasses

    return {key: str(value) if isinstance(value, Path) else value for key, value in dataclasses.asdict(entry).items()}


def describe_verification(name: str) -> tuple[str, bool]:
    """What `data verify` found, and whether the data set is whole."""
    from tinyablate.preflight import data_bar
    from tinyablate.prepare import command, require, verify

    folder = require(name, default_home())
    with data_bar(name) as progress:
        problems = verify(name, default_home(), progress)
    if problems:
        return "\n".join([*problems, f"damaged: prepare it again; {command(lookup(name))}"]), False
    return f"{name}: every file is as its manifest says ({folder})", True
