"""[figure] of a sweep file, and the published curves that it names: CSV, checked line by line."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tinyablate.errors import listed, nearest
from tinyablate.sweep import metrics
from tinyablate.sweep.fields import Place, as_table, check_keys
from tinyablate.sweep.form import Source
from tinyablate.sweep.schema import Figure

COLUMNS = ("label", "epoch", "value")
"""Of a file of published curves; values are in the metric's unit."""

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
class Drawing:
    """A sweep's figure with the file that it takes published curves from, if any."""

    figure: Figure
    file: CurvesFile | None


def drawing(source: Source) -> Drawing | None:
    """What [figure] of the sweep file `source` asks for; None without one. What is wrong is refused."""
    if "figure" not in source.table:
        return None
    place = source.place.key("figure")
    table = as_table(source.table["figure"], place)
    check_keys(table, ("metric", "published"), place)
    metric = table.get("metric", "val_top1")
    drawable = [each.name for each in metrics.KNOWN.values() if each.source == "epochs"]
    if metric not in drawable:
        place.key("metric").refuse(f"must be one of {listed(drawable)}{nearest(str(metric), drawable)}", metric)
    file = _file(source.path.parent, table["published"], place.key("published")) if "published" in table else None
    curves = _curves(file, place) if file else {}
    published = {label: tuple(sorted(points.items())) for label, points in curves.items()}
    return Drawing(Figure("curves", str(metric), published), file)


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
