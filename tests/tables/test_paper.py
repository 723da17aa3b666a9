"""A paper's tables folder is stable byte for byte; captions, checklists and `--strict` say what the database knows."""

import json
import os
import shutil
import subprocess
from dataclasses import replace

import analytic
import pytest

from tinyablate.errors import UsageError
from tinyablate.job import Outcome
from tinyablate.tables import paper
from tinyablate.tables.collect import collect
from tinyablate.tables.layout import build
from tinyablate.tables.render import render
from tinyablate.tables.render.choice import EVERYTHING, Choice, columns_of
from tinyablate.tables.schema import About, Note, Origin, Provenance
from tinyablate.tables.watch import running, watch

ORIGIN = Provenance(
    commit="a1b2c3d4e5f6a7b8-dirty", train_digest="0123456789abcdef", device="cpu (Xeon)", torch="2.15.0",
    timm="1.0.31", core_version=1, data_digest="fedcba9876543210",
)  # fmt: skip


@pytest.fixture
def about() -> About:
    """Of a table of two trials, one of which is missing."""
    return About(
        select="last", margin=0.2, family="table", test="max-t", seeds="0-1", measured_on=("the validation set",),
        models=("test_resnet",), overrides=(), digest="d" * 64, planned=2, complete=1,
        origins=(Origin("shapes", "shapes-v1", ORIGIN, 1),), weights={}, device_hours=1.25,
    )  # fmt: skip


@pytest.fixture
def table(row, sweep, store, fill):
    """A sweep's table from a store: a complete row, and one with a trial missing."""
    asked = sweep([row(0, "Default", seeds=(0, 1)), row(1, "Arm", seeds=(2, 3))], name="demo/ablation")
    done = [Outcome("complete", (analytic.result(asked.baseline, seed, 1),), ()) for seed in range(2)]
    fill(store, asked, [((0, "train"), done), ((1, "train"), done[:1])])
    return collect(asked, store, hours=True)


def test_every_format_of_every_table(tmp_path, table):
    """Named after their sweeps, without two of one name, with a document of all of them."""
    tables = [table, replace(table, name="demo-ablation"), replace(table, smoke=True)]
    written = paper.write_tables(tables, tmp_path / "new", caption=True, checklist=True)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in written)
    names = {path.name for path in written}
    assert len(names) == 3 * 9 + 1
    assert {"demo-ablation.tex", "demo-ablation-2.md", "demo-ablation-smoke.json", "demo-ablation.txt", "all.tex",
            "demo-ablation.html", "demo-ablation.csv", "demo-ablation.caption.txt"} <= names  # fmt: skip
    assert json.loads((tmp_path / "new" / "demo-ablation.json").read_text())["name"] == "demo/ablation"
    assert r"\input{demo-ablation-2}" in (tmp_path / "new" / "all.tex").read_text()


def test_nothing_is_written_again(tmp_path, table):
    """A second call changes no byte and no time; one other table changes its own files alone; nothing lies about."""
    out = tmp_path / "tables"
    first = paper.write_tables([table], out)
    for path in first:
        os.utime(path, ns=(10**9, 10**9))
    assert paper.write_tables([table], out) == first
    assert {path.stat().st_mtime_ns for path in first} == {10**9}
    paper.write_tables([replace(table, notes=(Note("another"),))], out)
    changed = {path.suffix for path in first if path.stat().st_mtime_ns != 10**9}
    assert changed == {".tex", ".md", ".html", ".json", ".txt"}, "csv has no footnotes, all.tex only names"
    assert {path.name for path in out.iterdir()} == {path.name for path in first}


def test_overrides_are_in_the_name(table, about):
    """What `--set` changed makes another file."""
    changed = replace(table, about=replace(about, overrides=("schedule.epochs=2",)))
    assert paper.file_names([table, changed]) == ["demo-ablation", "demo-ablation-schedule.epochs-2"]


def test_out_is_a_folder(tmp_path, table):
    """A file in its place is refused."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        paper.write_tables([table], tmp_path / "file")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_document_compiles(tmp_path, table):
    """`all.tex` is a whole document of the folder's tables."""
    paper.write_tables([table, replace(table, name="b_&")], tmp_path)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "all.pdf").exists()


def test_caption(table):
    """What, where, at which epoch, spread, n of which seeds, hardware; the words of a table without results too."""
    text = paper.caption_of(table)
    assert text.startswith(
        "A table. Does it help? Top-1 (%) on the validation set, at the last epoch: mean ± sample standard deviation "
        "over n = 1 to 2 seeds (seeds planned: 0, 1; 2, 3). Δ: difference to the baseline, between independent runs"
    )
    assert "Computed on" in text


def test_caption_of_comparisons(table, about):
    """The margin and the devices stand there as declared and recorded."""
    text = paper.caption_of(replace(table, about=about))
    assert "declared as 0.2. Computed on cpu (Xeon)." in text


BLOCK = Choice(columns=columns_of("delta,block,p"))


@pytest.mark.parametrize(
    ("change", "choice", "words"),
    [
        ({}, EVERYTHING, "its 95 % t interval. p: two-sided, joint sign flips, step-down max-T, over the comparisons "
         "of the table (2 comparisons)."),
        ({}, BLOCK, "Block: the 95 % interval with seed as block and the variance pooled over the rows. p: two-sided"),
        ({"select": "best", "test": "holm", "family": "column"}, BLOCK, "Block (of the last epoch): the 95 % interval "
         "with seed as block and the variance pooled over the rows. p: of the last epoch, two-sided, sign flips, "
         "adjusted by Holm, over the comparisons of each column"),
        ({"test": "stein"}, EVERYTHING, "its 95 % interval by Stein's two-stage rule. p: two-sided, Stein's t on the "
         "first stage's degrees of freedom, adjusted by Holm, over"),
    ],
)  # fmt: skip
def test_caption_of_p(row, sweep, done, about, change, choice, words):
    """What p are of, how they were computed and over what they are adjusted is what the table did; of block intervals
    it speaks where they are shown."""
    rows = [row(at, label) for at, label in enumerate(("Default", "Arm", "Other"))]
    values = ((1.0, 2.0, 4.0), (2.0, 2.5, 7.0), (1.5, 2.0, 3.0))
    made = build(sweep(rows), {(at, 0): done(*each) for at, each in enumerate(values)})
    text = paper.caption_of(replace(made, about=replace(about, **change)), choice)
    assert words in text
    assert ("Block" in text) == choice.asks("block")


def test_a_margin_of_afterwards_is_not_declared(table, about):
    """What was changed since the first run stands in caption and checklist, and its margin is not called declared."""
    late = replace(table, about=replace(about, changed=("margin none -> 0.2", "seeds 0-1 -> 0-5")))
    text = paper.caption_of(late)
    assert "was set after the first run, to 0.2. CHANGED since the first run: margin none -> 0.2; seeds" in text
    assert "declared" not in text
    assert "- **Margin**: The smallest difference that matters was set after the first run" in paper.checklist_of(late)
    none = replace(table, about=replace(about, margin=None))
    assert "- **Margin**: none was declared, so that no row is called equivalent." in paper.checklist_of(none)


def test_captions_are_escaped(table):
    """The .tex file's caption is the one that is printed, escaped; formats without markup that could hold it have
    none."""
    named = replace(table, title="a_b & 50 %")
    caption = paper.caption_text(named, "latex")
    assert caption.startswith(r"a\_b \& 50 \%. Does it help? Top-1 (\%)")
    assert rf"\caption[{{a\_b \& 50 \%}}]{{{caption}}}" in render(named, "latex")
    assert paper.caption_text(named, "html").startswith("a_b &amp; 50 %.")
    assert paper.caption_text(named) == paper.caption_of(named)
    with pytest.raises(UsageError, match="--caption --format csv"):
        paper.caption_text(named, "csv")


def test_all_notes_have_a_file(tmp_path, table):
    """Whatever stands below the tables, NAME.notes.md has every footnote, those for the author too."""
    notes = (Note("*: one", "detail"), Note("next: tinyablate run", "author"))
    paper.write_tables([replace(table, notes=notes)], tmp_path, choice=Choice(notes="none"))
    text = (tmp_path / "demo-ablation.notes.md").read_text()
    assert text.endswith("\n\n- \\*: one\n- next: tinyablate run\n")
    assert "next:" not in (tmp_path / "demo-ablation.md").read_text()


def test_nothing_to_mix_yet(table, about):
    """Without a result the checklist does not claim that all results are alike."""
    told = paper.checklist_of(replace(table, about=replace(about, origins=())))
    assert "- **Mixed**: no trial is complete yet" in told


def test_checklist(table, about):
    """Each question has its answer from the database, and no line is left open."""
    lines = paper.checklist_of(table).split("\n")
    answers = dict(line.removeprefix("- **").split("**: ") for line in lines[2:])
    assert answers["Runs"] == "3 of 4 planned trials are complete (others: missing)."
    assert answers["Seeds"].startswith("0, 1; 2, 3; n = 1 to 2 seeds")
    assert answers["Data"].startswith("shapes, fingerprint shapes-v1, digest")
    assert answers["Compute"].endswith("device-hours, in all attempts, failed ones included")
    assert all(answers.values())
    told = paper.checklist_of(replace(table, about=about, smoke=True))
    assert "SMOKE: a reduced copy" in told
    assert "- **Compute**: 1.25 device-hours" in told
    assert "- **Code**: a1b2c3d4e5f6-dirty; sources of the training 0123456789ab" in told


def test_mixed(table, about):
    """Every field that results differ in is named with its values; one origin mixes nothing."""
    assert paper.mixed(replace(table, about=about)) == ()
    other = replace(ORIGIN, device="H100", data_digest="f" * 16)
    origins = (*about.origins, Origin("shapes", "shapes-v1", other, 1))
    weights = {"test_resnet": ("1" * 64, "2" * 64)}
    phrases = paper.mixed(replace(table, about=replace(about, origins=origins, weights=weights)))
    assert phrases == (
        "device: H100, cpu (Xeon)",
        "preparations of shapes: fedcba987654, ffffffffffff",
        "pretrained weights of test_resnet: 111111111111, 222222222222",
    )


class Screen:
    """A terminal that keeps what is written."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_watch_draws_until_nothing_runs():
    """On the second screen, over what stood there; then that screen is left and the last text is given back."""
    looks = iter([("one\nline", True), ("two", True), ("three", False), ("four", True), *[("five", False)] * 2])
    screen = Screen()
    assert watch(lambda: next(looks), screen, seconds=0, patience=2) == "five"
    assert screen.text.startswith("\x1b[?1049h\x1b[?25l\x1b[Hone\x1b[K\nline\x1b[K\n\x1b[J\x1b[Htwo\x1b[K\n")
    assert screen.text.endswith("\x1b[?25h\x1b[?1049l")
    assert next(looks, None) is None


def test_watch_ends_with_ctrl_c():
    """What was drawn last is given back, and the terminal is as before."""
    screen = Screen()
    looks = iter([("one", True)])

    def look():
        try:
            return next(looks)
        except StopIteration:
            raise KeyboardInterrupt from None

    assert watch(look, screen, seconds=0) == "one"
    assert screen.text.endswith("\x1b[?1049l")


def test_watch_of_what_does_not_run(table):
    """Nothing is drawn: the table is there at once."""
    screen = Screen()
    assert watch(lambda: ("text", running(table)), screen) == "text"
    assert screen.text == ""
