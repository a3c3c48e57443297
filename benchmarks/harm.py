"""Embedders that do harm to certain texts, in real worker processes; imported by the workers, too."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from embedmill.core.interfaces.embedder import Task, TokenEmbedder
from embedmill.core.spaces import Fingerprint, Space
from embedmill.core.vectors import Batch, TokenIds, Vectors

_TALLY = "embedded"  # the file in which workers note how many texts they have embedded
_CALL = 0.004  # seconds: a call of the light embedder, so that several are under way when a worker dies


def _raise() -> None:
    raise ValueError("harm was done")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # until it has come


def _hang() -> None:
    while True:
        time.sleep(1)


_AFTERWARDS = "exit after the call"

HARM: dict[str, Callable[[], Any]] = {
    "SIGSEGV": functools.partial(ctypes.string_at, 0),
    "exit": functools.partial(os._exit, 1),
    "SIGKILL": _kill,
    "exception": _raise,
    "hang": _hang,
    _AFTERWARDS: functools.partial(os._exit, 2),  # the vectors are there, and nobody gets them
}
"""What can be done, in the model call."""


@dataclass(frozen=True)
class Harm:
    """What happens to a text."""

    what: str  # a key of `HARM`
    once: bool = False  # only the first time, in whatever process


@dataclass(frozen=True)
class Harmful:
    """The factory of an embedder that does harm to the texts of a plan; `make` is that of the embedder itself."""

    make: Callable[[int], TokenEmbedder]
    plan: Mapping[str, Harm]  # by the text
    folder: Path  # an empty one, where the workers note what they have done
    parent: int = field(default_factory=os.getpid)

    def __call__(self, threads: int) -> TokenEmbedder:
        if os.getpid() == self.parent:
            raise RuntimeError("no worker could be started, and harm is for workers alone")
        # All that an executor does not ask for goes to the embedder within.
        return cast(TokenEmbedder, _HarmfulEmbedder(self.make(threads), self.plan, self.folder))

    def embedded(self) -> int:
        """Texts that the model has embedded in any worker so far, lost ones included."""
        tally = self.folder / _TALLY
        return sum(map(int, tally.read_text().split())) if tally.exists() else 0


class _HarmfulEmbedder:
    def __init__(self, inner: TokenEmbedder, plan: Mapping[str, Harm], folder: Path) -> None:
        self._inner = inner
        self._plan = plan
        self._folder = folder
        # Appended to with one system call each: no line is torn or lost when a worker dies.
        self._tally = os.open(folder / _TALLY, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def infer(self, batch: Batch) -> Vectors:
        what = self._due(batch)
        if what and what != _AFTERWARDS:
            HARM[what]()
        vectors = self._inner.infer(batch)
        os.write(self._tally, f"{len(batch.texts)}\n".encode())
        if what:
            HARM[what]()
        return vectors

    def _due(self, batch: Batch) -> str | None:
        for text in batch.texts:
            harm = self._plan.get(text)
            if harm and (not harm.once or self._is_first(text)):
                return harm.what
        return None

    def _is_first(self, text: str) -> bool:
        try:
            (self._folder / hashlib.sha256(text.encode()).hexdigest()).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class LightEmbedder:
    """Vectors from the hash of a text's bytes: whatever else is measured is the pool."""

    name = "light"
    dimension = hashlib.sha256().digest_size
    max_tokens = 256
    workers = 1
    concurrency = 2
    fingerprint = Fingerprint(Space("w", "t", "mean", True, "", max_tokens, dimension), "f32")

    def load(self) -> None:
        """Nothing to load."""

    def encode(self, texts: Sequence[str], *, task: Task = "document", truncate: bool = True) -> list[TokenIds]:
        most = self.max_tokens if truncate else None
        return [np.frombuffer(text.encode()[:most], np.uint8).astype(np.int32) for text in texts]

    def infer(self, batch: Batch) -> Vectors:
        time.sleep(_CALL)
        return vectors_of(batch)

    def embed(self, texts: Sequence[str], *, task: Task = "document") -> Vectors:
        return self.infer(Batch(tuple(texts), tuple(self.encode(texts))))

    def close(self) -> None:
        """Nothing to give back."""


def vectors_of(batch: Batch) -> Vectors:
    """What the light embedder makes of a batch, to the last bit."""
    rows = [np.frombuffer(hashlib.sha256(ids.tobytes()).digest(), np.uint8) for ids in batch.ids]
    vectors: Vectors = np.stack(rows).astype(np.float32) - np.float32(127.5)  # never zero
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def light(threads: int) -> TokenEmbedder:
    """The factory of a `LightEmbedder`."""
    return LightEmbedder()
