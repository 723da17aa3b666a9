"""What tells a sweep as it was asked for from every other, and what was asked for, told from that."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence

MOST_ORDERS = 720
"""In so many orders a set of seeds is tried: all of up to six."""


def digest(text: str, smoke: bool, overrides: Sequence[str], seeds: Sequence[int] | None, null_rows: int) -> str:
    """Of the text of a sweep's files, and of the options with which they were read (see `load.load`)."""
    return _digests(text, smoke, overrides)(seeds, null_rows)


def _digests(text: str, smoke: bool, overrides: Sequence[str]) -> Callable[[Sequence[int] | None, int], str]:
    """The digest by seeds and null rows; the text is hashed once."""
    start = hashlib.sha256(json.dumps([text, smoke, list(overrides)])[:-1].encode())

    def with_options(seeds: Sequence[int] | None, null_rows: int) -> str:
        whole = start.copy()
        end = f", {null_rows}" if null_rows else ""  # without the option it is what it was before there was one
        whole.update(f", {json.dumps(None if seeds is None else list(seeds))}{end}]".encode())
        return whole.hexdigest()

    return with_options


def asked_with(
    known: str, text: str, smoke: bool, overrides: Sequence[str], seeds: Iterable[Sequence[int]], null_rows: int
) -> tuple[Sequence[int] | None, int]:
    """The seeds (None: the file's) and the null rows with which a sweep was read whose digest is `known`.

    `seeds` are what its rows have, one of which is what was asked for if anything was, in any order; at most
    `null_rows` rows are such as were asked for. (None, 0) where none of it has that digest.
    """
    tried = _digests(text, smoke, overrides)
    for given in itertools.chain([None], *map(_orders, seeds)):
        for count in range(null_rows + 1):
            if tried(given, count) == known:
                return given, count
    return None, 0


def _orders(seeds: Sequence[int]) -> Iterator[Sequence[int]]:
    """Upwards and downwards, as people write them, then others."""
    upwards = sorted(seeds)
    return itertools.chain([upwards, upwards[::-1]], itertools.islice(itertools.permutations(upwards), MOST_ORDERS))


def listed(seeds: Sequence[int]) -> str:
    """Seeds as `--seeds` takes them, in this order: `0-4,7`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and runs[-1][-1] == seed - 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)
