"""Embed in worker processes, which may crash, leak and hang without harm to the run."""

from __future__ import annotations

import logging
import os
import pickle
import pickletools
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing import spawn
from pathlib import Path
from typing import Any, Final, ParamSpec

from embedmill.core.checks import whole_number
from embedmill.core.errors import UsageError
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import Task, TokenEmbedder
from embedmill.core.reports import WorkerStats
from embedmill.core.vectors import Batch, Embedded, Vectors
from embedmill.engine.cached_lists import ListCounts, embed_with_cache
from embedmill.engine.lists import some_texts
from embedmill.executors.pace import Pace
from embedmill.executors.processes.child import IsolatedEmbedder
from embedmill.executors.processes.fallback import Fallback
from embedmill.executors.processes.inflight import Abandoned, BatchQueue
from embedmill.executors.processes.limits import Limits
from embedmill.executors.processes.recovery import Job
from embedmill.executors.processes.slots import Restart
from embedmill.executors.processes.supervisor import Supervisor, divided
from embedmill.executors.processes.worker import IMPORTING, Factory
from embedmill.runtime import machine
from embedmill.runtime.closing import Closing
from embedmill.runtime.computed import computed_once

log = logging.getLogger(__name__)

_P = ParamSpec("_P")

_QUEUED: Final = 1  # batches for each worker that wait beside those it holds


class EmbedderPool(Closing):
    """An executor of worker processes, each with an embedder of its own, under one supervising thread.

    A worker that dies, hangs or grows without end is replaced, and what it held is tried again: whole and alone, then
    text by text, until the text that kills its worker is found, which becomes a failure of its own. Where no worker
    can be started, the pool says so once and embeds in this process.

    `factory` makes the embedder, in the worker. Cores are divided among the `workers`, one for each core by default.
    Nothing is started before `start` or `run`. Raises `UsageError` for a factory that a worker cannot be given, and
    for a number of workers that makes no sense.
    """

    name = "processes"
    tuning = ""

    def __init__(
        self,
        factory: Factory,
        *,
        workers: int | None = None,
        threads: int | None = None,
        limits: Limits | None = None,
        on_restart: Callable[[Restart], None] = lambda _: None,
        pace: Pace | None = None,
    ) -> None:
        """`threads` are those of all workers together. `on_restart` is called from the supervisor's thread.

        `pace` says when a call of the model may begin, in whichever worker; None for at once.
        """
        if os.environ.get(IMPORTING):
            raise UsageError(
                "a pool is started while a worker imports this script: put what starts it under "
                "`if __name__ == '__main__':`, or define the factory in a module of its own"
            )
        self._threads = machine.cores() if threads is None else threads
        self.workers = self._threads if workers is None else workers
        most = machine.most_workers()
        for name, value in (("threads", self._threads), ("workers", self.workers)):
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise UsageError(f"{name} is {value!r}: give a whole number from 1 to {most}, 8 for each core")
        if limits is not None and not isinstance(limits, Limits):
            raise UsageError(f"limits is {limits!r}: give embedmill.Limits(...), or leave it out")
        if not callable(factory):
            raise UsageError(
                f"factory is {factory!r}: give a function that makes an embedder, or take a "
                "ParallelEmbeddingGenerator, which is given a model's name"
            )
        if not callable(on_restart):
            raise UsageError(f"on_restart is {on_restart!r:.200}: give a function, or leave it out")
        self._factory = factory
        # A run that was abandoned may be collected, and so end, in the midst of anything that this thread does.
        self._lock = threading.RLock()
        self._closed = False
        self._pace = pace
        self._pid = os.getpid()
        self._started = False
        self._here: Fallback | None = None  # once no worker can be started
        self._error: Exception | None = None
        self._queues: set[BatchQueue] = set()
        self._counts = ListCounts()
        pickled = _pickled(factory)
        self._supervisor = Supervisor(
            partial(IsolatedEmbedder, pickled, _main_module(pickled)),
            divided(self._threads, self.workers),
            limits or Limits(),
            on_restart=on_restart,
            no_workers=_weakly(self._go_on_without_workers),
            out_of_time=_weakly(self._out_of_time),
            pace=pace,
        )
        self._end = weakref.finalize(self, self._supervisor.close)  # of a pool that was forgotten, too

    @property
    def restarts(self) -> int:
        """Workers replaced so far, planned replacements included."""
        return self._supervisor.group.restarts

    @property
    def retries(self) -> int:
        """Batches, or parts of one, that were tried again so far."""
        return self._supervisor.retries + (self._here.retries if self._here else 0)

    def start(self) -> None:
        """Begin to start the workers, without waiting for them."""
        self._check_process()
        with self._lock:
            if self._started or self._closed:
                return
            self._started = True
            try:
                self._supervisor.start()
            except (OSError, RuntimeError) as error:  # no descriptor, or no thread
                self._supervisor.group.trouble = str(error)
                self._go_on_without_workers(None)

    def run(self, batches: Iterable[Batch]) -> Iterator[Embedded]:
        """Embed the batches; results come in the batches' order.

        What is in flight is bounded in batches and in tokens; but the results behind a batch that hangs or is being
        recovered may pile up to some hundred batches, so that the other workers need not wait for it.
        """
        self._check_open()
        self._check_process()
        self.start()
        queue = BatchQueue()
        with self._lock:
            self._queues.add(queue)
        try:
            for batch in batches:
                if queue.abandoned:
                    return
                self._submit(queue.job(batch))
                while (embedded := queue.next(self._most_in_flight())) is not None:
                    yield embedded
                    self._check_process()
            for embedded in queue.rest():
                yield embedded
                self._check_process()
        finally:
            if os.getpid() == self._pid:
                queue.end(Abandoned())
                with self._lock:
                    self._queues.discard(queue)

    def embed(self, texts: Sequence[str], *, task: Task = "document", cache: VectorCache | None = None) -> Vectors:
        """Vectors of ``(len(texts), dimension)`` in the texts' order, all of them sound.

        The texts are tokenised in this process, by an embedder that the factory makes here too; its model is not
        loaded. A `cache`, as `embedmill.PersistentCache()`, which is the user's, is asked first and keeps what is
        computed; it stays the caller's. `statistics` tells of both. Raises `ValueError` for no texts, `TypeError` for
        anything but a list of texts, `UsageError` for a task that there is not and for what is no cache;
        `EmbeddingError`, which has the vectors of the others, where texts are empty or blank or have no vector;
        `RuntimeError` after `close`.
        """
        self._check_open()
        listed = some_texts(texts)
        if cache is not None and not hasattr(cache, "get_many"):
            raise UsageError(f"cache is {cache!r:.200}: give one, as embedmill.PersistentCache(), or leave it out")
        made = embed_with_cache(listed, self._tokenizing, self.run, cache, task=task)
        self._counts.add(made)
        return made.complete()

    def statistics(self) -> dict[str, int]:
        """What became of the texts of all calls of `embed` so far.

        Of `texts` are `embedded`, `cached`, `duplicates` and `failed`; `misses` are the distinct texts that a cache was
        asked for in vain, `tokens` those of what is embedded.
        """
        return self._counts.to_dict()

    @computed_once
    def _tokenizing(self) -> TokenEmbedder:
        return self._factory(self._threads)

    def restart(self, index: int | None = None) -> None:
        """Have the worker of this place, counted from 0, replaced, or all of them: without waiting for it.

        Each finishes what it holds, and its successor is ready before it goes where memory allows. One that is still
        starting is new enough and stays. Before anything was started, and in a pool that could start no worker, there
        is nothing to replace. Raises `UsageError` for a place that there is not.
        """
        self._check_process()
        if index is not None:
            whole_number("index", index, 0, self.workers - 1)
        self._check_open()
        if self._started and self._here is None:
            self._supervisor.group.ask_for_restart(range(self.workers) if index is None else [index])

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this pool is closed: make a new one")

    def _check_process(self) -> None:
        """Raise `RuntimeError` in a process that was forked: the workers answer to the one that has started them."""
        if os.getpid() != self._pid:
            raise RuntimeError("this pool belongs to the process that was forked: make a new one in this one")

    def _most_in_flight(self) -> int:
        return self.workers * (self._supervisor.concurrency + 1 + _QUEUED)

    def _submit(self, job: Job) -> None:
        with self._lock:
            self._check_open()
            if self._error is not None:
                raise self._error
            (self._here or self._supervisor).submit(job)

    def finish_within(self, seconds: float) -> None:
        """Give up what is not finished within so many seconds: `run` ends then, with what is."""
        # And no more: this may be a signal handler.
        self._supervisor.give_up_at = time.monotonic() + seconds
        if self._here is not None:
            self._here.give_up_at = self._supervisor.give_up_at

    def close(self) -> None:
        """End the workers; may be called twice. A `run` that is under way raises `RuntimeError`.

        In a process that was forked it does nothing: the workers are the other one's.
        """
        if os.getpid() != self._pid:
            return
        with self._lock:
            closing, self._closed = not self._closed, True
        if not closing:
            return
        self._end()
        if self._here is not None:
            self._here.close()
        self._tell_queues(lambda queue: queue.end(RuntimeError("the pool was closed")))

    def stats(self) -> list[WorkerStats]:
        """What each worker is doing and has done; behind them the one that tries alone what workers have died of.

        Empty before anything was started.
        """
        if not self._started:
            return []
        group = self._supervisor.group
        quarantine = [group.quarantine] if group.quarantine.restarts or group.quarantine.worker else []
        return [slot.stats() for slot in (*group.slots, *quarantine)]

    def check_health(self) -> list[str]:
        """What is wrong now, a line each; empty while all is well."""
        if self._closed:
            return ["the pool is closed"]
        if self._error is not None:
            return [f"the pool has failed: {type(self._error).__name__}: {self._error}"]
        group = self._supervisor.group
        reason = f" ({group.trouble})" if group.trouble else ""
        if self._here is not None:
            return [f"no worker process can be started{reason}: texts are embedded in this process"]
        retired = [
            f"worker {slot.index} {'had no memory' if slot.too_many else 'died again and again'} and is not replaced "
            f"({_listed(slot.causes)})"
            for slot in group.slots
            if slot.retired
        ]
        return [*retired, *([f"a worker could not be started{reason}: it is tried again"] if reason else [])]

    def _tell_queues(self, tell: Callable[[BatchQueue], None]) -> None:
        with self._lock:
            queues = list(self._queues)
        for queue in queues:
            tell(queue)

    # --- called from the supervisor's thread ------------------------------------------------------------

    def _out_of_time(self) -> None:
        self._tell_queues(BatchQueue.abandon)

    def _go_on_without_workers(self, error: Exception | None) -> None:
        if error is not None:
            self._fail(error)
            return
        log.warning(
            "no worker process can be started (%s): embedding in this process, where a crash would end the run",
            self._supervisor.group.trouble,
        )
        with self._lock:
            try:
                self._here = here = Fallback(
                    self._factory, self._threads, _weakly(self._fail), _weakly(self._out_of_time), self._pace
                )
                here.give_up_at = self._supervisor.give_up_at  # a stop may have come just before
            except RuntimeError as no_thread:
                self._fail(no_thread)
                return
            weakref.finalize(self, here.close)
            for job in self._supervisor.unassigned():
                here.submit(job)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self._error = error
        self._tell_queues(lambda queue: queue.end(error))


def _weakly(method: Callable[_P, None]) -> Callable[_P, None]:
    """The bound method as a function that does not keep its object, and does nothing once that is gone."""
    weak = weakref.WeakMethod(method)

    def call(*arguments: _P.args, **named: _P.kwargs) -> None:
        if (bound := weak()) is not None:
            bound(*arguments, **named)

    return call


def _pickled(factory: Factory) -> bytes:
    try:
        return pickle.dumps(factory)
    except Exception as error:  # whatever the factory's own parts raise
        raise UsageError(
            f"the factory cannot be sent to a worker ({' '.join(str(error).split())}): define it at the top of a module"
        ) from error


def _main_module(pickled: bytes) -> dict[str, Any] | None:
    """How a worker imports the user's script, where the factory needs that."""
    if not any(argument == "__main__" for _, argument, _ in pickletools.genops(pickled)):
        return None
    told = spawn.get_preparation_data("embedmill-worker")
    if "init_main_from_name" not in told and not Path(told.get("init_main_from_path", "")).is_file():
        raise UsageError(
            "the factory is defined where no worker can import it from (standard input, a notebook): put it into a "
            "module"
        )
    wanted = ("sys_argv", "dir", "orig_dir", "init_main_from_name", "init_main_from_path")
    return {key: told[key] for key in wanted if key in told}


def _listed(causes: Mapping[str, int]) -> str:
    return ", ".join(f"{cause}: {number}" for cause, number in causes.items())
