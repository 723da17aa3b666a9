"""The command line: the commands in the order of a user's work, and errors as exit codes.

Everything heavy is imported inside the commands, so that `--help` is instant. Machine output (tables, JSON, CSV, query
results) goes to stdout alone, everything else to stderr. Exit codes: 0, 1 for failed work, 2 for a bad file or
argument, 130 for Ctrl-C.
"""

import signal
import sys

import click

from tinyablate import __version__
from tinyablate.commands import data, database, exchange, pages, results, running
from tinyablate.commands.group import Group
from tinyablate.errors import TinyablateError
from tinyablate.options import database_option
from tinyablate.terminal import repair_streams, say, show


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


@click.command("doctor")
@database_option
def doctor_command(db: str) -> None:
    """Check this machine: versions, database, data sets, disk, leftovers of killed runs. Exit code 1 on a problem."""
    from tinyablate.doctor import examine

    text, healthy = examine(db)
    show(text)
    sys.exit(0 if healthy else 1)


for command in (
    running.sweeps_command, running.copy_command, running.plan_command, running.run_command, running.status_command,
    results.table_command, results.figure_command, pages.report_command, pages.serve_command, database.query_command,
    database.schema_command, database.show_command, database.diff_command, exchange.export_command,
    exchange.import_command, data.data_group, doctor_command,
):  # fmt: skip
    app.add_command(command)


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
