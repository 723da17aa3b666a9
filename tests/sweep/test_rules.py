"""What a sweep file promises of its comparisons: seeds by a rule, the test and its family, cross-fitted numbers."""

import pytest

from tinyablate.sweep.schema import Sequential

ROWS = """
[[rows]]
label = "Default"
[[rows]]
label = "No Mixup"
set.mix.mixup_alpha = 0
"""
HEAD = """\
seeds = { min = 3, max = 12, until = "half_width < 0.1" }
%s
[baseline]
model.name = "m"
mix.mixup_alpha = 0.8
"""


def _head(line="", **changed):
    """HEAD with values of the rule changed (None leaves one out) and a line more."""
    rule = {"min": 3, "max": 12, "until": '"half_width < 0.1"'} | changed
    written = ", ".join(f"{key} = {value}" for key, value in rule.items() if value is not None)
    return HEAD.replace('min = 3, max = 12, until = "half_width < 0.1"', written) % line


def test_a_rule_gives_rows_their_first_seeds(loads):
    """Every row has the seeds from 0 below `min`; the rule stands in the sweep."""
    sweep = loads(ROWS, head=_head())
    assert sweep.sequential == Sequential(3, 12, 0.1)
    assert [row.seeds for row in sweep.rows] == [(0, 1, 2)] * 2


def test_asked_for_seeds_and_smoke_drop_the_rule(loads):
    """With --seeds rows have those and no more follow; with --smoke one seed."""
    body = f"{ROWS}[smoke]\nmodel.name = 'test_resnet'\n"
    asked = loads(body, head=_head(), seeds=(4, 5))
    assert (asked.sequential, [row.seeds for row in asked.rows]) == (None, [(4, 5)] * 2)
    small = loads(body, head=_head(), smoke=True)
    assert (small.sequential, [row.seeds for row in small.rows]) == (None, [(0,)] * 2)


def test_null_rows_keep_seeds_of_their_own(loads, refuses):
    """A null row lists its seeds, above those that the rule may give the baseline; no other row may list any."""
    null = "[[rows]]\nlabel = 'Again'\nseeds = [%s]\n"
    assert [row.seeds for row in loads(ROWS + null % "12, 13", head=_head()).rows][2] == (12, 13)
    (found,) = refuses(ROWS + null % "11, 12", head=_head())
    assert found.endswith(
        'rows[2] "Again".seeds = [11, 12]: must be from 12: the sweep\'s rule may use those below for the baseline'
    )
    (found,) = refuses(f"{ROWS}seeds = [0, 1, 2, 3]\n", head=_head())
    assert "the sweep's rule gives every row its seeds, but null rows" in found


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"min": None}, "seeds: `min` is missing: a rule is { min = 3, max = 12,"),
        ({"until": None}, "seeds: `until` is missing"),
        ({"mni": 3}, "seeds.mni = 3: unknown key; did you mean 'min'? (valid: 'min', 'max', 'until')"),
        ({"min": 2}, "seeds.min = 2: must be a whole number from 3 to 10,000"),
        ({"min": "true"}, "seeds.min = true: must be a whole number"),
        ({"max": 2}, "seeds.max = 2: must be a whole number from 3"),
        ({"min": 6, "max": 5}, "seeds.max = 5: must be at least `min`, 6"),
        ({"max": 10_001}, "seeds.max = 10001: must be a whole number from 3 to 10,000"),
        ({"until": 0.1}, 'seeds.until = 0.1: must be "half_width < NUMBER" with a number above 0'),
        ({"until": '"half_width < 0"'}, "with a number above 0, such as"),
        ({"until": '"half_width < nan"'}, "with a number above 0, such as"),
        ({"until": '"half_width < 1e999"'}, "with a number above 0, such as"),
        ({"until": '"halfwidth < 0.1"'}, 'must be "half_width < NUMBER"'),
        ({"until": '"half_width > 0.1"'}, 'must be "half_width < NUMBER"'),
        ({"until": '"half_width < 0.1 or 2"'}, 'must be "half_width < NUMBER"'),
    ],
)
def test_wrong_rules_are_refused(changed, problem, refuses):
    """Missing, unknown and impossible parts: one message each, with place and value."""
    (found,) = refuses(ROWS, head=_head(**changed))
    assert problem in found


@pytest.mark.parametrize(
    ("line", "body", "problem"),
    [
        ('metric = "epoch_seconds"', ROWS, "the rule looks at the first metric, and epoch_seconds is not one of a"),
        ("", "[grid]\n'ema.decay' = [0.5, 0.9]\n", "seeds: the rule looks at differences, and no row is compared"),
    ],
)
def test_a_rule_needs_differences_of_trainings(line, body, problem, refuses):
    """It is refused for measurements, and where no row is compared with another."""
    (found,) = refuses(body, head=_head(line))
    assert problem in found


def test_a_list_is_proposed_beside_the_rule(refuses):
    """Seeds that are neither a list nor a rule are told of both."""
    (found,) = refuses(ROWS, head="seeds = 3\n[baseline]\nmodel.name = 'm'\nmix.mixup_alpha = 0.8\n")
    assert "seeds = 3: must be a list of whole numbers, such as [0, 1, 2]; or a rule: { min = 3" in found


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("", ("table", "max-t", "last")),
        ("family = 'column'\ntest = 'holm'\nselect = 'cross-fitted'", ("column", "holm", "cross-fitted")),
        (
            "select = 'cross-fitted'\nmetrics = ['val_top1', 'parameters', 'epoch_seconds']",
            ("table", "max-t", "cross-fitted"),
        ),
    ],
)
def test_family_test_and_selection(lines, found, loads):
    """They are as the file says, else all of the table, step-down over sign flips, the last epoch."""
    sweep = loads(ROWS, head=_head(lines))
    assert (sweep.family, sweep.test, sweep.select) == found


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("family = 'columns'", "family = \"columns\": must be one of 'table', 'column'; did you mean 'column'?"),
        ("test = 'holms'", "test = \"holms\": must be one of 'max-t', 'holm'; did you mean 'holm'?"),
        ("test = ['holm']", "test = [\"holm\"]: must be one of 'max-t', 'holm'"),
        ("select = 'cross'", "select = \"cross\": must be one of 'best', 'last', 'cross-fitted'"),
        (
            "select = 'cross-fitted'\nmetrics = ['val_top1', 'val_top5', 'val_loss']",
            "select = \"cross-fitted\": 'val_top5', 'val_loss' cannot be: which images were right is kept for val_top1",
        ),
    ],
)
def test_wrong_words_are_refused(lines, problem, refuses):
    """One message with the valid words; what cannot be cross-fitted is named."""
    (found,) = refuses(ROWS, head=_head(lines))
    assert problem in found


def test_retries_of_what_diverged_are_the_sweeps_choice(loads):
    """`retry.diverged` is a small whole number; without it what diverged is a result at once."""
    assert loads(ROWS, head=_head()).retry_diverged == 0
    assert loads(ROWS, head=_head("retry.diverged = 2")).retry_diverged == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("retry.diverged = -1", "retry.diverged"),
        ("retry.diverged = true", "must be a whole number from 0 to 10"),
        ("retry.diverged = 11", "must be a whole number from 0 to 10"),
        ("retry.divergd = 1", "diverged"),
        ("retry = 3", "retry"),
    ],
)
def test_wrong_retries_are_refused(refuses, line, words):
    """A wrong number, key or type names its place and what is valid."""
    assert words in "\n".join(refuses(ROWS, head=_head(line)))
