"""Files: what can be wrong with one before its values, `extends`, the top-level keys, text and digest."""

import os
import subprocess
import sys

import pytest

from tinyablate.errors import SweepError
from tinyablate.sweep.load import files_of, load, name_of, read_heading

ROWS = "[[rows]]\nlabel = 'Default'\n"


def _problems(path, **options):
    with pytest.raises(SweepError) as caught:
        load(path, **options)
    return caught.value.problems


def test_missing_file_is_named_with_its_nearest_neighbour(write, tmp_path):
    """A file that is not there is an error that proposes the one beside it."""
    write("x = 1", "ablation.toml")
    assert _problems(tmp_path / "ablatoin.toml") == (
        f"{tmp_path}/ablatoin.toml: no such file; did you mean 'ablation.toml'?",
    )
    assert _problems(tmp_path / "no" / "a.toml") == (f"{tmp_path}/no/a.toml: no such file",)


def test_directory_is_refused(tmp_path):
    """A directory is no sweep file."""
    assert _problems(tmp_path) == (f"{tmp_path}: is a directory, not a sweep file",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_refused(write):
    """A file without permission to read gives the system's reason."""
    path = write(ROWS)
    path.chmod(0)
    assert _problems(path) == (f"{path}: cannot be read: Permission denied",)


def test_path_through_a_file_is_refused(write):
    """A path that goes through a file cannot be read, and says so without a traceback."""
    path = write(ROWS)
    assert _problems(path / "x.toml") == (f"{path}/x.toml: cannot be read: Not a directory",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"title = 'caf\xe9'\n", "is not UTF-8 (byte 12)"),
        (b"title = 'x'\nseeds = [0,, 1]\n", "is no valid TOML: Invalid value (at line 2, column 12)"),
        (b"title = 'x'\ntitle = 'y'\n", "is no valid TOML: Cannot overwrite a value (at line 2, column 12)"),
        (b"title = 'x'\nseeds =", "is no valid TOML: Invalid value (at line 2, the end of the file)"),
        (b"# a comment\n", "no rows: add [[rows]], [grid], [zip] or [components]"),
    ],
)
def test_broken_content_is_refused(content, problem, tmp_path):
    """Empty, not UTF-8, or not TOML: the file is named with what is wrong, and where."""
    path = tmp_path / "sweep.toml"
    path.write_bytes(content)
    assert f"{path}: {problem}" in _problems(path)


def test_byte_order_mark_and_windows_lines_are_read(tmp_path):
    """What Windows editors write is TOML all the same."""
    path = tmp_path / "sweep.toml"
    path.write_bytes(f"\ufeffseeds = [0]\nbaseline.model.name = 'm'\n{ROWS}".replace("\n", "\r\n").encode())
    assert load(path).rows[0].label == "Default"


def test_extends_merges_baseline_and_smoke_field_by_field(write):
    """The nearest file wins, through a chain of folders; title and source of a recipe stay its own."""
    (write("", "x").parent / "deep").mkdir()
    write(
        "[baseline]\nmodel.name = 'far'\nloss.smoothing = 0.1\nbatch.size = 64\n[smoke]\nbatch.size = 2\n", "far.toml"
    )
    write(
        "title = 'recipe'\nsource = 'paper'\nextends = '../far.toml'\nbaseline.model.name = 'near'\n"
        "baseline.model.args = { depth = 2, width = 8 }\nsmoke.schedule.epochs = 1\n"
        'smoke.levels."model.name" = { own = "test_vit", other = "test_vit2" }\n',
        "deep/recipe.toml",
    )
    path = write(
        "extends = 'deep/recipe.toml'\nseeds = [0]\nbaseline.loss.smoothing = 0.2\nbaseline.model.args.depth = 3\n"
        f'smoke.levels."model.name" = {{ near = "test_vit3" }}\n{ROWS}'
    )
    plain, smoke = load(path), load(path, smoke=True)
    recipe = plain.baseline
    assert (plain.title, plain.source) == ("sweep", "")
    assert (recipe.model.name, recipe.loss.smoothing, recipe.batch.size) == ("near", 0.2, 64)
    assert recipe.model.args == {"depth": 3, "width": 8}
    small = smoke.cells[0].recipe
    assert (small.model.name, small.batch.size, small.schedule.epochs) == ("test_vit3", 2, 1)
    assert [found.name for found in files_of(path)] == ["sweep.toml", "recipe.toml", "far.toml"]


def test_text_holds_every_file_verbatim(write):
    """What is stored with results is the text of the file and of all it extends, each after a line with its name."""
    recipe = write("# paper\nbaseline.model.name = 'm'\n", "recipe.toml")
    path = write(f"extends = 'recipe.toml'\nseeds = [0]\n{ROWS}")
    text = load(path).text
    assert text == f"# ---- sweep.toml ----\n{path.read_text()}\n# ---- recipe.toml ----\n{recipe.read_text()}\n"


def test_digest_changes_with_what_was_asked_and_not_with_where(write, tmp_path):
    """Text, smoke, overrides and seeds make the digest; the folder and the name do not."""
    body = f"seeds = [0]\nbaseline.model.name = 'm'\nsmoke.schedule.epochs = 1\n{ROWS}"
    path = write(body)
    (tmp_path / "elsewhere").mkdir()
    moved = write(body, "elsewhere/sweep.toml")
    digests = [
        load(path).digest,
        load(path, smoke=True).digest,
        load(path, overrides=["batch.size=2"]).digest,
        load(path, seeds=[1]).digest,
        load(path, seeds=[0]).digest,
        load(write(body + "# more\n", "sweep2.toml")).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert load(moved, name="other").digest == digests[0]


def test_missing_recipe_is_refused_where_it_is_asked_for(write, tmp_path):
    """`extends` of a file that is not there names both files and the nearest."""
    write("", "recipe.toml")
    path = write(f"extends = 'recpie.toml'\nseeds = [0]\n{ROWS}")
    assert _problems(path) == (f"{path}: extends: {tmp_path}/recpie.toml: no such file; did you mean 'recipe.toml'?",)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"sweep.toml": "extends = 'sweep.toml'"}, "sweep.toml: extends: extends itself: sweep.toml -> sweep.toml"),
        (
            {"sweep.toml": "extends = 'b.toml'", "b.toml": "extends = './sweep.toml'"},
            "b.toml: extends: extends itself: sweep.toml -> b.toml -> ./sweep.toml",
        ),
        ({"sweep.toml": "extends = 3"}, "sweep.toml: extends = 3: must be the path of a file"),
        ({"sweep.toml": "extends = ''"}, 'sweep.toml: extends = "": must be the path of a file'),
        ({"sweep.toml": "extends = 'b.toml'", "b.toml": "x ="}, "b.toml: is no valid TOML"),
        ({"sweep.toml": "extends = 'b.toml'", "b.toml": ""}, "b.toml: is empty"),
        ({"sweep.toml": "extends = '.'"}, "is a directory"),
    ],
)
def test_broken_chain_is_refused(files, problem, write, tmp_path):
    """A file that extends itself, directly or round a corner, or something unreadable, is an error and no hang."""
    for name, text in files.items():
        write(text, name)
    problems = _problems(tmp_path / "sweep.toml")
    assert len(problems) == 1
    assert problem in problems[0].replace(f"{tmp_path}/", "")


def test_recipe_file_may_only_hold_a_recipe(write):
    """Rows or seeds in a file that is extended would be ignored, so they are refused there."""
    write("seeds = [1]\nquestion = 'q'\n[baseline]\nmodel.name = 'm'\n[[rows]]\nlabel = 'x'\n", "recipe.toml")
    problems = _problems(write(f"extends = 'recipe.toml'\nseeds = [0]\n{ROWS}"))
    assert [problem.split(": ")[1] for problem in problems] == ["seeds", 'question = "q"', "rows"]
    assert "(valid: 'title', 'source', 'extends', 'baseline', 'smoke')" in problems[0]


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ("", "no seeds: add seeds = [0, 1, 2]"),
        ("seeds = []", "seeds = []: no seeds: give at least one"),
        ("seeds = 3", "seeds = 3: must be a list of whole numbers"),
        ("seeds = [0, -1]", "seeds[1] = -1: must be a whole number from 0"),
        ("seeds = [0, 1.0]", "seeds[1] = 1.0: must be a whole number from 0"),
        ("seeds = [true]", "seeds[0] = true: must be a whole number from 0"),
        ("seeds = [0, 1, 0]", "seeds[2] = 0: the same seed twice"),
        (f"seeds = [{2**63}]", "must be a whole number from 0"),
        ("seeds = [0]\nsedes = 3", "sedes = 3: unknown key; did you mean 'seeds'? (valid: 'title', 'question'"),
        ("seeds = [0]\nmix.prob = 1", "mix: recipe fields belong in [baseline]"),
        ("seeds = [0]\ntitle = 3", "title = 3: must be text in quotes"),
        ("seeds = [0]\nselect = 'frist'", "select = \"frist\": must be one of 'best', 'last'"),
        ("seeds = [0]\nselect = 'beast'", "did you mean 'best'?"),
        ("seeds = [0]\nmargin = 0", "margin = 0: must be a number above 0"),
        ("seeds = [0]\nmargin = nan", "margin = nan: must be a number above 0"),
        ("seeds = [0]\nmargin = true", "margin = true: must be a number above 0"),
        ("seeds = [0]\nmetric = 'val_topl'", 'metric = "val_topl": unknown metric; did you mean \'val_top'),
        ("seeds = [0]\nmetric = 3", "metric = 3: unknown metric (valid: 'val_top1'"),
        ("seeds = [0]\nmetric = ['val_top1']", 'metric = ["val_top1"]: unknown metric; did you mean'),
        ("seeds = [0]\nmetrics = 'val_top1'", "metrics = \"val_top1\": must be a list of 'val_top1'"),
        ("seeds = [0]\nmetrics = []", "metrics = []: must be a list of"),
        (
            "seeds = [0]\nmetrics = ['val_top1', 'params']",
            "metrics = \"params\": unknown metric; did you mean 'parameters'?",
        ),
        ("seeds = [0]\nmetrics = ['val_top1', 'mac']", "metrics = \"mac\": unknown metric; did you mean 'macs'?"),
        ("seeds = [0]\nmetrics = ['val_top1', 'val_top1']", "the same metric twice"),
        ("seeds = [0]\nmetric = 'val_top1'\nmetrics = ['val_top1']", "give `metric` or `metrics`, not both"),
        ("seeds = [0]\nbaseline = 3", "baseline = 3: must be a table"),
    ],
)
def test_wrong_top_level_key_is_refused(head, problem, refuses):
    """Seeds, metrics, margin and every other key at the top are checked."""
    baseline = "" if "baseline" in head else "baseline.model.name = 'test_resnet'\n"
    problems = refuses(ROWS, head=f"{head}\n{baseline}")
    assert len(problems) == 1
    assert problems[0].startswith("sweep.toml: ")
    assert problem in problems[0]


def test_top_level_keys_arrive(loads):
    """Title, question, source, metrics, select, margin and seeds are those of the file."""
    sweep = loads(
        ROWS,
        head="""
        title = "T"
        question = "Q?"
        source = "S"
        metrics = ["val_loss", "parameters"]
        select = "best"
        seeds = [5, 3]
        margin = 1
        baseline.model.name = "test_resnet"
        """,
        name="my/sweep",
    )
    assert (sweep.name, sweep.title, sweep.question, sweep.source) == ("my/sweep", "T", "Q?", "S")
    assert (sweep.metrics, sweep.select, sweep.margin) == (("val_loss", "parameters"), "best", 1.0)
    assert sweep.rows[0].seeds == (5, 3)


@pytest.mark.parametrize(
    ("seeds", "problem"),
    [([], "--seeds = []: no seeds"), ([1, 1], "--seeds[1] = 1: the same"), ([-1], "--seeds[0] = -1")],
)
def test_wrong_seeds_option_is_refused(seeds, problem, refuses):
    """`--seeds` follows the rules of the file's seeds."""
    assert problem in refuses(ROWS, seeds=seeds)[0]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("sweeps/demo/ablation.toml", "demo/ablation"),
        ("a/sweeps/b/sweeps/deep/er/x.toml", "deep/er/x"),
        ("elsewhere/mine.toml", "mine"),
        ("sweeps/sweeps.toml", "sweeps"),
    ],
)
def test_name_is_the_place_under_sweeps(path, name, tmp_path):
    """A sweep is called by its place under the nearest `sweeps` folder, elsewhere by its file's name."""
    assert name_of(tmp_path / path) == name


def test_heading_is_read_without_checking_the_rest(write):
    """A list of sweeps needs titles only: a file whose rows are wrong still has one."""
    path = write("title = 'T'\nquestion = 'Q'\nrows = 3\n")
    assert read_heading(path) == {"title": "T", "question": "Q", "source": ""}
    with pytest.raises(SweepError, match="no such file"):
        read_heading(path.parent / "none.toml")


def test_loading_imports_nothing_heavy(write):
    """Reading a sweep needs neither torch nor timm nor pandas nor ray."""
    path = write(f"seeds = [0]\nbaseline.model.name = 'm'\n{ROWS}")
    code = (
        "import sys, pathlib; from tinyablate.sweep.load import load; load(pathlib.Path(sys.argv[1]));"
        "print([name for name in ('torch', 'timm', 'pandas', 'ray', 'scipy', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_override_that_every_row_or_column_sets_itself_is_refused(refuses):
    """`--set` of a grid's own field, or of what all rows set, would change nothing and says so."""
    grid = '[baseline]\nmodel.name = "test_vit"\n[grid]\noptimizer.lr = [1e-3, 1e-2]\nbatch.size = [10, 20]\n'
    for path, what in (("optimizer.lr", "row"), ("batch.size", "column")):
        problems = refuses(grid, head="seeds = [0]\n", overrides=[f"{path}=0.5" if what == "row" else f"{path}=30"])
        assert problems == (f"sweep.toml: --set {path}: changes nothing: every {what} sets it itself",)
