"""`declares` of a row: the fields in which it may differ from the row that it is compared with.

A row that differs in more is refused when the sweep is loaded: that is the check of one factor at a time.
"""

from collections.abc import Mapping, Sequence

from tinyablate.identity import normal
from tinyablate.recipe import Recipe, Value, flatten
from tinyablate.sweep.fields import ARGS
from tinyablate.sweep.grid import Draft, Grid
from tinyablate.sweep.schema import Row


def covers(declares: Sequence[str], path: str) -> bool:
    """Whether the field at `path`, or a section that it is in, is declared."""
    return any(path == each or path.startswith(each + ".") for each in declares)


def changes(recipe: Recipe, reference: Recipe) -> dict[str, tuple[Value | None, Value | None]]:
    """Field -> (the reference's value, the recipe's) where they differ, arguments of `model.args` one by one.

    None stands for an argument that is not given.
    """
    mine, theirs = _flat(recipe), _flat(reference)
    paths = dict.fromkeys([*theirs, *mine])
    pairs = ((path, theirs.get(path), mine.get(path)) for path in paths)
    return {path: (before, after) for path, before, after in pairs if _normal(before) != _normal(after)}


def _flat(recipe: Recipe) -> Mapping[str, Value]:
    flat = flatten(recipe)
    del flat[ARGS]
    return {**flat, **{f"{ARGS}.{key}": value for key, value in recipe.model.args.items()}}


def _normal(value: Value | None) -> object:
    return None if value is None else normal(value)


def refuse_undeclared(grid: Grid, rows: Sequence[Row], drafts: Sequence[Draft]) -> None:
    """Refuse each row that differs from its reference, in any column, in a field that it does not declare."""
    recipes = {(draft.row, draft.column): draft.recipe for draft in drafts}
    for row in (row for row in rows if row.declares is not None):
        declares, place = row.declares or (), grid.rows[row.index].place.key("declares")
        if row.reference is None:
            place.refuse("is of no use: this row is compared with no other", list(declares))
            continue
        shared = [at for at in range(len(grid.columns)) if {(row.index, at), (row.reference, at)} <= recipes.keys()]
        pairs = [(recipes[row.index, at], recipes[row.reference, at]) for at in shared]
        more = dict.fromkeys(path for pair in pairs for path in changes(*pair) if not covers(declares, path))
        if more:
            other = rows[row.reference].label
            place.refuse(f"row '{row.label}' differs from '{other}' in more: {', '.join(more)}", list(declares))
