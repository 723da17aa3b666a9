"""A table as LaTeX: exact for a small one, every character literal, and a bare article sets all of them."""

import re
import shutil
import subprocess
import textwrap
from dataclasses import replace

import pytest

from tinyablate.tables.render import latex, render, tex
from tinyablate.tables.render.choice import EVERYTHING, Choice, columns_of
from tinyablate.tables.schema import Note

needs_pdflatex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed (Debian: texlive-latex-recommended)"
)


def compiled(folder, tables, engine="pdflatex", choice=EVERYTHING, options=""):
    """The tables under a bare article with booktabs, as its log; asserts that nothing stopped the engine."""
    body = "\n\\clearpage\n".join(render(table, "latex", choice=choice) for table in tables)
    head = f"\\documentclass[{options}]{{article}}\n\\usepackage{{booktabs}}"
    (folder / "t.tex").write_text(f"{head}\n\\begin{{document}}\nA text.\n{body}\n\\end{{document}}\n")
    done = subprocess.run(
        [engine, "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=folder, capture_output=True, check=False
    )
    log = (folder / "t.log").read_text(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert (folder / "t.pdf").stat().st_size > 1000
    return log


def test_latex(plain):
    """The whole of a small table: booktabs, caption, label, groups, minus signs, a null row, notes."""
    rows = (plain.rows[0], plain.rows[1], replace(plain.rows[3], group=""))
    notes = (Note("Values: the last epoch."), Note("MIXED: devices.", "warning"), Note("Lower is better: loss."),
             Note("More of it.", "detail"), Note("next: tinyablate run", "author"))  # fmt: skip
    expected = r"""
        % t: written by tinyablate, as often as it is asked to.
        % In the preamble: \usepackage{booktabs}
        \begin{table}[tbp]
        \centering
        \caption[{A table}]{A table. Does it help? Top-1 (\%): mean~$\pm$~sample standard deviation over n = 3 seeds. $\Delta$: difference to the baseline, paired by seed where rows share seeds, with its 95 \% t interval.}
        \label{tab:t}
        \small
        \setlength{\tabcolsep}{4pt}
        \begin{tabular}{@{}lrlrrl@{}}
        \toprule
        Row & \shortstack[r]{top-1 (\%)\\mean~$\pm$~sd} & n & paper & reproduction & \shortstack[l]{$\Delta$ to baseline\\{[}95 \% interval]} \\
        \midrule
        Default & 91.17~$\pm$~0.21 & 3 & 91.34 & 91.00 & baseline \\
        \midrule
        \multicolumn{6}{@{}l}{\textit{Mixing}} \\
        Remove Mixup & 90.93~$\pm$~0.25 & 3 & 91.11 &  & $-$0.23 {[}$-$0.61, +0.15] \\
        \midrule
        \emph{Default, other seeds} & 91.13~$\pm$~0.21 & 3 &  &  & $-$0.03 {[}$-$0.51, +0.44] \\
        \bottomrule
        \end{tabular}\par\medskip
        \begin{minipage}{\linewidth}\scriptsize\raggedright\setlength{\parskip}{1pt}
        MIXED: devices. Lower is better: loss.\par
        \end{minipage}
        \end{table}
    """  # noqa: E501
    assert render(replace(plain, rows=rows, notes=notes), "latex") == textwrap.dedent(expected).strip("\n")


def test_notes(plain):
    """`full` has all but what is said to the author, each a paragraph; `none` has none."""
    notes = (Note("Values: the last epoch."), Note("More of it.", "detail"), Note("next: tinyablate run", "author"))
    table = replace(plain, notes=notes)
    assert "Values: the last epoch.\\par\nMore of it.\\par\n\\end{minipage}" in render(
        table, "latex", choice=Choice("full")
    )
    for choice in (Choice("full"), Choice("short"), Choice()):
        assert "next:" not in render(table, "latex", choice=choice)
    assert "minipage" not in render(table, "latex", choice=Choice("none"))


def test_standing_and_marks(full):
    """Best and close are bold with a mark, unexpected published numbers have a dagger, ✓ and ✗ are signs."""
    text = render(full, "latex")
    assert r"\textbf{90.80~$\pm$~3.67}" in text
    assert r"99.00\rlap{$^{\dagger}$}" in text
    assert "$\\surd$" in text
    assert "$\\times$" in text
    assert r"\shortstack[c]{Random\\Erasing}" in text


def test_compact(demo):
    """One line a row: difference with its interval, p, a verdict in a word or two that the notes explain; `block` only
    if it is asked for."""
    text = render(demo, "latex")
    assert r"83.42~$\pm$~4.31 & 6 & $-$4.73 {[}$-$6.18, $-$3.29] & 0.031 & worse \\" in text
    assert "undecided: no difference shown" in text
    assert "6.68" not in text
    asked = render(demo, "latex", choice=Choice(columns=columns_of("mean,delta,block")))
    assert r"{[}$-$6.68, $-$2.79]" in asked
    assert "0.031" not in asked


def test_second_lines_stand_under_their_intervals(demo):
    """Two lines a row where one is too wide, parted by a little space; the second is indented by what is above it."""
    text = render(demo, "latex", choice=Choice(columns=columns_of("mean,n,delta,block,p,verdict")))
    assert r"$-$4.73 {[}$-$6.18, $-$3.29]\\\hphantom{$-$4.73~}{[}$-$6.68, $-$2.79]" in text
    assert text.count(r"\addlinespace[2pt]") == 6


def test_columns_have_heads_over_them(crossed):
    """A column of the table that is printed as several has its heading over all of them."""
    assert r"\multicolumn{3}{c}{90ep top-1 (\%)}" in render(crossed, "latex")
    assert r"\cmidrule(lr){2-4}" in render(crossed, "latex")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\input{x} $&#_%~^", r"\textbackslash{}input\{x\} \$\&\#\_\%\textasciitilde{}\textasciicircum{}"),
        ("[a] *b* <c> |d| `e`", r"{[}a] {*}b{*} $<$c$>$ $|$d$|$ \`{}e\`{}"),
        ("--set a=1e-4", "-{}-set a=1e-4"),
        ("±Δ≈−×—†✓✗…", r"$\pm$$\Delta$$\approx$$-$$\times$\textemdash{}$\dagger$$\surd$$\times$\ldots{}"),
        ("naïve Łódź Ångström ço", r"na\"{\i}ve \L{}\'{o}d\'{z} \r{A}ngstr\"{o}m \c{c}o"),
        ("a 中文 b", r"a \tinyablateunicode{中文}{{[}U+4E2D U+6587]} b"),
        ("two\nlines \x1b[0m", r"two lines {[}0m"),
    ],
)  # fmt: skip
def test_escapes(text, expected):
    """Specials, what \\\\ would take as its argument, ligatures, our own signs, accents, other scripts, controls."""
    assert tex.escaped(text) == expected


def test_minus_signs():
    """Before a number a hyphen is a minus sign, within a word or a range it stays."""
    assert tex.numeric("-4.73 [-6.18, 1e-4] 0-5 leave-one-out") == r"$-$4.73 {[}$-$6.18, 1e-4] 0-5 leave-one-out"


def test_labels(demo):
    """`\\ref` and file names have letters, digits, points and hyphens alone."""
    assert latex.label_name(demo) == "demo-ablation"
    assert latex.label_name(replace(demo, smoke=True)) == "demo-ablation-smoke"
    assert latex.label_name(replace(demo, name="../ä b", title="x")) == "b"
    assert latex.label_name(replace(demo, name="", title="中文")) == "table"


PROBLEM = re.compile(r"^(?:Overfull|LaTeX Warning: Float too large).*", re.MULTILINE)


@needs_pdflatex
def test_pdflatex(tmp_path, plain, demo, full, crossed, grid, metrics):
    """Tables of every layout compile, and none is wider or longer than a page, nor a whole page of its own."""
    log = compiled(tmp_path, [plain, replace(full, name="full"), demo, crossed, grid, metrics])
    assert PROBLEM.findall(log) == []


@needs_pdflatex
@pytest.mark.parametrize(
    "choice", [Choice(wide=True), Choice(columns=columns_of("mean,n,delta,p"))], ids=["wide", "columns"]
)
def test_two_columns(tmp_path, demo, metrics, choice):
    """As wide as a page of two columns, or with fewer columns within one of them."""
    log = compiled(tmp_path, [demo, metrics] if choice.wide else [demo], choice=choice, options="twocolumn")
    assert PROBLEM.findall(log) == []


def test_facts_stand_beside(metrics):
    """A metric to a tabular, one below the other; the count of parameters takes one column of one of them."""
    tabulars = render(metrics, "latex").split(r"\begin{tabular}{@{}p")[1:]
    assert sorted(text.count("195,018,000") for text in tabulars) == [0, 0, 4]
    assert "Delta" in next(text for text in tabulars if "195,018,000" in text)


@needs_pdflatex
def test_pdflatex_sets_hostile_labels(tmp_path, labelled, hostile):
    """Chinese, Hebrew, Arabic, emoji, commands and controls stop nothing and lose no character."""
    log = compiled(tmp_path, [labelled(hostile, {"pa_per & $": 1.0})])
    assert "Missing character" not in log
    assert not re.findall(r"^!.*", log, re.MULTILINE)


@pytest.mark.skipif(shutil.which("lualatex") is None, reason="lualatex is not installed (Debian: texlive-luatex)")
def test_lualatex_gets_the_characters(tmp_path, labelled):
    """Under an engine of Unicode the characters themselves are set: its usual font misses them, and says which."""
    assert "U+4E2D" in compiled(tmp_path, [labelled(["中文"])], "lualatex")
