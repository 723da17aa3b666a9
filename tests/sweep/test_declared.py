"""`declares`: rows that differ from their reference in more than they say."""

import pytest

from tinyablate.recipe import build
from tinyablate.sweep.declared import changes, covers

HEAD = """
seeds = [0]
[baseline]
model.name = "m"
model.args.depth = 3
mix.mixup_alpha = 0.8
mix.cutmix_alpha = 1.0
[[rows]]
label = "Default"
"""
ROW = """
[[rows]]
label = "No mixing"
set.mix = { mixup_alpha = 0, cutmix_alpha = 0 }
"""


@pytest.mark.parametrize("declares", ['["mix"]', '["mix.cutmix_alpha", "mix.mixup_alpha"]', '["mix", "ema.decay"]'])
def test_what_is_declared_may_differ(declares, loads):
    """A section stands for its fields; declaring more than differs is no mistake."""
    sweep = loads(f"{ROW}declares = {declares}\n", head=HEAD)
    assert sweep.rows[1].declares is not None
    assert sweep.rows[0].declares is None


def test_a_row_that_differs_in_more_is_refused(refuses):
    """The fields that it does not declare are named."""
    (found,) = refuses(f"{ROW}declares = ['mix.mixup_alpha']\n", head=HEAD)
    assert found == (
        'sweep.toml: rows[1] "No mixing".declares = ["mix.mixup_alpha"]: '
        "row 'No mixing' differs from 'Default' in more: mix.cutmix_alpha"
    )


def test_arguments_are_declared_one_by_one(refuses, loads):
    """A key of `model.args` is a field of its own, one that the reference lacks too."""
    row = "[[rows]]\nlabel = 'Wide'\nset.model.args = { depth = 3, width = 2 }\n"
    row = row.replace("depth = 3, ", "")
    assert loads(f"{row}declares = ['model.args.width']\n", head=HEAD).rows[1].declares == ("model.args.width",)
    assert loads(f"{row}declares = ['model.args']\n", head=HEAD)
    assert "in more: model.args.width" in refuses(f"{row}declares = ['model.args.depth']\n", head=HEAD)[0]


def test_a_row_of_a_grid_declares_for_all_its_rows(refuses):
    """Every row that the entry makes is held to it."""
    row = "[[rows]]\nlabel = 'EMA'\ngrid.ema.decay = [0.9, 0.99]\ndeclares = ['mix']\n"
    assert [found.partition("in more: ")[2] for found in refuses(row, head=HEAD)] == ["ema.decay"] * 2


def test_columns_are_compared_with_the_reference_in_the_same_column(loads):
    """What a column sets is no difference between rows."""
    column = "[[columns]]\nlabel = '%s'\nset.schedule.epochs = %s\n"
    loads(f"{ROW}declares = ['mix']\n{column % ('a', 5)}{column % ('b', 6)}", head=HEAD)


def test_parts_are_the_declaration_of_component_rows(loads):
    """A row declares the fields of the parts that it switches against its reference."""
    sweep = loads(
        """
        [components]
        expand = ["leave-one-out", "path-add"]
        [components.parts.Mixing]
        off.mix = { mixup_alpha = 0, cutmix_alpha = 0 }
        [components.parts.EMA]
        on.ema.decay = 0.9
        off.ema.decay = 0.0
        """,
        head=HEAD.partition("[[rows]]")[0],
    )
    mixing = ("mix.mixup_alpha", "mix.cutmix_alpha")
    assert [(row.label, row.declares) for row in sweep.rows] == [
        ("All", None),
        ("− Mixing", mixing),
        ("− EMA", ("ema.decay",)),
        ("None", None),
    ]


@pytest.mark.parametrize(
    ("declares", "problem"),
    [
        ("'mix'", "must be a list of recipe fields or sections"),
        ("['mxi']", "declares[0] = \"mxi\": no such recipe field; did you mean 'mix'?"),
        ("['mix', 'mix']", 'declares[1] = "mix": stands twice'),
        ("[1]", "declares[0] = 1: no such recipe field"),
    ],
)
def test_wrong_declarations_are_refused(declares, problem, refuses):
    """A text, an unknown name, one that stands twice."""
    assert any(problem in found for found in refuses(f"{ROW}declares = {declares}\n", head=HEAD))


def test_a_row_that_is_compared_with_none_declares_nothing(refuses):
    """Neither the reference nor a row of a sweep without one."""
    (found,) = refuses("declares = ['mix']\n", head=HEAD)
    assert 'declares = ["mix"]: is of no use: this row is compared with no other' in found


def test_changes_are_fields_with_both_values() -> None:
    """The reference's value first; None for an argument that one of the two does not give."""
    one = build({"model.name": "m", "model.args": {"depth": 3}, "ema.decay": 0.5})
    two = build({"model.name": "m", "model.args": {"depth": 3.0, "width": 1}})
    assert changes(two, one) == {"ema.decay": (0.5, 0.0), "model.args.width": (None, 1)}
    assert covers(["model.args"], "model.args.width")
    assert not covers(["model.arg"], "model.args.width")
