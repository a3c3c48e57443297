"""Embed in this process, for want of workers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from embedmill.errors import ModelUnusable
from embedmill.executors.loading import Factory, loaded
from embedmill.executors.recovery import Job
from embedmill.interfaces import Embedder
from embedmill.isolating import isolate


class Fallback:
    """An embedder in this process, which takes the jobs that no worker can be given.

    It is loaded in a thread of its own; `failed` is called with the error where it cannot be, or no more used.
    """

    def __init__(self, factory: Factory, threads: int, failed: Callable[[Exception], None]) -> None:
        self.retries = 0
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._counting = threading.Lock()
        threading.Thread(target=self._load, args=[factory, threads, failed], name="embedmill-here", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Have a job done."""
        self._jobs.put(job)

    def close(self) -> None:
        """End the threads when they have done what they are at."""
        self._jobs.put(None)

    def _load(self, factory: Factory, threads: int, failed: Callable[[Exception], None]) -> None:
        try:
            embedder = loaded(factory, threads)
        except BaseException as error:  # a factory may do anything, sys.exit() included
            failed(error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}"))
            return
        for _ in range(embedder.concurrency):
            threading.Thread(target=self._serve, args=[embedder, failed], name="embedmill-here", daemon=True).start()

    def _serve(self, embedder: Embedder, failed: Callable[[Exception], None]) -> None:
        while (job := self._jobs.get()) is not None:
            if job.outcome is None:
                try:
                    embedded, retries = isolate(embedder, job.batch)
                except ModelUnusable as error:
                    failed(error)
                    break
                with self._counting:
                    self.retries += retries
                job.finish(embedded)
        self._jobs.put(None)  # for the next of these threads
