"""Reads sweep files, as the only reader of TOML: follows `extends`, checks all of it, reports every problem at once."""

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from tinyablate.errors import SweepError, nearest
from tinyablate.sweep.digest import digest
from tinyablate.sweep.expand import expand
from tinyablate.sweep.fields import Place
from tinyablate.sweep.figure import Drawings, drawings, refuse_unknown_rows
from tinyablate.sweep.form import Source
from tinyablate.sweep.parse import parse, seeds_of
from tinyablate.sweep.schema import Sweep
from tinyablate.terminal import one_line

MOST_PROBLEMS = 50
"""A file with more is told how many more."""
MOST_OF_SEVERAL, MOST_FILES = 5, 10
"""Problems that are told of each file where there are several, and files of which any are."""


def load(
    path: Path,
    *,
    name: str | None = None,
    smoke: bool = False,
    overrides: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    null_rows: int = 0,
) -> Sweep:
    """The sweep in the file at `path`, complete and checked. Raises SweepError with every problem found.

    `overrides` are texts `path=value` that go onto the baseline; rows keep their own differences. `seeds` stand for
    the file's; a null row takes as many of its own that are not among them. `smoke` puts the file's [smoke] over every
    cell, with random weights and each row's first seed unless `seeds` or `overrides` say otherwise. `null_rows` more
    rows are the baseline again."""
    problems: list[str] = []
    sources = chain(path, problems)
    _stop_at(problems)
    form = parse(sources, overrides)
    drawn = drawings(sources[0], form.metrics)
    if smoke and not form.smoke.given:
        form.place.refuse("--smoke: this sweep has no [smoke] overlay")
    if seeds is not None:
        seeds_of(list(seeds), Place(problems, "", "--seeds"))
    expansion = expand(form, smoke, seeds, null_rows)
    if expansion is not None:
        refuse_unknown_rows(drawn, [row.label for row in expansion.rows], form.place)
    _stop_at(problems)
    if expansion is None:
        raise SweepError([f"{path}: no cell remains"])
    text = _text(sources, drawn)
    name = name or name_of(path)
    return Sweep(
        name=name,
        path=path,
        title=form.title or name,
        question=form.question,
        source=form.source,
        metrics=form.metrics,
        select=form.select,
        margin=form.margin,
        baseline=expansion.baseline,
        figures=drawn.figures,
        rows=expansion.rows,
        columns=expansion.columns,
        cells=expansion.cells,
        excluded=expansion.excluded,
        smoke=smoke,
        overrides=tuple(overrides),
        text=text,
        digest=digest(text, smoke, overrides, seeds, null_rows),
        axes=tuple(", ".join(axis.paths) for axis in form.axes),
        sequential=None if smoke or seeds is not None else form.sequential,
        family=form.family,
        test=form.test,
        retry_diverged=form.retry_diverged,
        digits=form.layout.digits,
        components=expansion.components,
        expansions=form.components.expansions if form.components else (),
    )


def load_each(paths: Sequence[Path], read: Callable[[Path], Sweep] = load) -> list[Sweep]:
    """The sweeps in these files, as `read` loads them. Raises SweepError with the problems of all, of many a part."""
    loaded, problems, broken = list[Sweep](), list[str](), 0
    for path in paths:
        try:
            loaded.append(read(path))
        except SweepError as error:
            broken += 1
            if broken <= MOST_FILES:
                problems += _cut(error.problems, MOST_PROBLEMS if len(paths) == 1 else MOST_OF_SEVERAL)
    if broken > MOST_FILES:
        problems.append(f"and {broken - MOST_FILES:,} more files")
    if problems:
        raise SweepError(problems)
    return loaded


def _text(sources: Sequence[Source], drawn: Drawings) -> str:
    """All files that the sweep is read from, each after a line with its name."""
    files = [(each.name, each.text) for each in sources] + [(each.name, each.text) for each in drawn.files]
    return "".join(f"# ---- {name} ----\n{content}\n" for name, content in files)


def read_heading(path: Path) -> dict[str, str]:
    """title, question and source of the sweep file at `path`, unchecked beyond that it is TOML. Raises SweepError."""
    problems: list[str] = []
    found = _read(path, path.name, Place(problems, str(path)))
    _stop_at(problems)
    table = found.table if found else {}
    return {key: str(table.get(key, "")) for key in ("title", "question", "source")}


def files_of(path: Path) -> list[Path]:
    """The sweep file at `path`, all that it extends, its published curves. Raises SweepError if one cannot be read."""
    sources, drawn = _read_all(path)
    return [source.path for source in sources] + [file.path for file in drawn.files]


def text_of(path: Path) -> str:
    """What `Sweep.text` of the sweep file at `path` is, unchecked. Raises SweepError if a file cannot be read."""
    return _text(*_read_all(path))


def _read_all(path: Path) -> tuple[list[Source], Drawings]:
    problems: list[str] = []
    sources = chain(path, problems)
    _stop_at(problems)
    drawn = drawings(sources[0])
    _stop_at(problems)
    return sources, drawn


def name_of(path: Path) -> str:
    """A sweep's name: its place under the nearest folder called `sweeps`, else the file's name, without `.toml`."""
    *folders, stem = path.resolve().with_suffix("").parts
    below = folders[len(folders) - folders[::-1].index("sweeps") :] if "sweeps" in folders else []
    return "/".join([*below, stem])


def chain(path: Path, problems: list[str]) -> list[Source]:
    """The file at `path` and what it extends, nearest first, as far as they can be read; the rest is a problem."""
    sources: list[Source] = []
    seen: list[Path] = []
    place, name = Place(problems, str(path)), path.name
    while True:
        if path.resolve() in seen:
            place.refuse("extends itself: " + " -> ".join([*(source.name for source in sources), name]))
            return sources
        seen.append(path.resolve())
        source = _read(path, name, place)
        if source is None:
            return sources
        sources.append(source)
        name = source.table.get("extends", "")
        if not isinstance(name, str) or (not name and "extends" in source.table):
            source.place.key("extends").refuse("must be the path of a file, relative to this one", name)
            return sources
        if not name:
            return sources
        path, place = path.parent / name, source.place.key("extends")


def _read(path: Path, name: str, place: Place) -> Source | None:
    """The file at `path`; None after telling `place`, which asked for it, why not."""
    where = "" if place.file == str(path) else f"{path}: "
    try:
        text = path.read_bytes().decode("utf-8-sig")
        table = tomllib.loads(text)
    except FileNotFoundError:
        siblings = (each.name for each in path.parent.glob("*.toml")) if path.parent.is_dir() else ()
        place.refuse(f"{where}no such file{nearest(path.name, siblings)}")
    except IsADirectoryError:
        place.refuse(f"{where}is a directory, not a sweep file")
    except OSError as error:
        place.refuse(f"{where}cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        place.refuse(f"{where}is not UTF-8 (byte {error.start})")
    except RecursionError:
        place.refuse(f"{where}is nested too deeply")
    except ValueError as error:  # TOMLDecodeError; a number of more digits than Python reads
        message = str(error).replace("at end of document", f"at line {text.count(chr(10)) + 1}, the end of the file")
        place.refuse(f"{where}is no valid TOML: {message}")
    else:
        if text.strip():
            return Source(Place(place.problems, str(path)), path, name, text, table)
        place.refuse(f"{where}is empty")
    return None


def _stop_at(problems: Sequence[str]) -> None:
    """Raise SweepError with the problems, each once and on a line, whatever labels hold, if there are any."""
    if problems:
        raise SweepError(_cut(list(dict.fromkeys(map(one_line, problems))), MOST_PROBLEMS))


def _cut(problems: Sequence[str], most: int) -> list[str]:
    """At most so many of them, and how many more there are."""
    more = len(problems) - most
    return [*problems[:most], f"and {more:,} more"] if more > 0 else list(problems)
