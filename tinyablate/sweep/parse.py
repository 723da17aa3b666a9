"""The tables of a sweep file into the parts of `form`: every key and every value is checked here, one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

from tinyablate.errors import listed, nearest
from tinyablate.sweep import metrics, rules
from tinyablate.sweep.fields import (
    Assignments,
    Condition,
    Leaf,
    Place,
    as_table,
    assignments,
    check_keys,
    checked,
    condition,
    ident,
    is_number,
    leaves,
    level_named,
    levels,
    override,
)
from tinyablate.sweep.form import (
    Axis,
    CellForm,
    ColumnForm,
    Components,
    ExcludeForm,
    Form,
    Part,
    RowForm,
    Smoke,
    Source,
)
from tinyablate.sweep.layout import layout
from tinyablate.sweep.published import published
from tinyablate.sweep.schema import Sequential

KEYS = (
    "title", "question", "source", "extends", "metric", "metrics", "select", "seeds", "margin", "baseline", "rows",
    "columns", "grid", "zip", "exclude", "smoke", "components", "figure", "figures", "cells", "family", "test",
    "layout", "retry",
)  # fmt: skip
"""What may stand at the top of a sweep file."""

RECIPE_KEYS = ("title", "source", "extends", "baseline", "smoke")
"""What may stand at the top of a file that others extend; only baseline and smoke are merged."""

EXPANSIONS = ("leave-one-out", "add-one-in", "path-remove", "path-add", "factorial")

MOST_FACTORIAL = 12
"""2^12 rows: past that a factorial is a typing mistake."""


def parse(sources: Sequence[Source], overrides: Sequence[str]) -> Form:
    """The parts of the sweep `sources[0]`, over the recipes that it extends; what is wrong is refused."""
    place, table = sources[0].place, sources[0].table
    check_keys(table, KEYS, place, "[baseline]")
    for recipe in sources[1:]:
        check_keys(recipe.table, RECIPE_KEYS, recipe.place, "[baseline]")
    before = len(place.problems)
    baseline = _baseline(sources)
    given = dict(filter(None, (override(text, place.problems) for text in overrides)))
    baseline_broken = len(place.problems) > before
    names = _metrics(table, place)
    columns = tuple(_column(raw, spot) for raw, spot in _entries(table, "columns", place))
    labels = tuple(column.label for column in columns) or ("",)
    smoke = _smoke(sources)
    kinds = frozenset(table.keys() & {"rows", "columns", "grid", "zip", "components"})
    seeds, sequential = _seeds(table, names, place)
    return Form(
        place=place,
        kinds=kinds,
        title=_text(table, "title", place),
        question=_text(table, "question", place),
        source=_text(table, "source", place),
        metrics=names,
        select=rules.select_of(table, names, place),
        seeds=seeds,
        sequential=sequential,
        margin=_margin(table, place),
        family=rules.family_of(table, place),
        test=rules.test_of(table, place),
        retry_diverged=rules.retry_diverged_of(table, place),
        layout=layout(table.get("layout", {}), names, kinds, place.key("layout")),
        baseline=baseline | given,
        baseline_broken=baseline_broken,
        overridden=frozenset(given),
        rows=tuple(_row(raw, spot, names, labels, smoke.given) for raw, spot in _entries(table, "rows", place)),
        columns=columns,
        axes=_grid(table, place) + _zip(table, place),
        excludes=tuple(_exclude(raw, spot) for raw, spot in _entries(table, "exclude", place)),
        cells=tuple(_cell(raw, spot, names) for raw, spot in _entries(table, "cells", place)),
        smoke=smoke,
        components=_components(table["components"], place.key("components")) if "components" in table else None,
    )


def _seeds(
    table: Mapping[str, Any], names: tuple[str, ...], place: Place
) -> tuple[tuple[int, ...] | None, Sequential | None]:
    """The sweep's seeds, None without any, and the rule that gives them, if one does."""
    if "seeds" not in table:
        return None, None
    raw, place = table["seeds"], place.key("seeds")
    if not isinstance(raw, dict):
        return seeds_of(raw, place, f"; or a rule: {rules.EXAMPLE}"), None
    rule = rules.sequential(raw, names, place)
    return tuple(range(rule.least)) if rule else (), rule


def seeds_of(raw: object, place: Place, otherwise: str = "") -> tuple[int, ...]:
    """The list of seeds `raw`: distinct whole numbers from 0; what is wrong is refused.

    `otherwise` is what else could stand there, for the message.
    """
    if not isinstance(raw, list):
        place.refuse(f"must be a list of whole numbers, such as [0, 1, 2]{otherwise}", raw)
        return ()
    if not raw:
        place.refuse("no seeds: give at least one", raw)
    seeds: list[int] = []
    for index, seed in enumerate(raw):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            place.item(index).refuse("must be a whole number from 0", seed)
        elif seed in seeds:
            place.item(index).refuse("the same seed twice: a trial runs once", seed)
        else:
            seeds.append(seed)
    return tuple(seeds)


def _baseline(sources: Sequence[Source]) -> Assignments:
    """[baseline] of every file, the nearest one winning field by field."""
    merged: Assignments = {}
    for source in reversed(sources):
        merged |= assignments(source.table.get("baseline", {}), source.place.key("baseline"))
    return merged


def _smoke(sources: Sequence[Source]) -> Smoke:
    """[smoke] of every file, the nearest one winning field by field and level by level."""
    smoke = Smoke()
    for source in reversed(sources):
        if "smoke" not in source.table:
            continue
        place = source.place.key("smoke")
        table = dict(as_table(source.table["smoke"], place))
        smoke.given = True
        for path, raw, spot in leaves(table.pop("levels", {}), place.key("levels")):
            smoke.levels.setdefault(path, {}).update(_small_levels(path, raw, spot))
        smoke.set |= assignments(table, place)
    return smoke


def _small_levels(path: str, raw: object, place: Place) -> dict[str, Leaf]:
    """`ident` of a level -> the level that stands in for it. Keys are text in TOML: `"0.003"` is the number here."""
    small: dict[str, Leaf] = {}
    for key, value in as_table(raw, place).items():
        level, leaf = level_named(path, key, place), checked(path, value, place.key(key))
        if level and leaf:
            small[ident(level.value)] = leaf
    return small


def _entries(table: Mapping[str, Any], name: str, place: Place) -> list[tuple[Mapping[str, Any], Place]]:
    """The tables of the array `name` with their places."""
    raw = table.get(name, [])
    if not isinstance(raw, list):
        place.key(name).refuse(f"must be an array of tables: write [[{name}]]", raw)
        return []
    if name in table and not raw:
        place.key(name).refuse("is empty", raw)
    spots = [
        place.key(name).item(i, entry.get("label") if isinstance(entry, dict) else None) for i, entry in enumerate(raw)
    ]
    return [(as_table(entry, spot), spot) for entry, spot in zip(raw, spots, strict=True)]


def _row(
    table: Mapping[str, Any], place: Place, names: tuple[str, ...], columns: tuple[str, ...], any_smoke: bool
) -> RowForm:
    before = len(place.problems)
    known = ("label", "group", "set", "published", "when", "grid", "seeds", "smoke", "declares")
    check_keys(table, known, place, "the row's `set`")
    axes = _grid(table, place)
    changes = assignments(table.get("set", {}), place.key("set"))
    for path in changes.keys() & {path for axis in axes for path in axis.paths}:
        place.key("grid").key(path).refuse("the row's `set` gives it too")
    if axes and "published" in table:
        place.key("published").refuse("one row's numbers cannot be shared by the rows of its grid: write the rows out")
    if "smoke" in table and not any_smoke:
        place.key("smoke").refuse("there is no [smoke], which it would go over")
    return RowForm(
        label=_label(table, place),
        place=place,
        set=changes,
        group=_text(table, "group", place),
        axes=axes,
        when=condition(table["when"], place.key("when")) if "when" in table else None,
        seeds=seeds_of(table["seeds"], place.key("seeds")) if "seeds" in table else None,
        published=published(table.get("published", {}), place.key("published"), names, columns),
        declares=rules.declared(table["declares"], place.key("declares")) if "declares" in table else None,
        smoke=assignments(table.get("smoke", {}), place.key("smoke")),
        broken=len(place.problems) > before,
    )


def _column(table: Mapping[str, Any], place: Place) -> ColumnForm:
    before = len(place.problems)
    check_keys(table, ("label", "set", "when"), place, "the column's `set`")
    return ColumnForm(
        label=_label(table, place),
        place=place,
        set=assignments(table.get("set", {}), place.key("set")),
        when=condition(table["when"], place.key("when")) if "when" in table else None,
        broken=len(place.problems) > before,
    )


def _exclude(table: Mapping[str, Any], place: Place) -> ExcludeForm:
    check_keys(table, ("where", "reason"), place)
    if "where" not in table:
        place.refuse("`where` is missing: which combinations to drop")
    reason = _text(table, "reason", place)
    if not reason:
        place.refuse("`reason` is missing: the table prints it")
    return ExcludeForm(
        condition(table["where"], place.key("where")) if "where" in table else Condition({}, place), reason, place
    )


def _cell(table: Mapping[str, Any], place: Place, names: tuple[str, ...]) -> CellForm:
    check_keys(table, ("where", "published"), place)
    for key in ("where", "published"):
        if key not in table:
            place.refuse(f"`{key}` is missing")
    where = condition(table["where"], place.key("where")) if "where" in table else Condition({}, place)
    return CellForm(where, published(table.get("published", {}), place.key("published"), names, ("",)).get("", {}))


def _grid(table: Mapping[str, Any], place: Place) -> tuple[Axis, ...]:
    """One axis for each field of [grid]."""
    lists = _levels_by_field(table, "grid", place)
    return tuple(Axis((path,), _distinct([(leaf,) for leaf in found])) for path, found in lists.items())


def _zip(table: Mapping[str, Any], place: Place) -> tuple[Axis, ...]:
    """The one axis of [zip]."""
    before = len(place.problems)
    lists = _levels_by_field(table, "zip", place)
    counts = [f"{path} has {len(found)}" for path, found in lists.items()]
    if not lists or len(place.problems) > before:
        return ()
    if len({len(found) for found in lists.values()}) > 1:
        place.key("zip").refuse(f"uneven: the lists move together, yet {', '.join(counts)}")
        return ()
    return (Axis(tuple(lists), _distinct(tuple(zip(*lists.values(), strict=True)))),)


def _levels_by_field(table: Mapping[str, Any], name: str, place: Place) -> dict[str, tuple[Leaf, ...]]:
    """Field -> its levels in the table `name`, which may be absent."""
    found: dict[str, tuple[Leaf, ...]] = {}
    for path, raw, spot in leaves(table.get(name, {}), place.key(name)):
        if path in found:
            spot.refuse("is given twice")
        found[path] = levels(path, raw, spot)
    if table.get(name) == {}:
        place.key(name).refuse("is empty: name a field and its levels")
    return found


def _distinct(moves: Sequence[tuple[Leaf, ...]]) -> tuple[tuple[Leaf, ...], ...]:
    """The levels of an axis, those refused that it has already."""
    found: dict[tuple[str, ...], tuple[Leaf, ...]] = {}
    for move in moves:
        key = tuple(ident(leaf.value) for leaf in move)
        if key in found:
            move[0].place.refuse("the same level twice", move[0].raw)
        found.setdefault(key, move)
    return tuple(found.values())


def _components(raw: object, place: Place) -> Components:
    before = len(place.problems)
    table = as_table(raw, place)
    check_keys(table, ("expand", "parts"), place)
    expansions = _expansions(table.get("expand", []), place.key("expand"))
    parts_at = place.key("parts")
    entries = as_table(table.get("parts", {}), parts_at)
    parts = tuple(_part(label, entry, parts_at.key(label)) for label, entry in entries.items())
    if not parts:
        place.refuse("no parts: write [components.parts.NAME] with what switches it off")
    if "factorial" in expansions and len(parts) > MOST_FACTORIAL:
        place.refuse(f"a factorial of {len(parts)} parts has {2 ** len(parts)} rows; at most {MOST_FACTORIAL} parts")
        expansions = ()
    return Components(expansions, parts, place, broken=len(place.problems) > before)


def _expansions(raw: object, place: Place) -> tuple[str, ...]:
    """The expansions that `raw` names, one or a list."""
    names = raw if isinstance(raw, list) else [raw]
    rule = f"must be one or a list of {listed(EXPANSIONS)}"
    if not names:
        place.refuse(rule)
    found: list[str] = []
    for name in names:
        if name not in EXPANSIONS:
            place.refuse(rule + nearest(str(name), EXPANSIONS), name)
        elif name in found:
            place.refuse("the same expansion twice", name)
        else:
            found.append(name)
    return tuple(found)


def _part(label: str, raw: object, place: Place) -> Part:
    table = as_table(raw, place)
    check_keys(table, ("off", "on"), place, "the part's `off` or `on`")
    if not table.get("off"):
        place.refuse("`off` is missing: the fields that switch it off")
    off = assignments(table.get("off", {}), place.key("off"))
    on = assignments(table.get("on", {}), place.key("on"))
    return Part(label, off, on, place)


def _metrics(table: Mapping[str, Any], place: Place) -> tuple[str, ...]:
    """The metrics that the file names; `val_top1` where it names none, or none that is known."""
    if "metric" in table and "metrics" in table:
        place.key("metric").refuse("give `metric` or `metrics`, not both")
    key = "metrics" if "metrics" in table else "metric"
    raw, place = table.get(key, "val_top1"), place.key(key)
    names = raw if key == "metrics" else [raw]
    if not isinstance(names, list) or not names:
        place.refuse(f"must be a list of {listed(metrics.KNOWN)}", raw)
        names = []
    for index, name in enumerate(names):
        if name in names[:index]:
            place.refuse("the same metric twice", name)
        elif not isinstance(name, str) or not metrics.is_known(name):
            place.refuse(_metric_rule(str(name)), name)
    return tuple(name for name in names if isinstance(name, str)) or ("val_top1",)


def _metric_rule(name: str) -> str:
    """What is wrong with a metric's name, and what would be right."""
    base, at, _ = name.partition("@")
    if at and base in metrics.KNOWN:
        per_epoch = [each.name for each in metrics.KNOWN.values() if each.source == "epochs"]
        return f"METRIC@EPOCH is {listed(per_epoch)} after an epoch counted from 1, such as val_top1@3"
    return f"unknown metric{nearest(base, metrics.KNOWN)} (valid: {listed(metrics.KNOWN, 20)})"


def _margin(table: Mapping[str, Any], place: Place) -> float | None:
    raw = table.get("margin")
    if raw is None:
        return None
    if is_number(raw) and raw > 0:
        return float(raw)
    place.key("margin").refuse("must be a number above 0", raw)
    return None


def _label(table: Mapping[str, Any], place: Place) -> str:
    label = _text(table, "label", place)
    if table.get("label", "") == "":
        place.refuse("`label` is missing")
    return label


def _text(table: Mapping[str, Any], name: str, place: Place) -> str:
    """The text at `name`, empty where there is none."""
    raw = table.get(name, "")
    if isinstance(raw, str):
        return raw
    place.key(name).refuse("must be text in quotes", raw)
    return ""
