"""Which images are trained on, and in which order an epoch shows them. It reads no pixel.

labels --chosen--> image ids of a split and fraction --epoch_batches--> the images of each step
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tinyablate.errors import RecipeError
from tinyablate.train import randomness
from tinyablate.train.randomness import Ids, Shown

_RANKS = randomness.stream_key(0, "subset")
"""The one key of every image's rank in its class: under each seed a split holds the same images."""


def chosen(labels: Ids, split: tuple[float, float], fraction: float = 1.0, *, field: str = "data.split") -> Ids:
    """The images of a part of the training set: their numbers in `labels` int64 [N], ascending, int64.

    The images of each class stand in an order of their own that depends on nothing but their numbers. Of a class of n,
    `split` = (low, high) takes the ranks round(low * n) to round(high * n), the last excluded, and `fraction` the first
    round(fraction * m) of these m, at least one (halves are rounded to even). So splits that meet share no image and
    leave none out, and a smaller fraction is a part of a larger one.

    Raises RecipeError, about `field`, where the split holds no image of some class.
    """
    classes, starts, counts = _by_class(labels)
    order = np.lexsort((randomness.image_hash(_RANKS, np.arange(len(labels))), labels))
    low, high = (np.rint(share * counts).astype(np.int64) for share in split)
    if (low >= high).any():
        raise RecipeError([(field, _text(split), _left_empty(classes, counts, low >= high))])
    taken = np.maximum(np.rint(fraction * (high - low)).astype(np.int64), 1)
    ranks = np.arange(len(labels)) - np.repeat(starts, counts)
    kept = (ranks >= np.repeat(low, counts)) & (ranks < np.repeat(low + taken, counts))
    return np.sort(order[kept])


def _by_class(labels: Ids) -> tuple[Ids, Ids, Ids]:
    """The classes that occur, ascending; where each begins among the sorted labels; how many images each has."""
    classes, counts = np.unique(labels, return_counts=True)
    return classes, np.cumsum(counts) - counts, counts


def _text(split: tuple[float, float]) -> str:
    """The split as a sweep file has it."""
    low, high = (f"{100 * share:.12g}%" for share in split)
    return f"train[{low}:{high}]"


def _left_empty(classes: Ids, counts: Ids, empty: npt.NDArray[np.bool_]) -> str:
    """Which classes are without an image."""
    first = np.flatnonzero(empty)[0]
    images = f"{counts[first]} image" + ("s" if counts[first] > 1 else "")
    return (
        f"holds no image of {np.count_nonzero(empty)} of the {len(classes)} classes, such as class number "
        f"{classes[first]}, which has {images}: name a wider part"
    )


def epoch_batches(ids: Ids, batch: int, repeats: int = 1, *, seed: int, epoch: int, first: int = 0) -> Iterator[Shown]:
    """The images of each step of an epoch, [batch] each, from those numbered `ids` int64 [N], ascending.

    The order is `randomness.epoch_order`'s; a part of a set keeps the order that its images have in the whole. The
    last, incomplete batch is dropped, and the steps before `first` are left out. With `repeats` above 1 every image
    stands that often in a row, its copies numbered from 0, and the epoch ends after as many batches as without: it
    shows that much fewer different images (Hoffer et al. 2020). timm 1.0.31's `RepeatAugSampler` gives this sequence on
    one device, but first cuts it to a multiple of 256 (`selected_round`); on several devices it deals an image's copies
    out among them.
    """
    shown = len(ids) // batch * batch
    different = -(-shown // repeats)
    order = np.repeat(_order(ids, seed, epoch)[:different], repeats)[:shown]
    copies = None if repeats == 1 else np.tile(np.arange(repeats), different)[:shown]
    for start in range(first * batch, shown, batch):
        part = slice(start, start + batch)
        yield Shown(order[part], seed, epoch, None if copies is None else copies[part])


def _order(ids: Ids, seed: int, epoch: int) -> Ids:
    """The epoch's order of all images up to the last of `ids`, without those that are not among them."""
    everyone = int(ids[-1]) + 1 if len(ids) else 0
    among = np.zeros(everyone, bool)
    among[ids] = True
    order = randomness.epoch_order(seed, epoch, everyone)
    return order[among[order]]
