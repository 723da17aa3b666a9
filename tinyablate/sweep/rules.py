"""What a sweep file promises of its comparisons, checked: seeds by a rule, the test and its family, `declares`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

from tinyablate.errors import listed, nearest
from tinyablate.sweep import metrics
from tinyablate.sweep.fields import Place, as_table, check_keys, field_rule, is_field, is_number, is_section
from tinyablate.sweep.schema import Select, Sequential

LEAST_SEEDS = 3
"""Of a first stage. With two, Student's t is 12.7: nearly every row would ask for the most seeds that it may have."""

MOST_SEEDS = 10_000
"""Past that a rule is a typing mistake."""

MOST_RETRIES = 10
"""Of a trial that diverged: past that it is a search for luck."""

EXAMPLE = '{ min = 3, max = 12, until = "half_width < 0.1" }'

_UNTIL = re.compile(r"half_width\s*<\s*(\S+)")


def choice(table: Mapping[str, Any], name: str, valid: Sequence[str], default: str, place: Place) -> str:
    """The word at `name`, which must be one of `valid`; the default where there is none, or a wrong one is refused."""
    raw = table.get(name, default)
    if raw in valid:
        return str(raw)
    place.key(name).refuse(f"must be one of {listed(valid)}{nearest(str(raw), valid)}", raw)
    return default


def select_of(table: Mapping[str, Any], names: Sequence[str], place: Place) -> Select:
    """`select`: which epoch's numbers stand in the table. What has no cross-fitted value is refused."""
    select = cast(Select, choice(table, "select", get_args(Select), "last", place))
    wrong = [name for name in names if metrics.is_known(name) and not metrics.lookup(name).cross_fits]
    if select == "cross-fitted" and wrong:
        rule = f"{listed(wrong)} cannot be: which images were right is kept for val_top1 alone; drop it, or select"
        place.key("select").refuse(f"{rule} 'last' or 'best'", select)
    return select


def family_of(table: Mapping[str, Any], place: Place) -> Literal["table", "column"]:
    """`family`: over which comparisons p-values are adjusted."""
    return "column" if choice(table, "family", ("table", "column"), "table", place) == "column" else "table"


def test_of(table: Mapping[str, Any], place: Place) -> Literal["max-t", "holm"]:
    """`test`: how they are adjusted."""
    return "holm" if choice(table, "test", ("max-t", "holm"), "max-t", place) == "holm" else "max-t"


def retry_diverged_of(table: Mapping[str, Any], place: Place) -> int:
    """`retry.diverged`: how often a trial whose loss stopped being finite is tried again; 0 where it is not given."""
    spot = place.key("retry")
    given = as_table(table.get("retry", {}), spot)
    check_keys(given, ("diverged",), spot)
    raw = given.get("diverged", 0)
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= MOST_RETRIES:
        return raw
    spot.key("diverged").refuse(f"must be a whole number from 0 to {MOST_RETRIES}", raw)
    return 0


def sequential(raw: object, names: Sequence[str], place: Place) -> Sequential | None:
    """`seeds` as a rule, with the metrics `names`; None after refusing what is wrong with it."""
    before = len(place.problems)
    table = as_table(raw, place)
    check_keys(table, ("min", "max", "until"), place)
    for key in ("min", "max", "until"):
        if key not in table:
            place.refuse(f"`{key}` is missing: a rule is {EXAMPLE}")
    least = _count(table.get("min", LEAST_SEEDS), LEAST_SEEDS, place.key("min"))
    most = _count(table.get("max", MOST_SEEDS), LEAST_SEEDS, place.key("max"))
    half_width = _half_width(table.get("until", "half_width < 1"), place.key("until"))
    if most < least:
        place.key("max").refuse(f"must be at least `min`, {least}", most)
    first = metrics.lookup(names[0]) if metrics.is_known(names[0]) else None
    if first is not None and first.source != "epochs":
        rule = f"the rule looks at the first metric, and {first.name} is not one of a training's epochs: give a list"
        place.refuse(f"{rule}, such as [0, 1, 2]")
    return None if len(place.problems) > before else Sequential(least, most, half_width)


def declared(raw: object, place: Place) -> tuple[str, ...]:
    """The list of fields and sections `raw`; what is wrong is refused."""
    if not isinstance(raw, list):
        place.refuse('must be a list of recipe fields or sections, such as ["mix", "augment.erase_prob"]', raw)
        return ()
    found: list[str] = []
    for at, path in enumerate(raw):
        if not isinstance(path, str) or not (is_field(path) or is_section(path)):
            place.item(at).refuse(field_rule(str(path)), path)
        elif path in found:
            place.item(at).refuse("stands twice", path)
        else:
            found.append(path)
    return tuple(found)


def _count(raw: object, least: int, place: Place) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool) and least <= raw <= MOST_SEEDS:
        return raw
    place.refuse(f"must be a whole number from {least} to {MOST_SEEDS:,}", raw)
    return least


def _half_width(raw: object, place: Place) -> float:
    """The number of `half_width < NUMBER`."""
    matched = _UNTIL.fullmatch(raw.strip()) if isinstance(raw, str) else None
    try:
        number = float(matched[1]) if matched else 0.0
    except ValueError:
        number = 0.0
    if number > 0 and is_number(number):
        return number
    place.refuse('must be "half_width < NUMBER" with a number above 0, such as "half_width < 0.1"', raw)
    return 1.0
