"""The workers of a pool, each in its place: who is started, replaced, retired and let go."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from embedmill.core.vectors import Cause
from embedmill.executors.processes.child import IsolatedEmbedder
from embedmill.executors.processes.events import Events
from embedmill.executors.processes.limits import Limits
from embedmill.executors.processes.memory import Memory
from embedmill.executors.processes.slots import Restart, Slot, Worker
from embedmill.runtime.child_process import died_of

log = logging.getLogger(__name__)

OUT_OF_MEMORY: Final = "OutOfMemory"
"""The type of the cause of a death by the kernel's hand."""

_BACK_OFF: Final = 0.5  # seconds after a first failed start, doubled with each
_LONGEST_BACK_OFF: Final = 30.0  # seconds
_DESCRIPTORS: Final = 24  # for a worker, while it is started, and for what else the process opens meanwhile
_QUARANTINE_IDLE: Final = 10.0  # seconds that the quarantine's worker waits for more


class WorkerGroup:
    """Knows the processes and their places, and nothing of what they work at but whether they hold any of it.

    Everything is called from the supervisor's thread, but for what `slots` and `quarantine` tell of themselves.
    """

    def __init__(
        self,
        start: Callable[[int], IsolatedEmbedder],
        threads: Sequence[int],
        limits: Limits,
        events: Events,
        on_restart: Callable[[Restart], None],
    ) -> None:
        """`start` starts a worker of so many threads, of which `threads` has an entry for each worker."""
        self.slots = [Slot(index, count) for index, count in enumerate(threads)]
        self.quarantine = Slot(len(threads), threads=1)
        """The place of one worker more, while there is something that workers have died of: the others work on."""
        self._places = [*self.slots, self.quarantine]
        self.restarts = 0
        self.trouble = ""
        """Why the last start failed; empty once another has succeeded."""
        self._start = start
        self._limits = limits
        self._events = events
        self._on_restart = on_restart
        self._memory = Memory(limits.max_memory_mb)
        self._said = False
        self._failed_starts = 0
        self._start_again_at = 0.0
        self._asked: deque[int] = deque()  # places; appended to by any thread

    def __iter__(self) -> Iterator[Worker]:
        for slot in self._places:
            yield from (worker for worker in (slot.worker, slot.successor) if worker)

    def __contains__(self, worker: Worker) -> bool:
        return any(worker is each for each in self)

    def slot(self, worker: Worker) -> Slot:
        """A worker's place."""
        return next(slot for slot in self._places if worker in (slot.worker, slot.successor))

    def missing(self) -> list[Slot]:
        """Places that wait for a worker."""
        return [slot for slot in self.slots if slot.worker is None and not slot.retired]

    @property
    def all_retired(self) -> bool:
        """Whether every worker died again and again."""
        return all(slot.retired for slot in self.slots)

    @property
    def cannot_start(self) -> bool:
        """Whether too many starts in a row have failed."""
        return self._failed_starts >= self._limits.failed_starts

    # --- starting -----------------------------------------------------------------------------------

    def start_missing(self) -> None:
        """Start a worker in each place that waits for one, unless it is too soon after a failed start."""
        for slot in self.missing():
            if time.monotonic() >= self._start_again_at:
                slot.worker = self._started(slot)

    def open_quarantine(self) -> None:
        """Start one worker more, which works alone."""
        if self.quarantine.worker is None and not self.quarantine.retired and time.monotonic() >= self._start_again_at:
            self.quarantine.worker = self._started(self.quarantine)
            if self.quarantine.worker:
                self.quarantine.worker.alone = True

    def quarantine_worker(self) -> None:
        """See to a worker for what others have died of: one more where memory allows, else one of the others."""
        startable = not self.quarantine.retired and not self.cannot_start
        if startable and self.quarantine.worker is None and self._memory.room_for(self._memory.largest_loaded):
            self.open_quarantine()
        elif candidates := [worker for worker in self if not worker.leaving]:
            min(candidates, key=lambda worker: (len(worker.held), -worker.started)).alone = True

    def _started(self, slot: Slot) -> Worker | None:
        try:
            _leave_descriptors()
            child = self._start(slot.threads)
        except OSError as error:
            self._start_failed(str(error.strerror or error))
            return None
        worker = Worker(child, time.monotonic())
        self._events.watch(worker)
        return worker

    def _start_failed(self, reason: str) -> None:
        self.trouble = reason
        self._failed_starts += 1
        self._start_again_at = time.monotonic() + min(_BACK_OFF * 2 ** (self._failed_starts - 1), _LONGEST_BACK_OFF)
        log.info("a worker could not be started: %s", reason)

    def ready(self, worker: Worker, concurrency: int) -> None:
        """Take note that a worker has loaded its model; the one that it replaces leaves."""
        now = time.monotonic()
        worker.ready, worker.concurrency, worker.idle_since = True, concurrency, now
        worker.loaded_mb = worker.rss_mb = self._memory.of(worker.child.pid)
        self._memory.loaded(worker.loaded_mb)
        self._failed_starts, self.trouble = 0, ""
        slot = self.slot(worker)
        log.info("worker %d: ready after %.1f s", slot.index, now - worker.started)
        if slot.successor is worker and slot.worker is not None:
            slot.worker.leaving = True
            self.retire(slot.worker)

    # --- replacing ----------------------------------------------------------------------------------

    def replace(self, worker: Worker, cause: str, *, at_once: bool = False) -> None:
        """Have a successor started; this one works on until that is ready, unless it has to leave at once."""
        slot = self.slot(worker)
        if worker.replaced_for is None:
            if time.monotonic() < self._start_again_at:
                return
            worker.replaced_for = cause
            if slot.worker is worker and slot is not self.quarantine and self._memory.room_for(worker.loaded_mb):
                slot.successor = self._started(slot)
        if at_once or slot.successor is None:
            worker.leaving = True
            self.retire(worker)

    def ask_for_restart(self, indexes: Iterable[int]) -> None:
        """Have the workers of these places replaced by the supervisor; from any thread."""
        self._asked.extend(indexes)
        self._events.wake()

    def replace_asked(self) -> None:
        """Replace the workers that were asked to be; one that is still starting is new enough."""
        while self._asked and time.monotonic() >= self._start_again_at:
            worker = self.slots[self._asked.popleft()].worker
            if worker is not None and worker.ready:
                self.replace(worker, "on request")

    def retire(self, worker: Worker) -> None:
        """Let a worker go that is to leave and holds nothing."""
        if worker.leaving and not worker.held:
            slot = self.slot(worker)
            self._let_go(worker)
            self._vacate(slot, worker)
            self._count(slot, worker.child.pid, worker.replaced_for or "replaced")

    def _vacate(self, slot: Slot, worker: Worker) -> None:
        """Take a worker out of its place; a successor may go before the one that it was to replace."""
        if slot.worker is worker:
            slot.rss_mb = worker.rss_mb or slot.rss_mb
            slot.worker, slot.successor = slot.successor, None
        else:
            slot.successor = None

    def check_memory(self, now: float) -> Iterator[tuple[Worker, Cause]]:
        """Look at the workers' memory, once a second: replaces those that have grown large, gives those too large."""
        if not self._memory.due(now):
            return
        for worker in [worker for worker in self if worker.ready]:
            worker.rss_mb = self._memory.of(worker.child.pid)
            if not self._memory.beyond_soft(worker.rss_mb):
                self._memory.fits(worker.batches)
            else:
                hard = self._memory.beyond_hard(worker.rss_mb)
                if not worker.too_large:
                    self._memory.learn(worker.rss_mb, worker.batches, worker.task)
                worker.too_large = True
                if hard:
                    more = worker.rss_mb - worker.loaded_mb
                    took = f"{worker.rss_mb:,.0f} MB, {more:,.0f} MB more than after loading"
                    yield worker, Cause("WorkerTooLarge", f"the worker took {took}")
                else:
                    self.replace(worker, "memory")

    def close_idle_quarantine(self, now: float) -> None:
        """End the quarantine's worker when it has waited for long."""
        worker = self.quarantine.worker
        if worker and worker.ready and not worker.held and now > worker.idle_since + _QUARANTINE_IDLE:
            self._let_go(worker)
            self.quarantine.worker = None

    # --- losing -------------------------------------------------------------------------------------

    def on_death(self, worker: Worker, cause: Cause | None) -> Cause:
        """End a worker that is dead or has to be, and say why it is; its place waits for another one then."""
        slot = self.slot(worker)
        code = self._let_go(worker)
        if slot.successor is worker and slot.worker is not None and not slot.worker.leaving:
            slot.worker.replaced_for = None  # and is given another successor later
        self._vacate(slot, worker)
        cause = _with_last_words(cause or self._died(code), worker)
        if not worker.ready:
            self._start_failed(f"{cause.type}: {cause.message}")
            return cause
        self._failed_starts, self._start_again_at, self.trouble = 0, 0.0, ""  # it had started, so that others may
        slot.deaths_in_a_row += 1
        if slot.deaths_in_a_row > self._limits.max_restarts and slot.worker is None:
            slot.retired = True
            log.warning("worker %d died %d times in a row and is not replaced", slot.index, slot.deaths_in_a_row)
        short = {
            "WorkerHung": "hang",
            "WorkerTooLarge": "memory",
            "ModelUnusable": "model failure",
            OUT_OF_MEMORY: "killed for want of memory",
        }.get(cause.type)
        self._count(slot, worker.child.pid, short or died_of(code))
        return cause

    def _died(self, code: int) -> Cause:
        if code == -signal.SIGKILL and self._memory.kernel_kills(time.monotonic()):
            return Cause(OUT_OF_MEMORY, "the kernel has killed the worker, since memory is too short")
        return Cause("WorkerDied", f"the worker {'was ' if code < 0 else ''}{died_of(code)}")

    def go_on_with_fewer(self, slot: Slot) -> bool:
        """Give up a worker's place for good, since there is no memory for so many; False for the last one."""
        self.quarantine.retired = True
        going_on = sum(not each.retired for each in self.slots)
        if slot is not self.quarantine:
            if going_on <= 1:
                return False
            slot.retired = slot.too_many = True
            self._failed_starts = 0  # of fewer workers nothing is known yet
            going_on -= 1
        if not self._said:
            self._said = True
            log.warning(
                "memory is too short for so many workers, the kernel has killed one: going on with fewer (%d), without "
                "its texts being to blame",
                going_on,
            )
        return True

    def reset_deaths(self) -> None:
        """Take note that workers did not die in vain: a text was found that kills them."""
        for slot in self._places:
            slot.deaths_in_a_row = 0

    def _count(self, slot: Slot, pid: int, cause: str) -> None:
        slot.restarts += 1
        slot.causes[cause] += 1
        self.restarts += 1
        log.info("worker %d (process %d): %s", slot.index, pid, cause)
        try:
            self._on_restart(Restart(slot.index, pid, cause))
        except BaseException:  # the caller's own; this thread has others to serve
            log.exception("on_restart failed")

    def _let_go(self, worker: Worker) -> int:
        self._events.unwatch(worker)
        return worker.child.release()

    def end(self) -> None:
        """End all."""
        for worker in self:
            with contextlib.suppress(OSError):  # the others have to end, too
                self._let_go(worker)
        for slot in self._places:
            slot.worker = slot.successor = None


def _leave_descriptors() -> None:
    """Raise `OSError` where a worker would take the descriptors that files and databases need."""
    with contextlib.ExitStack() as opened:
        for _ in range(_DESCRIPTORS):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))


def _with_last_words(cause: Cause, worker: Worker) -> Cause:
    """The cause of a death with the worker's last words; other causes speak for themselves."""
    words = " | ".join(worker.child.last_words(lines=3).splitlines())
    return Cause(cause.type, f"{cause.message}; it said: {words}") if words and cause.type == "WorkerDied" else cause
