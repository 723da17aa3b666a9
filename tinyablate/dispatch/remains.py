"""What a worker process leaves for whoever asks why it died: its id, and the last lines of its output. And its end.

A worker writes a file `workers/<job id>` with its token (see `processes.own_token`) when it takes a job.
"""

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tinyablate.job import Failed
from tinyablate.processes import Owner, is_dead, own_token
from tinyablate.workspace import Workspace

WHERE = signal.SIGUSR1
"""At this signal a worker writes down where it is."""
DUMP_SECONDS = 0.3
"""So long it has to do so, before it is killed."""

MOST_LINES = 20
MOST_BYTES = 8000

_NOTES_OF_RAY = (":job_id:", ":actor_name:", ":task_name:")
"""Lines that Ray writes into the files for its own use."""

_SIGNAL = re.compile(r"\*\*\* (SIG[A-Z]+) received|Fatal Python error: ([^\n]+)")
"""What a crashing process says of itself: absl's handler, which Ray installs, and Python's."""


_DETAIL = re.compile(r"Worker exit detail: (.*?)(?: Some common causes| There are some|\n|$)", re.DOTALL)
_NO_WORD = "End of file"
"""Ray's connection to the worker ended, and that is all it knows."""


@dataclass(frozen=True)
class WorkerProcess:
    """The process that computes, or computed, a job."""

    host: str
    pid: int
    token: str


def note(file: Path) -> None:
    """Write this process's token into `file`, whole or not at all."""
    aside = file.with_name(f".{file.name}.part")
    aside.write_text(own_token())
    aside.replace(file)


def worker_of(file: Path) -> WorkerProcess | None:
    """The process that wrote `file`; None where there is none yet."""
    try:
        token = file.read_text()
    except OSError:
        return None
    owner = Owner.of(token)
    return WorkerProcess(owner.host, owner.pid, token)


def last_lines(logs: Path, pid: int) -> str:
    """The end of what the worker `pid` of Ray wrote to stderr and stdout, files `worker-*-PID.err` and `.out`."""
    parts = []
    for kind, name in (("err", "stderr"), ("out", "stdout")):
        for file in sorted(logs.glob(f"worker-*-{pid}.{kind}")):
            lines = [line for line in _tail(file).splitlines() if not line.startswith(_NOTES_OF_RAY)]
            if any(line.strip() for line in lines):
                parts.append("\n".join([f"last lines of the worker's {name}:", *_telling(lines)]))
    return "\n".join(parts)


def _telling(lines: list[str]) -> list[str]:
    """The last ones; of a dump of where the process is, which begins with the innermost call, the first ones."""
    dumps = [index for index, line in enumerate(lines) if line.endswith("(most recent call first):")]
    start = max(0, dumps[-1] - 2) if dumps else len(lines)  # two lines before it may say what it is about
    start = max(0, min(start, len(lines) - MOST_LINES))
    return lines[start : start + MOST_LINES]


def _tail(file: Path) -> str:
    with contextlib.suppress(OSError), file.open("rb") as opened:
        opened.seek(max(0, opened.seek(0, os.SEEK_END) - MOST_BYTES))
        return opened.read().decode(errors="replace")
    return ""


def end_of(error: str, lines: str) -> str:
    """How a worker ended, in words, from the text of Ray's error and its own last lines."""
    if found := _SIGNAL.findall(lines):
        return f"the worker process crashed: {''.join(found[-1])}"
    detail = _DETAIL.search(error)
    if detail and _NO_WORD not in detail[1]:
        return f"the worker process died: {detail[1].strip().rstrip('.')}"
    return (
        "the worker process was killed, by what is not known: perhaps by the kernel, where memory was short (then "
        "`dmesg` or `journalctl -k` names it)"
    )


def post_mortem(workspace: Workspace, job: str, cause: str, error: str, what: str = "") -> Failed:
    """How the worker of a job ended: `what` happened, or else what Ray's `error` and its own last lines tell."""
    worker = worker_of(workspace.workers / job)
    if worker is None:
        return Failed(cause, "the worker process ended before it took the job", error)
    lines = last_lines(workspace.logs, worker.pid)
    message = f"{what or end_of(error, lines)} (process {worker.pid} on {worker.host})"
    return Failed(cause, message, lines or error)


def end_silent(worker: WorkerProcess) -> None:
    """Kill a worker that hangs; it has a moment to write where."""
    signal_to(worker, WHERE)
    time.sleep(DUMP_SECONDS)
    signal_to(worker, signal.SIGKILL)


def signal_to(worker: WorkerProcess, number: int) -> None:
    """Send a signal to the worker, if it is still the one that took the job."""
    if not is_dead(worker.token):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(worker.pid, number)
