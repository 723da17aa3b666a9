"""Where things lie in a run's temporary folder, which `launch` makes. Workers read this too, so it imports little."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """A run's temporary folder. Its path is short: Ray puts Unix sockets below it, whose paths may have 107 bytes."""

    root: Path

    @property
    def code(self) -> Path:
        """Snapshot of the code: what is on the path of driver and workers."""
        return self.root / "code"

    @property
    def ray(self) -> Path:
        """Ray's session files and Tune's own notes."""
        return self.root / "r"

    @property
    def stop(self) -> Path:
        """A file that asks workers to save and end; they look for it between two time slices."""
        return self.root / "stop"

    @property
    def workers(self) -> Path:
        """A file for each job, named by its id: the token of the worker process that computes it."""
        return self.root / "workers"

    @property
    def logs(self) -> Path:
        """Where Ray keeps what its processes write."""
        return self.ray / "session_latest" / "logs"

    @property
    def request(self) -> Path:
        """The pickled RunRequest, written and read by the same user's processes of one run only."""
        return self.root / "request.pickle"

    @property
    def owner(self) -> Path:
        """Token of the process that the folder belongs to."""
        return self.root / "owner"

    def show_alive(self) -> None:
        """Tell who cannot see that process, in another container, that it lives."""
        with contextlib.suppress(OSError):
            os.utime(self.owner)
