"""The commands that show what a sweep came to: its table and its figures."""

from pathlib import Path
from typing import Any

import click

from tinyablate.options import database_option, format_option, load_all, sweep_options
from tinyablate.terminal import say, show


@click.command("table")
@sweep_options
@database_option
@click.option("--machine", metavar="NAME", default="", help="Device whose measured speeds are shown [this one's].")
@format_option("terminal", "markdown", "latex", "html", "csv", "json", default="terminal")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Write it: to a file (.tex, .md, .html, .csv, .json, .txt), else to a folder, in every format.",
)
@click.option("--rounded", is_flag=True, help="Round the numbers of csv and json as the other formats show them.")
@click.option("--caption", is_flag=True, help="Print a caption for a paper instead; with --out a folder, beside it.")
@click.option("--checklist", is_flag=True, help="Print answers to a reproducibility checklist instead, or beside it.")
@click.option("--strict", is_flag=True, help="Refuse a table that mixes commits, devices or versions (exit code 1).")
@click.option("--watch", is_flag=True, help="Draw it anew every 2 s as long as its trials run; Ctrl-C ends it.")
def table_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int, db: str, format_: str,
    **options: Any,
) -> None:  # fmt: skip
    """Print a sweep's table: mean, sd, n, difference to the baseline with its interval, published numbers.

    SWEEP may be `all`: every sweep that was run with this database. `tinyablate table all --out tables/` writes all of
    them in every format, with a document to look at; a file whose text is the same is left alone.
    """
    import gc

    from tinyablate.commands.tables import Wanted, deliver, every_sweep, means_all
    from tinyablate.store.store import open_existing

    gc.disable()  # the process ends with the table: collecting costs a third of the time of one of 100,000 trials
    wanted = Wanted(format_, **options)
    every = means_all(sweep, (smoke, overrides, seeds, null_rows))
    loaded = [] if every else load_all(sweep, smoke, overrides, seeds, null_rows)
    with open_existing(db) as store:
        deliver(every_sweep(store) if every else loaded, store, wanted)


@click.command("figure")
@sweep_options
@database_option
@click.option(
    "--kind",
    metavar="KIND",
    help="curves, forest, slopes, heatmap, waterfall, interaction, cost or power "
    "[all figures that the sweep file declares].",
)
@click.option("--metric", metavar="NAME", help="What a figure of this kind shows [the sweep's first metric].")
@click.option("--cost", metavar="NAME", help="With --kind cost: the other axis [the sweep's first cost, else macs].")
@click.option("--row", "rows", metavar="LABEL", multiple=True, help="Show this row only. Repeatable.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it: .svg, .pdf or .png [results/figures/SWEEP-KIND.svg].",
)
def figure_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int, db: str, kind: str | None,
    metric: str | None, cost: str | None, rows: tuple[str, ...], out: Path | None,
) -> None:  # fmt: skip
    """Draw a sweep's figures: all that its file declares in [figure] or [[figures]], or one of any kind.

    curves: a metric over the epochs, published curves dashed. forest: differences with intervals and verdicts. slopes:
    each seed from the baseline to the row. heatmap: a grid. waterfall: the steps of a path. interaction: two factors of
    a factorial. cost: what it costs against what it reaches. power: what n seeds can detect. SWEEP may be a folder.
    The numbers that are drawn stand beside the picture as CSV.
    """
    from tinyablate.store.store import open_existing
    from tinyablate.tables.figures import figures, wanted

    found = wanted(load_all(sweep, smoke, overrides, seeds, null_rows), kind, metric, cost, rows, out)
    with open_existing(db) as store:
        for picture, numbers in figures(found, store, out):
            show(str(picture))
            say(f"its numbers: {numbers}")
