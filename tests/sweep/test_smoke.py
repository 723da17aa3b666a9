"""The overlay of `--smoke`: last, over every cell, and never merging two of them."""

import pytest

HEAD = "seeds = [4, 5]\nbaseline.model.name = 'big'\nbaseline.schedule.epochs = 30\n"
MODELS = "[[rows]]\nlabel = 'A'\n[[rows]]\nlabel = 'B'\nset.model.name = 'bigger'\n"


def test_overlay_is_the_last_word(loads):
    """What [smoke] sets holds for every cell and the baseline; weights are random, one seed a row; the rest stays."""
    text = f"""
    {MODELS}set.loss.smoothing = 0.1
    [[rows]]
    label = "Other seeds"
    seeds = [8, 9]
    [smoke]
    schedule.epochs = 1
    data.name = "shapes"
    """
    smoke, plain = loads(text, head=HEAD, smoke=True), loads(text, head=HEAD)
    assert (smoke.smoke, plain.smoke) == (True, False)
    assert {cell.recipe.schedule.epochs for cell in smoke.cells} == {1}
    assert {cell.recipe.model.pretrained for cell in smoke.cells} == {False}
    assert [cell.recipe.model.name for cell in smoke.cells] == ["big", "bigger", "big"]
    assert [row.seeds for row in smoke.rows] == [(4,), (4,), (8,)]
    assert [row.null for row in smoke.rows] == [False, False, True]
    assert smoke.baseline == smoke.cells[0].recipe
    assert {cell.recipe.schedule.epochs for cell in plain.cells} == {30}
    assert {cell.recipe.model.pretrained for cell in plain.cells} == {True}


def test_levels_map_one_by_one(loads):
    """A level in [smoke.levels] becomes its small one; others take what the overlay sets, else they stay."""
    sweep = loads(
        """
        [grid]
        model.name = ["a", "b"]
        optimizer.lr = [0.003, 1e-3]
        [smoke]
        optimizer.lr = 0.5
        [smoke.levels."model.name"]
        "a" = "tiny"
        "unused" = "x"
        [smoke.levels.optimizer.lr]
        "3e-3" = 0.25
        """,
        head=HEAD,
        smoke=True,
    )
    found = [(cell.recipe.model.name, cell.recipe.optimizer.lr) for cell in sweep.cells]
    assert found == [("tiny", 0.25), ("tiny", 0.5), ("b", 0.25), ("b", 0.5)]
    assert [row.label for row in sweep.rows] == ["name = a", "name = b"]


def test_conditions_see_the_recipe_before_the_overlay(loads):
    """`when` and `exclude` speak of the file's levels, not of the small ones."""
    text = f"{MODELS}when.schedule.epochs = 30\n[smoke]\nschedule.epochs = 1\n"
    assert len(loads(text, head=HEAD, smoke=True).cells) == 2


def test_row_has_an_overlay_of_its_own(loads):
    """A row's smoke goes over [smoke] and its levels, key by key in model.args, on that row's cells alone."""
    text = f"""
    {MODELS}smoke = {{ model.args = {{ depth = 2, heads = 3 }}, batch.size = 4 }}
    [[rows]]
    label = "C"
    grid.loss.smoothing = [0.1, 0.2]
    smoke.model.args.depth = 5
    [[columns]]
    label = "short"
    [[columns]]
    label = "long"
    set.schedule.epochs = 300
    [smoke]
    batch.size = 8
    model.args = {{ depth = 1, width = 6 }}
    [smoke.levels."batch.size"]
    128 = 16
    """
    smoke, plain = loads(text, head=HEAD, smoke=True), loads(text, head=HEAD)
    assert [(cell.recipe.model.args, cell.recipe.batch.size) for cell in smoke.cells[::2]] == [
        ({"depth": 1, "width": 6}, 16),
        ({"depth": 2, "width": 6, "heads": 3}, 4),
        ({"depth": 5, "width": 6}, 16),
        ({"depth": 5, "width": 6}, 16),
    ]
    assert [cell.recipe.model for cell in smoke.cells[::2]] == [cell.recipe.model for cell in smoke.cells[1::2]]
    assert [cell.recipe.schedule.epochs for cell in smoke.cells] == [30, 300] * 4
    assert {(len(cell.recipe.model.args), cell.recipe.batch.size) for cell in plain.cells} == {(0, 128)}


def test_row_overlay_alone_keeps_rows_apart(loads):
    """Two rows that [smoke] would make one trial are two where their own overlays differ."""
    text = f"{MODELS}smoke.model.args.depth = 2\n[smoke]\nmodel.name = 'tiny'\n"
    assert [cell.recipe.model.args for cell in loads(text, head=HEAD, smoke=True).cells] == [{}, {"depth": 2}]


def test_command_line_wins_over_the_overlay(loads):
    """`--set` and `--seeds` are a person asking now, so no smoke takes them back."""
    text = f"{MODELS}smoke.batch.size = 4\n[smoke]\nschedule.epochs = 1\nbatch.size = 8\n"
    sweep = loads(text, head=HEAD, smoke=True, overrides=["schedule.epochs=2", "model.pretrained=true"], seeds=[1, 2])
    recipes = [cell.recipe for cell in sweep.cells]
    assert [(recipe.schedule.epochs, recipe.batch.size, recipe.model.pretrained) for recipe in recipes] == [
        (2, 8, True),
        (2, 4, True),
    ]
    assert loads(text, head=HEAD, smoke=True, overrides=["batch.size=6"]).cells[1].recipe.batch.size == 6
    assert sweep.rows[0].seeds == (1, 2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (MODELS, "--smoke: this sweep has no [smoke] overlay"),
        (
            f"{MODELS}[smoke]\nmodel.name = 'tiny'\n",
            "smoke: with --smoke row 'A' and row 'B' are the same trial, as they differ only in model.name; "
            'map its levels in [smoke.levels."model.name"]',
        ),
        (
            f"{MODELS}[smoke.levels.'model.name']\nbig = 't'\nbigger = 't'\n",
            "row 'A' and row 'B' are the same trial, as they differ only in model.name",
        ),
        (
            f"{MODELS}[smoke]\nschedule.warmup_epochs = 40\n",
            "with --smoke schedule.warmup_epochs = 40.0: is longer than schedule.epochs (in row 'A')",
        ),
        (
            f"{MODELS}smoke.schedule.warmup_epochs = 40\n[smoke]\nbatch.size = 8\n",
            "with --smoke schedule.warmup_epochs = 40.0: is longer than schedule.epochs (in row 'B')",
        ),
    ],
)
def test_overlay_that_cannot_be_put_on_is_refused(text, problem, refuses):
    """No overlay, an impossible one, or one under which two cells become one trial, is told with the cure."""
    assert any(problem in found for found in refuses(text, head=HEAD, smoke=True))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[smoke]\nschedule.epochs = 0\n", "smoke.schedule.epochs = 0: must be at least 1"),
        (
            "[smoke]\nschedule.epoch = 1\n",
            "smoke.schedule.epoch = 1: no such recipe field; did you mean 'schedule.epochs'?",
        ),
        ("[smoke.levels.'model.nam']\na = 'b'\n", "smoke.levels.model.nam: no such recipe field"),
        (
            "[smoke.levels.'optimizer.lr']\nfast = 1\n",
            "smoke.levels.optimizer.lr.fast: 'fast' is no value of optimizer.lr",
        ),
        ("[smoke.levels.'optimizer.lr']\n'-1' = 1\n", "smoke.levels.optimizer.lr.-1 = -1: must be above 0"),
        (
            "[smoke.levels.'optimizer.lr']\n1 = 'x'\n",
            'smoke.levels.optimizer.lr.1 = "x": must be a number, without quotes',
        ),
        ("[smoke.levels]\noptimizer.lr = 3\n", "smoke.levels.optimizer.lr = 3: must be a table"),
        ("[[smoke]]\nx = 3\n", "smoke = [{x = 3}]: must be a table"),
        (
            "smoke.model.nam = 't'\n[smoke]\nbatch.size = 8\n",
            'rows[1] "B".smoke.model.nam = "t": no such recipe field; did you mean \'model.name\'?',
        ),
        ("smoke = 3\n[smoke]\nbatch.size = 8\n", 'rows[1] "B".smoke = 3: must be a table'),
        (
            "smoke.levels.batch.size.128 = 8\n[smoke]\nbatch.size = 8\n",
            'rows[1] "B".smoke.levels: no such recipe field',
        ),
        ("smoke.batch.size = 8\n", 'rows[1] "B".smoke: there is no [smoke], which it would go over'),
    ],
)
def test_wrong_overlay_is_refused_even_without_smoke(text, problem, refuses):
    """[smoke] and a row's own are checked value by value on every load."""
    problems = refuses(f"{MODELS}{text}", head=HEAD)
    assert len(problems) == 1
    assert problem in problems[0]
