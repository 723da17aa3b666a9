"""The report in a real browser, from disk: what sorts, hovers, toggles, and how it looks in the dark and on paper."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reported import CHINESE, HOSTILE, RIGHT_TO_LEFT, fill_fast, grid, write_sweep

from tinyablate.report.write import write_report
from tinyablate.store.store import Store

Look = Callable[..., Any]


def sweep_page(work: Path) -> str:
    """The address of the sweep's page."""
    return (work / "out" / "sweeps" / "mine.html").as_uri()


def column(page: Any, table: str, index: int) -> list[str]:
    """The texts of a column's cells, from top to bottom."""
    texts: list[str] = page.eval_on_selector_all(
        f"{table} tbody tr:not(.group)", f"rows => rows.map(row => row.cells[{index}].textContent.trim())"
    )
    return texts


def test_the_index_leads_to_a_sweep_and_that_to_a_trial(work: Path, look: Look) -> None:
    """Every page opens from disk by its links, without a message on the console or a request to any network."""
    page = look((work / "out" / "index.html").as_uri())
    assert page.locator("svg.bar rect").count() == 4
    page.get_by_role("link", name="Which <b>technique</b> helps & why?").click()
    assert page.locator("h1").inner_text() == "Which <b>technique</b> helps & why?"
    page.locator("#list tbody a").first.click()
    assert re.fullmatch(r"Trial [0-9a-f]{12}", page.locator("h1").inner_text())
    assert page.locator("figure.plot .drawing svg").count() == 2
    page.get_by_role("link", name="All sweeps").click()
    assert page.title() == "Ablations"


def test_tables_sort_by_click_and_by_key(work: Path, look: Look) -> None:
    """A heading sorts up, then down, then as the file has it; by Enter and Space as by the pointer."""
    page = look(sweep_page(work))
    before = column(page, "#list", 3)
    head = page.locator("#list thead th").nth(3)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    rising = column(page, "#list", 3)
    numbers = [float(text.split()[0]) for text in rising if text]
    assert numbers == sorted(numbers)
    assert rising[-3:] == ["", "", ""]  # failed, diverged and not yet run: after all others, whichever way
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    falling = column(page, "#list", 3)
    assert [text for text in falling if text] == [text for text in reversed(rising) if text]
    assert falling[-3:] == ["", "", ""]
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "none"
    assert column(page, "#list", 3) == before


def test_rows_sort_within_their_groups(work: Path, look: Look) -> None:
    """The finished table sorts too, below its two lines of headings, and no row leaves its group."""
    page = look(sweep_page(work))
    bodies = page.locator(".sweep-table tbody")
    grouped = bodies.nth(1).inner_text()
    assert "Smoothing" in grouped.splitlines()[0]
    head = page.locator(".sweep-table thead th", has_text="mean").first
    head.get_by_role("button").click()
    values = [float(text.split()[0]) for text in column(page, ".sweep-table", 1)[:2]]
    assert values == sorted(values)
    assert "Smoothing" in bodies.nth(1).inner_text().splitlines()[0]
    assert sorted(bodies.nth(1).inner_text().splitlines()) == sorted(grouped.splitlines())


def test_a_cell_shows_its_seeds(work: Path, look: Look) -> None:
    """Where the pointer or the focus is the seeds' values appear; arrows lead from cell to cell, Escape hides them."""
    page = look(sweep_page(work))
    tip = page.get_by_role("tooltip")
    cells = page.locator(".sweep-table td.mean")
    cells.first.hover()
    assert tip.is_visible()
    assert re.fullmatch(r"(seed \d: 7\d\.\d\d\n?){4}", tip.inner_text())
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    assert page.locator(".sweep-table td[tabindex='0']").count() == 1  # one stop of the Tab key for the whole table
    page.mouse.move(0, 0)
    page.locator(".sweep-table td[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    assert "seed 2: failed" in tip.inner_text()
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "tip"


def test_a_row_is_toggled_out_of_a_plot(work: Path, look: Look) -> None:
    """A legend's button leaves a row out of forest plot and curves, and brings it back."""
    page = look(sweep_page(work))
    for plot, mark, shown in (("#forest-1", ".mark-in", 4), ("#curve", "polyline", 7)):
        figure = page.locator(plot)
        assert figure.locator(f".drawing {mark}").count() == shown
        button = figure.locator(".legend button").first
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        assert figure.locator(f".drawing {mark}").count() == shown - 1
        button.focus()
        page.keyboard.press("Space")
        assert button.get_attribute("aria-pressed") == "true"
        assert figure.locator(f".drawing {mark}").count() == shown
    dashed = page.locator("#curve polyline[stroke-dasharray]")
    assert dashed.count() == 2  # the published curves


def test_plots_tell_their_values(work: Path, look: Look) -> None:
    """Pointer and keyboard both bring up the values: of an interval, and of every curve at an epoch."""
    page = look(sweep_page(work))
    tip = page.get_by_role("tooltip")
    marks = page.locator("#forest-1 .mark-in")
    marks.first.locator(".dot").hover()
    assert HOSTILE in tip.inner_text()
    assert re.search(r"\[[-+.\d]+, [-+.\d]+\] %", tip.inner_text())
    marks.first.focus()
    page.keyboard.press("ArrowDown")
    assert RIGHT_TO_LEFT in tip.inner_text()
    page.locator("#curve .drawing svg").focus()
    page.keyboard.press("Home")
    assert tip.inner_text().startswith("epoch 1\n")
    assert "60.00\u2002Theirs (published)" in tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert tip.inner_text().startswith("epoch 2\n")
    page.locator("#curve .drawing svg").hover()
    assert re.match(r"epoch [34]\n", tip.inner_text())


def test_labels_are_harmless_and_whole(work: Path, look: Look) -> None:
    """What looks like markup is text wherever it stands, and right-to-left text keeps its own direction."""
    page = look(sweep_page(work))
    assert page.locator("img, main b").count() == 0
    labels = column(page, ".sweep-table", 0)
    assert labels[:2] == ["Default", HOSTILE]
    assert CHINESE.strip() in [label.strip() for label in labels]
    row = page.locator(".sweep-table tbody th", has_text=RIGHT_TO_LEFT)
    assert row.evaluate("cell => cell.matches(':dir(rtl)')")
    assert page.locator("#curve .legend button", has_text=HOSTILE).count() == 1
    summary = page.locator("#failed summary").first
    summary.click()
    assert "ValueError: unlucky" in page.locator("#failed pre").first.inner_text()


CONTRAST = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const found = channels(getComputedStyle(node).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const seen = {};
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.getClientRects().length || node.closest("script, noscript")) continue;
    const style = getComputedStyle(node);
    const text = node.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [a, b] = [light(channels(text)), light(ground(node))].sort((x, y) => y - x);
    const key = `${node.localName}.${node.getAttribute("class") ?? ""}`;
    seen[key] = Math.min(seen[key] ?? 99, (a + 0.05) / (b + 0.05));
  }
  return seen;
}"""
"""The least contrast of the text of every kind of element with what it stands on, by WCAG 2.2's relative luminance."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(work: Path, look: Look, scheme: str) -> None:
    """All text has a contrast of at least 4.5 : 1 in either scheme, also when it is chosen on the page."""
    page = look(sweep_page(work), color_scheme=scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    found = page.evaluate(CONTRAST)
    assert len(found) > 20
    assert min(found.values()) >= 4.5, {key: value for key, value in found.items() if value < 4.5}
    page.locator("button.theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != background
    assert min(page.evaluate(CONTRAST).values()) >= 4.5


def test_paper_has_no_controls(work: Path, look: Look) -> None:
    """Printed, a page is black on white whatever the screen's scheme, without navigation, buttons or arrows."""
    page = look(sweep_page(work), color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".top").is_visible()
    assert not page.locator("button.theme").is_visible()
    borders = page.eval_on_selector_all(
        "button", "all => all.filter(b => b.getClientRects().length).map(b => getComputedStyle(b).borderTopWidth)"
    )
    assert set(borders) == {"0px"}
    arrow = page.eval_on_selector("th button", "each => getComputedStyle(each, '::after').content")
    assert arrow == "none"
    assert page.locator(".sweep-table thead th").first.is_visible()


def test_the_keyboard_comes_to_the_content_first(work: Path, look: Look) -> None:
    """The first stop of the Tab key skips to the content, and every stop is seen."""
    page = look(sweep_page(work))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_headings_name_rows_and_columns(work: Path, look: Look) -> None:
    """Every table has a caption, and every heading says what it heads."""
    page = look(sweep_page(work))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    assert page.evaluate("document.documentElement.lang") == "en"


def test_two_thousand_trials_stay_responsive(tmp_path: Path, look: Look) -> None:
    """A page of 2,000 trials sorts its longest table, layout and all, in less than a second of one core."""
    sweep = write_sweep(tmp_path, grid(200, 10), "large")
    with Store(tmp_path / "a.db") as store:
        fill_fast(store, sweep)
        write_report([sweep], store, tmp_path / "out")
    page = look((tmp_path / "out" / "sweeps" / "large.html").as_uri())
    assert page.locator("#list tbody tr").count() == 2000
    tool = page.context.new_cdp_session(page)
    tool.send("Performance.enable", {"timeDomain": "threadTicks"})  # its own time, whatever else runs here

    def spent() -> float:
        found = tool.send("Performance.getMetrics")["metrics"]
        return sum(each["value"] for each in found if each["name"] == "TaskDuration")

    before = spent()
    page.evaluate("document.querySelectorAll('#list thead button')[3].click(); document.body.getBoundingClientRect()")
    took = spent() - before
    print(f"2,000 trials sorted in {took:.2f} s")
    assert took < 1  # 0.2 to 0.4 s were measured
    values = [float(text.split()[0]) for text in column(page, "#list", 3)]
    assert values == sorted(values)
