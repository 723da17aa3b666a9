"""The commands that show what a sweep came to: its table and its figures."""

from pathlib import Path

import click

from tinyablate.options import database_option, format_option, load_all, load_one, sweep_options
from tinyablate.terminal import say, show


@click.command("table")
@sweep_options
@database_option
@click.option("--machine", metavar="NAME", default="", help="Device whose measured speeds are shown [this one's].")
@format_option("terminal", "markdown", "csv", "json", default="terminal")
def table_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, db: str, machine: str, format_: str
) -> None:
    """Print a sweep's table: mean, sd, n, difference to the baseline with its interval, published numbers."""
    import gc

    from tinyablate.finish import show_tables
    from tinyablate.store.store import open_existing

    gc.disable()  # the process ends with the table: collecting costs a third of the time of one of 100,000 trials
    loaded = load_all(sweep, smoke, overrides, seeds)
    with open_existing(db) as store:
        show_tables(loaded, store, format_, machine)


@click.command("figure")
@sweep_options
@database_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it: .svg, .pdf or .png [results/figures/SWEEP.svg].",
)
def figure_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, db: str, out: Path | None
) -> None:
    """Draw a sweep's figure: its metric over the epochs, a line per row, published curves dashed.

    A line is the mean over complete seeds, its band ± one standard deviation. Needs [figure] in the sweep file. The
    numbers that are drawn stand beside the picture as CSV.
    """
    from tinyablate.store.store import open_existing
    from tinyablate.tables.figures import figure

    loaded = load_one(sweep, smoke, overrides, seeds)
    with open_existing(db) as store:
        picture, numbers = figure(loaded, store, out)
    show(str(picture))
    say(f"its numbers: {numbers}")
