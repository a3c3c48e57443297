"""What passes by itself, and trying again until it has."""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from embedmill.errors import StoreError
from embedmill.postgres import DB_TIMEOUT
from embedmill.postgres.connecting import full, shown, translated

import psycopg  # isort: skip - after the module that says what to install
from psycopg import errors  # isort: skip

T = TypeVar("T")

log = logging.getLogger(__name__)

_FIRST_WAIT: Final = 0.1  # seconds; doubled with each attempt
_LONGEST_WAIT: Final = 5.0
_LOOK_EVERY: Final = 0.1

_PASSING: Final = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.TooManyConnections,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleSessionTimeout,
    errors.IdleInTransactionSessionTimeout,
    errors.QueryCanceled,
)


def passes(error: BaseException) -> bool:
    """Whether the same may succeed a little later: a lost connection, a restart, a lock, a deadlock."""
    if isinstance(error, _PASSING):
        return True
    # What the client's library finds has no code: the connection is lost or cannot be made.
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08")[:2] == "08"


class Patience:
    """Does things with a database again and again while they fail for what passes, each for at most `seconds`.

    Waits a tenth of a second first, then twice as long each time, up to 5 s; with some chance, so that many machines
    do not come back at once. Safe to use from several threads.
    """

    def __init__(self, url: str, seconds: float = DB_TIMEOUT, pause: Callable[[float], object] | None = None) -> None:
        """`pause` waits between two attempts; None for a pause that `hurry` ends."""
        self._url = url
        self._seconds = seconds
        self._pause = pause or self._wait
        self._end = math.inf  # of all trying
        self._process = os.getpid()

    def hurry(self, seconds: float) -> None:
        """From now on nothing is tried again for longer than this. A mere assignment: signal handlers may call it."""
        self._end = time.monotonic() + seconds

    def __call__(self, work: Callable[[], T], again: Callable[[BaseException], object] = lambda _: None) -> T:
        """What `work` returns in the end; `again` is called with the error before each new attempt.

        Raises `StoreError` for errors that do not pass, and for those that have not passed in time.
        """
        if os.getpid() != self._process:  # two processes on one connection would read each other's answers
            raise StoreError(f"{shown(self._url)} was opened before this process was forked: open it anew in this one")
        wait, deadline = _FIRST_WAIT, None
        while True:
            began = time.monotonic()
            try:
                return work()
            except psycopg.Error as error:
                now = time.monotonic()
                if deadline is None:  # a lock has been waited for already
                    deadline = (began if isinstance(error, errors.LockNotAvailable) else now) + self._seconds
                if not passes(error):
                    raise translated(error, self._url) from error
                if now >= min(deadline, self._end):
                    end = f"for {self._seconds:g} s: --db-timeout" if now >= deadline else "until it was stopped"
                    raise StoreError(f"{translated(error, self._url)} (tried {end})") from error
                log.warning("%s: trying again", _reason(error, self._url))
                share = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                self._pause(min(wait * share, deadline - now))
                wait = min(2 * wait, _LONGEST_WAIT)
                again(error)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := min(until, self._end) - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_EVERY))


def _reason(error: psycopg.Error, url: str) -> str:
    if isinstance(error, errors.LockNotAvailable):
        return f"{shown(url)}: another session holds a lock"
    if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure):
        return f"{shown(url)}: another session was in the way"
    no_room = full(error)
    if no_room is not None:
        return f"{shown(url)}: {no_room.who} takes no more connections ({no_room.setting})"
    return f"{shown(url)}: no connection"
