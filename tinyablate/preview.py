"""The contact sheet of `data preview`: a line of training images for each row of a sweep, and the realised rates.

It draws and writes; what the images are is `train.preview`'s business.
"""

import base64
import contextlib
import html
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tinyablate.errors import SweepError, UsageError, listed, nearest
from tinyablate.preflight import check_models, require_data
from tinyablate.recipe import Recipe, flatten
from tinyablate.sweep.schema import Cell, Sweep
from tinyablate.terminal import say

if TYPE_CHECKING:
    from tinyablate.train.preview import Line

SUFFIXES = (".html", ".png")
FOLDER = Path("results/preview")
STYLE = (
    "body{font:14px sans-serif;margin:1em}h2{font-size:1em;margin:0 0 4px}"
    "figure{margin:0 0 1.2em}figcaption{color:#555}"
)
SMALL = 128
"""Pixels below which an image is enlarged."""
GAP, TEXT = 4, 18
"""Pixels between images, and height of a line of text, in a PNG."""


@dataclass(frozen=True)
class Entry:
    """A line of the sheet."""

    label: str
    line: "Line"

    @property
    def caption(self) -> str:
        """The realised rates in words, and of how many batches and images they are."""
        if (rates := self.line.rates) is None:
            return "scaled to the input size, not augmented"
        return (
            f"Mixup {_percent(rates.mixup)}, CutMix {_percent(rates.cutmix)} of {_of(rates.batches, 'batch', 'es')} "
            f"· policy or jitter changed {_percent(rates.changed)} of {_of(rates.compared, 'image', 's')} "
            f"· erased area {_percent(rates.erased, 2)} of {_of(rates.measured, 'image', 's')}"
        )


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _of(count: int, what: str, plural: str) -> str:
    return f"{count:,} {what}{plural if count != 1 else ''}"


@dataclass(frozen=True)
class Sheet:
    """All that is drawn."""

    heading: str
    notes: tuple[str, ...]
    """Sentences below the heading."""
    entries: tuple[Entry, ...]


def preview(sweep: Sweep, rows: Sequence[str], count: int, out: Path | None) -> tuple[Path, tuple[Entry, ...]]:
    """Write the contact sheet of `sweep` (of `rows`, if any are named) and return its path and lines.

    `out` ends in .html or .png; without it the sheet goes to results/preview. Raises UsageError, SweepError, DataError.
    """
    path = out or FOLDER / f"{sweep.name.replace('/', '-')}{'-smoke' if sweep.smoke else ''}.html"
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--out {path}: must end in {listed(SUFFIXES)}")
    cells = _chosen(sweep, rows)
    check_models([sweep])
    home = require_data([sweep])
    with _written(path) as aside:
        entries = _draw(sweep, cells, home, count, aside)
    return path, entries


@contextlib.contextmanager
def _written(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place when the work is done, and is gone when it was not. Raises UsageError.

    It is made first: what cannot be written is told before anything is drawn.
    """
    aside = path.with_name(f".preview-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.touch()
        yield aside
        aside.replace(path)
    except OSError as error:
        if error.filename not in (None, str(aside), str(path.parent), str(path)):
            raise
        raise UsageError(f"--out {path}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _draw(sweep: Sweep, cells: Sequence[Cell], home: Path, count: int, aside: Path) -> tuple[Entry, ...]:
    """Write the sheet of the cells to the file `aside`, in the form that its name ends in."""
    seed = sweep.rows[cells[0].row].seeds[0]
    entries = tuple(_entries(sweep, cells, home, seed, count))
    sheet = Sheet(_heading(sweep, cells, entries), _notes(sweep, cells[0], seed), entries)
    aside.write_bytes(_png(sheet) if aside.suffix == ".png" else _html(sheet).encode())
    return entries


def _chosen(sweep: Sweep, rows: Sequence[str]) -> list[Cell]:
    """The cells of the named rows, of all where none is named."""
    labels = [row.label for row in sweep.rows]
    if unknown := [label for label in rows if label not in labels]:
        raise UsageError(
            f"--row {unknown[0]}: no row of {sweep.name}{nearest(unknown[0], labels)}; valid: {listed(labels)}"
        )
    cells = [cell for cell in sweep.cells if not rows or labels[cell.row] in rows]
    if not cells:
        raise UsageError(f"--row {rows[0]}: {sweep.name} excludes every cell of it; name another row")
    return cells


def _entries(sweep: Sweep, cells: Sequence[Cell], home: Path, seed: int, count: int) -> Iterator[Entry]:
    """The images as they are stored, then a line for each cell; cells whose images are the same share the work."""
    from tinyablate.train import device
    from tinyablate.train.data import images
    from tinyablate.train.preview import Previewer, common_ids

    cpu = device.settle("cpu")
    previewers: dict[str, Previewer] = {}
    for cell in cells:
        if (seen := _inputs_of(cell.recipe)) not in previewers:
            previewers[seen] = Previewer(cell.recipe, images.load(home / cell.recipe.data.name, cpu), seed)
    ids = common_ids(list(previewers.values()), seed, count + 1)  # the last image's partner is one more
    if not len(ids):
        raise SweepError([f"{sweep.path}: the rows share no training image: name some with --row"])
    yield Entry("Original", next(iter(previewers.values())).original(ids, count))
    lines = {}
    for number, (seen, previewer) in enumerate(previewers.items(), 1):
        rows = _of(len(cells), "row", "s")
        say(f"preview: {number} of {len(previewers)} ({rows}, {_of(len(previewers), 'different input', 's')})")
        lines[seen] = previewer.line(ids, count)
    for cell in cells:
        names = sweep.rows[cell.row].label, sweep.columns[cell.column].label
        yield Entry(" · ".join(filter(None, names)), lines[_inputs_of(cell.recipe)])


def _inputs_of(recipe: Recipe) -> str:
    """Text that is equal for recipes whose models see the same images."""
    sections = ("data.", "augment.", "mix.", "batch.", "model.name")
    return repr([value for path, value in flatten(recipe).items() if path.startswith(sections)])


def rates_table(entries: Iterable[Entry]) -> tuple[tuple[str, ...], tuple[tuple[object, ...], ...]]:
    """Header and a row for each line: label, the realised rates as shares, and of how many batches and images."""
    shares, counts = ("mixup", "cutmix", "erased", "changed"), ("batches", "compared")
    rows = (
        (entry.label, *(round(getattr(rates, n), 4) for n in shares), *(getattr(rates, n) for n in counts))
        for entry in entries
        if (rates := entry.line.rates)
    )
    return ("row", *shares, *counts), tuple(rows)


def _heading(sweep: Sweep, cells: Sequence[Cell], entries: Sequence[Entry]) -> str:
    """What is shown: the sweep's title, data set and input size, and what makes it other than the file says."""
    sizes = sorted({entry.line.pictures.shape[1] for entry in entries})
    pixels = f"{sizes[0]} px" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} px"
    data = ", ".join(dict.fromkeys(cell.recipe.data.name for cell in cells))
    changes = (f"--set {text}" for text in sweep.overrides)
    return " · ".join([*(["SMOKE"] if sweep.smoke else []), sweep.title, f"{data} at {pixels}", *changes])


def _notes(sweep: Sweep, first: Cell, seed: int) -> tuple[str, ...]:
    label = sweep.rows[first.row].label
    return (
        f"{sweep.name}, first epoch; every line under seed {seed}, the first one of the row {label!r}.",
        "Each image stands first in a batch of its own with the next image as its partner, and batch k of the first "
        "epoch gives the k-th picture's draws.",
        "Mixup, CutMix: share of the epoch's images. Erased area: mean share of an image's pixels. "
        "Changed: share of images that differ after policy and colour jitter; crops and flips do not count.",
    )


def _strip(line: "Line") -> Image.Image:
    """The line's images side by side, small ones with every pixel enlarged."""
    enlarged = max(SMALL // line.pictures.shape[1], 1)
    pictures = line.pictures.repeat(enlarged, axis=1).repeat(enlarged, axis=2)
    gap = np.full((pictures.shape[1], GAP, 3), 255, np.uint8)
    return Image.fromarray(np.hstack([part for picture in pictures for part in (gap, picture)])[:, GAP:])


def _png(sheet: Sheet) -> bytes:
    """All lines below one another, each under its label and above its rates."""
    strips = [_strip(entry.line) for entry in sheet.entries]
    font = ImageFont.load_default(12)
    above = [sheet.heading, *sheet.notes]
    texts = [*above, *(text for entry in sheet.entries for text in (entry.label, entry.caption))]
    width = max(*(strip.width for strip in strips), *(int(font.getlength(text)) for text in texts)) + 2 * GAP
    height = len(above) * TEXT + sum(strip.height + 2 * TEXT + 2 * GAP for strip in strips) + GAP
    image = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(image), GAP
    for text in above:
        draw.text((GAP, top), text, "black", font)
        top += TEXT
    for entry, strip in zip(sheet.entries, strips, strict=True):
        draw.text((GAP, top), entry.label, "black", font)
        image.paste(strip, (GAP, top + TEXT))
        draw.text((GAP, top + TEXT + strip.height + 2), entry.caption, "dimgray", font)
        top += strip.height + 2 * TEXT + 2 * GAP
    return _as_png(image)


def _as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _html(sheet: Sheet) -> str:
    """One page that needs no other file."""
    title = html.escape(sheet.heading)
    notes = "<br>\n".join(html.escape(note) for note in sheet.notes)
    lines = "\n".join(
        f"<figure><h2>{html.escape(entry.label)}</h2>"
        f'<img alt="{html.escape(entry.label)}" src="data:image/png;base64,{_encoded(entry)}">'
        f"<figcaption>{html.escape(entry.caption)}</figcaption></figure>"
        for entry in sheet.entries
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1><p>{notes}</p>\n{lines}\n</body></html>\n"
    )


def _encoded(entry: Entry) -> str:
    return base64.b64encode(_as_png(_strip(entry.line))).decode()
