"""What passes by itself, and trying again until it has."""

from __future__ import annotations

import _thread
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from embedmill.core.errors import RowsRefused, Stopped, StoreError
from embedmill.storage.driver import DB_TIMEOUT
from embedmill.storage.postgres.connection import Connection, closed_on_error, cut, dial, redact_url
from embedmill.storage.postgres.server_errors import full, reason, translated

import psycopg  # isort: skip - after the module that says what to install
from psycopg import errors  # isort: skip

T = TypeVar("T")

log = logging.getLogger(__name__)

_FIRST_WAIT: Final = 0.1  # seconds; doubled with each attempt
_LONGEST_WAIT: Final = 5.0
_LOOK_EVERY: Final = 0.1
_CANCEL_EVERY: Final = 0.5
_SAY_EVERY: Final = 10.0

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


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed a little later: a lost connection, a restart, a lock, a deadlock."""
    if isinstance(error, _PASSING):
        return True
    if "pooling mode" in str(error):  # of a pooler that lends sessions for single statements: it stays so
        return False
    # What the client's library finds has no code: the connection is lost or cannot be made.
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08")[:2] == "08"


_REFUSED: Final = ("22", "23", "44", "P0")
"""Classes of errors that one row may cause for all of its batch: data, constraints, views' checks, triggers."""

_SERVER: Final = ("", "08", "53", "57", "58", "XX")
"""Of errors of the server as a whole: connections, resources, administrators, the system, mistakes of its own."""


def as_refusal(cause: BaseException | None) -> RowsRefused | None:
    """The server's error as one of single rows; None where it is not."""
    if not isinstance(cause, psycopg.Error) or is_transient(cause):
        return None
    kind = (cause.sqlstate or "")[:2]
    # A trigger may raise any code, or fail of a mistake of its own: then the server tells the place.
    if kind in _REFUSED or (cause.diag.context and kind not in _SERVER):
        return RowsRefused(reason(cause))
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _Use:
    """A connection that is waited for."""

    connection: Connection
    needless: bool  # once the run is stopped
    since: float = field(default_factory=time.monotonic)


class Retry:
    """Does things with a database again and again while they fail for what passes, each for at most `seconds`.

    Waits a tenth of a second first, then twice as long each time, up to 5 s; with some chance, so that many machines
    do not come back at once. Safe to use from several threads.

    After `finish_within` nothing is waited for longer than that says, whatever becomes of the server: neither a server
    that is gone, nor an answer that does not come, nor what need not be finished.
    """

    def __init__(self, url: str, seconds: float = DB_TIMEOUT, pause: Callable[[float], object] | None = None) -> None:
        """`pause` waits between two attempts; None for a pause that `finish_within` ends."""
        self._url = url
        self._seconds = seconds
        self._pause = pause or self._wait
        self._asked = math.inf  # when `finish_within` was called
        self._end = math.inf  # of all trying
        self._process = os.getpid()
        self._using = threading.Lock()
        self._uses: set[_Use] = set()
        self._closed = False
        self.holders: Callable[[Connection], str] = lambda _: ""
        """Asked, on a new connection, who holds the lock that is waited for."""
        self._said: dict[str, float] = {}  # what was said last, and when

    def finish_within(self, seconds: float) -> None:
        """From now on nothing is tried again, and no answer waited for, for longer than this.

        Takes no locks: signal handlers may call it.
        """
        if self.stopping:
            return
        self._end = time.monotonic() + seconds
        self._asked = time.monotonic()
        _thread.start_new_thread(self._watch, (seconds,))  # where threading's own takes locks

    @property
    def stopping(self) -> bool:
        """Whether `finish_within` was called."""
        return self._asked < math.inf

    @contextmanager
    def use(self, connection: Connection, *, needless: bool = False) -> Iterator[None]:
        """Within this context answers of this connection are waited for no longer than `finish_within` says.

        What is `needless` once the run is stopped is cancelled then, and raises `Stopped`.
        """
        if needless and self.stopping:
            raise Stopped(self._stopped())
        use = _Use(connection, needless)
        with self._using:
            self._uses.add(use)
        try:
            yield
        except errors.QueryCanceled as error:
            if needless and self.stopping:
                raise Stopped(self._stopped()) from error
            raise
        finally:
            with self._using:
                self._uses.discard(use)

    def dial(self, prepare: Callable[[Connection], object] = lambda _: None, /, **settings: str) -> Connection:
        """A new connection, prepared; no longer waited for than `finish_within` says. Raises what psycopg raises."""
        connection = dial(self._url, lambda: time.monotonic() >= self._end, **settings)
        with closed_on_error(connection), self.use(connection):
            prepare(connection)
        return connection

    def close(self) -> None:
        """Nothing is under way any more."""
        self._closed = True

    def _stopped(self) -> str:
        return f"{redact_url(self._url)}: stopped before it was done: run again"

    def _watch(self, seconds: float) -> None:
        """End what is waited for too long, from `finish_within` to the end."""
        cancelled: dict[_Use, float] = {}
        while not self._closed:
            now = time.monotonic()
            with self._using:  # nobody closes a connection in use
                for use in self._uses:
                    if use.needless and now > cancelled.get(use, -math.inf) + _CANCEL_EVERY:
                        cancelled[use] = now  # again: the first may come before the statement does
                        _thread.start_new_thread(_cancel, (use.connection,))
                    if now >= max(use.since, self._asked) + seconds:
                        cut(use.connection)
            time.sleep(_LOOK_EVERY)

    def __call__(self, work: Callable[[], T], again: Callable[[BaseException], object] = lambda _: None) -> T:
        """What `work` returns in the end; `again` is called with the error before each new attempt.

        Raises `StoreError` for errors that do not pass, and for those that have not passed in time.
        """
        if os.getpid() != self._process:  # two processes on one connection would read each other's answers
            raise StoreError(
                f"{redact_url(self._url)} was opened before this process was forked: open it anew in this one"
            )
        wait, deadline = _FIRST_WAIT, None
        while True:
            began = time.monotonic()
            try:
                return work()
            except psycopg.Error as error:
                now = time.monotonic()
                if deadline is None:  # a lock has been waited for already
                    deadline = (began if isinstance(error, errors.LockNotAvailable) else now) + self._seconds
                if not is_transient(error):
                    raise translated(error, self._url) from error
                if now >= min(deadline, self._end):
                    end = f"for {self._seconds:g} s: --db-timeout" if now >= deadline else "until it was stopped"
                    who = self._who(error)
                    raise StoreError(f"{translated(error, self._url)}{who and f': {who}'} (tried {end})") from error
                self._say(error)
                share = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                self._pause(min(wait * share, deadline - now))
                wait = min(2 * wait, _LONGEST_WAIT)
                again(error)

    def _say(self, error: psycopg.Error) -> None:
        """Say that it is tried again; the same not every time."""
        said, now = f"{redact_url(self._url)}: {_reason(error)}", time.monotonic()
        if now < self._said.get(said, -math.inf) + _SAY_EVERY:
            return
        self._said[said] = now
        who = self._who(error)
        log.warning("%s%s: trying again", said, who and f", {who}")

    def _who(self, error: psycopg.Error) -> str:
        """Who holds the lock that was not available; "" for other errors, and where that cannot be told."""
        if not isinstance(error, errors.LockNotAvailable) or self.stopping:
            return ""
        try:
            with dial(self._url) as connection:
                return self.holders(connection)
        except psycopg.Error:
            return ""

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := min(until, self._end) - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_EVERY))


def _cancel(connection: Connection) -> None:
    """Ask the server to give up what this connection waits for."""
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=5.0)


def _reason(error: psycopg.Error) -> str:
    if isinstance(error, errors.LockNotAvailable):
        return "another session holds a lock"
    if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure):
        return "another session was in the way"
    no_room = full(error)
    return "no connection" if no_room is None else f"{no_room.who} takes no more connections ({no_room.setting})"
