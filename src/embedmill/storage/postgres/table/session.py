"""The connections of a run over a PostgreSQL table."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Final, LiteralString, TypeVar

from embedmill.core.errors import StoreError
from embedmill.runtime.closing import Closing
from embedmill.storage.postgres.connection import LOCK_TIMEOUT, Connection, connect, require_session
from embedmill.storage.postgres.pool import Pool
from embedmill.storage.postgres.retry import Retry
from embedmill.storage.postgres.server_errors import full

import psycopg  # isort: skip - after the module that says what to install
from psycopg import errors, sql  # isort: skip
from psycopg.abc import Params  # isort: skip

T = TypeVar("T")

# How the server's planner is to look up a table's rows.
_ROW_BY_ROW: Final = {
    # Pages and batches are looked up row by row through the key's index, however old the statistics of a table are
    # that is just being filled. Compiling such small queries would take longer than they do.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_nestloop": "on",
    "jit": "off",
}

IN_ORDER: Final = _ROW_BY_ROW | {"enable_sort": "off"}
"""Of the keys, a page after the other."""

WHOLE: Final = {
    # What compares all rows with all marks by values that no index has: row by row that would take minutes for some ten
    # thousand, and the planner, which knows nothing of marks that were just written, may choose that if it can.
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
    "enable_seqscan": "on",
    "enable_bitmapscan": "on",
    "enable_sort": "on",
    "enable_nestloop": "off",
}

_OURS: Final = {
    # What is read after a lock is what was there when it was taken.
    "default_transaction_isolation": "read committed",
    # A run that stands still in the midst of a transaction, as a machine that sleeps does, keeps nobody from the rows
    # for longer: it has to begin that transaction anew.
    "idle_in_transaction_session_timeout": "15s",
}
_WRITING: Final = _OURS | _ROW_BY_ROW
# Keys are read as text and given back: a time must survive that.
_READING: Final = _OURS | IN_ORDER | {"DateStyle": "ISO", "IntervalStyle": "postgres"}

_LOST: Final = ("08", "57")
"""Classes of errors that come with a lost connection: of connections themselves, and what administrators do."""

_MOMENT: Final = 500
"""Milliseconds that rows which others have locked are waited for before the rest is written without them."""

_LOCKS_LAST: Final = 10.0  # seconds for which others are taken to hold rows, where one of them has

MOST_WRITERS: Final = 8  # connections that write at once


class TableSession(Closing):
    """One connection that claims and reads, and a pool of those that write.

    What fails for reasons that pass is tried again for `timeout` seconds, on a new connection where the old one is
    lost; then, and for other reasons at once, `StoreError` is raised. Safe to use from several threads.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.retry = Retry(url, timeout)
        self._timeout = {"lock_timeout": str(max(round(min(LOCK_TIMEOUT, 1000 * timeout)), 1))}
        self._using = threading.RLock()
        self._held: tuple[int, int] | None = None
        self._met_locks = -math.inf  # when a row was last found locked
        self._closed = False
        self._reader = connect(url, **_READING, **self._timeout)
        self._writers = Pool(url, MOST_WRITERS, timeout, **_WRITING, **self._timeout)

    def read(
        self, work: Callable[[Connection], T], again: Callable[[], object] = lambda: None, *, needless: bool = False
    ) -> T:
        """What `work` gives on the connection that claims; `again` is called before it is tried once more.

        What is `needless` once the run is stopped raises `Stopped` then.
        """

        def prepare(error: BaseException) -> None:
            self._reconnect()
            again()

        with self._using:
            return self.retry(lambda: self._do(work, self._connection(), needless=needless), prepare)

    def _do(self, work: Callable[[Connection], T], connection: Connection, *, needless: bool) -> T:
        """In one transaction, where the next may be another session's; else each statement is one of its own."""
        whole = connection.transaction() if connection.pooled else nullcontext()
        with self.retry.use(connection, needless=needless), whole:
            return work(connection)

    def write(self, work: Callable[[Connection], T], *, needless: bool = False) -> T:
        """What `work` gives in a transaction of its own, on a connection of its own; for `needless` see `read`."""

        def transaction() -> T:
            with (
                self._writers.connection() as connection,
                self.retry.use(connection, needless=needless),
                connection.transaction(),
            ):
                return work(connection)

        return self.retry(transaction, self._check_writers)

    def stage(
        self,
        staging: sql.Composed,
        copying: sql.Composed,
        send: Callable[[psycopg.Copy], None],
        statement: sql.Composed,
        parameters: Params,
        *,
        skipping: sql.Composed | None = None,
    ) -> tuple[int, bool]:
        """Copy rows somewhere and execute a statement over them, in one transaction; gives how many rows that took.

        `staging` creates the temporary table that they are copied to, which each commit empties.
        `skipping` is the same statement, but leaves out rows that others have locked: it is taken where these are
        locked for longer than a moment, which is told too. Statement and COMMIT are one message, so that nobody waits
        for rows that a run which stands still, or is cut off, has just written.
        """

        def transaction(begin: LiteralString, statement: sql.Composed) -> int:
            with (
                self._writers.connection() as connection,
                self.retry.use(connection),
                psycopg.ClientCursor(connection) as cursor,
            ):
                prepare, execute = _prepared(cursor.mogrify(statement, parameters))
                connection.once(staging, prepare)
                cursor.execute(begin)
                with cursor.copy(copying) as copy:
                    send(copy)
                return cursor.execute(sql.SQL("{}; COMMIT").format(execute)).rowcount

        def attempt() -> tuple[int, bool]:
            if skipping is None:
                return transaction("BEGIN", statement), False
            if time.monotonic() > self._met_locks + _LOCKS_LAST:
                try:
                    return transaction(f"BEGIN; SET LOCAL lock_timeout = {_MOMENT}", statement), False
                except errors.LockNotAvailable:
                    self._met_locks = time.monotonic()
            return transaction("BEGIN", skipping), True

        return self.retry(attempt, self._check_writers)

    def read_detached(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, which reads whole tables: on a new connection, with the planner free to choose.

        Raises `Stopped` where the run is stopped.
        """

        def beside() -> T:
            try:
                connection = self.retry.dial(**_OURS, **self._timeout)
            except psycopg.OperationalError as error:
                if not full(error):
                    raise
                with self._using:
                    return self._do(work, self._connection(), needless=True)
            with connection:
                return self._do(work, connection, needless=True)

        return self.retry(beside)

    def require_own(self) -> None:
        """Raise `StoreError` where a pooler gives each transaction another session: before anything is changed."""
        with self._using:
            self.retry(lambda: require_session(self._connection()))

    def hold(self, lock: int, run: int) -> None:
        """Hold this run's lock as long as the session lasts, on a new connection too where the old one is lost."""
        with self._using:
            self._held = (lock, run)
            self._lock(self._connection())

    def release(self) -> None:
        """Give the server back the writers' connections that nobody uses."""
        self._writers.release()

    def close(self) -> None:
        """End it: what the run holds is anybody's. May be called twice."""
        with self._using:
            self._closed = True
            self._writers.close()
            self._reader.close()
            self.retry.close()

    def _connection(self) -> Connection:
        if self._closed:
            raise StoreError("the table is closed")
        return self._reader

    def _reconnect(self) -> None:
        """A new connection for claims, if the old one is lost; the run goes on under its number."""
        connection = self._connection()
        if not connection.closed and not connection.broken:
            return
        with suppress(psycopg.Error):  # the next attempt meets the same
            self._reader = self.retry.dial(self._lock, **_READING, **self._timeout)

    def _lock(self, connection: Connection) -> None:
        # The server may not have noticed yet that the old connection is lost: until it has, nothing can be claimed.
        if self._held is not None:
            connection.execute("SELECT pg_advisory_lock(%s::integer, %s::integer)", self._held)

    def _check_writers(self, error: BaseException) -> None:
        """Where one connection is lost, the others most likely are, too."""
        if isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08")[:2] in _LOST:
            self._writers.release()


def _prepared(statement: str) -> tuple[sql.Composed, sql.Composed]:
    """What has a connection's server parse and plan it once, and what executes it then."""
    name = sql.Identifier(f"embedmill_{hash(statement):x}")
    return sql.SQL("PREPARE {} AS {}").format(name, sql.SQL(statement)), sql.SQL("EXECUTE {}").format(name)
