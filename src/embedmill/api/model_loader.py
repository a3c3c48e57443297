"""A model that all of a process shares: found by name, loaded when it is first needed, and tried before it is used."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, Self, overload

from embedmill.api.embedders import cache_path, load_embedder, native_precision, worker_factory
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import DEVICES, PRECISIONS
from embedmill.api.validator import EmbeddingValidator
from embedmill.core.checks import one_of
from embedmill.core.errors import ModelError, ModelLoadError, ModelUnusable, ModelValidationError, UsageError
from embedmill.core.interfaces.embedder import Task
from embedmill.core.vectors import EmbeddingMatrix, EmbeddingVector
from embedmill.embedders.local import LocalEmbedder
from embedmill.embedders.testing import HashEmbedder, is_test_model
from embedmill.engine.trial import try_embedder
from embedmill.models.failures import kind_of
from embedmill.models.locate import canonical
from embedmill.runtime.closing import Closing
from embedmill.runtime.folders import cache_folder
from embedmill.runtime.paths import FilePath

_BY_SPEED: Final = ("cuda", "mps", "cpu")

_LOCK = threading.Lock()  # of the loaders that have been made


class _Key(NamedTuple):
    """What tells one loader from another."""

    kind: type
    model: str
    cache_dir: Path | None
    device: str
    precision: str


class ModelLoader(Closing):
    """A model, one for each name, cache folder, device and precision: calling this again gives the same object.

    Nothing is looked for before the first method that needs it, and no weights are loaded before `get_model` or
    `encode`. All methods may be called from several threads at once.

    `model_name` is a repository's name, a folder or "test:384", by default what the environment and
    ``embedmill.toml`` name, else "all-MiniLM-L6-v2". `cache_dir` and `precision` are those of `load_embedder`.
    `device` is one that `detect_device` may give, or "auto".

    Raises `ModelValidationError` for a device that does not work here, and `UsageError` for other values that make no
    sense. Methods that need the model raise `ModelLoadError`, whose `kind` says what is in the way, and
    `ModelUnusable` where it cannot compute though it is there, as where memory is too short.
    """

    _made: ClassVar[dict[_Key, ModelLoader]] = {}

    _key: _Key
    _loading: threading.RLock
    _embedder: LocalEmbedder | None  # found, and maybe not loaded
    _model: LocalEmbedder | None  # loaded and tried

    def __new__(
        cls,
        model_name: str | None = None,
        cache_dir: FilePath | None = None,
        device: str | None = None,
        precision: str = "auto",
    ) -> Self:
        """The one that there is, or a new one."""
        one_of("precision", precision, PRECISIONS)
        model, precision = _resolved(model_name, precision)
        key = _Key(cls, model, cache_path(cache_dir), _usable(device), precision)
        with _LOCK:
            made = cls._made.get(key)
            if made is None:
                made = cls._made[key] = super().__new__(cls)
                made._key, made._loading, made._embedder, made._model = key, threading.RLock(), None, None
        assert isinstance(made, cls)
        return made

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """A copy is the same loader; in another process it is that of the same arguments."""
        key = self._key
        return type(self), (key.model, key.cache_dir, key.device, key.precision)

    @classmethod
    def get_instance(
        cls,
        model_name: str | None = None,
        cache_dir: FilePath | None = None,
        device: str | None = None,
        precision: str = "auto",
    ) -> Self:
        """The one for these arguments, as calling the class gives it."""
        return cls(model_name, cache_dir, device, precision)

    @classmethod
    def reset_cache(cls) -> None:
        """Forget all loaders and unload their models: the next call makes new ones. Files stay where they are."""
        with _LOCK:
            made = list(cls._made.values())
            cls._made.clear()
        for loader in made:
            loader.unload()

    @staticmethod
    def detect_device() -> str:
        """The fastest device that embedmill can use here."""
        return usable_devices()[0]

    @property
    def embedder(self) -> LocalEmbedder:
        """The model's embedder, which may not be loaded and tried yet: for what needs no weights."""
        with self._loading:
            if self._embedder is None:
                key = self._key
                with _load_errors():
                    self._embedder = load_embedder(key.model, precision=key.precision, cache_dir=key.cache_dir)
            return self._embedder

    def get_model(self) -> LocalEmbedder:
        """The embedder, loaded, and tried with one text; at once where that has been done.

        Raises `ModelValidationError` where it lacks a method, fails, or gives anything but a sound vector of the
        dimension that its files name.
        """
        model = self._model
        if model is None:
            with self._loading:
                model = self._model
                if model is None:
                    model = self.embedder
                    with _load_errors():
                        try_embedder(model)
                    self._model = model
        return model

    @overload
    def encode(self, texts: str, *, task: Task = "document") -> EmbeddingVector: ...
    @overload
    def encode(self, texts: list[str] | tuple[str, ...], *, task: Task = "document") -> EmbeddingMatrix: ...
    def encode(
        self, texts: str | list[str] | tuple[str, ...], *, task: Task = "document"
    ) -> EmbeddingVector | EmbeddingMatrix:
        """Of one text its vector, ``(dimension,)``; of several theirs, ``(n, dimension)``; never from a cache.

        Raises what `get_model` raises, and what an embedder's `embed` does: for no texts, blank ones, wrong arguments.
        """
        model = self.get_model()
        if isinstance(texts, str):
            vector: EmbeddingVector = model.embed([texts], task=task)[0]
            return vector
        vectors: EmbeddingMatrix = model.embed(texts, task=task)
        return vectors

    def get_device(self) -> str:
        """Where the model runs: "cpu"."""
        return self._key.device

    def get_cache_dir(self) -> Path:
        """The folder that a model is kept in which has to be fetched."""
        return self._key.cache_dir or cache_folder()

    def get_model_name(self) -> str:
        """The repository, or the folder, that the name means."""
        return self._key.model

    def get_model_dimension(self) -> int:
        """Numbers in a vector, as the model's files say; loads no weights."""
        return self.embedder.dimension

    def validate_embedding(self, embedding: object) -> bool:
        """Whether this is a sound vector of this model: see `EmbeddingValidator.validate_embedding`."""
        embedder = self.embedder
        return EmbeddingValidator(embedder.dimension, embedder.normalized).validate_embedding(embedding)

    def worker_factory(self) -> Callable[[int], LocalEmbedder]:
        """What makes the same embedder in a worker process."""
        key = self._key
        with _load_errors():
            return worker_factory(key.model, key.precision, cache=key.cache_dir)

    def unload(self) -> None:
        """Give the model's memory back, to all that share it; what needs it next loads it again."""
        with self._loading:
            embedder, self._embedder, self._model = self._embedder, None, None
        if embedder is not None:
            embedder.close()

    def close(self) -> None:
        """As `unload`; may be called twice."""
        self.unload()


def usable_devices() -> list[str]:
    """The devices that a model can run on here, the fastest first."""
    return [device for device in _BY_SPEED if device in DEVICES]


def _usable(device: object) -> str:
    usable = usable_devices()
    if device is None or device == "auto":
        return usable[0]
    if device not in usable:
        raise ModelValidationError(
            f"device is {device!r}: embedmill cannot use it here; these work: {', '.join(usable)}, or auto"
        )
    return str(device)


def _resolved(name: object, precision: str) -> tuple[str, str]:
    """What a name and a precision mean, so that two names of one model are one."""
    if name is None:
        name = read_settings(None, ["model"]).model
    if not isinstance(name, str) or not name:
        raise UsageError(f"model_name is {name!r}: give a repository's name or a path, as text")
    if is_test_model(name):
        embedder = HashEmbedder(name, precision=precision)
        return embedder.name, embedder.fingerprint.precision
    precision = native_precision() if precision == "auto" else precision
    path = Path(name).expanduser()
    with suppress(OSError):  # of a name that is too long for a path
        if path.exists():
            return str(path.resolve()), precision
    return canonical(name), precision


@contextmanager
def _load_errors() -> Iterator[None]:
    """Raise what keeps a model from being loaded as what users are promised."""
    try:
        yield
    except (ModelValidationError, ModelUnusable):
        raise
    except (ModelError, OSError, MemoryError) as error:
        kind = kind_of(error)
        if kind is None:
            raise ModelUnusable(
                f"memory is too short to load the model ({error}): free some, then try again"
            ) from error
        raise ModelLoadError(str(error), kind) from error


def _in_the_child() -> None:
    """After a fork: let nobody wait for a thread that the other process has."""
    global _LOCK
    _LOCK = threading.Lock()
    for loader in ModelLoader._made.values():  # noqa: SLF001
        loader._loading = threading.RLock()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_the_child)
