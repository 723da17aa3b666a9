"""What `plan` and `run` refuse because of a model or a data set, before anything is trained."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from tinyablate import datasets, preflight
from tinyablate.errors import SweepError
from tinyablate.model_facts import ModelFacts, Request
from tinyablate.sweep.load import load

FACTS = ModelFacts(32, False, False, 100, 100, "test_vit", None, None, splits=True)

Refused = Callable[..., list[str]]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """The rules that a one-row sweep with this baseline breaks, given its model's facts."""

    def rules(baseline: str, facts: ModelFacts = FACTS, cache_features: bool = False) -> list[str]:
        path = tmp_path / "sweep.toml"
        path.write_text(
            "seeds = [0]\n[baseline]\ndata.name = 'shapes'\nmodel.name = 'test_vit'\nmodel.pretrained = false\n"
            f"batch.size = 50\n{baseline}\n[[rows]]\nlabel = 'Default'\n"
        )
        answers = {Request.of(cell.recipe, datasets.lookup(cell.recipe.data.name).classes): facts
                   for cell in load(path).cells}  # fmt: skip
        monkeypatch.setattr(preflight, "facts_for", lambda requests, notify: answers)
        try:
            preflight.check_models([load(path)], None, cache_features)
        except SweepError as error:
            return [problem.removeprefix(f"{path}: row 'Default': ") for problem in error.problems]
        return []

    return rules


def test_mixing_images_of_one_class_is_refused(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a single class mixed labels are equal labels: Mixup and CutMix are named, off they are fine."""
    assert refused("mix.mixup_alpha = 0.2") == []
    known = {**datasets.KNOWN, "shapes": dataclasses.replace(datasets.KNOWN["shapes"], classes=1)}
    monkeypatch.setattr(datasets, "KNOWN", known)
    assert refused("mix.mixup_alpha = 0.2") == [
        "mix: shapes has one class: Mixup and CutMix would mix equal labels; turn both off"
    ]
    assert refused("mix.mixup_alpha = 0.2\nmix.prob = 0.0") == []


def test_what_is_wrong_with_several_cells_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights without a tag: both cures, and the rows that it holds of."""
    path = tmp_path / "sweep.toml"
    text = (
        "seeds = [0]\n[baseline]\ndata.name = 'shapes'\nmodel.name = 'test_vit'\nbatch.size = 50\n"
        "[[rows]]\nlabel = 'Default'\n[[rows]]\nlabel = 'EMA'\nset.ema.decay = 0.9\n"
    )
    tagged = dataclasses.replace(FACTS, tagged_name="test_vit.r160_in1k")
    monkeypatch.setattr(preflight, "facts_for", lambda requests, notify: dict.fromkeys(requests, tagged))
    rule = (
        "model.name = 'test_vit': name the pretrained weights too: 'test_vit.r160_in1k'; "
        "or train from random ones: model.pretrained = false"
    )
    other = "[[rows]]\nlabel = 'Random'\nset.model.pretrained = false\n"
    for content, who in ((text, "every row"), (text + other, "row 'Default' and 1 more")):
        path.write_text(content)
        with pytest.raises(SweepError) as caught:
            preflight.check_models([load(path)])
        assert caught.value.problems == (f"{path}: {who}: {rule}",)


def test_features_of_a_trunk_that_drifts_cannot_be_kept(refused: Refused) -> None:
    """--cache-features is refused where BatchNorm moves in training mode, and where the trunk itself is trained."""
    drifting = dataclasses.replace(FACTS, batch_statistics=True, splits=False)
    head = "model.trainable = 'head'"
    assert refused(head, drifting) == []
    assert refused(head, FACTS, cache_features=True) == []
    (rule,) = refused(head, drifting, cache_features=True)
    assert rule.startswith("--cache-features: test_vit has batch statistics (BatchNorm), which drift in training mode")
    assert rule.endswith("set model.backbone_mode = 'eval', or leave the option out")
    (rule,) = refused("model.trainable = 'all'", FACTS, cache_features=True)
    assert rule == "--cache-features: model.trainable = 'all': features change as the model is trained"
