"""Models of a hub with the Hugging Face interface: its cache on this machine, and the hub itself."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from embedmill.errors import ModelError
from embedmill.models.card import builds_graph
from embedmill.models.config import Config
from embedmill.models.files import ONNX, OPENVINO, SAFETENSORS, check_complete, read_modules

PATIENCE = 1.7  # seconds that an unreachable hub may cost; huggingface_hub by itself retries for 23

# Each of these changes the vectors by being there or not, so its absence has to be known and not assumed.
_DECISIVE = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json")

# "*" matches "/" too, as everywhere in huggingface_hub's patterns.
_CONFIGS = ["*.json", "vocab.txt", "*/vocab.txt", f"*_Dense/{SAFETENSORS}"]
_NOT_NEEDED = ["onnx/*.json", "openvino/*.json", "data_config.json"]


def hub_cache() -> Path:
    """Where huggingface_hub keeps its files, from the same environment variables, read at each call."""
    environment = os.environ
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return Path(os.path.expandvars(environment[name])).expanduser()
    home = environment.get("HF_HOME")
    if home:
        return Path(os.path.expandvars(home)).expanduser() / "hub"
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"


def cached(repository: str) -> Path:
    """The folder of a whole snapshot in the cache. Raises `ModelError` that says why there is none."""
    home = hub_cache() / f"models--{repository.replace('/', '--')}"
    try:
        revision = (home / "refs" / "main").read_text("ascii").strip()
    except (OSError, ValueError):
        raise ModelError("not there") from None
    snapshot = home / "snapshots" / Path(revision).name
    if not snapshot.is_dir():
        raise ModelError("not there")
    for name in _DECISIVE:
        known_absent = home / ".no_exist" / snapshot.name / name
        if not (snapshot / name).exists() and not known_absent.exists():
            raise ModelError(f"incomplete, {name} was not fetched")
    check_complete(snapshot)
    return snapshot


def cached_repositories() -> Iterator[str]:
    """The ids of all models in the cache, whole or not."""
    for folder in sorted(hub_cache().glob("models--*--*")):
        organisation, _, name = folder.name.removeprefix("models--").partition("--")
        yield f"{organisation}/{name}"


def download(repository: str) -> Path:
    """Fetch what is needed of a repository into the hub's cache, and give its folder.

    Raises `ModelError` that says why it cannot be had; an unreachable hub takes at most `PATIENCE` seconds.
    """
    if _offline():
        raise ModelError("not asked, HF_HUB_OFFLINE is set")
    from huggingface_hub.constants import ENDPOINT

    endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    _probe(endpoint, repository)
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    cache = hub_cache()
    try:
        for name in _DECISIVE:
            try:
                hf_hub_download(repository, name, cache_dir=cache, endpoint=endpoint)
            except EntryNotFoundError:
                continue  # huggingface_hub has noted in its cache that there is none
        listed = HfApi(endpoint=endpoint).list_repo_files(repository)
        fetch = partial(snapshot_download, repository, cache_dir=cache, endpoint=endpoint)
        folder = Path(fetch(allow_patterns=_CONFIGS, ignore_patterns=_NOT_NEEDED))
        fetch(allow_patterns=[*_CONFIGS, *_weights(folder, listed)], ignore_patterns=_NOT_NEEDED)
    except GatedRepoError as error:
        raise ModelError("gated: accept its terms on the hub, then log in with `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise ModelError("no such model there, or a private one") from error
    except Exception as error:  # several HTTP libraries' and huggingface_hub's own: none has a common base
        raise ModelError(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error
    check_complete(folder)
    return folder


def _offline() -> bool:
    flags = [os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")]
    return any(flag.upper() in {"1", "ON", "YES", "TRUE"} for flag in flags)


def _weights(folder: Path, listed: Sequence[str]) -> list[str]:
    """The files of the one weights format that will be read; the pickled ones never are."""
    modules = read_modules(folder)
    root = modules[0].folder if modules else folder
    below = f"{root.relative_to(folder)}/" if root != folder else ""
    safetensors = [below + SAFETENSORS, f"{below}model-*.safetensors"]
    has_safetensors = any(name.endswith(".safetensors") for name in listed)
    if has_safetensors and builds_graph(Config.read(root / "config.json")):
        return safetensors
    for name in (*OPENVINO, *ONNX):
        graph = below + name
        if graph in listed:
            return [graph, graph.removesuffix(".xml") + ".bin", graph + "_data", graph + ".data"]
    return safetensors


def _probe(endpoint: str, repository: str) -> None:
    """One request through the client that huggingface_hub itself uses, with its proxies and certificates.

    It runs in a thread of its own, since looking up a host's name cannot be given a time limit.
    """
    outcome: list[str | int] = []

    def ask() -> None:
        try:
            from huggingface_hub.utils import (  # type: ignore[attr-defined]
                build_hf_headers,
                get_session,
            )

            url = f"{endpoint}/{repository}/resolve/main/config.json"
            outcome.append(int(get_session().head(url, headers=build_hf_headers(), timeout=PATIENCE).status_code))
        except Exception as error:
            outcome.append(f"not reachable ({type(error).__name__})")

    thread = threading.Thread(target=ask, name="embedmill-hub-probe", daemon=True)
    start = time.monotonic()
    thread.start()
    thread.join(PATIENCE)
    answer = outcome[0] if outcome else f"no answer within {time.monotonic() - start:.1f} s"
    if isinstance(answer, str):
        raise ModelError(f"{endpoint}: {answer}")
    if answer >= 500:
        raise ModelError(f"{endpoint}: answers with status {answer}")
    if answer in (401, 404):
        raise ModelError(f"{endpoint}: no such model there, or a private one")
