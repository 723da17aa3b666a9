"""The figures that a sweep's file declares, as the report's files: SVG and numbers. It writes none and serves nobody.

Those that the page's script draws anyway, from the same numbers, are left out.
"""

from dataclasses import dataclass, replace

from tinyablate.errors import UsageError
from tinyablate.report.plots import drawn_metric
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.sweep.schema import Figure, Sweep
from tinyablate.tables.figures import Drawn, drawn, numbers_of, painted

FOLDER = "figures"


@dataclass(frozen=True)
class Picture:
    """A figure of a sweep's page."""

    sweep: Sweep
    spec: Figure
    stem: str
    """Of its files' paths in the report."""
    made: Drawn | None
    why: str
    """It cannot be drawn; empty if it can."""

    @property
    def alt(self) -> str:
        """What it is, for who does not see it."""
        against = f" against {metrics.lookup(self.spec.cost).heading}" if self.spec.cost else ""
        return f"{self.spec.kind}: {metrics.lookup(self.spec.metric).heading}{against}"

    @property
    def paths(self) -> tuple[str, str]:
        """Of picture and numbers."""
        return f"{self.stem}.svg", f"{self.stem}.csv"

    def file(self, suffix: str) -> bytes:
        """The picture or its numbers. Its title and notes are the page's."""
        assert self.made is not None
        if suffix == ".csv":
            return numbers_of(self.made)
        look = replace(self.spec.look, title=False, notes=False)
        return painted(self.sweep, replace(self.spec, look=look), self.made)


def pictures_of(sweep: Sweep, slug: str, store: Store) -> tuple[Picture, ...]:
    """The declared figures of a sweep whose page is called `slug`; nothing is painted before it is asked for."""
    found = []
    for spec in sweep.figures:
        if not _interactive(sweep, spec):
            made, why = _made(sweep, spec, store)
            found.append(Picture(sweep, spec, f"{FOLDER}/{slug}/{spec.name or spec.kind}", made, why))
    return tuple(found)


def _interactive(sweep: Sweep, spec: Figure) -> bool:
    """Whether the page has a plot of this that moves."""
    if spec.kind == "curves":
        return spec.metric == drawn_metric(sweep).name
    return spec.kind == "forest" and spec.metric in sweep.metrics


def _made(sweep: Sweep, spec: Figure, store: Store) -> tuple[Drawn | None, str]:
    try:
        return drawn(sweep, store, spec), ""
    except UsageError as error:
        return None, str(error)
