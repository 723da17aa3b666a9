"""The commands that read the results database as it is, and the one that copies it."""

from pathlib import Path
from typing import Literal

import click

from tinyablate.options import GivenPath, database_option, database_words, format_option
from tinyablate.terminal import say, show


@click.command("query")
@click.argument("sql")
@database_option
@format_option("table", "csv", "json", "markdown", default="table")
def query_command(sql: str, db: str, format_: str) -> None:
    """Ask the database one SELECT; nothing can be written.

    \b
    tinyablate query "SELECT mix_mixup_alpha, avg(best_val_top1) FROM trials GROUP BY 1"

    `trials` has a line per trial, with every recipe field as a column; `epochs` one per trial and epoch; `cells` says
    which trials stand where in which table. `tinyablate schema` explains every column.
    """
    from tinyablate.listing import render_rows
    from tinyablate.store.location import Location
    from tinyablate.store.query import run_sql

    show(render_rows(run_sql(Location.of(db), sql), format_))


@click.command("schema")
@click.argument("view", required=False)
@format_option("table", "json", "markdown", default="table")
def schema_command(view: str | None, format_: str) -> None:
    """What `query` can ask for: every column of the views, or of the one named VIEW, with type, unit and meaning."""
    from tinyablate.inspection.columns import describe_views

    show(describe_views(view, format_))


@click.command("show")
@click.argument("trial")
@click.option("--why", is_flag=True, help="Why it is in its state and what to do, its curve, tracebacks whole.")
@click.option("--recipe", is_flag=True, help="Every field of its recipe, as a sweep file would write it.")
@database_option
def show_command(trial: str, why: bool, recipe: bool, db: str) -> None:
    """One trial: the cells it fills, its recipe against its sweep's first row, and every attempt: where it ran, how it
    ended, how it went on.

    TRIAL is the start of its key.
    """
    from tinyablate.inspection.show import show_trial

    show(show_trial(db, trial, why=why, recipe=recipe, more=database_words(db)))


@click.command("diff")
@click.argument("a")
@click.argument("b")
@click.option("--sweep", metavar="NAME", help="A and B are labels of rows of this sweep, not keys of trials.")
@click.option("--smoke", is_flag=True, help="With --sweep: its smoke runs.")
@click.option(
    "--epoch", "rule", type=click.Choice(["last", "best"]), default="last", show_default=True,
    help="Which epoch's images, and of rows which numbers by seed, are compared.",
)  # fmt: skip
@database_option
@format_option("table", "json", "markdown", default="table")
def diff_command(
    a: str, b: str, sweep: str | None, smoke: bool, rule: Literal["last", "best"], db: str, format_: str
) -> None:
    """Only what differs between two trials, or two rows of a sweep: recipe, environment, outcome, single images.

    \b
    tinyablate diff 9188d9a3 3ef44842                                   two trials, by the starts of their keys
    tinyablate diff "Default" "Remove Mixup" --sweep demo/ablation      two rows, over their seeds

    Of a sweep with several columns a label is "row / column". Of two trials that classified the same images McNemar's
    exact test says whether the two checkpoints differ; of two rows, paired by seed, intervals and correlation, and how
    much of the difference is seed, image or both.
    """
    from tinyablate.errors import UsageError
    from tinyablate.inspection.diff import diff_rows, diff_trials
    from tinyablate.inspection.text import diff_text
    from tinyablate.store.store import open_existing

    if smoke and sweep is None:
        raise UsageError("--smoke: goes with --sweep NAME; a trial's key says by itself which trial is meant")
    with open_existing(db) as store:
        found = diff_trials(store, a, b, rule) if sweep is None else diff_rows(store, sweep, a, b, rule, smoke)
    show(diff_text(found, format_))


@click.command("backup")
@click.argument("file", type=GivenPath(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE where it is an earlier backup.")
@database_option
def backup_command(file: Path, force: bool, db: str) -> None:
    """Copy the database to FILE while runs go on: all that was committed, examined, and then given its name.

    The copy is a database as any: `tinyablate table SWEEP --db FILE`. Checkpoints of trials under way are not in it. A
    PostgreSQL server has a tool of its own for this, whose command is shown.
    """
    from tinyablate.backup import back_up
    from tinyablate.describe import size_text

    size = back_up(db, file, replace=force)
    show(str(file))
    say(f"{size_text(size)}, integrity ok")
