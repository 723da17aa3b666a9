"""The pages of a report by their paths, each rendered when it is asked for. It writes no file and serves nobody."""

import functools
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tinyablate.report.gather import Place, Placed, Report, Trial, gather, placed, trials_of
from tinyablate.report.pictures import FOLDER, Picture, pictures_of
from tinyablate.report.plots import Curves, embedded, forests, trial_curves
from tinyablate.report.read import CURVES, Attempt, Number, attempts_of, curves_of, numbers_of
from tinyablate.report.recipes import Difference, Field, difference, fields
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.layout import title_of
from tinyablate.tables.proof import Rate
from tinyablate.tables.render import html, words
from tinyablate.terminal import duration

INDEX = "index.html"
STATIC = ("static/report.css", "static/report.js")
MOST_PAGES = 500
"""A sweep of more trials has a page for each row's trials, not one for each: so many small files help nobody."""
MOST_LISTED = 5_000
"""Trials in the list on a sweep's page; of more, the rows' pages have them."""
MOST_BYTES = 160
"""Of a sweep's name in the name of its page: a file system takes 255, and what tells pages apart comes after it."""
SHORT = 12
"""Digits of a key that tell it from all others."""


@dataclass(frozen=True)
class Filled:
    """A cell that a trial fills, in one of the sweeps."""

    title: str
    path: str
    """Of the sweep's page."""
    label: str
    difference: Difference


@dataclass(frozen=True)
class Group:
    """Trials of one recipe, which differ in their seeds."""

    label: str
    fills: tuple[Filled, ...]
    recipe: tuple[Field, ...]
    trials: tuple[Trial, ...]
    attempts: tuple[Attempt, ...]
    """Of all of them, with tracebacks."""
    titles: tuple[str, ...]
    """Of the numbers that any of them has."""
    numbers: tuple[tuple[Trial, dict[str, str]], ...]
    plots: tuple[Curves, ...]


class Site:
    """The report of these sweeps. `live` is the state of the database that it shows, where pages watch for a later one.

    Parts that are read once are kept: a site shows the store as it was when each part was first asked for.
    """

    def __init__(self, sweeps: Sequence[Sweep], machine: str = "", live: str = "") -> None:
        self._sweeps = dict(zip(_slugs(sweeps), sweeps, strict=True))
        self._machine = machine
        self._live = live
        self._placed: dict[str, Placed] = {}
        self._reports: dict[str, Report] = {}
        self._pictures: dict[str, tuple[Picture, ...]] = {}
        self._painted: dict[str, bytes] = {}
        self._short: dict[str, tuple[str, list[str]]] | None = None

    def paths(self, store: Store) -> Iterator[str]:
        """The path of every page and file, the index first."""
        yield INDEX
        yield from STATIC
        for slug in self._sweeps:
            yield _page_of(slug)
            for picture in self._pictures_of(slug, store):
                yield from () if picture.why else picture.paths
        yield from dict.fromkeys(
            self.url(slug, key).partition("#")[0] for slug in self._sweeps for key in self.placed(slug, store).places
        )

    def page(self, path: str, store: Store) -> bytes | None:
        """The file at `path`; None where the report has none."""
        if path == INDEX:
            return self._render("index.html", "", reports=[(slug, self.report(slug, store)) for slug in self._sweeps])
        if path in STATIC:
            return files("tinyablate.report").joinpath(path).read_bytes()
        folder, _, name = path.partition("/")
        if folder == FOLDER:
            return self._figure(path, store)
        if not name.endswith(".html"):
            return None
        stem = name.removesuffix(".html")
        if folder == "sweeps" and stem in self._sweeps:
            return self._sweep_page(stem, store)
        return self._trials_page(stem, store) if folder == "trials" else None

    def url(self, slug: str, key: str) -> str:
        """Where the trial of this sweep stands."""
        places = self._placed[slug].places
        if len(places) > MOST_PAGES:
            return f"trials/{slug}-row-{places[key][0].row + 1}.html#{key[:SHORT]}"
        return f"trials/{key[:SHORT]}.html"

    def placed(self, slug: str, store: Store) -> Placed:
        """The sweep with its trials."""
        if slug not in self._placed:
            self._placed[slug] = placed(self._sweeps[slug], store, self._machine)
        return self._placed[slug]

    def report(self, slug: str, store: Store) -> Report:
        """All that the sweep's page shows."""
        if slug not in self._reports:
            self._reports[slug] = gather(self.placed(slug, store), store)
        return self._reports[slug]

    def _pictures_of(self, slug: str, store: Store) -> tuple[Picture, ...]:
        if slug not in self._pictures:
            self._pictures[slug] = pictures_of(self._sweeps[slug], slug, store)
        return self._pictures[slug]

    def _figure(self, path: str, store: Store) -> bytes | None:
        """A declared figure's picture, or its numbers; painted once."""
        stem, dot, suffix = path.rpartition(".")
        slug = stem.removeprefix(f"{FOLDER}/").rpartition("/")[0]
        if path in self._painted or slug not in self._sweeps:
            return self._painted.get(path)
        for picture in self._pictures_of(slug, store):
            if path in picture.paths and not picture.why:
                self._painted[path] = picture.file(dot + suffix)
        return self._painted.get(path)

    # ---- pages -------------------------------------------------------------------------------------------------------

    def _sweep_page(self, slug: str, store: Store) -> bytes:
        report, sweep = self.report(slug, store), self._sweeps[slug]
        rows = {trial.at.row: self.url(slug, trial.key).partition("#")[0] for trial in report.trials}
        return self._render(
            "sweep.html",
            "../",
            slug=slug,
            report=report,
            sweep=sweep,
            title=title_of(sweep),
            table=Markup(html.fragment(report.table)),
            above=words.above(report.table),
            forests=forests(report.table, sweep.margin),
            pictures=self._pictures_of(slug, store),
            listed=len(report.trials) <= MOST_LISTED,
            row_pages=[(path, sweep.rows[row].label) for row, path in rows.items()],
        )

    def _trials_page(self, stem: str, store: Store) -> bytes | None:
        """The page of one trial, or that of a row of a large sweep."""
        slug, _, row = stem.rpartition("-row-")
        if slug in self._sweeps and row.isdecimal() and len(row) < 9:
            found = self.placed(slug, store)
            if len(found.places) <= MOST_PAGES:
                return None
            keys = [key for key, places in found.places.items() if places[0].row + 1 == int(row)]
            heading = found.sweep.rows[int(row) - 1].label if keys else ""
            at = slug
        else:
            at, keys = self._alone(store).get(stem, ("", []))
            heading = f"Trial {stem}"
        if not keys:
            return None
        groups = self._groups(at, keys, store)
        back = (title_of(self._sweeps[at]), _page_of(at))
        return self._render("trials.html", "../", slug=at, heading=heading, groups=groups, back=back)

    def _alone(self, store: Store) -> dict[str, tuple[str, list[str]]]:
        """Short key -> the first sweep with a page for that trial alone, and its key."""
        if self._short is None:
            self._short = {}
            for slug in self._sweeps:
                places = self.placed(slug, store).places
                for key in places if len(places) <= MOST_PAGES else ():
                    self._short.setdefault(key[:SHORT], (slug, [key]))
        return self._short

    def _groups(self, slug: str, keys: Sequence[str], store: Store) -> list[Group]:
        """The trials by the cell that they fill first."""
        by_cell: dict[tuple[int, int], list[str]] = {}
        for key in keys:
            first = self._placed[slug].places[key][0]
            by_cell.setdefault((first.row, first.column), []).append(key)
        return [self._group(slug, at, found, store) for at, found in by_cell.items()]

    def _group(self, slug: str, at: tuple[int, int], keys: Sequence[str], store: Store) -> Group:
        own = self._placed[slug]
        trials, _ = trials_of(own, keys, store)
        attempts, numbers = attempts_of(store, keys, tracebacks=True), numbers_of(store, keys)
        curves = curves_of(store, keys)
        named = [(f"seed {trial.at.seed}" if len(trials) > 1 else "", curves[trial.key]) for trial in trials
                 if trial.key in curves]  # fmt: skip
        titles = dict.fromkeys(each.title for key in keys for each in numbers.get(key, ()))
        return Group(
            label=own.label(own.places[keys[0]][0]),
            fills=tuple(self._fills(slug, keys[0], store)),
            recipe=fields(own.cells[at].recipe),
            trials=trials,
            attempts=tuple(each for key in keys for each in attempts.get(key, ())),
            titles=tuple(titles),
            numbers=tuple((trial, _texts(numbers.get(trial.key, ()))) for trial in trials),
            plots=trial_curves(CURVES, named),
        )

    def _fills(self, slug: str, key: str, store: Store) -> Iterator[Filled]:
        """Every cell that the trial fills, in all sweeps; of a large sweep's trials, in that sweep."""
        large = len(self._placed[slug].places) > MOST_PAGES
        for other in [slug] if large else self._sweeps:
            found = self.placed(other, store)
            for at in found.places.get(key, ()):
                yield self._filled(other, found, at)

    def _filled(self, slug: str, found: Placed, at: Place) -> Filled:
        apart = difference(found.sweep, found.cells[at.row, at.column], found.cells)
        return Filled(title_of(found.sweep), _page_of(slug), found.label(at), apart)

    def _render(self, template: str, root: str, **values: Any) -> bytes:
        """`root` leads from the page to the index's folder."""

        def link(path: str) -> str:
            before, mark, anchor = path.partition("#")
            return f"{root}{quote(before)}{mark}{anchor}"

        text = (
            _templates()
            .get_template(template)
            .render(link=link, url=self.url, page_of=_page_of, live=self._live, short=SHORT, **values)
        )
        return text.encode("utf-8", "replace")


def _texts(numbers: Sequence[Number]) -> dict[str, str]:
    return {number.title: number.text for number in numbers}


def _page_of(slug: str) -> str:
    """The path of a sweep's page."""
    return f"sweeps/{slug}.html"


def _slugs(sweeps: Sequence[Sweep]) -> list[str]:
    """A file's name for each sweep: its own, and what makes it another than its file says; all different."""
    words = [re.sub(r"[^\w.-]+", "-", sweep.name).strip("-.")[:80] for sweep in sweeps]
    names = [word.encode()[:MOST_BYTES].decode(errors="ignore") or "sweep" for word in words]
    for at, sweep in enumerate(sweeps):
        names[at] += "-smoke" if sweep.smoke else ""
        names[at] += f"-{sha256(chr(10).join(sweep.overrides).encode()).hexdigest()[:8]}" if sweep.overrides else ""
    counts = Counter(name.lower() for name in names)
    return [
        name if counts[name.lower()] == 1 else f"{name}-{sweep.digest[:8]}-{at}"
        for at, (name, sweep) in enumerate(zip(names, sweeps, strict=True))
    ]


# ---- templates -------------------------------------------------------------------------------------------------------


@functools.cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("tinyablate.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {"duration": duration, "when": _when, "first_line": _first_line, "embedded": embedded,
                     "bar": _bar, "plainly": _plainly, "change": _change, "share": _share}  # fmt: skip
    made.tests["moved"] = _moved
    return made


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _first_line(text: str) -> str:
    lines = text.strip().splitlines() or [""]
    return lines[0] if len(lines[0]) <= 200 else f"{lines[0][:197]}..."


def _bar(counts: dict[str, int]) -> list[tuple[str, float, float]]:
    """(state, start, width) of each part of a progress bar, in percent."""
    total, start, parts = sum(counts.values()), 0.0, []
    for state, count in counts.items():
        width = 100 * count / total
        parts.append((state, round(start, 3), round(width, 3)))
        start += width
    return parts


def _plainly(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in counts.items())


def _change(value: float | None) -> str:
    """A change in a count, in words."""
    return "not known yet" if value is None else f"{value:+,.0f}" if value else "the same"


def _share(value: float | None) -> str:
    return "not recorded" if value is None else f"{100 * value:.1f} %"


def _moved(rate: Rate) -> bool:
    """Whether a realised rate is worth a line: it is recorded, and not the same on both sides."""
    return not (rate.before is None and rate.after is None) and _share(rate.before) != _share(rate.after)
