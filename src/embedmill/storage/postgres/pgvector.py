"""The extension pgvector: where its types lie in a database."""

from __future__ import annotations

from embedmill.core.errors import StoreError
from embedmill.storage.postgres.connection import Connection, redact_url

from psycopg import errors  # isort: skip - after the module that says what to install


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
                f"{redact_url(url)} has no pgvector, and this user may not add it: let an administrator run "
                "CREATE EXTENSION vector in this database"
            ) from error
        except (errors.UndefinedFile, errors.FeatureNotSupported) as error:
            raise StoreError(
                f"{redact_url(url)}: pgvector is not installed on this server: install it, then run again"
            ) from error
        except errors.UniqueViolation:  # another session was quicker
            pass
        found = find_vector(connection)
    if found is None:
        raise StoreError(f"{redact_url(url)} has no pgvector: let an administrator run CREATE EXTENSION vector")
    return found


def find_vector(connection: Connection) -> str | None:
    """The schema that pgvector's types lie in; None where there is no such extension."""
    found: str | None = connection.scalar(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
    )
    return found
