"""Files of tables and figures are written whole or not at all."""

import os
from pathlib import Path

import pytest

from tinyablate.errors import UsageError
from tinyablate.tables.whole import put


def test_a_file_that_would_not_change_is_left_alone(tmp_path: Path) -> None:
    """Folders are made, nothing lies beside the file, and equal bytes are not written again."""
    path = tmp_path / "a" / "b" / "t.tex"
    assert put(path, b"one") == path
    os.utime(path, (1, 1))
    put(path, b"one")
    assert path.stat().st_mtime == 1
    put(path, b"two")
    assert [(each.name, each.read_bytes()) for each in path.parent.iterdir()] == [("t.tex", b"two")]


def test_what_cannot_be_written_names_the_option(tmp_path: Path) -> None:
    """A path below a file is a mistake in --out, told as one."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"^--out .*file/t\.tex: cannot be written: "):
        put(tmp_path / "file" / "t.tex", b"text")
