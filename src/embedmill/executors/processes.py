"""Embed in worker processes, which may crash, leak and hang without harm to the run."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing import spawn
from typing import Any, Final

from embedmill import machine
from embedmill.batching import TOKEN_BUDGET
from embedmill.closing import Closing
from embedmill.errors import UsageError
from embedmill.executors.isolating import isolate
from embedmill.executors.limits import Limits
from embedmill.executors.recovery import Job
from embedmill.executors.slots import Restart
from embedmill.executors.supervisor import Supervisor, divided
from embedmill.executors.worker import IMPORTING
from embedmill.interfaces import Embedder
from embedmill.records import Batch, Embedded, WorkerStats

log = logging.getLogger(__name__)

Factory = Callable[[int], Embedder]
"""Makes an embedder that is to use so many threads. Called in the worker, so it has to be picklable."""

_QUEUED: Final = 1  # batches for each worker that wait beside those it holds
_OUT_OF_ORDER: Final = 2  # finished batches that may wait behind one that takes a little longer
_PATIENCE: Final = 0.5  # seconds after which it takes more than a little
_WAITING: Final = 512  # finished batches that may wait behind one that hangs or whose workers die
_MOST_FOR_A_CORE: Final = 8  # workers: more would only take turns, and each holds a model


class EmbedderPool(Closing):
    """An executor of worker processes, each with an embedder of its own, under one supervising thread.

    A worker that dies, hangs or grows without end is replaced, and what it held is tried again: whole and alone, then
    text by text, until the text that kills its worker is found, which becomes a failure of its own. Where no worker
    can be started, the pool says so once and embeds in this process.

    `factory` makes the embedder, in the worker. Cores are divided among the `workers`, one for each core by default.
    Nothing is started before `start` or `run`. Raises `UsageError` for a factory that cannot be pickled, and for fewer
    workers than one.
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
    ) -> None:
        """`threads` are those of all workers together. `on_restart` is called from the supervisor's thread."""
        if os.environ.get(IMPORTING):
            raise UsageError(
                "a pool is started while a worker imports this script: put what starts it under "
                "`if __name__ == '__main__':`, or define the factory in a module of its own"
            )
        cores = threads or machine.cores()
        self.workers = cores if workers is None else workers
        most = _MOST_FOR_A_CORE * cores
        if not 1 <= self.workers <= most:
            raise UsageError(f"workers is {self.workers}: give a number from 1 to {most}, {cores} cores are used here")
        self._factory = factory
        self._threads = cores
        self._lock = threading.Lock()
        self._closed = False
        self._pid = os.getpid()
        self._started = False
        self._here: queue.SimpleQueue[Job | None] | None = None  # jobs for this process, once no worker can be started
        self._error: Exception | None = None
        self._callers: set[_Caller] = set()
        pickled = _pickled(factory)
        self._supervisor = Supervisor(
            pickled,
            divided(cores, self.workers),
            limits or Limits(),
            main=_main_module(pickled),
            on_restart=on_restart,
            no_workers=self._go_on_without_workers,
            out_of_time=lambda: self._end_callers(_Abandoned()),
        )

    @property
    def restarts(self) -> int:
        """Workers replaced so far, planned replacements included."""
        return self._supervisor.restarts

    @property
    def retries(self) -> int:
        """Batches, or parts of one, that were tried again so far."""
        return self._supervisor.retries

    def start(self) -> None:
        """Begin to start the workers, without waiting for them."""
        with self._lock:
            if self._started or self._closed:
                return
            self._started = True
            try:
                self._supervisor.start()
            except OSError:  # no descriptor left
                startable = False
            else:
                startable = True
        if not startable:
            self._go_on_without_workers(None)

    def run(self, batches: Iterable[Batch]) -> Iterator[Embedded]:
        """Embed the batches; results come in the batches' order.

        What is in flight is bounded in batches and in tokens; but the results behind a batch that hangs or is being
        recovered may pile up to some hundred batches, so that the other workers need not wait for it.
        """
        if self._closed:
            raise RuntimeError("this pool is closed: make a new one")
        if os.getpid() != self._pid:
            raise RuntimeError("this pool belongs to the process that was forked: make a new one in this one")
        self.start()
        caller = _Caller()
        with self._lock:
            self._callers.add(caller)
        try:
            for batch in batches:
                self._submit(caller.job(batch))
                while (embedded := caller.next(self._most_in_flight())) is not None:
                    yield embedded
            yield from caller.rest()
        finally:
            caller.end(_Abandoned())
            with self._lock:
                self._callers.discard(caller)

    def _most_in_flight(self) -> int:
        return self.workers * (self._supervisor.concurrency + 1 + _QUEUED)

    def _submit(self, job: Job) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("this pool is closed: make a new one")
            if self._error is not None:
                raise self._error
            if self._here is not None:
                self._here.put(job)
            else:
                self._supervisor.submit(job)

    def hurry(self, seconds: float) -> None:
        """Give up what is not finished within so many seconds: `run` ends then, with what is."""
        self._supervisor.give_up_at = time.monotonic() + seconds  # and no more: this may be a signal handler

    def close(self) -> None:
        """End the workers; may be called twice. A `run` that is under way raises `RuntimeError`."""
        with self._lock:
            closing, self._closed = not self._closed, True
        if not closing:
            return
        self._supervisor.close()
        if self._here is not None:
            self._here.put(None)
        self._end_callers(RuntimeError("the pool was closed"))

    def stats(self) -> list[WorkerStats]:
        """What each worker is doing and has done; behind them the one that tries alone what workers have died of."""
        ward = self._supervisor.ward
        return [slot.stats() for slot in (*self._supervisor.slots, *([ward] if ward.restarts or ward.worker else []))]

    def check_health(self) -> list[str]:
        """What is wrong now, a line each; empty while all is well."""
        if self._here is not None:
            return ["no worker process can be started: texts are embedded in this process"]
        return [
            f"worker {each.worker} is {each.state} after {each.restarts} restarts ({_listed(each.causes)})"
            for each in self.stats()[: self.workers]
            if each.state in ("missing", "retired") and self._started
        ]

    def _end_callers(self, outcome: Exception) -> None:
        with self._lock:
            callers = list(self._callers)
        for caller in callers:
            caller.end(outcome)

    # --- without workers: called from the supervisor's thread ------------------------------------------

    def _go_on_without_workers(self, error: Exception | None) -> None:
        if error is not None:
            with self._lock:
                self._error = error
            self._end_callers(error)
            return
        log.warning("no worker process can be started: embedding in this process, where a crash would end the run")
        with self._lock:
            self._here = queue.SimpleQueue()
            for job in self._supervisor.unassigned():
                self._here.put(job)
        threading.Thread(target=self._embed_here, args=[self._here], name="embedmill-here", daemon=True).start()

    def _embed_here(self, jobs: queue.SimpleQueue[Job | None]) -> None:
        try:
            embedder = self._factory(self._threads)
            embedder.load()
        except Exception as error:
            self._go_on_without_workers(error)
            return

        def serve() -> None:
            while (job := jobs.get()) is not None:
                if job.outcome is None:
                    job.finish(isolate(embedder, job.batch)[0])
            jobs.put(None)  # for the next of these threads

        for _ in range(embedder.concurrency):
            threading.Thread(target=serve, name="embedmill-here", daemon=True).start()


class _Abandoned(Exception):
    """The outcome of a job that nobody waits for any more."""


class _Caller:
    """What one `run` waits for, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._unfinished = 0
        self._tokens = 0  # of the unfinished
        self._late: Job | None = None  # the first one, where the others need not wait for it

    def job(self, batch: Batch) -> Job:
        """A new job, the last in the row."""
        job = Job(batch, self._done)
        with self._changed:
            self._waiting.append(job)
            self._unfinished += 1
            self._tokens += batch.tokens
        return job

    def _done(self, job: Job) -> None:
        with self._changed:
            self._unfinished -= 1
            self._tokens -= job.batch.tokens
            self._changed.notify()

    def next(self, most: int) -> Embedded | None:
        """The first result, or None while there are fewer than `most` jobs under way; waits for either."""
        while True:
            with self._changed:
                late = bool(self._waiting) and self._waiting[0] is self._late
                bound = _WAITING if late else most + _OUT_OF_ORDER
                if not self._changed.wait_for(lambda: self._first_is_done() or self._room(most, bound), _PATIENCE):  # noqa: B023
                    self._late = self._waiting[0]
                    continue
                if not self._first_is_done():
                    return None
            if (embedded := self._take()) is not None:
                return embedded

    def rest(self) -> Iterator[Embedded]:
        """All results that are still to come."""
        while self._waiting:
            with self._changed:
                self._changed.wait_for(self._first_is_done)
            if (embedded := self._take()) is not None:
                yield embedded

    def end(self, outcome: Exception) -> None:
        """Let all that is unfinished have this outcome."""
        for job in list(self._waiting):
            job.finish(outcome)

    def _first_is_done(self) -> bool:
        return bool(self._waiting) and self._waiting[0].outcome is not None

    def _room(self, most: int, most_waiting: int) -> bool:
        few = self._unfinished < most and self._tokens < most * TOKEN_BUDGET
        return few and len(self._waiting) < most_waiting

    def _take(self) -> Embedded | None:
        """The first result; None for one that was abandoned."""
        outcome = self._waiting.popleft().outcome
        if isinstance(outcome, _Abandoned):
            return None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def _pickled(factory: Factory) -> bytes:
    try:
        return pickle.dumps(factory)
    except Exception as error:  # whatever the factory's own parts raise
        raise UsageError(
            f"the factory cannot be sent to a worker ({' '.join(str(error).split())}): define it at the top of a module"
        ) from error


def _main_module(pickled: bytes) -> dict[str, Any] | None:
    """How a worker imports the user's script, where the factory needs that."""
    if b"__main__" not in pickled:
        return None
    told = spawn.get_preparation_data("embedmill-worker")
    wanted = ("sys_argv", "dir", "orig_dir", "init_main_from_name", "init_main_from_path")
    return {key: told[key] for key in wanted if key in told}


def _listed(causes: Mapping[str, int]) -> str:
    return ", ".join(f"{cause}: {number}" for cause, number in causes.items()) or "never started"
