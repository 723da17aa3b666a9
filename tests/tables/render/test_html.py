"""A table as HTML: it parses, every label is text, cells say what they are sorted by, nothing is fetched."""

import json
import re
import textwrap
from html.parser import HTMLParser

import pytest

from tinyablate.tables.render import html, render

VOID = {"meta", "br", "link", "img", "input"}


class Reader(HTMLParser):
    """Tags with their attributes, and the text of cells; raises where tags are not nested."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self._open = [], [], []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th", "li", "caption"):
            self.cells.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def test_fragment(full):
    """Heads with scopes, rows with their changes, cells with values and seeds, standing, verdict, notes."""
    lines = html.fragment(full).split("\n")
    expected = """\
        <figure class="sweep-table" data-sweep="demo/ablation">
        <table>
        <caption><strong dir="auto">Demo ablation: test_resnet on shapes</strong>
        <br><span dir="auto">Which technique helps?</span>
        </caption>
        <thead>"""
    assert "\n".join(lines[:6]) == textwrap.dedent(expected)
    text = "\n".join(lines)
    assert '<th scope="colgroup" colspan="7">top-1 (%)</th>' in text
    assert '<th scope="col" class="verdict">verdict</th>' in text
    assert '<th scope="row" dir="auto" title="mix.mixup_alpha: 0.2 → 0.0">Remove Mixup</th>' in text
    assert '<td class="published" data-value="99.0">99.00†</td>' in text
    assert "<strong>90.80 ± 3.67</strong> ≈</td>" in text
    assert '<td class="verdict worse" data-value="-4.73">worse by at least 3.29</td>' in text
    assert '<ul class="notes">' in text
    means = [attributes for tag, attributes in Reader(text).tags if tag == "td" and attributes["class"] == "mean"]
    assert json.loads(means[1]["data-seeds"]) == [[0, 83.0, "complete", "abc"], [1, None, "diverged", "def"]]
    assert means[1]["title"] == "seed 0: 83.00\nseed 1: diverged"
    assert float(means[1]["data-value"]) == 83.42


@pytest.mark.parametrize("name", ["plain", "crossed", "grid", "full", "demo"])
def test_tables_are_rectangular(name, request):
    """Every line of the body spans as many columns as the heading, whose upper line spans all."""
    table = request.getfixturevalue(name)
    head, body = html.fragment(table).split("</thead>")
    widths = [_width(line) for line in body.split("\n") if line.startswith("<tr")]
    assert set(widths) == {_width(next(line for line in head.split("\n") if line.startswith("<tr")))}
    Reader(head + "</thead>" + body)


def _width(line):
    """Columns that a line of a table takes."""
    return sum(int(attributes.get("colspan", 1)) for tag, attributes in Reader(line).tags if tag in ("td", "th"))


def test_groups_and_null_rows_stand_apart(plain, demo):
    """Each group is a tbody with its heading; the null row has one of its own and a class."""
    assert html.fragment(plain).count("<tbody>") == 3
    assert '<th scope="rowgroup" colspan="6" dir="auto">Mixing</th>' in html.fragment(plain)
    assert html.fragment(demo).count("<tbody>") == 2
    assert '<tr class="null" data-row="7">' in html.fragment(demo)


def test_page_needs_nothing_else(full):
    """One document with its style inside: no script, no reference, a title, light and dark, print."""
    page = render(full, "html")
    assert page.startswith("<!doctype html>\n")
    tags = Reader(page).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe"}
    assert not [attributes for _, attributes in tags if {"src", "href"} & set(attributes)]
    assert "url(" not in page
    assert "@import" not in page
    for needed in ("prefers-color-scheme: dark", "@media print", "<title>Demo ablation: test_resnet on shapes</title>"):
        assert needed in page


def test_hostile_labels_are_text(labelled, hostile):
    """Titles, labels, groups, sources, components and notes make no tag and no attribute; no word is lost."""
    table = labelled(hostile, {'"><img src=x onerror=alert(1)>': 1.0})
    page = render(table, "html")
    read = Reader(page)
    assert not {tag for tag, _ in read.tags} & {"script", "img", "b"}
    assert not [attributes for _, attributes in read.tags if any(name.startswith("on") for name in attributes)]
    assert "\x1b" not in page
    assert "\u202e" not in page
    shown = " ".join("".join(c if c.isprintable() else " " for c in " ".join(hostile)).split())
    assert all(re.sub(r"\s+", " ", word) in " ".join(read.cells) for word in shown.split(" "))


def test_minus_signs(demo):
    """Numbers below zero have minus signs, attributes for scripts hyphens."""
    text = html.fragment(demo)
    minus = "\N{MINUS SIGN}"
    assert f'<td class="delta" data-value="-4.73">{minus}4.73 [{minus}6.18, {minus}3.29]</td>' in text
