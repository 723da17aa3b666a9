"""The views' columns: described, all of them and nothing else."""

import sqlalchemy as sa

from tinyablate.recipe import field_specs
from tinyablate.store.columns import RENAMED, VIEWS, recipe_meanings, views
from tinyablate.store.store import Store


def test_every_column_of_every_view_is_described(store: Store) -> None:
    """Names and order are those of the database, and nothing else is described."""
    inspector = sa.inspect(store.engine())
    assert set(inspector.get_view_names()) == set(views()) == set(VIEWS) >= set(RENAMED.values())
    for name, described in views().items():
        found = [column["name"] for column in inspector.get_columns(name)]
        assert [column.name for column in described] == found, name


def test_types_are_those_of_the_tables(store: Store) -> None:
    """Where SQLite knows the type of a view's column, it is the one that is told."""
    kinds = {"INTEGER": "integer", "FLOAT": "real", "TEXT": "text", "BOOLEAN": "boolean", "NUMERIC": ""}
    for name, described in views().items():
        types = {column["name"]: str(column["type"]) for column in sa.inspect(store.engine()).get_columns(name)}
        for column in described:
            assert kinds.get(types[column.name], "") in ("", column.type), f"{name}.{column.name}"


def test_a_recipe_fields_line_is_its_own_sentence() -> None:
    """It is the first sentence under the field in `recipe`, without its end, in one line."""
    meanings = recipe_meanings()
    assert set(meanings) == set(field_specs())
    assert meanings["optimizer.lr"] == "Peak learning rate, used as given: no scaling with the batch"
    assert meanings["augment.repeats"].startswith("Repeated augmentation (Hoffer et al. 2020): every image stands")
    for text in meanings.values():
        assert text
        assert "\n" not in text
