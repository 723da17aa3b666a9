"""The commands by which results leave a database and come into another."""

from pathlib import Path

import click

from tinyablate.options import database_option
from tinyablate.terminal import say, show


@click.command("export")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.argument("sweeps", metavar="[SWEEP]...", nargs=-1)
@click.option("--anonymous", is_flag=True, help="Machines are called host-1, …; error messages are left out.")
@database_option
def export_command(folder: Path, sweeps: tuple[str, ...], anonymous: bool, db: str) -> None:
    """Write results to DIR as Parquet files, of the sweeps (or folders of sweeps) named, or of all.

    \b
    tinyablate export results/published/demo demo/ablation

    The files are typed, hold everything that a database does, and are the same bytes if nothing changed; the sweeps'
    files lie beside them. pandas, polars and DuckDB read them; `tinyablate import DIR` takes them into a database.
    """
    from tinyablate.store.exchange import export
    from tinyablate.store.store import open_existing

    with open_existing(db) as store:
        show(str(export(store, folder, sweeps, anonymous)))


@click.command("import")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@database_option
def import_command(folder: Path, db: str) -> None:
    """Take the results in DIR, which `tinyablate export` wrote, into the database; what is complete here stays.

    Trials are told apart by what they are (recipe, seed, data), so the same folder twice changes nothing. A folder that
    was edited, or comes from a newer tinyablate, is refused as a whole.
    """
    from tinyablate.finish import refresh
    from tinyablate.store import form
    from tinyablate.store.exchange import import_folder
    from tinyablate.store.store import Store

    form.check(folder)  # before a database is made for it
    with Store(db) as store:
        came = import_folder(store, folder)
        refresh(store)
    show(f"{came.trials} trials imported, {came.known} known already; {came.sweeps} new versions of sweeps")
    if came.sweeps:
        say("their files are in the database; those in DIR/sweeps are for people")
