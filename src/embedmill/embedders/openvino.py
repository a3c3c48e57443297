"""The default embedder: a model as an OpenVINO graph, in several inference streams of this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedmill.core.checks import one_of
from embedmill.core.errors import ModelError
from embedmill.core.interfaces.embedder import TASKS, Task
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Batch, Embedded, TokenIds, Vector, Vectors
from embedmill.embedders.calls import Calls, one_line
from embedmill.engine.batching import padded
from embedmill.engine.lists import AT_ONCE, OnFailure, OnProgress, embed_all, embed_each
from embedmill.engine.validation import bisect_failures
from embedmill.models.card import Card, weights_sha256
from embedmill.runtime import machine
from embedmill.runtime.closing import Closing
from embedmill.runtime.computed import computed_once
from embedmill.runtime.streams import ordered

if TYPE_CHECKING:
    import openvino as ov

    from embedmill.models.tokenizer import Tokenizer

_CALLERS_PER_STREAM = 2
"""With one caller a stream idles while the caller builds the next array: measured, 8 % (benchmarks/README.md)."""

_RUNTIME_CACHE = 1000
"""Compiled primitives that a stream keeps, about eight a shape: more than the shapes of `batching.py` need, and a bound
where other callers bring other shapes. Each shape costs about half a megabyte."""


class OpenVINOEmbedder(Closing):
    """A model from its card. Loads the tokenizer at the first `encode`, the graph at the first `infer`.

    `streams` calls run at once, over `threads` threads in all; both are by default the cores that this process
    may use, which gives the highest throughput. One stream over all threads gives the shortest wait for one text.
    Closes at the end of a ``with`` block.
    """

    def __init__(
        self, name: str, card: Card, *, precision: str, streams: int | None = None, threads: int | None = None
    ) -> None:
        self.name = name
        self._card = card
        self._precision = precision
        self._threads = threads or machine.cores()
        self.dimension = card.dimension
        """Numbers in a vector."""
        self.max_tokens = card.max_tokens
        """Tokens the model reads of one text, prompt and special tokens included."""
        self.workers = streams or self._threads
        """Inference streams: calls of the model that run at once."""
        self.concurrency = self.workers * _CALLERS_PER_STREAM
        """How many threads should call `infer` at once."""
        self._calls = Calls(name, self._compile, self.concurrency)

    @computed_once
    def fingerprint(self) -> Fingerprint:
        """What decides the vectors; reads the weights' hash, not the weights."""
        from embedmill.models.tokenizer import tokenizer_sha256

        card = self._card
        return Fingerprint(card.space(weights_sha256(card), tokenizer_sha256(card)), self._precision)

    @property
    def loaded(self) -> bool:
        """Whether the graph is compiled and in memory."""
        return self._calls.loaded

    @property
    def failures(self) -> int:
        """Calls of the model that have failed so far: a process where one has is better replaced."""
        return self._calls.failures

    @computed_once
    def _tokenizer(self) -> Tokenizer:
        from embedmill.models.tokenizer import Tokenizer

        return Tokenizer(self._card)

    def load(self) -> None:
        """Build and compile the graph, if that has not been done."""
        self._calls.load()

    def _compile(self) -> ov.CompiledModel:
        import openvino as ov

        from embedmill.models.graph import build

        settings = {
            "INFERENCE_PRECISION_HINT": self._precision,  # OpenVINO takes bf16 by itself where it can
            "NUM_STREAMS": self.workers,
            "INFERENCE_NUM_THREADS": self._threads,
            # Two processes that pin their threads land on the same cores and run at half speed.
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": _RUNTIME_CACHE,
        }
        try:
            return ov.Core().compile_model(build(self._card), "CPU", settings)
        except (RuntimeError, OSError, MemoryError) as error:  # the latter two where memory is short
            raise ModelError(f"{self.name}: OpenVINO cannot compile the model ({one_line(error)})") from error

    def encode(self, texts: Sequence[str], *, task: Task = "document", truncate: bool = True) -> list[TokenIds]:
        """Each text's token ids, prompt and special tokens included. Raises `UsageError` for another task."""
        one_of("task", task, TASKS)
        return self._tokenizer.encode(texts, prompt=self._card.prompt(task), truncate=truncate)

    def unknown_tokens(self, ids: TokenIds, *, task: Task = "document") -> tuple[int, int]:
        """How many tokens of a text stand for what the model does not know, and how many it has without the prompt."""
        return self._tokenizer.unknown(ids, self._card.prompt(task))

    def infer(self, batch: Batch) -> Vectors:
        """The batch's vectors, ``(n, dimension)``, from one model call.

        Raises `RuntimeError` where the model cannot take these texts, and `ModelUnusable` where it cannot be called
        any more, whatever the texts.
        """
        return self._calls(self._arrays(batch.ids))

    def _arrays(self, ids: Sequence[TokenIds]) -> list[NDArray[Any]]:
        """Token ids, padded, and the mask: two arrays of ``(len(ids), padded length)``.

        Padding never reaches beyond the model's limit: its table of positions may end there.
        Raises `ModelError` for what the model has no vector for: no token at all, or one beyond its vocabulary.
        """
        lengths = [len(tokens) for tokens in ids]
        longest = max(lengths)
        if min(lengths) == 0:
            raise ModelError("the text has no tokens, and this model's tokenizer adds none: nothing to embed")
        shape = (len(ids), max(longest, min(padded(longest), self.max_tokens)))
        rows, mask = np.full(shape, self._card.padding, np.int32), np.zeros(shape, np.float32)
        for row, tokens in enumerate(ids):
            rows[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        highest = int(rows.max())
        if self._card.vocab_size is not None and highest >= self._card.vocab_size:
            raise ModelError(
                f"token {highest} is beyond the model's vocabulary of {self._card.vocab_size}: "
                "tokenizer and weights belong to different models, fetch them again"
            )
        return [rows, mask]

    def embed(self, texts: Sequence[str], *, task: Task = "document", on_progress: OnProgress | None = None) -> Vectors:
        """Vectors of ``(len(texts), dimension)`` in the texts' order. Longer texts than the model reads are cut.

        `on_progress` is told after every batch how many texts are done. Raises `TypeError` for anything but a list of
        texts (a single text is not one), `UsageError` for a task other than "document" and "query", and
        `EmbeddingError`, which has the vectors of the others, where texts have no vector or one that no sound model
        gives (NaN, infinite, only zeros).
        """
        return embed_all(texts, self, self._run, task=task, on_progress=on_progress)

    def embed_iter(
        self,
        texts: Iterable[str],
        *,
        task: Task = "document",
        at_once: int = AT_ONCE,
        on_progress: OnProgress | None = None,
        on_failure: OnFailure | None = None,
    ) -> Iterator[Vector]:
        """Each text's vector, ``(dimension,)``, in the texts' order: for millions of texts, in bounded memory.

        `at_once` texts are taken from `texts`, and embedded, before the first of their vectors is given. Errors are
        those of `embed`; where `on_failure` is given it is told of each text that has no vector, counted from 0, and
        why, and its vector is NaN.
        """
        return embed_each(texts, self.embed, task=task, at_once=at_once, on_progress=on_progress, on_failure=on_failure)

    def _run(self, calls: Iterable[Batch]) -> Iterator[Embedded]:
        def embedded(batch: Batch) -> Embedded:
            self.load()  # a model that cannot be loaded is no fault of the texts
            return bisect_failures(self, batch)[0]

        for _, found in ordered(embedded, calls, threads=self.concurrency):
            yield found

    def close(self) -> None:
        """Give the model's memory back; a later `infer` loads it again."""
        self._calls.close()
