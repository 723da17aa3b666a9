"""With which --seeds and --null-rows sweeps were run. The database has them only in digests and trials."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from tinyablate.store import schema
from tinyablate.sweep.digest import asked_with, digest, listed

NULL_ROW = ", other seeds"
"""What the labels of rows of --null-rows hold (see `sweep.axes`)."""
MOST_SETS = 3
"""Of sets of seeds that rows have so many are tried: null rows have others than the rest."""
CHUNK = 200

_known: dict[str, tuple[str, ...]] = {}
"""What a digest stands for never changes: each is looked into once, also by who looks every second."""


def given(connection: sa.Connection, digests: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """Digest of a stored sweep -> the words `--seeds …`, `--null-rows …` with which it was run; () without them.

    Also () where the digest is of nothing that can be told from the rows, such as one of another program.
    """
    missing = [each for each in dict.fromkeys(digests) if each not in _known]
    s = schema.sweeps.c
    wanted = sa.select(s.id, s.digest, s.text, s.smoke, s.overrides)
    for start in range(0, len(missing), CHUNK):
        for row in connection.execute(wanted.where(s.digest.in_(missing[start : start + CHUNK]))).all():
            _known[row.digest] = _words(connection, row)
    return {each: _known.get(each, ()) for each in digests}


def _words(connection: sa.Connection, sweep: Any) -> tuple[str, ...]:
    asked = (sweep.text, bool(sweep.smoke), sweep.overrides.split("\n") if sweep.overrides else [])
    if digest(*asked, None, 0) == sweep.digest:
        return ()
    t, c = schema.trials.c, schema.cells.c
    wanted = sa.select(c.row_index, c.row_label, t.seed).distinct().join_from(schema.cells, schema.trials)
    of_rows: dict[tuple[int, str], list[int]] = {}
    for index, label, seed in connection.execute(wanted.where(c.sweep_id == sweep.id).order_by(c.row_index, t.seed)):
        of_rows.setdefault((index, label), []).append(seed)
    sets = list(dict.fromkeys(map(tuple, of_rows.values())))[:MOST_SETS]
    null_rows = sum(NULL_ROW in label for _, label in of_rows)  # the file may have such of its own
    seeds, null_rows = asked_with(sweep.digest, *asked, sets, null_rows)
    words = [] if seeds is None else ["--seeds", listed(seeds)]
    return (*words, *(["--null-rows", str(null_rows)] if null_rows else []))
