"""A worker process: loads one embedder and embeds what comes over its socket, until the socket closes.

Started by `child.py` in a fresh interpreter. Whatever the embedder prints goes to the parent as text, never into the
socket. When the parent dies, so does the worker, in the midst of whatever it is doing.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import spawn
from typing import Any, Final, NoReturn

from embedmill.core.errors import ModelUnusable
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.vectors import Cause
from embedmill.engine.validation import bisect_failures
from embedmill.executors.processes.frames import Frame, FrameKind, Incoming, pack, pack_result, read_batch
from embedmill.runtime.child_process import belong_to

Factory = Callable[[int], TokenEmbedder]
"""Makes an embedder that is to use so many threads. Called in the worker, so it has to be picklable."""

IMPORTING: Final = "EMBEDMILL_WORKER_IMPORTING"
"""Set while a worker imports the user's script for its factory: a pool that is begun then would begin itself again."""

MODEL_FAILED: Final = "ModelFailed"
"""The type in a FAILED frame of a worker whose model has failed, and which has recovered."""

_READ_AT_ONCE: Final = 1 << 18  # bytes


def main(descriptor: int, parent: int) -> NoReturn:
    """Serve on the socket with this descriptor for the process `parent`; never returns."""
    belong_to(parent)
    connection = socket.socket(fileno=descriptor)
    frames = _frames(connection)
    try:
        embedder = _load(next(frames))
        ready = {"dimension": embedder.dimension, "concurrency": embedder.concurrency}
    except BaseException as error:  # a factory may do anything, sys.exit() included
        connection.sendall(_failed(error))
        os._exit(1)
    connection.sendall(pack(FrameKind.READY, facts=ready))
    work: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    sending = threading.Lock()
    for number in range(embedder.concurrency):
        threading.Thread(
            target=_embed, args=[embedder, work, connection, sending], name=f"embed-{number}", daemon=True
        ).start()
    for frame in frames:
        work.put(frame)
    os._exit(0)  # the parent has closed the socket, or is no more


def _frames(connection: socket.socket) -> Iterator[Frame]:
    incoming = Incoming()
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(_READ_AT_ONCE):
            yield from incoming.feed(data)


def _load(frame: Frame) -> TokenEmbedder:
    if frame.facts["main"]:  # the factory is defined in the user's script, which has to be imported for it
        os.environ[IMPORTING] = "1"
        spawn.prepare(dict(frame.facts["main"]))
        del os.environ[IMPORTING]
    factory: Factory = pickle.loads(frame.body)  # noqa: S301 - the parent's own, over a private socket
    return loaded(factory, frame.facts["threads"])


def loaded(factory: Factory, threads: int) -> TokenEmbedder:
    """An embedder that is ready. Raises what the factory raises, and `ValueError` where no work can be given to it."""
    embedder = factory(threads)
    embedder.load()
    for name in ("dimension", "concurrency"):
        value = getattr(embedder, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"the embedder's {name} is {value!r}: expected a whole number from 1 up")
    return embedder


def _failed(error: BaseException) -> bytes:
    cause = Cause.of(error)
    return pack(FrameKind.FAILED, facts={"type": cause.type, "message": cause.message, "trace": cause.trace})


def _failures(embedder: TokenEmbedder) -> int:
    """Calls of the model that have failed, where the embedder counts them."""
    failures = getattr(embedder, "failures", 0)
    return failures if isinstance(failures, int) else 0


def _embed(embedder: TokenEmbedder, work: Any, connection: socket.socket, sending: threading.Lock) -> None:
    try:
        while True:
            frame: Frame = work.get()
            failures = _failures(embedder)
            embedded, retries = bisect_failures(embedder, read_batch(frame))
            result = pack_result(frame.number, embedded, retries)
            with sending:
                connection.sendall(result)
                if _failures(embedder) > failures:  # it has recovered, but this process has seen better days
                    connection.sendall(pack(FrameKind.FAILED, facts={"type": MODEL_FAILED}))
    except ModelUnusable as error:
        with sending:
            connection.sendall(_failed(error))
        os._exit(1)
    except BaseException:  # no fault of a text: better a death, which the parent notices, than a thread less
        traceback.print_exc()
        os._exit(1)
