"""One list of components, expanded in every way."""

import pytest

HEAD = """
seeds = [0]
[baseline]
model.name = "m"
mix.mixup_alpha = 0.8
mix.cutmix_alpha = 1.0
loss.smoothing = 0.1
"""
PARTS = """
[components.parts."Mixup"]
off.mix.mixup_alpha = 0
[components.parts."CutMix"]
off.mix.cutmix_alpha = 0
[components.parts."Smoothing"]
off.loss.smoothing = 0
"""


def _on(recipe):
    """Which of the three are on, by first letter."""
    values = (recipe.mix.mixup_alpha, recipe.mix.cutmix_alpha, recipe.loss.smoothing)
    return "".join(letter for letter, value in zip("mcs", values, strict=True) if value)


def _table(sweep):
    """(label, what is on, reference) of every row."""
    rows = [sweep.rows[cell.row] for cell in sweep.cells]
    return [(row.label, _on(cell.recipe), row.reference) for row, cell in zip(rows, sweep.cells, strict=True)]


@pytest.mark.parametrize(
    ("expand", "table"),
    [
        (
            "leave-one-out",
            [("All", "mcs", None), ("− Mixup", "cs", 0), ("− CutMix", "ms", 0), ("− Smoothing", "mc", 0)],
        ),
        ("add-one-in", [("None", "", None), ("+ Mixup", "m", 0), ("+ CutMix", "c", 0), ("+ Smoothing", "s", 0)]),
        ("path-remove", [("All", "mcs", None), ("− Mixup", "cs", 0), ("− CutMix", "s", 0), ("− Smoothing", "", 0)]),
        ("path-add", [("None", "", None), ("+ Mixup", "m", 0), ("+ CutMix", "mc", 0), ("+ Smoothing", "mcs", 0)]),
        (
            "factorial",
            [
                ("None", "", None),
                ("Mixup", "m", 0),
                ("CutMix", "c", 0),
                ("Smoothing", "s", 0),
                ("Mixup + CutMix", "mc", 0),
                ("Mixup + Smoothing", "ms", 0),
                ("CutMix + Smoothing", "cs", 0),
                ("All", "mcs", 0),
            ],
        ),
    ],
)
def test_each_expansion_has_its_rows_and_reference(expand, table, loads):
    """Labels, what is on in each row, and the first row as the reference of the others."""
    sweep = loads(f"[components]\nexpand = '{expand}'\n{PARTS}", head=HEAD)
    assert _table(sweep) == table


def test_several_expansions_share_the_rows_that_coincide(loads):
    """Each expansion is a group; a row that another has already is kept once and still serves as reference."""
    sweep = loads(f"[components]\nexpand = ['leave-one-out', 'path-remove', 'add-one-in']\n{PARTS}", head=HEAD)
    assert _table(sweep) == [
        ("All", "mcs", None),
        ("− Mixup", "cs", 0),
        ("− CutMix", "ms", 0),
        ("− Smoothing", "mc", 0),
        ("− Mixup − CutMix", "s", 0),  # the path's second step; leave-one-out has a row "− CutMix" already
        ("− Mixup − CutMix − Smoothing", "", 0),
        ("+ Mixup", "m", 5),
        ("+ CutMix", "c", 5),
    ]
    assert [row.group for row in sweep.rows] == ["leave-one-out"] * 4 + ["path-remove"] * 2 + ["add-one-in"] * 2
    assert not any(row.null for row in sweep.rows)


def test_on_overrides_the_baseline(loads):
    """A part with `on` is what `on` says when it is on, not what the baseline has."""
    sweep = loads(
        """
        [components]
        expand = "leave-one-out"
        [components.parts.EMA]
        on.ema.decay = 0.9
        off.ema.decay = 0.0
        [components.parts.Mixup]
        off.mix.mixup_alpha = 0.0
        """,
        head=HEAD,
    )
    found = [(cell.recipe.ema.decay, cell.recipe.mix.mixup_alpha) for cell in sweep.cells]
    assert found == [(0.9, 0.8), (0.0, 0.8), (0.9, 0.0)]
    assert sweep.baseline.ema.decay == 0


def test_components_cross_columns(loads):
    """Columns are a second axis of component rows too."""
    column = "[[columns]]\nlabel = '1'\nset.schedule.epochs = 1\n[[columns]]\nlabel = '2'\nset.schedule.epochs = 2\n"
    sweep = loads(f"[components]\nexpand = 'leave-one-out'\n{PARTS}{column}", head=HEAD)
    assert len(sweep.cells) == 8


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"[components]\n{PARTS}", "components.expand: must be one or a list of 'leave-one-out'"),
        (f"[components]\nexpand = []\n{PARTS}", "components.expand: must be one or a list of"),
        (f"[components]\nexpand = 'leave-one-in'\n{PARTS}", "did you mean 'leave-one-out'?"),
        (f"[components]\nexpand = ['path-add', 'path-add']\n{PARTS}", 'expand = "path-add": the same expansion twice'),
        (f"[components]\nexpand = 'factorial'\nexpnad = 3\n{PARTS}", "components.expnad = 3: unknown key"),
        ("[components]\nexpand = 'factorial'\n", "components: no parts: write [components.parts.NAME]"),
        (
            "[components]\nexpand = 'factorial'\n[components.parts.A]\non.ema.decay = 0.5\n",
            "components.parts.A: `off` is missing",
        ),
        (
            "[components]\nexpand = 'factorial'\n[components.parts.A]\noff.mix.prop = 0.5\n",
            "components.parts.A.off.mix.prop = 0.5: no such recipe field; did you mean 'mix.prob'?",
        ),
        (
            "[components]\nexpand = 'factorial'\n[components.parts.A]\nmix.prob = 0.5\noff.mix.prob = 0\n",
            "components.parts.A.mix: recipe fields belong in the part's `off` or `on`",
        ),
        (
            f"[components]\nexpand = 'factorial'\n{PARTS}[components.parts.EMA]\noff.ema.decay = 0\n",
            "components.parts.EMA.off.ema.decay = 0: component 'EMA' changes nothing: "
            "ema.decay is already 0.0 when it is on",
        ),
        (
            f"[components]\nexpand = 'factorial'\n{PARTS}[components.parts.EMA]\n"
            "off.ema.decay = 0.5\non.ema.decay = 0.5\n",
            "component 'EMA' changes nothing: ema.decay is already 0.5 when it is on",
        ),
        (
            f"[components]\nexpand = 'leave-one-out'\n{PARTS}[components.parts.Again]\noff.mix.mixup_alpha = 0\n",
            "row '− Mixup' and row '− Again' are the same trial",
        ),
        (
            f"[components]\nexpand = 'factorial'\n{PARTS}[[rows]]\nlabel = 'x'\n",
            "components: makes the rows: drop `rows`",
        ),
        (
            f"[components]\nexpand = 'factorial'\n{PARTS}[grid]\nema.decay = [0.5]\n",
            "components: makes the rows: drop `grid`",
        ),
        (
            "[components]\nexpand = 'factorial'\n"
            + "".join(f"[components.parts.P{i}]\noff.model.args.a{i} = {i}\n" for i in range(13)),
            "components: a factorial of 13 parts has 8192 rows; at most 12 parts",
        ),
    ],
)
def test_wrong_components_are_refused(text, problem, refuses):
    """Missing or unknown parts and expansions, parts that change nothing, and mixtures with rows or grids."""
    problems = refuses(text, head=HEAD)
    assert len(problems) == 1
    assert problem in problems[0]
