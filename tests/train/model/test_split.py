"""Cutting timm's models in front of their classifiers."""

import pytest
import timm
import torch
from torch import nn

from tinyablate.train.model.split import Head, split, splits

SMALL = {"depth": 1, "embed_dim": 24, "num_heads": 2}
MODELS = {
    "test_vit": {},
    "deit_tiny_distilled_patch16_224": SMALL,
    "cait_xxs24_224": SMALL,
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 2, 2)},
    "test_resnet": {},
    "test_efficientnet": {},
    "test_convnext": {},
    "mixer_s32_224": {},
}


def classifiers(module: nn.Module) -> list[nn.Module]:
    """The model's last layers."""
    found = module.get_classifier()
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("name", MODELS)
def test_head_on_trunk_is_the_model(name: str) -> None:
    """Features of the trunk through the head are the model's own scores, bit for bit; names of layers are free."""
    torch.manual_seed(0)
    size = {} if name in ("test_resnet", "test_efficientnet", "test_convnext") else {"img_size": 64}
    size = {"img_size": 224} if name.startswith(("mixer", "swin")) else size
    model = timm.create_model(name, num_classes=7, **MODELS[name], **size).eval()
    images = torch.randn(3, 3, size.get("img_size", 64), size.get("img_size", 64))
    with torch.no_grad():
        whole = model(images)
        assert splits(model, classifiers(model), images[:2])
        assert torch.equal(model(images), whole)  # asking changed nothing
        trunk, head = split(model, classifiers(model), both=False)
        assert torch.equal(head(trunk(images)), whole)


def test_two_heads_give_their_own_scores_only_where_both_are_trained() -> None:
    """In training mode `both` gives a pair, in evaluation the mean."""
    first, second = nn.Linear(4, 3), nn.Linear(4, 3)
    features = (torch.randn(2, 4), torch.randn(2, 4))
    mean = (first(features[0]) + second(features[1])) / 2
    both = Head([first, second], both=True)
    ours, own = both(features), (first(features[0]), second(features[1]))
    assert all(torch.equal(one, other) for one, other in zip(ours, own, strict=True))
    assert torch.equal(both.eval()(features), mean)
    assert torch.equal(Head([first, second])(features), mean)


class Odd(nn.Module):
    """A model that does something to its classifier's scores."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Twice the scores."""
        return 2 * self.fc(images.mean(dim=(2, 3)))


def test_what_cannot_be_cut_is_left_whole() -> None:
    """Scores that the model changes, classifiers that are no plain linear layer, and none at all."""
    images = torch.zeros(2, 3, 8, 8)
    odd = Odd()
    assert not splits(odd, [odd.fc], images)
    assert isinstance(odd.fc, nn.Linear)
    assert not splits(odd, [], images)
    levit = timm.create_model("levit_128s", num_classes=3)
    assert not splits(levit, classifiers(levit), images)  # BatchNorm in its heads
