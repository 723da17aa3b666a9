"""[layout] of a sweep file: digits of its numbers, columns of ✓ and ✗ for the techniques that rows have or lack."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tinyablate.errors import listed, nearest
from tinyablate.recipe import Value
from tinyablate.sweep.fields import ARGS, Place, as_table, check_keys, field_rule, ident, is_field
from tinyablate.sweep.form import Components, Layout, RowForm, Smoke
from tinyablate.sweep.metrics import is_known
from tinyablate.sweep.schema import Component

MOST_DIGITS = 6


def layout(raw: object, names: Sequence[str], kinds: frozenset[str], place: Place) -> Layout:
    """What [layout] asks for in a sweep of the metrics `names` with these `kinds` of rows; what is wrong is refused."""
    table = as_table(raw, place)
    check_keys(table, ("digits", "components"), place)
    digits = _digits(table.get("digits", {}), names, place.key("digits"))
    components, at = table.get("components", False), place.key("components")
    if components is not False and not kinds & {"rows", "components"}:
        at.refuse("needs [[rows]] or [components]: what a grid changes are its rows and columns already")
    elif components is not False and components is not True:
        return Layout(digits, _named(components, at))
    return Layout(digits, derive=components is True)


def components_of(
    form: Layout, parts: Components | None, rows: Sequence[RowForm], smoke: Smoke | None
) -> tuple[Component, ...]:
    """The columns of a sweep whose rows are `rows`, or made from `parts`; `smoke` is the overlay that is on them."""
    if not form.derive:
        return form.named
    if parts is None:
        return _from_rows(rows)
    return tuple(_from_part(part.label, {path: leaf.value for path, leaf in part.off.items()}, smoke)
                 for part in parts.parts)  # fmt: skip


def _digits(raw: object, names: Sequence[str], place: Place) -> dict[str, int]:
    """Metric -> digits after the point."""
    found = {}
    for name, count in as_table(raw, place).items():
        spot = place.key(name)
        if name not in names:
            spot.refuse(_not_shown(name, names), count)
        elif isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_DIGITS:
            spot.refuse(f"must be a whole number from 0 to {MOST_DIGITS}", count)
        else:
            found[name] = count
    return found


def _not_shown(name: str, names: Sequence[str]) -> str:
    if is_known(name):
        return f"is no metric of this sweep, which shows {listed(names)}; remove this entry, or add it to `metrics`"
    return f"is no metric{nearest(name, names)} (valid: {listed(names)})"


def _named(raw: object, place: Place) -> tuple[Component, ...]:
    """Label -> one field, or a list of fields."""
    if not isinstance(raw, dict):
        place.refuse('must be true, or a table such as { "Mixup" = "mix.mixup_alpha" }', raw)
        return ()
    found = []
    for label, value in raw.items():
        spot, paths = place.key(label), value if isinstance(value, list) else [value]
        if not label or not paths:
            spot.refuse("needs a label and a recipe field, or a list of fields", value)
        for at, path in enumerate(paths):
            here = spot.item(at) if isinstance(value, list) else spot
            if not isinstance(path, str) or not is_field(path):
                here.refuse(field_rule(str(path)), path)
            elif path in paths[:at]:
                here.refuse("the same field twice", path)
        found.append(Component(label, tuple(path for path in paths if isinstance(path, str)), {}))
    return tuple(found)


def _from_part(label: str, off: Mapping[str, Value], smoke: Smoke | None) -> Component:
    """The column of a part: off where the recipe has these values. Under `smoke` they are small ones; a field that it
    sets for all rows tells nothing any more, unless it is the only one."""
    if smoke is not None:
        small = {path: levels.get(ident(off[path])) for path, levels in smoke.levels.items() if path in off}
        off = {**off, **{path: leaf.value for path, leaf in small.items() if leaf}}
        told = {path: value for path, value in off.items() if small.get(path) or path not in smoke.set}
        off = told or off
    return Component(label, tuple(off), off)


def _from_rows(rows: Sequence[RowForm]) -> tuple[Component, ...]:
    """A column for each field that some row sets; fields that are only ever set together share one."""
    setters: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for path in row.set:
            setters.setdefault(path, []).append(index)
    together: dict[tuple[int, ...], list[str]] = {}
    for path, indices in setters.items():
        together.setdefault(tuple(indices), []).append(path)
    words = _words(list(setters))
    return tuple(Component(", ".join(words[path] for path in paths), tuple(paths), {}) for paths in together.values())


def _words(paths: Sequence[str]) -> dict[str, str]:
    """Field -> its last name in words, or all of its path where two fields share that."""
    last = {path: _last(path) for path in paths}
    count = Counter(last.values())
    return {path: name if count[name] == 1 else _spaced(path) for path, name in last.items()}


def _last(path: str) -> str:
    """`mixup alpha` of `mix.mixup_alpha`; of `optimizer.name` it is the section that says what is meant."""
    section, _, name = path.rpartition(".")
    return _spaced(section.removeprefix(ARGS + ".") if name == "name" and section else name)


def _spaced(path: str) -> str:
    return path.replace(".", " ").replace("_", " ")
