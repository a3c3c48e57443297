"""Errors of PostgreSQL in embedmill's words, and its URLs as they may be shown.

Imported by `embedmill.storage.postgres.connection`, which says what to install where psycopg is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import conninfo, errors, sql

from embedmill.core.errors import StoreError, UsageError
from embedmill.storage.catalog import TRACKING_LOST
from embedmill.storage.postgres import urls


def redact_url(url: str) -> str:
    """The URL without its password and without what may hide one: for reports and messages."""
    parts = parts_of(url)
    if parts is None:
        return "postgresql:..."
    user = f"{parts['user']}@" if parts.get("user") else ""
    port = f":{parts['port']}" if parts.get("port") else ""
    host, name = parts.get("host", "localhost"), parts.get("dbname", "")
    if host.startswith("/"):  # the folder of a socket
        return f"postgresql://{user}{port}/{name}?host={host}"
    return f"postgresql://{user}{host}{port}/{name}"


def parts_of(url: str) -> dict[str, Any] | None:
    """What the URL consists of; None for a malformed one, whose parts may hold the password."""
    try:
        url = urls.plain(url)
        given = conninfo.conninfo_to_dict(url)
    except (psycopg.ProgrammingError, UsageError):  # its message quotes the URL, password and all
        return None
    # libpq ends a password at the first "@" or "/", and takes the rest of it for a host, a port or a database.
    host, port, name = (str(given.get(part) or "") for part in ("host", "port", "dbname"))
    misread = "@" in host[1:] or not re.fullmatch("[0-9,]*", port) or ("@" in name and "%40" not in url)
    return None if misread else dict(given)


@contextmanager
def translate_errors(url: str) -> Iterator[None]:
    """Raise whatever psycopg raises as a `StoreError` that names the database and says what to do."""
    try:
        yield
    except psycopg.Error as error:
        raise translated(error, url) from error


@contextmanager
def gone_as_damage(url: str) -> Iterator[None]:
    """Raise what the server says of a store's own table, or column, that is gone as the damage that it is."""
    try:
        yield
    except (errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise StoreError(
            f"store {redact_url(url)} is damaged ({reason(error)}): put back a backup, or index into another --store"
        ) from error


def translated(error: psycopg.Error, url: str) -> StoreError:
    """A database's error in one line, with a remedy."""
    message = reason(error)
    no_room = full(error)
    remedy = f": {no_room.remedy}" if no_room else ""
    remedy = remedy or (TRACKING_LOST if _OF_TRACKING.search(message) else "")
    remedy = remedy or next((text for kind, text in _BY_CLASS if isinstance(error, kind)), "")
    remedy = remedy or next((text for pattern, text in _BY_MESSAGE if re.search(pattern, message)), "")
    return StoreError(f"{redact_url(url)}: {message}{remedy}")


_OF_TRACKING: Final = re.compile(r'relation "(.*\.)?marks_\d+" does not exist')

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
    (r"due to (transaction|statement|idle)", ": raise that timeout for this user: ALTER ROLE ... SET"),
    (r"pooling mode", ": give the server's own address, or that of a pool with pool_mode = session"),
    (r"closed|terminating connection|server closed", ": run again; what was finished is stored"),
]
