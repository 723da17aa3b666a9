"""Scripts read csv and json: exact numbers, a contract of keys, whatever labels hold."""

import csv
import io
import json

import pytest

from tinyablate.errors import UsageError
from tinyablate.tables.render import FORMATS, render, render_all


def read_json(text):
    """Strict JSON: no NaN, no Infinity."""

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_csv_keeps_its_columns(full):
    """The columns of old, then the published numbers, then what came later."""
    lines = list(csv.DictReader(io.StringIO(render(full, "csv"))))
    assert list(lines[0]) == [
        "label", "group", "column", "metric", "mean", "sd", "n", "n_planned", "delta", "delta_low", "delta_high",
        "state", "unit", "low", "high", "standing", "published_paper", "sweep", "rule", "block_low", "block_high", "p",
        "p_holm", "verdict", "predicted_low", "predicted_high", "p_raw", "pairs", "verdict_text", "marks",
    ]  # fmt: skip
    assert lines[2] == {
        "label": "Remove CutMix", "group": "", "column": "", "metric": "val_top1", "mean": "90.8", "sd": "3.67",
        "n": "6", "n_planned": "6", "delta": "2.65", "delta_low": "0.35", "delta_high": "4.95", "state": "complete",
        "unit": "%", "low": "", "high": "", "standing": "close", "published_paper": "88.0", "sweep": "demo/ablation",
        "rule": "last", "block_low": "-0.15000000000000002", "block_high": "5.45", "p": "0.0625", "p_holm": "0.125",
        "verdict": "better", "predicted_low": "80.0", "predicted_high": "95.0", "p_raw": "0.03125", "pairs": "6",
        "verdict_text": "better by at least 0.35", "marks": "",
    }  # fmt: skip


def test_csv_has_a_line_for_each_cell(crossed, plain):
    """Row by column by metric; what is not there is empty."""
    lines = list(csv.DictReader(io.StringIO(render(crossed, "csv"))))
    assert len(lines) == 2 * 2 * 2
    assert [line["state"] for line in lines[-2:]] == ["excluded", "excluded"]
    gaps = list(csv.DictReader(io.StringIO(render(plain, "csv"))))[2]
    assert [gaps[name] for name in ("sd", "n", "n_planned", "delta_low", "state", "published_paper", "verdict")] == [
        "", "1", "3", "", "partial", "", "",
    ]  # fmt: skip


def test_json_keeps_its_contract(full):
    """Exactly the keys that scripts depend on; later versions only add."""
    read = read_json(render(full, "json"))
    assert list(read) == [
        "title", "rows", "footnotes", "axes", "name", "smoke", "question", "components", "columns", "test", "family",
    ]  # fmt: skip
    row = read["rows"][1]
    assert list(row) == ["label", "group", "cells", "baseline", "null", "components", "changes"]
    assert row["cells"][0] == {
        "column": "", "metric": "val_top1", "mean": 83.42, "sd": 4.31, "n": 6, "n_planned": 6, "delta": -4.73,
        "delta_low": -6.18, "delta_high": -3.29, "state": "complete", "unit": "%", "low": None, "high": None,
        "standing": "separated", "published": {"paper": 88.0}, "kind": "paired", "pairs": 6, "marks": [],
        "comparison": {
            "rule": "last", "value": -4.73, "low": -6.18, "high": -3.29, "block_low": -6.68, "block_high": -2.79,
            "bca_low": None, "bca_high": None, "p": 0.03125, "p_holm": 0.0625, "correlation": 0.5,
            "verdict": {"kind": "worse", "text": "worse by at least 3.29"}, "p_raw": 0.015625,
        },
        "predicted": [80.0, 95.0],
        "values": [
            {"seed": 0, "value": 83.0, "state": "complete", "trial": "abc"},
            {"seed": 1, "value": None, "state": "diverged", "trial": "def"},
        ],
    }  # fmt: skip
    assert row["changes"] == [{"path": "mix.mixup_alpha", "before": "0.2", "after": "0.0", "declared": True}]
    assert read["columns"] == [
        {
            "column": "", "metric": "val_top1", "unit": "%", "better": "max", "digits": 2, "sources": ["paper"],
            "statistics": {
                "comparisons": 2, "sd": 1.5, "freedom": 10, "p_fair": 0.4, "least_pairs": 6, "detect_pairs": 9,
            },
        }
    ]  # fmt: skip
    assert [len(row["cells"][0]["values"]) for row in read["rows"]] == [2, 2, 1], "a seed that is not planned is none"
    assert read["footnotes"] == list(full.footnotes)


def test_rounded(full):
    """As the table shows them, in CSV with the zeros at their ends: -0.15000000000000002 is -0.15, 90.8 is 90.80."""
    (_, _, line) = csv.DictReader(io.StringIO(render(full, "csv", rounded=True)))
    assert [line[name] for name in ("mean", "block_low", "p")] == ["90.80", "-0.15", "0.062"]
    cell = read_json(render(full, "json", rounded=True))["rows"][1]["cells"][0]
    assert (cell["comparison"]["block_low"], cell["comparison"]["p"], cell["values"][1]["value"]) == (
        -6.68,
        0.031,
        None,
    )


def test_hostile_labels(labelled, hostile):
    """Every label comes back exactly, newlines and escapes included."""
    table = labelled(hostile, {"pa\nper": 1.0})
    assert [line["label"] for line in csv.DictReader(io.StringIO(render(table, "csv"), newline=""))] == list(hostile)
    assert [row["label"] for row in read_json(render(table, "json"))["rows"]] == list(hostile)


def test_several_tables_as_one(full, plain):
    """JSON is a list, HTML one page, the others stand one below the other; one table alone is no list."""
    both = [full, plain]
    assert [table["name"] for table in read_json(render_all(both, "json"))] == ["demo/ablation", "t"]
    assert read_json(render_all([plain], "json"))["name"] == "t"
    page = render_all(both, "html")
    assert (page.count("<html"), page.count("<table>")) == (1, 2)
    assert render_all(both, "markdown") == f"{render(full, 'markdown')}\n\n{render(plain, 'markdown')}"


def test_equal_tables_give_equal_bytes(full, monkeypatch):
    """Variables of the terminal and the locale do not reach any format."""
    before = {format: render(full, format) for format in FORMATS}
    for name, value in {"COLUMNS": "33", "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C"}.items():
        monkeypatch.setenv(name, value)
    assert {format: render(full, format) for format in FORMATS} == before
    assert not any(text.endswith("\n") for text in before.values())


def test_unknown_format_is_refused(plain):
    """The message names the format, the valid ones and the nearest."""
    with pytest.raises(UsageError, match=r"markdwn.*'terminal', 'markdown', 'latex', .*; did you mean 'markdown'\?"):
        render(plain, "markdwn")
