"""[figure] and [[figures]] of a sweep file, and the published curves that they name: CSV, checked line by line.

It draws nothing (see `tables.figures`); a figure that the command line asks for goes by the same rules.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from tinyablate.errors import listed, nearest
from tinyablate.sweep import metrics
from tinyablate.sweep.fields import Place, as_table, check_keys, is_number
from tinyablate.sweep.form import Source
from tinyablate.sweep.schema import Figure, FigureKind, Look

KINDS: tuple[FigureKind, ...] = get_args(FigureKind)

COLUMNS = ("label", "epoch", "value")
"""Of a file of published curves; values are in the metric's unit."""

COMMON = ("kind", "metric", "rows", "name", "width", "height", "font_size", "title", "notes")
"""Keys of every figure; …"""
OWN: Mapping[FigureKind, tuple[str, ...]] = {
    "curves": ("published", "xlim", "ylim"), "forest": ("xlim",), "slopes": ("ylim",), "waterfall": ("xlim",),
    "interaction": ("ylim",), "cost": ("cost", "xlim", "ylim"), "power": ("xlim", "ylim"),
}  # fmt: skip
"""… and those of some kinds."""

SIZES: Mapping[str, tuple[float, float]] = {"width": (1.0, 50.0), "height": (1.0, 200.0), "font_size": (4.0, 40.0)}
"""Least and most of what a figure's size may be: inches, and points of the font."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a figure may be called: it becomes part of a file's name."""

Curves = dict[str, dict[int, float]]
"""Label -> epoch -> value."""


@dataclass(frozen=True)
class CurvesFile:
    """A file of published curves as it was read."""

    path: Path
    name: str
    """As the sweep file writes it."""
    text: str


@dataclass(frozen=True)
class Drawings:
    """A sweep's figures, in the file's order, with the files that they take published curves from."""

    figures: tuple[Figure, ...] = ()
    files: tuple[CurvesFile, ...] = ()


def drawings(source: Source, names: Sequence[str] = ()) -> Drawings:
    """What [figure] or [[figures]] of the sweep file `source` asks for; what is wrong is refused.

    `names` are the sweep's metrics, from which a figure takes those that it does not name itself; without them only
    the published curves count.
    """
    found, files = list[Figure](), dict[Path, CurvesFile]()
    for table, place in _tables(source):
        figure, file = _figure(table, place, source.path.parent, names or ("val_top1",))
        if file:
            files[file.path] = file
        if figure and names and figure.name in [other.name for other in found]:
            place.refuse("a figure before it would have the same file: give one of them a `name`")
        elif figure:
            found.append(figure)
    return Drawings(tuple(found), tuple(files.values()))


def refuse_unknown_rows(drawn: Drawings, labels: Sequence[str], place: Place) -> None:
    """Refuse every row that a figure names and the sweep, whose rows have these labels, does not have."""
    for figure in drawn.figures:
        for label in figure.rows:
            if label not in labels:
                rule = f"the sweep has no such row{nearest(label, labels)} (rows: {listed(labels)})"
                place.key("figures").key(figure.name or figure.kind).key("rows").refuse(rule, label)


def named(kind: FigureKind, metric: str, names: Sequence[str]) -> str:
    """What an unnamed figure's file is called after its sweep: nothing for the curves of their usual metric."""
    usual = metric == default_metric(kind, names)
    return ("" if kind == "curves" else kind) if usual else f"{kind}-{metric}"


def default_metric(kind: FigureKind, names: Sequence[str]) -> str:
    """The metric of a figure that names none, in a sweep with the metrics `names`."""
    if kind == "curves":
        return "val_top1"
    return next((name for name in names if metrics.lookup(name).compared), names[0])


def default_cost(metric: str, names: Sequence[str]) -> str:
    """The other axis of a cost figure that names none: the sweep's first metric that no epoch has, else MACs."""
    costs = [name for name in names if metrics.lookup(name).source != "epochs" and name != metric]
    return costs[0] if costs else "macs"


def refused_size(key: str, value: object) -> str:
    """Why a figure's `width`, `height` or `font_size` cannot be that; empty if it can."""
    low, high = SIZES[key]
    fine = is_number(value) and low <= value <= high
    return "" if fine else f"must be a number of {'points' if key == 'font_size' else 'inches'}, {low:g} to {high:g}"


def refusal(kind: FigureKind, metric: object) -> str:
    """Why a figure of this kind cannot show `metric`; empty if it can."""
    curves = kind == "curves"
    valid = [each.name for each in metrics.KNOWN.values() if not curves or each.source == "epochs"]
    fine = metric in valid if curves else isinstance(metric, str) and metrics.is_known(metric)
    return "" if fine else f"must be one of {listed(valid, 20)}{nearest(str(metric), valid)}"


def _tables(source: Source) -> Iterator[tuple[Mapping[str, object], Place]]:
    """Each figure's table with its place."""
    one, several = source.place.key("figure"), source.place.key("figures")
    if "figure" in source.table:
        if "figures" in source.table:
            several.refuse("stands beside [figure]: write every figure as [[figures]]")
        yield as_table(source.table["figure"], one), one
    raw = source.table.get("figures", [])
    if not isinstance(raw, list):
        several.refuse("must be [[figures]], one heading a figure; a single one may be [figure]")
        return
    for index, each in enumerate(raw):
        place = several.item(index)
        yield as_table(each, place), place


def _figure(
    table: Mapping[str, object], place: Place, folder: Path, names: Sequence[str]
) -> tuple[Figure | None, CurvesFile | None]:
    """The figure that a table asks for and its file of published curves; no figure where its kind is unknown."""
    if table.get("kind", "curves") not in KINDS:
        place.key("kind").refuse(f"must be one of {listed(KINDS)}{nearest(str(table['kind']), KINDS)}", table["kind"])
        return None, None
    kind = cast(FigureKind, table.get("kind", "curves"))
    check_keys(table, (*COMMON, *OWN.get(kind, ())), place)
    metric = _metric(kind, table.get("metric", default_metric(kind, names)), place.key("metric"))
    cost = _metric(kind, table.get("cost", default_cost(metric, names)), place.key("cost")) if kind == "cost" else ""
    wanted = kind == "curves" and "published" in table
    file = _file(folder, table["published"], place.key("published")) if wanted else None
    curves = _curves(file, place) if file else {}
    published = {label: tuple(sorted(points.items())) for label, points in curves.items()}
    name = _name(table["name"], place.key("name")) if "name" in table else named(kind, metric, names)
    across, up = _limits(table, "xlim", place), _limits(table, "ylim", place)
    return Figure(kind, metric, published, cost, _rows(table, place), up, name, across, _look(table, place)), file


def _metric(kind: FigureKind, metric: object, place: Place) -> str:
    if rule := refusal(kind, metric):
        place.refuse(rule, metric)
        return "val_top1"
    return str(metric)


def _name(name: object, place: Place) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        place.refuse("must be a part of a file's name: letters, digits, '.', '_' and '-'", name)
    return str(name)


def _rows(table: Mapping[str, object], place: Place) -> tuple[str, ...]:
    rows = table.get("rows", [])
    if isinstance(rows, list) and all(isinstance(label, str) for label in rows) and len(set(rows)) == len(rows):
        return tuple(rows)
    place.key("rows").refuse("must be a list of rows' labels, each once", rows)
    return ()


def _look(table: Mapping[str, object], place: Place) -> Look:
    sizes = {key: _size(key, table[key], place.key(key)) for key in SIZES if key in table}
    shown = {key: _shown(table[key], place.key(key)) for key in ("title", "notes") if key in table}
    return Look(sizes.get("width"), sizes.get("height"), sizes.get("font_size"), **shown)


def _size(key: str, value: object, place: Place) -> float | None:
    if rule := refused_size(key, value):
        place.refuse(rule, value)
        return None
    return float(cast(float, value))


def _shown(value: object, place: Place) -> bool:
    if not isinstance(value, bool):
        place.refuse("must be true or false: whether it stands in the picture", value)
    return bool(value)


def _limits(table: Mapping[str, object], key: str, place: Place) -> tuple[float, float] | None:
    match table.get(key):
        case None:
            return None
        case [low, high] if is_number(low) and is_number(high) and low < high:
            return float(low), float(high)
    place.key(key).refuse("must be two numbers, the lower one first", table[key])
    return None


def _file(folder: Path, name: object, place: Place) -> CurvesFile | None:
    """The file `name`, relative to `folder`; None after telling `place` why not."""
    if not isinstance(name, str) or not name:
        place.refuse("must be the path of a CSV file, relative to this one", name)
        return None
    path = folder / name
    try:
        return CurvesFile(path, name, path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        near = [each.name for each in path.parent.glob("*.csv")] if path.parent.is_dir() else []
        place.refuse(f"no such file{nearest(path.name, near)}", name)
    except UnicodeDecodeError as error:
        place.refuse(f"is not UTF-8 (byte {error.start})", name)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        place.refuse(f"cannot be read: {getattr(error, 'strerror', None) or error}", name)
    return None


def _curves(file: CurvesFile, place: Place) -> Curves:
    """The curves in the file's text, in its order. Lines that begin with # are comments."""
    here = Place(place.problems, str(file.path))
    lines = _lines(file.text, here)
    number, head = next(lines, (1, []))
    if tuple(head) != COLUMNS:
        _line(here, number).refuse(f"the columns must be {','.join(COLUMNS)}", ",".join(head))
        return {}
    found: Curves = {}
    for number, cells in lines:
        spot = _line(here, number)
        if len(cells) != len(COLUMNS):
            spot.refuse(f"must have {len(COLUMNS)} values: {', '.join(COLUMNS)}", ",".join(cells))
        elif (point := _point(cells, spot)) is not None:
            epoch, value = point
            if epoch in found.setdefault(cells[0], {}):
                spot.refuse(f"epoch {epoch} of this curve stands twice", cells[0])
            found[cells[0]][epoch] = value
    if not found and not any(problem.startswith(str(file.path)) for problem in place.problems):
        here.refuse("has no curve")
    return found


def _lines(text: str, place: Place) -> Iterator[tuple[int, list[str]]]:
    """(line number, values) of every line that is neither empty nor a comment."""
    reader = csv.reader(io.StringIO(text), skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            if cells and not cells[0].startswith("#"):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        _line(place, reader.line_num).refuse(f"is no valid CSV: {error}")


def _point(cells: list[str], place: Place) -> tuple[int, float] | None:
    """(epoch, value) of a line; None after refusing what is wrong."""
    label, epoch, value = cells
    if not label:
        place.key("label").refuse("is missing")
    if not (epoch.isascii() and epoch.isdecimal() and len(epoch) < 10 and int(epoch)):
        place.key("epoch").refuse("must be a whole number from 1", epoch)
        return None
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if number - number != 0:  # not finite
        place.key("value").refuse("must be a finite number", value)
        return None
    return (int(epoch), number) if label else None


def _line(place: Place, number: int) -> Place:
    return place.key(f"line {number}")
