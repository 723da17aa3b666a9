"""Texts of the commands that only look: sweeps, plan, status, show, query, data. They change nothing."""

import csv
import io
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tinyablate.datasets import default_home, lookup
from tinyablate.errors import SweepError, UsageError
from tinyablate.plan import Plan, keys_of, make_plan, unique
from tinyablate.store import schema
from tinyablate.store.opening import database_path
from tinyablate.store.query import Rows
from tinyablate.store.store import Store, open_existing
from tinyablate.sweep.schema import Sweep
from tinyablate.terminal import duration

MOST_ROWS = 60
"""A plan for people shows at most this many cells; JSON has them all."""


# ---- plain tables ----------------------------------------------------------------------------------------------------


def render_rows(rows: Rows, format: str) -> str:
    """A query's answer as table, csv, json or markdown."""
    if format == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([rows.columns, *rows.rows])
        return text.getvalue().rstrip("\n")
    if format == "json":
        return json.dumps([dict(zip(rows.columns, map(_plain, row), strict=True)) for row in rows.rows], indent=1)
    texts = [[_text(value) for value in row] for row in rows.rows]
    if format == "markdown":
        lines = [rows.columns, ["---"] * len(rows.columns), *texts]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return columns_text(rows.columns, texts)


def _plain(value: Any) -> Any:
    return f"{len(value)} bytes" if isinstance(value, bytes) else value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(_plain(value))


def columns_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns two spaces apart, numbers right-aligned."""
    lines = [list(map(str, header)), *([cell.replace("\n", " ") for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    numeric = [all(_is_number(line[index]) for line in lines[1:]) for index in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


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


def plan_against(sweep: Sweep, database: str) -> Plan:
    """The plan of `sweep` against what the database has; a database that does not exist yet has nothing."""
    keys = keys_of(sweep)
    if not database_path(database).exists():
        return make_plan(sweep, {}, keys)
    with open_existing(database) as store:
        return make_plan(sweep, store.states(unique(keys)), keys)


def describe_plan(plan: Plan, format: str) -> str:
    """The plan as a table for people or as JSON for scripts."""
    rows: list[dict[str, Any]] = [
        {
            "label": plan.sweep.rows[row].label,
            "column": plan.sweep.columns[column].label,
            "seeds": list(plan.sweep.rows[row].seeds),
            **plan.cell_counts((row, column)),
        }
        for row, column in plan.cells
    ]
    excluded = [
        {"label": each.row_label, "column": each.column_label, "reason": each.reason} for each in plan.sweep.excluded
    ]
    if format == "json":
        total = {"trials": len(plan.trials), **plan.counts(), "jobs": len(plan.jobs), "reused": plan.reused}
        return json.dumps({"sweep": plan.sweep.name, **total, "rows": rows, "excluded": excluded}, ensure_ascii=False)
    return _plan_text(plan, rows, excluded)


def heading(sweep: Sweep) -> str:
    """The sweep's title with what changes its meaning."""
    smoke = "SMOKE — " if sweep.smoke else ""
    overrides = " ".join(f"--set {override}" for override in sweep.overrides)
    return f"{smoke}{sweep.title}" + (f" [{overrides}]" if overrides else "")


def _unprepared(sweep: Sweep) -> list[str]:
    """A line for each data set that `run` will refuse to do without."""
    from tinyablate.prepare import command, status

    used = {cell.recipe.data.name for cell in sweep.cells}
    return [
        f"data set {entry.name} is not prepared; {command(lookup(entry.name))}"
        for entry in status(default_home())
        if entry.name in used and not entry.prepared and not lookup(entry.name).generated
    ]


def _plan_text(plan: Plan, rows: list[dict[str, Any]], excluded: list[dict[str, str]]) -> str:
    from tinyablate.plan import STATES

    columns = ["label", *(["column"] if len(plan.sweep.columns) > 1 else []), *STATES]
    table = columns_text(
        ["row", *columns[1:]], [[str(row[name] or "") for name in columns] for row in rows[:MOST_ROWS]]
    )
    counts = ", ".join(f"{count} {state}" for state, count in plan.counts().items() if count)
    lines = [heading(plan.sweep), "", table]
    lines += [f"… and {len(rows) - MOST_ROWS} more cells (--format json has them all)"] * (len(rows) > MOST_ROWS)
    lines += [f"excluded: {each['label']} {each['column']}".rstrip() + f": {each['reason']}" for each in excluded[:20]]
    lines += ["", f"{len(plan.trials)} trials: {counts}"]
    if plan.reused:
        lines.append(f"{plan.reused} places in the table are filled by a trial of another cell")
    if plan.to_run:
        shared = plan.to_run - len(plan.jobs)
        saving = f", {shared} of them observers of another's training" if shared else ""
        lines.append(f"`run` would compute {plan.to_run} trials in {len(plan.jobs)} jobs{saving}")
        lines += _unprepared(plan.sweep)
    else:
        lines.append("nothing to run")
    return "\n".join(lines)


# ---- the database ----------------------------------------------------------------------------------------------------


def describe_status(database: str, sweep: str | None) -> str:
    """Trials by state for each sweep that was run, then the attempts that run now."""
    with open_existing(database) as store, store.engine().connect() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT s.name, s.smoke, s.overrides, s.digest, t.state, count(DISTINCT t.id) FROM sweeps s "
                "JOIN cells c ON c.sweep_id = s.id JOIN trials t ON t.id = c.trial_id GROUP BY s.id, t.state"
            )
        ).all()
        running = _running(connection, store)
    by_sweep: dict[tuple[str, str, str], dict[str, int]] = {}
    for name, smoke, overrides, digest, state, count in rows:
        if sweep in (None, name):
            what = " ".join(["smoke"] * bool(smoke) + overrides.split("\n")).strip()
            by_sweep.setdefault((name, what, digest[:8]), {})[state] = count
    if sweep is not None and not by_sweep:
        raise UsageError(f"{sweep}: was never run with this database; names: {', '.join(sorted({r[0] for r in rows}))}")
    states = ("complete", "diverged", "failed", "running", "pending")
    table = [(*which, *(str(counts.get(state, "")) for state in states)) for which, counts in by_sweep.items()]
    text = columns_text(("sweep", "with", "version", *states), table) if table else "no sweep was run yet"
    return text + ("\n\nrunning now\n" + running if running else "")


def _running(connection: sa.Connection, store: Store) -> str:
    query = sa.text(
        "SELECT t.key, a.number, a.owner, a.epoch, a.images_per_second, a.started_at, t.owner, t.lease_until "
        "FROM attempts a JOIN trials t ON t.id = a.trial_id AND t.fence = a.fence WHERE a.state = 'running'"
    )
    rows = [
        (key[:12], str(number), owner, str(epoch or ""), f"{speed or 0:,.0f}", duration(time.time() - started))
        for key, number, owner, epoch, speed, started, holder, until in connection.execute(query)
        if store.lease_holds(holder, until)
    ]
    return columns_text(("trial", "attempt", "driver", "epoch", "images/s", "for"), rows) if rows else ""


def describe_trial(database: str, prefix: str) -> str:
    """One trial: identity, recipe, every attempt with its cause and traceback, its outcome."""
    with open_existing(database) as store, store.engine().connect() as connection:
        trial = _find_trial(connection, prefix)
        lines = [
            f"trial {trial.key}",
            f"state {trial.state} · seed {trial.seed} · data {trial.fingerprint} · core {trial.core_version or '-'}",
            f"recipe {trial.canonical}",
        ]
        fills = sa.text(
            "SELECT s.name, c.row_label, c.column_label FROM cells c JOIN sweeps s ON s.id = c.sweep_id "
            "WHERE c.trial_id = :trial GROUP BY 1, 2, 3"
        )
        for name, row, column in connection.execute(fills, {"trial": trial.id}):
            lines.append(f"fills {name}: {row}" + (f" / {column}" if column else ""))
        for attempt in connection.execute(_ATTEMPTS, {"trial": trial.id}):
            lines += _attempt_lines(attempt, trial.accepted_attempt_id)
    return "\n".join(lines)


_ATTEMPTS = sa.text(
    "SELECT a.*, e.host, e.device, e.torch, e.timm, e.git_commit, e.train_digest, o.epochs, o.best_epoch, "
    "o.best_val_top1, o.last_val_top1, o.diverged_epoch FROM attempts a "
    "LEFT JOIN environments e ON e.id = a.environment_id LEFT JOIN outcomes o ON o.attempt_id = a.id "
    "WHERE a.trial_id = :trial ORDER BY a.number"
)


def _find_trial(connection: sa.Connection, prefix: str) -> Any:
    trials, variants = schema.trials, schema.variants
    query = (
        sa.select(trials, variants.c.canonical)
        .join(variants, variants.c.id == trials.c.variant_id)
        .where(trials.c.key.startswith(prefix, autoescape=True))
    )
    found = connection.execute(query.limit(6)).all()
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f'trial {prefix}: no trial\'s key begins so; keys: tinyablate query "SELECT key FROM trials"')
    raise UsageError(f"trial {prefix}: {len(found)} or more keys begin so: {', '.join(row.key[:16] for row in found)}")


def _attempt_lines(attempt: Any, accepted: int | None) -> list[str]:
    ended = f" after {duration(attempt.ended_at - attempt.started_at)}" if attempt.ended_at else ""
    counts = " (counts)" if attempt.id == accepted else ""
    lines = ["", f"attempt {attempt.number}: {attempt.state}{counts}{ended}, job {attempt.job}, driver {attempt.owner}"]
    if attempt.host:
        lines.append(
            f"  on {attempt.host}, {attempt.device}, torch {attempt.torch}, timm {attempt.timm}, "
            f"commit {attempt.git_commit or '-'}, train {attempt.train_digest}, from epoch {attempt.from_epoch}"
        )
    if attempt.diverged_epoch is not None:
        lines.append(f"  diverged in epoch {attempt.diverged_epoch}")
    elif attempt.best_val_top1 is not None:
        lines.append(
            f"  {attempt.epochs} epochs, best top-1 {attempt.best_val_top1:.2f} % in epoch {attempt.best_epoch}, "
            f"last {attempt.last_val_top1:.2f} %"
        )
    lines += [f"  cause: {attempt.cause}"] if attempt.cause else []
    lines += [f"  {attempt.message}"] if attempt.message else []
    lines += ["  " + line for line in (attempt.traceback or "").rstrip().splitlines()]
    return lines


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
