"""Rows, columns, grids and what drops combinations: which cells a file comes to."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyablate.identity import canonical
from tinyablate.recipe import build, flatten
from tinyablate.sweep.load import load

DEFAULT = "[[rows]]\nlabel = 'Default'\n"
NO_MIXUP = "[[rows]]\nlabel = 'No Mixup'\nset.mix.mixup_alpha = 0\n"


def _labels(sweep):
    return [row.label for row in sweep.rows], [column.label for column in sweep.columns]


def test_rows_change_the_baseline(loads):
    """Each row is the baseline with what it sets; the first that sets nothing is the others' reference."""
    sweep = loads(f"{NO_MIXUP}group = 'mixing'\n{DEFAULT}")
    assert _labels(sweep) == (["No Mixup", "Default"], [""])
    assert [row.reference for row in sweep.rows] == [1, None]
    assert [row.group for row in sweep.rows] == ["mixing", ""]
    assert [row.index for row in sweep.rows] == [0, 1]
    assert [cell.recipe.mix.mixup_alpha for cell in sweep.cells] == [0.0, 0.8]
    assert sweep.cells[1].recipe == sweep.baseline
    assert sweep.excluded == ()


def test_cells_carry_their_canonical_recipe(loads):
    """`canonical` of a cell is the recipe module's, and its recipe the one that the recipe module builds."""
    sweep = loads(f"{DEFAULT}{NO_MIXUP}set.model.args.depth = 2\nset.precision = 'bf16'\n")
    for cell in sweep.cells:
        assert cell.canonical == canonical(cell.recipe)
        assert cell.recipe == build(flatten(cell.recipe))
    assert sweep.cells[1].recipe.precision == "bf16"
    assert sweep.cells[1].recipe.model.args == {"depth": 2}


def test_without_a_baseline_row_nothing_is_the_reference(loads):
    """Where every row sets something (four models, say) no row is compared, and the baseline may lack a model."""
    sweep = loads(
        "".join(f"[[rows]]\nlabel = '{name}'\nset.model.name = '{name}'\n" for name in ("a", "b")), head="seeds = [0]\n"
    )
    assert [row.reference for row in sweep.rows] == [None, None]
    assert sweep.baseline == sweep.cells[0].recipe


def test_columns_cross_the_rows(loads):
    """A second axis multiplies the rows; where both set a field the row, which is the ablation, has the last word."""
    sweep = loads(
        f"""
        {DEFAULT}{NO_MIXUP}
        [[rows]]
        label = "Short"
        set.schedule.epochs = 1
        [[columns]]
        label = "90ep"
        set = {{ schedule.epochs = 90, "model.name" = "a" }}
        [[columns]]
        label = "150ep"
        set.schedule.epochs = 150
        """
    )
    assert _labels(sweep) == (["Default", "No Mixup", "Short"], ["90ep", "150ep"])
    assert [(cell.row, cell.column) for cell in sweep.cells] == list(itertools.product(range(3), range(2)))
    assert [cell.recipe.schedule.epochs for cell in sweep.cells] == [90, 150, 90, 150, 1, 1]
    assert [cell.recipe.model.name for cell in sweep.cells] == ["a", "test_resnet"] * 3


def test_a_row_may_set_the_baselines_value_where_a_column_changed_it(loads):
    """A row changes something if any column's recipe has another value."""
    column = "[[columns]]\nlabel = 'c'\nset.mix.mixup_alpha = 0.2\n"
    assert (
        loads(f"{DEFAULT}[[rows]]\nlabel = 'r'\nset.mix.mixup_alpha = 0.8\n{column}").cells[1].recipe.mix.mixup_alpha
        == 0.8
    )


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            f"{DEFAULT}[[rows]]\nlabel = 'Remove EMA'\nset.ema.decay = 0\n",
            "rows[1] \"Remove EMA\".set.ema.decay = 0: row 'Remove EMA' changes nothing: "
            "ema.decay is already 0.0 by default",
        ),
        (
            f"{DEFAULT}[[rows]]\nlabel = 'R'\nset.mix.mixup_alpha = 0.8\n",
            "row 'R' changes nothing: mix.mixup_alpha is already 0.8 (sweep.toml: baseline.mix.mixup_alpha)",
        ),
        (
            f"{DEFAULT}{NO_MIXUP}set.ema.decay = 0.0\n",
            'rows[1] "No Mixup".set.ema.decay = 0.0: a row sets only what it changes: '
            "ema.decay is already 0.0 by default",
        ),
        (
            f"{DEFAULT}{NO_MIXUP}[[rows]]\nlabel = 'Mixup off'\nset.mix.mixup_alpha = 0.0\n",
            "rows[2] \"Mixup off\": row 'No Mixup' and row 'Mixup off' are the same trial: one recipe, seed 0 in both",
        ),
        (
            f"{DEFAULT}[[rows]]\nlabel = 'Scale'\nset.augment.crop_scale = [0.5, 1.0]\n",
            "row 'Default' and row 'Scale' are the same trial: augment.crop_scale has no effect as the other fields "
            "stand; drop one",
        ),
        (
            f"{DEFAULT}[[rows]]\nlabel = 'Again'\nseeds = [2, 3]\n",
            "rows[1] \"Again\": row 'Default' and row 'Again' are the same trial: one recipe, seed 2 in both",
        ),
        (
            f"{DEFAULT}[[columns]]\nlabel = 'a'\n[[columns]]\nlabel = 'b'\n",
            "columns[1] \"b\": row 'Default', column 'a' and row 'Default', column 'b' are the same trial",
        ),
        (DEFAULT + DEFAULT, "rows[1] \"Default\": the label 'Default' stands twice"),
        (f"{DEFAULT}[[columns]]\nlabel = 'a'\n[[columns]]\nlabel = 'a'\n", "the label 'a' stands twice"),
        ("[[rows]]\nset.ema.decay = 0.9\n", "rows[0]: `label` is missing"),
        ("[[rows]]\nlabel = 3\n", "rows[0].label = 3: must be text in quotes"),
        ("[[rows]]\nlabel = 'A'\nlable = 'B'\n", 'rows[0] "A".lable = "B": unknown key; did you mean \'label\'?'),
        ("[[rows]]\nlabel = 'A'\nmix.prob = 0.5\n", 'rows[0] "A".mix: recipe fields belong in the row\'s `set`'),
        ("[[rows]]\nlabel = 'A'\nset = 3\n", 'rows[0] "A".set = 3: must be a table'),
        ("[[rows]]\nlabel = 'A'\nseeds = []\n", 'rows[0] "A".seeds = []: no seeds'),
        (
            "[[rows]]\nlabel = 'A'\nset.mix.prop = 1\n",
            "set.mix.prop = 1: no such recipe field; did you mean 'mix.prob'?",
        ),
        ("[rows]\nlabel = 'A'\n", 'rows = {label = "A"}: must be an array of tables: write [[rows]]'),
        ("[[columns]]\nlabel = 'A'\n", "no rows: add [[rows]], [grid], [zip] or [components]"),
        ("", "no rows: add [[rows]]"),
    ],
)
def test_wrong_rows_are_refused(rows, problem, refuses):
    """Rows that change nothing, repeat a trial or a label, or are written wrongly get one message each."""
    problems = refuses(rows)
    assert len(problems) == 1
    assert problem in problems[0]


def test_empty_lists_are_refused(refuses):
    """`rows = []` is no sweep, and says so."""
    problems = refuses("", head="rows = []\nseeds = [0]\nbaseline.model.name = 'm'\n")
    assert problems == ("sweep.toml: rows = []: is empty",)


def test_impossible_combination_names_value_and_cells(refuses):
    """What only the whole recipe shows is told once, with where the value stands and which cells have it."""
    problems = refuses(
        f"batch.size = 51\noptimizer.nesterov = true\n{DEFAULT}[[rows]]\nlabel = 'SGD'\nset.optimizer.name = 'sgd'\n"
    )
    assert problems == (
        "sweep.toml: baseline.batch.size = 51: Mixup and CutMix pair the images of a batch: it must be even "
        "(in row 'Default' and 1 more)",
        "sweep.toml: baseline.optimizer.nesterov = true: needs optimizer.name = 'sgd' (in row 'Default')",
    )


def test_missing_model_is_told_with_its_cells(refuses):
    """A sweep that names no model anywhere is refused at the field."""
    assert refuses(DEFAULT, head="seeds = [0]\n") == (
        "sweep.toml: model.name = \"\" (the default): missing: name a timm model (in row 'Default')",
    )


def test_null_row_is_the_baseline_under_other_seeds(loads):
    """A row that sets nothing and has other seeds is marked, whichever comes first; other rows are no null rows."""
    null = "[[rows]]\nlabel = 'Other seeds'\nseeds = [7, 8]\n"
    more = "[[rows]]\nlabel = 'More'\nset.ema.decay = 0.9\nseeds = [0, 1, 2, 3]\n"
    sweep = loads(null + DEFAULT + NO_MIXUP + more)
    assert [row.null for row in sweep.rows] == [True, False, False, False]
    assert [row.reference for row in sweep.rows] == [1, None, 1, 1]
    assert [row.seeds for row in sweep.rows] == [(7, 8), (0, 1, 2), (0, 1, 2), (0, 1, 2, 3)]
    assert sweep.cells[0].canonical == sweep.cells[1].canonical


def test_a_lone_baseline_row_may_have_its_own_seeds(loads):
    """The only row that sets nothing is the reference, even with more seeds than the others."""
    sweep = loads(f"{DEFAULT}seeds = [0, 1, 2, 3]\n{NO_MIXUP}")
    assert (sweep.rows[0].null, sweep.rows[0].reference, sweep.rows[1].reference) == (False, None, 0)


@pytest.mark.parametrize(
    ("asked", "null"),
    [([0], (7,)), ([0, 1, 2, 3], (7, 8, 9)), ([7, 8], (9,)), ([9, 1], (7, 8))],
)
def test_seeds_option_replaces_all_but_the_null_rows(asked, null, loads):
    """`--seeds` goes for every row; a null row takes as many of its own as are left and needed."""
    sweep = loads(f"{DEFAULT}{NO_MIXUP}seeds = [0, 5]\n[[rows]]\nlabel = 'Other'\nseeds = [7, 8, 9]\n", seeds=asked)
    assert [row.seeds for row in sweep.rows] == [tuple(asked), tuple(asked), null]
    assert sweep.rows[2].null


def test_seeds_option_that_leaves_a_null_row_none_is_refused(refuses):
    """A null row whose seeds are all asked for has nothing to show."""
    problems = refuses(f"{DEFAULT}[[rows]]\nlabel = 'Other'\nseeds = [7]\n", seeds=[7, 8])
    assert problems == (
        'sweep.toml: rows[1] "Other".seeds = [7]: all of them are asked for, yet this row needs other ones',
    )


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("grid.optimizer.lr = [3e-3, 1e-5]", ["lr = 0.003", "lr = 1e-5"], [""]),
        (
            "grid.optimizer.lr = [3e-3, 1]\ngrid.optimizer.weight_decay = [0, 0.05, 0.01]",
            ["lr = 0.003", "lr = 1"],
            ["weight_decay = 0", "weight_decay = 0.05", "weight_decay = 0.01"],
        ),
        (
            '[grid]\n"optimizer.lr" = [1e-3]\n"optimizer.name" = ["sgd", "adamw"]\n"model.pretrained" = [true, false]',
            ["lr = 0.001, name = sgd", "lr = 0.001, name = adamw"],
            ["pretrained = true", "pretrained = false"],
        ),
        (
            'grid."optimizer.name" = ["sgd"]\ngrid."model.name" = ["a", "b"]',
            ["optimizer.name = sgd"],
            ["model.name = a", "model.name = b"],
        ),
        (
            "zip.batch.size = [64, 128]\nzip.optimizer.lr = [1e-3, 2e-3]",
            ["size = 64, lr = 0.001", "size = 128, lr = 0.002"],
            [""],
        ),
        (
            "grid.ema.decay = [0.9, 0]\nzip.batch.size = [64, 128]\nzip.optimizer.lr = [1e-3, 2e-3]",
            ["decay = 0.9", "decay = 0"],
            ["size = 64, lr = 0.001", "size = 128, lr = 0.002"],
        ),
        ("grid.model.args.depth = [2, 4]", ["depth = 2", "depth = 4"], [""]),
        ("grid.optimizer.betas = [[0.9, 0.99], [0.9, 0.95]]", ["betas = [0.9, 0.99]", "betas = [0.9, 0.95]"], [""]),
    ],
)
def test_grid_and_zip_become_rows_and_columns(text, rows, columns, loads):
    """Axes in order: one makes rows, of several the last makes columns; labels are the field's last name and value."""
    sweep = loads(text, head="seeds = [0]\nbaseline.model.name = 'm'\n")
    assert _labels(sweep) == (rows, columns)
    assert len(sweep.cells) == len(rows) * len(columns)
    assert all(row.reference is None and not row.null for row in sweep.rows)


def test_grid_levels_reach_the_recipes(loads):
    """The cell where two levels meet has both."""
    sweep = loads("[grid]\noptimizer.lr = [1, 2]\nschedule.epochs = [3, 4]\n")
    recipes = [cell.recipe for cell in sweep.cells]
    assert [(r.optimizer.lr, r.schedule.epochs) for r in recipes] == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert {r.mix.mixup_alpha for r in recipes} == {0.8}


def test_rows_own_grid_makes_several_rows(loads):
    """A row with a grid becomes one row for each combination, its own `set` and reference kept."""
    sweep = loads(
        f"{DEFAULT}[[rows]]\nlabel = 'EMA'\ngroup = 'g'\nset.loss.smoothing = 0.1\n"
        "grid.ema.decay = [0.9, 0.99]\ngrid.optimizer.lr = [1e-3, 2e-3]\n"
    )
    assert [row.label for row in sweep.rows[1:3]] == ["EMA, decay = 0.9, lr = 0.001", "EMA, decay = 0.9, lr = 0.002"]
    assert len(sweep.rows) == 5
    assert {row.reference for row in sweep.rows[1:]} == {0}
    assert {row.group for row in sweep.rows[1:]} == {"g"}
    assert {cell.recipe.loss.smoothing for cell in sweep.cells[1:]} == {0.1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[grid]", "grid: is empty: name a field and its levels"),
        ("[zip]", "zip: is empty: name a field and its levels"),
        ("grid.optimizer.lr = []", "grid.optimizer.lr = []: is empty: give at least one level"),
        ("grid.optimizer.lr = 3", "grid.optimizer.lr = 3: must be a list of levels"),
        ("grid.optimizer.rl = [3]", "grid.optimizer.rl: no such recipe field; did you mean 'optimizer.lr'?"),
        ("grid.optimizer.lr = [1, -1]", "grid.optimizer.lr[1] = -1: must be above 0"),
        ("grid.optimizer.lr = [1, '2']", 'grid.optimizer.lr[1] = "2": must be a number, without quotes'),
        ("grid.optimizer.lr = [1, 2, 1.0]", "grid.optimizer.lr[2] = 1.0: the same level twice"),
        ("grid.loss.name = ['ce', 'bce']", 'grid.loss.name[1] = "bce": does not work yet'),
        ("grid = 3", "grid = 3: must be a table"),
        (
            "zip.optimizer.lr = [1, 2]\nzip.batch.size = [2]",
            "zip: uneven: the lists move together, yet optimizer.lr has 2, batch.size has 1",
        ),
        ("zip.optimizer.lr = [1, 1]\nzip.batch.size = [2, 2]", "zip.optimizer.lr[1] = 1: the same level twice"),
        ("grid.optimizer.lr = [1]\nzip.optimizer.lr = [2]", "grid.optimizer.lr: [zip] has it too"),
        ("grid.optimizer.lr = [1]\n" + DEFAULT, "grid: makes rows and columns: drop [[rows]], or give a row its own"),
        (
            "grid.optimizer.lr = [1]\n[[columns]]\nlabel = 'c'\nset.batch.size = 2\n",
            "grid: makes rows and columns: drop [[columns]]",
        ),
        ("zip.optimizer.lr = [1]\n" + DEFAULT, "zip: makes rows and columns: drop [[rows]]"),
        (
            f"{DEFAULT}grid.optimizer.lr = [1e-3, 2e-3]\nset.optimizer.lr = 2\n",
            'rows[0] "Default".grid.optimizer.lr: the row\'s `set` gives it too',
        ),
        (
            f"{DEFAULT}grid.optimizer.lr = [2e-3]\npublished = 3\n",
            'rows[0] "Default".published: one row\'s numbers cannot be shared by the rows of its grid',
        ),
        (
            f"[grid]\noptimizer.lr = {list(range(1, 401))}\nbatch.size = {list(range(2, 802, 2))}",
            "grid: 160,000 combinations: at most 100,000",
        ),
    ],
)
def test_wrong_grid_is_refused(text, problem, refuses):
    """Empty, uneven, repeated or impossible axes, and mixtures with lists of rows, get one message each."""
    problems = refuses(text, head="seeds = [0]\nbaseline.model.name = 'm'\n")
    assert len(problems) == 1
    assert problem in problems[0]


GRID = """
[grid]
"optimizer.lr" = [3e-3, 1e-3]
"optimizer.weight_decay" = [0.2, 0.05, 0.01]
"""


def test_exclude_drops_combinations_with_their_reason(loads):
    """Excluded cells are absent and listed; a list of values means any of them."""
    sweep = loads(
        f"""{GRID}
        [[exclude]]
        where = {{ optimizer.lr = 3e-3, "optimizer.weight_decay" = [0.2, 0.05] }}
        reason = "diverges"
        [[exclude]]
        where.optimizer.weight_decay = 0.2
        reason = "too strong"
        """
    )
    assert [(e.row_label, e.column_label, e.reason) for e in sweep.excluded] == [
        ("lr = 0.003", "weight_decay = 0.2", "diverges"),
        ("lr = 0.003", "weight_decay = 0.05", "diverges"),
        ("lr = 0.001", "weight_decay = 0.2", "too strong"),
    ]
    assert [(cell.row, cell.column) for cell in sweep.cells] == [(0, 2), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("where.optimizer.lr = 5\nreason = 'r'", "exclude[0].where: matches no combination of this sweep"),
        ("where.optimizer.lr = [3e-3, 1e-3]\nreason = 'r'", "`exclude` and `when` leave nothing"),
        ("where.optimizer.lr = 3e-3", "exclude[0]: `reason` is missing: the table prints it"),
        ("reason = 'r'", "exclude[0]: `where` is missing"),
        ("where = {}\nreason = 'r'", "exclude[0].where: is empty"),
        ("where.optimizer.rl = 3e-3\nreason = 'r'", "exclude[0].where.optimizer.rl = 0.003: no such recipe field"),
        ("where.optimizer.lr = ['x']\nreason = 'r'", 'exclude[0].where.optimizer.lr[0] = "x": must be a number'),
        (
            "where.optimizer.lr = 3e-3\nreasen = 'r'\nreason = 'r'",
            "reasen = \"r\": unknown key; did you mean 'reason'?",
        ),
    ],
)
def test_wrong_exclude_is_refused(text, problem, refuses):
    """An exclude that matches nothing, leaves nothing, or lacks its reason is a mistake."""
    problems = refuses(f"{GRID}[[exclude]]\n{text}\n")
    assert len(problems) == 1
    assert problem in problems[0]


def test_when_keeps_a_row_to_some_columns(loads):
    """A row or column with `when` has cells only where the recipe fulfils it."""
    sweep = loads(
        f"""
        {DEFAULT}
        [[rows]]
        label = "Only SGD"
        set.optimizer.momentum = 0.5
        when.optimizer.name = ["sgd"]
        [[columns]]
        label = "AdamW"
        [[columns]]
        label = "SGD"
        set.optimizer.name = "sgd"
        [[columns]]
        label = "Low momentum"
        set = {{ optimizer.name = "sgd", optimizer.lr = 1 }}
        when.optimizer.momentum = 0.5
        """
    )
    assert [(cell.row, cell.column) for cell in sweep.cells] == [(0, 0), (0, 1), (1, 1), (1, 2)]
    assert sweep.excluded == ()


def test_conditions_read_lists_and_arguments(loads):
    """A field that holds a list can be asked for one list or several; an argument that is not set fulfils nothing."""
    text = (
        "grid.optimizer.betas = [[0.9, 0.99], [0.9, 0.95]]\ngrid.model.args.depth = [2, 3]\n[[exclude]]\nreason = 'r'\n"
    )
    for where, left in (
        ("optimizer.betas = [0.9, 0.99]", 2),
        ("optimizer.betas = [[0.9, 0.99]]", 2),
        ("model.args.depth = 2.0", 2),
        ("model.args.depth = [2, 4]\nwhere.optimizer.betas = [0.9, 0.99]", 3),
    ):
        assert len(loads(f"{text}where.{where}\n", head="seeds = [0]\nbaseline.model.name = 'm'\n").cells) == left


def test_when_that_never_holds_is_refused(refuses):
    """A condition without any combination is a mistake, not an empty row."""
    problems = refuses(f"{DEFAULT}{NO_MIXUP}when.model.args.depth = 3\n")
    assert problems == ('sweep.toml: rows[1] "No Mixup".when: matches no combination of this sweep',)


AXES = st.lists(
    st.sampled_from(["optimizer.lr", "optimizer.weight_decay", "schedule.warmup_epochs", "loss.smoothing", "mix.prob"]),
    min_size=1,
    max_size=4,
    unique=True,
)


@settings(max_examples=25, deadline=None)
@given(
    axes=AXES.flatmap(
        lambda paths: st.fixed_dictionaries(
            {
                path: st.lists(st.integers(1, 99).map(lambda n: n / 100), min_size=1, max_size=4, unique=True)
                for path in paths
            }
        )
    )
)
def test_any_grid_expands_to_its_product_and_always_the_same(axes, tmp_path_factory):
    """A grid has as many cells as the product of its levels, no two with one recipe, and the same ones every time."""
    path = tmp_path_factory.mktemp("grid") / "grid.toml"
    lines = [f'"{field}" = {levels}' for field, levels in axes.items()]
    path.write_text(
        "seeds = [0]\nbaseline.model.name = 'm'\nbaseline.mix.mixup_alpha = 0.8\n[grid]\n" + "\n".join(lines) + "\n"
    )
    sweep = load(path)
    wanted = list(itertools.product(*axes.values()))
    assert len(sweep.cells) == len(sweep.rows) * len(sweep.columns) == len(wanted)
    assert len({cell.canonical for cell in sweep.cells}) == len(wanted)
    found = [tuple(flatten(cell.recipe)[field] for field in axes) for cell in sweep.cells]
    assert found == wanted
    assert load(path) == sweep


def _cpu_seconds(work):
    """Least CPU time of three goes."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def test_ten_thousand_cells_cost_less_than_their_recipes_one_by_one(write):
    """Reading, checking and expanding a grid of 10,000 cells costs less than building its recipes from their leaves."""
    rates, decays = [i / 1000 for i in range(1, 101)], [i / 1000 for i in range(100)]
    axes = f"optimizer.lr = {rates}\noptimizer.weight_decay = {decays}\n"
    path = write(f"seeds = [0]\nbaseline.model.name = 'm'\nbaseline.mix.mixup_alpha = 0.8\n[grid]\n{axes}")
    recipes = [flatten(cell.recipe) for cell in load(path).cells]
    assert len(recipes) == 10_000
    assert _cpu_seconds(lambda: load(path)) < _cpu_seconds(lambda: [canonical(build(leaves)) for leaves in recipes])
