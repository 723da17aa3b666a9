"""Rows from one list of components: leave-one-out, add-one-in, a cumulative path either way, a factorial."""

import itertools
from collections.abc import Iterable, Iterator, Mapping

from tinyablate.recipe import Value
from tinyablate.sweep.fields import Assignments, ident, shown
from tinyablate.sweep.form import Components, Part, RowForm

MINUS = "\N{MINUS SIGN}"

Step = tuple[str, str, frozenset[int]]
"""A row: its label, a longer one should another row have the first, and the parts that are on."""


def rows(components: Components, baseline: Mapping[str, Value]) -> tuple[RowForm, ...]:
    """The rows of every expansion in turn, those that coincide once; each expansion's first row is its reference."""
    made: list[RowForm] = []
    states: list[frozenset[int]] = []
    index_of: dict[frozenset[int], int] = {}
    labels: set[str] = set()
    for name in components.expansions:
        reference: int | None = None
        for short, long, on in _steps(name, components.parts):
            if on not in index_of:
                index_of[on] = len(made)
                label = long if short in labels else short
                labels.add(label)
                group = name if len(components.expansions) > 1 else ""
                place = components.place.key(name).key(label)
                changes = _changes(components.parts, on, baseline)
                switched = () if reference is None else on ^ states[reference]
                declares = None if reference is None else _fields(components.parts, switched)
                made.append(RowForm(label, place, changes, group, reference=reference, declares=declares,
                                    broken=components.broken))  # fmt: skip
                states.append(on)
            if reference is None:
                reference = index_of[on]
    return tuple(made)


def refuse_idle_parts(components: Components, baseline: Mapping[str, Value]) -> bool:
    """Refuse every value of a part's `off` that the recipe has anyway when the part is on; whether there was one."""
    found = False
    for part in components.parts:
        for path, leaf in part.off.items():
            with_part = part.on[path].value if path in part.on else baseline.get(path)
            if with_part is not None and ident(with_part) == ident(leaf.value):
                rule = f"component '{part.label}' changes nothing: {path} is already {shown(with_part)} when it is on"
                leaf.place.refuse(rule, leaf.raw)
                found = True
    return found


def _fields(parts: tuple[Part, ...], chosen: Iterable[int]) -> tuple[str, ...]:
    """The fields that switching these parts may change."""
    return tuple(dict.fromkeys(path for index in sorted(chosen) for path in (*parts[index].off, *parts[index].on)))


def _changes(parts: tuple[Part, ...], on: frozenset[int], baseline: Mapping[str, Value]) -> Assignments:
    """What the recipe with the parts `on` sets over the baseline; values that the baseline has are left out."""
    merged: Assignments = {}
    for index, part in enumerate(parts):
        merged |= part.on if index in on else part.off
    return {
        path: leaf
        for path, leaf in merged.items()
        if path not in baseline or ident(leaf.value) != ident(baseline[path])
    }


def _steps(expansion: str, parts: tuple[Part, ...]) -> Iterator[Step]:
    everything = frozenset(range(len(parts)))
    names = [part.label for part in parts]
    if expansion == "leave-one-out":
        yield "All", "All", everything
        for index, name in enumerate(names):
            yield f"{MINUS} {name}", f"Without {name}", everything - {index}
    elif expansion == "add-one-in":
        yield "None", "None", frozenset()
        for index, name in enumerate(names):
            yield f"+ {name}", f"Only {name}", frozenset({index})
    elif expansion == "path-remove":
        yield from _path("All", MINUS, names, (everything - set(range(k)) for k in range(len(parts) + 1)))
    elif expansion == "path-add":
        yield from _path("None", "+", names, (frozenset(range(k)) for k in range(len(parts) + 1)))
    else:
        for size in range(len(parts) + 1):
            for chosen in itertools.combinations(range(len(parts)), size):
                yield _combination(names, chosen), _combination(names, chosen), frozenset(chosen)


def _path(start: str, sign: str, names: list[str], states: Iterable[frozenset[int]]) -> Iterator[Step]:
    """A cumulative path: each row's label names its own step, the longer one all steps up to it."""
    for taken, on in enumerate(states):
        steps = [f"{sign} {name}" for name in names[:taken]]
        yield steps[-1] if steps else start, " ".join(steps) or start, on


def _combination(names: list[str], chosen: tuple[int, ...]) -> str:
    if len(chosen) == len(names):
        return "All"
    return " + ".join(names[index] for index in chosen) or "None"
