"""Values of recipe fields: what is taken, and how each wrong one is refused."""

import pytest

from tinyablate.recipe import field_specs
from tinyablate.sweep.fields import LATER_LEVELS, ident, plain, shown
from tinyablate.sweep.load import load

ROW = '[[rows]]\nlabel = "Default"\n'


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("mix.mixpu_alpha = 0.1", "mix.mixpu_alpha = 0.1: no such recipe field; did you mean 'mix.mixup_alpha'?"),
        ("lr = 1e-3", "lr = 0.001: no such recipe field; did you mean 'optimizer.lr'?"),
        ("augmnet.hflip = 0.5", "augmnet: no such recipe field; did you mean 'augment'?"),
        ("xyzzy = 1", "xyzzy = 1: no such recipe field"),
        ("loss = 3", "loss = 3: holds several fields: set one of 'loss.name', 'loss.smoothing'"),
        ("model.args = 3", "model.args = 3: must be a table of arguments"),
        ("optimizer.lr = true", "optimizer.lr = true: must be a number"),
        ('optimizer.lr = "1e-4"', 'optimizer.lr = "1e-4": must be a number, without quotes'),
        ("optimizer.lr = -1", "optimizer.lr = -1: must be above 0"),
        ("optimizer.lr = nan", "optimizer.lr = nan: must be a finite number"),
        ("optimizer.lr = inf", "optimizer.lr = inf: must be a finite number"),
        ("optimizer.lr = { peak = 1 }", "optimizer.lr = {peak = 1}: must be a number"),
        ("optimizer.betas = [0.9]", "optimizer.betas = [0.9]: must be a list of 2 numbers"),
        ("optimizer.betas = [0.9, nan]", "optimizer.betas = [0.9, nan]: must be a finite number"),
        ("optimizer.betas = [0.9, 1.0]", "optimizer.betas = [0.9, 1.0]: must be at least 0 and below 1"),
        ("optimizer.nesterov = 1", "optimizer.nesterov = 1: must be true or false"),
        ("schedule.epochs = 0", "schedule.epochs = 0: must be at least 1"),
        ("schedule.epochs = 1.5", "schedule.epochs = 1.5: must be a whole number"),
        ("schedule.epochs = 1979-05-27", "schedule.epochs = 1979-05-27: must be a whole number"),
        (f"optimizer.eps = 1{'0' * 400}", "must be a finite number"),
        ("augment.hflip = 1.5", "augment.hflip = 1.5: must be at least 0 and at most 1"),
        ("data.normalize = 1", "data.normalize = 1: must be one of 'model', 'imagenet', 'half'"),
        (
            'optimizer.name = "adam"',
            "optimizer.name = \"adam\": must be one of 'adamw', 'sgd', 'lamb'; did you mean 'adamw'?",
        ),
        (
            'data.name = "shape"',
            "data.name = \"shape\": data set not known; valid: 'shapes', 'tiny-imagenet', 'imagenet-1k'; did you mean "
            "'shapes'?",
        ),
        ("model.args.when = 1979-05-27", "model.args.when = 1979-05-27: must be true, false, a number, text"),
        ("model.args.deep = { at = [nan] }", "model.args.deep = {at = [nan]}: must be a finite number"),
        ('"loss.smoothing" = 0.1\nloss.smoothing = 0.2', "loss.smoothing = 0.2: is given twice"),
    ],
)
def test_wrong_value_is_refused_with_path_value_and_rule(line, problem, refuses):
    """Each wrong value gets one message: file, dotted path, value, rule, and the nearest match if there is one."""
    problems = refuses(f"[baseline]\nmodel.name = 'test_resnet'\n{line}\n{ROW}", head="seeds = [0]\n")
    assert len(problems) == 1
    assert problems[0].startswith("sweep.toml: baseline.")
    assert problem in problems[0]


@pytest.mark.parametrize(("path", "level"), [(path, level) for path, found in LATER_LEVELS.items() for level in found])
def test_level_of_a_later_release_is_refused_by_name(path, level, refuses):
    """A level that the design promises for later says so, with the value."""
    problems = refuses(f'{path} = "{level}"\n{ROW}')
    assert problems == (f'sweep.toml: baseline.{path} = "{level}": does not work yet in tinyablate 0.1.0',)


@pytest.mark.parametrize(
    ("level", "here"),
    [
        ("sam", "optimizer.perturbation = 'sam'"),
        ("nesterov", "optimizer.name = 'sgd' with optimizer.nesterov = true"),
    ],
)
def test_what_stands_elsewhere_is_refused_with_its_place(level, here, refuses):
    """Names that other programs give to an optimizer lead to the field that holds them here."""
    problems = refuses(f'optimizer.name = "{level}"\n{ROW}')
    assert problems == (f'sweep.toml: baseline.optimizer.name = "{level}": is no optimizer here: set {here}',)


def test_what_works_is_not_listed_as_later():
    """The table of later levels holds nothing that this version computes."""
    specs = field_specs()
    for path, levels in LATER_LEVELS.items():
        assert not set(levels) & set(specs[path].type.__args__)


def test_values_arrive_in_the_types_of_their_fields(loads):
    """Whole numbers are taken for float fields, lists become tuples, arguments of the model stay what they are."""
    recipe = loads(
        f"""
        optimizer.lr = 1
        optimizer.betas = [0, 0.5]
        model.args.depth = 2
        model.args.sizes = [[1, 2], [3]]
        "model.args".act = {{ name = "gelu", fast = true }}
        {ROW}"""
    ).baseline
    assert recipe.optimizer.lr == 1.0
    assert isinstance(recipe.optimizer.lr, float)
    assert recipe.optimizer.betas == (0.0, 0.5)
    assert recipe.model.args == {"depth": 2, "sizes": ((1, 2), (3,)), "act": {"name": "gelu", "fast": True}}


def test_nested_tables_and_quoted_keys_say_the_same(loads):
    """`set` may be a nested table, dotted keys, or quoted dotted keys."""
    sweeps = [
        loads(f"{ROW}[[rows]]\nlabel = 'R'\n{line}\n")
        for line in (
            "set.mix.mixup_alpha = 0\nset.model.args.depth = 3",
            'set = { "mix.mixup_alpha" = 0, "model.args.depth" = 3 }',
            "[rows.set.mix]\nmixup_alpha = 0\n[rows.set.model.args]\ndepth = 3",
        )
    ]
    assert len({sweep.cells[1].canonical for sweep in sweeps}) == 1
    assert '"model.args":{"depth":3}' in sweeps[0].cells[1].canonical


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("optimizer.lr=3e-4", "optimizer.lr", 3e-4),
        (" optimizer.lr = 1 ", "optimizer.lr", 1.0),
        ("optimizer.name=sgd", "optimizer.name", "sgd"),
        ('optimizer.name="sgd"', "optimizer.name", "sgd"),
        ("model.name=vit_tiny_patch16_224.augreg_in21k", "model.name", "vit_tiny_patch16_224.augreg_in21k"),
        ("optimizer.betas=[0.8, 0.9]", "optimizer.betas", (0.8, 0.9)),
        ("model.pretrained=false", "model.pretrained", False),
        ("model.args.depth=4", "model.args", {"depth": 4}),
    ],
)
def test_override_is_typed_as_in_a_file(text, path, value, loads):
    """`--set` reads its value as TOML; a bare word does for a text field."""
    sweep = loads(ROW, overrides=[text])
    section, leaf = path.split(".")
    assert getattr(getattr(sweep.cells[0].recipe, section), leaf) == value
    assert sweep.overrides == (text,)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("optimizer.lr=-1", "--set optimizer.lr = -1: must be above 0"),
        ("mix.keep_rate=yes", "--set mix.keep_rate: 'yes' is no TOML value; it must be true or false"),
        ("augment.crop_scale=0.08,1.0", "it must be a list of 2 numbers, as in 'augment.crop_scale=[0.5, 1.0]'"),
        ("augment.crop=RRC", "did you mean 'rrc'?"),
        ("optimizer.lr=fast", "--set optimizer.lr: 'fast' is no TOML value"),
        ("optimizer.lr", "--set optimizer.lr: write path=value"),
        ("optimizer.rl=1", "--set optimizer.rl: no such recipe field; did you mean 'optimizer.lr'?"),
        ("optimizer=1", "--set optimizer: holds several fields: set one of 'optimizer.name'"),
        ("model.args=1", "--set model.args: must be a table of arguments"),
        ("model.args.act=gelu", "--set model.args.act: 'gelu' is no TOML value; text needs quotes"),
        ("augment.policy=rand-m99", '--set augment.policy = "rand-m99": '),
        ("augment.policy=torchvision-randaugmnt-n2", "did you mean 'torchvision-randaugment"),
        ("data.split=train[:101%]", '--set data.split = "train[:101%]": holds no image'),
        ("data.split=trian", "did you mean 'train'"),
        ("data.fraction=0", "--set data.fraction = 0: must be above 0"),
        ("augment.crop_scale=[0.08, nan]", "must be a finite number"),
        ("augment.color_jitter=1.5", "--set augment.color_jitter = 1.5: must be at least 0 and at most 1"),
        ("optimizer.name=adam", '--set optimizer.name = "adam": must be one of'),
        ("optimizer.lr=1\nmix.prob=0", "--set optimizer.lr: '1 mix.prob=0' is no TOML value"),
        ("mix.mixup_alpha=0", "row 'No Mixup' changes nothing: mix.mixup_alpha is already 0.0 (--set mix.mixup_alpha)"),
    ],
)
def test_wrong_override_is_refused_with_its_origin(text, problem, refuses):
    """A wrong `--set` is named as such, also where it takes a row's meaning away."""
    problems = refuses(f"{ROW}[[rows]]\nlabel = 'No Mixup'\nset.mix.mixup_alpha = 0\n", overrides=[text])
    assert len(problems) == 1
    assert problem in problems[0]


def test_override_leaves_the_rows_their_differences(loads):
    """`--set` goes onto the baseline; a row that sets the same field keeps its own value."""
    sweep = loads(f"{ROW}[[rows]]\nlabel = 'No Mixup'\nset.mix.mixup_alpha = 0\n", overrides=["mix.mixup_alpha=0.3"])
    assert [cell.recipe.mix.mixup_alpha for cell in sweep.cells] == [0.3, 0.0]


def test_values_are_shown_as_toml_writes_them():
    """Messages and labels write numbers shortly and text with or without quotes."""
    assert [shown(value) for value in (3e-3, 1e-5, 1e22, 1.0, 2, True, "a", [1, "b"], {"c": False})] == [
        "0.003", "1e-5", "1e22", "1.0", "2", "true", '"a"', '[1, "b"]', "{c = false}",
    ]  # fmt: skip
    assert (plain("a"), plain(1e-5), plain([1])) == ("a", "1e-5", "[1]")


def test_ident_follows_identity():
    """Two values have one `ident` where they are one value in a trial's key: 1 and 1.0, but not 1 and true."""
    assert ident(1) == ident(1.0)
    assert ident(1) != ident(True)
    assert ident((0.9, 1)) == ident((0.9, 1.0))
    assert ident({"a": 1, "b": 2}) == ident({"b": 2.0, "a": 1})


def test_all_problems_of_all_files_come_at_once(write, refuses):
    """One load names every problem, each with the file, row or option that it stands in."""
    write("[baseline]\nmodel.name = 'test_resnet'\noptimizer.lr = -1\nrows = 3\n[[rows]]\n", "recipe.toml")
    problems = refuses(
        """
        titel = "x"
        extends = "recipe.toml"
        metric = "val_top"
        seeds = [0, 0]
        [baseline]
        mix.mixup_alpha = "0.8"
        loss.smoothing = 0.1
        [[rows]]
        label = "A"
        [[rows]]
        label = "A"
        set.loss.smoothing = 0.1
        [[rows]]
        label = "B"
        set.loss.name = "bce"
        """,
        head="",
        overrides=["batch.size=0"],
    )
    wanted = [
        "sweep.toml: titel = \"x\": unknown key; did you mean 'title'?",
        "recipe.toml: rows: unknown key",
        "recipe.toml: baseline.optimizer.lr = -1: must be above 0",
        "recipe.toml: baseline.rows = 3: no such recipe field",
        'sweep.toml: baseline.mix.mixup_alpha = "0.8": must be a number, without quotes',
        "--set batch.size = 0: must be at least 1",
        "sweep.toml: metric = \"val_top\": unknown metric; did you mean 'val_top5'?",
        "sweep.toml: seeds[1] = 0: the same seed twice",
        'sweep.toml: rows[2] "B".set.loss.name = "bce": does not work yet',
        "sweep.toml: rows[1] \"A\": the label 'A' stands twice",
        "sweep.toml: rows[1] \"A\".set.loss.smoothing = 0.1: row 'A' changes nothing: loss.smoothing is already 0.1",
    ]
    assert len(problems) == len(wanted)
    for start in wanted:
        assert any(problem.startswith(start) for problem in problems), start


def test_a_flood_of_problems_is_cut(refuses):
    """More than fifty problems end in a count of the rest."""
    problems = refuses("".join(f"model.args.a{i} = nan\n" for i in range(60)) + ROW)
    assert len(problems) == 51
    assert problems[-1] == "and 10 more"


def test_load_is_quiet_about_what_it_was_not_asked(write):
    """The least file: seeds, a model and one row; everything else has a default."""
    sweep = load(write("seeds = [3]\nbaseline.model.name = 'test_vit'\n[[rows]]\nlabel = 'A'\n", "least.toml"))
    assert (sweep.title, sweep.question, sweep.source) == ("least", "", "")
    assert (sweep.metrics, sweep.select, sweep.margin) == (("val_top1",), "last", None)
    assert (sweep.rows[0].seeds, sweep.rows[0].reference, sweep.columns[0].label) == ((3,), None, "")
