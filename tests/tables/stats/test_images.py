"""Statistics over images agree with published tables and with scipy."""

import math

import numpy as np
import pytest
import scipy.stats

from tinyablate.tables import stats


def approvals(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits that have this two by two table."""
    counts = [both, only_a, only_b, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_mcnemar_of_a_published_table():
    """Agresti's 1,600 Britons, asked twice: 150 against 86 changed their minds, z^2 = 17.36; p is the binomial's."""
    a, b = approvals(794, 150, 86, 570)
    found = stats.mcnemar(a, b)
    assert (found.only_a, found.only_b) == (150, 86)
    z = (found.only_a - found.only_b) ** 2 / (found.only_a + found.only_b)
    assert z == pytest.approx(17.36, abs=0.005)
    assert found.p == pytest.approx(scipy.stats.binomtest(86, 236).pvalue)
    assert found.p == pytest.approx(scipy.stats.chi2.sf(17.36, 1), rel=0.3)  # the book's, without continuity correction
    assert stats.mcnemar(b, a).p == found.p


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (3, 3), (0, 5), (1, 0), (7, 2)])
def test_mcnemar_agrees_with_the_binomial_test(only_a, only_b):
    """Also where nothing or everything is on one side."""
    p = scipy.stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert stats.mcnemar(*approvals(5, only_a, only_b, 1)).p == pytest.approx(p)


def test_components_of_a_published_table():
    """Shrout & Fleiss, 6 targets by 4 judges: mean squares 11.24 (targets), 32.49 (judges) and 1.02 (rest)."""
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    found = stats.components(ratings.T)  # judges in the place of seeds; sds are in percent of 1
    expected = [(32.49 - 1.02) / 6, (11.24 - 1.02) / 4, 1.02]
    variances = [(sd / 100) ** 2 for sd in (found.seed, found.image, found.interaction)]
    assert variances == pytest.approx(expected, rel=3e-3)  # the table's mean squares have two decimals
    of_mean = [found.seed_of_mean, found.image_of_mean, found.interaction_of_mean]
    assert of_mean == pytest.approx([found.seed / 2, found.image / 6**0.5, found.interaction / 24**0.5])


def test_components_are_found_again():
    """In 40 seeds by 5,000 images drawn with known variances, each sd is near its own, and they explain the spread."""
    random = np.random.default_rng(0)
    chance = 0.6 + random.normal(0, 0.05, (40, 1)) + np.clip(random.normal(0, 0.15, 5000), -0.3, 0.3)
    chance = np.clip(chance, 0, 1)
    correct = random.random((40, 5000)) < chance
    found = stats.components(correct)
    assert found.seed == pytest.approx(100 * chance.mean(axis=1).std(ddof=1), rel=0.05)
    assert found.image == pytest.approx(100 * chance.mean(axis=0).std(), rel=0.05)
    assert found.interaction == pytest.approx(100 * math.sqrt((chance * (1 - chance)).mean()), rel=0.02)
    seen = 100 * correct.mean(axis=1).std(ddof=1)
    assert math.hypot(found.seed, found.interaction / 5000**0.5) == pytest.approx(seen, rel=1e-9)


def test_components_from_little():
    """Equal seeds have no component of their own (never a negative variance); one seed or image gives nothing."""
    same = np.tile([True, False, True], (4, 1))
    assert stats.components(same).seed == stats.components(same).interaction == 0
    assert math.isnan(stats.components(same[:1]).seed)
    assert math.isnan(stats.components(same[:, :1]).image)
