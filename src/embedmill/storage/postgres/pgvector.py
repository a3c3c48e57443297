"""The extension pgvector: where its types lie in a database, and what building an HNSW index of its takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from embedmill.core.errors import StoreError
from embedmill.storage.postgres.connection import Connection

from psycopg import errors  # isort: skip - after the module that says what to install


def require_vector(connection: Connection) -> str:
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
                f"{connection.shown} has no pgvector, and this user may not add it: let an administrator run "
                "CREATE EXTENSION vector in this database"
            ) from error
        except (errors.UndefinedFile, errors.FeatureNotSupported) as error:
            raise StoreError(
                f"{connection.shown}: pgvector is not installed on this server: install it, then run again"
            ) from error
        except errors.UniqueViolation:  # another session was quicker
            pass
        found = find_vector(connection)
    if found is None:
        raise StoreError(f"{connection.shown} has no pgvector: let an administrator run CREATE EXTENSION vector")
    return found


def find_vector(connection: Connection) -> str | None:
    """The schema that pgvector's types lie in; None where there is no such extension."""
    found: str | None = connection.scalar(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
    )
    return found


INDEX_WORTH_IT: Final = 10_000
"""Rows. Fewer are scanned in some 10 ms, exactly; more are worth an index by default."""

MOST_INDEXED: Final = {"vector": 2_000, "halfvec": 4_000}
"""That an index takes, by the type of the column (pgvector's README)."""

TOO_LITTLE_MEMORY: Final = (errors.DiskFull, errors.OutOfMemory)
"""What a build fails of where the memory that its workers share is short, as in containers: alone it needs none."""

_WORKERS: Final = 7  # beside the leader: more gain little; the server's own limits hold too

_MOST_MEMORY: Final = 2 << 30
"""Bytes of maintenance_work_mem that are asked for at most: the server's memory is not known here."""

_NUMBER: Final = {"vector": 4, "halfvec": 2}  # bytes


def index_attempts(
    connection: Connection, rows: int, dimension: int, *, kind: str = "vector", m: int = 16
) -> Iterator[int]:
    """Prepare the session for a build with parallel workers, then, if that failed of `TOO_LITTLE_MEMORY`, without.

    Gives how many workers there are at most. The graph's whole memory is asked for, `m` links on each of two layers
    among them: with less the build takes many times as long.
    """
    now = connection.scalar("SELECT setting::bigint * 1024 FROM pg_settings WHERE name = 'maintenance_work_mem'")
    needed = rows * (_NUMBER[kind] * dimension + 2 * m * 16 + 128)
    memory = min(max(int(1.2 * needed), now), max(_MOST_MEMORY, now))
    for workers in (_WORKERS, 0):
        connection.execute(
            "SELECT set_config('maintenance_work_mem', %s, false),"
            " set_config('max_parallel_maintenance_workers', %s, false)",
            [f"{memory // 1024}kB", str(workers)],
        )
        yield workers
