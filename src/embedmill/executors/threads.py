"""Embed in this process, with as many threads as the embedder asks for."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from embedmill.core.errors import UsageError
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.reports import WorkerStats
from embedmill.core.vectors import Batch, Embedded
from embedmill.engine.validation import bisect_failures
from embedmill.executors.pace import Pace
from embedmill.runtime.streams import check_process, ordered

_LOOK_EVERY: Final = 0.05  # seconds, while a call may not begin yet


class ThreadExecutor:
    """Runs an embedder in threads of this process. A text that raises is found by halving its batch.

    `pace` says when a call may begin; None for at once.
    """

    name = "threads"
    tuning = ""
    restarts = 0

    def __init__(self, embedder: TokenEmbedder, pace: Pace | None = None, *, callers: int | None = None) -> None:
        """`callers` are the batches that are embedded at once; by default as many as keep the embedder busy.

        Raises `UsageError` for what is no embedder.
        """
        if not hasattr(embedder, "concurrency"):
            raise UsageError(f"embedder is {embedder!r:.200}: give one, see embedmill.TokenEmbedder")
        self._callers = embedder.concurrency if callers is None else callers
        self._embedder = embedder
        self._pace = pace
        self._finishing = False
        self._closed = False
        self._started = False
        self._counting = threading.Lock()
        self.workers = embedder.workers
        self.retries = 0

    def start(self) -> None:
        """Load the model in a thread of its own, at the first call."""
        if self._started:
            return
        self._started = True
        threading.Thread(target=self._load, name="embedmill-load", daemon=True).start()

    def _load(self) -> None:
        with contextlib.suppress(Exception):  # the first batch meets the same error, where it can be reported
            self._embedder.load()

    def run(self, batches: Iterable[Batch]) -> Iterator[Embedded]:
        """Embed the batches; results come in the batches' order."""
        if self._closed:
            raise RuntimeError("this executor is closed: make a new one")
        if self._pace is not None:
            yield from self._paced(batches, self._pace)
            return
        for _, embedded in ordered(self._loaded_and_embedded, batches, threads=self._callers):
            yield embedded

    def _paced(self, batches: Iterable[Batch], pace: Pace) -> Iterator[Embedded]:
        """As `run`; while a call may not begin, what is finished is given out. Nothing begins after `finish_within`."""
        streams, callers, process = self._embedder.workers, self._callers, os.getpid()
        pending: deque[Future[Embedded]] = deque()
        self._finishing = False

        def embedded(batch: Batch) -> Embedded:
            try:
                return self._loaded_and_embedded(batch)
            finally:
                pace.end()

        with ThreadPoolExecutor(callers, thread_name_prefix="embedmill") as pool:
            for batch in batches:
                # As many as streams run at once; as many again build their arrays meanwhile, or wait.
                while not self._finishing and not pace.begin(streams, ahead=2 * callers - streams):
                    if pending and pending[0].done():
                        yield pending.popleft().result()
                        check_process(process)
                    else:
                        time.sleep(_LOOK_EVERY)
                if self._finishing:
                    break
                pending.append(pool.submit(embedded, batch))
                while pending and pending[0].done():
                    yield pending.popleft().result()
                    check_process(process)
            while pending:
                yield pending.popleft().result()
                check_process(process)

    def _loaded_and_embedded(self, batch: Batch) -> Embedded:
        self._embedder.load()  # a model that cannot be loaded ends the run; it is no fault of the texts
        embedded, retries = bisect_failures(self._embedder, batch)
        with self._counting:
            self.retries += retries
        return embedded

    def stats(self) -> Sequence[WorkerStats]:
        """Nothing: there are no processes."""
        return ()

    def check_health(self) -> Sequence[str]:
        """Nothing: where threads are ill, the process is."""
        return ()

    def finish_within(self, seconds: float) -> None:
        """Begin no call that has to wait for its turn; what threads have begun, they finish."""
        self._finishing = True

    def close(self) -> None:
        """Refuse further work; may be called twice. The embedder stays the caller's."""
        self._closed = True
