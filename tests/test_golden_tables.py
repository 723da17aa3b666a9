"""Tables of real results in every format, against files that were looked at: `tests/golden`.

The results lie in results/published (the demo) and tests/golden/results (a smoke run of a whole paper). Commit and
versions are masked, so that results computed anew on another machine give the same files but for their numbers. After a
change that is meant, TINYABLATE_GOLDEN=write writes the files anew; look at their difference.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinyablate import bundled
from tinyablate.store.exchange import import_folder
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.tables.collect import collect
from tinyablate.tables.paper import caption_of, checklist_of
from tinyablate.tables.render import FORMATS, render

GOLDEN = Path(__file__).parent / "golden"
RESULTS = [Path(__file__).parents[1] / "results" / "published" / "demo", GOLDEN / "results"]

SWEEPS = {
    "demo/ablation": False,  # six seeds, verdicts, a null row
    "huynh2022/ablation": True,  # published numbers, one seed
    "huynh2022/adamw_grid": True,  # a two-way table
    "huynh2022/perturbation": True,  # several metrics, measured ones and ratios among them
    "huynh2022/models": True,  # counts and costs
}
"""Name -> whether its smoke run is shown."""

SUFFIXES = {"terminal": "txt", "markdown": "md", "latex": "tex"}

MASKS = (
    (r"\b(commit|commits|train digest|digest)(\s+)[0-9a-f]{7,}(\+changes|-dirty)?", r"\1\2…"),
    (r"\b(torch|timm|torchvision|ray|Python|tinyablate)(\s+)\d[\w.+]*", r"\1\2…"),
    (r"(\"|, |: |on )(AMD|Intel)[^\",;(\n]*", r"\1a processor"),
)
"""What differs between machines and commits -> what stands for it."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A database with all the results."""
    with Store(tmp_path_factory.mktemp("golden") / "ablations.db") as opened:
        for folder in RESULTS:
            import_folder(opened, folder)
        yield opened


def check(name: str, text: str) -> None:
    """Compare with the golden file of this name, or write it if that is asked for."""
    path, text = GOLDEN / name, masked(text) + "\n"
    if os.environ.get("TINYABLATE_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text(), f"{name} differs; if that is meant: TINYABLATE_GOLDEN=write"


def masked(text: str) -> str:
    """The text without what differs between machines and commits."""
    for pattern, instead in MASKS:
        text = re.sub(pattern, instead, text)
    return text


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", SWEEPS)
def test_table(name: str, format: str, store: Store) -> None:
    """Each format of each kind of table is what it was."""
    table = collect(load(bundled.resolve(name), smoke=SWEEPS[name]), store)
    check(f"{name.replace('/', '-')}.{SUFFIXES.get(format, format)}", render(table, format, width=100))


def test_words_for_a_paper(store: Store) -> None:
    """So are the caption and the answers to the checklist."""
    table = collect(load(bundled.resolve("demo/ablation")), store, hours=True)
    check("demo-ablation.caption.txt", caption_of(table))
    check("demo-ablation.checklist.md", checklist_of(table))
