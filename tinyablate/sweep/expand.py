"""A checked form into numbered rows and columns and their cells, no trial twice, smoke last."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tinyablate.identity import differences
from tinyablate.recipe import Recipe
from tinyablate.sweep import metrics
from tinyablate.sweep.axes import reference_of
from tinyablate.sweep.declared import refuse_undeclared
from tinyablate.sweep.form import Form, RowForm
from tinyablate.sweep.grid import Draft, Grid
from tinyablate.sweep.layout import components_of
from tinyablate.sweep.schema import Cell, Column, Component, Exclusion, Row

NULL_SEEDS = 1_000
"""First seed of the rows of --null-rows: above what files use."""


@dataclass(frozen=True)
class Expansion:
    """What a form comes to."""

    baseline: Recipe
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: tuple[Cell, ...]
    excluded: tuple[Exclusion, ...]
    components: tuple[Component, ...]


def expand(form: Form, smoke: bool = False, seeds: Sequence[int] | None = None, null_rows: int = 0) -> Expansion | None:
    """The cells of `form`; None after noting problems in the list of its place (problems may be noted either way).

    `seeds` stand for the file's and every row's, except that a null row keeps to seeds of its own. `null_rows` more
    rows repeat the one that others are compared with.
    """
    grid = Grid(form, null_rows)
    if not grid.rows:
        return None
    rows = _numbered(form, grid.rows, seeds, smoke)
    if form.baseline_broken:  # nothing can be said about recipes
        return None
    drafts, excluded = grid.drafts()
    _refuse_same_trials(grid, rows, [draft for draft in drafts if grid.rows[draft.row].place not in grid.idle])
    _refuse_late_epochs(grid, drafts)
    refuse_undeclared(grid, rows, drafts)
    if smoke and not form.place.problems:
        small = [grid.small(draft) for draft in drafts]
        _refuse_merged_by_smoke(grid, rows, drafts, small)
        drafts = small
    if not drafts:
        return None
    published = grid.published(drafts)
    return Expansion(
        baseline=grid.baseline(smoke) or drafts[0].recipe,
        rows=rows,
        columns=tuple(Column(index, column.label) for index, column in enumerate(grid.columns)),
        cells=tuple(
            Cell(each.row, each.column, each.recipe, each.canonical, published[each.row, each.column])
            for each in drafts
        ),
        excluded=excluded,
        components=components_of(form.layout, form.components, grid.rows, form.smoke if smoke else None),
    )  # fmt: skip


def _numbered(form: Form, forms: Sequence[RowForm], forced: Sequence[int] | None, smoke: bool) -> tuple[Row, ...]:
    """The rows with their reference and seeds."""
    reference = reference_of(form, forms)
    if form.seeds is None and forced is None and any(row.seeds is None for row in forms if not row.null):
        form.place.refuse("no seeds: add seeds = [0, 1, 2]")
    rows = []
    for index, row in enumerate(forms):
        against = row.reference if form.components else reference if index != reference else None
        bare = not (form.components or row.set or row.broken)
        null = row.null or (bare and index != reference)
        seeds = () if row.null else _seeds(form, row, null, forced)
        if smoke and forced is None:
            seeds = seeds[:1]
        rows.append(Row(index, row.label, row.group, against, seeds, null, row.declares))
    if forced is None:
        _refuse_unruled(form, forms, rows)
    return _with_null_seeds(form, forms, rows, reference)


def _seeds(form: Form, row: RowForm, null: bool, forced: Sequence[int] | None) -> tuple[int, ...]:
    """The row's own seeds, the sweep's, or those asked for: a null row keeps as many as that of its own others."""
    if forced is None:
        return form.seeds or () if row.seeds is None else row.seeds
    if not null or row.seeds is None:
        return tuple(forced)
    others = tuple(seed for seed in row.seeds if seed not in forced)[: len(forced)]
    if not others:
        row.place.key("seeds").refuse("all of them are asked for, yet this row needs other ones", list(row.seeds))
    return others


def _with_null_seeds(
    form: Form, forms: Sequence[RowForm], rows: Sequence[Row], reference: int | None
) -> tuple[Row, ...]:
    """The rows, those of --null-rows with as many seeds as their reference has: numbers that no row uses."""
    taken = {seed for row in rows for seed in row.seeds} | set(range(form.sequential.most if form.sequential else 0))
    free = (seed for seed in itertools.count(NULL_SEEDS) if seed not in taken)
    count = 0 if reference is None else len(rows[reference].seeds)
    return tuple(
        replace(row, seeds=tuple(itertools.islice(free, count))) if each.null else row
        for each, row in zip(forms, rows, strict=True)
    )


def _refuse_unruled(form: Form, forms: Sequence[RowForm], rows: Sequence[Row]) -> None:
    """Refuse what a rule of seeds cannot be for: rows with seeds of their own, a sweep that compares nothing."""
    rule = form.sequential
    if rule is None:
        return
    if not any(row.reference is not None and not row.null for row in rows):
        form.place.key("seeds").refuse(
            "the rule looks at differences, and no row is compared with another: give a list"
        )
    for each, row in zip(forms, rows, strict=True):
        if each.seeds is None:
            continue
        if not row.null:
            each.place.key("seeds").refuse(
                "the sweep's rule gives every row its seeds, but null rows", list(each.seeds)
            )
        elif min(each.seeds, default=rule.most) < rule.most:
            why = f"must be from {rule.most}: the sweep's rule may use those below for the baseline"
            each.place.key("seeds").refuse(why, list(each.seeds))


def _refuse_same_trials(grid: Grid, rows: Sequence[Row], drafts: Sequence[Draft]) -> None:
    """Refuse cells that have one recipe and a seed in common; parts with one label were refused for that already."""
    for one, other, common in _same_trials(rows, drafts):
        if grid.name(one.row, one.column) == grid.name(other.row, other.column):
            continue
        place = grid.rows[other.row].place if one.row != other.row else grid.columns[other.column].place
        names = f"{grid.name(one.row, one.column)} and {grid.name(other.row, other.column)}"
        idle = ", ".join(sorted(differences(other.recipe, one.recipe)))
        why = f"{idle} has no effect as the other fields stand" if idle else f"one recipe, seed {common} in both"
        cure = "drop one" + ("" if idle else " or give it other seeds")
        place.refuse(f"{names} are the same trial: {why}; {cure}")


def _refuse_late_epochs(grid: Grid, drafts: Sequence[Draft]) -> None:
    """Refuse a metric of an epoch that no cell reaches. A schedule from the command line may be too short: a trial run.

    Asked before the overlay of `--smoke`, which shortens schedules too; its table shows such cells as not measured.
    """
    if not drafts or any(path.startswith("schedule.") for path in grid.form.overridden):
        return
    longest = max(drafts, key=lambda draft: draft.recipe.schedule.total_epochs)
    epochs = longest.recipe.schedule.total_epochs
    for name in filter(metrics.is_known, grid.form.metrics):
        if (metrics.lookup(name).epoch or 0) > epochs:
            where = grid.name(longest.row, longest.column)
            grid.form.place.key("metrics").refuse(f"no row trains so long: {where} has the most epochs, {epochs}", name)


def _refuse_merged_by_smoke(grid: Grid, rows: Sequence[Row], drafts: Sequence[Draft], small: Sequence[Draft]) -> None:
    """Refuse cells that differ in the file and no longer under the overlay."""
    before = {(draft.row, draft.column): draft.recipe for draft in drafts}
    for one, other, _ in _same_trials(rows, small):
        lost = list(differences(before[one.row, one.column], before[other.row, other.column]))
        names = f"{grid.name(one.row, one.column)} and {grid.name(other.row, other.column)}"
        cure = " or ".join(f'[smoke.levels."{path}"]' for path in lost)
        rule = f"{names} are the same trial, as they differ only in {', '.join(lost)}; map its levels in {cure}"
        grid.form.place.key("smoke").refuse(f"with --smoke {rule}")


def _same_trials(rows: Sequence[Row], drafts: Sequence[Draft]) -> Iterator[tuple[Draft, Draft, int]]:
    """(earlier cell, later cell, a seed of both) for each cell that repeats an earlier one."""
    earlier: dict[str, list[Draft]] = {}
    for draft in drafts:
        for other in earlier.setdefault(draft.canonical, []):
            if common := set(rows[other.row].seeds) & set(rows[draft.row].seeds):
                yield other, draft, min(common)
                break
        earlier[draft.canonical].append(draft)
