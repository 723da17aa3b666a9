"""The commands that read the results database as it is."""

import click

from tinyablate.options import database_option, format_option
from tinyablate.terminal import show


@click.command("query")
@click.argument("sql")
@database_option
@format_option("table", "csv", "json", "markdown", default="table")
def query_command(sql: str, db: str, format_: str) -> None:
    """Ask the database one SELECT; nothing can be written.

    \b
    tinyablate query "SELECT mix_mixup_alpha, avg(best_val_top1) FROM results GROUP BY 1"

    `results` has a line per trial, with every recipe field as a column; `curves` one per trial and epoch.
    """
    from tinyablate.describe import render_rows
    from tinyablate.store.opening import database_path
    from tinyablate.store.query import run_sql

    show(render_rows(run_sql(database_path(db), sql), format_))


@click.command("show")
@click.argument("trial")
@database_option
def show_command(trial: str, db: str) -> None:
    """Everything known of one trial: recipe, attempts, causes and tracebacks. TRIAL is the start of its key."""
    from tinyablate.describe import describe_trial

    show(describe_trial(db, trial))
