"""What a row changes, as a sweep file writes it, and the ✓ and ✗ of its components."""

from dataclasses import replace

import pytest

from tinyablate.identity import canonical
from tinyablate.recipe import Data, Model, Optimizer, Recipe
from tinyablate.sweep.schema import Component
from tinyablate.tables.changes import changes_of, marks_of
from tinyablate.tables.schema import Change

PLAIN = Recipe(data=Data(name="shapes"), model=Model(name="test_vit"))


@pytest.fixture
def with_recipes(row, sweep):
    """A sweep whose rows have these recipes; keywords are those of its rows by index, or the sweep's."""

    def make(*recipes, rows=None, **given):
        made = sweep([row(at, f"row {at}", **(rows or {}).get(at, {})) for at in range(len(recipes))], **given)
        cells = tuple(
            replace(cell, recipe=recipes[cell.row], canonical=canonical(recipes[cell.row])) for cell in made.cells
        )
        return replace(made, cells=cells)

    return make


def test_changes_are_written_as_in_a_file(with_recipes):
    """Path, before and after of every field that differs, keys of the model's arguments one by one."""
    arm = replace(
        PLAIN,
        optimizer=Optimizer(lr=1e-5, betas=(0.9, 0.95)),
        model=Model(name="test_vit", args={"depth": 2, "norm_layer": "rms"}),
    )
    base = replace(PLAIN, model=Model(name="test_vit", args={"depth": 3}))
    first, second = changes_of(with_recipes(base, arm))
    assert first == ()
    assert set(second) == {
        Change("optimizer.lr", "0.001", "1e-5"),
        Change("optimizer.betas", "[0.9, 0.999]", "[0.9, 0.95]"),
        Change("model.args.depth", "3", "2"),
        Change("model.args.norm_layer", "not set", '"rms"'),
    }


def test_what_is_declared(with_recipes):
    """A field or its section may be declared; the rest is marked, and without a declaration nothing is."""
    arm = replace(PLAIN, optimizer=Optimizer(lr=1e-5), model=Model(name="test_vit", drop_path=0.1))
    _, declared = changes_of(with_recipes(PLAIN, arm, rows={1: {"declares": ("optimizer",)}}))
    assert {change.path: change.declared for change in declared} == {"optimizer.lr": True, "model.drop_path": False}
    assert all(change.declared for change in changes_of(with_recipes(PLAIN, arm))[1])


def test_first_column_that_both_have(with_recipes):
    """A row without a cell in the reference's columns has no changes; excluded columns are passed over."""
    arm = replace(PLAIN, optimizer=Optimizer(lr=1e-5))
    assert len(changes_of(with_recipes(PLAIN, arm, columns=["a", "b"], without=[(0, 0)]))[1]) == 1
    assert changes_of(with_recipes(PLAIN, arm, columns=["a", "b"], without=[(0, 0), (1, 1)]))[1] == ()


def test_components(with_recipes):
    """✗ where every field is off, ✓ where all rows that have it agree, else each row's value."""
    recipes = [
        replace(PLAIN, mix=replace(PLAIN.mix, mixup_alpha=alpha), ema=replace(PLAIN.ema, decay=decay),
                augment=replace(PLAIN.augment, policy=policy))
        for alpha, decay, policy in ((0.8, 0.0, "none"), (0.0, 0.99, "none"), (0.8, 0.999, "rand-m9-mstd0.5-inc1"))
    ]  # fmt: skip
    components = (
        Component("Mixup", ("mix.mixup_alpha",), {}),
        Component("EMA", ("ema.decay",), {}),
        Component("Policy", ("augment.policy",), {}),
        Component(
            "Weak mixing", ("mix.mixup_alpha", "mix.cutmix_alpha"), {"mix.mixup_alpha": 0.8, "mix.cutmix_alpha": 0}
        ),
        Component("Argument", ("model.args.depth",), {}),
    )
    assert marks_of(with_recipes(*recipes, components=components)) == (
        ("✓", "✗", "✗", "✗", "✗"),
        ("✗", "0.99", "✗", "✓", "✗"),
        ("✓", "0.999", "✓", "✗", "✗"),
    )


def test_without_components_there_are_no_texts(with_recipes):
    """One empty tuple a row."""
    assert marks_of(with_recipes(PLAIN, PLAIN)) == ((), ())
