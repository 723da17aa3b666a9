"""The single seeds behind the cells, in a form that formats can print."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tinyablate.tables.arrays import CODES
from tinyablate.tables.schema import Table

_STATES = {code: state for state, code in CODES.items()}


class Seed(NamedTuple):
    """One seed of one cell."""

    seed: int
    value: float | None
    """In the metric's unit; None where there is none."""
    state: str
    """See `arrays.CODES`."""
    trial: str
    """Its key; empty where the table does not know it."""


def seeds_of(table: Table) -> Mapping[tuple[int, int], Sequence[Seed]]:
    """(column, row) -> its planned seeds, ascending; empty where the table was made without them."""
    found = table.replicates
    if found is None:
        return {}
    values, states = found.values.tolist(), found.states.tolist()  # 100,000 single look-ups in an array take a second
    return {
        (column, row): [
            Seed(seed, None if value != value else value, _STATES[code], keys.get(seed, ""))
            for seed, value, code in zip(found.seeds, values[column][row], states[column][row], strict=True)
            if code
        ]
        for column in range(len(values))
        for row in range(len(values[column]))
        for keys in [found.keys.get((column, row), {})]
    }
