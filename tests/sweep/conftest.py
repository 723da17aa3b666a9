"""Writes sweep files into a temporary folder and loads them for real."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tinyablate.errors import SweepError
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Sweep

HEAD = """\
title = "T"
seeds = [0, 1, 2]
[baseline]
model.name = "test_resnet"
mix.mixup_alpha = 0.8
"""
"""A baseline to which a test adds its rows."""

Write = Callable[..., Path]
Loads = Callable[..., Sweep]
Refuses = Callable[..., tuple[str, ...]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a text as a file of the temporary folder and gives its path."""

    def write(text: str, name: str = "sweep.toml") -> Path:
        path = tmp_path / name
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def loads(write: Write) -> Loads:
    """The sweep that HEAD and a text make."""

    def loads(body: str, head: str = HEAD, **options: Any) -> Sweep:
        return load(write(dedent(head) + dedent(body)), **options)

    return loads


@pytest.fixture
def refuses(loads: Loads, tmp_path: Path) -> Refuses:
    """The problems for which HEAD and a text are refused, without the folder's name."""

    def refuses(body: str, head: str = HEAD, **options: Any) -> tuple[str, ...]:
        with pytest.raises(SweepError) as caught:
            loads(body, head, **options)
        return tuple(problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems)

    return refuses
