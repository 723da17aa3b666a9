"""Commands of `tinyablate` as forks of a process that has the libraries imported: each starts seconds sooner.

`Forks` is what tests use; run as a program this file is the process that forks. A fork is a process like any other,
with its own session, folder, environment, output and exit code, and imports our modules anew. Libraries it has as they
were imported: a command whose environment means something to one is for `subprocess`, as is one that gets signals.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 240
"""How long a command may take."""


@dataclass
class Forks:
    """Runs one command at a time."""

    server: "subprocess.Popen[str] | None" = field(default=None, init=False)

    def run(self, words: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
        """Run `tinyablate WORDS` in `folder` to its end: exit code (minus the signal that ended it), stdout, stderr."""
        if self.server is None:
            command = [sys.executable, "-P", __file__]
            self.server = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
            asked = {"words": words, "folder": str(folder), "environment": dict(environment)}
            print(json.dumps(asked | {"out": out.name, "err": err.name}), file=self.server.stdin, flush=True)
            code = int(self.server.stdout.readline())
            return code, out.read(), err.read()

    def close(self) -> None:
        """End the process that forks."""
        if self.server is not None:
            self.server.communicate(timeout=SECONDS)


def import_libraries() -> None:
    """What the commands import, with what these import when first used."""
    import click  # noqa: F401
    import pandas  # noqa: F401
    import pooch  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import pydantic  # noqa: F401
    import rich.progress  # noqa: F401
    import scipy.stats  # noqa: F401
    import sqlalchemy.dialects.sqlite  # noqa: F401
    import timm  # noqa: F401
    import torchvision.transforms.v2  # noqa: F401


def fork_as_asked() -> dict[str, Any] | None:
    """Fork for every line on stdin and answer with the exit code. In a fork: returns what was asked for."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            asked: dict[str, Any] = json.loads(line)
            return asked
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def become(words: list[str], folder: str, environment: dict[str, str], out: str, err: str) -> None:
    """Make this process what `python -m tinyablate.cli WORDS`, started there and so, would be."""
    os.setsid()
    signal.alarm(SECONDS)
    for number, (path, flags) in enumerate([(os.devnull, os.O_RDONLY), (out, os.O_WRONLY), (err, os.O_WRONLY)]):
        os.dup2(os.open(path, flags), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # asked for again, from the new environment
    sys.path[:0] = [folder, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = ["tinyablate", *words]


def run_command() -> int:
    """Run the command that `sys.argv` holds; the exit code that Python would give."""
    try:
        runpy.run_module("tinyablate.cli", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
    return 0


def serve() -> int:
    """Fork commands until there are no more; in a fork: run it."""
    import_libraries()
    gc.collect()
    gc.freeze()  # what stands is shared with every fork for as long as it is not written to
    asked = fork_as_asked()
    if asked is None:
        return 0
    become(**asked)
    return run_command()


if __name__ == "__main__":
    os._exit(serve())  # Python's own end would take the libraries down object by object, for 2 s in each fork
