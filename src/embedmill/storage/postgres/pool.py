"""Connections that several threads write with, in psycopg's own pool."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from embedmill.runtime.closing import Closing
from embedmill.storage.postgres.connection import Connection, configure, parameters
from embedmill.storage.postgres.server_errors import full

import psycopg  # isort: skip - after the module that says what to install
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout  # isort: skip

log = logging.getLogger(__name__)
logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())  # what it warns of is told here, in our words

_PATIENCE = 5.0
"""Seconds that a thread waits for a connection before it is told why there is none. A connection is made in
milliseconds; where the server has no room for one more, one that another thread gives back serves."""


class Pool(Closing):
    """Opens connections as threads need them, at most so many, and keeps them for the next.

    Where the server has no room for more, fewer go round: that is said once. Why a connection cannot be made is raised
    where it is needed, as psycopg raises it.
    """

    def __init__(self, url: str, most: int, timeout: float, **settings: str) -> None:
        """`settings` are of each connection's session."""
        self._failed: psycopg.Error | None = None
        self._said = threading.Event()
        self._renewing = threading.Lock()

        def configured(connection: Connection) -> None:
            try:
                configure(connection, url, **settings)
            except psycopg.Error as error:
                self._failed = error
                raise
            self._failed = None

        self._new = partial(
            ConnectionPool,
            parameters(url),
            kwargs={"autocommit": True, "prepare_threshold": None},
            connection_class=self._telling(),
            configure=configured,
            min_size=0,
            max_size=most,
            timeout=min(_PATIENCE, timeout),
            reconnect_timeout=min(_PATIENCE, timeout),
            open=True,
        )
        self._pool: ConnectionPool[Connection] = self._new()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for the time of the ``with`` block."""
        pool = self._pool
        try:
            connection = pool.getconn()
        except (PoolTimeout, PoolClosed) as error:
            raise self._failed or error from None
        try:
            yield connection
        finally:
            pool.putconn(connection)  # which drops it where it is lost, or the pool is

    def release(self) -> None:
        """Give the server back what it has lent us; connections in use go as soon as they are given back.

        Also where one connection is lost: the others most likely are, too, and to ask them may take for ever.
        """
        with self._renewing:
            old, self._pool = self._pool, self._new()
        old.close(timeout=1.0)

    def close(self) -> None:
        """Close all; may be called twice."""
        self._pool.close(timeout=2.0)

    def _telling(self) -> type[Connection]:
        """A class of connections that notes why one cannot be made."""
        pool = self

        class Telling(Connection):
            @classmethod
            def connect(cls, *arguments: Any, **options: Any) -> Any:
                try:
                    return super().connect(*arguments, **options)
                except psycopg.Error as error:
                    pool._note(error)
                    raise

        return Telling

    def _note(self, error: psycopg.Error) -> None:
        self._failed = error
        no_room = full(error)
        if no_room is not None and not self._said.is_set():
            self._said.set()
            log.warning("%s takes no more connections: fewer writers go on (%s)", no_room.who, no_room.setting)
