"""What the data sets are called, and the language that names a part of one."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyablate.datasets import KNOWN, VALID_NAME, Split, canonical_split, parse_split


def test_the_built_in_sets_are_sound() -> None:
    """Names are valid and fingerprints differ; numbers of images are those of the papers."""
    assert {name: (data.classes, data.train, data.val) for name, data in KNOWN.items()} == {
        "shapes": (10, 4_000, 1_000),
        "tiny-imagenet": (200, 100_000, 10_000),
        "imagenet-1k": (1_000, 1_281_167, 50_000),
    }
    assert all(VALID_NAME.fullmatch(name) for name in KNOWN)
    assert len({data.fingerprint for data in KNOWN.values()}) == len(KNOWN)
    assert [data.generated for data in KNOWN.values()] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "base", "low", "high", "spelling"),
    [
        ("train", "train", "0", "1", "train"),
        ("val", "val", "0", "1", "val"),
        ("train[:99%]", "train", "0", "0.99", "train[:99%]"),
        ("train[99%:]", "train", "0.99", "1", "train[99%:]"),
        ("train[10%:20%]", "train", "0.1", "0.2", "train[10%:20%]"),
        ("train[0%:100%]", "train", "0", "1", "train"),
        ("train[:]", "train", "0", "1", "train"),
        ("train[0%:5%]", "train", "0", "0.05", "train[:5%]"),
        ("train[07.50%:100.0%]", "train", "0.075", "1", "train[7.5%:]"),
        ("train[:0.001%]", "train", "0", "0.00001", "train[:0.001%]"),
    ],
)
def test_parts_are_exact_and_have_one_spelling(text: str, base: str, low: str, high: str, spelling: str) -> None:
    """Shares are fractions without rounding; needless percents and zeros are left out."""
    split = parse_split(text)
    assert (split.base, split.low, split.high) == (base, Fraction(low), Fraction(high))
    assert str(split) == canonical_split(text) == spelling


@pytest.mark.parametrize(
    "text",
    ["", "trian", "test", "train[99%]", "train[:5000]", "train[:-1%]", "train[: 9%]", "train ", "train\n", "Train",
     "train[:9%][1%:]", "train[:1e1%]", "train[:nan%]", "train[:٩%]", "val[", "train[:.5%]"],
)  # fmt: skip
def test_other_texts_are_refused_with_examples(text: str) -> None:
    """Anything else is one rule that shows what is valid."""
    valid = "'train', 'train[:99%]', 'train[10%:20%]' and, for evaluate.split, 'val', 'train[99%:]'"
    with pytest.raises(ValueError, match="^" + re.escape(f"is no part of a data set; valid: {valid}")):
        parse_split(text)


def test_the_nearest_text_is_suggested() -> None:
    """A slip gets its correction."""
    with pytest.raises(ValueError, match=r"did you mean 'train\[:99%\]'\?"):
        parse_split("trian[:99%]")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("train[:90]", "train[:90%]"),
        ("train[:0.9]", "train[:90%]"),
        ("train[0.125:]", "train[12.5%:]"),
        ("train[10:20%]", "train[10%:20%]"),
        ("train[0:1.5]", "train[:1.5%]"),
        ("train[:1]", "train[:1%]"),
    ],
)
def test_a_missing_percent_sign_is_told(text: str, meant: str) -> None:
    """Percents and shares without their sign get the text that is meant."""
    with pytest.raises(ValueError, match="^percent sign missing: did you mean " + re.escape(f"'{meant}'?") + "$"):
        parse_split(text)


@pytest.mark.parametrize("text", ["train[20%:10%]", "train[5%:5%]", "train[:0%]", "train[100%:]", "train[:101%]"])
def test_parts_without_images_are_refused(text: str) -> None:
    """A part must begin below its end, inside of the set."""
    with pytest.raises(ValueError, match="holds no image"):
        parse_split(text)


def test_the_validation_set_has_no_parts() -> None:
    """Nothing could use the rest."""
    with pytest.raises(ValueError, match="only the training set has parts; valid: 'val'"):
        parse_split("val[:50%]")


shares = st.integers(0, 1000).map(lambda tenth: Fraction(tenth, 1000))
splits = (
    st.tuples(st.sampled_from(["train", "val"]), shares, shares).filter(lambda s: s[1] < s[2]).map(lambda s: Split(*s))
)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(splits, splits)
def test_overlap_is_a_common_image(one: Split, other: Split) -> None:
    """Two parts overlap where, of 1,000 images in order, they have one in common; spellings read back."""

    def of(split: Split) -> set[int]:
        return {k for k in range(1000) if split.low <= Fraction(k, 1000) < split.high}

    common = one.base == other.base and bool(of(one) & of(other))
    assert one.overlaps(other) == other.overlaps(one) == common
    if one.base == "train":
        assert parse_split(str(one)) == one
