"""A table on a terminal: what people see at 80 columns and at more, and that nothing is ever wider or lost."""

import re
import textwrap
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tinyablate.errors import UsageError
from tinyablate.sweep.metrics import lookup
from tinyablate.tables.render import render
from tinyablate.tables.render.choice import Choice, columns_of
from tinyablate.tables.schema import Note


def expected(text: str) -> str:
    """`text` without its indentation."""
    return textwrap.dedent(text).strip("\n")


def above_notes(text: str) -> str:
    """The part of a printed table above its footnotes."""
    return text.split("\n\n- ")[0]


def test_80_columns(demo):
    """The demo's table in two lines a row: the block interval under the interval, p under the verdict."""
    lines = """
        Demo ablation: test_resnet on shapes
        Which technique helps?

                                                   Δ to baseline
                                     top-1 (%)     [95 % interval]          verdict
        Row                          mean ± sd  n  [block]                  p
        ─────────────────────────────────────────────────────────────────────────────
        Default                 88.15 ± 4.26    6  baseline
        Remove Mixup            83.42 ± 4.31    6  -4.73 [-6.18, -3.29]     worse
                                                         [-6.68, -2.79]     p = 0.031
        Remove CutMix           90.80 ± 3.67 ≈  6  +2.65 [+0.35, +4.95]     better
                                                         [-0.15, +5.45]     p = 0.062
        Remove Random Erasing   92.58 ± 2.21 *  6  +4.43 [+1.61, +7.26]     better
                                                         [+1.11, +7.76]     p = 0.062
        Remove label smoothing  88.18 ± 2.91    6  +0.03 [-3.57, +3.63]     undecided
                                                         [-4.07, +4.13]     p = 1.00
        Add EMA                 85.85 ± 4.36    6  -2.30 [-2.89, -1.71]     worse
                                                         [-3.39, -1.21]     p = 0.031
        Learning rate 1e-4      14.00 ± 1.91    6  -74.15 [-80.34, -67.96]  worse
                                                          [-80.84, -67.46]  p = 0.031

        Default, other seeds    85.52 ± 5.52    6  -2.63 [-9.03, +3.76]
    """
    assert above_notes(render(demo)) == expected(lines)
    assert render(demo) == render(demo, width=80)


def test_wide_terminal(demo):
    """With room everything has a column of its own; with more, verdicts have their whole text."""
    short, whole = render(demo, width=110), render(demo, width=150)
    row = "Remove Mixup            83.42 ± 4.31    6  -4.73 [-6.18, -3.29]     [-6.68, -2.79]    0.031  worse"
    assert row in short.split("\n")
    assert f"{row} by at least 3.29" in whole.split("\n")
    assert "no difference detected (-3.57 to +3.63)" in whole


def test_narrow_terminal(demo):
    """Where two lines a row do not fit, everything stands under the mean."""
    lines = """
        Remove CutMix           90.80 ± 3.67 ≈ (6)
                                +2.65 [+0.35, +4.95]
                                [-0.15, +5.45]
                                better, p = 0.062
    """
    assert expected(lines) in render(demo, width=60)


def test_without_verdicts(plain):
    """Groups, a row with gaps, two published numbers beside ours, a null row; nothing is said of what is not there."""
    lines = """
        A table
        Does it help?

                                 top-1 (%)                                              Δ to baseline
        Row                      mean ± sd  n                      paper  reproduction  [95 % interval]
        ────────────────────────────────────────────────────────────────────────────────────────────────────
        Default               91.17 ± 0.21  3                      91.34         91.00  baseline
        Mixing
        Remove Mixup          90.93 ± 0.25  3                      91.11                -0.23 [-0.61, +0.15]
        Remove CutMix                91.00  1/3;                                        +0.00
                                            1 running, 1 diverged
        Noise
        Default, other seeds  91.13 ± 0.21  3                                           -0.03 [-0.51, +0.44]
    """
    assert above_notes(render(plain, width=110)) == expected(lines)


def test_columns_that_do_not_fit_stand_below(crossed):
    """They are a further table with the row labels again; a fact that is complete has no count."""
    narrow, wide = above_notes(render(crossed, width=70)), above_notes(render(crossed, width=140))
    assert (narrow.count("Row "), wide.count("Row ")) == (2, 1)
    for text, heads in ((narrow, 3), (wide, 4)):  # Δ has a heading of its own beside the mean, and none below it
        assert (text.count("90ep"), text.count("parameters"), text.count("n/a")) == (heads, 2, 2)
        assert re.search(r" 195,018,000( |$)", text, re.MULTILINE)


@pytest.mark.parametrize(("width", "lines"), [(80, 4), (120, 2), (150, 2), (190, 1)])
def test_two_metrics_use_the_width(demo, width, lines):
    """Side by side in the fewest lines that the width has room for."""
    rows = tuple(replace(row, cells=row.cells * 2) for row in demo.rows)
    two = replace(demo, columns=(demo.columns[0], replace(demo.columns[0], metric=lookup("val_top5"))), rows=rows)
    text = above_notes(render(two, width=width)).split("\n")
    assert text.count("Row") <= 1
    starts = [at for at, line in enumerate(text) if line.startswith("Remove")]
    assert starts[1] - starts[0] == lines
    assert width * 0.75 < max(map(cell_len, text)) <= width


def test_columns_and_notes_are_chosen(demo, crossed):
    """Only what is asked for is printed; where that is nothing, an error says so."""
    text = render(demo, width=150, choice=Choice("none", columns_of("mean,p")))
    assert text.split("\n")[7] == "Remove Mixup            83.42 ± 4.31    0.031"
    assert "- " not in text
    assert "Δ" not in render(crossed, width=150, choice=Choice(columns=columns_of("mean")))
    assert "+0" not in render(crossed, choice=Choice(columns=columns_of("mean,n")))
    with pytest.raises(UsageError, match="has none of these columns"):
        render(crossed, choice=Choice(columns=columns_of("verdict")))
    with pytest.raises(UsageError, match="'verdikt'; did you mean 'verdict'"):
        columns_of("mean, verdikt")


def test_short_notes(demo):
    """`short` has what must not be overlooked and what a reader needs."""
    notes = tuple(Note(kind, kind) for kind in ("warning", "reader", "detail", "author"))
    text = render(replace(demo, notes=notes), choice=Choice("short"))
    assert text.endswith("\n\n- warning\n- reader")


def test_two_way(grid):
    """A cell for every combination, with its standing, what is open, and an unexpected published number."""
    lines = """
        AdamW
        top-1 (%) by optimizer.lr (rows) and optimizer.weight_decay (columns)

        Row         weight_decay = 0.2  weight_decay = 0.05
        ───────────────────────────────────────────────────
        lr = 0.003  n/a                 —
                                        0/3; 3 diverged
        lr = 0.001  91.20 ± 0.42 ≈      91.17 ± 0.21 *
                    2/3; 1 diverged     paper 95.00†
    """
    assert render(grid) == expected(lines)


def test_components_and_unexpected_numbers(full):
    """✓ and ✗ before the numbers, a heading's words below each other; † where a published number is not expected."""
    head, first = render(full, width=150).split("\n")[4:7:2]
    assert head.startswith("Row            Mixup  Erasing       mean ± sd  n   paper  [95 % interval]")
    assert first == "Default        ✓      0.25     88.15 ± 4.26    6  99.00†  baseline"


def test_verdict_of_another_epoch(demo):
    """Where the shown difference is the best epoch's, what belongs to the last epoch says so, with its difference."""
    (cell,) = demo.rows[1].cells
    rows = (demo.rows[0], replace(demo.rows[1], cells=(replace(cell, delta=-4.0),)))
    text = render(replace(demo, rows=rows), width=150)
    assert "last epoch:        last  last epoch:" not in text
    assert "-4.00 [-6.18, -3.29]  -4.73 [-6.68, -2.79]" in text
    assert text.count("last epoch:") == 3


def test_nothing_is_marked_where_nothing_is_separated(demo):
    """Stars on every row say nothing: a column whose rows are all close to the best has none."""
    rows = tuple(replace(row, cells=(replace(row.cells[0], standing="close"),)) for row in demo.rows)
    assert "≈" not in render(replace(demo, rows=rows))


@pytest.mark.parametrize("width", [40, 57, 80, 100, 200])
def test_no_line_is_too_long(plain, demo, full, crossed, width):
    """Every line of title, table and footnotes fits into the width that was given."""
    for table in (plain, demo, full, crossed):
        assert max(map(cell_len, render(table, width=width).split("\n"))) <= width


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.text(min_size=1, max_size=90), st.integers(1, 120))
def test_any_label_prints(labelled, label, width):
    """Whatever a label holds - wide characters, markup, controls - lines fit and its visible characters are there."""
    printed = render(labelled([label, "other"]), width=width)
    assert max(map(cell_len, printed.split("\n"))) <= max(width, 40)
    assert all(character.isprintable() for character in printed.replace("\n", ""))
    visible = [character for character in label if character.isprintable() and not character.isspace()]
    assert not [character for character in visible if character not in printed]


def test_color_only_when_asked(demo):
    """Without `color` there is no escape; with it the same characters stand between the escapes, the best in bold."""
    plain, colored = render(demo), render(demo, color=True)
    assert "\x1b" not in plain
    assert "\x1b[1m92.58 ± 2.21 *\x1b[0m" in colored
    assert re.sub(r"\x1b\[\d+m", "", colored) == plain


def test_large_table_is_quick(labelled):
    """1,000 rows print in at most 0.3 s of processor time (0.03 s when measured)."""
    table = replace(labelled([f"row {at}" for at in range(1000)]), components=())
    start = time.process_time()
    assert len(render(table).split("\n")) > 1000
    assert time.process_time() - start < 0.3
