"""A paper's tables: a folder of every table in every format, captions, and answers to a reproducibility checklist.

Whatever it writes has the same bytes as long as the results are the same, and a file that would not change is left
alone, so that what is built from these files is not built again.
"""

import html
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tinyablate.errors import UsageError
from tinyablate.tables.render import latex, markdown, render, words
from tinyablate.tables.render.caption import RULES, caption_of, cells_of, compared, is_chosen, margin_of, n_of
from tinyablate.tables.render.choice import EVERYTHING, Choice
from tinyablate.tables.render.tex import numeric
from tinyablate.tables.schema import About, Table
from tinyablate.tables.whole import put
from tinyablate.tables.words import cut, short

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
    choice: Choice = EVERYTHING,
) -> list[Path]:
    """Write every table in every format into the folder `out`; all files that now hold them, changed or not.

    `demo-ablation.tex` and so on are of the sweep `demo/ablation`; `all.tex` is a document of all of them to look at.
    NAME.notes.md has all footnotes, whatever `choice` leaves below the tables. `rounded` and `choice` as in `render`;
    `caption` and `checklist` add NAME.caption.txt and NAME.checklist.md. Raises UsageError
    where `out` is a file, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; tables in every format are written into a folder")
    names = file_names(tables)
    texts = {
        out / f"{name}{suffix}": render(table, format, rounded=rounded, choice=choice)
        for name, table in zip(names, tables, strict=True)
        for suffix, format in SUFFIXES.items()
    }
    for name, table in zip(names, tables, strict=True):
        texts[out / f"{name}.notes.md"] = notes_text(table)
        if caption:
            texts[out / f"{name}.caption.txt"] = caption_of(table, choice)
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


def notes_text(table: Table) -> str:
    """All footnotes as Markdown, those for the author included."""
    return "\n".join([f"## {markdown.escaped(words.line(table.title))}", "", *markdown.listed(table.footnotes)])


def caption_text(table: Table, format: str = "terminal", choice: Choice = EVERYTHING) -> str:
    """The caption as a text of this format: escaped where it has markup. It has none in csv and json: UsageError."""
    text = caption_of(table, choice)
    if format == "latex":
        return numeric(text)
    if format in ("html", "markdown"):
        return html.escape(words.minus(text), quote=False) if format == "html" else markdown.escaped(text)
    if format != "terminal":
        raise UsageError(f"--caption --format {format}: has no captions; valid: terminal, markdown, latex, html")
    return text


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
        "Seeds": f"{about.seeds}; {n_of(table)} behind a mean.",
        "Error bars": "± is the sample standard deviation over seeds: initial weights, order of the images and their "
        "augmentation vary, the images do not. " + " ".join(compared(table)),
        "Margin": " ".join(margin_of(table)) or "none was declared, so that no row is called equivalent.",
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
    marks = dict.fromkeys(mark.split(" ", 1)[1] for cell in cells_of(table) for mark in cell.marks)
    return f" (others: {', '.join(marks)})" if marks else ""


def _selection(table: Table, about: About) -> str:
    if not is_chosen(table):
        return "none: no number depends on an epoch."
    if about.select == "best":
        return f"{RULES['best']}: the reported images choose the epoch; verdicts use the last epoch."
    return f"{RULES[about.select]}, on {' and '.join(about.measured_on)}."


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


def _distinct(texts: Iterable[str]) -> list[str]:
    return sorted(set(texts) - {""})


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
