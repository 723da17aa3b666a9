"""Writes a file of tensors so that it is whole and durable, or not there; says so where the disk has no room for it."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinyablate.durable import put, sync
from tinyablate.errors import NO_ROOM, DiskFullError

"""No space on the device, a user's quota, a process's limit of a file's size."""


def write(target: Path, content: Mapping[str, Any]) -> None:
    """Save `content` (tensors, numbers, texts, lists, dicts) as `target`, durable on return; its folder may be gone.

    Raises DiskFullError where there is no room for it: whatever stood there before is untouched then, and nothing of
    the new file is left. Raises OSError for what else prevents it.
    """
    for last in (False, True):
        try:
            return _write(target, content)
        except FileNotFoundError:  # another driver removed the folder, or swept it, while this one wrote into it
            if last:
                raise


def _write(target: Path, content: Mapping[str, Any]) -> None:
    aside = target.with_name(target.name + ".part")
    try:
        _make(target.parent)
        with aside.open("wb") as file:
            torch.save(content, file)
            file.flush()
        put(aside, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        if (number := _full(error)) is not None:
            raise DiskFullError(_no_room(target, content, number)) from error
        raise


def _full(error: BaseException | None) -> int | None:
    """The errno by which the disk is full, if that is behind `error`; torch's writer may make one of its own of it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _make(folder: Path) -> None:
    """A folder that was missing, durably: a file in it is no more durable than its name."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def _no_room(target: Path, content: Mapping[str, Any], number: int) -> str:
    needed = sum(tensor.nbytes for tensor in _tensors(content))
    free = "unknown"
    with contextlib.suppress(OSError):
        free = f"{shutil.disk_usage(target.parent).free:,}"
    return f"{target}: no room for a file of {needed:,} bytes, {free} bytes are free there: {os.strerror(number)}"


def _tensors(content: Any) -> Iterator[Tensor]:
    """Every tensor in nested dicts and lists."""
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _tensors(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from _tensors(value)
