"""Finding pretrained weights: in folders, in the Hugging Face cache, over real HTTP, and failing fast without a net."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinyablate.errors import RecipeError, WeightsError
from tinyablate.model_facts import ModelFacts
from tinyablate.weights import locate

NAME = "test_vit"
TAGGED = "test_vit.r160_in1k"
HUB = "timm/test_vit.r160_in1k"
NOWHERE = "http://127.0.0.1:9"  # the discard port: refuses at once


def facts(hub_id: str | None = HUB, url: str | None = None) -> ModelFacts:
    """Facts of a model whose weights are said to be there."""
    return ModelFacts(
        image_size=160,
        batch_statistics=False,
        dropout=False,
        parameters=1,
        trainable_parameters=1,
        tagged_name=TAGGED,
        hub_id=hub_id,
        url=url,
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors file of a seeded test_vit."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("made") / "vit.safetensors"
    save_file(timm.create_model(NAME).state_dict(), file)
    return file


class Hub(ThreadingHTTPServer):
    """A server that has the weights under one name, speaks as the hub does, and counts how often they are fetched."""

    def __init__(self, weights: Path, file: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.file, self.fetched = weights.read_bytes(), file, 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers HEAD and GET for the hub's one file; anything else is an entry that it does not have."""

    server: Hub

    def do_HEAD(self) -> None:
        found = self.path.endswith(self.server.file)
        self.send_response(200 if found else 404)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(self.server.content)) if found else "0")
        if found:
            self.send_header("ETag", f'"{hashlib.sha256(self.server.content).hexdigest()}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.path.endswith(self.server.file):
            self.server.fetched += 1
            self.wfile.write(self.server.content)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


def put(weights: Path, at: Path) -> Path:
    """A copy of the weights at this place."""
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_bytes(weights.read_bytes())
    return at


@pytest.mark.parametrize(
    "place",
    [
        f"{NAME}.safetensors",
        f"{TAGGED}.safetensors",
        f"{NAME}.pth",
        f"{TAGGED}.pt",
        f"{NAME}.bin",
        f"{TAGGED}/model.safetensors",
        f"{NAME}/pytorch_model.bin",
    ],
)
@pytest.mark.parametrize("name", [NAME, TAGGED])
def test_a_given_folder_is_searched_first(tmp_path: Path, weights: Path, name: str, place: str) -> None:
    """The file is found with or without the tag, under every suffix, and as the hub's folder."""
    put(weights, tmp_path / f"other_{NAME}.safetensors")
    file = put(weights, tmp_path / place)
    assert locate(name, facts(), tmp_path) == file


def test_the_most_specific_file_wins(tmp_path: Path, weights: Path) -> None:
    """For a name with a tag the file with the tag comes before the one without."""
    put(weights, tmp_path / f"{NAME}.safetensors")
    tagged = put(weights, tmp_path / f"{TAGGED}.pth")
    assert locate(TAGGED, facts(), tmp_path) == tagged


def test_the_environment_names_the_folder(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TINYABLATE_WEIGHTS is used where no folder is given, and --weights-dir comes before it."""
    env, given = tmp_path / "env", tmp_path / "given"
    for folder in (env, given):
        put(weights, folder / f"{NAME}.safetensors")
    monkeypatch.setenv("TINYABLATE_WEIGHTS", str(env))
    assert locate(NAME, facts()).parent == env
    assert locate(NAME, facts(), given).parent == given
    monkeypatch.setenv("TINYABLATE_WEIGHTS", str(tmp_path / "gone"))
    with pytest.raises(WeightsError, match=r"gone': no such directory \(from TINYABLATE_WEIGHTS\)"):
        locate(NAME, facts())


def test_the_file_found_is_the_model_built(tmp_path: Path, weights: Path) -> None:
    """What locate finds loads into the model, bit for bit."""
    from safetensors.torch import load_file

    from tinyablate.recipe import Model
    from tinyablate.train.model.build import build_model

    put(weights, tmp_path / f"{TAGGED}.safetensors")
    found = locate(NAME, facts(), tmp_path)
    built = build_model(Model(name=NAME), image_size=0, classes=10, seed=0, weights=found)
    source = load_file(weights)
    trunk = {name: value for name, value in built.module.state_dict().items() if name not in built.classifier}
    assert all(value.equal(source[name]) for name, value in trunk.items())
    assert len(trunk) == len(source) - 2


def test_a_model_without_weights_is_a_mistake_in_the_recipe() -> None:
    """pretrained = true for a model that timm has no weights for names the field."""
    with pytest.raises(RecipeError, match=r"model\.pretrained = True: timm has no weights for model 'test_vit'"):
        locate(NAME, facts(hub_id=None))


def locate_afresh(home: Path, endpoint: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`locate` in a process of its own, whose Hugging Face client talks to `endpoint` and caches under `home`."""
    program = (
        "from tinyablate.model_facts import ModelFacts; from tinyablate.weights import locate\n"
        f"print(locate({NAME!r}, ModelFacts(160, False, False, 1, 1, {TAGGED!r}, {HUB!r}, None)))"
    )
    keep = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env = {**keep, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", **variables}
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)


def test_without_a_net_the_error_says_what_to_do(tmp_path: Path) -> None:
    """A hub out of reach fails within seconds, and the message names repository, file, place and option."""
    start = time.perf_counter()
    done = locate_afresh(tmp_path, NOWHERE, TINYABLATE_WEIGHTS=str(tmp_path))
    assert time.perf_counter() - start < 15  # the hub's own client tries for 23
    for part in (
        "model 'test_vit': its pretrained weights are not on this machine",
        f"tried {tmp_path}: no {TAGGED}",
        f"the Hugging Face cache has no {HUB}",
        f"tried {NOWHERE}: not reachable",
        f"download model.safetensors of https://huggingface.co/{HUB}",
        f"put it at DIR/{TAGGED}.safetensors and give --weights-dir DIR, or set TINYABLATE_WEIGHTS=DIR",
    ):
        assert part in done.stderr


def test_offline_mode_asks_nobody(tmp_path: Path) -> None:
    """With HF_HUB_OFFLINE set, the net is left alone and the error says so."""
    done = locate_afresh(tmp_path, NOWHERE, HF_HUB_OFFLINE="1")
    assert "not asked, because HF_HUB_OFFLINE is set" in done.stderr


def test_weights_at_an_authors_own_place(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is on no hub is fetched from timm's URL into the cache, once; a refusal names URL and file."""
    monkeypatch.setenv("TINYABLATE_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=rf"tried {NOWHERE}/old\.pth: .*\n.*\n.*DIR/{TAGGED}\.pth"):
        locate(NAME, facts(None, f"{NOWHERE}/old.pth"))
    with Hub(weights, "old.pth") as hub:
        assert locate(NAME, facts(None, f"{hub.url}/old.pth")).read_bytes() == weights.read_bytes()
    assert locate(NAME, facts(None, f"{hub.url}/old.pth")).is_file()


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_the_hub_is_asked_once(tmp_path: Path, weights: Path, file: str) -> None:
    """The weights are downloaded under either name, and found in the cache from then on, net or no net."""
    with Hub(weights, file) as hub:
        for endpoint in (hub.url, hub.url, NOWHERE):
            done = locate_afresh(tmp_path, endpoint)
            assert done.returncode == 0, done.stderr
            found = Path(done.stdout.strip())
            assert found.name == file
            assert found.read_bytes() == weights.read_bytes()
        assert hub.fetched == 1


def test_a_hub_without_the_file_is_quoted(tmp_path: Path, weights: Path) -> None:
    """Where the hub answers but does not have the weights, the error repeats what it said."""
    with Hub(weights, "something.else") as hub:
        done = locate_afresh(tmp_path, hub.url)
    assert "WeightsError" in done.stderr
    assert f"tried {hub.url}/{HUB}: 404" in done.stderr
