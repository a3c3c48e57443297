"""URLs of databases as other tools write them, as libpq reads them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from embedmill.core.errors import UsageError
from embedmill.storage.driver import DEFAULT_SCHEMA

_DRIVERS: Final = ("psycopg", "psycopg2", "psycopg2cffi", "psycopg_async", "asyncpg", "pg8000", "aiopg")
"""Those that SQLAlchemy's URLs name behind a plus sign."""

ALIASES: Final = ("postgres", *(f"{name}+{driver}" for name in ("postgresql", "postgres") for driver in _DRIVERS))
"""What "postgresql" may be called."""

_BEGINNING: Final = re.compile(rf"^postgres(?:ql)?\+(?:{'|'.join(_DRIVERS)})://", re.IGNORECASE)

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


def split_schema(url: str, given: str = DEFAULT_SCHEMA) -> tuple[str, str]:
    """The URL without its ``schema=NAME``, and the schema: this, or the one that was `given` beside the URL.

    Raises `UsageError` where the two are different. "public", which other tools write, means nothing.
    """
    beginning, question, query = url.rpartition("?")
    if not question or "://" not in beginning or "@" in query:  # the question mark of a password
        return url, given
    parameters = query.split("&")
    names = {unquote(each.partition("=")[2]) for each in parameters if each.startswith("schema=")} - {"public", ""}
    if len(names | {given} - {DEFAULT_SCHEMA}) > 1:
        raise UsageError(f"the store's URL says schema={', '.join(sorted(names))}, and --schema {given}: leave one out")
    kept = [each for each in parameters if not each.startswith("schema=")]
    return beginning + ("?" if kept else "") + "&".join(kept), names.pop() if names else given


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
        if name == "schema" and value == "public":  # where tables are looked for anyway
            continue
        remedy = _OF_OTHERS.get(name.lower())
        if remedy:
            raise UsageError(f"the store's URL has {name}, which is no parameter of libpq's: {remedy}")
        if remedy is None:
            kept.append(parameter)
    return beginning + ("?" if kept else "") + "&".join(kept)
