"""Connections to PostgreSQL, and its errors in embedmill's words.

psycopg is an extra: this module alone says so, and every other of this package imports it first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from embedmill.errors import MissingExtra, StoreError, UsageError

try:
    import psycopg
    import psycopg_pool  # noqa: F401 - used elsewhere
    from psycopg import conninfo, errors, sql
except ImportError as error:
    raise MissingExtra("PostgreSQL", "postgres") from error

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_TIMEOUT: Final = 10  # seconds, for each address of the host

LOCK_TIMEOUT: Final = 10_000
"""Milliseconds that a statement waits for a lock before it is tried anew (see `embedmill.postgres.patience`): so long a
run says nothing, and a lock held longer is worth a word."""

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
    with told(url):
        return dial(url, **settings)


def dial(url: str, **settings: str) -> Connection:
    """As `connect`, but raises what psycopg raises: for what is tried again (see `embedmill.postgres.patience`)."""
    connection = psycopg.connect(parameters(url), autocommit=True, prepare_threshold=None)
    try:
        configure(connection, **settings)
    except BaseException:
        connection.close()
        raise
    return connection


def parameters(url: str) -> str:
    """What psycopg is given for a URL. Raises `UsageError` for a malformed one."""
    given = _parts(url)
    if given is None:
        raise UsageError(
            "the store's URL is malformed: give postgresql://user@host:port/database, with the password, if any, after "
            "user and a colon, and all but its letters and digits percent-encoded; behind a ? only libpq's parameters"
        )
    defaults: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT, "application_name": "embedmill"} | _ALIVE
    return conninfo.make_conninfo("", **(defaults | given | {"client_encoding": "UTF8"}))


def configure(connection: Connection, **settings: str) -> None:
    """Prepare a session, in one round trip."""
    wanted = _SETTINGS | settings
    calls = ", ".join(["set_config(%s, %s, false)"] * len(wanted))
    connection.execute(f"SELECT {calls}", [each for pair in wanted.items() for each in pair])


def end_with_client(connection: Connection) -> None:
    """Let the session's statements, such as the building of an index, end soon after a client that is killed.

    Only some servers can look for that.
    """
    connection.execute(
        """SELECT set_config(name, '500ms', false) FROM pg_settings
           WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%'"""
    )


def shown(url: str) -> str:
    """The URL without its password and without what may hide one: for reports and messages."""
    parts = _parts(url)
    if parts is None:
        return "postgresql:..."
    user = f"{parts['user']}@" if parts.get("user") else ""
    port = f":{parts['port']}" if parts.get("port") else ""
    host, name = parts.get("host", "localhost"), parts.get("dbname", "")
    if host.startswith("/"):  # the folder of a socket
        return f"postgresql://{user}{port}/{name}?host={host}"
    return f"postgresql://{user}{host}{port}/{name}"


def _parts(url: str) -> dict[str, Any] | None:
    """What the URL consists of; None for a malformed one, whose parts may hold the password."""
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its message quotes the URL, password and all
        return None
    # libpq ends a password at the first "@" or "/", and takes the rest of it for a host, a port or a database.
    host, port, name = (str(given.get(part) or "") for part in ("host", "port", "dbname"))
    misread = "@" in host[1:] or not re.fullmatch("[0-9,]*", port) or ("@" in name and "%40" not in url)
    return None if misread else dict(given)


@contextmanager
def told(url: str) -> Iterator[None]:
    """The border: whatever psycopg raises leaves as a `StoreError` that names the database and says what to do."""
    try:
        yield
    except psycopg.Error as error:
        raise translated(error, url) from error


def translated(error: psycopg.Error, url: str) -> StoreError:
    """A database's error in one line, with a remedy."""
    message = reason(error)
    no_room = full(error)
    remedy = f": {no_room.remedy}" if no_room else ""
    remedy = remedy or next((text for kind, text in _BY_CLASS if isinstance(error, kind)), "")
    remedy = remedy or next((text for pattern, text in _BY_MESSAGE if re.search(pattern, message)), "")
    return StoreError(f"{shown(url)}: {message}{remedy}")


_FULL: Final = "clients already|connection slots|too many connections"

_OF_ONE: Final = re.compile(r'too many connections for (role|database) "(.*)"')
"""What the server says where not all of its connections are taken, but those that one role or database may have."""


@dataclass(frozen=True, slots=True)
class Full:
    """Why there is no room for another connection."""

    who: str  # takes no more, for people
    setting: str  # that says how many there may be
    remedy: str


def full(error: psycopg.Error) -> Full | None:
    """Why the server takes no more connections; None where it does."""
    of_one = _OF_ONE.search(str(error))
    if of_one is not None:
        kind, name = of_one[1], sql.Identifier(of_one[2]).as_string(None)
        setting = f"ALTER {kind.upper()} {name} CONNECTION LIMIT"
        return Full(f"{kind} {name}", setting, f"end other sessions of it, or let an administrator raise its {setting}")
    if isinstance(error, errors.TooManyConnections) or re.search(_FULL, str(error)):
        return Full("the server", "max_connections", "end other sessions, or raise the server's max_connections")
    return None


def reason(error: psycopg.Error) -> str:
    """A database's error in one line, without saying where."""
    message = error.diag.message_primary or str(error)
    plain = re.sub(r"(?i)^(connection failed: )+|FATAL:|Is the server running .*\?", "", message)
    return " ".join(plain.split())


_BY_CLASS: Final[list[tuple[type[psycopg.Error], str]]] = [
    (errors.InsufficientPrivilege, ": ask the owner for the right, or connect as another user"),
    (errors.ReadOnlySqlTransaction, ": connect to the primary server, as a user who may write"),
    (errors.DiskFull, ": free some space on the server and run again; what was finished is stored"),
    (errors.LockNotAvailable, ": another session holds a lock; end it, or run again later"),
    (errors.CharacterNotInRepertoire, ": a text is not what the database's encoding says: mend it"),
    (errors.UndefinedTable, ": it is gone; give the name of one that exists"),
    (errors.UndefinedColumn, ": it is gone; give the name of one that exists"),
]

# A connection that fails to be made has no code, only the words of the client's library.
_BY_MESSAGE: Final = [
    (r"password authentication failed|no password supplied", ": check user and password in the store's URL"),
    (r"database .* does not exist", ": check the database in the store's URL, or create it"),
    (r"role .* does not exist", ": check the user in the store's URL"),
    (r"resolve host|translate host", ": check the host in the store's URL"),
    (
        r"refused|No such file or directory|timeout|timed out",
        ": check host and port in the store's URL, and that it runs",
    ),
    (r"no pg_hba.conf entry", ": let the server accept this user from here (pg_hba.conf)"),
    (r"closed|terminating connection|server closed", ": run again; what was finished is stored"),
]


def require_vector(connection: Connection, url: str) -> str:
    """The schema that pgvector's types lie in; creates the extension where it is not there and may be.

    Raises `StoreError` where it is not installed on the server, or this user may not create it; else what psycopg
    raises.
    """
    found = find_vector(connection)
    if found is None:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except errors.InsufficientPrivilege as error:
            raise StoreError(
                f"{shown(url)} has no pgvector, and this user may not add it: let an administrator run "
                "CREATE EXTENSION vector in this database"
            ) from error
        except (errors.UndefinedFile, errors.FeatureNotSupported) as error:
            raise StoreError(
                f"{shown(url)}: pgvector is not installed on this server: install it, then run again"
            ) from error
        except errors.UniqueViolation:  # another session was quicker
            pass
        found = find_vector(connection)
    if found is None:
        raise StoreError(f"{shown(url)} has no pgvector: let an administrator run CREATE EXTENSION vector")
    return found


def find_vector(connection: Connection) -> str | None:
    """The schema that pgvector's types lie in; None where there is no such extension."""
    found = connection.execute(_VECTOR).fetchone()
    return None if found is None else str(found[0])


_VECTOR: Final = """
    SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'
"""
