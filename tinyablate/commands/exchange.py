"""The commands by which results leave a database and come into another."""

import os
import shlex
from pathlib import Path

import click

from tinyablate.options import GivenPath, database_of, database_option
from tinyablate.terminal import say, show

MOST_NAMED = 3
"""Sweeps of an import whose tables are named as the next command."""


@click.command("export")
@click.argument("folder", metavar="DIR", type=GivenPath(path_type=Path, file_okay=False))
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
@click.argument("folder", metavar="DIR", type=GivenPath(path_type=Path, file_okay=False))
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
    versions = f"{came.sweeps} new version" + "s" * (came.sweeps != 1)
    show(f"{came.trials} trials imported, {came.known} known already; {versions} of sweeps")
    for line in _next(folder, db):
        say(line)


def _next(folder: Path, db: str) -> list[str]:
    """The command that shows what came, for each of a few sweeps."""
    from tinyablate import bundled
    from tinyablate.store import form

    database = [] if db == database_of(None) else ["--db", db]
    lines = []
    columns = ["name", "smoke", "overrides"]
    found = {row: None for batch in form.rows(folder, "sweeps", columns) for row in batch}
    for name, smoke, overrides in list(found)[:MOST_NAMED]:
        path = folder / "sweeps" / f"{name}.toml"
        if name not in bundled.names() and not os.path.isfile(path):  # False also of a name that no file can have
            continue
        sets = [word for each in (overrides or "").split("\n") if each for word in ("--set", each)]
        which = name if name in bundled.names() else str(path)
        lines.append(shlex.join(["tinyablate", "table", which, *["--smoke"] * bool(smoke), *sets, *database]))
    return [f"next: {line}" for line in lines if line.isprintable()]
