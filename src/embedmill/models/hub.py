"""Models of a hub with the Hugging Face interface: its cache on this machine, and the hub itself."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from embedmill.core.errors import ModelError
from embedmill.models.card import LENGTH_FILES, builds_graph, weights_of
from embedmill.models.digest import file_sha256
from embedmill.models.files import (
    ONNX,
    OPENVINO,
    SAFETENSORS,
    BrokenOff,
    Forbidden,
    NotThere,
    Unreachable,
    check_complete,
    read_modules,
)
from embedmill.models.json_config import Config
from embedmill.models.onnx import external_files
from embedmill.models.safetensors import tensors

PATIENCE = 1.7  # seconds that an unreachable hub may cost; huggingface_hub by itself retries for 23

# Each of these changes the vectors by being there or not, so its absence has to be known and not assumed.
_DECISIVE = ("modules.json", "config_sentence_transformers.json")
_DECISIVE_OF_TRANSFORMER = LENGTH_FILES[0]

# "*" matches "/" too, as everywhere in huggingface_hub's patterns.
_CONFIGS = ["*.json", "vocab.txt", "*/vocab.txt", f"*_Dense/{SAFETENSORS}"]
_NOT_NEEDED = ["onnx/*.json", "openvino/*.json", "data_config.json"]


def hub_cache(cache: Path | None = None) -> Path:
    """Where huggingface_hub keeps its files: in `cache`, where one is given.

    Else it is told by the same environment variables, read at each call.
    """
    if cache is not None:
        return cache / "hub"
    environment = os.environ
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return Path(os.path.expandvars(environment[name])).expanduser()
    home = environment.get("HF_HOME")
    if home:
        return Path(os.path.expandvars(home)).expanduser() / "hub"
    caches = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser() / "huggingface" / "hub"


def cached(repository: str, cache: Path, *, thorough: bool = True) -> Path:
    """The folder of a whole snapshot in this cache. Raises `NotThere`, or `ModelError` that says what is wrong with it.

    `thorough` compares the files' content with the digests that the hub has named them by.
    """
    home = cache / f"models--{repository.replace('/', '--')}"
    try:
        revision = (home / "refs" / "main").read_text("ascii").strip()
    except (OSError, ValueError):
        raise NotThere("not there") from None
    snapshot = home / "snapshots" / Path(revision).name
    if not snapshot.is_dir():
        raise NotThere("not there")
    for name in _DECISIVE:
        _known(home, snapshot, name)
    _known(home, snapshot, _below(snapshot) + _DECISIVE_OF_TRANSFORMER)
    check_complete(snapshot)
    weights_of(_root(snapshot), Config.read(_root(snapshot) / "config.json"))  # the hub may have other formats
    for path in _damaged(snapshot) if thorough else ():
        raise ModelError(f"{path}: damaged: its content is not what the hub has under this name: fetch it again")
    return snapshot


def _known(home: Path, snapshot: Path, name: str) -> None:
    """Raise `ModelError` where a file is not there, and not known to be none of the repository's."""
    if not (snapshot / name).exists() and not (home / ".no_exist" / snapshot.name / name).exists():
        raise ModelError(f"incomplete, {name} was not fetched")


def _root(folder: Path) -> Path:
    """Where the transformer's own files lie."""
    modules = read_modules(folder)
    return modules[0].folder if modules else folder


def _below(folder: Path) -> str:
    """The transformer's folder in the names of the repository's files: "", or such as "0_Transformer/"."""
    root = _root(folder)
    return f"{root.relative_to(folder).as_posix()}/" if root != folder else ""


def _damaged(snapshot: Path) -> Iterator[Path]:
    """Files of which something is read and whose content is not what the hub sent.

    The cache names content by what the hub calls it: large files by their SHA-256, others as git does.
    """
    graphs = {Path(name).name for name in (*OPENVINO, *ONNX)}
    found = {path for path in snapshot.rglob("*") if path.suffix in (".json", ".txt") or path.name in graphs}
    found.update(snapshot.rglob("model*.safetensors"))
    with contextlib.suppress(ModelError):  # the graph itself, or what names it, may be damaged
        found.update(weights_of(_root(snapshot), Config.read(_root(snapshot) / "config.json")).paths)
    files = [path for path in sorted(found) if path.is_file()]
    told = {path: as_named for path in files if (as_named := _as_named(path)) is not None}
    by_digest = any(told.values())  # else a mirror of the hub names content by something else
    for path in files:
        if not (told[path] if by_digest and path in told else _readable(path)):
            yield path


def _as_named(path: Path) -> bool | None:
    """Whether a file's content has the digest that it is named by; None where its name is no digest."""
    content = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", content.name):
        return file_sha256(content) == content.name
    if re.fullmatch("[0-9a-f]{40}", content.name):
        data = content.read_bytes()
        headers = (
            b"blob %d\0" % len(data),
            b"",
        )  # as git counts it, which the hub gives; some mirrors give the plain one
        return content.name in {hashlib.sha1(each + data, usedforsecurity=False).hexdigest() for each in headers}
    return None


def _readable(path: Path) -> bool:
    """Whether a file that nothing is known of can be read: a copy instead of a link, as where there are no links."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        if path.suffix == ".safetensors":
            tensors(path)
    except (ValueError, RecursionError, ModelError):
        return False
    return True


def cached_repositories() -> Iterator[str]:
    """The ids of all models in the cache, whole or not."""
    for folder in sorted(hub_cache().glob("models--*--*")):
        organisation, _, name = folder.name.removeprefix("models--").partition("--")
        yield f"{organisation}/{name}"


def download(repository: str, cache: Path) -> Path:
    """Fetch what is needed of a repository into this cache, and give its folder.

    Raises `ModelError` that says why it cannot be had; an unreachable hub takes at most `PATIENCE` seconds.
    """
    if _offline():
        raise Unreachable("not asked, HF_HUB_OFFLINE is set")
    from huggingface_hub.constants import ENDPOINT

    endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    _probe(endpoint, repository)
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        _forget_damaged(repository, cache)
        folder = _fetch(repository, cache, endpoint)
    except ModelError:
        raise
    except GatedRepoError as error:
        raise Forbidden("gated: accept its terms on the hub, then log in with `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise NotThere("no such model there, or a private one") from error
    except Exception as error:  # several HTTP libraries' and huggingface_hub's own: none has a common base
        of_system = isinstance(error, OSError) and error.errno is not None  # else it is of the network
        message = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise (ModelError if of_system else BrokenOff)(message) from error
    check_complete(folder)
    return folder


def _forget_damaged(repository: str, cache: Path) -> None:
    """Take files out of the cache that a full disk, or a copy that broke off, has left: the hub's client keeps them."""
    snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    for snapshot in sorted(snapshots.glob("*")):
        for path in _damaged(snapshot):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _fetch(repository: str, cache: Path, endpoint: str) -> Path:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    def look(name: str) -> None:
        with contextlib.suppress(EntryNotFoundError):  # huggingface_hub notes in its cache that there is none
            hf_hub_download(repository, name, cache_dir=cache, endpoint=endpoint)

    for name in _DECISIVE:
        look(name)
    listed = HfApi(endpoint=endpoint).list_repo_files(repository)
    fetch = partial(snapshot_download, repository, cache_dir=cache, endpoint=endpoint)
    folder = Path(fetch(allow_patterns=_CONFIGS, ignore_patterns=_NOT_NEEDED))
    look(_below(folder) + _DECISIVE_OF_TRANSFORMER)
    weights = _weights(folder, listed)
    fetch(allow_patterns=[*_CONFIGS, *weights], ignore_patterns=_NOT_NEEDED)
    for graph in (name for name in weights if name.endswith(".onnx")):  # it says what else it needs
        names = external_files(folder / graph)
        beside = [(PurePosixPath(graph).parent / name).as_posix() for name in names if ".." not in name]
        fetch(allow_patterns=[*_CONFIGS, *weights, *beside], ignore_patterns=_NOT_NEEDED)
    return folder


def _offline() -> bool:
    flags = [os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")]
    return any(flag.upper() in {"1", "ON", "YES", "TRUE"} for flag in flags)


def _weights(folder: Path, listed: Sequence[str]) -> list[str]:
    """The files of the one weights format that will be read; the pickled ones never are."""
    below, config = _below(folder), _root(folder) / "config.json"
    safetensors = [below + SAFETENSORS, f"{below}model-*.safetensors"]
    if not config.is_file():
        return []
    if any(name.endswith(".safetensors") for name in listed) and builds_graph(Config.read(config)):
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
            from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]

            url = f"{endpoint}/{repository}/resolve/main/config.json"
            answer = get_session().head(url, headers=build_hf_headers(), timeout=PATIENCE)
            # A repository may have its config.json in a folder, or none, as an adapter's has.
            lacks_file = answer.headers.get("X-Error-Code") == "EntryNotFound"
            outcome.append(200 if lacks_file else int(answer.status_code))
        except Exception as error:
            outcome.append(f"not reachable ({type(error).__name__})")

    thread = threading.Thread(target=ask, name="embedmill-hub-probe", daemon=True)
    start = time.monotonic()
    thread.start()
    thread.join(PATIENCE)
    answer = outcome[0] if outcome else f"no answer within {time.monotonic() - start:.1f} s"
    if isinstance(answer, str):
        raise Unreachable(f"{endpoint}: {answer}")
    if answer >= 500:
        raise Unreachable(f"{endpoint}: answers with status {answer}")
    if answer in (401, 404):
        raise NotThere(f"{endpoint}: no such model there, or a private one")
