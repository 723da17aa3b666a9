"""A model cut in front of its classifier: a trunk that is passed once, and a head, of which there may be many.

It knows no training; that the cut changes no number is checked on the model itself.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Features = tuple[Tensor, ...]
"""What the classifiers of a model get, one tensor each: [n, D] or [n, ..., D]."""


class Head(nn.Module):
    """The classifiers of a model on their own: from features to class scores."""

    def __init__(self, layers: list[nn.Module], *, both: bool = False) -> None:
        """`both`: in training mode give each classifier's scores (`model.distilled_heads`), not their mean."""
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self._both = both

    def forward(self, features: Features) -> Tensor | tuple[Tensor, ...]:
        """Scores [n, K]; of two classifiers their mean, as timm's distilled models give it."""
        scores = [layer(part) for layer, part in zip(self.layers, features, strict=True)]
        if len(scores) == 1:
            return scores[0]  # type: ignore[no-any-return]
        return tuple(scores) if self._both and self.training else (scores[0] + scores[1]) / 2


class Tap(nn.Module):
    """Stands where a classifier stood and keeps what it was given."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores
        self.seen: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """The scores that it was told to give."""
        self.seen = features
        return self.scores


class Trunk:
    """A model up to its classifiers."""

    def __init__(self, module: nn.Module, taps: list[Tap], places: list[str]) -> None:
        """`taps` stand in `module` at `places`, where its classifiers stood."""
        self.module = module
        self._taps, self._places = taps, places

    def __call__(self, images: Tensor) -> Features:
        """The features of images [n, 3, S, S] in the mode that `module` is in."""
        self.module(images)
        seen = tuple(tap.seen for tap in self._taps)
        for tap in self._taps:
            tap.seen = None
        return seen  # type: ignore[return-value]  # each was called: `split` has seen it

    def state_with(self, head: Head) -> dict[str, Tensor]:
        """The state of the whole model that `head` makes with this trunk, under the names that it has uncut."""
        state = self.module.state_dict()
        for place, layer in zip(self._places, head.layers, strict=True):
            state |= {f"{place}.{name}": tensor for name, tensor in layer.state_dict().items()}
        return state


def splits(module: nn.Module, layers: Sequence[nn.Module], images: Tensor) -> bool:
    """Whether `module` hands its classifiers' scores on as they are, or the mean of two: then it can be cut there.

    Asked of the model itself, on `images` [2, 3, S, S] on its device (they may be meta tensors): stand-ins give known
    scores, and the model must give the same.
    """
    if not 1 <= len(layers) <= 2 or not all(type(layer) is nn.Linear for layer in layers):
        return False
    scores = [torch.arange(2.0 * k, 2.0 * k + 6, device="cpu").view(2, 3) for k in range(len(layers))]
    places = _places(module, layers)
    taps = [Tap(each) for each in scores]
    _put(module, places, taps)
    try:
        with torch.no_grad():
            given = module(images)
    finally:
        _put(module, places, layers)
    wanted = scores[0] if len(scores) == 1 else (scores[0] + scores[1]) / 2
    called = all(tap.seen is not None for tap in taps)
    return called and isinstance(given, Tensor) and given.device == wanted.device and torch.equal(given, wanted)


def split(module: nn.Module, layers: Sequence[nn.Module], *, both: bool) -> tuple[Trunk, Head]:
    """The trunk, which is `module` from now on without its classifiers `layers`, and the head that they make."""
    device = next(layers[0].parameters()).device
    taps = [Tap(torch.zeros((), device=device)) for _ in layers]
    places = _places(module, layers)
    _put(module, places, taps)
    return Trunk(module, taps, places), Head([copy.deepcopy(layer) for layer in layers], both=both)


def _places(module: nn.Module, layers: Sequence[nn.Module]) -> list[str]:
    """The name of each of `layers` in `module`."""
    names = {id(child): name for name, child in module.named_modules()}
    return [names[id(layer)] for layer in layers]


def _put(module: nn.Module, places: list[str], layers: Sequence[nn.Module]) -> None:
    for place, layer in zip(places, layers, strict=True):
        module.set_submodule(place, layer)
