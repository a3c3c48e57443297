"""Connections of a store that are made anew where they were lost, and what makes a run's writes happen exactly once."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from embedmill.errors import StoreBusy, StoreError
from embedmill.postgres import schema as schemas
from embedmill.postgres.connecting import Connection, connect, dial, require_vector, shown, told
from embedmill.postgres.patience import Patience

from psycopg import IsolationLevel, errors, sql  # isort: skip - after the module that says what to install

T = TypeVar("T")

log = logging.getLogger(__name__)

_GRACE: Final = "1s"
"""For the lock of another writer: the server takes a moment to notice that a client was killed."""


class Place:
    """A schema of a database, and the connections to it."""

    def __init__(self, url: str, schema: str) -> None:
        self.url = url
        self.schema = schemas.check_name(schema)
        self.shown = shown(url)
        self._extension = ""  # the schema of pgvector's types, known once one of the two below has connected

    def open_reader(self) -> Connection:
        """A connection that can only read, and sees one state in each transaction.

        Raises `StoreNotFound` where there is no store, `StoreError` for one that this version cannot read.
        """
        connection = connect(self.url, default_transaction_read_only="on")
        try:
            schemas.require(connection, self.url, self.schema)
            self._find_vector(connection)
            return self._reading(connection)
        except BaseException:
            connection.close()
            raise

    def reopen_reader(self) -> Connection:
        """The same after the connection was lost; raises what psycopg raises."""
        return self._reading(dial(self.url, default_transaction_read_only="on"))

    def _reading(self, connection: Connection) -> Connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        self._enter(connection)
        return connection

    def open_writer(self, *, create: bool) -> Connection:
        """A connection that holds the lock of the store's writer; the schema is brought up to date.

        Raises `StoreBusy` where another holds it; without `create`, `StoreNotFound` where there is no store.
        """
        connection = connect(self.url)
        try:
            _require_unicode(connection, self.url)
            with told(self.url):
                there = schemas.version(connection, self.schema, self.url)
            if not there and not create:
                schemas.require(connection, self.url, self.schema)
            self._take_over(connection)
            self._find_vector(connection)
            schemas.migrate(connection, self.url, self.schema, self._extension)
            with told(self.url):
                self._writing(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def reopen_writer(self) -> Connection:
        """The same after the connection was lost, without the lock yet; raises what psycopg raises."""
        return self._writing(dial(self.url))

    def _writing(self, connection: Connection) -> Connection:
        self._enter(connection)
        # A client that is killed must not hold the lock until an index is built. Only some servers can look.
        connection.execute(
            """SELECT set_config(name, '500ms', false) FROM pg_settings
               WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%'"""
        )
        return connection

    def _enter(self, connection: Connection) -> None:
        """Make the schema's names, and pgvector's, mean what they say."""
        names = [sql.Identifier(name).as_string(connection) for name in (self.schema, self._extension)]
        connection.execute("SELECT set_config('search_path', %s, false)", [", ".join(names)])

    def lock(self, connection: Connection) -> None:
        """Take the writer's lock; raises `errors.LockNotAvailable` where that takes too long."""
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"embedmill writer {self.schema}"])

    def _take_over(self, connection: Connection) -> None:
        """Take the lock, or say who has it."""
        with told(self.url):
            try:
                with connection.transaction():
                    connection.execute("SELECT set_config('lock_timeout', %s, true)", [_GRACE])
                    self.lock(connection)
            except errors.LockNotAvailable as error:
                raise StoreBusy(
                    f"{self._writer(connection)} is writing to the store {self.shown} (schema {self.schema}): "
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

    def _find_vector(self, connection: Connection) -> None:
        self._extension = require_vector(connection, self.url)


def _require_unicode(connection: Connection, url: str) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"{shown(url)}: the database's encoding is {encoding}, which cannot hold every text: "
            "create one with ENCODING 'UTF8' and give it as --store"
        )


class Session:
    """One connection for reading, made anew where it was lost; what is asked of it is asked again then."""

    def __init__(self, place: Place, patience: float) -> None:
        """`patience`: seconds for which what passes by itself is tried again."""
        self._place = place
        self._patience = Patience(place.url, patience)
        self._using = threading.Lock()
        self._connection: Connection | None = place.open_reader()
        self._closed = False

    def __call__(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, given the connection in a transaction; it may be called several times."""
        with self._using:
            if self._closed:
                raise StoreError(f"store {self._place.shown} is closed")
            return self._patience(lambda: self._try(work))

    def _try(self, work: Callable[[Connection], T]) -> T:
        if self._connection is None or self._connection.closed:
            self._connection = self._place.reopen_reader()
        with self._connection.transaction():
            return work(self._connection)

    def close(self) -> None:
        """Close the connection; may be called twice."""
        with self._using:
            self._closed = True
            if self._connection is not None:
                self._connection.close()


class Run:
    """The one writer of a store, from its opening to its end: each of its transactions happens exactly once.

    A transaction that was lost with its connection is made again; one whose COMMIT was done, though the
    answer got lost, is not. Whoever has lost the lock to another run meanwhile is stopped.
    """

    def __init__(self, place: Place, patience: float, *, create: bool) -> None:
        """Raises what `Place.open_writer` raises."""
        self._place = place
        self._patience = Patience(place.url, patience)
        self._using = threading.Lock()
        self._connection: Connection | None = place.open_writer(create=create)
        self._closed = False
        self._step = 0
        try:
            with told(place.url):
                self.number = _begin(self._connection)
        except BaseException:
            self.close()
            raise

    def transaction(self, work: Callable[[Connection], int]) -> int:
        """What `work` returns, given the connection in a transaction; it may be called again, and counts once."""
        with self._using:
            answer = self._do(lambda db: self._step_by(work, db))
            self._step += 1
            return answer

    def note(self, work: Callable[[Connection], object]) -> None:
        """Do what may be done twice."""
        with self._using:
            self._do(work)

    def _step_by(self, work: Callable[[Connection], int], db: Connection) -> int:
        run, step, answer = _row(db, "SELECT run, step, answer FROM writer FOR UPDATE")
        if run != self.number:
            raise self._superseded()
        if step > self._step:  # it was done, and only the answer got lost
            return int(answer)
        answer = work(db)
        db.execute("UPDATE writer SET step = %s, answer = %s", [self._step + 1, answer])
        return answer

    def _do(self, work: Callable[[Connection], T]) -> T:
        if self._closed:
            raise StoreError(f"store {self._place.shown} is closed")
        try:
            return self._patience(lambda: self._try(work))
        except UnicodeEncodeError as error:
            raise StoreError(f"store {self._place.shown}: not valid Unicode: {error.object!r}: rename it") from error

    def _try(self, work: Callable[[Connection], T]) -> T:
        if self._connection is None or self._connection.closed:
            self._connection = None
            self._connection = self._again()
        with self._connection.transaction():
            return work(self._connection)

    def _again(self) -> Connection:
        """A new connection with the lock. The server may take a while to see that the old one is dead."""
        connection = self._place.reopen_writer()
        try:
            (run,) = _row(connection, "SELECT run FROM writer")
            if run != self.number:
                raise self._superseded()
            self._place.lock(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _superseded(self) -> StoreBusy:
        return StoreBusy(
            f"another run has taken the store {self._place.shown} (schema {self._place.schema}) while this one had no "
            "connection: wait until it has ended, then run again"
        )

    def close(self) -> None:
        """Let the next run in; may be called twice."""
        with self._using:
            self._closed = True
            if self._connection is not None:
                self._connection.close()


def _begin(connection: Connection) -> int:
    """Begin a run; the lock is held. Returns its number."""
    with connection.transaction():
        (number,) = _row(
            connection,
            "UPDATE writer SET run = run + 1, host = %s, process = %s, since = now(), step = 0 RETURNING run",
            [socket.gethostname(), os.getpid()],
        )
        connection.execute("DELETE FROM seen")
        connection.execute("INSERT INTO seen VALUES (%s, '')", [number])
    return int(number)


def _row(connection: Connection, query: str, values: list[Any] | None = None) -> tuple[Any, ...]:
    row = connection.execute(query, values).fetchone()
    if row is None:
        raise StoreError("the table writer of the store is empty: this is a bug")
    return row
