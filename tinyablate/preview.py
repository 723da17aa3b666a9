"""The contact sheet of `data preview`: a line of training images for each row of a sweep, and the realised rates.

It draws and writes; what the images are is `train.preview`'s business.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tinyablate import processes
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
        """The realised rates in words."""
        rates = self.line.rates
        return (
            f"changed by policy or jitter {rates.changed:.1%} · Mixup {rates.mixup:.1%} · CutMix {rates.cutmix:.1%} "
            f"· erased area {rates.erased:.2%}"
        )


def preview(sweep: Sweep, rows: Sequence[str], count: int, out: Path | None) -> tuple[Path, list[Entry]]:
    """Write the contact sheet of `sweep` (of `rows`, if any are named) and return its path and lines.

    `out` ends in .html or .png; without it the sheet goes to results/preview. Raises UsageError, SweepError, DataError.
    """
    path = out or FOLDER / f"{sweep.name.replace('/', '-')}.html"
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--out {path}: must end in {listed(SUFFIXES)}")
    cells = _chosen(sweep, rows)
    check_models(sweep)
    entries = _entries(sweep, cells, require_data(sweep), count)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{processes.own_token().replace(':', '-')}{path.suffix}")
    aside.write_bytes(_png(sweep, entries) if path.suffix == ".png" else _html(sweep, entries).encode())
    aside.replace(path)
    return path, entries


def _chosen(sweep: Sweep, rows: Sequence[str]) -> list[Cell]:
    """The cells of the named rows, of all where none is named."""
    labels = [row.label for row in sweep.rows]
    if unknown := [label for label in rows if label not in labels]:
        raise UsageError(
            f"--row {unknown[0]}: no row of {sweep.name}{nearest(unknown[0], labels)}; valid: {listed(labels)}"
        )
    return [cell for cell in sweep.cells if not rows or labels[cell.row] in rows]


def _entries(sweep: Sweep, cells: Iterable[Cell], home: Path, count: int) -> list[Entry]:
    """A line for each of the cells; those whose images are the same share the work, not the line."""
    from tinyablate.train import device
    from tinyablate.train.data import images
    from tinyablate.train.preview import Previewer, common_ids

    cpu = device.settle("cpu")
    seed = sweep.rows[0].seeds[0]
    previewers: dict[str, Previewer] = {}
    names: list[tuple[str, str]] = []
    for cell in cells:
        seen = _inputs_of(cell.recipe)
        column = sweep.columns[cell.column].label
        names.append((" · ".join(filter(None, (sweep.rows[cell.row].label, column))), seen))
        if seen not in previewers:
            previewers[seen] = Previewer(cell.recipe, images.load(home / cell.recipe.data.name, cpu), seed)
    ids = common_ids(list(previewers.values()), seed, count)
    if not len(ids):
        raise SweepError([f"{sweep.path}: the rows share no training image: name some with --row"])
    lines = {}
    for number, (seen, previewer) in enumerate(previewers.items(), 1):
        say(f"preview: {number} of {len(previewers)} different inputs")
        lines[seen] = previewer.line(ids)
    return [Entry(name, lines[seen]) for name, seen in names]


def _inputs_of(recipe: Recipe) -> str:
    """Text that is equal for recipes whose models see the same images."""
    sections = ("data.", "augment.", "mix.", "batch.", "model.name")
    return repr([value for path, value in flatten(recipe).items() if path.startswith(sections)])


def rates_table(entries: Iterable[Entry]) -> tuple[tuple[str, ...], tuple[tuple[object, ...], ...]]:
    """Header and a row for each line: its label and the realised rates, as shares."""
    rows = ((entry.label, *(round(rate, 4) for rate in vars(entry.line.rates).values())) for entry in entries)
    return ("row", "mixup", "cutmix", "erased", "changed"), tuple(rows)


def _note(sweep: Sweep) -> str:
    return (
        f"{sweep.name}, first epoch, seed {sweep.rows[0].seeds[0]}. Mixup, CutMix: share of the epoch's images; "
        "erased area: mean share of an image's pixels; changed: of 256 images, by comparing pixels."
    )


def _strip(line: "Line") -> Image.Image:
    """The line's images side by side, small ones with every pixel enlarged."""
    enlarged = max(SMALL // line.pictures.shape[1], 1)
    pictures = line.pictures.repeat(enlarged, axis=1).repeat(enlarged, axis=2)
    gap = np.full((pictures.shape[1], GAP, 3), 255, np.uint8)
    return Image.fromarray(np.hstack([part for picture in pictures for part in (gap, picture)])[:, GAP:])


def _png(sweep: Sweep, entries: Sequence[Entry]) -> bytes:
    """All lines below one another, each under its label and above its rates."""
    strips = [_strip(entry.line) for entry in entries]
    font = ImageFont.load_default(12)
    texts = [sweep.title, _note(sweep), *(text for entry in entries for text in (entry.label, entry.caption))]
    width = max(*(strip.width for strip in strips), *(int(font.getlength(text)) for text in texts)) + 2 * GAP
    height = 2 * TEXT + sum(strip.height + 2 * TEXT + 2 * GAP for strip in strips) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(sheet), GAP
    for text in texts[:2]:
        draw.text((GAP, top), text, "black", font)
        top += TEXT
    for entry, strip in zip(entries, strips, strict=True):
        draw.text((GAP, top), entry.label, "black", font)
        sheet.paste(strip, (GAP, top + TEXT))
        draw.text((GAP, top + TEXT + strip.height + 2), entry.caption, "dimgray", font)
        top += strip.height + 2 * TEXT + 2 * GAP
    return _as_png(sheet)


def _as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _html(sweep: Sweep, entries: Sequence[Entry]) -> str:
    """One page that needs no other file."""
    title = html.escape(sweep.title)
    lines = "\n".join(
        f"<figure><h2>{html.escape(entry.label)}</h2>"
        f'<img alt="{html.escape(entry.label)}" src="data:image/png;base64,{_encoded(entry)}">'
        f"<figcaption>{html.escape(entry.caption)}</figcaption></figure>"
        for entry in entries
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1><p>{html.escape(_note(sweep))}</p>\n{lines}\n</body></html>\n"
    )


def _encoded(entry: Entry) -> str:
    return base64.b64encode(_as_png(_strip(entry.line))).decode()
