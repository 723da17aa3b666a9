"""Files written aside: renamed or gone, and what killed processes left of them goes with the next of their name."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from driven import sweep, trials
from exchanged import PROTOCOL

from tinyablate import durable
from tinyablate.store import parquet
from tinyablate.store.exchange import export
from tinyablate.store.store import Store

KILLED = """
import os, signal, sys
from pathlib import Path
from tinyablate import durable
for name in sys.argv[1:]:
    context = durable.aside(Path(name))
    path = context.__enter__()
    path.write_text("half")
    Path(f"{path}-journal").write_text("half")
    print(path.name)
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(*targets: Path) -> list[str]:
    """Names of what a process wrote aside for these files before it was killed; SQLite's own file beside each too."""
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, targets)], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    return done.stdout.split()


def hidden(folder: Path) -> list[str]:
    """Files there that have no name of their own yet."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_what_a_killed_process_left_goes_with_the_next_of_its_name(tmp_path: Path) -> None:
    """What a living process writes aside stays, as does what was left of another file, or is something else."""
    mine, other = killed(tmp_path / "a.db", tmp_path / "b.db")
    (tmp_path / ".a.db.notes").write_text("mine")
    with durable.aside(tmp_path / "a.db") as path:
        assert hidden(tmp_path) == sorted([".a.db.notes", other, f"{other}-journal"])
        path.write_text("whole")
        with durable.aside(tmp_path / "a.db"):
            assert path.read_text() == "whole"
        assert not path.exists()
    assert mine not in hidden(tmp_path)


def test_what_another_machine_writes_is_left_for_a_day(tmp_path: Path) -> None:
    """Of its processes nothing is known here but when they last wrote."""
    place = durable._self()[2]
    strange = tmp_path / f".a.db.1-1-{int(place, 16) ^ 1:08x}"
    strange.write_text("half")
    durable.write(tmp_path / "a.db", b"whole")
    assert strange.exists()
    day_ago = time.time() - durable.ABANDONED_SECONDS - 1
    os.utime(strange, (day_ago, day_ago))
    durable.write(tmp_path / "a.db", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


def test_a_name_may_be_as_long_as_any(tmp_path: Path) -> None:
    """What stands aside has a shorter one."""
    durable.write(tmp_path / ("n" * 255), b"whole")
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


WRITERS: dict[str, tuple[str, Callable[[Store], object]]] = {
    "mirror": ("parquet/trials.parquet", parquet.mirror),
    "backup": ("copy.db", lambda store: store.backend.backup(store.home / "copy.db")),
    "export": ("out/epochs.parquet", lambda store: export(store, store.home / "out")),
    "manifest": ("out/export.json", lambda store: export(store, store.home / "out")),
}


@pytest.mark.parametrize("name", WRITERS)
def test_mirror_export_and_backup_sweep(name: str, tmp_path: Path) -> None:
    """Each removes what was left of its own files, also where there is nothing else of them yet."""
    file, writer = WRITERS[name]
    target = tmp_path / file
    target.parent.mkdir(exist_ok=True)
    killed(target)
    assert len(hidden(target.parent)) == 2
    with Store(tmp_path / "a.db") as store:
        sweep(store, "mine", trials(1))
        store.note_protocol("mine", False, PROTOCOL)
        writer(store)
    assert hidden(target.parent) == []
    assert target.stat().st_size > 10
