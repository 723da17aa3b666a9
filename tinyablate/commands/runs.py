"""The commands about runs under way and what they left: watch them, stop them, put failed trials back."""

import shlex
import sys
from typing import Literal

import click

from tinyablate.options import change_words, database_option, database_words, load_all, sweep_options
from tinyablate.terminal import one_line, say


@click.command("watch")
@click.argument("sweep", required=False)
@database_option
def watch_command(sweep: str | None, db: str) -> None:
    """Attach to what runs on this database, from any machine that reaches it: drivers, trials, speed, failures.

    A panel on a terminal, lines elsewhere. It ends when nothing runs: exit code 0 if every trial then has its result,
    else 1. Ctrl-C only detaches (130), the run goes on; `tinyablate stop` ends it.
    """
    from tinyablate.watch import watch

    try:
        sys.exit(watch(db, sweep, database_words(db)))
    except KeyboardInterrupt:
        say(f"detached; runs go on: {shlex.join(['tinyablate', 'stop', *database_words(db)])} ends them")
        sys.exit(130)


@click.command("stop")
@click.argument("sweep", required=False)
@click.option("--now", is_flag=True, help="At once: what was computed since the last checkpoint is computed again.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until the runs have left.")
@database_option
def stop_command(sweep: str | None, now: bool, wait: bool, db: str) -> None:
    """End the runs on this database, or those of SWEEP, as Ctrl-C does: their trials are saved, and continued later.

    A run on another machine that uses this database is reached through it, within seconds.
    """
    from tinyablate.stopping import stop

    stop(db, sweep, now=now, wait=wait, more=database_words(db))


@click.command("retry")
@sweep_options
@click.option(
    "--state", type=click.Choice(["failed", "diverged"]), default="failed", show_default=True,
    help="Which trials: diverged ones have a result, which then no longer counts.",
)  # fmt: skip
@database_option
def retry_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int,
    state: Literal["failed", "diverged"], db: str,
) -> None:  # fmt: skip
    """Put a sweep's failed trials back, so that the next `run` tries them anew; what caused it is best cured first.

    Failed trials are tried again only by this command: `run` leaves them, `show TRIAL --why` says what to do.
    """
    from tinyablate.retrying import put_back, told

    sweeps = load_all(sweep, smoke, overrides, seeds, null_rows)
    changes, more = change_words(smoke, overrides, seeds, null_rows), database_words(db)
    found = put_back(db, sweep, sweeps, state, more)
    for line in told(found, sweep, state, [sweep, *changes, *more]):
        say(one_line(line))
