"""Recipe fields as a sweep file writes them, checked one value at a time so that every error has its exact place.

It knows which fields and levels belong to later releases; it knows nothing of rows, columns or grids.
"""

import functools
import json
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tinyablate
from tinyablate import datasets
from tinyablate.errors import DataError, listed, nearest
from tinyablate.identity import normal, spelled
from tinyablate.recipe import Value, broken_bound, field_specs

LATER = f"does not work yet in tinyablate {tinyablate.__version__}"

LATER_LEVELS: Mapping[str, tuple[str, ...]] = {
    "model.trainable": ("attn",),
    "loss.name": ("bce",),
}
"""Levels that the design names and this version cannot compute: refused by name, never ignored."""

ELSEWHERE: Mapping[str, str] = {
    **{f"optimizer.name={level}": f"optimizer.perturbation = '{level}'" for level in ("sam", "asam", "pugd")},
    "optimizer.name=nesterov": "optimizer.name = 'sgd' with optimizer.nesterov = true",
}
"""`field=level` as other programs have it -> where it stands here."""

ARGS = "model.args"
"""The one field whose keys are free: timm's `create_model` takes them."""

MOST_SHOWN = 200
"""Characters of a value that a message repeats."""

_ABSENT = object()


@dataclass(frozen=True)
class Place:
    """Where a value stands: file and dotted path. Collects what is wrong there into the load's one list."""

    problems: list[str] = field(repr=False, compare=False)
    file: str
    path: str = ""

    def key(self, name: str) -> "Place":
        """The place of a key in the table that stands here."""
        return Place(self.problems, self.file, f"{self.path}.{name}" if self.path else name)

    def item(self, index: int, label: object = None) -> "Place":
        """The place of an element of the array that stands here, with its label if it has one."""
        named = f' "{label}"' if isinstance(label, str) and label else ""
        return Place(self.problems, self.file, f"{self.path}[{index}]{named}")

    def refuse(self, rule: str, value: object = _ABSENT) -> None:
        """Note that what stands here breaks `rule`."""
        seen = "" if value is _ABSENT else f" = {shown(value)}"
        self.problems.append(": ".join(part for part in (self.file, self.path + seen, rule) if part))

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.path) if part)


@dataclass(frozen=True)
class Leaf:
    """A recipe field's value, checked."""

    value: Value
    raw: object
    """As written in the file, for messages and labels."""
    place: Place


Assignments = dict[str, Leaf]
"""Recipe field -> its value; keys of `model.args` stand as `model.args.KEY`, so that they merge one by one."""


def shown(value: object) -> str:
    """`value` as TOML writes it, for messages: 3e-3 is 0.003, 1e-05 is 1e-5."""
    if isinstance(value, str):
        return json.dumps(value if len(value) <= MOST_SHOWN else value[:MOST_SHOWN] + "…", ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).replace("e-0", "e-").replace("e+", "e")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {shown(item)}" for key, item in value.items()) + "}"
    return str(value)


def plain(value: object) -> str:
    """`value` as a label shows it: like `shown`, text without quotes."""
    return value if isinstance(value, str) else shown(value)


def ident(value: Value) -> str:
    """Text that is equal where identity calls two values equal (1 and 1.0, but not 1 and true)."""
    return json.dumps(normal(value), sort_keys=True)


def is_number(value: object) -> typing.TypeGuard[int | float]:
    """Whether `value` is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # TOML's integers have no end, ours do
        return False


def check_keys(table: Mapping[str, object], valid: Iterable[str], place: Place, recipe_belongs: str = "") -> None:
    """Refuse every key of `table` that is not `valid`; one that is a recipe section is sent to `recipe_belongs`."""
    names = list(valid)
    for key in (key for key in table if key not in names):
        rule = f"unknown key{nearest(key, names)} (valid: {listed(names, 20)})"
        if recipe_belongs and key.split(".")[0] in _sections():
            rule = f"recipe fields belong in {recipe_belongs}"
        place.key(key).refuse(rule, *_if_short(table[key]))


def _if_short(value: object) -> tuple[object, ...]:
    """The value for a message, unless it is a table or an array, which would bury the message."""
    return () if isinstance(value, (dict, list)) else (value,)


def as_table(raw: object, place: Place) -> Mapping[str, object]:
    """`raw` if it is a table, else an empty one after refusing it."""
    if isinstance(raw, dict):
        return raw
    place.refuse("must be a table", raw)
    return {}


def assignments(raw: object, place: Place) -> Assignments:
    """The recipe fields that the table `raw` sets, as nested tables or quoted dotted keys; what is wrong is refused."""
    found: Assignments = {}
    for path, value, spot in leaves(raw, place):
        if path in found:
            spot.refuse("is given twice", value)
        elif leaf := checked(path, value, spot):
            found[path] = leaf
    return found


def leaves(raw: object, place: Place, prefix: str = "") -> Iterator[tuple[str, Any, Place]]:
    """(field path, raw value, place) of everything in the table `raw` that stands at a recipe field."""
    for key, value in as_table(raw, place).items():
        path, spot = prefix + key, place.key(key)
        if is_field(path):
            yield path, value, spot
        elif path == ARGS or path in _sections():
            if isinstance(value, dict):
                yield from leaves(value, spot, path + ".")
            else:
                spot.refuse(_section_rule(path), value)
        else:
            spot.refuse(_unknown(path), *_if_short(value))


def checked(path: str, raw: object, place: Place) -> Leaf | None:
    """`raw` as the value of the field at `path`, or None after telling `place` what is wrong with it."""
    try:
        return Leaf(_typed(path, raw), raw, place)
    except ValueError as error:
        place.refuse(str(error), raw)
        return None


def levels(path: str, raw: object, place: Place) -> tuple[Leaf, ...]:
    """The different levels of the field at `path` that the list `raw` gives; what is wrong is refused."""
    if not isinstance(raw, list):
        place.refuse("must be a list of levels", raw)
        return ()
    if not raw:
        place.refuse("is empty: give at least one level", raw)
    found = (checked(path, level, place.item(index)) for index, level in enumerate(raw))
    return tuple(leaf for leaf in found if leaf)


@dataclass(frozen=True)
class Condition:
    """What `when` or `where` asks of a recipe: each of these fields has one of these values."""

    wanted: Mapping[str, frozenset[str]]
    """Field -> `ident` of each value that fulfils it."""
    place: Place

    def holds(self, value_at: typing.Callable[[str], Value | None]) -> bool:
        """Whether the recipe whose fields `value_at` reads fulfils it; a key of `model.args` may be absent."""
        found = ((value_at(path), idents) for path, idents in self.wanted.items())
        return all(value is not None and ident(value) in idents for value, idents in found)


def condition(raw: object, place: Place) -> Condition:
    """The condition in the table `raw`: field -> a value, or a list of values of which one must hold."""
    wanted: dict[str, frozenset[str]] = {}
    for path, value, spot in leaves(raw, place):
        alternatives = levels(path, value, spot) if _is_list_of_levels(path, value) else (checked(path, value, spot),)
        wanted[path] = frozenset(ident(leaf.value) for leaf in alternatives if leaf)
    if raw == {}:
        place.refuse("is empty: name a field and its value")
    return Condition(wanted, place)


def _is_list_of_levels(path: str, raw: object) -> bool:
    """A list is several values, unless the field itself holds lists and this is one of them (`betas = [0.9, 0.95]`)."""
    if not isinstance(raw, list):
        return False
    try:
        return path.startswith(ARGS) or not _typed(path, raw)
    except ValueError:
        return True


def override(text: str, problems: list[str]) -> tuple[str, Leaf] | None:
    """(field, value) of a `path=value` from the command line, the value typed as in a file; None after refusing it."""
    path, equals, written = (part.strip() for part in text.partition("="))
    place = Place(problems, "", f"--set {path}")
    if not equals:
        Place(problems, "", f"--set {text}").refuse("write path=value, such as optimizer.lr=1e-3")
        return None
    if path == ARGS or (path not in field_specs() and not path.startswith(ARGS + ".")):
        place.refuse(_section_rule(path) if path in _sections() | {ARGS} else _unknown(path))
        return None
    try:
        raw = _toml_value(written)
    except ValueError:
        if not _takes_text(path):
            place.refuse(f"'{written[:60]}' is no TOML value; {_how_to_write(path, written[:60])}")
            return None
        raw = written
    leaf = checked(path, raw, place)
    return (path, leaf) if leaf else None


def _how_to_write(path: str, written: str) -> str:
    """What `--set` takes for the field at `path`."""
    if path.startswith(ARGS):
        return f"text needs quotes, as in {path}='\"{written}\"'"
    kind = field_specs()[path].type
    if typing.get_origin(kind) is tuple:
        return f"it must be a list of {len(typing.get_args(kind))} numbers, as in '{path}=[0.5, 1.0]'"
    return f"it {_type_rule(kind, None)}"


def level_named(path: str, key: str, place: Place) -> Leaf | None:
    """The level of the field at `path` that the table key `key` means: keys are text in TOML, `"0.003"` is a number."""
    try:
        return checked(path, key if _takes_text(path) else _toml_value(key), place.key(key))
    except ValueError:
        place.key(key).refuse(f"'{key}' is no value of {path}")
        return None


def _toml_value(written: str) -> object:
    """`written` read as the right side of a TOML assignment. Raises ValueError where it is none, or more than one."""
    import tomllib

    try:
        table = tomllib.loads(f"value = {written}")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if table.keys() != {"value"}:
        raise ValueError("more than one value")
    return table["value"]


def _takes_text(path: str) -> bool:
    spec = field_specs().get(path)
    return spec is not None and (spec.type is str or typing.get_origin(spec.type) is typing.Literal)


def is_field(path: str) -> bool:
    """Whether a value can stand at `path`: a recipe field, or one argument of `model.args`."""
    return (path in field_specs() and path != ARGS) or (path.startswith(ARGS + ".") and path != ARGS + ".")


def is_section(path: str) -> bool:
    """Whether `path` holds several fields."""
    return path in _sections() or path == ARGS


def field_rule(path: str) -> str:
    """Why `path`, which is no field, cannot be named as one."""
    return _section_rule(path) if is_section(path) else _unknown(path)


@functools.cache
def _sections() -> frozenset[str]:
    """The recipe's sections."""
    return frozenset(path.split(".")[0] for path in field_specs() if "." in path)


def _section_rule(path: str) -> str:
    """Why a value cannot stand at a section (or at `model.args`)."""
    inside = [full for full in field_specs() if full.startswith(path + ".")]
    return f"holds several fields: set one of {listed(inside)}" if inside else "must be a table of arguments"


def _unknown(path: str) -> str:
    """Why nothing can stand at `path`, with the nearest field."""
    return (
        f"no such recipe field{nearest(path, _sections() if '.' not in path else ()) or nearest(path, field_specs())}"
    )


def _typed(path: str, raw: object) -> Value:
    """`raw` in the type of the field at `path`. Raises ValueError with the rule it breaks."""
    if not _is_finite(raw):
        raise ValueError("must be a finite number")
    if path.startswith(ARGS + "."):
        return _argument(raw)
    if raw in LATER_LEVELS.get(path, ()):
        raise ValueError(LATER)
    if here := ELSEWHERE.get(f"{path}={raw}"):
        raise ValueError(f"is no optimizer here: set {here}")
    value = _converted(path, raw)
    if rule := broken_bound(path, value):
        raise ValueError(rule)
    if path == "data.name":
        _check_data_set(str(value))
    return spelled(path, value)


def _is_finite(raw: object) -> bool:
    """Whether no number in `raw`, however deep, is nan or infinite."""
    if isinstance(raw, dict):
        return all(_is_finite(item) for item in raw.values())
    if isinstance(raw, list):
        return all(_is_finite(item) for item in raw)
    return is_number(raw) or isinstance(raw, bool) or not isinstance(raw, (int, float))


def _converted(path: str, raw: object) -> Value:
    """`raw` through pydantic, strictly: nothing is coerced but lists to tuples and whole numbers to float."""
    try:  # as JSON, because pydantic's strict mode takes a list for a tuple only from there
        value: Value = _adapter(path).validate_json(json.dumps(raw))
    except (ValueError, TypeError):  # ValidationError is a ValueError; a date is no JSON
        raise ValueError(_type_rule(field_specs()[path].type, raw)) from None
    return value


@functools.cache
def _adapter(path: str) -> Any:
    import pydantic

    return pydantic.TypeAdapter(field_specs()[path].type, config=pydantic.ConfigDict(strict=True))


def _type_rule(kind: Any, raw: object) -> str:
    """What a value of type `kind` looks like, with the most likely correction of `raw`."""
    if typing.get_origin(kind) is typing.Literal:
        choices = typing.get_args(kind)
        return f"must be one of {listed(choices)}" + (nearest(raw, choices) if isinstance(raw, str) else "")
    if typing.get_origin(kind) is tuple:
        return f"must be a list of {len(typing.get_args(kind))} numbers"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes"}[kind]
    quoted = kind is not str and isinstance(raw, str)
    return f"must be {words}" + (", without quotes" if quoted else "")


def _check_data_set(name: str) -> None:
    try:
        datasets.lookup(name)
    except DataError as error:
        raise ValueError(f"data set {str(error).partition(': ')[2]}") from None


def _argument(raw: object) -> Value:
    """A value of `model.args`: whatever TOML and JSON both can say, lists as tuples."""
    if isinstance(raw, dict):
        return {key: _argument(item) for key, item in raw.items()}
    if isinstance(raw, list):
        return tuple(_argument(item) for item in raw)
    if isinstance(raw, (bool, int, float, str)):
        return raw
    raise ValueError("must be true, false, a number, text, a list or a table")
