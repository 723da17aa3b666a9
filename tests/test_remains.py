"""What is told of a worker that ended, from Ray's error and from its own last lines."""

import subprocess
import sys
from pathlib import Path

from tinyablate.dispatch.remains import MOST_LINES, end_of, last_lines

HANGS = """
import faulthandler, os, signal
faulthandler.register(signal.SIGUSR1, all_threads=False)

def call(depth):
    if depth:
        return call(depth - 1)
    print("working", flush=True)
    os.kill(os.getpid(), signal.SIGUSR1)

call(40)
"""


def test_a_dump_keeps_its_innermost_calls(tmp_path: Path) -> None:
    """Of a stack that is deeper than what is kept the calls stay in which the process was."""
    with (tmp_path / "worker-1-17.err").open("w") as file:
        subprocess.run([sys.executable, "-c", HANGS], stderr=file, stdout=subprocess.DEVNULL, check=True)
    lines = last_lines(tmp_path, 17).splitlines()
    assert lines[0] == "last lines of the worker's stderr:"
    assert "(most recent call first):" in lines[1]
    assert "line 9 in call" in lines[2]
    assert len(lines) == 1 + MOST_LINES


def test_other_output_keeps_its_end(tmp_path: Path) -> None:
    """What a process wrote last stands last."""
    (tmp_path / "worker-1-17.out").write_text("".join(f"line {number}\n" for number in range(50)))
    assert last_lines(tmp_path, 17).splitlines()[1:] == [f"line {number}" for number in range(30, 50)]


def test_a_guess_is_told_as_one() -> None:
    """Nobody knows what killed a process of which only the end is known; where to look is said."""
    told = end_of("Worker exit detail: End of file", "")
    assert "perhaps" in told
    assert "dmesg" in told
