"""Connections that threads borrow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from embedmill.closing import Closing
from embedmill.postgres.connecting import Connection, full

import psycopg  # isort: skip - after the module that says what to install
from psycopg.pq import TransactionStatus  # isort: skip

log = logging.getLogger(__name__)


class Lender(Closing):
    """Opens a connection for each thread that needs one at a time, and keeps it for the next.

    Where the server has no room for more, threads wait for one that another gives back. Other errors are raised where
    the connection is needed, as psycopg raises them.
    """

    def __init__(self, open: Callable[[], Connection]) -> None:  # noqa: A002 - what it does
        self._open = open
        self._changed = threading.Condition()
        self._idle: list[Connection] = []
        self._lent = 0
        self._closed = False

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """A connection for the time of the ``with`` block; a transaction that is open at its end is rolled back."""
        connection = self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _take(self) -> Connection:
        while True:
            with self._changed:
                if self._closed:
                    raise psycopg.InterfaceError("the connections are closed")
                if self._idle:
                    self._lent += 1
                    return self._idle.pop()
                self._lent += 1
            try:
                return self._open()
            except BaseException as error:
                with self._changed:
                    self._lent -= 1
                    if not (isinstance(error, psycopg.Error) and full(error) and self._lent):
                        self._changed.notify_all()
                        raise
                    log.warning("the server takes no more connections: fewer writers go on (max_connections)")
                    self._changed.wait_for(lambda: self._idle or not self._lent)

    def _give_back(self, connection: Connection) -> None:
        if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            with suppress(psycopg.Error):
                connection.rollback()
        sound = connection.info.transaction_status == TransactionStatus.IDLE
        with self._changed:
            self._lent -= 1
            if not sound:  # lost, and the others most likely with it
                unused, self._idle = [connection, *self._idle], []
            elif self._closed:
                unused = [connection]
            else:
                unused = []
                self._idle.append(connection)
            self._changed.notify_all()
        for each in unused:
            each.close()

    def let_go(self) -> None:
        """Close those that nobody uses."""
        with self._changed:
            unused, self._idle = self._idle, []
        for each in unused:
            each.close()

    def close(self) -> None:
        """Close all, those in use when they are given back; may be called twice."""
        with self._changed:
            self._closed = True
        self.let_go()
