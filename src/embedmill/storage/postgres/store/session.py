"""Connections of a store that are made anew where they were lost, and what makes a run's writes happen exactly once."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from embedmill.core.errors import StoreBusy, StoreError
from embedmill.storage.postgres import blocking
from embedmill.storage.postgres import migrate as schemas
from embedmill.storage.postgres.connection import (
    Connection,
    end_with_client,
    redact_url,
    require_primary,
    require_session,
)
from embedmill.storage.postgres.pgvector import require_vector
from embedmill.storage.postgres.retry import Retry
from embedmill.storage.postgres.server_errors import gone_as_damage, translated

import psycopg  # isort: skip - after the module that says what to install
from psycopg import IsolationLevel, errors, sql  # isort: skip

T = TypeVar("T")

Done = Callable[[int], object]

_TABLES: Final = ("meta", "writer", "seen", "documents", "chunks", "failures")

_IS_LOCKED: Final = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) | objid::bigint = hashtextextended(%s, 0)
    )
"""

_GRACE: Final = "1s"
"""For the lock of another writer: the server takes a moment to notice that a client was killed."""


class StoreLocation:
    """A schema of a database, and the connections to it."""

    def __init__(self, url: str, schema: str, retry: Retry) -> None:
        """`retry` tries again what passes by itself."""
        self.url = url
        self.schema = schemas.check_name(schema)
        self.retry = retry
        self.redacted = redact_url(url)
        self._extension = ""  # the schema of pgvector's types, known once one of the two below has connected

    def open_reader(self) -> Connection:
        """A connection that can only read, and sees one state in each transaction.

        Raises `StoreNotFound` where there is no store, `StoreError` for one that this version cannot read.
        """

        def prepare(connection: Connection) -> None:
            with connection.transaction():
                schemas.require(connection, self.schema)
                self._extension = require_vector(connection)
            self._reading(connection)

        return self._open(prepare, default_transaction_read_only="on")

    def _open(self, prepare: Callable[[Connection], object], **settings: str) -> Connection:
        """A new connection, prepared. A server that is not there is told at once; what is lost then is made anew."""
        reached = False

        def prepare_reached(connection: Connection) -> None:
            nonlocal reached
            reached = True
            prepare(connection)

        def attempt() -> Connection:
            try:
                return self.retry.dial(prepare_reached, **settings)
            except psycopg.Error as error:
                # One that cannot be made has no code, and comes with the attempt; one that is lost then does not.
                lost = error.pgconn is None and "server closed the connection" in str(error)
                if reached or lost or error.sqlstate:
                    raise
                raise translated(error, self.url) from error

        return self.retry(attempt)

    def reopen_reader(self) -> Connection:
        """The same after the connection was lost; raises what psycopg raises."""
        return self.retry.dial(self._reading, default_transaction_read_only="on")

    def _reading(self, connection: Connection) -> None:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        self._enter(connection)

    def open_writer(self, begin: Callable[[Connection], object], *, create: bool) -> Connection:
        """A connection that holds the lock of the store's writer, and has begun; the schema is brought up to date.

        Raises `StoreBusy` where another holds it; without `create`, `StoreNotFound` where there is no store.
        """

        def prepare(connection: Connection) -> None:
            require_session(connection)
            require_primary(connection)
            self._require_unicode(connection)
            if not create and not schemas.version(connection, self.schema):
                schemas.require(connection, self.schema)
            self._take_over(connection)
            self._extension = require_vector(connection)
            schemas.migrate(connection, self.schema, self._extension)
            self._writing(connection)
            begin(connection)

        return self._open(prepare)

    def reopen_writer(self, run: int) -> Connection:
        """The same after the connection was lost, for the run of this number; raises what psycopg raises.

        The server may take a while to see that the old connection is dead. Raises `StoreBusy` where another run has
        begun meanwhile.
        """

        def prepare(connection: Connection) -> None:
            self._writing(connection)
            (current,) = _row(connection, "SELECT run FROM writer")
            if current != run:
                raise self.superseded()
            self._lock(connection)

        return self.retry.dial(prepare)

    def holders(self, connection: Connection) -> str:
        """Who holds a lock on one of the store's tables."""
        return blocking.holders(connection, [sql.Identifier(self.schema, name) for name in _TABLES])

    def superseded(self) -> StoreBusy:
        """The error of a run that has lost the store to another."""
        return StoreBusy(
            f"another run has taken the store {self.redacted} (schema {self.schema}) while this one had no connection: "
            "wait until it has ended, then run again"
        )

    def _require_unicode(self, connection: Connection) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreError(
                f"{self.redacted}: the database's encoding is {encoding}, which cannot hold every text: "
                "create one with ENCODING 'UTF8' and give it as --store"
            )

    def _writing(self, connection: Connection) -> None:
        self._enter(connection)
        end_with_client(connection)  # else it held the lock until an index is built

    def _enter(self, connection: Connection) -> None:
        """Make the schema's names, and pgvector's, mean what they say."""
        names = [sql.Identifier(name).as_string(connection) for name in (self.schema, self._extension)]
        connection.settle(search_path=", ".join(names))

    def _lock(self, connection: Connection) -> None:
        """Take the writer's lock; raises `errors.LockNotAvailable` where that takes too long."""
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [self._lock_name])

    def is_written(self, connection: Connection) -> bool:
        """Whether a session holds the writer's lock."""
        return bool(connection.scalar(_IS_LOCKED, [self._lock_name]))

    @property
    def _lock_name(self) -> str:
        return f"embedmill writer {self.schema}"

    def _take_over(self, connection: Connection) -> None:
        """Take the lock, or say who has it."""
        try:
            with connection.transaction():
                connection.set_local(lock_timeout=_GRACE)
                self._lock(connection)
        except errors.LockNotAvailable as error:
            raise StoreBusy(
                f"{self._writer(connection)} is writing to the store {self.redacted} (schema {self.schema}): "
                "wait until it has ended"
            ) from error

    def _writer(self, connection: Connection) -> str:
        """Who writes, in words."""
        query = sql.SQL("SELECT host, process, since FROM {}").format(sql.Identifier(self.schema, "writer"))
        try:
            row = connection.execute(query).fetchone()
        except errors.UndefinedTable:  # it has only begun
            row = None
        if row is None or row[0] is None:
            return "another process"
        return f"process {row[1]} on {row[0]} (since {row[2]:%Y-%m-%d %H:%M})"


class Session:
    """One connection, made anew where it was lost, with all that was asked of it. Safe for several threads."""

    def __init__(self, location: StoreLocation, connection: Connection, reopen: Callable[[], Connection]) -> None:
        """`reopen` raises what psycopg raises."""
        self._location = location
        self._retry = location.retry
        self._retry.holders = location.holders
        self._reopen = reopen
        self._using = threading.Lock()
        self._connection = connection
        self._closed = False

    def __call__(self, work: Callable[[Connection], T], *, needless: bool = False) -> T:
        """What `work` returns, given the connection in a transaction; it may be called several times.

        What is `needless` once the run is stopped raises `Stopped` then.
        """
        with self._using:
            if self._closed:
                raise StoreError(f"store {self._location.redacted} is closed")
            return self._retry(lambda: self._try(work, needless))

    def _try(self, work: Callable[[Connection], T], needless: bool) -> T:
        if self._connection.closed:
            self._connection = self._reopen()
        with (
            gone_as_damage(self._location.url),
            self._retry.use(self._connection, needless=needless),
            self._connection.transaction(),
        ):
            return work(self._connection)

    def close(self) -> None:
        """Close the connection; may be called twice."""
        with self._using:
            self._closed = True
            self._connection.close()


class WriterRun:
    """The one writer of a store, from its opening to its end: each of its transactions happens exactly once.

    A transaction that was lost with its connection is made again; one whose COMMIT was done, though the
    answer got lost, is not. Whoever has lost the lock to another run meanwhile is stopped.
    """

    def __init__(self, location: StoreLocation, *, create: bool) -> None:
        """Raises what `StoreLocation.open_writer` raises."""
        self._location = location
        self._using = threading.Lock()
        self._attempted = 0  # transactions of this run, those that failed too: each is known by its number
        self._step = 0  # the last that is known to be done
        self._uncertain: dict[int, Done] = {}  # those that failed, and may be done all the same
        self.number = 0
        connection = location.open_writer(self._begin, create=create)
        self._session = Session(location, connection, lambda: location.reopen_writer(self.number))

    def _begin(self, connection: Connection) -> None:
        """Take a number; the lock is held."""
        with connection.transaction():
            (self.number,) = _row(
                connection,
                "UPDATE writer SET run = run + 1, host = %s, process = %s, since = now(), step = 0 RETURNING run",
                [socket.gethostname(), os.getpid()],
            )
            connection.execute("DELETE FROM seen")
            connection.execute("INSERT INTO seen VALUES (%s, '')", [self.number])

    def transaction(
        self, work: Callable[[Connection], int], done: Done = lambda _: None, *, needless: bool = False
    ) -> int:
        """What `work` returns, given the connection in a transaction; it may be called again, and counts once.

        `done` is called with that when it is known to be durable. Where this raises `StoreError` it may be durable too:
        the next transaction looks first, and calls `done` then. What is `needless` once the run is stopped raises
        `Stopped` then, and is not done.
        """
        with self._using:
            self._attempted += 1
            number = self._attempted
            try:
                answer = self.note(lambda db: self._step_by(number, work, db), needless=needless)
            except BaseException:
                self._uncertain[number] = done
                raise
            self._step = number
            done(answer)
            return answer

    def note(self, work: Callable[[Connection], T], *, needless: bool = False) -> T:
        """Do what may be done twice."""
        try:
            return self._session(work, needless=needless)
        except UnicodeEncodeError as error:
            raise StoreError(
                f"store {self._location.redacted}: not valid Unicode: {error.object!r}: rename it"
            ) from error

    def _step_by(self, number: int, work: Callable[[Connection], int], db: Connection) -> int:
        run, step, answer = _row(db, "SELECT run, step, answer FROM writer FOR UPDATE")
        if run != self.number:
            raise self._location.superseded()
        if step == number:  # it was done, and only the answer got lost
            return int(answer)
        self._settle(step, answer)
        answer = work(db)
        db.execute("UPDATE writer SET step = %s, answer = %s", [number, answer])
        return answer

    def _settle(self, step: int, answer: int) -> None:
        """Find out what has become of the transactions that failed: `step` is the last that was done."""
        done = self._uncertain.get(step)
        self._uncertain.clear()
        if done is not None:
            self._step = step
            done(answer)
        elif step != self._step:
            raise StoreError(
                f"store {self._location.redacted}: another has written as run {self.number}: this is a bug"
            )

    def close(self) -> None:
        """Let the next run in; may be called twice."""
        self._session.close()


def _row(connection: Connection, query: str, values: list[Any] | None = None) -> tuple[Any, ...]:
    row = connection.execute(query, values).fetchone()
    if row is None:
        raise StoreError("the table writer of the store is empty: this is a bug")
    return row
