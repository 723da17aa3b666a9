"""The figures of a sweep: each kind in its module, a step from table or store to numbers and one that paints those.

matplotlib is imported only to draw. Nothing here computes a statistic that `stats` or the table has.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinyablate.errors import listed
from tinyablate.store.store import Store
from tinyablate.sweep import metrics
from tinyablate.sweep.schema import Figure, FigureKind, Sweep
from tinyablate.tables.collect import as_it_is
from tinyablate.tables.figures import (
    cost,
    curves,
    files,
    fonts,
    forest,
    heatmap,
    interaction,
    power,
    slopes,
    style,
    waterfall,
)
from tinyablate.tables.figures.asked import Wishes, asked, wanted
from tinyablate.tables.figures.curves import Line, lines
from tinyablate.tables.figures.drawn import Drawn, NothingToDraw, NotShown, View
from tinyablate.tables.layout import title_of
from tinyablate.tables.sequential import extended
from tinyablate.terminal import say

__all__ = [
    "Drawn", "Line", "NotShown", "NothingToDraw", "Wishes", "asked", "drawn", "figure", "figures", "lines",
    "numbers_of", "painted", "wanted",
]  # fmt: skip


MOST_INCHES = 200.0
"""Of either side: matplotlib paints at most 2^16 pixels, and nobody reads more."""


@dataclass(frozen=True)
class Kind:
    """How a table is drawn."""

    columns: tuple[str, ...]
    """Of the numbers."""
    lacks: Callable[[View], str]
    """Why a table has no such figure; empty if it has one."""
    drawn: Callable[[View], Drawn]
    """The figure. Raises NothingToDraw."""


OF_TABLES: Mapping[FigureKind, Kind] = {
    "forest": Kind(forest.COLUMNS, forest.lacks, forest.drawn),
    "slopes": Kind(slopes.COLUMNS, slopes.lacks, slopes.drawn),
    "heatmap": Kind(heatmap.COLUMNS, heatmap.lacks, heatmap.drawn),
    "waterfall": Kind(waterfall.COLUMNS, waterfall.lacks, waterfall.drawn),
    "interaction": Kind(interaction.COLUMNS, interaction.lacks, interaction.drawn),
    "cost": Kind(cost.COLUMNS, cost.lacks, cost.drawn),
    "power": Kind(power.COLUMNS, power.lacks, power.drawn),
}
"""All kinds but curves, which are read from the store."""


def figures(
    wanted: Sequence[tuple[Sweep, Figure]], store: Store, out: Path | None = None
) -> Iterator[tuple[Path, Path]]:
    """Draw these figures one after the other; for each the paths of picture and numbers.

    What cannot be drawn is told in the end: on stderr if anything was drawn, else by raising NotShown. A figure that
    its sweep's rows can never make raises it anyway, unless there are several sweeps.
    """
    count, failed = 0, list[NotShown]()
    for sweep, spec in wanted:
        try:
            yield figure(sweep, store, out, spec)
            count += 1
        except NotShown as error:
            failed.append(error)
    never = any(not isinstance(error, NothingToDraw) for error in failed)
    if failed and (not count or (never and len({sweep.name for sweep, _ in wanted}) == 1)):
        raise NotShown("\n".join(map(str, failed)))
    for each in failed:
        say(str(each))


def figure(sweep: Sweep, store: Store, out: Path | None = None, spec: Figure | None = None) -> tuple[Path, Path]:
    """Draw one figure, the sweep's first unless `spec` is given, as the store has it now; paths of picture and numbers.

    `out` ends in .svg, .pdf or .png; without it the picture goes to results/figures. Raises SweepError for a sweep
    without a figure, NothingToDraw before there is anything, NotShown where its rows cannot be shown in this way,
    UsageError where a path cannot be written.
    """
    spec = spec or asked(sweep)[0]
    path, made = files.path_of(sweep, spec, out), drawn(sweep, store, spec)
    numbers = path.with_suffix(".csv")
    files.refuse_others(numbers, [curves.COLUMNS, *(kind.columns for kind in OF_TABLES.values())])
    content, absent = style.picture(title_of(sweep), made, path.suffix, spec.look)
    for warning in (*made.warnings, *_unreadable(made, path.suffix, absent)):
        say(f"{path}: {warning}")
    if not spec.look.notes:
        say(f"{path}: for its caption: {' '.join(made.notes)}")
    files.write(path, content)
    files.write(numbers, files.as_csv(made))
    return path, numbers


def drawn(sweep: Sweep, store: Store, spec: Figure) -> Drawn:
    """A figure's numbers and words, before anything is painted. Raises NotShown, UsageError for a row's label."""
    sweep = extended(sweep, store)
    made = curves.drawn(sweep, store, spec) if spec.kind == "curves" else _of_table(sweep, store, spec)
    if max(made.size) > MOST_INCHES:
        raise NotShown(
            f"{sweep.name}: as '{spec.kind}' it would be {max(made.size):.0f} inches large; name rows with --row"
        )
    return made


def painted(sweep: Sweep, spec: Figure, made: Drawn) -> bytes:
    """The figure as an SVG file."""
    return style.picture(title_of(sweep), made, ".svg", spec.look)[0]


def numbers_of(made: Drawn) -> bytes:
    """What it shows, as a CSV file."""
    return files.as_csv(made)


def _of_table(sweep: Sweep, store: Store, spec: Figure) -> Drawn:
    """The figure from the sweep's table. Raises NotShown with the kinds that would do where this one does not."""
    view = _view(sweep, store, spec)
    if reason := OF_TABLES[spec.kind].lacks(view):
        fine = [str(kind) for kind, each in OF_TABLES.items() if kind != spec.kind and not _lacking(each, view)]
        fine = ["curves"] * ("train" in sweep.kinds) + fine
        raise NotShown(f"{sweep.name}: cannot be shown as '{spec.kind}': {reason}; it can be as {listed(fine)}")
    if spec.kind == "cost" and (same := cost.same(view)):
        raise NotShown(f"{sweep.name}: every cell costs the same, {same}, so that a figure would say nothing of it; "
                       f"{_other_costs(view, store)}")  # fmt: skip
    return OF_TABLES[spec.kind].drawn(view)


def _other_costs(view: View, store: Store) -> str:
    """Costs in which the cells differ, in words."""
    names = [name for name, each in metrics.KNOWN.items() if each.source != "epochs" and not each.relative_to]
    wide = View(replace(view.sweep, metrics=(view.spec.metric, *names), margin=None), view.spec, view.table)
    wide = replace(wide, table=as_it_is(wide.sweep, store))
    others = [replace(wide, spec=replace(view.spec, cost=name)) for name in names if name != view.spec.metric]
    differ = [each.spec.cost for each in others if len({spot.cost for spot in cost.spots(each)}) > 1]
    return f"costs that differ: {listed(differ)} (--cost)" if differ else "no other cost that is known differs"


def _lacking(kind: Kind, view: View) -> bool:
    return bool(kind.lacks(replace(view, spec=replace(view.spec, cost=""))))


def _view(sweep: Sweep, store: Store, spec: Figure) -> View:
    """The sweep's own table where it has the metrics, so that p and verdicts are those of the table; else one of them.

    A heat map is ranked over all of its cells, which a table of several metrics is not. Raises NotShown for a metric
    that has no value under the sweep's selection rule.
    """
    needed = (spec.metric, spec.cost) if spec.cost else (spec.metric,)
    if sweep.select == "cross-fitted" and (lacking := [name for name in needed if not metrics.lookup(name).cross_fits]):
        raise NotShown(
            f"{sweep.name}: select is 'cross-fitted', which {listed(lacking)} cannot be: which images were right is "
            "kept for val_top1 alone; next: --metric val_top1, or --kind curves"
        )
    if spec.kind == "heatmap" or not set(needed) <= set(sweep.metrics):
        same = spec.metric == sweep.metrics[0]
        sweep = replace(sweep, metrics=needed, margin=sweep.margin if same else None)
    return View(sweep, spec, as_it_is(sweep, store))


def _unreadable(made: Drawn, suffix: str, absent: str) -> list[str]:
    """What to tell of labels that this machine cannot draw."""
    texts = list(dict.fromkeys(str(value) for line in made.numbers for value in line))
    found = []
    if absent:
        labels = [text for text in texts if set(text) & set(absent)]
        where = f" (in {listed(labels, 6)})" if labels else ""
        what, them = ("characters", "them") if len(absent) > 1 else ("character", "it")
        instead = (
            f"keeps {them} as text for the reader's fonts" if suffix == ".svg" else f"shows boxes instead of {them}"
        )
        found.append(
            f"no font here has the {what} {absent}{where}: the picture {instead}; next: install a font that has "
            f"{them}, such as {fonts.such_as(absent)}" + ("" if suffix == ".svg" else ", or write an .svg")
        )
    if suffix != ".svg" and fonts.disordered("\n".join(texts)):
        found.append("words from right to left stand in the wrong order: that takes matplotlib 3.11, or an .svg")
    return found
