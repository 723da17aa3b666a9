"""A diff as text: tables for a terminal, Markdown, JSON. It computes nothing."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinyablate.inspection.diff import unit_of
from tinyablate.inspection.find import KEY_DIGITS
from tinyablate.inspection.records import (
    Diff,
    Differing,
    MetricDifference,
    OfTwoCheckpoints,
    OfTwoRows,
    Scalar,
    Side,
)
from tinyablate.listing import columns_text, render_rows
from tinyablate.store.query import Rows
from tinyablate.tables.words import counted, ranges


@dataclass(frozen=True)
class Section:
    """A part of the text: a table under a heading, then remarks."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def diff_text(diff: Diff, format: str) -> str:
    """The diff as `table`, `markdown` or `json`."""
    if format == "json":
        return json.dumps(dataclasses.asdict(diff), indent=1, ensure_ascii=False, allow_nan=False)
    write = _markdown if format == "markdown" else _terminal
    return "\n\n".join(write(section) for section in _sections(diff))


def shown(value: Any) -> str:
    """A value as a sweep file writes it, texts without quotes; empty for None."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


# ---- sections --------------------------------------------------------------------------------------------------------


def _sections(diff: Diff) -> list[Section]:
    """The parts, those in which nothing differs as one line."""
    rows = len(diff.a.keys) != 1 or len(diff.b.keys) != 1 or bool(diff.metrics)
    parts = [_heading(diff.a, diff.b, rows)]
    named = [
        ("trial", diff.trial),
        ("recipe", diff.recipe),
        ("environment", diff.environment),
        ("outcome", diff.outcome),
    ]
    parts += [_differing(title, found) for title, found in named if found]
    same = [title for title, found in named[1:] if not found and not (rows and title == "outcome")]
    if same:
        parts.append(Section("", (), (), (f"{', '.join(same)}: no difference",)))
    if diff.metrics:
        parts.append(_metrics(diff.metrics))
    if diff.pairs:
        parts.append(_pairs(diff))
    return [*parts, _images(diff, rows)]


def _heading(a: Side, b: Side, rows: bool) -> Section:
    lines = []
    for letter, side in (("A", a), ("B", b)):
        name = side.label if rows else side.label[:KEY_DIGITS]
        lines.append((letter, name, ranges(side.seeds) if side.seeds else "none", "; ".join(side.where)))
    return Section("", ("", "row" if rows else "trial", "seeds" if rows else "seed", "in"), tuple(lines))


def _differing(title: str, found: Sequence[Differing]) -> Section:
    changes = any(each.change is not None for each in found)
    rows = []
    for each in found:
        unit = unit_of(each.name)
        name = f"{each.name} ({unit})" if unit else each.name
        change = () if not changes else ("" if each.change is None else f"{each.change:+.6g}",)
        rows.append((name, _value(each.a), _value(each.b), *change))
    return Section(title, (title, "A", "B", *(["B − A"] if changes else [])), tuple(rows))


def _value(value: Scalar) -> str:
    return shown(value) or ("none" if value is None else '""')


def _metrics(found: Sequence[MetricDifference]) -> Section:
    rows = [
        (
            f"{each.name} ({unit_of(each.name)})" if unit_of(each.name) else each.name,
            f"{each.mean_a:.4g}", f"{each.mean_b:.4g}", f"{each.value:+.4g}",
            "" if each.low is None or each.high is None else f"[{each.low:+.4g}, {each.high:+.4g}]",
            str(each.pairs) if each.paired else f"{each.n_a} and {each.n_b}",
            "" if each.correlation is None else f"{each.correlation:.2f}",
        )
        for each in found
    ]  # fmt: skip
    how = "paired by seed" if found[0].paired else "of independent runs, as no seed is in both (Welch)"
    notes = [f"B − A: {how}; in brackets the 95 % t interval"]
    notes += ["r: correlation between the rows over seeds"] if found[0].paired else []
    if any(each.name.startswith("best_") for each in found):
        notes.append("best_…: the epoch is chosen on the images that are scored, which flatters both rows")
    columns = ("metric", "mean A", "mean B", "B − A", "95 % interval", "pairs" if found[0].paired else "n", "r")
    return Section("metrics", columns, tuple(rows), tuple(notes))


def _pairs(diff: Diff) -> Section:
    rows = tuple((str(each.seed), f"{each.a:.2f}", f"{each.b:.2f}", f"{each.b - each.a:+.2f}") for each in diff.pairs)
    return Section("seeds", ("seed", "A", "B", "B − A"), rows, (f"{diff.rule}_val_top1 in %",))


def _images(diff: Diff, rows: bool) -> Section:
    match diff.images:
        case OfTwoCheckpoints() as found:
            return _of_checkpoints(found, diff.rule)
        case OfTwoRows() as found:
            return _of_rows(found, diff.rule)
        case _:
            return Section("", (), (), (f"images are not compared: {diff.no_images}",))


def _of_checkpoints(found: OfTwoCheckpoints, rule: str) -> Section:
    counts = (("both", found.both), ("only A", found.only_a), ("only B", found.only_b), ("neither", found.neither))
    notes = (
        f"{found.images:,} images, {rule} epoch; exact McNemar test of the images that only one gets right: "
        f"p = {found.p:.2g}",
        "It is about these two checkpoints, not about two methods: another seed makes other checkpoints.",
    )
    return Section("images", ("right under", "images"), tuple((name, f"{count:,}") for name, count in counts), notes)


def _of_rows(found: OfTwoRows, rule: str) -> Section:
    counts = (("more seeds of A", found.more_a), ("more seeds of B", found.more_b), ("as many of both", found.same))
    notes = [f"{found.images:,} images, {rule} epoch, {counted(len(found.seeds), 'seed')} in both rows"]
    parts = (("seed", found.seed_sd), ("image", found.image_sd), ("seed × image", found.interaction_sd))
    if any(sd is not None for _, sd in parts):
        sds = ", ".join(f"{name} {sd:.2f}" for name, sd in parts if sd is not None)
        notes.append(f"standard deviation of B − A of one image, in percentage points, by component: {sds}")
    return Section("images", ("right under", "images"), tuple((name, f"{n:,}") for name, n in counts), tuple(notes))


# ---- formats ---------------------------------------------------------------------------------------------------------


def _terminal(section: Section) -> str:
    table = [columns_text(section.columns, section.rows)] if section.rows else []
    return "\n".join([*table, *section.notes])


def _markdown(section: Section) -> str:
    table = [render_rows(Rows(section.columns, section.rows), "markdown"), ""] if section.rows else []
    heading = [f"**{section.title}**", ""] if section.title else []
    notes = [f"- {note}" for note in section.notes]
    return "\n".join([*heading, *table, *notes]).rstrip()
