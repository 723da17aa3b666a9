"""The one rule of verdicts, branch by branch."""

import pytest

from tinyablate.tables import stats

GIVEN = {
    "low": -0.21, "high": 0.15, "n": 6, "p": 0.6, "p_equivalent": 0.3, "better": "max", "margin": 0.2, "least": 6,
    "detect": 8, "comparisons": 10, "digits": 2,
}  # fmt: skip

TOO_FEW = "n too small: no result can reach 5 % below 6 seeds in a table of 10 comparisons"


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({}, "undecided", "no difference detected (-0.21 to +0.15)"),
        ({"p_equivalent": 0.05}, "equivalent", "equivalent within ±0.2"),
        ({"p_equivalent": 0.01, "n": 3, "p": 0.5}, "equivalent", "equivalent within ±0.2"),
        ({"p_equivalent": 0.01, "n": 2, "p": 0.5, "detect": None}, "n too small", TOO_FEW),
        ({"p_equivalent": 0.01, "low": 0.02, "high": 0.09, "p": 0.03}, "equivalent", "equivalent within ±0.2"),
        ({"n": 5}, "n too small", f"{TOO_FEW}; 8 seeds would detect the margin with 80 % power"),
        ({"n": 5, "detect": 3}, "n too small", f"{TOO_FEW}; 6 seeds would detect the margin with 80 % power"),
        ({"n": 5, "detect": None}, "n too small", TOO_FEW),
        ({"n": 5, "margin": None, "p_equivalent": None}, "n too small", TOO_FEW),
        ({"n": 1, "low": None, "high": None, "detect": None}, "n too small", TOO_FEW),
        ({"n": 5, "comparisons": 1, "detect": None}, "n too small", f"{TOO_FEW[:-14]}1 comparison"),
        ({"n": 5, "low": 3.0, "high": 4.0, "p": 0.0625, "detect": None}, "n too small", TOO_FEW),
        ({"low": 3.291, "high": 4.0, "p": 0.03}, "better", "better by at least 3.29"),
        ({"low": -4.0, "high": -3.294, "p": 0.05}, "worse", "worse by at least 3.29"),
        ({"low": -4.0, "high": -3.294, "p": 0.03, "better": "min"}, "better", "better by at least 3.29"),
        ({"low": 0.0512, "high": 0.2, "p": 0.03, "better": "min", "digits": 4}, "worse", "worse by at least 0.0512"),
        ({"low": 3.0, "high": 4.0, "p": 0.03, "better": None}, "better", "higher by at least 3.00"),
        ({"low": -4.0, "high": -3.0, "p": 0.03, "better": None}, "worse", "lower by at least 3.00"),
        ({"low": 0.00234, "high": 0.6, "p": 0.03}, "better", "better by at least 0.002"),
        (
            {"low": 3.0, "high": 4.0, "p": 0.051},
            "undecided",
            "no difference detected after correction (+3.00 to +4.00)",
        ),
        ({"low": -0.01, "high": 4.0, "p": 0.03}, "undecided", "no difference detected (-0.01 to +4.00)"),
        ({"low": 0.0, "high": 4.0, "p": 0.03}, "undecided", "no difference detected (0.00 to +4.00)"),
        ({"low": -0.004, "high": 0.3}, "undecided", "no difference detected (0.00 to +0.30)"),
        ({"low": 12.4, "high": 40.2, "p": 0.03, "digits": 0}, "better", "better by at least 12"),
        ({"low": 0.5, "high": 0.5, "p": 0.03}, "better", "better by at least 0.50"),
        ({"margin": 0.005, "p_equivalent": 0.01}, "equivalent", "equivalent within ±0.005"),
    ],
)  # fmt: skip
def test_every_branch(change, kind, text):
    """Each line of the rule's table, the order of the lines, and how numbers are written."""
    found = stats.verdict(**{**GIVEN, **change})
    assert (found.kind, found.text) == (kind, text)


@pytest.mark.parametrize("change", [{"n": 0, "p_equivalent": 0.01}, {"p": None}, {"p": float("nan")}, {"low": None}])
def test_no_verdict_without_a_test(change):
    """Nothing is said where no pairs exist, or where a difference has no p or no interval though n would do."""
    assert stats.verdict(**{**GIVEN, **change}) is None


def test_an_undeclared_margin_makes_nothing_equivalent():
    """However small the p of equivalence, it is the margin's."""
    assert stats.verdict(**{**GIVEN, "margin": None, "p_equivalent": 0.0}).kind == "undecided"
