"""Where the file of a model's pretrained weights is: a given folder, the Hugging Face cache, or the net, in this order.

Only the driver asks, once before any job starts, so that workers never download and never race. It opens no file.
"""

import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tinyablate.errors import RecipeError, WeightsError
from tinyablate.model_facts import ModelFacts, cache_folder

VARIABLE = "TINYABLATE_WEIGHTS"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""What timm calls the weights in its repositories: every one has the first, old ones also the second."""
TIMEOUT = 5.0
"""Seconds for a server's first answer: the Hugging Face client retries five times over 23 s before it gives up."""


def locate(name: str, facts: ModelFacts, weights_dir: Path | None = None) -> Path:
    """The file of the pretrained weights of the model that the recipe calls `name`, downloaded if need be.

    `weights_dir` (else the folder that TINYABLATE_WEIGHTS names) may hold `<name>.safetensors`, `.pth`, `.pt` or
    `.bin`, with or without the tag, or the repository's folder with `model.safetensors`. Raises RecipeError if timm has
    no weights for the model, WeightsError if they are not to be had: it says what to download and where to put it.
    """
    if not facts.hub_id and not facts.url:
        rule = f"timm has no weights for model '{name}'; set it to false"
        raise RecipeError([("model.pretrained", True, rule)])
    tried: list[str] = []
    found = (
        _in_folder(name, facts, weights_dir, tried)
        or (_from_hub(facts.hub_id, tried) if facts.hub_id else None)
        or (_from_url(facts.url, tried) if facts.url and not facts.hub_id else None)
    )
    if found is None:
        raise WeightsError(_cure(name, facts, tried))
    return found


def _in_folder(name: str, facts: ModelFacts, weights_dir: Path | None, tried: list[str]) -> Path | None:
    named = os.environ.get(VARIABLE)
    folder = weights_dir or (Path(named).expanduser() if named else None)
    if folder is None:
        return None
    if not folder.is_dir():
        source = "--weights-dir" if weights_dir else VARIABLE
        raise WeightsError(f"weights folder '{folder}': no such directory (from {source})")
    tried.append(f"{folder}: no {facts.tagged_name}{{{','.join(SUFFIXES)}}} in it")
    return next((path.resolve() for path in _candidates(name, facts, folder) if path.is_file()), None)


def _candidates(name: str, facts: ModelFacts, folder: Path) -> Iterator[Path]:
    """What the file may be called, from the most to the least specific."""
    repository = (facts.hub_id or "").rpartition("/")[2]
    stems = dict.fromkeys((name, facts.tagged_name, facts.tagged_name.partition(".")[0]))
    for stem in stems:
        yield from (folder / f"{stem}{suffix}" for suffix in SUFFIXES)
    for repository_folder in filter(None, (repository, *stems)):
        yield from (folder / repository_folder / file for file in HUB_FILES)


def _from_hub(hub_id: str, tried: list[str]) -> Path | None:
    """From the Hugging Face cache, else downloaded into it."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for file in HUB_FILES:
        if isinstance(cached := try_to_load_from_cache(hub_id, file), str):
            return Path(cached)
    tried.append(f"{constants.HF_HUB_CACHE}: the Hugging Face cache has no {hub_id}")
    if constants.HF_HUB_OFFLINE:
        tried.append(f"{constants.ENDPOINT}: not asked, because HF_HUB_OFFLINE is set")
        return None
    if (silence := _silence(constants.ENDPOINT)) is not None:
        tried.append(f"{constants.ENDPOINT}: {silence}")
        return None
    for file in HUB_FILES:
        try:
            return Path(hf_hub_download(hub_id, file, etag_timeout=TIMEOUT))
        except EntryNotFoundError as error:
            tried.append(f"{constants.ENDPOINT}/{hub_id}: {_first_line(error)}")
            if isinstance(error, LocalEntryNotFoundError):  # not absent there, but out of reach
                return None
        except Exception as error:  # refused, cut off, disk full: whatever it is, the cure is the same
            tried.append(f"{constants.ENDPOINT}/{hub_id}: {_first_line(error)}")
            return None
    return None


def _from_url(url: str, tried: list[str]) -> Path | None:
    """From where timm's author put it: a handful of models are on no hub."""
    import pooch

    folder, file = cache_folder() / "weights", url.rpartition("/")[2]
    if (folder / file).is_file():
        return folder / file
    try:
        return Path(
            pooch.retrieve(url, None, fname=file, path=folder, downloader=pooch.HTTPDownloader(timeout=TIMEOUT))
        )
    except Exception as error:  # as above
        tried.append(f"{url}: {_first_line(error)}")
        return None


def _silence(endpoint: str) -> str | None:
    """Why this server does not answer, None if it does; any answer will do, a refusal too."""
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return None  # it is there, and the hub's client may know other certificates
        return f"not reachable: {error.reason}"
    except OSError as error:
        return f"not reachable: {error}"
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _cure(name: str, facts: ModelFacts, tried: list[str]) -> str:
    what = (
        f"{HUB_FILES[0]} of https://huggingface.co/{facts.hub_id} (`hf download {facts.hub_id} {HUB_FILES[0]}`)"
        if facts.hub_id
        else facts.url or ""
    )
    suffix = ".safetensors" if facts.hub_id else Path(facts.url or "").suffix
    return "\n".join(
        (
            f"model '{name}': its pretrained weights are not on this machine and could not be downloaded",
            *(f"  tried {place}" for place in tried),
            f"  download {what}",
            f"  put it at DIR/{facts.tagged_name}{suffix} and give --weights-dir DIR, or set {VARIABLE}=DIR",
        )
    )
