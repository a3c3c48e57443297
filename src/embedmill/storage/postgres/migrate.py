"""embedmill's own schema in a database, created and brought up to date."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from embedmill.core.errors import StoreError, StoreNotFound, UsageError
from embedmill.storage.postgres.blocking import BRIEFLY
from embedmill.storage.postgres.connection import Connection

from psycopg import errors, sql  # isort: skip - after the module that says what to install

MIGRATIONS: Final = Path(__file__).parent / "migrations"

_LONGEST_NAME: Final = 63  # bytes: PostgreSQL cuts longer ones silently


def check_name(schema: str) -> str:
    """The name, if it can be a schema's; raises `UsageError`."""
    if not schema or "\0" in schema or len(schema.encode()) > _LONGEST_NAME:
        raise UsageError(f"schema {schema!r}: a name has 1 to {_LONGEST_NAME} bytes")
    if schema.startswith("pg_"):
        raise UsageError(f"schema {schema!r}: names that begin with pg_ are the server's own: give another --schema")
    return schema


def migrate(connection: Connection, schema: str, extension: str, folder: Path = MIGRATIONS) -> None:
    """Bring the schema up to date, each step in a transaction of its own, together with its record.

    `extension` is the schema of pgvector's types. The connection is in autocommit mode. Several machines may call this
    at once: one does it, the others wait. Raises `StoreError` where this user may not, and for a schema that a newer
    embedmill has written; else what psycopg raises (see `embedmill.storage.postgres.retry`).
    """
    scripts = _scripts(folder)
    if version(connection, schema, newest=len(scripts)) == len(scripts):
        return
    for number, script in enumerate(scripts, 1):
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"embedmill {schema}"])
            done = version(connection, schema, newest=len(scripts))
            if number <= done:
                continue
            if done == 0:
                _create(connection, schema)
            path = sql.SQL(", ").join([sql.Identifier(schema), sql.Identifier(extension)])
            connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(path))
            connection.set_local(lock_timeout=BRIEFLY)  # searches go on
            connection.execute(script.read_bytes())
            connection.execute("INSERT INTO migrations (number) VALUES (%s)", [number])


def version(connection: Connection, schema: str, *, newest: int | None = None) -> int:
    """The number of the schema's last migration; 0 where there is no schema, or none of embedmill's.

    Raises `StoreError` where it is above `newest`.
    """
    newest = len(_scripts(MIGRATIONS)) if newest is None else newest
    if not connection.scalar(_THERE, [schema]):
        return 0
    query = sql.SQL("SELECT coalesce(max(number), 0) FROM {}").format(sql.Identifier(schema, "migrations"))
    number = int(connection.scalar(query))
    if number > newest:
        raise StoreError(
            f"{connection.shown}: schema {schema} was written by a newer embedmill (migration {number}, this one knows "
            f"{newest}): upgrade embedmill"
        )
    return number


# Not to_regclass: within a transaction that may go by what the session knew before it waited for another to create it.
_THERE: Final = """
    SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = 'migrations'
"""


_NEWEST_OF_STORE: Final = 7
"""The last migration that is about the store, and not about tables alone."""


def require(connection: Connection, schema: str) -> None:
    """Raise `StoreNotFound` where the schema is not there, `StoreError` where it is older than this version."""
    number, newest = version(connection, schema), _NEWEST_OF_STORE
    if number == 0:
        raise StoreNotFound(f"{connection.shown} has no schema {schema} of embedmill's: run `embedmill index` first")
    if number < newest:
        raise StoreError(
            f"{connection.shown}: schema {schema} was written by an older embedmill (migration {number}, this one "
            f"reads {newest}): run `embedmill index`, or `embedmill ingest` for a table, to bring it up to date"
        )


_CREATED: Final = re.compile(r"^CREATE (?:UNLOGGED )?(TABLE|SEQUENCE) (\w+)", re.MULTILINE)


def created() -> list[tuple[str, str]]:
    """What the migrations create in the schema, in this order: "TABLE" or "SEQUENCE", and the name."""
    return [found for script in _scripts(MIGRATIONS) for found in _CREATED.findall(script.read_text("utf-8"))]


def _create(connection: Connection, schema: str) -> None:
    names = [name for _, name in created()]
    taken = connection.scalars(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = ANY (%s) ORDER BY c.relname",
        [schema, names],
    )
    if taken:
        raise StoreError(
            f"{connection.shown}: schema {schema} has {', '.join(taken)} of somebody else's: give another --schema"
        )
    try:
        with connection.transaction():
            # Not IF NOT EXISTS alone: who may not create a schema may still own this one.
            if not connection.scalar("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]):
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            connection.execute(
                sql.SQL("CREATE TABLE {} (number integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())").format(
                    sql.Identifier(schema, "migrations")
                )
            )
    except errors.InsufficientPrivilege as error:
        create = sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(
            sql.Identifier(schema), sql.Identifier(connection.info.user)
        )
        raise StoreError(
            f"{connection.shown}: this user may not create the schema {schema}, or not create tables in it: let an "
            f"administrator run {create.as_string(connection)}, or give the --schema of one of your own"
        ) from error


def _scripts(folder: Path) -> list[Path]:
    scripts = sorted(folder.glob("[0-9]*.sql"))
    if [int(script.name[:4]) for script in scripts] != list(range(1, len(scripts) + 1)):
        raise StoreError(f"{folder}: migrations are not numbered 0001, 0002 ...: install embedmill anew")
    return scripts
