"""The commands that find, plan and run sweeps."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from tinyablate.errors import UsageError
from tinyablate.options import (
    GivenPath,
    change_words,
    database_option,
    database_words,
    format_option,
    load_all,
    machine_options,
    safety_options,
    share_options,
    sweep_options,
)
from tinyablate.terminal import say, show, tame


@click.command("sweeps")
@format_option("table", "json", default="table")
def sweeps_command(format_: str) -> None:
    """List the sweeps that can be run: those in ./sweeps, then the bundled ones."""
    from tinyablate.describe import list_sweeps

    show(list_sweeps(format_))


@click.command("copy")
@click.argument("sweep")
@click.argument("folder", type=GivenPath(path_type=Path), default=Path("sweeps"))
def copy_command(sweep: str, folder: Path) -> None:
    """Copy a bundled sweep, with the files it extends, into FOLDER [./sweeps] to edit it; or a whole folder of them."""
    from tinyablate import bundled

    copied = bundled.copy(sweep, folder)
    for path in copied:
        show(str(path))
    if not copied:
        say(f"{sweep}: is in {folder} already, unchanged")


@click.command("plan")
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
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int, db: str, share: bool,
    cache_features: bool | None, device: str, slots: int | None, trials_per_gpu: int, micro_batch: int | None,
    weights_dir: Path | None, calibrate: bool, format_: str,
) -> None:  # fmt: skip
    """Show what `run` would do: which trials are new, done, running, failed or stale, in how many jobs, at what cost.

    Changes nothing. Time and disk are estimated from earlier trials of the same model, data, resolution, batch and
    device; with --calibrate, which keeps what it measures in the database, from a few steps where there are none.
    """
    from tinyablate.describe import describe_plan
    from tinyablate.estimates import devices_of, plan_against
    from tinyablate.preflight import check_models

    sweeps = load_all(sweep, smoke, overrides, seeds, null_rows)
    facts = check_models(sweeps, micro_batch, bool(cache_features))
    devices = devices_of(device, slots, trials_per_gpu)
    plan, estimate = plan_against(sweeps, db, devices, facts, share)
    if calibrate and estimate.unknown:
        from tinyablate import calibrate as calibration  # late: it runs and shows tables, which a plan need not load

        calibration.calibrate(estimate, db, facts, micro_batch=micro_batch, weights_dir=weights_dir)
        plan, estimate = plan_against(sweeps, db, devices, facts, share)
    text = describe_plan(sweep, plan, estimate, format_)
    show(text if format_ == "json" else tame(text))  # of a file that may be somebody else's
    failed = plan.counts()["failed"]
    if failed:
        words = ["tinyablate", "retry", sweep, *change_words(smoke, overrides, seeds, null_rows), *database_words(db)]
        say(f"`run` leaves the {failed} that failed; {shlex.join(words)} puts them back")


@click.command("run")
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
@safety_options
@click.option(
    "--detach", is_flag=True, help="Leave it running without this terminal: `watch` attaches to it, `stop` ends it."
)
@format_option("terminal", "markdown", "latex", "html", "csv", "json", default="terminal")
def run_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int, db: str, launcher: str,
    weights_dir: Path | None, device: str, format_: str, detach: bool, **options: Any,
) -> None:  # fmt: skip
    """Train the trials that are missing, then print the table. Running it again does nothing twice.

    Ctrl-C stops cleanly (exit code 130): what is trained is saved at its next update, and `run` again continues it. A
    second Ctrl-C stops at once. A trial whose worker or machine goes away is tried again; one that failed is not, until
    `tinyablate retry`. Several runs, also on several machines with a PostgreSQL database, share the work.
    """
    from tinyablate import machine
    from tinyablate.datasets import default_home
    from tinyablate.run import RunRequest
    from tinyablate.start import start
    from tinyablate.store.location import Location
    from tinyablate.worker import TRAIN

    if detach and launcher == "inline":
        raise UsageError("--detach: goes with --launcher ray; inline computes in this process")
    if weights_dir is not None and not weights_dir.is_dir():
        raise UsageError(f"--weights-dir {weights_dir}: no such directory")
    name = machine.device_name(device)
    if options["compile"] and name == machine.processor_name():
        raise UsageError("--compile: a trial on a CPU is never compiled, so that it is bit-equal; leave the option out")
    name += ", torch.compile" if options["compile"] else ""  # its speeds are other measurements
    request = RunRequest(
        name=sweep.strip("/"),
        sweeps=tuple(load_all(sweep, smoke, overrides, seeds, null_rows)),
        database=Location.of(db).text,
        data_home=default_home().absolute(),
        machine=name,
        weights_dir=weights_dir,
        device=device,
        format=format_,
        changes=tuple(change_words(smoke, overrides, seeds, null_rows)),
        more=tuple(database_words(db)),
        learner=os.environ.get("TINYABLATE_LEARNER", TRAIN),
        **options,
    )
    sys.exit(start(request, launcher, detach=detach))


@click.command("status")
@click.argument("sweep", required=False)
@database_option
def status_command(sweep: str | None, db: str) -> None:
    """Trials by state for every sweep that was run, what is running now, what failed and why.

    SWEEP: of this one, or of this folder. To see it change: `watch`.
    """
    from tinyablate.describe import describe_status
    from tinyablate.status import describe_runs

    show("\n\n".join(filter(None, (describe_status(db, sweep), describe_runs(db, sweep, database_words(db))))))
