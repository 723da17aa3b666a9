"""Every kind as a file: equal bytes, embedded fonts, hostile labels, refusals; and which figures a command means."""

import io
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Cli
from drawings import GRID, OFFSETS, PARTS, ROWS, VALUES
from PIL import Image

from tinyablate.errors import SweepError, UsageError
from tinyablate.job import EpochResult, Outcome
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Figure, Look
from tinyablate.tables.figures import OF_TABLES, NotShown, Wishes, asked, figure, figures, fonts, style, wanted

HOSTILE = "<script>&_%\\$ {} ^| אבג \N{ARABIC LETTER SEEN} " + 30 * "long "
FACTORIAL = {(row, 0): [80.0 + row + x for x in OFFSETS] for row in range(3)}
CELLS = {(row, column): [80.0 + row - column + x for x in OFFSETS] for row in range(2) for column in range(3)}
MATERIAL = {
    "forest": (ROWS, VALUES), "slopes": (ROWS, VALUES), "cost": (ROWS, VALUES), "power": (ROWS, VALUES),
    "heatmap": (GRID, CELLS), "interaction": (GRID, CELLS),
    "waterfall": (f'[components]\nexpand = "path-add"\n{PARTS}', FACTORIAL),
}  # fmt: skip


def trial(*top1: float, macs: float = 1e9) -> Outcome:
    """A complete outcome with these values of val_top1, and so many MACs."""
    found = (EpochResult("raw", at, 0.1, 1.0, 1.0, value, 99.0, b"", None, None) for at, value in enumerate(top1, 1))
    return Outcome("complete", tuple(found), (("macs", macs),))


@pytest.fixture
def filled(load_text, fill, store):
    """A sweep of three rows and the store with six seeds of each."""
    sweep = load_text(ROWS.partition('[[rows]]\nlabel = "Diverged"')[0])
    for row in range(3):
        fill(store, sweep, [((row, "train"), [trial(50.0, 80.0 + row + x, macs=(1 + row) * 1e9) for x in OFFSETS])])
    return sweep, store


@pytest.mark.parametrize("kind", OF_TABLES)
def test_equal_numbers_give_equal_bytes(view, kind):
    """Drawn twice, under another style of the user's, the picture is the same to the byte, and valid XML."""
    import matplotlib

    drawn = OF_TABLES[kind].drawn(view(*MATERIAL[kind], kind))
    first, absent = style.picture("Title", drawn, ".svg")
    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.size": 20.0, "text.color": "red"}):
        assert style.picture("Title", drawn, ".svg")[0] == first
    assert ElementTree.fromstring(first).tag.endswith("svg")
    assert (absent, len(drawn.numbers[0])) == ("", len(drawn.columns))


def test_what_cannot_be_cross_fitted_is_refused(filled, tmp_path):
    """A figure of another metric than val_top1, which alone has bits per image, says so; at one epoch it is drawn."""
    sweep, store = filled
    sweep = replace(sweep, select="cross-fitted")
    with pytest.raises(NotShown, match="'val_loss' cannot be: which images were right is kept for val_top1 alone"):
        figure(sweep, store, tmp_path / "f.svg", Figure("forest", "val_loss", {}))
    assert figure(sweep, store, tmp_path / "f.svg", Figure("slopes", "val_loss@1", {}))[0].exists()


@pytest.mark.parametrize("kind", ["forest", "heatmap", "cost"])
def test_hostile_labels(view, kind):
    """Labels of markup, formulas, right-to-left letters and 200 characters are drawn as they are, or cut."""
    body, values = MATERIAL[kind]
    seen = view(body, values, kind)
    rows = tuple(replace(row, label=f"{HOSTILE}{at}") for at, row in enumerate(seen.table.rows))
    drawn = OF_TABLES[kind].drawn(replace(seen, table=replace(seen.table, rows=rows)))
    text = style.picture(HOSTILE, drawn, ".svg")[0].decode()
    words = "".join(ElementTree.fromstring(text).itertext())
    assert "<script>&_%\\$ {} ^|" in words
    assert "…" in words
    if kind == "forest":
        assert style.picture(HOSTILE, drawn, ".png")[0]


def test_pdf_embeds_truetype(view):
    """The fonts are in the PDF, as TrueType (journals refuse Type 3), and nothing is dated."""
    content, _ = style.picture("Title", OF_TABLES["forest"].drawn(view(*MATERIAL["forest"], "forest")), ".pdf")
    assert content.startswith(b"%PDF-")
    assert b"/FontFile2" in content
    assert b"/CIDFontType2" in content
    assert b"/Type3" not in content
    assert b"/CreationDate" not in content


def test_svg_brings_its_glyphs(view):
    """The SVG's text stays text, and its font is inside with those glyphs alone."""
    content, _ = style.picture("Zebra", OF_TABLES["power"].drawn(view(*MATERIAL["power"], "power")), ".svg")
    assert b">Zebra</text>" in content
    assert content.count(b"@font-face{font-family:'DejaVu Sans';src:url(data:font/woff;base64,") == 1
    assert len(content) < 60_000  # the whole font has 750 kB


def test_png_is_seen_in_grey(view):
    """The picture of pixels has the size asked for, is mostly white and has ink that is dark in grey too."""
    drawn = OF_TABLES["slopes"].drawn(view(*MATERIAL["slopes"], "slopes"))
    content, _ = style.picture("T", drawn, ".png")
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert pixels.shape[1] == round(drawn.size[0] * style.DPI)
    assert 0.01 < (pixels < 150).mean() < 0.2


def test_characters_of_other_fonts():
    """A character that DejaVu Sans lacks takes another font that has it; one that none has is told."""
    lacking = "\N{MODIFIER LETTER LOW DOWN ARROWHEAD}"  # of matplotlib's own fonts only DejaVu Serif has it
    found, absent = fonts.families(f"abc {lacking}\N{CJK UNIFIED IDEOGRAPH-4E2D}\U0001f9ff")
    assert found[0] == fonts.BASE
    assert lacking not in absent
    assert len(found) > 1
    assert fonts.families("abc \N{GREEK SMALL LETTER ALPHA} אב") == ((fonts.BASE,), "")
    assert [fonts.such_as(each) for each in ("\u4e2d", "\u0905")] == ["Noto Sans CJK", "Noto Sans Devanagari"]


def test_what_no_font_has_is_told(filled, tmp_path, capsys, monkeypatch):
    """A label in letters that no font here has is drawn with boxes, and named on stderr."""
    sweep, store = filled
    monkeypatch.setattr(fonts, "_installed", lambda: iter(()))
    rows = (sweep.rows[0], replace(sweep.rows[1], label="文中文"), *sweep.rows[2:])
    figure(replace(sweep, rows=rows), store, tmp_path / "f.png", asked(sweep, "forest")[0])
    assert capsys.readouterr().err.endswith(
        "f.png: no font here has the characters 文中 (in '文中文'): the picture shows boxes instead of them; next: "
        "install a font that has them, such as Noto Sans CJK, or write an .svg\n"
    )


def test_wrapped():
    """Words are kept whole where they fit, wide characters count twice, the rest is cut."""
    assert style.wrapped("one two three", 8) == "one two\nthree"
    assert style.wrapped("abcdefghij", 4, 2) == "abcd\nefg…"
    assert style.wrapped("中文字符", 4, 1) == "中…"
    assert style.wrapped(" _hidden", 20) == " _hidden"
    assert style.wrapped("", 5) == ""


# ---- sizes -----------------------------------------------------------------------------------------------------------


def size_of(content: bytes) -> tuple[float, float]:
    """Width and height of an SVG file in inches; its own unit is a point."""
    root = ElementTree.fromstring(content)
    return float(root.get("width")[:-2]) / 72, float(root.get("height")[:-2]) / 72


@pytest.mark.parametrize("kind", OF_TABLES)
def test_a_papers_column(view, kind):
    """At 3.3 inches without title and notes each kind is that wide, holds no note, and nothing leaves the picture."""
    look = Look(width=3.3, font_size=8.0, title=False, notes=False)
    drawn = OF_TABLES[kind].drawn(view(*MATERIAL[kind], kind, look=look))
    content = style.picture("A title", drawn, ".svg", look)[0]
    assert size_of(content)[0] == pytest.approx(3.3)
    words = "".join(ElementTree.fromstring(content).itertext())
    assert "A title" not in words
    assert drawn.notes[0][:20] not in words
    pixels = np.asarray(Image.open(io.BytesIO(style.picture("A title", drawn, ".png", look)[0])).convert("L"))
    assert (pixels[:, [0, -1]] > 250).mean() > 0.97  # at most a line that ends there


def test_a_height_is_that_of_the_whole(view):
    """Title and notes are taken from it; one that they fill is refused with what would do."""
    drawn = OF_TABLES["forest"].drawn(view(*MATERIAL["forest"], "forest"))
    assert size_of(style.picture("T", drawn, ".svg", Look(height=6.0))[0]) == pytest.approx((7.0, 6.0))
    with pytest.raises(
        UsageError, match=r"a height of 1 inches: title and notes take 1\..*; next: --height 1.* or more"
    ):
        style.picture("T", drawn, ".svg", Look(height=1.0))


def test_notes_stay_inside(view):
    """Words that are wider than their number of letters tells, as Arabic ones, break before the right edge."""
    wide = "\N{ARABIC LETTER SAD}\N{ARABIC LETTER DAD}\N{ARABIC LETTER SAD} " * 60
    drawn = replace(OF_TABLES["power"].drawn(view(*MATERIAL["power"], "power")), notes=(wide, "W" * 300))
    pixels = np.asarray(Image.open(io.BytesIO(style.picture(wide, drawn, ".png")[0])).convert("L"))
    assert (pixels[:, -8:] > 250).all()


def test_wishes_stand_over_the_file(load_text):
    """What the command line asks for replaces what the figure declares; what cannot be is told."""
    declared = (
        "[[rows]]\nlabel = 'A'\n[figure]\nkind = 'forest'\nwidth = 7\nfont_size = 8\nxlim = [-1, 1]\ntitle = false\n"
    )
    sweep = load_text(declared)
    (spec,) = asked(sweep, wishes=Wishes(width=3.3, xlim=(-2.0, 2.0), notes=False))
    assert (spec.look, spec.xlim) == (Look(3.3, None, 8.0, False, False), (-2.0, 2.0))
    for wishes, message in (
        (Wishes(width=0.2), "--width 0.2: must be a number of inches, 1 to 50"),
        (Wishes(font_size=100.0), "--font-size 100: must be a number of points, 4 to 40"),
        (Wishes(xlim=(2.0, 1.0)), "--xlim 2 1: must be two numbers, the lower one first"),
        (Wishes(ylim=(1.0, 2.0)), "--ylim: a figure of kind 'forest' has no such axis of numbers; valid for 'curves'"),
    ):
        with pytest.raises(UsageError, match=message):
            asked(sweep, wishes=wishes)


# ---- which figures ---------------------------------------------------------------------------------------------------


def test_files_of_a_command(filled, tmp_path, monkeypatch, capsys):
    """Each figure has a file of its own with its numbers; a declared one that has nothing yet is told, no failure."""
    monkeypatch.chdir(tmp_path)
    sweep, store = filled
    specs = [asked(sweep, kind)[0] for kind in ("curves", "forest", "cost")]
    late = Figure("curves", "val_loss", {}, rows=("Two seeds",), name="late")
    empty = replace(sweep, rows=sweep.rows, name="other", cells=())
    made = list(figures([(sweep, spec) for spec in specs], store))
    assert [str(picture) for picture, _ in made] == [
        "results/figures/drawn.svg", "results/figures/drawn-forest.svg", "results/figures/drawn-cost.svg",
    ]  # fmt: skip
    assert made[2][1].read_text().startswith("label,cost,cost_sd,mean,sd,n,front\nDefault,1.0,")
    assert [path.name for path, _ in figures([(sweep, specs[1]), (empty, late)], store)] == ["drawn-forest.svg"]
    assert "other: nothing to draw, no trial is complete; next: tinyablate run other" in capsys.readouterr().err


def test_a_kind_that_the_rows_cannot_make(filled, tmp_path):
    """The message says why, and which kinds can be drawn; drawing the others goes on."""
    sweep, store = filled
    wrong, right = asked(sweep, "heatmap")[0], asked(sweep, "slopes")[0]
    with pytest.raises(UsageError) as caught:
        list(figures([(sweep, wrong)], store))
    assert str(caught.value) == (
        "drawn: cannot be shown as 'heatmap': it has no second axis: no [[columns]], no grid; it can be as "
        "'curves', 'forest', 'slopes', 'cost', 'power'"
    )
    made = figures([(sweep, wrong), (sweep, right)], store, tmp_path / "f.svg")
    assert next(made)[0].exists()
    with pytest.raises(UsageError, match="'heatmap'"):
        next(made)


def test_a_cost_that_all_have(filled, tmp_path):
    """The message says what every cell costs and which costs differ."""
    sweep, store = filled
    spec = Figure("cost", "val_top1", {}, "macs", rows=("Default",))
    assert figure(sweep, store, tmp_path / "f.svg", spec)[0].exists()  # one cell is no comparison
    with pytest.raises(NotShown) as caught:
        figure(sweep, store, tmp_path / "f.svg", Figure("cost", "val_loss", {}, "val_top1@1"))
    assert str(caught.value).startswith(
        "drawn: every cell costs the same, 50.00 % of top-1 @1, so that a figure would say nothing of it; costs that "
        "differ: 'macs'"
    )


def test_too_large(filled, tmp_path, monkeypatch):
    """What no printer and no pixel picture holds is refused before it is drawn, with what to do."""
    sweep, store = filled
    monkeypatch.setattr("tinyablate.tables.figures.MOST_INCHES", 1.0)
    with pytest.raises(UsageError, match="drawn: as 'forest' it would be 7 inches large; name rows with --row"):
        figure(sweep, store, tmp_path / "f.svg", asked(sweep, "forest")[0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "forrest"}, "--kind forrest: must be one of 'curves', 'forest', .*; did you mean 'forest'."),
        ({"kind": "curves", "metric": "macs"}, "--metric macs: must be one of 'val_top1'"),
        ({"kind": "forest", "metric": "val_tpo1"}, r"--metric val_tpo1: must be one of .*; did you mean 'val_top1'\?"),
        ({"kind": "cost", "cost": "mac"}, "--cost mac: must be one of .*; did you mean 'macs'."),
        ({"kind": "forest", "cost": "macs"}, "--cost macs: only a figure of kind 'cost'"),
        ({"metric": "macs"}, "--metric needs --kind, one of 'curves'"),
    ],
)
def test_refused(load_text, given, message):
    """What no kind shows is refused in one line with the nearest that is valid."""
    with pytest.raises(UsageError, match=message):
        asked(load_text(ROWS + "[figure]\n"), **given)


def test_declared_or_not(load_text):
    """A kind that the file declares is meant with all that it says there; another is made from the sweep's metrics."""
    declared = "[[figures]]\nkind = 'cost'\ncost = 'parameters'\n[[figures]]\nkind = 'forest'\nrows = ['Worse']\n"
    sweep = load_text("[[rows]]\nlabel = 'Worse'\n" + declared, name="one")
    assert asked(sweep) == asked(sweep, "cost") + asked(sweep, "forest")
    assert asked(sweep, "cost", cost="macs")[0] == Figure("cost", "val_top1", {}, "macs", name="cost")
    assert asked(sweep, "power")[0].name == "power"
    assert asked(sweep, wishes=Wishes(rows=("Worse",)))[0].rows == ("Worse",)
    bare = load_text(ROWS, name="two")
    assert wanted([sweep, bare]) == [(sweep, spec) for spec in sweep.figures]
    with pytest.raises(SweepError, match=r"two\.toml: has no figure; .*tinyablate figure two --kind curves"):
        wanted([bare])
    with pytest.raises(UsageError, match="2 figures would have this name"):
        wanted([sweep, bare], out=Path("f.svg"))


def test_unknown_row(filled, tmp_path):
    """A row that the sweep does not have is named with the nearest."""
    sweep, store = filled
    with pytest.raises(UsageError, match=r"--row Wors: no such row; did you mean 'Worse'\?"):
        figure(sweep, store, tmp_path / "f.svg", asked(sweep, "curves", wishes=Wishes(rows=("Wors",)))[0])


def test_command(cli: Cli, fill):
    """All that a folder declares, path by path on stdout; a kind that nothing declares; rows; a clear refusal."""
    path = cli.write(TINY + "[[figures]]\nkind = 'slopes'\n[[figures]]\n")
    with Store(cli.folder / "results" / "ablations.db") as store:
        for row in range(2):
            fill(store, load(path), [((row, "train"), [trial(10.0, 20.0 + row + seed**2) for seed in range(3)])])
    done = cli("figure", "tiny")
    assert done.stdout == "results/figures/tiny-slopes.svg\nresults/figures/tiny.svg\n"
    assert "Not drawn: EMA (3 missing)" in done.stderr
    paper = ("--width", "3.3", "--no-title", "--no-notes", "--xlim", "-1", "2")
    said = cli("figure", "tiny", "--kind", "forest", "--row", "No decay", *paper, "--out", "f.pdf").stderr
    assert "f.pdf: for its caption: Points: mean difference to the baseline" in said
    assert (cli.folder / "f.csv").read_text().splitlines()[1].startswith("No decay,,1.0,1.0,1.0,")
    assert "did you mean 'forest'" in cli("figure", "tiny", "--kind", "forrest", code=2).stderr
