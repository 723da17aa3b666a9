"""Whose process an owner's token names, and whether it lives."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from driven import ELSEWHERE, begun, sweep, token, trials

from tinyablate import launch
from tinyablate.processes import Owner, is_dead, own_machine, own_token, shown, started
from tinyablate.store.store import Store
from tinyablate.workspace import Workspace

BOOT, _, NAMESPACE = own_machine().partition(".")
OTHER_BOOT = f"{'0' * len(BOOT)}.{NAMESPACE}"
OTHER_NAMESPACE = f"{BOOT}.1"

pytestmark = pytest.mark.skipif(not BOOT, reason="needs /proc")


@pytest.fixture
def ended() -> Iterator[int]:
    """The id of a process that has ended and that nobody has waited for: a zombie."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


def of(pid: int, start: str, machine: str) -> str:
    """A token of a host of our name."""
    return f"{socket.gethostname()}:{pid}:{start}:{machine}"


def test_our_own_processes(ended: int) -> None:
    """This process lives; one that was killed is dead, as is a later process of a dead one's number."""
    assert not is_dead(own_token())
    assert is_dead(token(ended))
    assert is_dead(of(os.getpid(), "1", own_machine()))
    assert Owner.of(own_token()) == Owner(socket.gethostname(), os.getpid(), started(os.getpid()), own_machine())
    assert shown(own_token()) == f"{socket.gethostname()}:{os.getpid()}"


@pytest.mark.parametrize("machine", [OTHER_BOOT, OTHER_NAMESPACE])
def test_another_machine_of_our_name(machine: str) -> None:
    """Nothing is known of its processes, whatever runs here under their numbers."""
    theirs = of(os.getpid(), "1", machine)
    assert not is_dead(theirs)
    assert not Owner.of(theirs).is_near
    assert Owner.of(theirs).rebooted == (machine == OTHER_BOOT)


def test_older_tokens_name_no_machine(ended: int) -> None:
    """A token of three parts is judged by the name of its host, as it was when it was written."""
    assert not is_dead(of(os.getpid(), started(os.getpid()), "").removesuffix(":"))
    assert is_dead(of(ended, "1", "").removesuffix(":"))
    assert not is_dead(ELSEWHERE)


@pytest.mark.parametrize("rest", ["", ":", ":x:1", ":-1:1", ":1", ":99999999999999999999:5"])
def test_what_names_no_process_is_none_that_lives(rest: str) -> None:
    """A token that was tampered with does not hold a trial for ever."""
    assert is_dead(socket.gethostname() + rest)


def test_a_lease_of_another_machine_of_our_name_holds(tmp_path: Path) -> None:
    """Two machines of one name share a database: neither takes the other's driver for dead."""
    (wanted,) = trials(1)
    with Store(tmp_path / "a.db") as store:
        sweep(store, "a", [wanted])
        store.owner = of(os.getpid(), "1", OTHER_BOOT)
        begun(store, wanted)
        store.owner = own_token()
        assert not store.claim([wanted.key], "another job")


def test_workspaces_of_an_earlier_boot_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a live process stay, as do those of another container that were used today; others go."""
    monkeypatch.setattr(launch, "_temporary", lambda: str(tmp_path))
    owners = {
        "ours": own_token(),
        "container": of(1, "1", OTHER_NAMESPACE),
        "silent": of(1, "1", OTHER_NAMESPACE),
        "rebooted": of(os.getpid(), "1", OTHER_BOOT),
        "dead": of(os.getpid(), "1", own_machine()),
    }
    for name, owner in owners.items():
        root = tmp_path / f"tinyablate-{os.getuid()}-{name}"
        root.mkdir()
        (root / "owner").write_text(owner)
        os.utime(root / "owner", (1, 1))
    Workspace(tmp_path / f"tinyablate-{os.getuid()}-container").show_alive()
    assert sorted(root.name.rpartition("-")[2] for root in launch.remove_leftovers()) == ["dead", "rebooted", "silent"]
    assert len(list(tmp_path.iterdir())) == 2
