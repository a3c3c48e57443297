"""An embedder that misbehaves on marked texts, as real ones do: a wrapper around a real, small model."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embedmill.core.interfaces.embedder import Task
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Batch, TokenIds, Vectors
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.models import locate, read_card

SMALL_MODEL = Path(__file__).parent / "fixtures" / "models" / "bert-mean"

RAISES = "MARK-RAISES"
NAN = "MARK-NAN"
ZERO = "MARK-ZERO"
SAME = "MARK-SAME"
EXITS = "MARK-EXITS"
SHORT = "MARK-SHORT"
TALKS = "MARK-TALKS"


class Refused(Exception):
    """What a marked text raises."""


def small_embedder(folder: Path = SMALL_MODEL, precision: str = "f32") -> OpenVINOEmbedder:
    return OpenVINOEmbedder(folder.name, read_card(locate(str(folder))), precision=precision, streams=2, threads=2)


def in_a_worker(threads: int) -> TroubledEmbedder:
    """What a pool's worker makes of the class below."""
    return TroubledEmbedder()


class TroubledEmbedder:
    """Does what the marks in a text say, as long as `cured` is false, and counts what it is asked."""

    def __init__(self, inner: OpenVINOEmbedder | None = None) -> None:
        self._inner = inner or small_embedder()
        self._lock = threading.Lock()
        self.cured = False
        self.calls = 0
        self.texts: Counter[str] = Counter()

    name = "troubled"

    @property
    def fingerprint(self) -> Fingerprint:
        return self._inner.fingerprint

    @property
    def dimension(self) -> int:
        return self._inner.dimension

    @property
    def max_tokens(self) -> int:
        return self._inner.max_tokens

    @property
    def workers(self) -> int:
        return self._inner.workers

    @property
    def concurrency(self) -> int:
        return self._inner.concurrency

    @property
    def loaded(self) -> bool:
        return self._inner.loaded

    def load(self) -> None:
        self._inner.load()

    def encode(self, texts: Sequence[str], *, task: Task = "document", truncate: bool = True) -> list[TokenIds]:
        return self._inner.encode(texts, task=task, truncate=truncate)

    def infer(self, batch: Batch) -> Vectors:
        with self._lock:
            self.calls += 1
            self.texts.update(batch.texts)
        vectors = self._inner.infer(batch)
        if self.cured:
            return vectors
        if any(RAISES in text for text in batch.texts):
            raise Refused("this text\nwas marked")
        if any(TALKS in text for text in batch.texts):
            raise Refused("word " * 100_000)
        if any(EXITS in text for text in batch.texts):
            sys.exit("goodbye")
        if any(SHORT in text for text in batch.texts):
            return vectors[1:]
        for row, text in enumerate(batch.texts):
            if NAN in text:
                vectors[row] = np.nan
            if ZERO in text:
                vectors[row] = 0
            if SAME in text:
                vectors[row] = len(vectors[row]) ** -0.5
        return vectors

    def embed(self, texts: Sequence[str], *, task: Task = "document") -> Vectors:
        return self._inner.embed(texts, task=task)

    def close(self) -> None:
        self._inner.close()
