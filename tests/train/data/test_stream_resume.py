"""A training on streamed images that is cut and continued."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pieces import in_one, in_pieces

from tinyablate.recipe import Value, build
from tinyablate.train.data import stream


@pytest.fixture(autouse=True)
def two_decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two processes decode, and end after the test."""
    monkeypatch.setenv(stream.VARIABLE, "2")
    yield
    stream.stop_decoders()


def test_a_streamed_training_is_continued_within_an_epoch(photos_home: Path, lab: Any) -> None:
    """Cut in pieces at random, with policies, averages and two processes that decode, it is bit-equal."""
    leaves: dict[str, Value] = {
        "model.name": "test_vit", "model.pretrained": False, "data.name": "pets", "data.image_size": 32,
        "batch.size": 5, "schedule.epochs": 2, "ema.decay": 0.9, "augment.policy": "torchvision-randaugment-n2-m9",
    }  # fmt: skip
    there, recipes = dataclasses.replace(lab, data=photos_home / "pets"), {"a": build(leaves)}
    assert in_pieces(there, recipes, seed=2, most=10).differences(in_one(there, recipes)) == []
