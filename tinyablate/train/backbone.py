"""What an update's passes go through before they reach a learner: nothing, or a frozen trunk that learners share.

It draws drop-path and seeds dropout for the whole batch, so that neither depends on micro-batches or on who asks. It
trains nothing.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tinyablate.recipe import Recipe
from tinyablate.train import randomness
from tinyablate.train.batches import Batch
from tinyablate.train.model.build import apply_mode
from tinyablate.train.model.drop_path import DropPathStreams
from tinyablate.train.model.split import Features, Head, Trunk

Inputs = Any
"""What a learner's module takes: images [n, 3, S, S] or the features of a trunk."""

Part = tuple[Inputs, slice]
"""A pass's inputs, and which images of the batch they belong to."""


class Passes(Protocol):
    """One update's inputs. A second draw of drop-path and dropout is another network on the same images."""

    batch: Batch

    def parts(self, draw: int = 0) -> Iterator[Part]:
        """The batch, a micro-batch at a time; may be asked for again."""


class Evaluated(Protocol):
    """The images of an evaluation setting, as `evaluate.EvalSet` has them, or their features."""

    def __len__(self) -> int:
        """How many batches there are."""

    def batches(self) -> Iterable[tuple[Inputs, Tensor]]:
        """What the observed module takes, and labels int64 [n]."""


class _Draws:
    """Drop-path and dropout of a module in training, keyed by update and draw."""

    def __init__(self, recipe: Recipe, module: nn.Module, seed: int, device: torch.device) -> None:
        self._streams = DropPathStreams(module, recipe.model.drop_path_rule, recipe.model.drop_path)
        self._seeds = (seed, randomness.stream_key(seed, "second draw"))
        self._device = device

    def windows(self, number: int, draw: int, size: int, micro_batch: int) -> Iterator[slice]:
        """The batch in micro-batches; each is ready to be passed when it is given."""
        seed = self._seeds[draw]
        torch.manual_seed(randomness.stream_key(seed, "dropout", number))
        self._streams.draw(seed, number, size, self._device)
        for start in range(0, size, micro_batch):
            window = slice(start, min(start + micro_batch, size))
            self._streams.window(window.start, window.stop)
            yield window


class WholeModel:
    """Learners train all of the model: images go to them as they are."""

    def __init__(self, recipe: Recipe, module: nn.Module, *, seed: int, device: torch.device, micro_batch: int) -> None:
        self.micro_batch = micro_batch
        self._recipe, self._module = recipe, module
        self._draws = _Draws(recipe, module, seed, device)

    def begin_epoch(self, modules: Iterable[nn.Module]) -> None:
        """Put the model into the mode it is trained in, as the recipe's `backbone_mode` has it."""
        apply_mode(self._module, self._recipe.model, training=True)

    def passes(self, batch: Batch, number: int) -> Passes:
        """The passes of update `number`."""
        return _ImagePasses(self, batch, number)

    def windows(self, number: int, draw: int, size: int) -> Iterator[slice]:
        """The batch in micro-batches, drop-path and dropout ready for each."""
        return self._draws.windows(number, draw, size, self.micro_batch)

    def evaluated(self, shown: Evaluated, precision: str) -> Evaluated:
        """What observers evaluate on: the images."""
        return shown

    def state_with(self, module: nn.Module) -> dict[str, Tensor]:
        """The state of the whole model of which `module` is what learners train: itself."""
        return module.state_dict()


class _ImagePasses:
    def __init__(self, model: WholeModel, batch: Batch, number: int) -> None:
        self.batch, self._model, self._number = batch, model, number

    def parts(self, draw: int = 0) -> Iterator[Part]:
        for window in self._model.windows(self._number, draw, len(self.batch.images)):
            yield self.batch.images[window], window


class FrozenTrunk:
    """Learners train classifiers on a trunk that never changes: it is passed once, however many there are."""

    def __init__(
        self, recipe: Recipe, trunk: Trunk, *, seed: int, device: torch.device, micro_batch: int, cache: bool
    ) -> None:
        """`cache`: keep the features of evaluated images, so that they are computed once."""
        self.micro_batch = micro_batch
        self._recipe, self._trunk, self._device, self._cache = recipe, trunk, device, cache
        self._draws = _Draws(recipe, trunk.module, seed, device)

    def begin_epoch(self, modules: Iterable[nn.Module]) -> None:
        """Put the trunk into the mode that the recipe's `backbone_mode` says; the learners' modules are trained."""
        self._trunk.module.train(self._recipe.model.backbone_mode == "train")
        for module in modules:
            module.train()

    def passes(self, batch: Batch, number: int) -> Passes:
        """The passes of update `number`; for a second draw the trunk is passed when the first learner asks."""
        return _FeaturePasses(self, batch, number)

    @torch.no_grad()
    def features(self, batch: Batch, number: int, draw: int) -> Features:
        """Of the whole batch, in training mode."""
        windows = self._draws.windows(number, draw, len(batch.images), self.micro_batch)
        parts = [self._pass(batch.images[window], self._recipe.precision) for window in windows]
        return parts[0] if len(parts) == 1 else tuple(torch.cat(same) for same in zip(*parts, strict=True))

    def evaluated(self, shown: Evaluated, precision: str) -> Evaluated:
        """What observers evaluate on: the features of the images, computed in `precision`."""
        return _ShownFeatures(self, shown, precision, self._cache)

    def state_with(self, module: nn.Module) -> dict[str, Tensor]:
        """The state of the whole model that the classifiers `module` make with the trunk."""
        assert isinstance(module, Head)
        return self._trunk.state_with(module)

    @torch.no_grad()
    def evaluate(self, images: Tensor, precision: str) -> Features:
        """The features of evaluated images."""
        self._trunk.module.eval()
        return self._pass(images, precision)

    def _pass(self, images: Tensor, precision: str) -> Features:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=precision == "bf16"):
            return self._trunk(images)


class _FeaturePasses:
    def __init__(self, trunk: FrozenTrunk, batch: Batch, number: int) -> None:
        self.batch, self._trunk, self._number = batch, trunk, number
        self._features: dict[int, Features] = {0: trunk.features(batch, number, 0)}

    def parts(self, draw: int = 0) -> Iterator[Part]:
        if draw not in self._features:
            self._features[draw] = self._trunk.features(self.batch, self._number, draw)
        yield self._features[draw], slice(0, len(self.batch.images))


class _ShownFeatures:
    def __init__(self, trunk: FrozenTrunk, shown: Evaluated, precision: str, cache: bool) -> None:
        self._trunk, self._shown, self._precision, self._cache = trunk, shown, precision, cache
        self._kept: list[tuple[Features, Tensor]] = []

    def __len__(self) -> int:
        return len(self._shown)

    def batches(self) -> Iterator[tuple[Features, Tensor]]:
        """As `EvalSet`, features for images; what was computed in an earlier epoch is not computed again."""
        if len(self._kept) == len(self._shown):
            yield from self._kept
            return
        self._kept.clear()  # an evaluation that was left in the middle
        for images, labels in self._shown.batches():
            found = self._trunk.evaluate(images, self._precision), labels
            if self._cache:
                self._kept.append(found)
            yield found
