"""A paper's tables: a folder of every table in every format, captions, and answers to a reproducibility checklist.

Whatever it writes has the same bytes as long as the results are the same, and a file that would not change is left
alone, so that what is built from these files is not built again.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tinyablate.errors import UsageError
from tinyablate.tables.render import latex, render, words
from tinyablate.tables.schema import About, Table, TableCell
from tinyablate.tables.whole import put
from tinyablate.tables.words import capital, counted, cut, short

SUFFIXES = {
    ".txt": "terminal", ".md": "markdown", ".tex": "latex", ".html": "html", ".csv": "csv", ".json": "json",
}  # fmt: skip
"""Of a file -> its format."""

DOCUMENT = "all.tex"


# ---- files -----------------------------------------------------------------------------------------------------------


def write_tables(
    tables: Sequence[Table],
    out: Path,
    rounded: bool = False,
    caption: bool = False,
    checklist: bool = False,
) -> list[Path]:
    """Write every table in every format into the folder `out`; all files that now hold them, changed or not.

    `demo-ablation.tex` and so on are of the sweep `demo/ablation`; `all.tex` is a document of all of them to look at.
    `rounded` as in `render`; `caption` and `checklist` add NAME.caption.txt and NAME.checklist.md. Raises UsageError
    where `out` is a file, OSError where it cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; tables in every format are written into a folder")
    names = file_names(tables)
    texts = {
        out / f"{name}{suffix}": render(table, format, rounded=rounded)
        for name, table in zip(names, tables, strict=True)
        for suffix, format in SUFFIXES.items()
    }
    for name, table in zip(names, tables, strict=True):
        if caption:
            texts[out / f"{name}.caption.txt"] = caption_of(table)
        if checklist:
            texts[out / f"{name}.checklist.md"] = checklist_of(table)
    texts[out / DOCUMENT] = _document(names)
    return [write(path, text) for path, text in texts.items()]


def write(path: Path, text: str) -> Path:
    """Write `text` and a final newline to `path`, unless just that stands there."""
    return put(path, f"{text}\n".encode())


def file_names(tables: Sequence[Table]) -> list[str]:
    """A file name, without suffix, for each table: its sweep's, with what `--set` changed; no two are the same."""
    names = list[str]()
    for table in tables:
        overrides = table.about.overrides if table.about else ()
        name = "-".join([latex.label_name(table), *map(latex.plain_name, overrides)])
        taken = (f"{name}-{number}" for number in range(2, len(tables) + 2))
        names.append(name if name not in [*names, "all"] else next(each for each in taken if each not in names))
    return names


def _document(names: Sequence[str]) -> str:
    return "\n".join(
        [
            "% All tables of this folder, to look at: pdflatex all.tex",
            r"\documentclass{article}",
            r"\usepackage{booktabs}",
            r"\begin{document}",
            *(rf"\input{{{name}}}" + "\n" + r"\clearpage" for name in names),
            r"\end{document}",
        ]
    )


# ---- captions --------------------------------------------------------------------------------------------------------


def caption_of(table: Table) -> str:
    """One paragraph: what is asked, n and seeds, rule, spread, differences, tests, hardware."""
    return " ".join(words.line(sentence) for sentence in _caption(table))


def _caption(table: Table) -> Iterator[str]:
    yield _sentence(table.title)
    if table.question:
        yield _sentence(table.question)
    titles = ", ".join(dict.fromkeys(words.title(column) for column in table.columns))
    about = table.about
    measured = f" on {' and '.join(about.measured_on)}" if about and _chosen(table) else ""
    rule = f", {_RULES[about.select]}" if about and _chosen(table) else ""
    seeds = f" (seeds planned: {about.seeds})" if about else ""
    yield f"{capital(titles)}{measured}{rule}: mean ± sample standard deviation over {_n(table)}{seeds}."
    yield from _compared(table)
    if about and about.margin is not None:
        yield f"The smallest difference that matters was declared as {about.margin:g}."
    if about and about.origins:
        yield f"Computed on {cut(_distinct(origin.provenance.device for origin in about.origins))}."


_RULES = {
    "best": "at the best epoch by top-1 on these images",
    "last": "at the last epoch",
    "cross-fitted": "at the epoch that is best on one half of these images, scored on the other half, and vice versa",
}


_TESTS = {
    "max-t": "joint sign flips, step-down max-T",
    "holm": "sign flips, adjusted by Holm",
    "stein": "Stein's t on the first stage's degrees of freedom, adjusted by Holm",
}


def _compared(table: Table) -> Iterator[str]:
    """What differences, intervals and p-values are."""
    about = table.about
    kinds = {cell.kind for cell in _cells(table) if cell.delta is not None}
    if kinds:
        paired = "paired by seed" if kinds == {"paired"} else "paired by seed where rows share seeds"
        paired = "between independent runs" if kinds == {"unpaired"} else paired
        interval = "95 % interval by Stein's two-stage rule" if about and about.test == "stein" else "95 % t interval"
        yield f"Δ: difference to the baseline, {paired}, with its {interval}."
    found = [cell.comparison for cell in _cells(table) if cell.comparison]
    if any(each.block_low is not None for each in found):
        last = " (of the last epoch)" if about and about.select == "best" else ""
        yield f"Block{last}: the 95 % interval with seed as block and the variance pooled over the rows."
    tests = sum(each.p is not None for each in found)
    if tests and about:
        last = "of the last epoch, " if about.select == "best" else ""
        over = "of the table" if about.family == "table" else "of each column"
        yield f"p: {last}two-sided, {_TESTS[about.test]}, over the comparisons {over} ({counted(tests, 'comparison')})."


def _n(table: Table) -> str:
    counts = sorted({cell.n for cell in _cells(table) if cell.state != "excluded"})
    if len(counts) < 2:
        return f"n = {counts[0] if counts else 0} seeds"
    return f"n = {counts[0]} to {counts[-1]} seeds"


def _chosen(table: Table) -> bool:
    """Whether any number is an epoch's, so that a rule chose it."""
    return any(column.metric.source == "epochs" for column in table.columns)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _cells(table: Table) -> Iterator[TableCell]:
    return (cell for row in table.rows for cell in row.cells)


def _distinct(texts: Iterable[str]) -> list[str]:
    return sorted(set(texts) - {""})


# ---- checklist -------------------------------------------------------------------------------------------------------


def checklist_of(table: Table) -> str:
    """What reproducibility checklists of conferences ask of an experiment, answered from the database; Markdown.

    The questions are those of the NeurIPS paper checklist (2024: experimental setting, statistical significance,
    compute resources, open access to data and code) and of ICLR's reproducibility statement, in our words.
    """
    about = table.about
    if about is None:
        raise ValueError("a table without its origins has no checklist")
    answers = {
        "Sweep": f"{table.name}, sha256 of the file with all that changes it {short(about.digest)}"
        + (f"; changed by {', '.join(about.overrides)}" if about.overrides else ""),
        "Runs": f"{about.complete} of {about.planned} planned trials are complete{_open(table)}.",
        "Seeds": f"{about.seeds}; {_n(table)} behind a mean.",
        "Error bars": "± is the sample standard deviation over seeds: initial weights, order of the images and their "
        "augmentation vary, the images do not. " + " ".join(_compared(table)),
        "Selection": _selection(table, about),
        "Hyper-parameters": "in the sweep file, and of every trial in full: `tinyablate show TRIAL`. They were not "
        "tuned by this program; rows differ from their baseline in " + _changes(table),
        "Models": ", ".join(about.models) + _weights(about),
        "Data": "; ".join(_data(about)) or _NOT_YET,
        "Code": _each(about, "commit") + "; sources of the training " + _each(about, "train_digest"),
        "Software": f"torch {_each(about, 'torch')}, timm {_each(about, 'timm')}, "
        f"core version {_each(about, 'core_version')}",
        "Hardware": _each(about, "device"),
        "Compute": "not counted"
        if about.device_hours is None
        else f"{about.device_hours:.3g} device-hours, in all attempts, failed ones included",
        "Mixed": "; ".join(mixed(table))
        or ("nothing: one commit, device and version for all results" if about.origins else _NOT_YET),
    }
    smoke = ["SMOKE: a reduced copy of the sweep; its numbers mean nothing.", ""] if table.smoke else []
    lines = [f"- **{question}**: {words.line(answer)}" for question, answer in answers.items()]
    return "\n".join([f"## {words.line(table.title)}", "", *smoke, *lines])


_NOT_YET = "no trial is complete yet"


def _open(table: Table) -> str:
    """What became of the others."""
    marks = dict.fromkeys(mark.split(" ", 1)[1] for cell in _cells(table) for mark in cell.marks)
    return f" (others: {', '.join(marks)})" if marks else ""


def _selection(table: Table, about: About) -> str:
    if not _chosen(table):
        return "none: no number depends on an epoch."
    if about.select == "best":
        return f"{_RULES['best']}: the reported images choose the epoch; verdicts use the last epoch."
    return f"{_RULES[about.select]}, on {' and '.join(about.measured_on)}."


def _changes(table: Table) -> str:
    told = [f"{row.label}: {', '.join(change.path for change in row.changes)}" for row in table.rows if row.changes]
    return f"{cut(told, most=50, between='; ')}." if told else "nothing."


def _weights(about: About) -> str:
    digests = [f"{model} {', '.join(map(short, found))}" for model, found in about.weights.items() if found]
    return f"; pretrained weights: {'; '.join(digests)}" if digests else ""


def _data(about: About) -> Iterator[str]:
    for name, fingerprint in dict.fromkeys((origin.data, origin.fingerprint) for origin in about.origins):
        digests = _distinct(origin.provenance.data_digest for origin in about.origins if origin.data == name)
        yield f"{name}, fingerprint {fingerprint}" + (f", digest {', '.join(map(short, digests))}" if digests else "")


def _each(about: About, field: str) -> str:
    """Every value of this field of the provenances, digests cut."""
    found = _distinct(str(getattr(origin.provenance, field)) for origin in about.origins)
    return ", ".join(map(short, found) if field in ("commit", "train_digest") else found) or _NOT_YET


# ---- what is mixed ---------------------------------------------------------------------------------------------------

_FIELDS = {
    "commit": "commit",
    "train_digest": "sources of the training",
    "core_version": "core version",
    "device": "device",
    "torch": "torch",
    "timm": "timm",
    "compiled": "torch.compile",
}
"""Field of a Provenance -> its name in words."""


def mixed(table: Table) -> tuple[str, ...]:
    """What the table's results do not have in common though they should: a phrase for each; empty where all is one."""
    about = table.about
    if about is None:
        return ()
    found = list[str]()
    for field, name in _FIELDS.items():
        values = _distinct(str(getattr(origin.provenance, field)) for origin in about.origins)
        if len(values) > 1:
            cutting = field in ("commit", "train_digest")
            found.append(f"{name}: {cut([short(value) if cutting else value for value in values])}")
    for data in dict.fromkeys(origin.data for origin in about.origins):
        digests = _distinct(origin.provenance.data_digest for origin in about.origins if origin.data == data)
        if len(digests) > 1:
            found.append(f"preparations of {data}: {cut([short(digest) for digest in digests])}")
    for model, weights in about.weights.items():
        if len(weights) > 1:
            found.append(f"pretrained weights of {model}: {cut([short(digest) for digest in weights])}")
    return tuple(found)
