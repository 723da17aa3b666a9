"""What tells a sweep as it was asked for from every other, and what was asked for, told from that."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence

MOST_ORDERS = 720
"""In so many orders a set of seeds is tried: all of up to six."""


def digest(text: str, smoke: bool, overrides: Sequence[str], seeds: Sequence[int] | None, null_rows: int) -> str:
    """Of the text of a sweep's files, and of the options with which they were read (see `load.load`)."""
    asked = [text, smoke, list(overrides), None if seeds is None else list(seeds)]
    asked += [null_rows] if null_rows else []  # without the option it is what it was before there was one
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def asked_with(
    known: str, text: str, smoke: bool, overrides: Sequence[str], seeds: Iterable[Sequence[int]], null_rows: int
) -> tuple[Sequence[int] | None, int]:
    """The seeds (None: the file's) and the null rows with which a sweep was read whose digest is `known`.

    `seeds` are what its rows have, one of which is what was asked for if anything was, in any order; `null_rows` is how
    many rows may be such. (None, 0) where none of it has that digest.
    """
    orders = (order for each in seeds for order in itertools.islice(itertools.permutations(sorted(each)), MOST_ORDERS))
    for given in itertools.chain([None], orders):
        for count in sorted({0, null_rows}):
            if digest(text, smoke, overrides, given, count) == known:
                return given, count
    return None, 0


def listed(seeds: Sequence[int]) -> str:
    """Seeds as `--seeds` takes them, in this order: `0-4,7`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and runs[-1][-1] == seed - 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)
