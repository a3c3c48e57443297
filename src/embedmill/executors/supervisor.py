"""The one thread that starts, feeds, watches and replaces a pool's workers.

All that changes about a worker happens here, one event after another: no lock guards it, and restarts never overlap.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from embedmill import errors
from embedmill.executors.child import IsolatedEmbedder, died_of
from embedmill.executors.frames import Frame, Kind, ProtocolError, pack_batch, read_result
from embedmill.executors.limits import Limits
from embedmill.executors.memory import Memory
from embedmill.executors.recovery import Job, Trial
from embedmill.executors.slots import Held, Restart, Slot, Worker
from embedmill.records import Cause

log = logging.getLogger(__name__)

_TICK: Final = 0.1  # seconds between looks at the clock while there is something to wait for
_AHEAD: Final = 1  # batches that a worker holds beyond those it embeds at once
_EARLY: Final = 0.8  # of the documents after which a worker is replaced: its successor is begun then
_BACK_OFF: Final = 0.5  # seconds after a first failed start, doubled with each
_WARD_AHEAD: Final = 2.0  # seconds before a deadline at which the ward's worker is started
_WARD_IDLE: Final = 10.0  # seconds that the ward's worker waits for more
_LONGEST_BACK_OFF: Final = 30.0  # seconds


class Supervisor:
    """Runs in a thread of its own from `start` to `close`."""

    def __init__(
        self,
        factory: bytes,
        threads: Sequence[int],
        limits: Limits,
        *,
        main: Mapping[str, Any] | None,
        on_restart: Callable[[Restart], None],
        no_workers: Callable[[Exception | None], None],
        out_of_time: Callable[[], None],
    ) -> None:
        """`threads` has one entry for each worker.

        `no_workers` is called once, when none can be started: with the error where that would come in this process
        too, else with None. `out_of_time` is called at the time `give_up_at`.
        """
        self.slots = [Slot(index, count) for index, count in enumerate(threads)]
        self.ward = Slot(len(threads), threads=1)
        """The place of one worker more, while there is something that workers have died of: the others work on."""
        self.restarts = self.retries = 0
        self.dimension = 0
        self._factory = factory
        self._limits = limits
        self._main = main
        self._on_restart = on_restart
        self._no_workers = no_workers
        self._out_of_time = out_of_time
        self.give_up_at = math.inf  # on the monotonic clock; set by any thread or signal handler
        self._memory = Memory(limits.max_memory_mb)
        self._queue: deque[Job] = deque()  # appended to by any thread, taken from by this one
        self._suspects: deque[Trial] = deque()
        self._failed_starts = 0
        self._start_again_at = 0.0
        self._number = 0
        self._embedded_tokens, self._busy_seconds = 0, 0.0  # of all calls, to predict how long one takes
        self._slowest = 0.0  # seconds of a call
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="embedmill-pool", daemon=True)

    def start(self) -> None:
        """Begin; raises `OSError` where there is no descriptor left."""
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Have a job done; callable from every thread."""
        self._queue.append(job)
        self._wake()

    def unassigned(self) -> Iterator[Job]:
        """The jobs that no worker has been given; they are taken away from here."""
        while self._queue:
            yield self._queue.popleft()

    def close(self) -> None:
        """End all workers now and then the thread."""
        self._ending = True
        if self._thread.is_alive():
            self._wake()
            self._thread.join()

    @property
    def concurrency(self) -> int:
        """Batches that a worker embeds at once; a guess until one has told."""
        return max((worker.concurrency for worker in self._workers()), default=1)

    # --- the loop ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ending:
                self._start_missing()
                self._assign()
                busy = self._suspects or any(worker.held or not worker.ready for worker in self._workers())
                for key, _ in self._selector.select(_TICK if busy or self._missing() else 1.0):
                    key.data()
                self._look_at_the_clock()
        except Exception as error:  # a defect of ours must not leave the callers waiting
            log.exception("the pool's supervisor failed")
            self._no_workers(error)
        finally:
            for worker in list(self._workers()):
                self._let_go(worker)
            self._selector.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is awake, or has ended
            os.write(self._wake_write, b"!")

    def _woken(self) -> None:
        os.read(self._wake_read, 4096)

    def _workers(self) -> Iterator[Worker]:
        for slot in (*self.slots, self.ward):
            yield from (worker for worker in (slot.worker, slot.successor) if worker)

    def _slot(self, worker: Worker) -> Slot:
        return next(slot for slot in (*self.slots, self.ward) if worker in (slot.worker, slot.successor))

    # --- starting -----------------------------------------------------------------------------------

    def _missing(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.worker is None and not slot.retired]

    def _start_missing(self) -> None:
        missing = self._missing()
        if all(slot.retired for slot in self.slots):
            self._fail_all()
        elif self._failed_starts >= self._limits.failed_starts and len(missing) == len(self.slots):
            self._fall_back(None)
        elif time.monotonic() >= self._start_again_at:
            for slot in missing:
                slot.worker = self._started(slot)

    def _started(self, slot: Slot) -> Worker | None:
        try:
            child = IsolatedEmbedder(self._factory, threads=slot.threads, main=self._main)
        except OSError as error:
            self._start_failed(f"a worker process cannot be started ({error.strerror or error})")
            return None
        worker = Worker(child)
        self._selector.register(child.socket, selectors.EVENT_READ, lambda: self._hear(worker))
        self._selector.register(child.output, selectors.EVENT_READ, lambda: self._listen(worker))
        if child.sentinel is not None:
            self._selector.register(child.sentinel, selectors.EVENT_READ, lambda: self._hear(worker, ended=True))
        self._send(worker)
        return worker

    def _start_failed(self, reason: str) -> None:
        self._failed_starts += 1
        self._start_again_at = time.monotonic() + min(_BACK_OFF * 2 ** (self._failed_starts - 1), _LONGEST_BACK_OFF)
        level = logging.WARNING if self._failed_starts == self._limits.failed_starts else logging.INFO
        log.log(level, "%s", reason)

    def _fail_all(self) -> None:
        """No worker is left, since all died of their work: it must not come into this process."""
        self._suspects.extend(Trial.of(job) for job in self.unassigned())
        self._fail_suspects("every worker died again and again: see the log, with -v")

    def _fail_suspects(self, reason: str) -> None:
        for trial in self._suspects:
            trial.fail(Cause("WorkerDied", reason), self.dimension)
        self._suspects.clear()

    def _fall_back(self, error: Exception | None) -> None:
        """Leave the rest to this process; what workers have died of is not tried there."""
        self._ending = True
        self._suspects.extend(held.trial for worker in self._workers() for held in worker.held.values())
        self._fail_suspects("workers died of its batch, and none is left to try it in")
        self._no_workers(error)

    # --- giving work ----------------------------------------------------------------------------------

    def _assign(self) -> None:
        if self._suspects and not any(worker.alone and not worker.leaving for worker in self._workers()):
            self._isolate()
        gave = True
        while gave:  # one each in turn: the last batches are spread evenly
            gave = False
            for worker in self._workers():
                if trial := self._next_for(worker):
                    self._give(worker, trial)
                    gave = True

    def _isolate(self) -> None:
        """See to a worker for what workers have died of: one more where memory allows, else one of the others."""
        startable = not self.ward.retired and self._failed_starts < self._limits.failed_starts
        if startable and self.ward.worker is None and self._memory.room_for(self._memory.largest_loaded):
            self._open_ward()
        elif candidates := [worker for worker in self._workers() if not worker.leaving]:
            min(candidates, key=lambda worker: (len(worker.held), -worker.child.started)).alone = True

    def _open_ward(self) -> None:
        if self.ward.worker is None and not self.ward.retired and time.monotonic() >= self._start_again_at:
            self.ward.worker = self._started(self.ward)
            if self.ward.worker:
                self.ward.worker.alone = True

    def _next_for(self, worker: Worker) -> Trial | None:
        if not worker.ready or worker.leaving:
            return None
        if worker.alone:
            if worker.held:
                return None
            while self._suspects:
                trial = self._suspects.popleft()
                if trial.job.outcome is None:
                    return trial
            if worker is self.ward.worker:
                return None
            worker.alone = False
        while len(worker.held) < worker.concurrency + _AHEAD and self._queue:
            job = self._queue.popleft()
            if job.outcome is None:
                return Trial.of(job)
        return None

    def _give(self, worker: Worker, trial: Trial) -> None:
        self._number = (self._number + 1) % 2**32
        worker.held[self._number] = Held(trial)
        worker.begin(time.monotonic())
        worker.documents += trial.stop - trial.start
        self._send(worker, pack_batch(self._number, trial.batch))
        most = self._limits.max_documents_per_worker
        if most is not None and worker.documents >= most * _EARLY:
            self._replace(worker, "documents", at_once=worker.documents >= most)

    def _send(self, worker: Worker, frame: bytes = b"") -> None:
        worker.child.send(frame)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.child.unsent else 0)
        self._selector.modify(worker.child.socket, events, lambda: self._hear(worker))

    # --- hearing ----------------------------------------------------------------------------------------

    def _listen(self, worker: Worker) -> None:
        if worker in self._workers() and not worker.child.listen():
            self._selector.unregister(worker.child.output)

    def _hear(self, worker: Worker, *, ended: bool = False) -> None:
        if worker not in self._workers():  # given up earlier in the same round
            return
        try:
            frames, still_open = worker.child.receive()
            for frame in frames:
                if worker in self._workers():  # the frame before may have been its last
                    self._take(worker, frame)
        except ProtocolError as error:
            self._lost(worker, Cause("WorkerDied", f"the worker sent garbage ({error})"))
            return
        if self._ending or worker not in self._workers():
            return
        if ended or not still_open:
            self._lost(worker)
        else:
            self._send(worker)

    def _take(self, worker: Worker, frame: Frame) -> None:
        match frame.kind:
            case Kind.RESULT if frame.number in worker.held:
                self._take_result(worker, frame)
            case Kind.READY if not worker.ready:
                self._take_ready(worker, frame)
            case Kind.FAILED if not worker.ready:
                self._take_failed(worker, frame)
            case _:
                raise ProtocolError(f"{frame.kind.name} was not expected")

    def _take_ready(self, worker: Worker, frame: Frame) -> None:
        dimension, concurrency = frame.facts.get("dimension"), frame.facts.get("concurrency")
        if not isinstance(dimension, int) or not isinstance(concurrency, int) or concurrency < 1:
            raise ProtocolError("a worker that does not say what it can do")
        worker.ready, worker.concurrency, self.dimension = True, concurrency, dimension
        worker.loaded_mb = worker.rss_mb = self._memory.of(worker.child.pid)
        self._memory.largest_loaded = max(self._memory.largest_loaded, worker.loaded_mb)
        worker.idle_since = time.monotonic()
        self._failed_starts = 0
        slot = self._slot(worker)
        log.info("worker %d: ready after %.1f s", slot.index, time.monotonic() - worker.child.started)
        if slot.successor is worker and slot.worker is not None:
            slot.worker.leaving = True
            self._part(slot.worker)

    def _take_failed(self, worker: Worker, frame: Frame) -> None:
        kind, message = str(frame.facts.get("type")), str(frame.facts.get("message"))
        log.debug("%s", frame.facts.get("trace"))
        known = getattr(errors, kind, None)
        if isinstance(known, type) and issubclass(known, errors.EmbedmillError):
            self._fall_back(known(message))  # it says what to do, and would come in this process too
        else:
            self._lost(worker, Cause(kind, message))

    def _take_result(self, worker: Worker, frame: Frame) -> None:
        held = worker.held[frame.number]
        trial = held.trial
        embedded, retries = read_result(frame, trial.batch)
        if embedded.vectors.shape[1] != self.dimension:
            raise ProtocolError(f"vectors of {embedded.vectors.shape[1]} numbers, not of {self.dimension}")
        del worker.held[frame.number]
        now = time.monotonic()
        tokens = trial.batch.tokens
        taken = now - (held.since or now)
        self._embedded_tokens += tokens
        self._busy_seconds += taken
        self._slowest = max(self._slowest, taken)
        worker.begin(now)
        worker.idle_since = now
        worker.batches += 1
        worker.tokens += tokens
        self.retries += retries
        self._slot(worker).futile = 0
        for row, cause in embedded.causes.items():
            log.debug("text %d of a batch of %d: %s", row, len(trial.batch.texts), cause.trace)
        trial.settle(embedded)
        self._part(worker)

    # --- the clock --------------------------------------------------------------------------------------

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if now >= self.give_up_at:
            self.give_up_at = math.inf
            self._out_of_time()
        limits = self._limits
        for worker in list(self._workers()):
            if not worker.ready:
                if now - worker.child.started > limits.start_seconds:
                    self._lost(worker, Cause("WorkerHung", f"it was not ready within {limits.start_seconds:g} s"))
            elif late := self._late(worker, now):
                waited = now - (late.since or now)
                stacks = worker.child.dump()
                log.warning("a worker gave no answer within %.0f s and is replaced (-v shows its stacks)", waited)
                log.info("its stacks:\n%s", stacks)
                self._lost(worker, Cause("WorkerHung", f"the worker gave no answer within {waited:.0f} s"), late=late)
            elif self._late(worker, now + _WARD_AHEAD) and not worker.alone:
                self._open_ward()
            elif worker is self.ward.worker and not worker.held and now > worker.idle_since + _WARD_IDLE:
                self._let_go(worker)
                self.ward.worker = None
        if self._memory.due(now):
            for worker in [worker for worker in self._workers() if worker.ready]:
                self._weigh(worker)

    def _late(self, worker: Worker, now: float) -> Held | None:
        """What a worker will have been at for too long, if anything."""
        return next((held for held in worker.held.values() if self._is_late(worker, held, now)), None)

    def _is_late(self, worker: Worker, held: Held, now: float) -> bool:
        if held.since is None:
            return False
        allowed = self._limits.deadline_seconds
        if self._embedded_tokens:
            predicted = held.trial.batch.tokens * self._busy_seconds / self._embedded_tokens
            if worker.alone:  # a worker's first call may be slow, and here it often is the first
                allowed = min(allowed, self._limits.retry_seconds + self._slowest)
            allowed += self._limits.deadline_factor * predicted
        return now - held.since > allowed

    def _weigh(self, worker: Worker) -> None:
        worker.rss_mb = self._memory.of(worker.child.pid)
        grown = worker.rss_mb - worker.loaded_mb
        if self._memory.beyond_hard(grown):
            reason = f"the worker took {grown:,.0f} MB more than after loading"
            self._memory.learn(grown, worker.batches)
            self._lost(worker, Cause("WorkerTooLarge", reason), "memory")
        elif self._memory.beyond_soft(grown):
            self._memory.learn(grown, worker.batches)
            self._replace(worker, "memory", at_once=False)

    def _replace(self, worker: Worker, cause: str, *, at_once: bool) -> None:
        """Have a successor started; this one works on until that is ready, unless it has to leave at once."""
        slot = self._slot(worker)
        if worker.replaced_for is None:
            if time.monotonic() < self._start_again_at:
                return
            worker.replaced_for = cause
            if slot.worker is worker and slot is not self.ward and self._memory.room_for(worker.loaded_mb):
                slot.successor = self._started(slot)
        if at_once or slot.successor is None:
            worker.leaving = True
            self._part(worker)

    def _part(self, worker: Worker) -> None:
        """Let a worker go that is to leave and holds nothing."""
        if worker.leaving and not worker.held:
            slot = self._slot(worker)
            self._let_go(worker)
            slot.worker, slot.successor = slot.successor, None
            self._count(slot, worker.child.pid, worker.replaced_for or "replaced")

    # --- losing -------------------------------------------------------------------------------------------

    def _lost(
        self, worker: Worker, cause: Cause | None = None, short: str | None = None, *, late: Held | None = None
    ) -> None:
        """A worker is dead, or has to be: what it held is tried again; `late` is what it hung on."""
        slot = self._slot(worker)
        pid = worker.child.pid
        code = self._let_go(worker)
        words = worker.child.last_words(lines=3)
        cause = cause or Cause("WorkerDied", f"the worker was {died_of(code)}" if code < 0 else died_of(code))
        told = " | ".join(words.splitlines())
        if told and cause.type == "WorkerDied":  # other causes speak for themselves
            cause = Cause(cause.type, f"{cause.message}; it said: {told}")
        if slot.worker is worker:
            slot.worker, slot.successor = slot.successor, None
        else:
            slot.successor = None
            if slot.worker is not None:
                slot.worker.replaced_for = None  # and is given another successor later
        if not worker.ready:
            self._start_failed(f"a worker could not be started: {cause.type}: {cause.message}")
            return
        self._failed_starts, self._start_again_at = 0, 0.0  # it had started, so that others may
        slot.futile += 1
        if slot.futile > self._limits.max_restarts and slot.worker is None:
            slot.retired = True
            log.warning("worker %d died %d times in a row and is not replaced", slot.index, slot.futile)
        self._count(slot, pid, short or {"WorkerHung": "hang"}.get(cause.type) or died_of(code))
        for held in worker.held.values():
            if held.trial.job.outcome is None:
                self.retries += 1
                self._suspects.extend(held.trial.after_death(cause, self.dimension, hung=held is late))

    def _count(self, slot: Slot, pid: int, cause: str) -> None:
        slot.restarts += 1
        slot.causes[cause] += 1
        self.restarts += 1
        log.info("worker %d (process %d): %s", slot.index, pid, cause)
        try:
            self._on_restart(Restart(slot.index, pid, cause))
        except Exception:  # the caller's own
            log.exception("on_restart failed")

    def _let_go(self, worker: Worker) -> int:
        """End the process, close what it had open here, and give its exit code."""
        for opened in (worker.child.socket, worker.child.output, worker.child.sentinel):
            if opened is not None:
                with contextlib.suppress(KeyError, ValueError):  # its output had ended before
                    self._selector.unregister(opened)
        return worker.child.release()


def divided(cores: int, workers: int) -> list[int]:
    """Threads for each of so many workers: all cores, at least one each."""
    return [max(1, cores // workers + (index < cores % workers)) for index in range(workers)]
