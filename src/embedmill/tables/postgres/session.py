"""The connections of a run over a PostgreSQL table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from embedmill.closing import Closing
from embedmill.errors import StoreError
from embedmill.postgres.connecting import LOCK_TIMEOUT, Connection, connect, dial, full
from embedmill.postgres.patience import Patience
from embedmill.postgres.pooling import Pool

import psycopg  # isort: skip - after the module that says what to install
from psycopg import sql  # isort: skip
from psycopg.abc import Params  # isort: skip

T = TypeVar("T")

_OURS: Final = {
    # What is read after a lock is what was there when it was taken.
    "default_transaction_isolation": "read committed",
    # A run that stands still in the midst of a transaction, as a machine that sleeps does, keeps nobody from the rows
    # for longer: it has to begin that transaction anew.
    "idle_in_transaction_session_timeout": "15s",
}
_PLANS: Final = _OURS | {
    # Pages and batches are looked up row by row through the key's index, however old the statistics of a table are
    # that is just being filled. Compiling such small queries would take longer than they do.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}
_IN_ORDER: Final = _PLANS | {
    "enable_sort": "off",
    # Keys are read as text and given back: a time must survive that.
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
}


MOST_WRITERS: Final = 8  # connections that write at once


class Session(Closing):
    """One connection that claims and reads, and a pool of those that write.

    What fails for reasons that pass is tried again for `timeout` seconds, on a new connection where the old one is
    lost; then, and for other reasons at once, `StoreError` is raised. Safe to use from several threads.
    """

    def __init__(self, url: str, timeout: float, prepare_writer: Callable[[Connection], object]) -> None:
        self._url = url
        self.patience = Patience(url, timeout)
        self._timeout = {"lock_timeout": str(max(round(min(LOCK_TIMEOUT, 1000 * timeout)), 1))}
        self._using = threading.RLock()
        self._held: tuple[int, int] | None = None
        self._closed = False
        self._reader = connect(url, **_IN_ORDER, **self._timeout)
        self._writers = Pool(url, MOST_WRITERS, prepare_writer, timeout, **_PLANS, **self._timeout)

    def read(self, work: Callable[[Connection], T], again: Callable[[], object] = lambda: None) -> T:
        """What `work` gives on the connection that claims; `again` is called before it is tried once more."""

        def prepare(error: BaseException) -> None:
            self._reconnect()
            again()

        with self._using:
            return self.patience(lambda: work(self._connection()), prepare)

    def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives in a transaction of its own, on a connection of its own."""

        def transaction() -> T:
            with self._writers.lend() as connection, connection.transaction():
                return work(connection)

        return self.patience(transaction, self._check_writers)

    def stage(
        self, copying: sql.Composed, send: Callable[[psycopg.Copy], None], statement: sql.Composed, parameters: Params
    ) -> int:
        """Copy rows somewhere and execute a statement over them, in one transaction; gives how many rows that took.

        The statement and its COMMIT are one message, so that nobody waits for rows that a run which stands still, or
        is cut off, has just written.
        """
        whole = sql.SQL("{}; COMMIT").format(statement)

        def transaction() -> int:
            with self._writers.lend() as connection, psycopg.ClientCursor(connection) as cursor:
                cursor.execute("BEGIN")
                with cursor.copy(copying) as copy:
                    send(copy)
                return cursor.execute(whole, parameters).rowcount

        return self.patience(transaction, self._check_writers)

    def look(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, which reads whole tables: on a new connection, with the planner free to choose."""

        def beside() -> T:
            try:
                connection = dial(self._url, **_OURS, **self._timeout)
            except psycopg.OperationalError as error:
                if not full(error):
                    raise
                with self._using:
                    return work(self._connection())
            with connection:
                return work(connection)

        return self.patience(beside)

    def hold(self, lock: int, run: int) -> None:
        """Hold this run's lock as long as the session lasts, on a new connection too where the old one is lost."""
        with self._using:
            self._held = (lock, run)
            self._lock(self._connection())

    def let_go(self) -> None:
        """Give the server back the writers' connections; to be called while nobody writes."""
        self._writers.let_go()

    def close(self) -> None:
        """End it: what the run holds is anybody's. May be called twice."""
        with self._using:
            self._closed = True
            self._writers.close()
            self._reader.close()

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
            opened = dial(self._url, **_IN_ORDER, **self._timeout)
            try:
                self._lock(opened)
            except BaseException:
                opened.close()
                raise
            self._reader = opened

    def _lock(self, connection: Connection) -> None:
        # The server may not have noticed yet that the old connection is lost: until it has, nothing can be claimed.
        if self._held is not None:
            connection.execute("SELECT pg_advisory_lock(%s::integer, %s::integer)", self._held)

    def _check_writers(self, error: BaseException) -> None:
        """Where one connection is lost, the others most likely are, too."""
        if isinstance(error, psycopg.OperationalError):
            self._writers.check()
