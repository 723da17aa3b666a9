"""The commands that make pages of results: a folder that opens from disk, or a server of the same."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyablate.errors import SweepError, UsageError
from tinyablate.options import GivenPath, change_options, database_option, load_all
from tinyablate.terminal import say, show

if TYPE_CHECKING:
    from tinyablate.sweep.schema import Sweep

machine_option = click.option(
    "--machine", metavar="NAME", default="", help="Device whose measured speeds are shown [this one's]."
)


@click.command("report")
@click.argument("sweep", nargs=-1)
@change_options
@database_option
@machine_option
@click.option(
    "--out", type=GivenPath(path_type=Path), metavar="FOLDER", help="Where to write it [results/report]; what an "
    "earlier report left there goes.",
)  # fmt: skip
def report_command(
    sweep: tuple[str, ...], smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int, db: str,
    machine: str, out: Path | None,
) -> None:  # fmt: skip
    """Write a report that opens from disk: the sweeps' tables, plots, failures, provenance, and every trial.

    Without SWEEP it is about every sweep that was run with the database. It needs no network and no server. Prints the
    path of its first page.
    """
    from tinyablate.report import found
    from tinyablate.report.write import FOLDER, write_report
    from tinyablate.store.store import open_existing

    if not sweep and (smoke or overrides or seeds or null_rows):
        raise UsageError("--smoke, --set, --seeds, --null-rows change a sweep: name one, tinyablate report SWEEP …")
    every = [each for name in sweep for each in _asked(name, smoke, overrides, seeds, null_rows)]
    loaded = list({each.path.resolve(): each for each in every}.values())
    with open_existing(db) as store:
        if not sweep:
            loaded, missing = found.stored(store)
            for line in missing:
                say(line)
            if missing and not loaded:  # in the wrong folder: an earlier report would be emptied
                raise UsageError("report: no sweep of this database has its file here; next: tinyablate sweeps")
        paths = write_report(loaded, store, out or FOLDER, machine)
    show(str(paths[0]))


def _asked(sweep: str, *changes: Any) -> "list[Sweep]":
    """The sweeps of this name. A folder without any is likely to be where the report should go."""
    from tinyablate.bundled import is_path_of_folder

    try:
        return load_all(sweep, *changes)
    except SweepError as error:
        if is_path_of_folder(sweep):
            raise SweepError([*error.problems, f"did you mean: tinyablate report --out {sweep}"]) from error
        raise


@click.command("serve")
@click.argument("sweep", nargs=-1)
@database_option
@machine_option
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen at: others see it with 0.0.0.0."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any free one.")
def serve_command(sweep: tuple[str, ...], db: str, machine: str, host: str, port: int) -> None:
    """Serve the report's pages from the database as it is, while a sweep runs; they follow what changes.

    Without SWEEP it shows every sweep that was run with the database. Nothing can be changed through it. Prints its
    address; Ctrl-C ends it.
    """
    from tinyablate.report.serve import serve

    serve(sweep, db, host, port, machine)
