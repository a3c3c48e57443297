"""The one thread that feeds and watches a pool's workers.

All that changes about a worker happens here, one event after another: no lock guards it, and restarts never overlap.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from embedmill.core import errors
from embedmill.core.vectors import Cause
from embedmill.executors.pace import Pace
from embedmill.executors.processes.child import IsolatedEmbedder
from embedmill.executors.processes.events import Events
from embedmill.executors.processes.frames import Frame, FrameKind, ProtocolError, pack_batch, read_result
from embedmill.executors.processes.limits import Deadlines, Limits
from embedmill.executors.processes.recovery import Attempt, Job
from embedmill.executors.processes.slots import InFlight, Restart, Slot, Worker
from embedmill.executors.processes.worker import MODEL_FAILED
from embedmill.executors.processes.workers import OUT_OF_MEMORY, WorkerGroup

log = logging.getLogger(__name__)

_TICK: Final = 0.1  # seconds between looks at the clock while there is something to wait for
_IDLE_TICK: Final = 1.0  # seconds, while there is not
_STOPPED: Final = 2.0  # seconds between two looks, after which this process must have been stopped itself
_AHEAD: Final = 1  # batches that a worker holds beyond those it embeds at once
_EARLY: Final = 0.8  # of the calls after which a worker is replaced: its successor is begun then
_LONG_LIFE: Final = 16  # batches finished: a worker's memory has grown by then
_SHORT_LIVES: Final = 8  # of the last worker, one after another, which the kernel has ended
_QUARANTINE_AHEAD: Final = 2.0  # seconds before a deadline at which the quarantine's worker is started


class Supervisor:
    """Runs in a thread of its own from `start` to `close`."""

    def __init__(
        self,
        start: Callable[[int], IsolatedEmbedder],
        threads: Sequence[int],
        limits: Limits,
        *,
        on_restart: Callable[[Restart], None],
        no_workers: Callable[[Exception | None], None],
        out_of_time: Callable[[], None],
        pace: Pace | None = None,
    ) -> None:
        """`start` starts a worker of so many threads, of which `threads` has an entry for each worker.

        `no_workers` is called once, when none can be started: with the error where that would come in this process
        too, else with None. `out_of_time` is called at the time `give_up_at`.
        """
        self._events = Events(self._hear)
        self.group = WorkerGroup(start, threads, limits, self._events, on_restart)
        self.retries = 0
        self.give_up_at = math.inf  # on the monotonic clock; set by any thread or signal handler
        self._dimension = 0  # until a worker was ready
        self._lives = 0  # short ones, of the last worker that there is memory for
        self._alone = 0  # batches that it has finished
        self._deadly = 0  # texts found to kill workers, since a batch was last finished
        self._limits = limits
        self._pace = pace
        self._places = sum(threads)  # calls that keep the cores busy
        if pace is not None:
            pace.worker_pids = lambda: [worker.child.pid for worker in self.group]
        self._deadlines = Deadlines(limits)
        self._no_workers = no_workers
        self._out_of_time = out_of_time
        self._queue: deque[Job] = deque()  # appended to by any thread, taken from by this one
        self._suspects: deque[Attempt] = deque()
        self._number = 0
        self._looked_at = 0.0
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="embedmill-pool", daemon=True)

    def start(self) -> None:
        """Begin; raises `OSError` where there is no descriptor left, `RuntimeError` where there is no thread."""
        self._events.open()
        try:
            self._thread.start()
        except RuntimeError:
            self._events.close()
            raise

    def submit(self, job: Job) -> None:
        """Have a job done; callable from every thread."""
        self._queue.append(job)
        self._events.wake()

    def unassigned(self) -> Iterator[Job]:
        """The jobs that no worker has been given; they are taken away from here."""
        while self._queue:
            yield self._queue.popleft()

    def close(self) -> None:
        """End all workers now and then the thread; from within `on_restart`, soon."""
        self._ending = True
        if self._thread.is_alive():
            self._events.wake()
            if threading.current_thread() is not self._thread:
                self._thread.join()

    @property
    def concurrency(self) -> int:
        """Batches that a worker embeds at once; a guess until one has told."""
        return max((worker.concurrency for worker in self.group), default=1)

    # --- the loop ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._looked_at = time.monotonic()
            while not self._ending:
                self._start_missing()
                self._assign()
                busy = self._suspects or self._queue or any(worker.held or not worker.ready for worker in self.group)
                self._events.wait(_TICK if busy or self.group.missing() else _IDLE_TICK)
                self._look_at_the_clock()
        except BaseException as error:  # a defect of ours must not leave the callers waiting
            log.exception("the pool's supervisor failed")
            self._no_workers(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        finally:
            self._ended(sum(len(worker.held) for worker in self.group))
            self.group.end()
            self._events.close()

    def _start_missing(self) -> None:
        if self.group.all_retired or self._deadly > self._limits.max_deadly_texts:  # none of it must come in here
            self._suspects.extend(Attempt.of(job) for job in self.unassigned())
            self._fail_suspects("every worker died again and again: see the log, with -v")
        elif self.group.cannot_start and all(slot.retired or slot.worker is None for slot in self.group.slots):
            self._fall_back(None)
        else:
            self.group.start_missing()

    def _fall_back(self, error: Exception | None) -> None:
        """Leave the rest to this process; what workers have died of is not tried there."""
        self._ending = True
        if error is None:
            self._suspects.extend(held.attempt for worker in self.group for held in worker.held.values())
            self._fail_suspects("workers died of its batch, and none is left to try it in")
        self._no_workers(error)

    def _fail_suspects(self, reason: str) -> None:
        for attempt in self._suspects:
            attempt.fail(Cause("WorkerDied", reason), self._dimension)
        self._suspects.clear()

    # --- giving work ----------------------------------------------------------------------------------

    def _assign(self) -> None:
        if self._suspects and not any(worker.alone and not worker.leaving for worker in self.group):
            self.group.quarantine_worker()
        gave = True
        while gave:  # the worker that has the least comes first: none waits while another holds more than it works at
            gave = False
            for worker in sorted(self.group, key=lambda worker: len(worker.held) / worker.concurrency):
                if not self._in_pace(worker):
                    continue
                if attempt := self._next_for(worker):
                    self._give(worker, attempt)
                    gave = True
                    break

    def _in_pace(self, worker: Worker) -> bool:
        """Whether the pace lets another call begin, in this worker."""
        if self._pace is None:
            return True
        ahead = sum(worker.concurrency + _AHEAD for worker in self.group)
        if self._pace.places(self._places) == self._places and not self._pace.sleeps:
            return self._pace.may_begin(self._places, ahead)
        calls = max(1, min(worker.concurrency, self.group.slot(worker).threads))
        return len(worker.held) < calls and self._pace.may_begin(self._places)

    def _ended(self, calls: int) -> None:
        if self._pace is not None:
            self._pace.end(calls)

    def _next_for(self, worker: Worker) -> Attempt | None:
        if not worker.ready or worker.leaving:
            return None
        if worker.alone:
            if worker.held:
                return None
            while self._suspects:
                attempt = self._suspects.popleft()
                if attempt.job.outcome is None:
                    return attempt
            if worker is self.group.quarantine.worker:
                return None
            worker.alone = False
        while len(worker.held) < worker.concurrency + _AHEAD and self._queue:
            job = self._queue.popleft()
            if job.outcome is None:
                return Attempt.of(job)
        return None

    def _give(self, worker: Worker, attempt: Attempt) -> None:
        self._number = (self._number + 1) % 2**32
        worker.held[self._number] = InFlight(attempt)
        if self._pace is not None:
            self._pace.begun()
        worker.begin(time.monotonic())
        worker.calls += 1
        self._events.send(worker, pack_batch(self._number, attempt.batch))
        most = self._limits.max_documents_per_worker
        if most is not None and worker.calls >= most * _EARLY:
            self.group.replace(worker, "documents", at_once=worker.calls >= most)

    # --- hearing ----------------------------------------------------------------------------------------

    def _hear(self, worker: Worker, ended: bool) -> None:
        if worker not in self.group:  # given up earlier in the same round
            return
        try:
            frames, still_open = worker.child.receive()
            for frame in frames:
                if worker in self.group:  # the frame before may have been its last
                    self._take(worker, frame)
        except ProtocolError as error:
            self._on_death(worker, Cause("WorkerDied", f"the worker sent garbage ({error})"))
            return
        if self._ending or worker not in self.group:
            return
        if ended or not still_open:
            self._on_death(worker)
        else:
            self._events.send(worker)

    def _take(self, worker: Worker, frame: Frame) -> None:
        match frame.kind:
            case FrameKind.RESULT if frame.number in worker.held:
                self._take_result(worker, frame)
            case FrameKind.READY if not worker.ready:
                self._take_ready(worker, frame)
            case FrameKind.FAILED if not worker.ready:
                self._take_failed(worker, frame)
            case FrameKind.FAILED if frame.facts.get("type") == MODEL_FAILED:
                self.group.replace(worker, "model failure")
            case FrameKind.FAILED:
                self._take_unusable(worker, str(frame.facts.get("message")))
            case _:
                raise ProtocolError(f"{frame.kind.name} was not expected")

    def _take_ready(self, worker: Worker, frame: Frame) -> None:
        dimension, concurrency = frame.facts.get("dimension"), frame.facts.get("concurrency")
        if not isinstance(dimension, int) or not isinstance(concurrency, int) or concurrency < 1:
            raise ProtocolError("a worker that does not say what it can do")
        self._dimension = dimension
        self.group.ready(worker, concurrency)

    def _take_failed(self, worker: Worker, frame: Frame) -> None:
        kind, message = str(frame.facts.get("type")), str(frame.facts.get("message"))
        log.debug("%s", frame.facts.get("trace"))
        error = errors.told(kind, message)
        if error is not None and not self._dimension:
            self._fall_back(error)  # it says what to do, and would come in this process too
        else:
            self._on_death(worker, Cause(kind, message))

    def _take_unusable(self, worker: Worker, message: str) -> None:
        """A worker's model cannot be used any more, which is no text's fault: one more worker is tried."""
        self.group.on_death(worker, Cause("ModelUnusable", message))
        self._ended(len(worker.held))
        for held in worker.held.values():
            attempt = held.attempt
            attempt.job.unusable += 1
            if attempt.job.unusable > 1:
                attempt.job.finish(errors.ModelUnusable(message))
            elif attempt.whole:
                self._queue.appendleft(attempt.job)
            else:
                self._suspects.appendleft(attempt)

    def _take_result(self, worker: Worker, frame: Frame) -> None:
        held = worker.held[frame.number]
        attempt = held.attempt
        embedded, retries = read_result(frame, attempt.batch)
        if embedded.vectors.shape[1] != self._dimension:
            raise ProtocolError(f"vectors of {embedded.vectors.shape[1]} numbers, not of {self._dimension}")
        del worker.held[frame.number]
        self._ended(1)
        now = time.monotonic()
        self._deadlines.learn(attempt.batch.tokens, now - (held.since or now))
        worker.begin(now)
        worker.idle_since = now
        self.group.slot(worker).finished(worker, attempt)
        self._deadly = 0
        self._alone += 1
        self.retries += retries
        for row, cause in embedded.causes.items():
            log.debug("text %d of a batch of %d: %s", row, len(attempt.batch.texts), cause.trace)
        attempt.settle(embedded)
        self.group.retire(worker)

    # --- the clock --------------------------------------------------------------------------------------

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if now >= self.give_up_at:
            self.give_up_at = math.inf
            self._out_of_time()
        since_last, self._looked_at = now - self._looked_at, now
        if since_last > _STOPPED:  # the workers' answers may lie here unread, or they were stopped with us
            for worker in self.group:
                worker.discount(since_last)
        for worker in list(self.group):
            self._judge(worker, now)
        self.group.replace_asked()
        self.group.close_idle_quarantine(now)
        for worker, cause in self.group.check_memory(now):
            self._on_death(worker, cause)

    def _judge(self, worker: Worker, now: float) -> None:
        """Give up a worker that takes far too long; prepare for that a little earlier."""
        if not worker.ready:
            if now - worker.started > self._limits.start_seconds:
                reason = f"it was not ready within {self._limits.start_seconds:g} s"
                self._on_death(worker, Cause("WorkerHung", reason))
        elif late := self._deadlines.late(worker, now):
            waited = now - (late.since or now)
            stacks = worker.child.dump()
            log.warning("a worker gave no answer within %.0f s and is replaced (-v shows its stacks)", waited)
            log.info("its stacks:\n%s", stacks)
            self._on_death(worker, Cause("WorkerHung", f"the worker gave no answer within {waited:.0f} s"), late=late)
        elif self._deadlines.late(worker, now + _QUARANTINE_AHEAD) and not worker.alone:
            self.group.open_quarantine()

    def _on_death(self, worker: Worker, cause: Cause | None = None, *, late: InFlight | None = None) -> None:
        """A worker is dead, or has to be: what it held is tried again; `late` is what it hung on."""
        slot = self.group.slot(worker)
        cause = self.group.on_death(worker, cause)
        self._ended(len(worker.held))
        if cause.type == OUT_OF_MEMORY and self._out_of_memory(worker, slot):
            return
        for held in worker.held.values():
            if held.attempt.job.outcome is None:
                self.retries += 1
                again = held.attempt.after_death(cause, self._dimension, hung=held is late)
                if worker.alone:  # one culprit is found before the next is looked for
                    self._suspects.extendleft(reversed(again))
                else:
                    self._suspects.extend(again)
                if not again:
                    self._deadly += 1
                    self._lives = self._alone = 0
                    self.group.reset_deaths()

    def _out_of_memory(self, worker: Worker, slot: Slot) -> bool:
        """The kernel has killed a worker: whether that is seen to, with no text to blame.

        First fewer workers are tried. A last one that had finished something has grown until there was no room, and is
        replaced. One that dies of what it is given first may have met a text that takes all there is; that is looked
        into as with other deaths, but only where many others have been finished: else the run ends.
        """
        if self.group.go_on_with_fewer(slot):
            self._give_back(worker)
            self._lives = self._alone = 0
            return True
        self._lives += 1 if worker.ready else 3
        if worker.batches >= _LONG_LIFE:
            self._lives = 0
        convicting = worker.ready and not worker.batches
        if self._lives <= _SHORT_LIVES:
            if convicting and self._alone >= _LONG_LIFE:
                return False
            self._give_back(worker)
            return True
        self._fall_back(
            errors.LimitReached(
                "memory is too short for one worker process, the kernel has killed it again and again: raise the limit "
                "of memory (of the container, if it is in one), or take --executor threads or a smaller model"
            )
        )
        return True

    def _give_back(self, worker: Worker) -> None:
        """Have what a worker held done by another, as if it had not been given."""
        for held in reversed(worker.held.values()):
            if held.attempt.job.outcome is None:
                self.retries += 1
                if held.attempt.whole and not held.attempt.job.suspect:
                    self._queue.appendleft(held.attempt.job)
                else:
                    self._suspects.appendleft(held.attempt)


def divided(cores: int, workers: int) -> list[int]:
    """Threads for each of so many workers: all cores, at least one each."""
    return [max(1, cores // workers + (index < cores % workers)) for index in range(workers)]
