"""Mixup and CutMix against timm's, in arithmetic and in distribution."""

import numpy as np
import pytest
import torch
from scipy import stats
from timm.data import mixup as timm_mixup

from tinyablate.recipe import Mix
from tinyablate.train.augment import mix
from tinyablate.train.augment.mix import Mixing

BOTH = Mix(mixup_alpha=0.8, cutmix_alpha=1.0)
STEPS = 4000


def images(count: int = 8, size: int = 16) -> torch.Tensor:
    """A batch of noise."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def draws(recipe: Mix, steps: int = STEPS, size: int = 64, seed: int = 3) -> list[Mixing]:
    """The draws of one epoch."""
    return [mix.draw(recipe, size, seed=seed, epoch=1, step=step) for step in range(steps)]


class Fixed(timm_mixup.Mixup):
    """timm's Mixup with its draws given."""

    def __init__(self, lam: float, cutmix: bool, **options: float) -> None:
        super().__init__(**options)
        self.given = lam, cutmix

    def _params_per_batch(self) -> tuple[float, bool]:
        return self.given


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.65, 0.999, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixup_is_bit_equal_to_timms(lam: float, smoothing: float) -> None:
    """Given lambda, images and targets are timm's to the last bit."""
    labels = torch.arange(8) % 5
    expected = Fixed(lam, False, label_smoothing=smoothing, num_classes=5)(images(), labels)
    ours = Mixing(lam)
    assert torch.equal(mix.mix_images(images(), ours), expected[0])
    assert torch.equal(mix.soft_targets(labels, 5, smoothing, ours), expected[1])


@pytest.mark.parametrize("lam", [0.01, 0.3, 0.77, 0.9999])
@pytest.mark.parametrize("seed", range(5))
def test_cutmix_is_bit_equal_to_timms(lam: float, seed: int) -> None:
    """Given lambda and the generator's state, box, images, corrected lambda and targets are timm's."""
    labels = torch.arange(8) % 5
    np.random.seed(seed)  # timm draws from the global generator
    expected = Fixed(lam, True, label_smoothing=0.1, num_classes=5)(images(), labels)
    top, bottom, left, right = box = mix.random_box(np.random.RandomState(seed), 16, lam)
    ours = Mixing(1.0 - (bottom - top) * (right - left) / 256, box)
    assert torch.equal(mix.mix_images(images(), ours), expected[0])
    assert torch.equal(mix.soft_targets(labels, 5, 0.1, ours), expected[1])


def test_unmixed_targets_are_timms_smoothed_one_hot() -> None:
    """Without mixing, smoothing puts s/K on the other classes and 1 - s + s/K on the label."""
    labels = torch.tensor([0, 3, 2])
    assert torch.equal(mix.soft_targets(labels, 4, 0.1), timm_mixup.mixup_target(labels, 4, 1.0, 0.1))


@pytest.mark.parametrize("lam", [0.3, 1.0])
def test_every_row_of_targets_sums_to_one(lam: float) -> None:
    """Soft targets are distributions."""
    rows = mix.soft_targets(torch.arange(6), 6, 0.2, Mixing(lam)).sum(dim=1)
    torch.testing.assert_close(rows, torch.ones(6))


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_lambdas_follow_the_beta_distribution(alpha: float) -> None:
    """Over 4,000 lambdas a Kolmogorov distance of 0.05 has 99 % power to be seen at p = 0.001."""
    mixup = [mixing.lam for mixing in draws(Mix(mixup_alpha=alpha))]
    assert stats.kstest(mixup, stats.beta(alpha, alpha).cdf).pvalue > 0.001


def test_cutmix_boxes_follow_timms_distribution() -> None:
    """Corrected lambdas, 4,000 each: a Kolmogorov distance of 0.07 has 99 % power to be seen at p = 0.001."""
    ours = [mixing.lam for mixing in draws(Mix(cutmix_alpha=1.0))]
    np.random.seed(1)  # timm draws from the global generator
    drawn = np.random.beta(1, 1, STEPS)
    theirs = [timm_mixup.cutmix_bbox_and_lam((8, 3, 64, 64), lam)[1] for lam in drawn]
    assert stats.ks_2samp(ours, theirs).pvalue > 0.001


def test_corrected_lambda_is_what_the_box_leaves() -> None:
    """Lambda is the share of an image's pixels outside its box, also where the border cuts the box."""
    for mixing in draws(Mix(cutmix_alpha=1.0), steps=200, size=16):
        assert mixing.box is not None
        marked = mix.mix_images(torch.arange(2.0)[:, None, None, None].expand(2, 3, 16, 16).clone(), mixing)
        assert mixing.lam == pytest.approx(float((marked[0] == 0).float().mean()))


def test_prob_and_switch_prob_hold() -> None:
    """Shares of mixed batches and of CutMix among them, within 4 standard errors of 4,000 draws."""
    recipe = Mix(mixup_alpha=0.8, cutmix_alpha=1.0, prob=0.7, switch_prob=0.3)
    drawn = draws(recipe)
    mixed = [mixing for mixing in drawn if mixing != mix.UNMIXED]
    assert len(mixed) / STEPS == pytest.approx(0.7, abs=4 * (0.21 / STEPS) ** 0.5)
    cut = sum(mixing.box is not None for mixing in mixed) / len(mixed)
    assert cut == pytest.approx(0.3, abs=4 * (0.21 / len(mixed)) ** 0.5)


@pytest.mark.parametrize("recipe", [Mix(), Mix(mixup_alpha=0.8, cutmix_alpha=1.0, prob=0.0)])
def test_off_mixes_nothing(recipe: Mix) -> None:
    """With both alphas 0, or probability 0, no batch is mixed."""
    assert set(draws(recipe, steps=50)) == {mix.UNMIXED}


def test_removing_one_technique_leaves_the_others_draws() -> None:
    """Batches that both arms mix by Mixup (or by CutMix) are mixed with the same lambda (and box)."""
    both, mixup, cutmix = (draws(recipe, steps=300) for recipe in (BOTH, Mix(mixup_alpha=0.8), Mix(cutmix_alpha=1.0)))
    assert {mixing.box is None for mixing in both} == {True, False}
    for ours, alone, cut in zip(both, mixup, cutmix, strict=True):
        assert ours == (alone if ours.box is None else cut)


def test_the_two_techniques_do_not_share_their_draws() -> None:
    """Lambdas of Mixup and CutMix at the same steps are uncorrelated, within 4 standard errors of 1,000 draws."""
    mixup, cutmix = (
        [mixing.lam for mixing in draws(recipe, steps=1000)] for recipe in (Mix(mixup_alpha=1.0), Mix(cutmix_alpha=1.0))
    )
    assert abs(np.corrcoef(mixup, cutmix)[0, 1]) < 4 / 1000**0.5


def test_draws_differ_between_steps_epochs_and_seeds() -> None:
    """No two of the keys share a draw."""
    drawn = {
        mix.draw(BOTH, 64, seed=seed, epoch=epoch, step=step)
        for seed in (0, 1)
        for epoch in (1, 2)
        for step in range(20)
    }
    assert len(drawn) == 80
