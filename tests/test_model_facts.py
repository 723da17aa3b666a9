"""Facts of timm's models through the real subprocess and a cache on disk."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tinyablate import model_facts
from tinyablate.errors import RecipeError
from tinyablate.model_facts import ModelFacts, Request, _answer_file, cache_folder, facts_for
from tinyablate.recipe import Data, Model, Recipe


def request_for(name: str, image_size: int = 0, classes: int = 10, **fields: Any) -> Request:
    """The request of a recipe with this model."""
    recipe = Recipe(model=Model(**{"name": name, **fields}), data=Data(image_size=image_size))
    return Request.of(recipe, classes)


REQUESTS = {
    "vit": request_for("test_vit", image_size=64),
    "resnet": request_for("test_resnet", trainable="head"),
    "still resnet": request_for("test_resnet", trainable="head", backbone_mode="eval"),
    "deep": request_for("test_vit", args={"depth": 8, "drop_rate": 0.5}, drop_path=0.1),
    "large": request_for("vit_large_patch16_384", classes=200, trainable="head"),
    "cait": request_for("cait_xxs24_224", drop_path=0.1, drop_path_rule="linear"),
    "distilled": request_for("deit_tiny_distilled_patch16_224", trainable="head", distilled_heads="both"),
    "no weights": request_for("convnextv2_small.untrained"),
    "unknown": request_for("vit_tinny_patch16_224"),
    "bad argument": request_for("test_vit", args={"dpeth": 2}),
    "bad size": request_for("test_maxvit", image_size=65),
    "no scores": request_for("qwen3_vit_88m_enc"),
    "paths of parts": request_for("mobilevit_xxs", drop_path=0.1),
    "one classifier": request_for("test_vit", distilled_heads="both"),
    "several to a block": request_for("test_maxvit", drop_path=0.1, drop_path_rule="constant"),
}

Answers = Mapping[str, ModelFacts | RecipeError]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYABLATE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield cache_folder()


@pytest.fixture(scope="module")
def answers(cache: Path) -> Answers:
    """The answers to REQUESTS, found out by one subprocess, which is announced."""
    said: list[str] = []
    found = facts_for(REQUESTS.values(), said.append)
    assert len(said) == 1
    assert said[0].startswith("reading timm ")
    return {name: found[request] for name, request in REQUESTS.items()}


def facts(answer: ModelFacts | RecipeError) -> ModelFacts:
    """The answer, which is no error."""
    assert isinstance(answer, ModelFacts)
    return answer


def test_facts_are_those_of_the_model(answers: Answers) -> None:
    """Size, counts, batch statistics and dropout are what building the model gives."""
    vit, resnet, deep = (facts(answers[name]) for name in ("vit", "resnet", "deep"))
    assert (vit.image_size, vit.parameters, vit.trainable_parameters) == (64, 301_514, 301_514)
    assert (vit.batch_statistics, vit.dropout) == (False, False)
    assert (resnet.image_size, resnet.batch_statistics, resnet.trainable_parameters) == (160, True, 970)
    assert not facts(answers["still resnet"]).batch_statistics
    assert deep.dropout
    assert deep.parameters > vit.parameters
    assert facts(answers["large"]).parameters == 303_895_752
    assert facts(answers["large"]).trainable_parameters == 1024 * 200 + 200
    assert facts(answers["cait"]).image_size == 224


def test_facts_say_what_a_frozen_trunk_gives(answers: Answers) -> None:
    """A trunk is passed once where only classifiers are trained and no statistics drift; a distilled model has two."""
    assert [name for name, answer in answers.items() if isinstance(answer, ModelFacts) and answer.splits] == [
        "still resnet",
        "large",
        "distilled",
    ]
    assert (facts(answers["distilled"]).heads, facts(answers["vit"]).heads) == (2, 1)
    assert (facts(answers["cait"]).layers, facts(answers["cait"]).width) == (24 + 2, 192)
    assert (facts(answers["resnet"]).layers, facts(answers["resnet"]).width) == (None, None)


def test_facts_say_where_the_weights_are(answers: Answers) -> None:
    """The default tag is resolved, the hub's repository named; a model without weights has none."""
    vit, bare = facts(answers["vit"]), facts(answers["no weights"])
    assert (vit.tagged_name, vit.hub_id) == ("test_vit.r160_in1k", "timm/test_vit.r160_in1k")
    assert (bare.tagged_name, bare.hub_id, bare.url) == ("convnextv2_small.untrained", None, None)


@pytest.mark.parametrize(
    ("name", "path", "hint"),
    [
        ("unknown", "model.name", "no such model; did you mean 'vit_tiny_patch16_224'?"),
        ("bad argument", "model.args.dpeth", "takes no such argument; did you mean 'depth'?"),
        ("bad size", "data.image_size", "cannot take these images"),
        ("no scores", "model.name", "gives no class scores"),
        ("paths of parts", "model.drop_path", "not possible in model 'mobilevit_xxs'"),
        ("one classifier", "model.distilled_heads", "has one classifier; valid: 'mean'"),
        ("several to a block", "model.drop_path_rule", "is not known; valid: 'model'"),
    ],
)
def test_impossible_models_are_answered_with_the_error(answers: Answers, name: str, path: str, hint: str) -> None:
    """What cannot be built or run comes back as the RecipeError that names the field."""
    answer = answers[name]
    assert isinstance(answer, RecipeError)
    ((found, _, rule),) = answer.problems
    assert found == path
    assert hint in rule


def test_answers_are_kept(
    cache: Path, answers: Answers, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call gives the same from the cache, errors included, in milliseconds and without a word."""
    four = [REQUESTS[name] for name in ("vit", "resnet", "large", "bad argument")]
    monkeypatch.setattr(model_facts, "_ask", lambda question: pytest.fail("a subprocess was started"))
    start = time.process_time()
    again = facts_for(four, pytest.fail)
    assert time.process_time() - start < 0.02
    assert again[REQUESTS["vit"]] == answers["vit"]
    assert str(again[REQUESTS["bad argument"]]) == str(answers["bad argument"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("test_restnet", "did you mean 'test_resnet'?"),
        ("test_vit.r161_in1k", "did you mean 'r160_in1k'?"),
        ("vit_tiny_patch16_224_in21k", "timm renamed it to 'vit_tiny_patch16_224.augreg_in21k'"),
    ],
)
def test_unknown_names_are_answered_from_the_index(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    """A wrong name is recognised without starting a subprocess, in the words that building it would use."""
    request = request_for(name)
    monkeypatch.setattr(model_facts, "_ask", lambda question: pytest.fail("a subprocess was started"))
    answer = facts_for([request], pytest.fail)[request]
    assert isinstance(answer, RecipeError)
    assert hint in str(answer)


def test_damaged_files_are_rebuilt(cache: Path, answers: Answers) -> None:
    """A torn, empty or foreign file, the index too, is asked again and overwritten, and leaves no temporary file."""
    damages = {
        "vit": b'{"facts": {',
        "resnet": b"",
        "deep": b'{"facts": {"image_size": 1}}',
        "bad argument": b"[1]",
        "unknown": b"\xff",
    }
    files = {_answer_file(cache, REQUESTS[name]): damage for name, damage in damages.items()}
    files |= {file: b'{"models"' for file in cache.glob("timm-*-models.json")}
    contents = {file: file.read_bytes() for file in files}
    for file, damage in files.items():
        file.write_bytes(damage)
    found = facts_for(REQUESTS.values())
    assert {name: str(found[request]) for name, request in REQUESTS.items()} == {
        name: str(answer) for name, answer in answers.items()
    }
    assert len(contents) == 6
    assert {file: file.read_bytes() for file in files} == contents
    assert not list(cache.glob("*.part"))


def test_a_cache_that_cannot_be_written_is_done_without(
    answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the cache folder cannot be made, the facts are found out all the same."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TINYABLATE_CACHE", str(tmp_path / "file" / "cache"))
    assert facts_for([REQUESTS["vit"]])[REQUESTS["vit"]] == answers["vit"]


def test_the_client_needs_no_torch() -> None:
    """Importing the module brings in neither torch nor timm."""
    code = "import sys, tinyablate.model_facts; sys.exit(bool({'torch', 'timm', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TINYABLATE_CACHE comes first, then XDG_CACHE_HOME, then the user's .cache."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TINYABLATE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "tinyablate"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "tinyablate"
    monkeypatch.setenv("TINYABLATE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
