"""Vectors of a few texts, with nothing to open and nothing to close."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import overload

from embedmill.api.model_loader import ModelLoader
from embedmill.api.read_settings import read_settings
from embedmill.core.checks import switches
from embedmill.core.interfaces.embedder import Task
from embedmill.core.vectors import EmbeddingMatrix, EmbeddingVector
from embedmill.engine.cached_lists import embed_with_cache
from embedmill.engine.lists import OnProgress, run_late, some_texts
from embedmill.executors.threads import ThreadExecutor
from embedmill.storage.cache.cache import PersistentCache


@overload
def embed(
    texts: str,
    *,
    model: str | None = None,
    precision: str | None = None,
    task: Task = "document",
    cache: bool | None = None,
    on_progress: OnProgress | None = None,
) -> EmbeddingVector: ...
@overload
def embed(
    texts: list[str] | tuple[str, ...],
    *,
    model: str | None = None,
    precision: str | None = None,
    task: Task = "document",
    cache: bool | None = None,
    on_progress: OnProgress | None = None,
) -> EmbeddingMatrix: ...
def embed(
    texts: str | list[str] | tuple[str, ...],
    *,
    model: str | None = None,
    precision: str | None = None,
    task: Task = "document",
    cache: bool | None = None,
    on_progress: OnProgress | None = None,
) -> EmbeddingVector | EmbeddingMatrix:
    """Of one text its vector, ``(dimension,)`` float32; of several theirs, ``(n, dimension)``, in their order.

    The model is the one that `ModelLoader` shares, loaded at the first call. Vectors are looked up in the user's cache,
    and kept there, unless `cache` is False. `model`, `precision` and `cache` come from the environment and
    ``embedmill.toml`` where they are not given. Longer texts than the model reads are cut. `on_progress` is told after
    every batch how many texts are done.

    Raises `ValueError` where there are no texts, `TypeError` for anything else than texts, `EmbeddingError`, which
    has the vectors of the others, where texts are empty or blank or have no sound vector, `UsageError` for arguments
    that make no sense, and what `ModelLoader.get_model` raises.
    """
    if cache is not None:
        switches(cache=cache)
    given = {"model": model, "precision": precision, "cache": cache}
    chosen = read_settings(given, given)
    loader = ModelLoader(chosen.model, precision=chosen.precision)

    run = partial(run_late, begin=lambda: ThreadExecutor(loader.get_model()).run)
    listed = some_texts([texts] if isinstance(texts, str) else texts)
    with ExitStack() as stack:
        known = stack.enter_context(PersistentCache()) if chosen.cache else None
        made = embed_with_cache(listed, loader.embedder, run, known, task=task, on_progress=on_progress)
    vectors: EmbeddingMatrix = made.complete()
    if isinstance(texts, str):
        vector: EmbeddingVector = vectors[0]
        return vector
    return vectors
