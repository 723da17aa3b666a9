"""A table as Markdown: GitHub reads it as the table that was meant, whatever its labels hold."""

import textwrap
from dataclasses import replace

from tinyablate.tables.render import render
from tinyablate.tables.render.markdown import escaped
from tinyablate.tables.schema import Note


def test_markdown(plain):
    """A heading, a line for each row, groups, a null row, the footnotes as a list."""
    expected = """\
        ### A table

        Does it help?

        | Row | top-1 (%) mean ± sd | n | paper | reproduction | Δ to baseline [95 % interval] |
        |---|---:|---|---:|---:|---|
        | Default | 91.17 ± 0.21 | 3 | 91.34 | 91.00 | baseline |
        | **Mixing** | | | | | |
        | Remove Mixup | 90.93 ± 0.25 | 3 | 91.11 |  | -0.23 [-0.61, +0.15] |
        | Remove CutMix | 91.00 | 1/3; 1 running, 1 diverged |  |  | +0.00 |
        | **Noise** | | | | | |
        | *Default, other seeds* | 91.13 ± 0.21 | 3 |  |  | -0.03 [-0.51, +0.44] |

        - Values: the last epoch.
        - Measured on shapes."""
    assert render(plain, "markdown") == textwrap.dedent(expected)


def test_everything(full):
    """Components, standing, a mark on an unexpected number, block interval, p and the verdict's whole text."""
    lines = render(full, "markdown").split("\n")
    assert lines[5] == "|---|:---:|:---:|---:|---|---:|---|---|---:|---|"
    assert "| ✓ | 0.25 | 88.15 ± 4.26 | 6 | 99.00† | baseline |  |  |  |" in lines[6]
    assert lines[8].endswith("| 90.80 ± 3.67 ≈ | 6 | 88.00 | +2.65 [+0.35, +4.95] | [-0.15, +5.45] | 0.062 | "
                             "better by at least 0.35 |")  # fmt: skip


def test_columns_are_rectangular(crossed):
    """Every line has as many cells as the heading, which tells columns and metrics apart."""
    lines = [line for line in render(crossed, "markdown").split("\n") if line.startswith("|")]
    assert {line.count("|") for line in lines} == {10}
    assert "| 90ep top-1 (%) | 90ep paper | 90ep Δ [95 % interval] | 90ep parameters |" in lines[0]


def test_two_way(grid):
    """The lines of a cell are parted by a point."""
    assert r"| lr = 0.001 | 91.20 ± 0.42 ≈ · 2/3; 1 diverged | 91.17 ± 0.21 \* · paper 95.00† |" in render(
        grid, "markdown"
    )


def test_escapes():
    """What is markup to Markdown, HTML or GitHub's formulas gets a backslash, and nothing else."""
    text = r"a|b \ *c* `d` <e> ~f~ $x$ _g_ h_i [j](k) &lt; & #"
    assert escaped(text) == r"a\|b \\ \*c\* \`d\` \<e> \~f\~ \$x\$ \_g\_ h_i [j]\(k) \&lt; & #"


def test_hostile_labels_stay_in_their_cells(labelled, hostile):
    """No label opens a tag, a link or a formula, ends a cell or a line; none of its words is lost."""
    text = render(labelled(hostile, {"pa|per": 1.0}), "markdown")
    rows = [line for line in text.split("\n") if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
    assert "<script>" not in text.replace("\\<", "")
    assert "](" not in text
    assert "\x1b" not in text
    assert all(character.isprintable() for character in text.replace("\n", ""))
    for word in ("中文标签", "שלום עולם", "مرحبا", "two lines", "naïve Łódź Ångström", "🙂"):
        assert word in text


def test_notes_start_no_list(plain):
    """A footnote that begins like a heading, a quotation or a list is a sentence."""
    notes = ("# one", "> two", "3. three", "- four", "*: the best")
    lines = render(replace(plain, notes=tuple(map(Note, notes))), "markdown").split("\n")[-5:]
    assert lines == [r"- \# one", r"- \> two", r"- 3\. three", r"- \- four", r"- \*: the best"]
