"""The recipes where the rows and columns of a form meet, and what can only be refused once they are built."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinyablate.errors import RecipeError
from tinyablate.identity import canonical
from tinyablate.recipe import Recipe, Value
from tinyablate.sweep import components
from tinyablate.sweep.axes import rows_and_columns
from tinyablate.sweep.build import Builder, Layer, with_defaults
from tinyablate.sweep.fields import Assignments, Condition, Place, ident, shown
from tinyablate.sweep.form import Form, RowForm
from tinyablate.sweep.schema import Exclusion


@dataclass(frozen=True)
class Draft:
    """A cell with what it is made of."""

    row: int
    column: int
    recipe: Recipe
    canonical: str


class Grid:
    """Rows and columns of a form and the recipes where they meet."""

    def __init__(self, form: Form, null_rows: int = 0) -> None:
        self.form = form
        self.clean = not form.place.problems
        """Nothing was refused so far, so that what matches nothing is the file's fault."""
        self.flat = with_defaults({path: leaf.value for path, leaf in form.baseline.items()})
        self.rows, self.columns = rows_and_columns(form, self.flat, null_rows)
        self._refuse_idle_overrides()
        self.idle = self._refuse_idle()
        """Places of rows refused for changing nothing: that they repeat another row's trial is no second mistake."""
        self._row_layers = [_layer(row.set) for row in self.rows]
        self._column_layers = [_layer(column.set) for column in self.columns]
        self._smoke_layers = [_layer(row.smoke, form.overridden) for row in self.rows]
        self._overlays: dict[tuple[str | None, ...], Layer] = {}
        self._builder = Builder({path: leaf.value for path, leaf in form.baseline.items()})

    def baseline(self, smoke: bool) -> Recipe | None:
        """The recipe that rows and columns change; None where it is none without them."""
        try:
            return self._builder.recipe(*([self._overlay(self.flat)] if smoke else []))
        except RecipeError:
            return None

    def drafts(self) -> tuple[list[Draft], tuple[Exclusion, ...]]:
        """Every cell that `when` and `exclude` leave, row by row, and what `exclude` dropped."""
        found: list[Draft] = []
        excluded: list[Exclusion] = []
        impossible: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        matched: set[Place] = set()
        for r, c in itertools.product(range(len(self.rows)), range(len(self.columns))):
            if self.rows[r].broken or self.columns[c].broken or not self._wanted(r, c, matched):
                continue
            if reason := self._excluded(r, c, matched):
                excluded.append(Exclusion(self.rows[r].label, self.columns[c].label, reason))
                continue
            try:
                recipe = self._builder.recipe(self._column_layers[c], self._row_layers[r])
                found.append(Draft(r, c, recipe, canonical(recipe)))
            except RecipeError as error:
                for path, value, rule in error.problems:
                    impossible.setdefault((path, shown(value), rule), []).append((r, c))
        self._refuse_impossible(impossible)
        if self.clean and not impossible:
            self._refuse_unmatched(matched, bool(found))
        return found, tuple(excluded)

    def published(self, drafts: Sequence[Draft]) -> dict[tuple[int, int], Mapping[str, Mapping[str, float]]]:
        """(row, column) -> metric -> source -> number of these cells, from the rows and from [[cells]].

        An entry of [[cells]] is about one cell: it is refused where it matches none, or several.
        """
        found = {(d.row, d.column): self.rows[d.row].published.get(self.columns[d.column].label, {}) for d in drafts}
        for entry in self.form.cells:
            matching = [at for at in found if self._holds(entry.where, *at)]
            if len(matching) == 1:
                found[matching[0]] = {**found[matching[0]], **entry.published}
            elif self.clean:
                named = (
                    f"{len(matching)} combinations of this sweep, not one"
                    if matching
                    else "no combination of this sweep"
                )
                entry.where.place.refuse(f"matches {named}")
        return found

    def small(self, draft: Draft) -> Draft:
        """The cell under the overlay of `--smoke`; as it was, after noting why, where that makes no possible recipe."""
        row, column = self._row_layers[draft.row], self._column_layers[draft.column]
        values = _Values(self.rows[draft.row].set, self.columns[draft.column].set, self.flat)
        try:
            recipe = self._builder.recipe(column, row, self._overlay(values), self._smoke_layers[draft.row])
        except RecipeError as error:
            where = self.name(draft.row, draft.column)
            for path, value, rule in error.problems:
                self.form.place.refuse(f"with --smoke {path} = {shown(value)}: {rule} (in {where})")
            return draft
        return Draft(draft.row, draft.column, recipe, canonical(recipe))

    def name(self, row: int, column: int) -> str:
        """A cell's name in messages."""
        named = f"row '{self.rows[row].label}'"
        return f"{named}, column '{self.columns[column].label}'" if len(self.columns) > 1 else named

    def _wanted(self, row: int, column: int, matched: set[Place]) -> bool:
        """Whether `when` of row and column hold; those that do are noted as matched."""
        conditions = [part.when for part in (self.rows[row], self.columns[column]) if part.when]
        holding = [each for each in conditions if self._holds(each, row, column)]
        matched.update(each.place for each in holding)
        return len(holding) == len(conditions)

    def _excluded(self, row: int, column: int, matched: set[Place]) -> str:
        """The reason of the first `exclude` that drops the cell, or ''; all that would are noted as matched."""
        dropping = [each for each in self.form.excludes if self._holds(each.where, row, column)]
        matched.update(each.where.place for each in dropping)
        return dropping[0].reason if dropping else ""

    def _holds(self, condition: Condition, row: int, column: int) -> bool:
        return condition.holds(_Values(self.rows[row].set, self.columns[column].set, self.flat).get)

    def _overlay(self, values: "_Values | Mapping[str, Value]") -> Layer:
        """What `--smoke` puts over a cell with these values: small levels for its own, and the rest of [smoke]."""
        smoke = self.form.smoke
        found = {path: values.get(path) for path in smoke.levels}
        key = tuple(None if value is None else ident(value) for value in found.values())
        if key not in self._overlays:
            # The command line is a person asking now: it wins over the file's overlay.
            overlay = {p: leaf.value for p, leaf in smoke.set.items() if p not in self.form.overridden}
            small = {p: smoke.levels[p].get(level or "") for p, level in zip(found, key, strict=True)}
            pretrained = {} if "model.pretrained" in self.form.overridden else {"model.pretrained": False}
            levels = {p: leaf.value for p, leaf in small.items() if leaf}
            self._overlays[key] = Layer({**pretrained, **overlay, **levels})
        return self._overlays[key]

    def _refuse_idle_overrides(self) -> None:
        """Refuse what the command line sets although every row, or every column, sets it itself."""
        for path in sorted(self.form.overridden):
            for what, parts in (("row", self.rows), ("column", self.columns)):
                if parts and all(path in part.set for part in parts):
                    place = Place(self.form.place.problems, self.form.place.file, f"--set {path}")
                    place.refuse(f"changes nothing: every {what} sets it itself")

    def _refuse_idle(self) -> set[Place]:
        """Refuse what rows and components set although the recipe has it anyway; the places of such rows."""
        found: set[Place] = set()
        for row in self.form.rows:
            idle = [] if row.broken else [path for path in row.set if self._is_idle(row, path)]
            alone = (
                f"row '{row.label}' changes nothing" if len(idle) == len(row.set) else "a row sets only what it changes"
            )
            for path in idle:
                origin = f"({self.form.baseline[path].place})" if path in self.form.baseline else "by default"
                leaf = row.set[path]
                leaf.place.refuse(f"{alone}: {path} is already {shown(self.flat[path])} {origin}", leaf.raw)
                found.add(row.place)
        if self.form.components and not self.form.baseline_broken:
            any_idle = components.refuse_idle_parts(self.form.components, self.flat)
            found |= {row.place for row in self.rows if any_idle}
        return found

    def _is_idle(self, row: RowForm, path: str) -> bool:
        """Whether every column's recipe has the row's value at `path` without the row."""
        if path not in self.flat or (self.form.baseline_broken and path not in self.form.baseline):
            return False
        values = [column.set[path].value if path in column.set else self.flat[path] for column in self.columns]
        return all(ident(value) == ident(row.set[path].value) for value in values)

    def _refuse_impossible(self, impossible: Mapping[tuple[str, str, str], list[tuple[int, int]]]) -> None:
        """Name each impossible combination once, where its value stands and in which cells."""
        for (path, value, rule), cells in impossible.items():
            (row, column), more = cells[0], len(cells) - 1
            layers = (self.rows[row].set, self.columns[column].set, self.form.baseline)
            place = next((layer[path].place for layer in layers if path in layer), None)
            subject = f"{place or self.form.place.key(path)} = {value}" + ("" if place else " (the default)")
            where = self.name(row, column) + (f" and {more:,} more" if more else "")
            self.form.place.problems.append(f"{subject}: {rule} (in {where})")

    def _refuse_unmatched(self, matched: set[Place], any_left: bool) -> None:
        whens = [each.when for each in self.rows] + [each.when for each in self.columns]
        conditions = [when for when in whens if when] + [each.where for each in self.form.excludes]
        for place in dict.fromkeys(each.place for each in conditions if each.place not in matched):
            place.refuse("matches no combination of this sweep")
        if not any_left and all(each.place in matched for each in conditions):
            self.form.place.refuse("`exclude` and `when` leave nothing: no combination remains")


class _Values:
    """A cell's fields, read through its layers."""

    def __init__(self, row: Assignments, column: Assignments, flat: Mapping[str, Value]) -> None:
        self._row, self._column, self._flat = row, column, flat

    def get(self, path: str) -> Value | None:
        """The value at `path`; None only for a key of `model.args` that is not set."""
        leaf = self._row.get(path) or self._column.get(path)
        return leaf.value if leaf else self._flat.get(path)


def _layer(changes: Assignments, overridden: frozenset[str] = frozenset()) -> Layer:
    return Layer({path: leaf.value for path, leaf in changes.items() if path not in overridden})
