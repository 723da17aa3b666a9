"""The commands that show what a sweep came to: its table and its figures."""

from pathlib import Path
from typing import Any

import click

from tinyablate.options import GivenPath, database_option, format_option, load_all, sweep_options
from tinyablate.terminal import say, show


@click.command("table")
@sweep_options
@database_option
@click.option("--machine", metavar="NAME", default="", help="Device whose measured speeds are shown [this one's].")
@format_option("terminal", "markdown", "latex", "html", "csv", "json", default="terminal")
@click.option(
    "--out",
    type=GivenPath(path_type=Path),
    metavar="PATH",
    help="Write it: to a file (.tex, .md, .html, .csv, .json, .txt), else to a folder, in every format.",
)
@click.option(
    "--notes",
    type=click.Choice(["full", "short", "none"]),
    help="What stands below it [latex: short, which is what readers of a paper need; else full].",
)
@click.option(
    "--columns",
    metavar="LIST",
    help="Show these only: components, mean, n, published, delta, block, p, verdict, parted by commas [latex: all but "
    "block]. In LaTeX it is then set for one column of a two-column page, where it fits that.",
)
@click.option("--wide", is_flag=True, help="In LaTeX a table* as wide as a page of two columns.")
@click.option("--rounded", is_flag=True, help="Round the numbers of csv and json as the other formats show them.")
@click.option("--caption", is_flag=True, help="Print a caption for a paper instead; with --out a folder, beside it.")
@click.option("--checklist", is_flag=True, help="Print answers to a reproducibility checklist instead, or beside it.")
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse a table that mixes commits, devices or versions, lacks results, or is decided by other rules than "
    "those of its first run (exit code 1).",
)
@click.option("--watch", is_flag=True, help="Draw it anew every 2 s as long as its trials run; Ctrl-C ends it.")
def table_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int, db: str, format_: str,
    **options: Any,
) -> None:  # fmt: skip
    """Print a sweep's table: mean, sd, n, difference to the baseline with its interval, published numbers.

    SWEEP may be `all`: every sweep that was run with this database. `tinyablate table all --out tables/` writes all of
    them in every format, with all notes in files of their own and a document to look at; a file whose text is the same
    is left alone.
    """
    import gc

    from click.core import ParameterSource

    from tinyablate.commands.tables import Wanted, deliver, every_sweep, means_all
    from tinyablate.store.store import open_existing

    gc.disable()  # the process ends with the table: collecting costs a third of the time of one of 100,000 trials
    source = click.get_current_context().get_parameter_source("format_")
    wanted = Wanted(format_, **options, named=source is ParameterSource.COMMANDLINE)
    wanted.choice()  # refuses a wrong name before anything is read
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
@click.option("--xlim", type=float, nargs=2, metavar="LOW HIGH", help="Ends of the axis across [as the values need].")
@click.option("--ylim", type=float, nargs=2, metavar="LOW HIGH", help="Ends of the upright axis.")
@click.option("--width", type=float, metavar="INCHES", help="Of the picture: 3.3 for one column of two, 7 for a page.")
@click.option("--height", type=float, metavar="INCHES", help="Of the picture, title and notes included.")
@click.option("--font-size", type=float, metavar="POINTS", help="Of the axes' names [9].")
@click.option("--title/--no-title", default=True, help="Without: no title in the picture, as a paper wants it.")
@click.option("--notes/--no-notes", default=True, help="Without: no notes in the picture; stderr has them.")
@click.option(
    "--out",
    type=GivenPath(path_type=Path, dir_okay=False),
    help="Where to write it: .svg, .pdf or .png [results/figures/SWEEP-KIND.svg].",
)
def figure_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int, db: str, kind: str | None,
    metric: str | None, cost: str | None, out: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Draw a sweep's figures: all that its file declares in [figure] or [[figures]], or one of any kind.

    curves: a metric over the epochs, published curves dashed. forest: differences with intervals and verdicts. slopes:
    each seed from the baseline to the row. heatmap: a grid. waterfall: the steps of a path. interaction: two factors of
    a factorial. cost: what it costs against what it reaches. power: what n seeds can detect. SWEEP may be a folder.
    The numbers that are drawn stand beside the picture as CSV. In a paper: --width 3.3 --no-title --no-notes --out
    F.pdf.
    """
    from tinyablate.store.store import open_existing
    from tinyablate.tables.figures import Wishes, figures, wanted

    sweeps = load_all(sweep, smoke, overrides, seeds, null_rows)
    found = wanted(sweeps, kind, metric, cost, Wishes(**options), out)
    with open_existing(db) as store:
        for picture, numbers in figures(found, store, out):
            show(str(picture))
            say(f"its numbers: {numbers}")
