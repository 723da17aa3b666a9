"""How a sweep decides, noted when it is first run, so that a later change shows. It computes no number."""

import hashlib
import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tinyablate.store.query import swept
from tinyablate.store.records import ProtocolRecord
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.schema import Note
from tinyablate.tables.words import cut, ranges

FIELDS = {
    "metric": "metric",
    "select": "select",
    "margin": "margin",
    "family": "family",
    "test": "test",
    "seeds_rule": "seeds",
}
"""Of a ProtocolRecord what decides -> its key in a sweep file."""


def protocol_of(sweep: Sweep) -> ProtocolRecord:
    """What must be settled before results are seen: what is compared, at which epoch, over how many seeds, how tested.

    Facts and costs beside the metrics that are tested change no verdict and are left out.
    """
    names = [name for name in sweep.metrics if metrics.lookup(name).tested] or list(sweep.metrics)
    values = {
        "metric": ", ".join(names),
        "select": sweep.select,
        "margin": sweep.margin,
        "family": sweep.family,
        "test": sweep.test,
        "seeds_rule": seeds_rule(sweep),
    }
    digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()
    return ProtocolRecord(**values, digest=digest)  # type: ignore[arg-type]


def seeds_rule(sweep: Sweep) -> str:
    """The seeds in words: `0-9`, those of rows that have others after it, or the rule that adds them."""
    rule = sweep.sequential
    if rule is not None:
        return f"{rule.least} to {rule.most} until half_width < {rule.half_width:g}"
    of_rows = dict.fromkeys(row.seeds for row in sweep.rows if not row.null)
    return cut([ranges(seeds) for seeds in of_rows], between="; ")


@dataclass(frozen=True)
class Changed:
    """How the sweep decides now against its first run."""

    day: str
    """Of the first run, in UTC; empty before it."""
    phrases: tuple[str, ...]
    """`margin 0.2 -> 0.5`, for each rule that changed."""


def changed(sweep: Sweep, store: Store) -> Changed:
    """What changed of the sweep's rules since it was first run."""
    noted = store.protocols(sweep.name, sweep.smoke)
    if not noted:
        return Changed("", ())
    (at, first), now = noted[0], protocol_of(sweep)
    phrases = (
        f"{title} {_shown(getattr(first, name))} -> {_shown(getattr(now, name))}"
        for name, title in FIELDS.items()
        if getattr(first, name) != getattr(now, name)
    )
    return Changed(_day(at), tuple(phrases))


def remarks(sweep: Sweep, store: Store, since: Changed) -> Iterator[Note]:
    """What changed since the sweep was run: how it decides, and its file."""
    if since.phrases:
        yield Note(f"CHANGED since the first run on {since.day}: {'; '.join(since.phrases)}.", "warning")
    yield from _other_file(sweep, store)


def _other_file(sweep: Sweep, store: Store) -> Iterator[Note]:
    """Whether the file is another than the one that was run last, and never was run as it is."""
    overrides = "\n".join(sweep.overrides)
    runs = [(digest, at, text) for name, smoke, digest, others, at, text in swept(store)
            if (name, bool(smoke), others) == (sweep.name, sweep.smoke, overrides)]  # fmt: skip
    if not runs or any(digest == sweep.digest or text == sweep.text for digest, _, text in runs):
        return
    yield Note(f"The sweep file changed since its last run on {_day(runs[0][1])}; next: {command(sweep)}", "author")


def command(sweep: Sweep) -> str:
    """What computes the sweep's missing trials."""
    flags = ["--smoke"] if sweep.smoke else []
    sets = [word for override in sweep.overrides for word in ("--set", override)]
    return shlex.join(["tinyablate", "run", sweep.name, *flags, *sets])


def _shown(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _day(at: float) -> str:
    """The day in UTC, so that a table reads the same everywhere."""
    return time.strftime("%Y-%m-%d", time.gmtime(at))
