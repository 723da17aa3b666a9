"""Whatever a TOML file says, loading it gives a sweep or a SweepError, never another exception."""

import json

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tinyablate.errors import SweepError
from tinyablate.identity import canonical
from tinyablate.sweep.load import load
from tinyablate.sweep.parse import KEYS

WORDS = [
    *KEYS, "label", "set", "group", "published", "when", "where", "reason", "levels", "expand", "parts", "off", "on",
    "optimizer", "lr", "optimizer.lr", "mix", "mixup_alpha", "model", "args", "model.args.x", "name", "paper", "ema",
    "val_top1", "ema.decay", "betas", "precision", "digits", "declares", "min", "max", "until", "A", "",
]  # fmt: skip
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-1, 3),
    st.floats(),
    st.sampled_from(["", "A", "sgd", "val_top1", "path-add", "factorial", "cross-fitted", "mix", "half_width < 1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)),
    max_leaves=12,
)


def _toml(value):
    """`value` as TOML's right side; JSON but for tables, true infinity and nan."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value) if isinstance(value, float) else json.dumps(value)


ROWS = [{"label": "A"}, {"label": "B", "set": {"ema.decay": 0.5}}]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    changed=st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=3),
    row=st.dictionaries(
        st.sampled_from(["label", "set", "published", "when", "grid", "seeds", "group", "declares"]), VALUES, max_size=3
    ),
    smoke=st.booleans(),
    null_rows=st.integers(0, 2),
)
@example(changed={"seeds": [[1]]}, row={}, smoke=False, null_rows=1)
@example(changed={"metric": [1]}, row={}, smoke=False, null_rows=0)
@example(changed={"components": {"expand": [["factorial"]], "parts": {"A": 1}}}, row={}, smoke=False, null_rows=0)
@example(changed={"select": [], "metrics": [{}]}, row={"label": {}, "group": []}, smoke=True, null_rows=0)
@example(changed={"layout": {"components": {"": [[]]}, "digits": {"val_top1": []}}}, row={}, smoke=False, null_rows=0)
@example(changed={"seeds": {"min": 3, "max": 4, "until": "half_width < 1"}}, row={}, smoke=False, null_rows=1)
def test_any_document_loads_or_is_refused(changed, row, smoke, null_rows, tmp_path_factory):
    """Every value in every place: a sweep whose cells have their canonical recipes, or an error with its problems."""
    rows = [*ROWS, {"label": "C", **row}] if row else ROWS
    document = {"seeds": [0, 1], "baseline": {"model.name": "m"}, "smoke": {}, "rows": rows, **changed}
    path = tmp_path_factory.mktemp("fuzz") / "sweep.toml"
    path.write_text("".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in document.items()))
    problems: tuple[str, ...] = ()
    try:
        sweep = load(path, smoke=smoke, null_rows=null_rows)
    except SweepError as error:
        problems = error.problems
    if problems:
        assert all(problem.startswith(str(path)) for problem in problems)
        return
    assert sweep.cells
    assert all(cell.canonical == canonical(cell.recipe) for cell in sweep.cells)
    assert len({row.label for row in sweep.rows}) == len(sweep.rows)
