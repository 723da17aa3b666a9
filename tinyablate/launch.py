"""From `tinyablate run` to the driver process: a private temporary folder with a snapshot of the code, then exec.

The folder also holds Ray's session; it is removed by the driver's clean end, else by the next run. With --detach the
process that execs is a fork, in a session of its own.
"""

import contextlib
import errno
import itertools
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import tinyablate
from tinyablate import bundled
from tinyablate.datasets import default_home
from tinyablate.errors import WorkError
from tinyablate.processes import Owner, end_all, is_dead, own_token
from tinyablate.run import RunRequest
from tinyablate.signals import SIGNALS, held
from tinyablate.store.location import Location
from tinyablate.workspace import Workspace

_PREFIX = "tinyablate-"

SILENT_SECONDS = 24 * 3600
"""A driver that has not shown itself for so long, by `Workspace.show_alive`, is gone, wherever it ran."""


def create_workspace(request: RunRequest) -> Workspace:
    """A new folder with the code as it is now and the request in it, owned by this process. Raises WorkError."""
    root = None
    try:
        root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getuid()}-", dir=_temporary()))
        return _fill(Workspace(root), request)
    except BaseException as error:
        if root:
            shutil.rmtree(root, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        why = error.strerror or os.strerror(errno.ENOSPC)  # shutil's has none
        advice = "free some there, or set TMPDIR to another folder with a short path"
        raise WorkError(f"{_temporary()}: the run finds no place for its temporary files: {why}; {advice}") from error


def _fill(workspace: Workspace, request: RunRequest) -> Workspace:
    workspace.owner.write_text(own_token())
    package = Path(tinyablate.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "_bundled")
    shutil.copytree(package, workspace.code / "tinyablate", ignore=ignored)
    shutil.copytree(bundled.workers_folder(), workspace.code / "workers", ignore=ignored)
    workspace.ray.mkdir()
    workspace.workers.mkdir()
    workspace.request.touch(0o600)  # the database's URL may hold a password
    workspace.request.write_bytes(pickle.dumps(request))
    return workspace


def read_request(workspace: Workspace) -> RunRequest:
    """The request that `create_workspace` wrote."""
    request: RunRequest = pickle.loads(workspace.request.read_bytes())
    return request


def driver_command(workspace: Workspace, program: str) -> tuple[list[str], Mapping[str, str]]:
    """Command and environment of the driver `workers/PROGRAM`, running on the snapshot."""
    path = os.pathsep.join(filter(None, [str(workspace.code), os.environ.get("PYTHONPATH", "")]))
    source = os.environ.get("TINYABLATE_SOURCE", str(Path(tinyablate.__file__).parent.parent))
    # The driver and its workers stand in other folders than the user: what is relative to this one is settled here.
    settled = {
        "TINYABLATE_DATA": str(default_home()),
        "TINYABLATE_RESULTS": str(Location.of(read_request(workspace).database).home),
    }
    environment = os.environ | {"PYTHONPATH": path, "TINYABLATE_SOURCE": source} | settled
    return [sys.executable, str(workspace.code / "workers" / program), str(workspace.root)], environment


def become_driver(workspace: Workspace, program: str = "ray_tune.py") -> None:
    """Replace this process by the driver; returns only by KeyboardInterrupt, at a signal that was held before."""
    command, environment = driver_command(workspace, program)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # what comes from here on waits for the driver
    if held:
        shutil.rmtree(workspace.root)
        raise KeyboardInterrupt
    os.execve(command[0], command, dict(environment))


def log_file(home: Path, name: str) -> Path:
    """A new file `logs/NAME-TIME.log` in `home` for what a detached driver writes. Raises OSError."""
    folder = home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    short = name.replace("/", "-").encode()[:150].decode(errors="ignore")  # file names hold 255 bytes
    stem = f"{short}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count():
        path = folder / f"{stem}{f'-{number}' if number else ''}.log"
        with contextlib.suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
    raise AssertionError("unreachable: numbers do not end")


def detach(log: Path) -> int | None:
    """Fork: None in the child, which has a session of its own, no terminal, and `log` for its output; else its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # stays so through exec, and for all that Ray starts
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND)
    for number, opened in enumerate((nothing, output, output)):
        os.dup2(opened, number)
    return None


def workspaces() -> Iterator[tuple[Path, str]]:
    """Every workspace of this user on this machine, with its owner's token."""
    for root in Path(_temporary()).glob(f"{_PREFIX}{os.getuid()}-*"):
        with contextlib.suppress(OSError):  # just removed
            owner = root / "owner"
            yield root, owner.read_text() if owner.exists() else ""


def is_abandoned(root: Path, owner: str) -> bool:
    """Whether a workspace belongs to nobody: its owner is dead, or it has had none for an hour (killed while made).

    Of an owner in another container, with our host's name, is known only that a living one shows itself.
    """
    if not owner:
        return time.time() - root.stat().st_mtime > 3600
    if is_dead(owner) or Owner.of(owner).rebooted:  # temporary folders are a machine's own
        return True
    return not Owner.of(owner).is_near and time.time() - Workspace(root).owner.stat().st_mtime > SILENT_SECONDS


def remove_leftovers() -> list[Path]:
    """End what killed runs left behind: their processes, then their folders."""
    dead = [root for root, owner in workspaces() if is_abandoned(root, owner)]
    for root in dead:
        end_all(str(root))
        shutil.rmtree(root, ignore_errors=True)
    return dead


def _temporary() -> str:
    """TMPDIR if its path is short enough for Ray's sockets, else /tmp."""
    chosen = tempfile.gettempdir()
    longest = (
        f"{chosen}/{_PREFIX}{os.getuid()}-12345678/r/session_2026-01-01_00-00-00_123456_1234567/sockets/plasma_store"
    )
    return chosen if len(longest) <= (107 if sys.platform == "linux" else 103) else "/tmp"
