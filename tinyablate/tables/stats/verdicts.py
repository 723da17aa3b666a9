"""What a comparison comes to: one rule, in words."""

import math
from typing import Literal

from tinyablate.tables.schema import Verdict
from tinyablate.tables.stats.differences import ALPHA
from tinyablate.tables.words import counted

_WORDS: dict[tuple[str | None, bool], tuple[Literal["better", "worse"], str]] = {
    ("max", True): ("better", "better"),
    ("max", False): ("worse", "worse"),
    ("min", True): ("worse", "worse"),
    ("min", False): ("better", "better"),
    (None, True): ("better", "higher"),
    (None, False): ("worse", "lower"),
}
"""(Which end is good, whether the difference is positive) -> kind, word. Where no end is good the kind is the sign."""


LEAST_EQUIVALENT = 3
"""Pairs below which nothing is called equivalent."""


def verdict(
    low: float | None,
    high: float | None,
    n: int,
    p: float | None,
    p_equivalent: float | None,
    better: Literal["max", "min"] | None,
    margin: float | None,
    least: int,
    detect: int | None,
    comparisons: int,
    digits: int,
) -> Verdict | None:
    """The verdict on one difference, from its interval, pairs and p-values. The first line that applies:

    =======================================================  =========================================================
    n is 0                                                   None: nothing is compared
    `margin` is declared, `p_equivalent` <= `ALPHA`, n > 2   equivalent within ±margin
    n < `least`                                              n too small: no result can reach 5 % below `least` seeds …
    p is not defined, or the interval is not                 None: nothing was tested (Welch's differences)
    p <= `ALPHA` and 0 lies outside of the interval          better (worse) by at least the interval's near end
    otherwise, 0 inside the interval                         no difference detected (low to high)
    otherwise                                                no difference detected after correction (low to high)
    =======================================================  =========================================================

    Equivalence comes first, because the margin is declared as the smallest difference that matters: where the
    difference is shown to be smaller, it being other than 0 is no news, and enough seeds make it so always (the
    interval beside it still shows it). It comes before the number of seeds, because a t test needs few: not 2 all the
    same, whose sd says next to nothing (one degree of freedom, t = 12.7), however valid the test is.
    p <= `ALPHA` alone would not do: sign flips and t disagree where noise is far from normal, and the text quotes the
    interval. Nor would the interval alone: it is not adjusted for there being many rows.

    `p` is adjusted over the table's family (`max_t`, or `holm` of `sign_flip`), so that the chance of any false
    "better" or "worse" in the table is at most 5 %. `p_equivalent` (`equivalent_p`) is used as it comes: give it
    adjusted by `holm` to have the same of any false "equivalent"; unadjusted it is 5 % for each row. `low`, `high`:
    95 % t interval of the paired difference. `least`: `least_pairs`. `detect`: `detect_pairs` or None; below `least`
    it is printed as `least`. None stands for nan. `better`: where "min", a negative difference is better; where None
    the words are "higher" and "lower", and the kinds "better" and "worse" only tell the sign. Numbers have `digits`
    digits after the point; a near end that would be 0 has as many as it needs.
    """
    if not n:
        return None
    if margin is not None and n >= LEAST_EQUIVALENT and _number(p_equivalent) <= ALPHA:
        return Verdict("equivalent", f"equivalent within ±{margin:g}")
    if n < least:
        return Verdict("n too small", _too_few(margin, least, detect, comparisons))
    low, high, p = _number(low), _number(high), _number(p)
    if math.isnan(low + high + p):
        return None
    if p <= ALPHA and not low <= 0 <= high:
        kind, word = _WORDS[better, low > 0]
        return Verdict(kind, f"{word} by at least {_near(min(abs(low), abs(high)), digits)}")
    ends = f"({_signed(low, digits)} to {_signed(high, digits)})"
    after = "" if low <= 0 <= high else " after correction"
    return Verdict("undecided", f"no difference detected{after} {ends}")


def _too_few(margin: float | None, least: int, detect: int | None, comparisons: int) -> str:
    size = counted(comparisons, "comparison")
    text = f"n too small: no result can reach {100 * ALPHA:g} % below {least} seeds in a table of {size}"
    if margin is None or detect is None:
        return text
    return f"{text}; {max(detect, least)} seeds would detect the margin with 80 % power"


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _signed(value: float, digits: int) -> str:
    """With its sign; 0, also where rounding makes it 0, without."""
    text = f"{value:+.{digits}f}"
    return text if float(text) else text[1:]


def _near(value: float, digits: int) -> str:
    """Rounded to `digits`; if that is 0, to the first digit that is not."""
    text = f"{value:.{digits}f}"
    return text if float(text) else f"{value:.{-math.floor(math.log10(value))}f}"
