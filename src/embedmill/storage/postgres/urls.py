"""URLs of databases as other tools write them, as libpq reads them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from embedmill.core.errors import UsageError

SCHEMES: Final = ("postgresql", "postgres")

_BEGINNING: Final = re.compile(
    r"^postgres(?:ql)?\+(?:psycopg(?:2|2cffi|_async)?|asyncpg|pg8000|aiopg)://", re.IGNORECASE
)
"""SQLAlchemy's, with the driver that it is to load."""

_OF_OTHERS: Final = {
    "pgbouncer": "",  # Prisma's: without prepared statements, of which there are none here
    "statement_cache_size": "",
    "prepared_statement_cache_size": "",
    "pool_timeout": "",
    "connection_limit": "leave it out; --workers says how many connections write at once",
    "schema": "leave it out, and name the table as SCHEMA.TABLE; --schema says where embedmill's own tables lie",
    "currentschema": "leave it out, and name the table as SCHEMA.TABLE; --schema says where embedmill's own tables lie",
    "search_path": "leave it out, and name the table as SCHEMA.TABLE",
    "ssl": "write sslmode=require, or sslmode=verify-full, in its place",
    "sslaccept": "write sslmode=require, or sslmode=verify-full, in its place",
    "socket_timeout": "leave it out; --db-timeout says how long a server that is away is borne",
    "command_timeout": "leave it out; --db-timeout says how long a server that is away is borne",
    "timeout": "write connect_timeout in its place",
}
"""Parameters that are not libpq's: what to do about them, "" for those that mean nothing here."""


def scheme(url: str) -> str:
    """The scheme of any store's URL, without the driver that SQLAlchemy would have after a plus sign."""
    found = _BEGINNING.match(url)
    return SCHEMES[0] if found else url.partition(":")[0]


def plain(url: str) -> str:
    """The URL without what only other tools understand.

    Raises `UsageError` for what would have to mean something here, and does not; it says what to write.
    """
    url = _BEGINNING.sub("postgresql://", url)
    beginning, question, query = url.rpartition("?")
    if not question or "://" not in beginning or "@" in query:  # the question mark of a password
        return url
    kept = []
    for parameter in query.split("&"):
        name, _, value = (unquote(part) for part in parameter.partition("="))
        remedy = _remedy(name, value)
        if remedy:
            raise UsageError(f"the store's URL has {name}, which is no parameter of libpq's: {remedy}")
        if remedy is None:
            kept.append(parameter)
    return beginning + ("?" if kept else "") + "&".join(kept)


def _remedy(name: str, value: str) -> str | None:
    """What to do about a parameter; "" where it means nothing here, None where it is libpq's."""
    if name == "schema" and value == "public":  # where tables are looked for anyway
        return ""
    return _OF_OTHERS.get(name.lower())
