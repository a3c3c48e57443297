"""The default embedder: a model as an OpenVINO graph, in several inference streams of this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedmill.core.checks import one_of
from embedmill.core.errors import ModelError
from embedmill.core.interfaces.embedder import TASKS, Task
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Batch, TokenIds, Vectors
from embedmill.embedders.calls import Calls, one_line
from embedmill.embedders.local import LocalEmbedder
from embedmill.engine.batching import padded
from embedmill.models.card import Card, weights_sha256
from embedmill.runtime import machine
from embedmill.runtime.computed import computed_once

if TYPE_CHECKING:
    import openvino as ov

    from embedmill.models.tokenizer import Tokenizer

_CALLERS_PER_STREAM = 2
"""With one caller a stream idles while the caller builds the next array: measured, 8 % (benchmarks/README.md)."""

_RUNTIME_CACHE = 1000
"""Compiled primitives that a stream keeps, about eight a shape: more than the shapes of `batching.py` need, and a bound
where other callers bring other shapes. Each shape costs about half a megabyte."""


class OpenVINOEmbedder(LocalEmbedder):
    """A model from its card. Loads the tokenizer at the first `encode`, the graph at the first `infer`.

    `streams` calls run at once, over `threads` threads in all; both are by default the cores that this process
    may use, which gives the highest throughput. One stream over all threads gives the shortest wait for one text.
    """

    def __init__(
        self, name: str, card: Card, *, precision: str, streams: int | None = None, threads: int | None = None
    ) -> None:
        self.name = name
        self._card = card
        self._precision = precision
        self._threads = threads or machine.cores()
        self.dimension = card.dimension
        self.normalized = card.normalize
        self.max_tokens = card.max_tokens
        self.workers = streams or self._threads  # inference streams
        self.concurrency = self.workers * _CALLERS_PER_STREAM
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

    def close(self) -> None:
        """Give the model's memory back; a later `infer` loads it again."""
        self._calls.close()
