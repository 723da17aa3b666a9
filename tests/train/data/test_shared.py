"""Memory without a name: regions that do not overlap, growth that others see, an error when there is none."""

import os
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyablate.errors import WorkError
from tinyablate.train.data.shared import Arena, Mapped


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 3)), min_size=1, max_size=30))
def test_regions_keep_what_is_written(steps: list[tuple[int, int]]) -> None:
    """Whatever is taken and given back in whatever order, a region keeps its bytes, also seen through another map."""
    arena = Arena()
    other = Mapped(arena.file)
    held: dict[int, int] = {}
    for number, (count, back) in enumerate(steps):
        first = arena.take(count)
        arena.bytes(first, count)[:] = number
        held[first] = number
        sizes = {start: arena._taken[start] for start in held}
        for start, value in held.items():
            assert np.all(other.bytes(start, sizes[start]) == value)
        for start in list(held)[:back]:
            del held[start]
            arena.give_back(start)
    arena.close()


def test_memory_is_used_again() -> None:
    """A ring of batches takes no more than its own size, however long it turns."""
    arena = Arena()
    regions = [arena.take(10_000) for _ in range(3)]
    size = os.fstat(arena.file).st_size
    for _ in range(100):
        arena.give_back(regions.pop(0))
        regions.append(arena.take(10_000))
    assert os.fstat(arena.file).st_size == size
    arena.close()


def test_no_memory_is_one_error() -> None:
    """A system that refuses more is an error that says how much was wanted; what is held stays."""
    arena = Arena()
    first = arena.take(1000)
    arena.bytes(first, 1000)[:] = 7
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(WorkError, match="no memory for 3 MB of decoded images"):
            arena.take(3_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert np.all(arena.bytes(first, 1000) == 7)
    arena.take(3_000_000)
    arena.close()
