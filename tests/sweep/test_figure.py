"""[figure] and [[figures]]: kinds, metrics, published curves, and what can be wrong with them."""

import shutil
from pathlib import Path

import pytest

from tinyablate import bundled
from tinyablate.errors import SweepError
from tinyablate.sweep.load import files_of, load

SWEEP = "seeds = [0]\n[baseline]\nmodel.name = 'test_vit'\n[[rows]]\nlabel = 'A'\n"
FIGURE = SWEEP + "[figure]\npublished = 'curves.csv'\n"
CURVES = '# from the paper\'s figure 1\nlabel,epoch,value\nA,2,50.5\nA,1,40.25\n\n"B, other", 1, 3e1\n'


def test_without_a_figure(loads):
    """A sweep that asks for none has none, and trains nothing for it."""
    assert loads(SWEEP, head="").figures == ()
    assert loads("metric = 'macs'\n" + SWEEP, head="").kinds == ("measure",)


def test_figure_alone(loads):
    """A figure needs no more than its heading; its curves need trainings even where the table shows only facts."""
    sweep = loads("metric = 'macs'\n" + SWEEP + "[figure]\n", head="")
    assert (sweep.figures[0].metric, dict(sweep.figures[0].published)) == ("val_top1", {})
    assert sweep.kinds == ("train",)


def test_several_figures(write, loads):
    """Each heading is a figure, with the sweep's metrics where it names none, and a file name of its own."""
    write(CURVES, "curves.csv")
    sweep = loads(
        "metrics = ['val_top5', 'parameters']\n" + SWEEP + "[[figures]]\npublished = 'curves.csv'\nylim = [70, 90]\n"
        "[[figures]]\nkind = 'forest'\n[[figures]]\nkind = 'forest'\nmetric = 'val_loss'\nrows = ['A']\n"
        "[[figures]]\nkind = 'cost'\n[[figures]]\nkind = 'cost'\ncost = 'epoch_seconds'\nname = 'speed'\n",
        head="",
    )
    assert [(each.kind, each.metric, each.cost, each.name) for each in sweep.figures] == [
        ("curves", "val_top1", "", ""), ("forest", "val_top5", "", "forest"),
        ("forest", "val_loss", "", "forest-val_loss"), ("cost", "val_top5", "parameters", "cost"),
        ("cost", "val_top5", "epoch_seconds", "speed"),
    ]  # fmt: skip
    assert (sweep.figures[0].ylim, sweep.figures[2].rows) == ((70.0, 90.0), ("A",))
    assert sweep.text.count("# ---- curves.csv ----") == 1
    assert sweep.kinds == ("train", "measure")  # the last figure's cost is measured
    assert files_of(sweep.path)[1].name == "curves.csv"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("[figure]\n[[figures]]\n", "figures: stands beside [figure]"),
        ("[figures]\nkind = 'forest'\n", "figures: must be [[figures]]"),
        ("[[figures]]\n[[figures]]\n", "figures[1]: a figure before it would have the same file"),
        ("[[figure]]\n", "figure = [{}]: must be a table"),
    ],
)
def test_wrong_headings(lines, problem, refuses):
    """One figure or several: both, or two with one file, are refused with what to write."""
    found = refuses(SWEEP + lines, head="")
    assert problem in found[0]


def test_published_curves(write, loads):
    """Curves come by label in the file's order, points by epoch; comments and empty lines are none."""
    write(CURVES, "curves.csv")
    sweep = loads(FIGURE + "metric = 'val_top5'\n", head="")
    assert sweep.figures[0].metric == "val_top5"
    assert list(sweep.figures[0].published.items()) == [("A", ((1, 40.25), (2, 50.5))), ("B, other", ((1, 30.0),))]


def test_curves_belong_to_the_sweep(write, loads):
    """The file's text is stored with the sweep's, and another number is another sweep."""
    write(CURVES, "curves.csv")
    before = loads(FIGURE, head="")
    assert f"# ---- curves.csv ----\n{CURVES}" in before.text
    write(CURVES.replace("50.5", "50.6"), "curves.csv")
    assert loads(FIGURE, head="").digest != before.digest


def test_curves_are_relative_to_the_sweep(write, tmp_path, monkeypatch):
    """The path is that from the sweep's own folder, wherever the command is run."""
    (tmp_path / "sub").mkdir()
    write(CURVES, "sub/curves.csv")
    path = write(FIGURE.replace("curves.csv", "sub/curves.csv"))
    monkeypatch.chdir("/")
    assert list(load(path).figures[0].published) == ["A", "B, other"]
    assert files_of(path) == [path, path.parent / "sub/curves.csv"]


def test_copy_takes_the_curves_along(write, tmp_path, monkeypatch):
    """`copy` of a bundled sweep with a figure makes a sweep that loads."""
    write(CURVES, "curves.csv")
    shutil.copy(write(FIGURE), tmp_path / "drawn.toml")
    (tmp_path / "sweep.toml").unlink()
    monkeypatch.setattr(bundled, "sweeps_folder", lambda: tmp_path)
    copied = bundled.copy("drawn", tmp_path / "to")
    assert [path.name for path in copied] == ["drawn.toml", "curves.csv"]
    assert load(copied[0]).figures == load(tmp_path / "drawn.toml").figures


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("metric = 'macs'", "figure.metric = \"macs\": must be one of 'val_top1'"),
        ("metric = 'val_top1@3'", 'figure.metric = "val_top1@3": must be one of'),
        ("metric = ['val_top1']", 'figure.metric = ["val_top1"]: must be one of'),
        ("kind = 'bar'", "figure.kind = \"bar\": must be one of 'curves', 'forest'"),
        ("kind = 'heatmpa'", "did you mean 'heatmap'?"),
        ("kind = 'forest'\npublished = 'curves.csv'", "unknown key (valid: 'kind', 'metric', 'rows', 'name', 'width'"),
        ("kind = 'forest'\nmetric = 'accuracy'", "figure.metric = \"accuracy\": must be one of 'val_top1'"),
        ("kind = 'cost'\ncost = 'mac'", 'figure.cost = "mac": must be one of'),
        ("colour = 'red'", 'figure.colour = "red": unknown key'),
        ("name = '../x'", 'figure.name = "../x": must be a part of a file\'s name'),
        ("rows = 'A'", 'figure.rows = "A": must be a list of rows\' labels, each once'),
        ("rows = ['a']", "the sweep has no such row; did you mean 'A'? (rows: 'A')"),
        ("ylim = [3, 2]", "figure.ylim = [3, 2]: must be two numbers, the lower one first"),
        ("ylim = 3", "figure.ylim = 3: must be two numbers"),
        ("xlim = ['a', 2]", 'figure.xlim = ["a", 2]: must be two numbers'),
        ("kind = 'slopes'\nxlim = [1, 2]", "figure.xlim: unknown key; did you mean 'ylim'?"),
        ("width = 0.5", "figure.width = 0.5: must be a number of inches, 1 to 50"),
        ("font_size = 'big'", 'figure.font_size = "big": must be a number of points, 4 to 40'),
        ("title = 'Mine'", 'figure.title = "Mine": must be true or false'),
        ("published = 'curve.csv'", "figure.published = \"curve.csv\": no such file; did you mean 'curves.csv'?"),
        ("published = ''", 'figure.published = "": must be the path of a CSV file'),
        ("published = 3", "figure.published = 3: must be the path of a CSV file"),
        ("published = '.'", 'figure.published = ".": cannot be read: Is a directory'),
        ('published = "a\\u0000b"', "cannot be read: embedded null byte"),
        ("published = 'latin.csv'", 'figure.published = "latin.csv": is not UTF-8 (byte 2)'),
    ],
)
def test_wrong_figure(write, tmp_path, lines, problem, refuses):
    """A metric that no epoch has, an unknown key, a file that cannot be read: one message each."""
    write(CURVES, "curves.csv")
    (tmp_path / "latin.csv").write_bytes(b"la\xe9")
    (found,) = refuses(f"{SWEEP}[figure]\n{lines}\n", head="")
    assert problem in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'line 1 = "": the columns must be label,epoch,value'),
        ("epoch,label,value\n", 'line 1 = "epoch,label,value": the columns must be label,epoch,value'),
        ("# only a head\nlabel,epoch,value\n", "curves.csv: has no curve"),
        ("label,epoch,value\nA,1\n", 'line 2 = "A,1": must have 3 values: label, epoch, value'),
        ("label,epoch,value\nA,0,5\n", 'line 2.epoch = "0": must be a whole number from 1'),
        ("label,epoch,value\n# x\nA,1.5,5\n", 'line 3.epoch = "1.5": must be a whole number from 1'),
        ("label,epoch,value\nA,1,nan\n", 'line 2.value = "nan": must be a finite number'),
        ("label,epoch,value\nA,1,five\n", 'line 2.value = "five": must be a finite number'),
        ("label,epoch,value\n,1,5\n", "line 2.label: is missing"),
        ("label,epoch,value\nA,1,5\nA,1,6\n", 'line 3 = "A": epoch 1 of this curve stands twice'),
        ('label,epoch,value\n"A,1,5\n', "is no valid CSV"),
    ],
)
def test_wrong_curves(write, text, problem, refuses):
    """Whatever is wrong in the CSV file is named with file, line and value."""
    write(text, "curves.csv")
    (found,) = refuses(FIGURE, head="")
    assert found.startswith("curves.csv: ")
    assert problem in found


def test_every_problem_at_once(write, refuses):
    """Problems of the curves are told together with each other and with those of the sweep."""
    write("label,epoch,value\nA,x,5\nA,2,y\n", "curves.csv")
    found = refuses("margin = 0\n" + FIGURE, head="")
    assert [problem.split(": ")[1] for problem in found] == ["margin = 0", 'line 2.epoch = "x"', 'line 3.value = "y"']


def test_files_of_a_broken_figure(write):
    """What a copy would need is asked for before anything is copied."""
    with pytest.raises(SweepError, match="no such file"):
        files_of(write(FIGURE))


def test_bundled_curves():
    """The figure of Huynh 2022 has the paper's three curves of 30 epochs, each under a row of its label."""
    sweep = load(Path(__file__).parents[2] / "sweeps/huynh2022/sgd.toml")
    assert {label: len(points) for label, points in sweep.figures[0].published.items()} == {
        row.label: 30 for row in sweep.rows
    }
