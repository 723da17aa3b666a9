"""The figure: its numbers are those of the store, its bytes those of its numbers."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure as Picture
from PIL import Image

from tinyablate.errors import SweepError, UsageError
from tinyablate.job import EpochResult, Outcome
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Figure, Sweep
from tinyablate.tables.figures import drawn, figure, lines

TEXT = """
title = "Cost is $5 & <more>"
seeds = [0, 1, 2]
[baseline]
data.name = "shapes"
model.name = "test_vit"
model.pretrained = false
schedule.epochs = 2
[[rows]]
label = "AdamW"
[[rows]]
label = "_SGD"
set.optimizer.name = "sgd"
[[rows]]
label = "Smooth"
set.loss.smoothing = 0.1
[figure]
published = "curves.csv"
"""
CURVES = "label,epoch,value\nAdamW,1,80.5\nAdamW,2,90\nOther,1,70\n"


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """Loads TEXT, changed as asked."""

    def make(old: str = "", new: str = "") -> Sweep:
        (tmp_path / "curves.csv").write_text(CURVES)
        path = tmp_path / "drawn.toml"
        path.write_text(TEXT.replace(old, new))
        return load(path)

    return make


def curve(*top1: float, state: str = "complete", observer: str = "raw") -> Outcome:
    """An outcome with these values of val_top1, epoch by epoch."""
    epochs = (
        EpochResult(observer, at, 0.1, 1.0, 1.0, value, 99.0, b"", None, None) for at, value in enumerate(top1, 1)
    )
    return Outcome(state, tuple(epochs), ())


@pytest.fixture
def filled(store: Store, fill, sweep) -> Store:
    """AdamW under three seeds, SGD under one while another diverged, the smoothed row under none."""
    asked = sweep()
    fill(store, asked, [
        ((0, "train"), [curve(50.0, 60.0), curve(52.0, 66.0), curve(54.0, 63.0)]),
        ((1, "train"), [curve(40.0, 45.0), curve(41.0, state="diverged")]),
    ])  # fmt: skip
    return store


def test_lines(filled, sweep):
    """Mean, sd and n of complete seeds per epoch; a row without any has no line; published curves come last."""
    adamw, sgd, published, other = lines(sweep(), filled)
    assert (adamw.label, adamw.epochs, adamw.mean, adamw.n) == ("AdamW", (1, 2), (52.0, 63.0), (3, 3))
    assert adamw.sd == pytest.approx((2.0, 3.0))
    assert (sgd.mean, sgd.sd, sgd.n, sgd.n_planned) == ((40.0, 45.0), (None, None), (1, 1), 3)
    assert (published.label, published.published, published.mean) == ("AdamW", True, (80.5, 90.0))
    assert (other.label, other.epochs) == ("Other", (1,))


def test_observed_curve_of_an_average(store, fill, sweep):
    """A row whose weights are averaged is drawn with the averages' numbers."""
    asked = sweep("set.loss.smoothing = 0.1", "set.ema.decay = 0.9")
    fill(store, asked, [((2, "train"), [curve(10.0, 20.0, observer="ema")])])
    assert lines(asked, store)[0].mean == (10.0, 20.0)


def test_files(filled, sweep, tmp_path):
    """The picture has the labels as text, escaped; the CSV beside it has every point, reproduced and published."""
    picture, numbers = figure(sweep(), filled, tmp_path / "new" / "f.svg")
    text = picture.read_text()
    for words in (
        "Cost is $5 &amp; &lt;more&gt;",
        "AdamW (n = 3, ± sd)",
        "_SGD (n = 1/3)",
        "AdamW (published)",
        "epoch",
    ):
        assert words in text
    assert text.count("top-1 (%)") == 1
    assert numbers == tmp_path / "new" / "f.csv"
    points = list(csv.DictReader(numbers.read_text().splitlines()))
    assert len(points) == 2 + 2 + 2 + 1
    assert points[1] == {
        "label": "AdamW", "source": "reproduced", "epoch": "2", "mean": "63.0", "sd": "3.0", "n": "3", "n_planned": "3",
    }  # fmt: skip
    assert points[4] == {
        "label": "AdamW", "source": "published", "epoch": "1", "mean": "80.5", "sd": "", "n": "", "n_planned": "",
    }  # fmt: skip
    assert sorted(path.name for path in picture.parent.iterdir()) == ["f.csv", "f.svg"]


def test_same_label_same_colour(filled, sweep, tmp_path):
    """AdamW's line and the published curve of that label have one colour, which no other line has."""
    text = figure(sweep(), filled, tmp_path / "f.svg")[0].read_text()
    strokes = [line for line in text.split("\n") if "clip-path" in line and "stroke:" in line and "fill: none" in line]
    colored = [line.split("stroke: ")[1][:7] for line in strokes]
    assert colored.count("#0072b2") == 2
    assert sum("stroke-dasharray" in line and "#0072b2" in line for line in strokes) == 1


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_equal_numbers_give_equal_bytes(filled, sweep, tmp_path, suffix, monkeypatch):
    """Drawn twice, under another style of the user's, the files are the same to the byte."""
    first = figure(sweep(), filled, tmp_path / f"a{suffix}")[0].read_bytes()
    import matplotlib

    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.size": 20.0}):
        assert figure(sweep(), filled, tmp_path / f"b{suffix}")[0].read_bytes() == first


def test_png_shows_something(filled, sweep, tmp_path):
    """The picture of pixels has the size of the figure, is mostly white and has ink."""
    pixels = np.asarray(Image.open(figure(sweep(), filled, tmp_path / "f.png")[0]).convert("L"))
    assert pixels.shape[1] == 1400
    assert 0.01 < (pixels < 250).mean() < 0.3


def test_default_place(filled, sweep, tmp_path, monkeypatch):
    """Without --out the picture goes to results/figures, under the sweep's name."""
    monkeypatch.chdir(tmp_path)
    assert figure(sweep(), filled)[0] == Path("results/figures/drawn.svg")
    assert Path("results/figures/drawn.csv").exists()


def test_one_epoch(store, fill, sweep):
    """Equal values at the one epoch stand side by side on a tick of their own, with upright lines and no bands."""
    asked = sweep("schedule.epochs = 2", "schedule.epochs = 1")
    fill(store, asked, [((row, "train"), [curve(50.0), curve(52.0)]) for row in (0, 2)])
    made = drawn(asked, store, Figure("curves", "val_top1", {}))
    assert "Points are means over seeds, upright lines ± one" in made.notes[0]
    assert made.notes[1] == "Points of one epoch stand side by side."
    picture = Picture()
    made.paint(picture)
    picture.draw_without_rendering()
    (axes,) = picture.axes
    assert [tick for tick in axes.get_xticks() if 0.5 <= tick <= 1.5] == [1]
    places = [line.get_xdata()[0] for line in axes.lines]
    assert len(set(places)) == 2
    assert max(abs(place - 1) for place in places) < 0.2


def test_published_alone(store, sweep, tmp_path):
    """Before anything ran the published curves can be drawn; a figure without them is refused with what to run."""
    assert "AdamW (published)" in figure(sweep(), store, tmp_path / "f.svg")[0].read_text()
    with pytest.raises(UsageError, match="nothing to draw, no trial is complete; next: tinyablate run drawn"):
        figure(sweep('published = "curves.csv"', ""), store, tmp_path / "f.svg")


def test_refused(store, sweep, tmp_path):
    """A sweep without a figure, a format that is not drawn, a path that cannot be written: each says what to do."""
    with pytest.raises(SweepError, match=r'drawn.toml: has no figure; add \[figure\] with metric = "val_top1"'):
        figure(sweep(TEXT[TEXT.index("[figure]") :], ""), store)
    with pytest.raises(UsageError, match=r"--out f.jpg: must end in '.svg', '.pdf', '.png'"):
        figure(sweep(), store, Path("f.jpg"))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"f\.svg: cannot be written: "):
        figure(sweep(), store, tmp_path / "file" / "f.svg")


def test_another_files_numbers_are_not_overwritten(filled, sweep, tmp_path):
    """A CSV that no figure wrote, such as the published curves beside the sweep, is refused; ours is redrawn."""
    curves = tmp_path / "published.csv"
    curves.write_text("label,epoch,value\nDefault,1,90.0\n")
    with pytest.raises(UsageError, match=r"published.csv is no figure's and is not overwritten; name another file"):
        figure(sweep(), filled, curves.with_suffix(".svg"))
    assert curves.read_text().startswith("label,epoch,value")
    assert not curves.with_suffix(".svg").exists()
    for _ in range(2):
        figure(sweep(), filled, tmp_path / "ours.svg")


def test_nothing_heavy_until_it_is_drawn():
    """The modules of table and figure import neither matplotlib nor scipy; nor do help and plan."""
    code = (
        "import sys, tinyablate.cli, tinyablate.describe, tinyablate.tables.collect, tinyablate.tables.figures\n"
        "print(*{'matplotlib', 'scipy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
