"""How much of the machine a run takes: fewer calls at once while others need it, and pauses between calls."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from embedmill.core.errors import UsageError
from embedmill.runtime import machine

log = logging.getLogger(__name__)

_EVERY: Final = 1.0  # seconds over which the load is measured: shorter ones catch the noise of single processes
_NOISE: Final = 0.2  # cores: what a machine does by itself takes no call away


def calls_at_once(max_load: float, cores: float, others: float, most: int) -> int:
    """How many of `most` calls may be made at once, each of which keeps a core busy: at least one.

    `max_load` is the share that may be taken of the `cores` that `others` leave.
    """
    left = max(cores - others, 0.0)
    return max(1, min(most, math.floor(max_load * left + _NOISE)))


class Pace:
    """Says when the next call of the model may begin. Safe to use from several threads.

    With `max_load`, a share above 0 and up to 1, only so many calls run at once as keep that share of the cores busy
    that others leave; this is looked at once a second, and at least one call runs. After each call its place rests for
    `sleep` seconds.
    """

    def __init__(self, max_load: float | None = None, sleep: float = 0.0) -> None:
        if max_load is not None and not 0 < max_load <= 1:
            raise UsageError(f"max_load is {max_load!r}: give a share above 0 and up to 1, as in 0.5")
        if not 0 <= sleep < math.inf:
            raise UsageError(f"sleep is {sleep!r}: give seconds, as in 0.5")
        self.worker_pids: Callable[[], Iterable[int]] = tuple
        """The processes that work for this one."""
        self._max_load = max_load
        self._sleep = sleep
        self._lock = threading.Lock()
        self._running = 0
        self._resting: list[float] = []  # until when, on the monotonic clock
        self._load = _Load() if max_load is not None else None
        self._others = 0.0  # cores
        self._said: int | None = None

    @property
    def sleeps(self) -> bool:
        """Whether places rest between two calls."""
        return self._sleep > 0

    def places(self, most: int) -> int:
        """How many of `most` calls may be made at once at present."""
        if self._load is None or self._max_load is None:
            return most
        measured = self._load.of_others(self.worker_pids())
        if measured is not None:
            self._others = measured
        allowed = calls_at_once(self._max_load, self._load.cores, self._others, most)
        if allowed != self._said:
            self._said = allowed
            log.info("others keep %.1f cores busy: at most %d of %d calls at once", self._others, allowed, most)
        return allowed

    def may_begin(self, most: int, ahead: int = 0) -> bool:
        """Whether one of `most` calls may begin now; `ahead` more may wait where nothing is held back."""
        with self._lock:
            return self._room(most, ahead)

    def begin(self, most: int, ahead: int = 0) -> bool:
        """Begin a call, where one may begin (see `may_begin`); whether it has."""
        with self._lock:
            free = self._room(most, ahead)
            self._running += free
            return free

    def begun(self) -> None:
        """Take note of a call that was begun."""
        with self._lock:
            self._running += 1

    def end(self, calls: int = 1) -> None:
        """Take note that calls have ended; their places rest now."""
        with self._lock:
            self._running -= calls
            if self._sleep:
                self._resting += [time.monotonic() + self._sleep] * calls

    def _room(self, most: int, ahead: int) -> bool:
        places = self.places(most)
        if places == most and not self._sleep:
            places += ahead
        if self._resting:
            now = time.monotonic()
            self._resting = [until for until in self._resting if until > now]
        return self._running + len(self._resting) < places


class _Load:
    """What of the processor's time goes to others than this process and its workers."""

    def __init__(self) -> None:
        self._which = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        self.cores: float = machine.cores()
        self._before = self._measured(())
        if self._before is None:
            log.warning("the load of this machine cannot be read here (no /proc?): max_load changes nothing")

    def of_others(self, workers: Iterable[int]) -> float | None:
        """Cores that others keep busy; None where it is too soon to tell, or cannot be."""
        if self._before is None or time.monotonic() - self._before[0] < _EVERY:
            return None
        now = self._measured(workers)
        if now is None:
            return None
        seconds, busy, own = (new - old for new, old in zip(now, self._before, strict=True))
        self._before = now
        # Where there are more cores than this process may use, others may be busy there without being in its way.
        elsewhere = max(self._seen - self.cores, 0)
        return max((busy - own) / seconds - elsewhere, 0.0)

    def _measured(self, workers: Iterable[int]) -> tuple[float, float, float] | None:
        """The clock, and the seconds for which cores were busy so far: in all, and for us."""
        import psutil

        own = os.times()
        ours = own.user + own.system + own.children_user + own.children_system
        for pid in workers:
            try:
                times = psutil.Process(pid).cpu_times()
            except (psutil.Error, OSError):
                continue  # it has just ended, and counts among the children
            ours += times.user + times.system
        try:
            each = psutil.cpu_times(percpu=True)
        except (psutil.Error, OSError, RuntimeError):
            return None
        if self._which is not None:
            each = [each[number] for number in self._which if number < len(each)]
        self._seen = len(each)
        busy = sum(sum(cpu) - cpu.idle - getattr(cpu, "iowait", 0.0) - getattr(cpu, "guest", 0.0) for cpu in each)
        return (time.monotonic(), busy, ours) if self._seen else None
