"""Which rows and columns a form makes: as listed, from a grid, or from components. It builds no recipe."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tinyablate.recipe import Value
from tinyablate.sweep import components
from tinyablate.sweep.fields import Leaf, Place, plain
from tinyablate.sweep.form import Axis, ColumnForm, Form, RowForm

MOST_CELLS = 100_000
"""Past that a grid is a typing mistake: ten times what a table is built for."""


def rows_and_columns(
    form: Form, flat: Mapping[str, Value], null_rows: int = 0
) -> tuple[tuple[RowForm, ...], tuple[ColumnForm, ...]]:
    """Rows and columns from whichever forms the file uses; no rows, after noting why, where that makes no table.

    `null_rows` more rows repeat the one that others are compared with.
    """
    rows, columns = _made(form, flat)
    if null_rows and rows:
        rows += _null_rows(form, rows, null_rows)
    if len(rows) * len(columns) > MOST_CELLS:
        form.place.refuse(f"{len(rows) * len(columns):,} cells: at most {MOST_CELLS:,}")
        return (), columns
    _refuse_repeated_labels(rows)
    _refuse_repeated_labels(columns)
    return rows, columns


def reference_of(form: Form, rows: Sequence[RowForm]) -> int | None:
    """Index of the row that others are compared with: of [components] the first, else the first that sets nothing.

    One with the sweep's own seeds goes before one that has other ones. None: there is no such row.
    """
    if form.components:
        return 0 if rows else None
    bare = [index for index, row in enumerate(rows) if not (row.set or row.broken or row.null)]
    usual = (i for i in bare if rows[i].seeds is None or set(rows[i].seeds or ()) == set(form.seeds or ()))
    return next(usual, bare[0] if bare else None)


def _null_rows(form: Form, rows: Sequence[RowForm], count: int) -> tuple[RowForm, ...]:
    """The reference `count` times more; none after noting why, where there is none."""
    place = Place(form.place.problems, form.place.file, "--null-rows")
    reference = None if form.kinds & {"grid", "zip"} else reference_of(form, rows)
    if reference is None:
        kind = "a grid has" if form.kinds & {"grid", "zip"} else "this sweep has"
        place.refuse(f"{kind} no row that is the baseline itself, to be repeated under other seeds", count)
        return ()
    one, taken = rows[reference], {row.label for row in rows}
    labels = (f"{one.label}, other seeds" + f" {number}" * (number > 1) for number in itertools.count(1))
    free = itertools.islice((label for label in labels if label not in taken), count)
    group = "null rows" if any(row.group for row in rows) else ""
    return tuple(
        replace(one, label=label, group=group, seeds=None, published={}, reference=reference, null=True)
        for label in free
    )


def _made(form: Form, flat: Mapping[str, Value]) -> tuple[tuple[RowForm, ...], tuple[ColumnForm, ...]]:
    columns = form.columns or (ColumnForm("", form.place),)
    grids, lists = sorted(form.kinds & {"grid", "zip"}), sorted(form.kinds & {"rows", "columns"})
    if form.components and (grids or "rows" in lists):
        others = " and ".join(f"`{name}`" for name in (*grids, *lists) if name != "columns")
        form.place.key("components").refuse(f"makes the rows: drop {others}")
    elif grids and lists:
        others = " and ".join(f"[[{name}]]" for name in lists)
        form.place.key(grids[0]).refuse(f"makes rows and columns: drop {others}, or give a row its own `grid`")
    elif not form.kinds - {"columns"}:
        form.place.refuse("no rows: add [[rows]], [grid], [zip] or [components]")
    elif form.components:
        return components.rows(form.components, flat), columns
    elif grids:
        return _from_axes(form)
    else:
        return tuple(made for row in form.rows for made in _with_own_grid(row)), columns
    return (), columns


def _from_axes(form: Form) -> tuple[tuple[RowForm, ...], tuple[ColumnForm, ...]]:
    """Axes into rows and columns: one axis makes rows, of several the last makes the columns."""
    place = form.place.key("grid" if "grid" in form.kinds else "zip")
    nothing = (ColumnForm("", form.place),)
    paths = [path for axis in form.axes for path in axis.paths]
    for path in dict.fromkeys(path for path in paths if paths.count(path) > 1):
        place.key(path).refuse("[zip] has it too")
    if not paths or len(set(paths)) < len(paths) or _too_many(form.axes, place):
        return (), nothing
    first, last = (form.axes[:-1], form.axes[-1:]) if len(form.axes) > 1 else (form.axes, ())
    short = _short_names(paths)
    rows = tuple(RowForm(label, place.key(label), changes) for label, changes in _combinations(first, short))
    columns = tuple(ColumnForm(label, place.key(label), changes) for label, changes in _combinations(last, short))
    return rows, columns


def _with_own_grid(row: RowForm) -> Iterator[RowForm]:
    """The row itself, or one for each combination of its grid."""
    if not row.axes or _too_many(row.axes, row.place):
        yield row
        return
    short = _short_names([path for axis in row.axes for path in axis.paths])
    for label, changes in _combinations(row.axes, short):
        yield replace(row, label=f"{row.label}, {label}", set=row.set | changes, axes=())


def _too_many(axes: Sequence[Axis], place: Place) -> bool:
    count = math.prod(len(axis.levels) for axis in axes)
    if count > MOST_CELLS:
        place.refuse(f"{count:,} combinations: at most {MOST_CELLS:,}")
    return count > MOST_CELLS


def _combinations(axes: Sequence[Axis], short: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Leaf]]]:
    """(label, changes) of every combination of levels, the last axis fastest; without axes one that changes nothing."""
    moves = [[dict(zip(axis.paths, level, strict=True)) for level in axis.levels] for axis in axes]
    for combination in itertools.product(*moves):
        changes = {path: leaf for move in combination for path, leaf in move.items()}
        yield ", ".join(f"{short[path]} = {plain(leaf.raw)}" for path, leaf in changes.items()), changes


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """Field -> its last name, or the whole path where two fields share that."""
    last = [path.rpartition(".")[2] for path in paths]
    return {path: path if last.count(name) > 1 else name for path, name in zip(paths, last, strict=True)}


def _refuse_repeated_labels(parts: Sequence[RowForm] | Sequence[ColumnForm]) -> None:
    seen: set[str] = set()
    for part in parts:
        if part.label and part.label in seen:
            part.place.refuse(f"the label '{part.label}' stands twice: each needs its own")
        seen.add(part.label)
