"""Connections to PostgreSQL.

psycopg is an extra: this module alone says so, and every other of this package imports it first.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from embedmill.core.errors import MissingExtra, StoreError, UsageError
from embedmill.storage.postgres import urls

try:
    import psycopg
    import psycopg_pool  # noqa: F401 - used elsewhere
    from psycopg import Transaction, conninfo, pq, sql
    from psycopg.abc import Params
    from psycopg.pq import TransactionStatus
    from psycopg.rows import args_row, scalar_row
except ImportError as error:
    raise MissingExtra("PostgreSQL", "postgres") from error

from embedmill.storage.postgres.server_errors import parts_of, translate_errors  # isort: skip
from embedmill.storage.postgres.server_errors import redact_url as redact_url  # isort: skip - for who has a URL alone

T = TypeVar("T")

Query = str | sql.SQL | sql.Composed


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection of our own, or to a pooler that lends us one of the server's sessions for each transaction.

    What is set in such a session others would find there: it is set for each transaction instead.
    """

    url = ""
    """Where it leads, once it is configured."""
    pooled = False
    """Whether the session may be another in each transaction."""
    _local: Mapping[str, str] = {}
    _done: frozenset[str] = frozenset()

    @property
    def shown(self) -> str:
        """Where it leads, for reports and messages."""
        return redact_url(self.url)

    def settle(self, **settings: str) -> None:
        """Set these for as long as the connection lasts; in autocommit mode."""
        if not self.pooled:
            self.execute(*_setting(settings, local=False))
            return
        if "default_transaction_isolation" in settings:
            self.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        if "default_transaction_read_only" in settings:
            self.read_only = True
        kept = {name: value for name, value in settings.items() if name not in _OF_SESSIONS}
        self._local = {**self._local, **kept}

    @contextmanager
    def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> Iterator[Transaction]:
        """As in the base, with all that was settled."""
        begins = self.info.transaction_status == TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as transaction:
            if begins and self._local:
                self.execute(*_setting(self._local, local=True))
            yield transaction

    def set_local(self, **settings: str) -> None:
        """Set these for the rest of the transaction."""
        calls, values = _calls(settings, local=True)
        self.execute(f"SELECT {calls}", values)

    def scalar(self, query: Query, parameters: Params | None = None) -> Any:
        """The first value of the first row; None where there is no row."""
        return self.cursor(row_factory=scalar_row).execute(query, parameters).fetchone()

    def scalars(self, query: Query, parameters: Params | None = None) -> list[Any]:
        """The first value of each row."""
        return self.cursor(row_factory=scalar_row).execute(query, parameters).fetchall()

    def records(self, make: Callable[..., T], query: Query, parameters: Params | None = None) -> list[T]:
        """What `make` makes of each row, whose columns are its arguments."""
        return self.cursor(row_factory=args_row(make)).execute(query, parameters).fetchall()

    def once(self, *statements: sql.Composed) -> None:
        """Execute, in one message, those that were not on this connection before; for sessions that are ours."""
        if new := [each for each in statements if each.as_string(self) not in self._done]:
            self.execute(sql.SQL("; ").join(new))
            self._done |= {each.as_string(self) for each in new}

    def take(self) -> None:
        """The session is ours, pooler or no: what was settled holds in it from now on."""
        self.pooled = False
        settings, self._local = self._local, {}
        self.execute(*_setting(settings, local=False))


def _setting(settings: Mapping[str, str], *, local: bool) -> tuple[str, list[str]]:
    """A query that sets these, and its values; gives true."""
    calls, values = _calls(settings, local=local)
    return f"SELECT true, {calls}, {_NO_LIMIT.format(local)}", values


def _calls(settings: Mapping[str, str], *, local: bool) -> tuple[str, list[str]]:
    calls = ", ".join([f"set_config(%s, %s, {local})"] * len(settings))
    return calls, [each for pair in settings.items() for each in pair]


_OF_SESSIONS: Final = (
    "default_transaction_isolation",
    "default_transaction_read_only",
    "idle_session_timeout",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_keepalives_count",
)
"""Settings that mean nothing within one transaction, or come with its beginning."""

_LOOK_EVERY: Final = 0.1

CONNECT_TIMEOUT: Final = 10  # seconds, for each address of the host

LOCK_TIMEOUT: Final = 10_000
"""Milliseconds that a statement waits for a lock before it is tried anew (see `embedmill.storage.postgres.retry`): so
long a run says nothing, and a lock held longer is worth a word."""

_SETTINGS: Final = {
    # Nothing that a user's triggers could notice. Keys are read as text and given back: floats must survive that.
    "extra_float_digits": "1",
    "lock_timeout": str(LOCK_TIMEOUT),
    # A statement of ours may take as long as the table is large: an index, for example.
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    # A client whose machine died is noticed within half a minute, so that others get what it held.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

_NO_LIMIT: Final = "(SELECT set_config(name, '0', {}) FROM pg_settings WHERE name = 'transaction_timeout')"
"""Nor may a transaction be limited in time, which servers can from version 17 on."""

_ALIVE: Final = {
    # And a server whose machine died by the client, instead of after a quarter of an hour.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds that what was sent may stay without an answer
}


def connect(url: str, **settings: str) -> Connection:
    """Open a connection in autocommit mode; `settings` are of the session, beside those that every session has.

    Raises `StoreError` where the server cannot be reached or refuses, and `UsageError` for a malformed URL.
    """
    with translate_errors(url):
        return dial(url, **settings)


def dial(url: str, given_up: Callable[[], bool] = lambda: False, /, **settings: str) -> Connection:
    """As `connect`, but raises what psycopg raises: for what is tried again (see `embedmill.storage.postgres.retry`).

    A server that does not answer is waited for until `given_up`.
    """
    connection = _opened(parameters(url), given_up)
    with closed_on_error(connection):
        configure(connection, url, **settings)
    return connection


@contextmanager
def closed_on_error(connection: Connection) -> Iterator[None]:
    """Closes the connection where what is done with it in this context fails."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _opened(parameters: str, given_up: Callable[[], bool]) -> Connection:
    """A new connection, made in a thread of its own.

    So a caller may give up, or be interrupted, while the client's library looks a host's name up.
    """
    made: Future[Connection] = Future()

    def make() -> None:
        try:
            connection = Connection.connect(parameters, autocommit=True, prepare_threshold=None)
        except BaseException as error:  # handed to who waits for it
            with suppress(InvalidStateError):
                made.set_exception(error)
            return
        try:
            made.set_result(connection)
        except InvalidStateError:  # nobody waits any more
            connection.close()

    threading.Thread(target=make, name="embedmill-connect", daemon=True).start()
    try:
        while not given_up():
            with suppress(TimeoutError):
                return made.result(timeout=_LOOK_EVERY)
        raise psycopg.OperationalError("timeout expired: the server does not answer")
    except BaseException:
        if not made.cancel() and made.exception() is None:  # it came just now
            made.result().close()
        raise


def cut(connection: Connection) -> None:
    """Wake who waits for an answer: as if the server had closed the connection."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def parameters(url: str) -> str:
    """What psycopg is given for a URL. Raises `UsageError` for a malformed one, and for what libpq does not know."""
    plain = urls.plain(url)
    given = parts_of(plain)
    if given is None:
        unknown = _unknown(plain)
        raise UsageError(
            f"the store's URL has {unknown}, which is no parameter of libpq's: leave it out"
            if unknown
            else "the store's URL is malformed: give postgresql://user@host:port/database, with the password, if any, "
            "after user and a colon, and all but its letters and digits percent-encoded; behind a ? only libpq's "
            "parameters"
        )
    defaults: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT, "application_name": "embedmill"} | _ALIVE
    return conninfo.make_conninfo("", **(defaults | given | {"client_encoding": "UTF8"}))


def configure(connection: Connection, url: str, **settings: str) -> None:
    """Prepare a session, in one round trip.

    The process that the server named when we connected must be the one that answers, or a pooler is in between: then
    nothing is set that others might find.
    """
    wanted = _SETTINGS | settings
    query, values = _setting(wanted, local=False)
    connection.url = url
    own = [connection.info.backend_pid, url in _POOLS_SESSIONS]
    if not connection.scalar(f"{query} WHERE pg_backend_pid() = %s OR %s", [*values, *own]):
        connection.pooled = True
        connection.settle(**wanted)


_POOLS_SESSIONS: Final[set[str]] = set()
"""URLs of poolers that were found to pool sessions, not transactions."""

_POOLED: Final = (
    "a pooler lies before the server that lends its sessions for one transaction (as PgBouncer does with pool_mode = "
    "transaction), but what a run locks and creates belongs to one session: give the server's own address, or that of "
    "a pool with pool_mode = session"
)


def require_session(connection: Connection) -> None:
    """Raise `StoreError` where the session may be another in each transaction; in autocommit mode."""
    if not connection.pooled:
        return
    first = _served_by(connection)
    # Two statements in a row may meet the same session by chance: another transaction that is begun in between gets it
    # if it is free.
    for _ in range(_LOOKS):
        if _served_by(connection) != first or _lent_to_another(connection.url, first):
            raise StoreError(f"{connection.shown}: {_POOLED}")
    _POOLS_SESSIONS.add(connection.url)
    connection.take()


_LOOKS: Final = 3
_ANSWER: Final = 10.0  # seconds that a pooler has to lend us a second session


def _served_by(connection: Connection) -> int:
    return int(connection.scalar("SELECT pg_backend_pid()"))


def _lent_to_another(url: str, process: int) -> bool:
    """Whether another transaction can get this session while we, outside of one, would keep it."""
    end = time.monotonic() + _ANSWER
    try:
        with _opened(parameters(url), lambda: time.monotonic() > end) as other:
            timer = threading.Timer(_ANSWER, cut, [other])  # no second session: each is lent to one client for ever
            timer.start()
            try:
                with other.transaction():
                    return _served_by(other) == process
            finally:
                timer.cancel()
    except psycopg.OperationalError as error:
        if "pooling mode" in str(error):  # of single statements
            return True
        raise StoreError(
            f"{redact_url(url)}: the pooler before the server lends us no second session, and a run needs several: "
            "give the server's own address, or a larger pool with pool_mode = session"
        ) from error


def require_primary(connection: Connection) -> None:
    """Raise `StoreError` where nothing can be written: a standby, or a user or database that only reads."""
    query = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean"
    ((standby, read_only),) = connection.execute(query)
    if standby:
        raise StoreError(f"{connection.shown} is a standby, which can only be read: connect to the primary server")
    if read_only:
        raise StoreError(
            f"{connection.shown}: default_transaction_read_only is on for this user or database: connect as a user who "
            "may write, or let an administrator set it off"
        )


def end_with_client(connection: Connection) -> None:
    """Let the session's statements, such as the building of an index, end soon after a client that is killed.

    Only some servers can look for that.
    """
    connection.execute(
        """SELECT set_config(name, '500ms', false) FROM pg_settings
           WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%'"""
    )


def _unknown(url: str) -> str:
    """The first parameter of a URL that libpq does not know; "" for none."""
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"ssl"}
    _, question, query = url.rpartition("?")
    if not question or "@" in query:  # the question mark of a password
        return ""
    names = [each.partition("=")[0] for each in query.split("&")]
    return next((name for name in names if re.fullmatch("[A-Za-z][A-Za-z0-9_]{0,39}", name) and name not in known), "")
