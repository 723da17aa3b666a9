"""The input pipeline: from a source's images to what the model gets, batch by batch, on the device that trains.

It holds the order of the steps; each step's arithmetic stands in `augment/`, where images come from in `data/`.

    views (crop, flip) -> policy, colour jitter -> normalisation -> erasing -> mixing
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from tinyablate import policies
from tinyablate.datasets import parse_split
from tinyablate.errors import RecipeError
from tinyablate.recipe import Recipe
from tinyablate.train import sampling
from tinyablate.train.augment import erase, geometry, mix, operations, policy
from tinyablate.train.augment.views import Views
from tinyablate.train.data.images import ImageSource
from tinyablate.train.inputs import Inputs
from tinyablate.train.randomness import Shown
from tinyablate.train.transfer import send

BLACK = (0, 0, 0)


@dataclass(frozen=True)
class Batch:
    """What one update is computed from."""

    images: Tensor
    """float32 [n, 3, S, S], normalised, erased, mixed."""
    labels: Tensor
    """int64 [n] on the images' device."""
    mixing: mix.Mixing
    classes: int

    def targets(self, smoothing: float) -> Tensor:
        """float32 [n, K], each row sums to 1: smoothed, mixed as the images are."""
        return mix.soft_targets(self.labels, self.classes, smoothing, self.mixing)


class TrainBatches:
    """The training batches of one seed: every draw is keyed, so any batch of any epoch can be made at any time."""

    def __init__(self, recipe: Recipe, source: ImageSource, inputs: Inputs, *, classes: int, seed: int) -> None:
        """`recipe`'s data, augment, mix and batch count. Raises RecipeError where the set holds less than a batch."""
        split = parse_split(recipe.data.split)
        labels, shares = source.labels.cpu().numpy(), (float(split.low), float(split.high))
        self.ids = sampling.chosen(labels, shares, recipe.data.fraction)
        if len(self.ids) < recipe.batch.size:
            rule = f"the training set has only {len(self.ids)} images"
            raise RecipeError([("batch.size", recipe.batch.size, rule)])
        if recipe.augment.at == "native" and not source.native:
            rule = "the images of this data set differ in size: policies are applied at the target size"
            raise RecipeError([("augment.at", "native", rule)])
        self.steps = len(self.ids) // recipe.batch.size
        self._recipe, self._source, self._inputs = recipe, source, inputs
        self._classes, self._seed = classes, seed
        self._policy = policies.parse(recipe.augment.policy)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The epoch's batches in order, from step `first` on; the last, incomplete one is dropped."""
        ahead, behind = itertools.tee(self.shown(epoch, first))
        for step, (images, shown) in enumerate(zip(self.colored(ahead), behind, strict=True), first):
            yield self.finish(images, shown, step)

    def shown(self, epoch: int, first: int = 0) -> Iterator[Shown]:
        """Which images each step of the epoch shows, from `first` on; of those before it none is read."""
        size, repeats = self._recipe.batch.size, self._recipe.augment.repeats
        return sampling.epoch_batches(self.ids, size, repeats, seed=self._seed, epoch=epoch, first=first)

    def cropped(self, batches: Iterable[Shown]) -> Iterator[Tensor]:
        """uint8 [n, S, S, 3] for each of `batches`, cropped, scaled, flipped; they may be asked for ahead of need."""
        return self._source.show((shown.ids, self._views(shown)) for shown in batches)

    def colored(self, batches: Iterable[Shown]) -> Iterator[Tensor]:
        """As `cropped`, and after policy and colour jitter."""
        if self._recipe.augment.at == "native":
            for shown in batches:
                yield geometry.render(self._color(self._source.take(shown.ids), shown), self._views(shown))
            return
        ahead, behind = itertools.tee(batches)
        for images, shown in zip(self.cropped(ahead), behind, strict=True):
            yield self._color(images, shown)

    def finish(self, images: Tensor, shown: Shown, step: int) -> Batch:
        """What becomes of `colored` images in this step: normalised, erased, mixed."""
        mixing = self.mixing(shown, step)
        inputs = self._inputs(images)
        if self._recipe.augment.erase_order == "before-mix":
            inputs = mix.mix_images(self._erased(inputs, shown), mixing)
        else:
            inputs = self._erased(mix.mix_images(inputs, mixing), shown)
        labels = self._source.labels[send(shown.ids, images.device)]
        return Batch(inputs, labels, mixing, self._classes)

    def mixing(self, shown: Shown, step: int) -> mix.Mixing:
        """How the batch `shown` is mixed in this step."""
        return mix.draw(
            self._recipe.mix, self._inputs.size, len(shown), seed=self._seed, epoch=shown.epoch, step=step
        )  # fmt: skip

    def boxes(self, shown: Shown) -> erase.Boxes:
        """What is erased of the batch `shown`."""
        return erase.draw_boxes(self._recipe.augment, self._inputs.size, shown)

    def _views(self, shown: Shown) -> Views:
        heights, widths = self._source.sizes(shown.ids)
        inputs = self._inputs
        return geometry.train_views(self._recipe.augment, shown, heights, widths, inputs.size, inputs.crop_pct)

    def _color(self, images: Tensor, shown: Shown) -> Tensor:
        augment, mean = self._recipe.augment, self._inputs.mean
        images = policy.augment(images, self._policy, shown, interpolation=augment.interpolation, mean=mean)
        if augment.color_jitter > 0:
            for step in policy.jitter(augment.color_jitter, shown):
                images = operations.apply(images, step, BLACK)
        return images

    def _erased(self, images: Tensor, shown: Shown) -> Tensor:
        if self._recipe.augment.erase_prob == 0:
            return images
        return erase.erase(images, self.boxes(shown), self._recipe.augment.erase_mode, shown)
