"""[layout]: digits, and the columns of what rows have or lack."""

import pytest

HEAD = """
metrics = ["val_top1", "parameters"]
seeds = [0]
[baseline]
model.name = "m"
mix.mixup_alpha = 0.8
mix.cutmix_alpha = 1.0
loss.smoothing = 0.1
"""
ROWS = """
[[rows]]
label = "Default"
[[rows]]
label = "No mixing"
set.mix = { mixup_alpha = 0, cutmix_alpha = 0 }
[[rows]]
label = "Another optimizer"
set.optimizer = { name = "sgd", momentum = 0.8 }
[[rows]]
label = "No Mixup"
set.mix.mixup_alpha = 0
"""
PARTS = """
[components]
expand = ["leave-one-out", "path-add"]
[components.parts.Mixing]
off.mix = { mixup_alpha = 0, cutmix_alpha = 0 }
[components.parts.Model]
on.model.name = "large"
off.model.name = "small"
"""


def _columns(sweep):
    return [(each.label, each.paths, dict(each.off)) for each in sweep.components]


def test_nothing_is_laid_out_by_default(loads):
    """Without [layout] there are no columns but the numbers', which have their metrics' digits."""
    sweep = loads(ROWS, head=HEAD)
    assert (sweep.components, sweep.digits, sweep.expansions) == ((), {}, ())


def test_digits_of_metrics(loads):
    """Each metric may have its own."""
    assert loads(f"{ROWS}[layout]\ndigits = {{ val_top1 = 1, parameters = 0 }}\n", head=HEAD).digits == {
        "val_top1": 1,
        "parameters": 0,
    }


def test_columns_are_derived_from_what_rows_set(loads):
    """One for each field that a row sets, those that always go together in one, named by the field's words."""
    sweep = loads(f"{ROWS}[layout]\ncomponents = true\n", head=HEAD)
    assert _columns(sweep) == [
        ("mixup alpha", ("mix.mixup_alpha",), {}),
        ("cutmix alpha", ("mix.cutmix_alpha",), {}),
        ("optimizer, momentum", ("optimizer.name", "optimizer.momentum"), {}),
    ]


def test_labels_of_fields_that_share_their_last_name(loads):
    """They are told apart by the whole path."""
    rows = "[[rows]]\nlabel='a'\n[[rows]]\nlabel='b'\nset = { augment.crop = 'rrc' }\n"
    rows += "[[rows]]\nlabel='c'\nset.evaluate.crop = 'center'\n[layout]\ncomponents = true\n"
    assert [each.label for each in loads(rows, head=HEAD).components] == ["augment crop", "evaluate crop"]


def test_columns_are_derived_from_parts(loads):
    """A component sweep has one for each part, off where the recipe has the part's `off` values."""
    sweep = loads(f"{PARTS}[layout]\ncomponents = true\n", head=HEAD)
    assert sweep.expansions == ("leave-one-out", "path-add")
    assert _columns(sweep) == [
        ("Mixing", ("mix.mixup_alpha", "mix.cutmix_alpha"), {"mix.mixup_alpha": 0, "mix.cutmix_alpha": 0}),
        ("Model", ("model.name",), {"model.name": "small"}),
    ]


def test_off_follows_the_small_levels_of_smoke(loads):
    """With --smoke a part is off where the recipe has the small level; what [smoke] sets for all tells nothing."""
    smoke = "[smoke]\nmix.cutmix_alpha = 0\n[smoke.levels.'model.name']\nsmall = 'tiny'\nlarge = 'test_resnet'\n"
    sweep = loads(f"{PARTS}[layout]\ncomponents = true\n{smoke}", head=HEAD, smoke=True)
    assert _columns(sweep) == [
        ("Mixing", ("mix.mixup_alpha",), {"mix.mixup_alpha": 0}),
        ("Model", ("model.name",), {"model.name": "tiny"}),
    ]


def test_columns_that_the_file_names(loads):
    """A label with a field, or a list of fields."""
    sweep = loads(
        f'{ROWS}[layout.components]\n"Mixup & <b>" = "mix.mixup_alpha"\nBoth = ["mix.mixup_alpha", "model.args.x"]\n',
        head=HEAD,
    )
    assert _columns(sweep) == [
        ("Mixup & <b>", ("mix.mixup_alpha",), {}),
        ("Both", ("mix.mixup_alpha", "model.args.x"), {}),
    ]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("digit = 1", "layout.digit = 1: unknown key; did you mean 'digits'? (valid: 'digits', 'components')"),
        ("digits = 2", "layout.digits = 2: must be a table"),
        (
            "digits.val_top5 = 1",
            "digits.val_top5 = 1: is no metric of this sweep, which shows 'val_top1', 'parameters'; remove this entry, "
            "or add it to `metrics`",
        ),
        ("digits.val_top = 1", "digits.val_top = 1: is no metric; did you mean 'val_top1'? (valid: 'val_top1', "),
        ("digits.val_top1 = 7", "layout.digits.val_top1 = 7: must be a whole number from 0 to 6"),
        ("digits.val_top1 = true", "must be a whole number from 0 to 6"),
        ("digits.val_top1 = 1.0", "must be a whole number from 0 to 6"),
        ("components = 'yes'", 'layout.components = "yes": must be true, or a table such as { '),
        ("components.A = 'mix.mixpu_alpha'", "no such recipe field; did you mean 'mix.mixup_alpha'?"),
        ("components.A = 'mix'", "layout.components.A = \"mix\": holds several fields: set one of 'mix.mixup_alpha'"),
        ("components.A = []", "layout.components.A = []: needs a label and a recipe field"),
        ("components.A = 3", "layout.components.A = 3: no such recipe field"),
        ("components.A = ['ema.decay', 'ema.decay']", 'components.A[1] = "ema.decay": the same field twice'),
    ],
)
def test_wrong_layouts_are_refused(lines, problem, refuses):
    """Each wrong value once, with its place, what would be valid, and the nearest name."""
    (found,) = refuses(f"{ROWS}[layout]\n{lines}\n", head=HEAD)
    assert problem in found


def test_a_grid_has_no_columns_of_components(refuses):
    """Its fields are its rows and columns already."""
    (found,) = refuses("[grid]\n'ema.decay' = [0.5, 0.9]\n[layout]\ncomponents = true\n", head=HEAD)
    assert "layout.components: needs [[rows]] or [components]" in found
