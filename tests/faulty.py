"""An embedder that does harm where and when it is told, in real worker processes.

It is light, so that a worker starts in a fifth of a second: what is tested here is the pool, not a model.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedmill.core.interfaces.embedder import Task
from embedmill.core.spaces import Fingerprint, Space
from embedmill.core.vectors import Batch, TokenIds, Vectors
from embedmill.executors.processes import worker

DIMENSION = 16
MARK = "MARKED"
IDLE_FOR = 0.3  # seconds until an idle worker does harm


class Unpicklable(Exception):
    """Neither copied, pickled nor told."""

    def __init__(self) -> None:
        super().__init__("no copy of this")
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:
        raise TypeError("cannot be pickled")

    def __str__(self) -> str:
        raise RuntimeError("cannot be told")


def _raise() -> None:
    raise ValueError("harm was done")


def _raise_unpicklable() -> None:
    raise Unpicklable


def _loop() -> None:
    while True:
        pass


def _grow() -> None:
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20) * 16))
        time.sleep(0.02)


def _garbage() -> None:
    print("\x00\xff garbage \n" * 100_000, flush=True)
    os.write(1, b"emf1" * 10_000)
    print("more of it", file=sys.stderr)


def _signal(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


HARM: dict[str, Callable[[], Any]] = {
    "exception": _raise,
    "unpicklable exception": _raise_unpicklable,
    "exit 0": functools.partial(os._exit, 0),
    "exit 1": functools.partial(os._exit, 1),
    "segmentation fault": functools.partial(ctypes.string_at, 0),
    "SIGKILL": functools.partial(_signal, signal.SIGKILL),
    "SIGSTOP": functools.partial(_signal, signal.SIGSTOP),
    "endless loop": _loop,
    "memory without end": _grow,
    "garbage on stdout": _garbage,
    "half a frame": functools.partial(os._exit, 1),  # see `_half`
}

WHERE = ("starting", "loading", "receiving", "model call", "sending", "idle")


class LightEmbedder:
    """Vectors that depend on nothing but the text's bytes."""

    name = "light"
    dimension = DIMENSION
    max_tokens = 256
    workers = 1
    concurrency = 2
    fingerprint = Fingerprint(Space("w", "t", "mean", True, "", 256, DIMENSION), "f32")

    def load(self) -> None:
        """Nothing to load."""

    def encode(self, texts: Sequence[str], *, task: Task = "document", truncate: bool = True) -> list[TokenIds]:
        return [np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int32) for text in texts]

    def infer(self, batch: Batch) -> Vectors:
        vectors = np.zeros((len(batch.ids), DIMENSION), np.float32)
        for row, ids in enumerate(batch.ids):
            places = np.arange(1, len(ids) + 1)
            vectors[row] = [float(np.sin(ids * places * (n + 1)).sum()) + 0.1 for n in range(DIMENSION)]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def embed(self, texts: Sequence[str], *, task: Task = "document") -> Vectors:
        return self.infer(Batch(tuple(texts), tuple(self.encode(texts))))

    def close(self) -> None:
        """Nothing to give back."""


class FaultyEmbedder(LightEmbedder):
    """Does harm in its model call, to marked texts."""

    def __init__(self, harm: Callable[[], Any] | None) -> None:
        self._harm = harm

    def infer(self, batch: Batch) -> Vectors:
        if self._harm and any(MARK in text for text in batch.texts):
            self._harm()
        return super().infer(batch)


class LoadsBadly(LightEmbedder):
    """Does harm while it loads."""

    def __init__(self, harm: Callable[[], Any]) -> None:
        self._harm = harm

    def load(self) -> None:
        self._harm()


class Factory:
    """Makes embedders that do `what` at `where`.

    Harm to a marked text is done each time; harm without a text (starting, loading, idle) as often as `times` says,
    in whatever processes: marks in a folder count it.
    """

    def __init__(self, where: str = "", what: str = "", folder: Path | None = None, times: int = 1) -> None:
        self.where, self.what, self.folder, self.times = where, what, folder, times
        self.parent = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.where == "starting" and os.getpid() != self.parent:
            self._once()

    def __call__(self, threads: int) -> LightEmbedder:
        harm = HARM.get(self.what, lambda: None)
        if os.getpid() == self.parent:
            return LightEmbedder()
        match self.where:
            case "loading":
                return LoadsBadly(self._once)
            case "model call":
                return FaultyEmbedder(_half if self.what == "half a frame" else harm)
            case "receiving":
                self._wrap("read_batch", lambda batch: MARK in "".join(batch.texts), before=False)
            case "sending":
                self._wrap("pack_result", lambda number, embedded, retries: MARK in "".join(embedded.batch.texts))
            case "idle":
                threading.Timer(IDLE_FOR, self._once).start()
        return LightEmbedder()

    def _once(self) -> None:
        assert self.folder is not None
        for number in range(self.times):
            try:
                (self.folder / f"{self.where}-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            _half() if self.what == "half a frame" else HARM[self.what]()
            return

    def _wrap(self, name: str, marked: Callable[..., bool], *, before: bool = True) -> None:
        """Do harm in a function of the worker itself."""
        inner = getattr(worker, name)

        def wrapped(*arguments: Any) -> Any:
            result = inner(*arguments)
            if marked(*arguments) if before else marked(result):
                if self.what == "half a frame" and name == "pack_result":
                    threading.Timer(0.1, os._exit, [1]).start()
                    return result[: len(result) // 2]
                _half() if self.what == "half a frame" else HARM[self.what]()
            return result

        setattr(worker, name, wrapped)


def _half() -> None:
    """Send the beginning of a frame and die: on every socket there is."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"emf1\x05\x00")
        except OSError:
            continue
    os._exit(1)


class Obedient(LightEmbedder):
    """Does what the first word of a text says.

    SLEEP (seconds), DIE, GROW (without end, 30 MB a second), MEET (a folder; waits for another process to do the same).
    """

    concurrency = 1

    def infer(self, batch: Batch) -> Vectors:
        for text in batch.texts:
            match text.split():
                case ["SLEEP", seconds, *_]:
                    time.sleep(float(seconds))
                case ["DIE", *_]:
                    os._exit(3)
                case ["MEET", folder, *_]:
                    (Path(folder) / str(os.getpid())).touch()
                    end = time.monotonic() + 20
                    while len(list(Path(folder).iterdir())) < 2:
                        if time.monotonic() > end:
                            raise TimeoutError("nobody else came")
                        time.sleep(0.01)
                case ["GROW", *_]:
                    held = []
                    while True:
                        held.append(bytearray(b"x") * (3 << 20))
                        time.sleep(0.1)
        return super().infer(batch)


def obedient(threads: int) -> LightEmbedder:
    return Obedient()


def batch(*texts: str) -> Batch:
    """One batch of these texts."""
    return Batch(texts, tuple(LightEmbedder().encode(texts)))
