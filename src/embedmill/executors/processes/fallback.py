"""Embed in this process, for want of workers."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from embedmill.core.errors import ModelUnusable
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.engine.validation import bisect_failures
from embedmill.executors.pace import Pace
from embedmill.executors.processes.recovery import Job
from embedmill.executors.processes.worker import Factory, loaded

_TICK: Final = 0.1  # seconds between looks at the clock
_LOOK_EVERY: Final = 0.05  # seconds, while a call may not begin yet


class Fallback:
    """An embedder in this process, which takes the jobs that no worker can be given.

    It is loaded in a thread of its own; `failed` is called with the error where it cannot be, or no more used,
    `out_of_time` at the time `give_up_at`.
    """

    def __init__(
        self,
        factory: Factory,
        threads: int,
        failed: Callable[[Exception], None],
        out_of_time: Callable[[], None] = lambda: None,
        pace: Pace | None = None,
    ) -> None:
        self.retries = 0
        self.give_up_at = math.inf  # on the monotonic clock; set by any thread or signal handler
        self._out_of_time = out_of_time
        self._closed = False
        self._pace = pace or Pace()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._counting = threading.Lock()
        threading.Thread(target=self._load, args=[factory, threads, failed], name="embedmill-here", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Have a job done."""
        self._jobs.put(job)

    def close(self) -> None:
        """End the threads when they have done what they are at."""
        self._closed = True
        self._jobs.put(None)

    def _load(self, factory: Factory, threads: int, failed: Callable[[Exception], None]) -> None:
        try:
            embedder = loaded(factory, threads)
        except BaseException as error:  # a factory may do anything, sys.exit() included
            failed(error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}"))
            return
        for _ in range(embedder.concurrency):
            threading.Thread(target=self._serve, args=[embedder, failed], name="embedmill-here", daemon=True).start()
        while not self._closed:
            time.sleep(_TICK)
            if time.monotonic() >= self.give_up_at:
                self.give_up_at = math.inf
                self._out_of_time()

    def _serve(self, embedder: TokenEmbedder, failed: Callable[[Exception], None]) -> None:
        while (job := self._jobs.get()) is not None:
            begun = False
            while job.outcome is None and not (begun := self._pace.begin(embedder.workers, ahead=embedder.concurrency)):
                time.sleep(_LOOK_EVERY)
            if begun:
                try:
                    embedded, retries = bisect_failures(embedder, job.batch)
                except ModelUnusable as error:
                    failed(error)
                    break
                finally:
                    self._pace.end()
                with self._counting:
                    self.retries += retries
                job.finish(embedded)
        self._jobs.put(None)  # for the next of these threads
