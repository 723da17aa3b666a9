"""The command line. Everything heavy is imported inside the commands, so that `--help` is instant.

Machine output (tables, JSON, CSV, query results) goes to stdout alone, everything else to stderr. Exit codes: 0, 1 for
failed work, 2 for a bad file or argument, 130 for Ctrl-C.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from tinyablate import __version__
from tinyablate.errors import TinyablateError, UsageError
from tinyablate.options import (
    database_option,
    format_option,
    load_all,
    load_one,
    machine_options,
    share_options,
    sweep_options,
)
from tinyablate.terminal import repair_streams, say, show


class Group(click.Group):
    """Commands in the order of a user's work; our own errors become one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from tinyablate.errors import nearest

        if args and args[0] not in self.commands:
            ctx.fail(f"no such command '{args[0]}'{nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tinyablate")
def app() -> None:
    """Ablation studies of vision models: one TOML file in, the paper's table out.

    \b
    tinyablate plan  demo/ablation     what would run, what is already there
    tinyablate run   demo/ablation     train what is missing, then print the table
    tinyablate table demo/ablation     the table, from the database

    SWEEP is a path, else ./sweeps/SWEEP.toml, else the name of a bundled sweep. plan, run and table also take a folder
    of sweeps, such as huynh2022: all of them, what they have in common computed once.
    """


@app.command("sweeps")
@format_option("table", "json", default="table")
def sweeps_command(format_: str) -> None:
    """List the sweeps that can be run: those in ./sweeps, then the bundled ones."""
    from tinyablate.describe import list_sweeps

    show(list_sweeps(format_))


@app.command("copy")
@click.argument("sweep")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("sweeps"))
def copy_command(sweep: str, folder: Path) -> None:
    """Copy a bundled sweep, with the files it extends, into FOLDER [./sweeps] to edit it."""
    from tinyablate import bundled

    copied = bundled.copy(sweep, folder)
    for path in copied:
        show(str(path))
    if not copied:
        say(f"{sweep}: is in {folder} already, unchanged")


@app.command("plan")
@sweep_options
@database_option
@share_options
@machine_options
@click.option(
    "--calibrate",
    is_flag=True,
    help="Measure a few steps of each model whose speed no earlier trial tells; needs what `run` needs.",
)
@format_option("table", "json", default="table")
def plan_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, db: str, share: bool,
    cache_features: bool | None, device: str, slots: int | None, trials_per_gpu: int, micro_batch: int | None,
    weights_dir: Path | None, calibrate: bool, format_: str,
) -> None:  # fmt: skip
    """Show what `run` would do: which trials are new, done, running, failed or stale, in how many jobs, at what cost.

    Changes nothing. Time and disk are estimated from earlier trials of the same model, data, resolution, batch and
    device; with --calibrate, which keeps what it measures in the database, from a few steps where there are none.
    """
    from tinyablate import calibrate as calibration
    from tinyablate.describe import describe_plan
    from tinyablate.estimates import devices_of, plan_against
    from tinyablate.preflight import check_models

    sweeps = load_all(sweep, smoke, overrides, seeds)
    facts = check_models(sweeps, micro_batch, bool(cache_features))
    devices = devices_of(device, slots, trials_per_gpu)
    plan, estimate = plan_against(sweeps, db, devices, facts, share)
    if calibrate and estimate.unknown:
        calibration.calibrate(estimate, db, facts, micro_batch=micro_batch, weights_dir=weights_dir)
        plan, estimate = plan_against(sweeps, db, devices, facts, share)
    show(describe_plan(sweep, plan, estimate, format_))


@app.command("run")
@sweep_options
@database_option
@share_options
@click.option(
    "--launcher",
    type=click.Choice(["ray", "inline"]),
    default="ray",
    show_default=True,
    help="ray: workers on all cores or GPUs; inline: in this process, for debugging.",
)
@click.option("--compile", is_flag=True, help="Pass models through torch.compile; on GPUs only.")
@machine_options
@format_option("terminal", "markdown", "csv", "json", default="terminal")
def run_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, db: str, launcher: str,
    weights_dir: Path | None, device: str, format_: str, **options: Any,
) -> None:  # fmt: skip
    """Train the trials that are missing, then print the table. Running it again does nothing twice.

    Ctrl-C stops cleanly (exit code 130); `run` again continues, an interrupted trial from its last finished epoch.
    """
    from tinyablate import machine
    from tinyablate.datasets import default_home
    from tinyablate.run import RunRequest
    from tinyablate.start import start
    from tinyablate.store.opening import database_path
    from tinyablate.worker import TRAIN

    if weights_dir is not None and not weights_dir.is_dir():
        raise UsageError(f"--weights-dir {weights_dir}: no such directory")
    name = machine.device_name(device)
    if options["compile"] and name == machine.processor_name():
        raise UsageError("--compile: a trial on a CPU is never compiled, so that it is bit-equal; leave the option out")
    name += ", torch.compile" if options["compile"] else ""  # its speeds are other measurements
    request = RunRequest(
        name=sweep.strip("/"),
        sweeps=tuple(load_all(sweep, smoke, overrides, seeds)),
        database=database_path(db),
        data_home=default_home().absolute(),
        machine=name,
        weights_dir=weights_dir,
        device=device,
        format=format_,
        learner=os.environ.get("TINYABLATE_LEARNER", TRAIN),
        **options,
    )
    sys.exit(start(request, launcher))


@app.command("status")
@click.argument("sweep", required=False)
@database_option
def status_command(sweep: str | None, db: str) -> None:
    """Trials by state for every sweep that was run (or the one named SWEEP), and what is running now."""
    from tinyablate.describe import describe_status

    show(describe_status(db, sweep))


@app.command("table")
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


@app.command("figure")
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


@app.command("query")
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


@app.command("show")
@click.argument("trial")
@database_option
def show_command(trial: str, db: str) -> None:
    """Everything known of one trial: recipe, attempts, causes and tracebacks. TRIAL is the start of its key."""
    from tinyablate.describe import describe_trial

    show(describe_trial(db, trial))


@app.group("data", cls=Group)
def data_group() -> None:
    """Prepare, check, list data sets and preview what a sweep does to their images.

    They lie in TINYABLATE_DATA, else ./results/data.
    """


@data_group.command("prepare")
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path), help="A ZIP file or a folder [download].")
def data_prepare_command(name: str, source: Path | None) -> None:
    """Make the data set NAME ready for use. Nothing half-written is ever taken for whole.

    \b
    tinyablate data prepare tiny-imagenet             download, decode once into a packed array
    tinyablate data prepare my-photos --from FOLDER   register your own images under a new name

    Such a FOLDER holds train/<class>/<image> and val/<class>/<image> (or valid, validation), of any size, also in
    folders inside a class's. Images are the files that end in .jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff or
    .webp, in either case; others are ignored and named, hidden ones only ignored. Every image is read once and checked;
    the images stay where they are, and are decoded anew whenever they are shown. So are those of imagenet-1k.
    """
    from tinyablate.preflight import prepare_data

    show(str(prepare_data(name, source)))


@data_group.command("verify")
@click.argument("name")
def data_verify_command(name: str) -> None:
    """Read every byte of a data set and compare it with what was prepared. Exit code 1 if anything differs."""
    from tinyablate.describe import describe_verification

    text, whole = describe_verification(name)
    show(text)
    sys.exit(0 if whole else 1)


@data_group.command("preview")
@sweep_options
@click.option("--row", "rows", metavar="LABEL", multiple=True, help="Only this row [all]. Repeatable.")
@click.option("--images", type=click.IntRange(1, 64), default=8, show_default=True, help="Images a row.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it: .html or .png [results/preview/SWEEP.html].",
)
@format_option("table", "csv", "json", "markdown", default="table")
def data_preview_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, rows: tuple[str, ...], images: int,
    out: Path | None, format_: str,
) -> None:  # fmt: skip
    """Draw what each row's training images look like: the same images and seed in every row, as the model sees them.

    The sweep's data sets must be prepared; --smoke of the bundled sweeps works without any, as its data is generated.
    The seed is the first of the first row shown.

    Prints the realised rates over the first epoch: shares of images mixed by Mixup, by CutMix, mean erased area; and
    over a sample of images the share 'changed' by policy or colour jitter. Trains nothing.
    """
    from tinyablate.describe import render_rows
    from tinyablate.preview import preview, rates_table
    from tinyablate.store.query import Rows

    path, entries = preview(load_one(sweep, smoke, overrides, seeds), rows, images, out)
    columns, lines = rates_table(entries)
    show(render_rows(Rows(columns, lines), format_))
    say(f"wrote {path}")


@data_group.command("list")
@format_option("table", "json", default="table")
def data_list_command(format_: str) -> None:
    """List the data sets, built in or registered, and whether each is prepared."""
    from tinyablate.describe import describe_data

    show(describe_data(format_))


@app.command("doctor")
@database_option
def doctor_command(db: str) -> None:
    """Check this machine: versions, database, data sets, disk, leftovers of killed runs. Exit code 1 on a problem."""
    from tinyablate.doctor import examine

    text, healthy = examine(db)
    show(text)
    sys.exit(0 if healthy else 1)


def main() -> None:
    """Entry point: run the command line and turn errors into exit codes, without tracebacks for a user's mistake."""
    repair_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a clean stop, as Ctrl-C is
    try:
        app.main(prog_name="tinyablate", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        say("stopped")
        sys.exit(130)
    except TinyablateError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except OSError as error:  # disk full, permission denied: the system's own words name the file
        say(f"error: {error}")
        sys.exit(1)
    except Exception as error:
        if not _of_the_database(error):
            raise
        say(f"error: the database cannot be read: {str(error).splitlines()[0]}; see: tinyablate doctor")
        sys.exit(1)


def _of_the_database(error: Exception) -> bool:
    """Whether SQLAlchemy raised it for the database driver; asked without importing SQLAlchemy."""
    library = sys.modules.get("sqlalchemy")
    return library is not None and isinstance(error, library.exc.DatabaseError)


if __name__ == "__main__":
    main()
