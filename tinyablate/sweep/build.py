"""Recipes by the thousand: sections that no layer touches are built once and shared between cells."""

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any

from tinyablate.recipe import Recipe, Value, field_specs
from tinyablate.sweep.fields import ARGS


class Layer:
    """Changes to a baseline, by section. Compared by identity, so that a builder knows it again."""

    def __init__(self, flat: Mapping[str, Value]) -> None:
        self.sections: dict[str, dict[str, Value]] = {}
        """Section -> field -> value; a top-level field is a section of its own, with '' as its field."""
        for path, value in flat.items():
            section, _, leaf = path.partition(".")
            self.sections.setdefault(section, {})[leaf] = value


class Builder:
    """Builds the recipes that layers over one baseline make."""

    def __init__(self, baseline: Mapping[str, Value]) -> None:
        self._baseline = Layer(baseline).sections
        self._plain = {name: self._section(name, ()) for name in section_types()}
        self._plain |= {name: values[""] for name, values in self._baseline.items() if "" in values}
        self._built: dict[tuple[str, tuple[Layer, ...]], Any] = {}

    def recipe(self, *layers: Layer) -> Recipe:
        """The baseline under `layers`, the last one winning. Raises RecipeError for an impossible whole."""
        parts = dict(self._plain)
        for name in {name for layer in layers for name in layer.sections}:
            touching = tuple(layer for layer in layers if name in layer.sections)
            if (name, touching) not in self._built:
                self._built[name, touching] = self._section(name, touching)
            parts[name] = self._built[name, touching]
        return Recipe(**parts)

    def _section(self, name: str, layers: tuple[Layer, ...]) -> Any:
        values = dict(self._baseline.get(name, {}))
        for layer in layers:
            values |= layer.sections[name]
        if "" in values:
            return values[""]
        arguments = {leaf[5:]: values.pop(leaf) for leaf in list(values) if leaf.startswith("args.")}
        return section_types()[name](**values, **({"args": arguments} if arguments else {}))


@functools.cache
def section_types() -> dict[str, Any]:
    """The dataclass of each section by its name."""
    return {name: kind for name, kind in typing.get_type_hints(Recipe).items() if dataclasses.is_dataclass(kind)}


def with_defaults(flat: Mapping[str, Value]) -> dict[str, Value]:
    """`flat` with the default of every field that it does not set, `model.args` aside."""
    return {path: spec.default for path, spec in field_specs().items() if path != ARGS} | dict(flat)
