"""The names of policies: what they mean, their one spelling, and what is refused."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyablate import policies
from tinyablate.policies import (
    BigVisionRand,
    NoPolicy,
    Policy,
    ThreeAugment,
    TimmAuto,
    TimmRand,
    TorchvisionAuto,
    TorchvisionRand,
    canonical,
    parse,
)

INFINITY = float("inf")


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("none", NoPolicy()),
        ("rand", TimmRand(magnitude=10, layers=2, std=0, bound=10, increasing=False, prob=0.5)),
        ("rand-m9-mstd0.5-inc1", TimmRand(magnitude=9, std=0.5, increasing=True)),
        ("rand-n3-m9-mstd0.5-inc1", TimmRand(magnitude=9, layers=3, std=0.5, increasing=True)),
        ("rand-m15-mstd0.5-mmax20-p0.75", TimmRand(magnitude=15, std=0.5, bound=20, prob=0.75)),
        ("rand-m9-mstd101", TimmRand(magnitude=9, std=INFINITY)),
        ("rand-mstd1-tweights", TimmRand(std=1, choice="weights")),
        ("rand-m7-t3a", TimmRand(magnitude=7, choice="3a")),
        ("rand-n14-t3aw", TimmRand(layers=14, choice="3aw")),
        ("original", TimmAuto("original")),
        ("originalr-mstd0.5", TimmAuto("originalr", 0.5)),
        ("v0-mstd100", TimmAuto("v0", 100)),
        ("v0r", TimmAuto("v0r")),
        ("3a", ThreeAugment(("gray", "solarize", "blur"))),
        ("3a-blur-gray", ThreeAugment(("gray", "blur"))),
        ("torchvision-randaugment", TorchvisionRand(layers=2, magnitude=9, bins=31)),
        ("torchvision-randaugment-n1-m4-bins10", TorchvisionRand(1, 4, 10)),
        ("torchvision-autoaugment", TorchvisionAuto()),
        ("bigvision-randaugment-n2-m10", BigVisionRand(2, 10)),
        ("bigvision-randaugment-m0", BigVisionRand(2, 0)),
    ],
)
def test_a_name_means_its_policy(text: str, policy: Policy) -> None:
    """Every dialect and option reads into its numbers; what is not written has the library's default."""
    assert parse(text) == policy


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("none", ["none"]),
        (
            "rand",
            ["rand", "rand-m10", "rand-n2-m10-p0.5-inc0-mstd0-mmax10", "rand-m10-mmax30", "rand-m12", "rand-m030"],
        ),
        ("rand-m9-mstd0.5-inc1", ["rand-m9-mstd0.5-inc1", "rand-inc1-mstd0.50-m9-n2-p0.5"]),
        ("rand-m9-p1", ["rand-m9-p1", "rand-m9-p1.", "rand-m9-p1.0", "rand-p1.000-m09-mstd0.0"]),
        ("rand-m15-mmax15", ["rand-m15-mmax15", "rand-m15-mmax20", "rand-m18-mmax15"]),
        ("rand-m3", ["rand-m3", "rand-m5-mmax3"]),
        ("rand-m15-mstd0.5-mmax20", ["rand-m15-mstd0.5-mmax20"]),
        ("rand-m9-mstd101", ["rand-m9-mstd101", "rand-m9-mstd100.5", "rand-m9-mstd9999", "rand-m9-mstd101-mmax20"]),
        ("rand-m0", ["rand-m0", "rand-m0-mstd101"]),
        ("rand-m9-tweights", ["rand-m9-tweights", "rand-m9-inc1-tweights", "rand-tweights-m9"]),
        ("3a", ["3a", "3a-gray-solarize-blur", "3a-blur-solarize-gray"]),
        ("3a-gray-blur", ["3a-gray-blur", "3a-blur-gray"]),
        ("original", ["original", "original-mstd0"]),
        ("torchvision-randaugment", ["torchvision-randaugment", "torchvision-randaugment-n2-m9-bins31"]),
        ("torchvision-randaugment-m0", ["torchvision-randaugment-m0", "torchvision-randaugment-bins5-m0"]),
        ("bigvision-randaugment", ["bigvision-randaugment", "bigvision-randaugment-m10-n2"]),
        ("rand-mstd0.00000001", ["rand-mstd0.00000001"]),
    ],
)
def test_one_policy_has_one_spelling(name: str, spellings: list[str]) -> None:
    """Order, defaults, trailing zeros and options without effect do not make another policy."""
    assert {canonical(text) for text in spellings} == {name}
    assert len({parse(text) for text in spellings}) == 1


def test_different_policies_have_different_spellings() -> None:
    """Whatever changes a draw changes the name."""
    names = [
        *(
            "none",
            "rand",
            "rand-m9",
            "rand-n1",
            "rand-p1",
            "rand-inc1",
            "rand-mstd1",
            "rand-m15-mmax20",
            "rand-mstd101",
        ),
        *("rand-m12-mstd0.5", "rand-m10-mstd0.5", "rand-m12-mstd101", "rand-t3a", "rand-t3aw", "rand-tweights"),
        *("original", "originalr", "v0", "v0r", "v0-mstd1", "3a", "3a-gray", "3a-blur", "torchvision-autoaugment"),
        *("torchvision-randaugment", "torchvision-randaugment-m9-bins10", "bigvision-randaugment"),
    ]
    assert len({canonical(name) for name in names}) == len(names)


number = st.floats(0.001, 400).map(lambda value: f"{value:.3f}")
options = st.fixed_dictionaries(
    {},
    optional={
        "m": st.integers(0, 30).map(str),
        "n": st.integers(1, 14).map(str),
        "mstd": number,
        "mmax": st.integers(1, 30).map(str),
        "inc": st.sampled_from("01"),
        "p": st.floats(0.001, 1).map(lambda value: f"{value:.3f}"),
        "t": st.sampled_from(["3a", "3aw", "weights"]),
    },
)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(options, st.randoms(use_true_random=False))
def test_the_canonical_name_names_the_same_policy(given_options: dict[str, str], shuffler: object) -> None:
    """For any options in any order: the canonical name reads as the same policy and is its own canonical name."""
    parts = [f"{name}{value}" for name, value in given_options.items()]
    shuffler.shuffle(parts)  # type: ignore[attr-defined]
    text = "-".join(["rand", *parts])
    assert parse(canonical(text)) == parse(text)
    assert canonical(canonical(text)) == canonical(text)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.one_of(st.text(max_size=30), st.text("rand-mstdincpx0123456789.", max_size=20).map(lambda t: f"rand-{t}")))
def test_any_text_is_a_policy_or_one_clear_rule(text: str) -> None:
    """No text leads to anything but a policy or a ValueError of one line."""
    try:
        outcome = canonical(text)
    except ValueError as error:
        outcome = str(error)
    else:
        assert canonical(outcome) == outcome
    assert len(outcome.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "no such policy; valid: 'none', 'rand', 'original'"),
        ("Rand-m9", "no such policy; valid: .*; did you mean 'rand'\\?"),
        ("rnd-m9", "did you mean 'rand'\\?"),
        ("rand_m9", "did you mean 'rand'\\?"),
        ("randm9", "did you mean 'rand'\\?"),
        ("torchvision-randaug-m9", "did you mean 'torchvision-randaugment'\\?"),
        ("autoaugment", "did you mean 'torchvision-autoaugment'\\?"),
        ("bigvision-randaugmnt", "did you mean 'bigvision-randaugment'\\?"),
        ("orginal", "did you mean 'original'\\?"),
        ("original2", "did you mean 'original"),
        ("augmix-m5-w4-d2", "timm's AugMix does not work yet"),
        ("torchvision-augmix", "torchvision's AugMix does not work yet"),
        ("torchvision-trivialaugment", "torchvision's TrivialAugment does not work yet"),
        ("rand-x3", "'rand' has no option 'x3'; it has 'm', 'n', 'mstd', 'mmax', 'inc', 'p', 't'"),
        ("rand-msdt0.5", "'rand' has no option 'msdt0.5'; it has .*; did you mean 'mstd'\\?"),
        ("rand-M9", "'rand' has no option 'M9'.*; did you mean 'm'\\?"),
        ("rand-w0", "'rand' has no option 'w0'.*; timm's weighted choice is 'tweights'"),
        ("rand-", "'rand' has no option ''"),
        ("rand--m9", "'rand' has no option ''"),
        ("none-m9", "'none' has no option 'm9'; it has none"),
        ("v0-m9", "'v0' has no option 'm9'; it has 'mstd'"),
        ("torchvision-autoaugment-m9", "'torchvision-autoaugment' has no option 'm9'; it has none"),
        ("torchvision-randaugment-mstd1", "'torchvision-randaugment' has no option 'mstd1'"),
        ("bigvision-randaugment-bins31", "'bigvision-randaugment' has no option 'bins31'"),
        ("rand-m9-n2-m9", "option 'm' is given twice"),
        ("rand-t3a-t3a", "option 't' is given twice"),
        ("rand-m", "option 'm' needs a finite number without a sign, such as 'm1', not 'm'"),
        ("rand-m-3", "option 'm' needs a finite number"),
        ("rand-m9x", "option 'm' needs a finite number"),
        ("rand-p.5", "option 'p' needs a finite number"),
        ("rand-mstdnan", "option 'mstd' needs a finite number .* not 'mstdnan'"),
        ("rand-mstdinf", "option 'mstd' needs a finite number .* not 'mstdinf'"),
        ("rand-pnan", "option 'p' needs a finite number"),
        ("rand-mstd" + "9" * 400, "option 'mstd' needs a finite number"),
        ("rand-m٩", "option 'm' needs a finite number"),
        ("rand-m9.5", "option 'm' must be a whole number, not 9.5"),
        ("rand-n1.5", "option 'n' must be a whole number, not 1.5"),
        ("rand-m31", "option 'm' must be from 0 to 30, not 31"),
        ("rand-n0", "option 'n' must be from 1 to 16, not 0"),
        ("rand-n17", "option 'n' must be from 1 to 16, not 17"),
        ("rand-mmax0", "option 'mmax' must be from 1 to 30, not 0"),
        ("rand-mmax31", "option 'mmax' must be from 1 to 30, not 31"),
        ("rand-inc2", "option 'inc' must be from 0 to 1, not 2"),
        ("rand-p1.01", "option 'p' must be from 0 to 1, not 1.01"),
        ("rand-m9-mstd05", "option 'mstd' is '05': write mstd0.5 or mstd5"),
        ("rand-p0", "'p0' never applies an operation; write 'none'"),
        (
            "rand-tweight",
            "no set of operations 'tweight'; valid: 't3a', 't3aw', 'tweights'; did you mean 'tweights'\\?",
        ),
        ("rand-n15-t3aw", "option 'n' must be at most 14, not 15: 't3aw' draws from 14 operations without"),
        ("rand-n16-tweights", "option 'n' must be at most 15, not 16"),
        ("original-mstd101", "option 'mstd' must be from 0 to 100, not 101"),
        ("3a-grey", "'3a' has no operation 'grey'; valid: 'gray', 'solarize', 'blur'; did you mean 'gray'\\?"),
        ("3a-mstd0.5", "'3a' has no operation 'mstd0.5'"),
        ("3a-gray-gray", "operation 'gray' is given twice"),
        ("torchvision-randaugment-m31", "option 'm' must be from 0 to 30 where there are 31 bins, not 31"),
        ("torchvision-randaugment-bins9", "option 'm' must be from 0 to 8 where there are 9 bins, not 9"),
        ("torchvision-randaugment-bins1-m0", "option 'bins' must be from 2 to 1000, not 1"),
        ("torchvision-randaugment-m1000", "option 'm' must be from 0 to 999, not 1000"),
        ("bigvision-randaugment-m11", "option 'm' must be from 0 to 10, not 11"),
        ("bigvision-randaugment-n0", "option 'n' must be from 1 to 16, not 0"),
    ],
)
def test_what_is_wrong_is_said(text: str, rule: str) -> None:
    """A name that is no policy is refused with the rule that it breaks and what is valid."""
    with pytest.raises(ValueError, match=rule):
        parse(text)


def test_the_grammar_loads_nothing_heavy() -> None:
    """Reading a policy's name, which every recipe does, needs neither numpy nor torch."""
    code = (
        "import sys, tinyablate.policies as p; p.parse('rand-m9'); print(*{'numpy', 'torch', 'timm'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_dialect_is_in_the_modules_table() -> None:
    """The docstring, which documentation and messages point to, names every policy that can be read."""
    assert policies.__doc__ is not None
    for name in policies._READERS:
        assert f"`{name}" in policies.__doc__
