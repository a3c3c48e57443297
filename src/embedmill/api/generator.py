"""Vectors on a list of chunks: the front door for those who have chunks of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from embedmill.api.assemble import bounded_workers
from embedmill.api.counters import Counters
from embedmill.api.model_loader import ModelLoader
from embedmill.api.validator import EmbeddingValidator
from embedmill.core.checks import callables, switches, whole_number
from embedmill.core.documents import Chunk, checked_list
from embedmill.core.errors import EmbeddingGenerationError, EmbedmillError, ModelUnusable, UsageError
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.reports import ProgressCallback
from embedmill.core.vectors import Cause, EmbeddingMatrix
from embedmill.engine.chunks import ChunkList, embeddings_of, with_embedding, without_text
from embedmill.engine.lists import failed, run_late, some_texts
from embedmill.engine.run import RunBatches
from embedmill.engine.trial import check_embedder, try_embedder, try_executor
from embedmill.executors.processes.limits import Limits
from embedmill.executors.processes.pool import EmbedderPool
from embedmill.executors.threads import ThreadExecutor
from embedmill.runtime import machine
from embedmill.runtime.closing import Closing
from embedmill.storage.cache.cache import PersistentCache

_CLOSED: Final = "the EmbeddingGenerator was closed meanwhile: what is finished is in `chunks`"


class EmbeddingGenerator(Counters, Closing):
    """Puts vectors on chunks.

    With `use_threading` the batches go to one model that all generators of this process share, from `num_workers`
    threads: so many are in flight at once, and with 1 one after another. Without it they go to so many worker
    processes, which survive texts that crash them. `batch_size` is the most chunks of a batch; long ones fill it
    sooner (1,024 tokens). Vectors are looked up in the user's cache, and kept there, unless `cache` is False.

    Safe to call from several threads; nothing is loaded or started before the first call. What became of the chunks of
    all calls is told by `get_statistics`, and by attributes of the same names.
    """

    def __init__(
        self,
        batch_size: int = 32,
        num_workers: int | None = None,
        *,
        model: str | TokenEmbedder | None = None,
        device: str | None = None,
        model_loader: ModelLoader | None = None,
        use_threading: bool = True,
        cache: bool = True,
        limits: Limits | None = None,
    ) -> None:
        """`model` and `device` are those of `ModelLoader`, or give a `model_loader`, or an embedder of your own.

        `limits` are of worker processes, which make their own embedders: for these, `model` is a name.
        `num_workers` is by default what keeps the cores busy: two threads for each stream of the model, or a process
        for each core. Raises `UsageError` for values that make no sense, alone or together, and what
        `ModelLoader` raises.
        """
        super().__init__()
        switches(use_threading=use_threading, cache=cache)
        whole_number("batch_size", batch_size)
        if num_workers is not None:
            whole_number("num_workers", num_workers, 1, machine.most_workers())
        if model_loader is not None and not isinstance(model_loader, ModelLoader):
            raise UsageError(f"model_loader is {model_loader!r:.200}: give an embedmill.ModelLoader, or leave it out")
        if model_loader is not None and (model, device) != (None, None):
            raise UsageError("model and device are the model_loader's: give them there, or leave it out")
        if limits is not None and use_threading:
            raise UsageError("limits are for worker processes: give use_threading=False, or leave them out")
        loader = model_loader
        self._embedder: TokenEmbedder
        if model is None or isinstance(model, str):
            loader = ModelLoader.get_instance(model, device=device) if loader is None else loader
            self._embedder = loader.embedder
        else:
            self._embedder = _own(model, device)
        self.model_loader = loader
        self._tried = self._closed = False
        self.batch_size = batch_size
        self.use_threading = use_threading
        self.device = "own" if loader is None else loader.get_device()
        self._cache = PersistentCache() if cache else None
        self._executor: Executor
        if use_threading:
            self.num_workers = self._embedder.concurrency if num_workers is None else num_workers
            self._executor = ThreadExecutor(self._embedder, callers=self.num_workers)
        elif loader is None:
            raise UsageError("worker processes make their own embedders: give a model's name, or use_threading=True")
        else:
            self.num_workers = bounded_workers(machine.cores()) if num_workers is None else num_workers
            self._executor = EmbedderPool(loader.worker_factory(), workers=self.num_workers, limits=limits)

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return self._embedder.dimension

    @property
    def model(self) -> str:
        """The model's name."""
        return self._embedder.name

    @property
    def restarts(self) -> int:
        """Worker processes replaced so far; 0 with threads."""
        return self._executor.restarts

    def process_chunks(
        self, chunks: Sequence[Chunk], progress_callback: ProgressCallback | None = None, *, retry_failed: bool = True
    ) -> list[Chunk]:
        """The chunks in their order, each with its `embedding`, ``(dimension,)``, or with the `cause` why it has none.

        The given ones are not changed. One that has a vector of this model and of its text keeps it; any other is
        computed anew. `retry_failed` tries what failed once more, alone. `progress_callback` is called in this thread
        after every batch with how many chunks are done, failed ones too, and how many there are; at last with (all,
        all).

        Raises `TypeError` for anything but chunks, `RuntimeError` after `close`, and `EmbeddingGenerationError`, which
        has the chunks with the vectors and causes that they have by then, where the first five batches fail altogether
        (it comes from an `EmbeddingError` with all their causes), where the model cannot be used, where the generator
        is closed meanwhile, and where `progress_callback` raises an exception; it comes from that then.
        """
        switches(retry_failed=retry_failed)
        callables(progress_callback=progress_callback)
        return self._embed(checked_list(chunks), progress_callback, retry_failed)

    def process_batch(self, chunks: Sequence[Chunk], *, retry_failed: bool = True) -> list[Chunk]:
        """As `process_chunks`, without a word on the way: for a batch of a caller who counts for himself."""
        return self.process_chunks(chunks, retry_failed=retry_failed)

    def generate_embeddings_for_texts(
        self, texts: Sequence[str], progress_callback: ProgressCallback | None = None, *, retry_failed: bool = True
    ) -> EmbeddingMatrix:
        """Vectors of ``(len(texts), dimension)`` in the texts' order, all of them sound.

        Raises `ValueError` for no texts, `TypeError` for anything but a list of them, `EmbeddingError`, which has the
        vectors of the others, where texts have none, as empty and blank ones, and what `process_chunks` raises.
        """
        switches(retry_failed=retry_failed)
        callables(progress_callback=progress_callback)
        chunks = self._embed([Chunk(text) for text in some_texts(texts)], progress_callback, retry_failed)
        vectors: EmbeddingMatrix = embeddings_of(chunks, self.dimension)
        if causes := {row: chunk.cause for row, chunk in enumerate(chunks) if chunk.cause is not None}:
            raise failed(len(chunks), vectors, causes)
        return vectors

    def validate_and_enrich_chunk(self, chunk: Chunk, embedding: object) -> Chunk:
        """The chunk with an embedding of this model that was computed elsewhere: ``(dimension,)`` numbers.

        Raises `EmbeddingGenerationError` for an embedding that no sound model gives, or not this one, and for a chunk
        without a text, which has none; `TypeError` for what is no chunk, `RuntimeError` after `close`.
        """
        self._check_open()
        if not isinstance(chunk, Chunk):
            raise TypeError(f"expected a chunk, got a {type(chunk).__name__}")
        _, invalid = EmbeddingValidator.of(self._embedder).validate_batch([embedding])
        if (cause := without_text(chunk) or invalid.get(0)) is not None:
            raise EmbeddingGenerationError(f"chunk {chunk.chunk_index} of {chunk.source_file!r}: {cause.message}")
        return with_embedding(chunk, np.asarray(embedding, np.float32), self._embedder, chunk.hash)

    def _embed(self, chunks: list[Chunk], callback: ProgressCallback | None, retry: bool) -> list[Chunk]:
        self._check_open()
        call = ChunkList(chunks, self._embedder, self._guarded(callback))
        with self._counting(call):
            try:
                call.embed(partial(run_late, begin=self._begin), self._cache, self.batch_size, retry=retry)
            except EmbeddingGenerationError as error:
                error.chunks = call.chunks
                raise
            except EmbedmillError as error:  # of the model, of memory: no chunk is to blame
                raise _ended(str(error), call) from error
            except RuntimeError as error:  # of an executor that is closed
                if not self._closed:
                    raise
                raise _ended(_CLOSED, call) from error
        return call.chunks

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this EmbeddingGenerator is closed: make a new one")

    def _guarded(self, callback: ProgressCallback | None) -> ProgressCallback:
        """The callback, whose exception ends the run as such; so does it where the generator is closed meanwhile."""

        def told(done: int, total: int) -> None:
            try:
                if callback is not None:
                    callback(done, total)
            except Exception as error:
                raise EmbeddingGenerationError(
                    f"progress_callback raised {type(error).__name__} ({error}) after {done:,} of {total:,} chunks"
                ) from error
            if self._closed and done < total:
                raise EmbeddingGenerationError(_CLOSED)

        return told

    def _begin(self) -> RunBatches:
        """What embeds; the model has been tried then."""
        if not self._tried:
            if not self.use_threading:
                try_executor(self._embedder, self._executor.run)
            elif self.model_loader is not None:
                self.model_loader.get_model()
            else:
                _try_own(self._embedder)
            self._tried = True
        return self._executor.run

    def get_progress_summary(self) -> dict[str, int]:
        """How many chunks are `processed` and `failed`, and how many there are in `total`, of all calls so far.

        While no call is under way the first two make the third: of a call that an error has ended, chunks that were not
        tried are not in the total (they are the `untried_chunks`).
        """
        counts = self.summed()
        return {name: counts[name] for name in ("processed", "failed", "total")}

    def get_statistics(self) -> dict[str, Any]:
        """What became of the chunks of all calls so far, and the settings. Seconds are wall time."""
        others = ("batch_size", "num_workers", "device", "use_threading", "model", "restarts")
        return self._counted() | {name: getattr(self, name) for name in others}

    def close(self) -> None:
        """End the workers; may be called twice. The model stays with its `ModelLoader`, which others may use."""
        self._closed = True
        self._executor.close()
        if self._cache is not None:
            self._cache.close()


def _own(model: TokenEmbedder, device: str | None) -> TokenEmbedder:
    if device is not None:
        raise UsageError("an embedder of your own has its device: leave device out")
    check_embedder(model)
    return model


def _try_own(embedder: TokenEmbedder) -> None:
    try:
        try_embedder(embedder)
    except EmbedmillError:
        raise
    except Exception as error:  # whatever its loading raises
        cause = Cause.of(error)
        raise ModelUnusable(f"{embedder.name} cannot be loaded: {cause.type}: {cause.message}") from error


def _ended(why: str, call: ChunkList) -> EmbeddingGenerationError:
    """The end of a call, with the chunks as they are by then."""
    error = EmbeddingGenerationError(why)
    error.chunks = call.chunks
    return error
