"""The published numbers of a row, in each of the shapes that a sweep file may give them."""

from tinyablate.sweep.fields import Place, as_table, check_keys, is_number
from tinyablate.sweep.form import Published


def published(raw: object, place: Place, names: tuple[str, ...], columns: tuple[str, ...]) -> Published:
    """Column -> metric -> source -> number. A bare number is the source `published`."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    sources = {"published": raw} if is_number(raw) else as_table(raw, place)
    for source, entry in sources.items():
        spot = place.key(source) if isinstance(raw, dict) else place
        if isinstance(raw, dict) and (source in names or source in columns):
            spot.refuse(f"names no source: write published.paper.{source}", entry)
            continue
        for column, metric, number in _numbers(entry, spot, names, columns):
            found.setdefault(column, {}).setdefault(metric, {})[source] = number
    return found


def _numbers(
    entry: object, place: Place, names: tuple[str, ...], columns: tuple[str, ...]
) -> list[tuple[str, str, float]]:
    """(column, metric, number) of what one source published: one number, or a table by column, metric or both."""
    if len(columns) > 1 or (isinstance(entry, dict) and columns[0] in entry):
        if not isinstance(entry, dict):
            place.refuse(f"several columns: name each, such as {{ {columns[0]!r} = … }}", entry)
            return []
        check_keys(entry, columns, place)
        known = ((column, entry[column]) for column in columns if column in entry)
        return [item for column, inner in known for item in _by_metric(inner, place.key(column), names, column)]
    return _by_metric(entry, place, names, columns[0])


def _by_metric(entry: object, place: Place, names: tuple[str, ...], column: str) -> list[tuple[str, str, float]]:
    """(column, metric, number) of a number, which belongs to the first metric, or of a table of metrics."""
    if isinstance(entry, dict):
        check_keys(entry, names, place)
        numbers = [(name, entry[name], place.key(name)) for name in names if name in entry]
    else:
        numbers = [(names[0], entry, place)]
    for _, number, spot in numbers:
        if not is_number(number):
            spot.refuse("must be a finite number", number)
    return [(column, name, float(number)) for name, number, _ in numbers if is_number(number)]
