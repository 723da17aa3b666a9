"""The command line: the commands in the order of a user's work, and errors as exit codes.

Everything heavy is imported inside the commands, so that `--help` is instant. Machine output (tables, JSON, CSV, query
results) goes to stdout alone, everything else to stderr. Exit codes: 0, 1 for failed work, 2 for a bad file or
argument, 130 for Ctrl-C.
"""

import _signal as signal  # type: ignore[import-not-found]  # what `signal` wraps, which takes 3 ms to be imported
import os
import sys


class _LeavingWhenAsked:
    """Within it a signal ends the process at once: nothing has begun, and an exception in the middle of an import would
    be shown as a traceback, by Python's import system or by a library's."""

    def __enter__(self) -> None:
        try:
            self._before = {number: signal.signal(number, self._leave) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: somebody else's program
            self._before = {}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if handler is not None:  # else it is a program's that Python is a part of
                signal.signal(number, handler)

    def _leave(self, *_: object) -> None:
        os.write(2, b"stopped\n")
        os._exit(130)


with _LeavingWhenAsked():
    import click

    from tinyablate import __version__
    from tinyablate.commands import data, database, exchange, pages, results, running, runs
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
    runs.watch_command, runs.stop_command, runs.retry_command, results.table_command, results.figure_command,
    pages.report_command, pages.serve_command, database.query_command, database.schema_command, database.show_command,
    database.diff_command, exchange.export_command, exchange.import_command, database.backup_command, data.data_group,
    doctor_command,
):  # fmt: skip
    app.add_command(command)


def main() -> None:
    """Entry point: run the command line and turn errors into exit codes, without tracebacks for a user's mistake."""
    try:
        repair_streams()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a clean stop, as Ctrl-C is
        app.main(prog_name="tinyablate", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        say("stopped")
        exec("")  # Python ends by the signal, not by our code, where Ctrl-C came within an exec(), which this undoes
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
