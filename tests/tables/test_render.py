"""A table prints the same bytes everywhere, stays readable at 80 columns, and scripts can read its csv and json."""

import csv
import io
import json
import os
import random
import re
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tinyablate.errors import UsageError
from tinyablate.tables.layout import CellResult, build
from tinyablate.tables.render import render

PUBLISHED = {(0, 0): {"val_top1": {"paper": 91.34, "reproduction": 91.0}}, (1, 0): {"val_top1": {"paper": 91.11}}}


@pytest.fixture
def table(row, sweep, done):
    """One metric, no second axis: a baseline, a complete row, a row with gaps, a null row; groups; two sources."""
    rows = [
        row(0, "Default"),
        row(1, "Remove Mixup", group="Mixing"),
        row(2, "Remove CutMix", group="Mixing"),
        row(3, "Default, other seeds", group="Noise", seeds=(10, 11, 12), null=True),
    ]
    gaps = [*done(91.0), CellResult(1, "diverged", {}, 2), CellResult(2, "running", {})]
    results = {
        (0, 0): done(91.0, 91.4, 91.1),
        (1, 0): done(90.9, 91.2, 90.7),
        (2, 0): gaps,
        (3, 0): done(91.3, 91.2, 90.9, first=10),
    }
    return build(sweep(rows, published=PUBLISHED), results)


@pytest.fixture
def crossed(row, sweep, done):
    """Two metrics in two columns, one cell excluded."""
    rows = [row(0, "Default"), row(1, "Remove Mixup")]
    results = {(at, column): done(91.0 + at, 91.4, 91.1 + column) for at in range(2) for column in range(2)}
    metrics = ("val_top1", "val_loss")
    return build(sweep(rows, ["90ep", "150ep"], [(1, 1)], PUBLISHED, metrics=metrics), results)


def above_notes(text):
    """The part of a printed table above its footnotes."""
    return text.split("\n\n- ")[0]


def test_terminal(table):
    """The whole form at once: title, question, groups, marks, signs, published columns."""
    expected = """\
        A table
        Does it help?

                                 top-1 (%)                         Δ to baseline
        Row                      mean ± sd  n                      [95 % interval]       paper  reproduction
        ────────────────────────────────────────────────────────────────────────────────────────────────────
        Default               91.17 ± 0.21  3                      baseline              91.34         91.00
        Mixing
        Remove Mixup          90.93 ± 0.25  3                      -0.23 [-0.61, +0.15]  91.11
        Remove CutMix                91.00  1/3;                   +0.00
                                            1 running, 1 diverged
        Noise
        Default, other seeds  91.13 ± 0.21  3                      -0.03 [-0.51, +0.44]
        """
    assert above_notes(render(table, width=110)) == textwrap.dedent(expected).rstrip("\n")


def test_terminal_of_80_columns_stacks(table):
    """Where one line for each row does not fit, the difference moves under the mean: nothing is cut."""
    expected = """\
        A table
        Does it help?

                              top-1 (%)
        Row                   Δ [95 % interval]       paper  reproduction
        ─────────────────────────────────────────────────────────────────
        Default               91.17 ± 0.21 (3)        91.34         91.00
                              baseline
        Mixing
        Remove Mixup          90.93 ± 0.25 (3)        91.11
                              -0.23 [-0.61, +0.15]
        Remove CutMix         91.00 (1/3;
                              1 running, 1 diverged)
                              +0.00
        Noise
        Default, other seeds  91.13 ± 0.21 (3)
                              -0.03 [-0.51, +0.44]
        """
    assert above_notes(render(table)) == textwrap.dedent(expected).rstrip("\n")
    assert render(table) == render(table, width=80)


def test_terminal_of_columns(crossed):
    """Columns that do not fit beside the others go into a further table below, with the row labels again."""
    narrow, wide = above_notes(render(crossed, width=70)), above_notes(render(crossed, width=140))
    assert (narrow.count("Row "), wide.count("Row ")) == (2, 1)
    for text in (narrow, wide):
        assert (text.count("90ep"), text.count("validation loss"), text.count("n/a")) == (4, 2, 2)


@pytest.mark.parametrize("width", [40, 57, 80, 100, 200])
def test_no_line_is_too_long(table, crossed, width):
    """Every line of title, table and footnotes fits into the width that was given."""
    for each in (table, crossed):
        assert max(map(cell_len, render(each, width=width).split("\n"))) <= width


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.text(min_size=1, max_size=90), st.integers(1, 120))
def test_any_label_prints(row, sweep, label, width):
    """Whatever a label holds - wide characters, markup, controls - lines fit and its visible characters are there."""
    printed = render(build(sweep([row(0, label), row(1, "other")]), {}), width=width)
    assert max(map(cell_len, printed.split("\n"))) <= max(width, 40)
    assert all(character.isprintable() for character in printed.replace("\n", ""))
    visible = [character for character in label if character.isprintable() and not character.isspace()]
    assert not [character for character in visible if character not in printed]


def test_markup_prints_literally(row, sweep):
    """Labels are data: `[bold]` is neither style nor lost, in any format."""
    table = build(sweep([row(0, "[bold]lr[/bold] :smile:")]), {})
    for format in ("terminal", "markdown", "csv", "json"):
        assert "[bold]lr[/bold] :smile:" in render(table, format)


def test_color_only_when_asked(table):
    """Without `color` there is no escape; with it the same characters stand between the escapes."""
    plain, colored = render(table), render(table, color=True)
    assert "\x1b" not in plain
    assert "\x1b[1m" in colored
    assert re.sub(r"\x1b\[\d+m", "", colored) == plain


def test_bytes_do_not_depend_on_the_environment(table, monkeypatch):
    """Terminal variables do not reach the text."""
    before = {format: render(table, format) for format in ("terminal", "markdown", "csv", "json")}
    for name, value in {"COLUMNS": "33", "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C"}.items():
        monkeypatch.setenv(name, value)
    assert {format: render(table, format) for format in before} == before


def test_bytes_do_not_depend_on_hashing():
    """Two processes with other hash seeds print a table of mixed provenance and several sources alike."""
    program = """if True:
        from dataclasses import replace
        from pathlib import Path
        from tinyablate.recipe import Data, Model, Recipe
        from tinyablate.sweep.schema import Cell, Column, Row, Sweep
        from tinyablate.tables.layout import CellResult, Provenance, build
        from tinyablate.tables.render import render
        recipe = Recipe(data=Data(name="shapes"), model=Model(name="m"))
        rows = tuple(Row(at, f"r{at}", "", None, (0, 1, 2), False) for at in range(9))
        published = {"val_top1": {f"source {at}": 1.0 for at in range(5)}}
        cells = tuple(Cell(at, 0, recipe, "", published) for at in range(9))
        origin = Provenance("a", "b", "c", "d", "e", 1, "f")
        def result(row, seed):
            mixed = replace(origin, device=f"gpu {row}", data_digest=str(seed))
            return CellResult(seed, "complete", {"val_top1": row + seed / 7}, None, mixed)
        results = {(at, 0): [result(at, seed) for seed in range(3)] for at in range(9)}
        columns, metrics = (Column(0, ""),), ("val_top1",)
        sweep = Sweep(
            "n", Path("n"), "t", "q", "", metrics, "best", None, recipe, None, rows, columns, cells, (), False, (), "",
            "",
        )
        table = build(sweep, results)
        print(*(render(table, format) for format in ("terminal", "markdown", "csv", "json")))
    """
    printed = [
        subprocess.run(
            [sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert b"MIXED" in printed[0]


def test_markdown(table):
    """A GitHub table with a heading, one line for each row, and the footnotes as a list."""
    expected = """\
        ### A table

        Does it help?

        | Row | top-1 (%) mean ± sd | n | Δ to baseline [95 % interval] | paper | reproduction |
        |---|---:|---|---|---:|---:|
        | Default | 91.17 ± 0.21 | 3 | baseline | 91.34 | 91.00 |
        | **Mixing** | | | | | |
        | Remove Mixup | 90.93 ± 0.25 | 3 | -0.23 [-0.61, +0.15] | 91.11 |  |
        | Remove CutMix | 91.00 | 1/3; 1 running, 1 diverged | +0.00 |  |  |
        | **Noise** | | | | | |
        | Default, other seeds | 91.13 ± 0.21 | 3 | -0.03 [-0.51, +0.44] |  |  |
        """
    printed = render(table, "markdown")
    assert above_notes(printed) == textwrap.dedent(expected).rstrip("\n")
    assert [line[2:] for line in printed.split("\n") if line.startswith("- ")] == list(table.footnotes)


def test_markdown_escapes(row, sweep):
    """Pipes, backslashes, stars, backticks and tags in a label neither break the table nor vanish."""
    printed = render(build(sweep([row(0, r"a|b \ *c* `d` <e>")]), {}), "markdown")
    assert r"| a\|b \\ \*c\* \`d\` \<e> | — |" in printed


def test_markdown_of_columns_is_rectangular(crossed):
    """Every line of the table has as many cells as its heading, which tells columns and metrics apart."""
    lines = [line for line in render(crossed, "markdown").split("\n") if line.startswith("|")]
    assert {line.count("|") for line in lines} == {12}
    assert "| 90ep top-1 (%) | 90ep Δ [95 % interval] | 90ep paper |" in lines[0]


def test_csv(table, crossed):
    """One line for each row, column and metric, numbers unrounded, empty where there is none."""
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert list(lines[0]) == [
        "label", "group", "column", "metric", "mean", "sd", "n", "n_planned", "delta", "delta_low", "delta_high",
        "state", "unit", "low", "high", "standing", "published_paper", "published_reproduction",
    ]  # fmt: skip
    cell = table.rows[1].cells[0]
    assert (lines[1]["label"], lines[1]["group"]) == ("Remove Mixup", "Mixing")
    assert [float(lines[1][name]) for name in ("mean", "sd", "delta", "delta_low", "delta_high")] == [
        cell.mean, cell.sd, cell.delta, cell.delta_low, cell.delta_high,
    ]  # fmt: skip
    assert [lines[2][name] for name in ("sd", "n", "n_planned", "delta_low", "state", "published_paper")] == [
        "", "1", "3", "", "partial", "",
    ]  # fmt: skip
    assert len(list(csv.DictReader(io.StringIO(render(crossed, "csv"))))) == 2 * 2 * 2


def test_json_keeps_its_contract(table):
    """Exactly the keys that scripts depend on, strict JSON, null where there is none."""

    def refuse(constant):
        raise AssertionError(constant)

    read = json.loads(render(table, "json"), parse_constant=refuse)
    assert list(read) == ["title", "rows", "footnotes", "axes"]
    assert [list(each) for each in read["rows"]] == [["label", "group", "cells"]] * 4
    cell = read["rows"][2]["cells"][0]
    assert cell == {
        "column": "", "metric": "val_top1", "mean": 91.0, "sd": None, "n": 1, "n_planned": 3, "delta": 0.0,
        "delta_low": None, "delta_high": None, "state": "partial", "unit": "%", "low": None, "high": None,
        "standing": None, "published": {},
    }  # fmt: skip
    assert read["rows"][0]["cells"][0]["published"] == {"paper": 91.34, "reproduction": 91.0}
    assert read["footnotes"] == list(table.footnotes)


def test_rounding_to_zero_has_no_minus(row, sweep, done):
    """-0.001 prints as +0.00, -0.15 and +0.21 with ASCII signs, a count with its thousands."""
    rows = [row(at, str(at), seeds=(0,)) for at in range(4)]
    results = {(at, 0): done(90.0 + change) for at, change in enumerate((0, -0.001, -0.15, 0.21))}
    printed = render(build(sweep(rows), results), "markdown")
    assert re.findall(r"\| ([+-]\d\.\d\d) \|", printed) == ["+0.00", "-0.15", "+0.21"]
    counted = build(sweep(rows[:1], metrics=("parameters",)), {(0, 0): done(195_018_000.0, metric="parameters")})
    assert "| 195,018,000 |" in render(counted, "markdown")


def test_unknown_format_is_refused(table):
    """The message names the format, the valid ones and the nearest."""
    with pytest.raises(UsageError, match=r"markdwn.*'terminal', 'markdown', 'csv', 'json'; did you mean 'markdown'\?"):
        render(table, "markdwn")


def test_large_table_is_quick(row, sweep, done):
    """1,000 cells of 10 seeds are built and printed in at most 0.3 s of processor time (0.05 s when measured)."""
    rows = [row(at, f"row {at}", seeds=tuple(range(10))) for at in range(1000)]
    values = random.Random(0)
    results = {(at, 0): done(*(values.gauss(90, 1) for _ in range(10))) for at in range(1000)}
    large = sweep(rows)
    start = time.process_time()
    assert len(render(build(large, results)).split("\n")) > 1000
    assert time.process_time() - start < 0.3
